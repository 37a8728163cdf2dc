"""One loop for every learner: it says who plays and whose turn it is; the loop does the rest.

A turn: loss, log = loss_fn(batch, rng); loss.backward(inputs=player's parameters); optimizer.step().
"""

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm.auto import tqdm

from cranial.checkpoint import CheckpointError
from cranial.train import processes
from cranial.train.learner import LossFn, state_modules
from cranial.train.state import RunState

_TURN, _VALIDATION = 1, 2  # the loop's random streams


class TrainingInterrupted(Exception):
    """A signal (SIGTERM, SIGUSR1, SIGINT) ended the run between steps; the same call goes on from there."""


@dataclass(frozen=True)
class TrainResult:
    """Steps and seconds, over all runs in the folder; the target's best_value, at best_step; the files."""

    steps: int
    seconds: float
    best_value: float | None
    best_step: int | None
    last: Path
    best: Path | None
    log: Path


class Loop:
    """The loop in one process, with the settings of `train`."""

    def __init__(self, fabric: Fabric, settings: SimpleNamespace):
        self.fabric, self.settings, self.learner = fabric, settings, settings.learner
        self.signals = processes.Signals()
        folder = Path(settings.folder)
        self.last, self.best = folder / "last.safetensors", folder / "best.safetensors"
        self.log = folder / "log.jsonl"
        for module in (*self.learner.players.values(), *state_modules(self.learner).values()):
            processes.place(fabric, module, channels_last=settings.channels_last)
        self.per_step = settings.accumulate * fabric.world_size
        identity = {
            "seed": settings.seed,
            "batches_per_step": self.per_step,
            "precision": settings.precision,
            "config": dict(settings.config or {}),
        }
        self.state = RunState(self.learner, identity=identity, ema_decay=settings.ema_decay)
        if self.last.is_file():
            if not settings.resume:
                raise CheckpointError(
                    f"{self.last} exists; pass resume=True to go on, or choose another folder"
                )
            self.state.restore(self.last)
        fabric.barrier()
        if fabric.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            for remains in folder.glob(".*.safetensors.*.tmp"):  # of a run killed while it saved
                remains.unlink()
            self.log.touch()
            # what came after the checkpoint comes again
            os.truncate(self.log, min(self.log.stat().st_size, self.state.log_bytes))
        self.clock = self.saved = time.monotonic()

    def run(self) -> TrainResult:
        """Steps until all are done; between two of them: log, signals, checkpoint, validation."""
        settings, state = self.settings, self.state
        first, end = (n * self.per_step + self.fabric.global_rank for n in (state.step, settings.steps))
        batches = processes.batches_ahead(
            self.fabric,
            settings.batches,
            range(first, max(first, end), self.fabric.world_size),
            workers=settings.workers,
            channels_last=settings.channels_last,
        )
        bar = tqdm(
            total=settings.steps,
            initial=state.step,
            unit="step",
            disable=not (settings.progress and self.fabric.is_global_zero),
            mininterval=0.5 if sys.stderr.isatty() or "ipykernel" in sys.modules else 10.0,
        )
        with self.signals.listening(), closing(batches), bar:
            self._validate_if_due()
            while state.step < settings.steps:
                losses = self._step(batches)
                bar.set_postfix(losses, refresh=False)
                bar.update()
                if state.step % settings.log_every == 0 or state.step == settings.steps:
                    self._log({name: total / count for name, (total, count) in state.sums.items()})
                    state.sums.clear()
                stop = processes.any_process(self.fabric, self.signals.received is not None)
                if stop or processes.any_process(self.fabric, self._checkpoint_due()):
                    self._save()
                if stop:
                    raise self._interrupted()
                self._validate_if_due()
        best = self.best if state.best_step is not None and self.best.is_file() else None
        return TrainResult(
            state.step, state.seconds, state.best_value, state.best_step, self.last, best, self.log
        )

    def _step(self, batches: Iterator[tuple[int, Any]]) -> dict[str, float]:
        """All turns of one step; each player's loss in its last turn."""
        state = self.state
        if state.scheduled:
            rate = self.learner.learning_rate(state.step)
            for player, optimizer in state.optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = rate[player] if isinstance(rate, Mapping) else rate
        started = time.monotonic()
        own = [next(batches) for _ in range(self.settings.accumulate)]
        state.add("data_seconds", time.monotonic() - started)
        losses = {}
        for turn, (player, loss_fn) in enumerate(self.learner.turns(state.step)):
            values = self._turn(turn, player, loss_fn, own)
            losses[player] = values["loss"]
            for name, value in values.items():
                state.add(f"{player}/{name}", value)
        state.update_averages()
        buffers = [b for module in state.all_modules for b in module.buffers() if b.is_floating_point()]
        processes.mean(self.fabric, buffers)
        state.step += 1
        return losses

    def _turn(
        self, turn: int, player: str, loss_fn: LossFn, batches: list[tuple[int, Any]]
    ) -> dict[str, float]:
        """One optimiser step of one player; means of its loss and logged values, and its gradient's norm."""
        state, turn_name = self.state, f"turn {turn} ({player!r}) of step {self.state.step + 1}"
        if player not in state.players:
            raise ValueError(f"{turn_name} is nobody's; the players are {sorted(state.players)}")
        parameters = [p for p in state.players[player].parameters() if p.requires_grad]
        state.optimizers[player].zero_grad(set_to_none=True)
        means: dict[str, Tensor] = {}
        for index, batch in batches:
            with processes.seeded(self.fabric.device, self.settings.seed, _TURN, index, turn) as rng:
                with self.fabric.autocast():
                    loss, log = loss_fn(batch, rng)
                if loss.numel() != 1 or not loss.requires_grad or not parameters:
                    raise ValueError(
                        f"{turn_name}: the loss has shape {tuple(loss.shape)}, requires_grad="
                        f"{loss.requires_grad} and {len(parameters)} parameters to train; give one number "
                        "that depends on some"
                    )
                (loss / len(batches)).backward(inputs=parameters)  # nobody else's .grad is touched
            for name, value in {**log, "loss": loss}.items():
                value = torch.as_tensor(value, dtype=torch.float32, device=loss.device).detach().mean()
                means[name] = means.get(name, 0.0) + value / len(batches)
        gradients = processes.shared_gradients(self.fabric, parameters)
        if not gradients:
            raise ValueError(
                f"{turn_name}: the loss depends on none of the player's parameters; is it another's?"
            )
        norm = torch.nn.utils.get_total_norm(gradients)
        numbers = torch.stack(list(means.values()))
        processes.mean(self.fabric, [numbers])
        values = dict(zip(means, numbers.tolist(), strict=True)) | {"gradient_norm": norm.item()}
        if not (math.isfinite(values["loss"]) and math.isfinite(values["gradient_norm"])):
            good = (
                f"the last good checkpoint is {self.last}" if self.last.is_file() else "nothing was saved yet"
            )
            raise FloatingPointError(
                f"{turn_name}, batch {batches[0][0]}: the loss is {values['loss']}, the norm of its gradient "
                f"{values['gradient_norm']}; {good}; lower the learning rate, set clip_norm, or use 32-true"
            )
        if self.settings.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.clip_norm, norm)
        state.optimizers[player].step()
        return values

    def _validate_if_due(self) -> None:
        every, state = self.settings.validate_every, self.state
        finished = state.step == self.settings.steps
        if every is None or state.step <= state.validated or not (finished or state.step % every == 0):
            return
        try:
            with state.averaged(), state.evaluating():
                values = self.fabric.broadcast(self._validate() if self.fabric.is_global_zero else {})
                better = self._keep_if_best(values)
        except processes.StopNow:
            self._save()
            raise self._interrupted() from None
        state.validated = state.step
        self._log({f"validation/{name}": value for name, value in values.items()})
        if better or finished:
            self._save()  # so that last.safetensors knows of best.safetensors

    def _validate(self) -> dict[str, float]:
        state, alone = self.state, self.fabric.world_size == 1
        with (
            torch.no_grad(),
            processes.seeded(self.fabric.device, self.settings.seed, _VALIDATION, state.step),
        ):
            with self.fabric.autocast(), self.signals.interrupting(alone):
                values = self.learner.validate(state.step)
        return {name: float(value) for name, value in values.items()}

    def _keep_if_best(self, values: Mapping[str, float]) -> bool:
        state, target = self.state, self.settings.target
        if target not in values:
            raise ValueError(
                f"target is {target!r}, but validate() returned {sorted(values)}; choose one of them"
            )
        sign = 1 if self.settings.goal == "highest" else -1
        value, best = values[target], state.best_value
        if not math.isfinite(value) or (best is not None and sign * value <= sign * best):
            return False
        state.best_value, state.best_step = value, state.step
        if self.fabric.is_global_zero:
            state.save_players(self.best)
        return True

    def _checkpoint_due(self) -> bool:
        every, minutes = self.settings.checkpoint_every, self.settings.checkpoint_minutes
        by_time = minutes is not None and time.monotonic() - self.saved >= 60 * minutes
        by_step = every is not None and self.state.step % every == 0
        return by_time or by_step or self.state.step == self.settings.steps

    def _save(self) -> None:
        self._tick()
        if self.fabric.is_global_zero:
            self.state.save(self.last)
        self.saved = time.monotonic()

    def _tick(self) -> None:
        now = time.monotonic()
        self.state.seconds, self.clock = self.state.seconds + now - self.clock, now

    def _interrupted(self) -> TrainingInterrupted:
        return TrainingInterrupted(
            f"{self.signals.received or 'a signal to another process'}: stopped after step {self.state.step} "
            f"of {self.settings.steps}, saved in {self.last}; run the same command again to go on from there"
        )

    def _log(self, values: Mapping[str, float]) -> None:
        self._tick()
        values = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"step": self.state.step, "seconds": round(self.state.seconds, 3), **values}
        if self.fabric.is_global_zero:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                self.state.log_bytes = file.tell()
