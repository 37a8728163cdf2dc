"""What a training run is between two steps: players, optimisers, averages, progress; saved and restored."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cranial import checkpoint
from cranial.checkpoint import CheckpointError
from cranial.train.learner import method, state_modules


def load_players(path: Path | str, learner: Any, *, averaged: bool = True) -> int:
    """Copy the weights of best.safetensors or last.safetensors into the learner; the step they are from.

    averaged: from last.safetensors of a run with ema_decay, take the moving averages, not the weights.
    Raises CheckpointError when the file is damaged or the learner's networks are not those it was made with.
    """
    state = checkpoint.load(path)
    averages = state["averages"] if averaged else {}
    _load_modules(state, {"players": learner.players, "modules": state_modules(learner)}, averages, path)
    return state["progress"]["step"]


class RunState:
    """Everything that must be the same after a resume. `identity` names the experiment: JSON values."""

    def __init__(self, learner: Any, *, identity: Mapping[str, Any], ema_decay: float | None):
        self.players, self.modules = dict(learner.players), state_modules(learner)
        self.optimizers = dict(learner.optimizers())
        if self.optimizers.keys() != self.players.keys():
            raise ValueError(
                f"players are {sorted(self.players)}, optimizers are for {sorted(self.optimizers)}; give "
                "each player one optimiser, and name networks that are not trained in state_modules()"
            )
        self.scheduled = method(learner, "learning_rate") is not None
        self.identity = json.loads(json.dumps(dict(identity) | {"ema_decay": ema_decay}))
        self.ema_decay = ema_decay
        self.averages = {
            name: {key: p.detach().clone() for key, p in player.named_parameters()}
            for name, player in self.players.items()
            if ema_decay is not None
        }
        self.step = 0  # steps done
        self.validated = 0  # the step of the last validation
        self.seconds = 0.0
        self.log_bytes = 0
        self.sums: dict[str, list[float]] = {}  # name -> [sum, count] since the last line of the log
        self.best_value: float | None = None
        self.best_step: int | None = None

    def add(self, name: str, value: float) -> None:
        """Count a value into the next line of the log."""
        total, count = self.sums.get(name, (0.0, 0))
        self.sums[name] = [total + value, count + 1]

    _PROGRESS = ("step", "validated", "seconds", "log_bytes", "sums", "best_value", "best_step")

    @property
    def all_modules(self) -> tuple[nn.Module, ...]:
        return (*self.players.values(), *self.modules.values())

    def save(self, path: Path) -> None:
        optimizers = {
            n: {"kind": type(o).__name__, "state": o.state_dict()} for n, o in self.optimizers.items()
        }
        checkpoint.save(path, self._weights() | {"averages": self.averages, "optimizers": optimizers})

    def save_players(self, path: Path) -> None:
        """The weights alone, as they are now (within `averaged`, the averages)."""
        checkpoint.save(path, self._weights() | {"averages": {}})

    def _weights(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "progress": {name: getattr(self, name) for name in self._PROGRESS},
            "players": {name: player.state_dict() for name, player in self.players.items()},
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
        }

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint. Raises CheckpointError, naming a difference, if it is of another run."""
        state = checkpoint.load(path)
        if "optimizers" not in state:
            raise CheckpointError(
                f"{path} has no optimisers, so it cannot be resumed; give a last.safetensors"
            )
        _same(state["identity"], self.identity, path)
        _load_modules(state, {"players": self.players, "modules": self.modules}, {}, path)
        for name, optimizer in self.optimizers.items():
            self._restore_optimizer(name, optimizer, state["optimizers"][name], path)
        for name, average in self.averages.items():
            for key, tensor in average.items():
                tensor.copy_(state["averages"][name][key])
        for name in self._PROGRESS:
            setattr(self, name, state["progress"][name])

    def _restore_optimizer(
        self, name: str, optimizer: torch.optim.Optimizer, saved: Mapping[str, Any], path: Path
    ) -> None:
        scheduled = {"lr"} if self.scheduled else set()
        here = f"{name}'s optimiser"
        _same(saved["kind"], type(optimizer).__name__, path, name=here)
        groups, own = saved["state"]["param_groups"], optimizer.state_dict()["param_groups"]
        _same(len(groups), len(own), path, name=f"{here}, number of parameter groups")
        for group, ours in zip(groups, own, strict=True):
            chosen = (group.keys() & ours.keys()) - scheduled  # another torch may have other keys
            _same({k: group[k] for k in chosen}, {k: ours[k] for k in chosen}, path, name=here)
        optimizer.load_state_dict(saved["state"])
        for parameter, values in optimizer.state.items():
            for key, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    # in the parameter's memory format, as the optimiser made it: the last bit depends on it
                    values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def update_averages(self) -> None:
        """ema <- decay ema + (1 - decay) weights; a short memory at first, to forget the random start."""
        decay = min(self.ema_decay or 0.0, (1 + self.step) / (10 + self.step))
        for name, average in self.averages.items():
            with torch.no_grad():
                torch._foreach_lerp_(list(average.values()), list(self.players[name].parameters()), 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the players have their averaged weights, if averages are kept."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for name, average in self.averages.items():
            for key, parameter in self.players[name].named_parameters():
                parameter.data, average[key] = average[key], parameter.data

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, every module is in eval mode; after it, each is in the mode it was in."""
        modules = [m for top in self.all_modules for m in top.modules()]
        modes = [m.training for m in modules]
        try:
            for module in self.all_modules:
                module.eval()
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode


def _load_modules(
    state: Mapping[str, Any],
    own: Mapping[str, Mapping[str, nn.Module]],
    averages: Mapping[str, Any],
    path: Path | str,
) -> None:
    for kind, modules in own.items():
        if state[kind].keys() != modules.keys():
            raise CheckpointError(
                f"{path} has {kind} {sorted(state[kind])}, the learner has {sorted(modules)}; "
                "use the learner it was trained with"
            )
        for name, module in modules.items():
            checkpoint.load_into(module, state[kind][name], name=name, path=path)
    for name, average in averages.items():
        parameters = dict(own["players"][name].named_parameters())
        for key, tensor in average.items():
            parameters[key].data.copy_(tensor)


def _same(saved: Any, now: Any, path: Path, *, name: str = "") -> None:
    """Raise for the first setting that differs from the checkpoint's, by its name."""
    if isinstance(saved, Mapping) and isinstance(now, Mapping):
        for key in [*saved, *(k for k in now if k not in saved)]:
            _same(saved.get(key, "absent"), now.get(key, "absent"), path, name=f"{name} {key}".strip())
    elif saved != now:
        raise CheckpointError(
            f"{path} was made with {name} = {saved}, this run has {now}; "
            "resume with the settings it was made with, or train in another folder"
        )
