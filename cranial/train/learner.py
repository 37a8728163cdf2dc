"""What the training loop needs of a method, and the learning rate as a function of the step."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

LossFn = Callable[[Any, torch.Generator], tuple[Tensor, Mapping[str, float | Tensor]]]


class Learner(Protocol):
    """A method, as the loop sees it. Nothing is inherited: any class with these members is a learner.

    players: the networks that are trained, by name.
    turns(step): in order, (player, loss function). The loss function takes (batch, rng on the device) and
        returns (one number, values to log). All turns of a step see the same batch; a critic that wants fresh
        data at each of its turns plays alone in some steps.
    optimizers(): one per player, asked for once, after the players have moved to the device.
    It may also have
        learning_rate(step) -> float, or {player: float}; for example `warmup_cosine`
        validate(step) -> {name: float}, in eval mode, without gradients, with the averaged weights if any
        state_modules() -> {name: module}: saved but not trained by an optimiser: a codebook, a frozen network
    Between steps it keeps no state outside players and state_modules(): only those are saved. Dropout, and
    anything else that draws from torch's global generator inside a loss function, is seeded for each turn.
    """

    @property
    def players(self) -> Mapping[str, nn.Module]: ...
    def turns(self, step: int) -> Iterable[tuple[str, LossFn]]: ...
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]: ...


def method(learner: Any, name: str) -> Any:
    """An optional method of a learner, or None."""
    found = getattr(learner, name, None)
    return found if callable(found) else None


def state_modules(learner: Any) -> dict[str, nn.Module]:
    """The learner's networks that are saved but not trained by an optimiser."""
    return dict(learner.state_modules()) if method(learner, "state_modules") else {}


def warmup_cosine(step: int, *, steps: int, peak: float, warmup: int = 0, floor: float = 0.0) -> float:
    """Learning rate of a step: a line up to `peak` in `warmup` steps, then half a cosine down to `floor`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (peak - floor) * (1 + math.cos(math.pi * share)) / 2
