"""The call that starts or resumes a training: its choices, checked before hours are spent."""

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from lightning_fabric import Fabric

from cranial.train.learner import Learner, method
from cranial.train.loop import Loop, TrainResult
from cranial.train.state import load_players


def train(
    learner: Learner,
    batches: Callable[[int], Any],
    *,
    steps: int,
    folder: Path | str,
    seed: int,
    config: Mapping[str, Any] | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
    nodes: int = 1,
    strategy: Literal["auto", "ddp", "ddp_notebook"] = "auto",
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    channels_last: bool = True,
    accumulate: int = 1,
    clip_norm: float | None = None,
    ema_decay: float | None = None,
    workers: int = 0,
    log_every: int = 10,
    validate_every: int | None = None,
    target: str | None = None,
    goal: Literal["highest", "lowest"] | None = None,
    checkpoint_every: int | None = None,
    checkpoint_minutes: float | None = 10.0,
    resume: bool = True,
    progress: bool = True,
) -> TrainResult:
    """Train until `steps` steps are done in `folder`, going on from its last.safetensors when there is one.

    batches(index) makes batch number `index` from nothing but the index (and a seed of its own): arrays or
    tensors, in dicts, lists or tuples. A step uses accumulate x processes consecutive batches; its gradient
    is their mean. `workers` threads make them ahead.
    config: JSON values that name the experiment; a checkpoint made with other ones is refused.
    ema_decay: keep a moving average of the weights, for validation, best.safetensors and `load_players`.
    Every validate_every steps, and at the end, `learner.validate` runs; the weights with the highest or
    lowest `target` (the goal) are kept. After the call the learner has the last weights, not the best or the
    averaged ones: those are in the files, for `load_players`.

    devices > 1 in a script: strategy "ddp", which starts the script once per device unless Slurm or torchrun
    did; in a notebook: "ddp_notebook", which forks: start it in a fresh kernel, before anything else has computed
    in several threads. Only process 0 validates and writes.

    Writes last.safetensors (every checkpoint_every steps, every checkpoint_minutes, on a signal, at the end),
    best.safetensors, and log.jsonl: a line every log_every steps with the means since the last such line, and
    a line for each validation.
    Raises TrainingInterrupted after SIGTERM, SIGUSR1 or SIGINT, once the step is done and saved;
    FloatingPointError when a loss or gradient is not finite (the player's weights are still those of before);
    CheckpointError when the checkpoint is damaged or of another experiment.
    """
    settings = SimpleNamespace(**locals())
    _check(settings)
    with warnings.catch_warnings():
        if devices == nodes == 1:  # one process needs no srun, even where there is one
            warnings.filterwarnings("ignore", message="The `srun` command is available")
        fabric = Fabric(
            accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=strategy, precision=precision
        )
    values, process = fabric.launch(_train, settings)
    result = TrainResult(**values)
    if process != os.getpid():  # a notebook's processes trained copies of the learner
        load_players(result.last, learner, averaged=False)
    return result


def _train(fabric: Fabric, settings: SimpleNamespace) -> tuple[dict[str, Any], int]:
    return vars(Loop(fabric, settings).run()), os.getpid()  # Fabric cannot pass on a frozen dataclass


def _check(settings: SimpleNamespace) -> None:
    try:
        json.dumps(settings.config)
    except TypeError as error:
        raise ValueError(
            f"config cannot be kept as JSON ({error}); give numbers, strings, lists, dicts"
        ) from error
    lowest = {"steps": 1, "accumulate": 1, "workers": 0, "log_every": 1, "validate_every": 1}
    for name, least in (lowest | {"checkpoint_every": 1}).items():
        value = getattr(settings, name)
        optional = name in ("validate_every", "checkpoint_every")
        if not (value is None and optional) and (type(value) is not int or value < least):
            raise ValueError(f"{name} is {value!r}; give an integer of at least {least}")
    if settings.strategy not in ("auto", "ddp", "ddp_notebook"):
        raise ValueError(
            f"strategy is {settings.strategy!r}; choose 'auto', 'ddp', or in a notebook 'ddp_notebook'"
        )
    if settings.precision not in ("32-true", "bf16-mixed"):
        raise ValueError(f"precision is {settings.precision!r}; choose '32-true' or 'bf16-mixed'")
    if settings.ema_decay is not None and not 0 < settings.ema_decay < 1:
        raise ValueError(f"ema_decay is {settings.ema_decay}; give a number between 0 and 1, such as 0.999")
    if settings.clip_norm is not None and not settings.clip_norm > 0:
        raise ValueError(f"clip_norm is {settings.clip_norm}; give a number above 0, or None for no clipping")
    if settings.validate_every is None:
        return
    if not method(settings.learner, "validate"):
        raise ValueError(
            "validate_every is set, but the learner has no validate(step); add it, or unset the first"
        )
    if settings.target is None or settings.goal not in ("highest", "lowest"):
        raise ValueError(
            f"target is {settings.target!r} and goal {settings.goal!r}; say which value of validate(step) "
            "chooses the best weights, and whether its 'highest' or its 'lowest' is best"
        )
