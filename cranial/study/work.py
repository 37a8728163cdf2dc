"""How much work is a piece of code? Its operations and the bytes it moves, counted while it runs.

Operations: multiplications and additions of convolutions and matrix products, forward and backward. Bytes: every
operator reads its inputs and writes its outputs, two bytes a number, as in bfloat16 without fusion. Views are free.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import conv_flop_count, flop_registry

from ..train import Learner

BYTES_A_NUMBER = 2


@dataclass(frozen=True)
class Work:
    """Operations and bytes. Works add up, and are multiplied by how often they are done."""

    operations: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.operations + other.operations, self.bytes + other.bytes)

    def __mul__(self, times: float) -> "Work":
        return Work(self.operations * times, self.bytes * times)

    __rmul__ = __mul__


class _Counter(TorchDispatchMode):
    """Adds up what every operator that runs inside it does."""

    def __init__(self) -> None:
        super().__init__()
        self.work = Work()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if not func.is_view:
            moved = sum(each.numel() for each in tree_leaves((args, kwargs, made)) if isinstance(each, Tensor))
            self.work += Work(self._operations(func, args, kwargs, made), BYTES_A_NUMBER * moved)
        return made

    @staticmethod
    def _operations(func: Any, args: tuple, kwargs: dict, made: Any) -> int:
        packet = func._overloadpacket
        if packet == torch.ops.aten.mkldnn_convolution:  # what a convolution is on a CPU without gradients
            return conv_flop_count(args[0].shape, args[1].shape, made.shape)
        count = flop_registry.get(packet)
        return 0 if count is None else count(*args, **kwargs, out_val=made)


def counted(call: Callable[[], Any]) -> Work:
    """What a call works."""
    with _Counter() as counter:
        call()
    return counter.work


def step_work(learner: Learner, batch: Any, *, step: int, steps: int = 1) -> Work:
    """What a training step works on average, over so many steps from `step` on: all turns, forward and backward."""
    rng = torch.Generator()

    def run() -> None:
        for number in range(step, step + steps):
            for player, loss_fn in learner.turns(number):
                weights = list(learner.players[player].parameters())
                for each in weights:
                    each.grad = None  # as the loop does: adding to an old gradient would be work too
                loss, _ = loss_fn(batch, rng)
                loss.backward(inputs=weights)

    return counted(run) * (1 / steps)


def at_side(measure: Callable[[int], Work], side: int, *, small: tuple[int, int]) -> Work:
    """Work at a side that is too large to try, from two that are not: a part that is fixed and one for each voxel.

    measure: side -> work. Exact for convolutions; attention would need a third part.
    """
    one, other = (measure(each) for each in small)
    rise = (side**3 - small[0] ** 3) / (small[1] ** 3 - small[0] ** 3)
    return one + (other + one * -1.0) * rise
