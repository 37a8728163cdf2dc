"""Deformable registration of two images on one grid: instance optimisation of a displacement field, coarse to fine.

    O(u) = mean((M o (id + u) - F)^2) + alpha (n / 256)^2 Reg(u)

Reg is the mean squared forward difference of u in grid coordinates [-1, 1] along each axis. The factor makes one alpha
mean one stiffness at every grid size n: the same field has differences that shrink as 1/n. In voxels, u_vox = u n / 2,
it cancels: every level minimises the mean squared difference plus alpha (2 / 256)^2 mean((D u_vox)^2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..kernels.descent import Rates, descend
from ..kernels.threads import Team

REFERENCE_SIDE = 256  # the grid size that alpha is given for
_WINDOW = 10  # iterations over which a stop rule looks for progress


@dataclass(frozen=True)
class Level:
    """How one level of the pyramid went: its grid size and, a value an iteration, both terms of the objective."""

    side: int
    mse: np.ndarray
    regulariser: np.ndarray  # alpha (n / 256)^2 Reg(u)

    @property
    def loss(self) -> np.ndarray:
        """Their sum."""
        return self.mse + self.regulariser


class RegistrationError(ValueError):
    """A pair that cannot be registered; the message says what is wrong with it."""


def deform(
    moving: Tensor,
    fixed: Tensor,
    *,
    alpha: float,
    iterations: Sequence[int] = (50, 50, 50, 50),
    learning_rate: float = 0.01,
    stop_below: float | None = None,
    threads: int | None = None,
    watch: Callable[[Tensor, list[Level]], None] | None = None,
) -> tuple[Tensor, list[Level]]:
    """Displacement (3, n, n, n), voxels, that brings moving onto fixed, and how each level went.

    moving, fixed: (n, n, n) float32 occupancies on one device. iterations: of each level, coarse to fine; the first
    has n / 2^(levels - 1) voxels a side. learning_rate: Adam's, in grid coordinates [-1, 1]. stop_below: end a level
    early once ten iterations lower its loss by less than this share; None: all iterations. watch: called after each
    level but the last with its field on that level's grid, (3, m, m, m) in its voxels, and the levels so far; what it
    raises ends the registration.
    Raises ValueError for a side that the levels do not divide, RegistrationError where the loss is not finite.
    """
    side, levels = fixed.shape[-1], len(iterations)
    if fixed.shape != (side,) * 3 or side % 2 ** (levels - 1) or side < 2 ** (levels + 1):
        raise ValueError(
            f"fixed has shape {tuple(fixed.shape)}; {levels} levels need a cube whose side is a multiple of "
            f"{2 ** (levels - 1)} and at least {2 ** (levels + 1)}"
        )
    if not (np.isfinite(alpha) and alpha >= 0 and learning_rate > 0):
        raise ValueError(f"alpha is {alpha} and learning_rate {learning_rate}; give alpha >= 0 and a rate above 0")
    pyramid = [(moving, fixed)]
    for _ in range(levels - 1):
        pyramid.insert(0, tuple(F.avg_pool3d(image[None, None], 2)[0, 0] for image in pyramid[0]))
    weights = torch.full((3, 3), alpha * (2 / REFERENCE_SIDE) ** 2 / 9, dtype=torch.float64)  # nine means of squares
    field, went = None, []
    with Team(threads) as team:
        for (moving_level, fixed_level), count in zip(pyramid, iterations, strict=True):
            field = finer(field, fixed_level)
            half = fixed_level.shape[0] / 2  # voxels in one unit of grid coordinates
            rates = Rates((learning_rate * half,) * 3, (1e-8 / half,) * 3)
            descent = descend(moving_level, fixed_level, field, weights, rates, team)
            terms = []
            for _ in range(count):
                terms.append(descent.step())
                if not np.isfinite(sum(terms[-1])):
                    raise RegistrationError(
                        f"the loss is {sum(terms[-1])} at iteration {len(terms)} of side {len(fixed_level)}; "
                        f"lower learning_rate ({learning_rate}) or look for nan in the images"
                    )
                if stop_below is not None and _settled(terms, stop_below):
                    break
            field = descent.field
            went.append(Level(len(fixed_level), *np.array(terms).reshape(-1, 2).T))
            if watch is not None and len(went) < levels:
                watch(field, list(went))
    return field, went


def finer(field: Tensor | None, image: Tensor) -> Tensor:
    """A coarser level's field on this image's grid, in its voxels; zeros where there is none yet."""
    if field is None:
        return torch.zeros((3, *image.shape), dtype=image.dtype, device=image.device)
    if field.shape[1:] == image.shape:
        return field
    scale = image.shape[0] / field.shape[-1]
    return scale * F.interpolate(field[None], size=tuple(image.shape), mode="trilinear", align_corners=False)[0]


def _settled(terms: list[tuple[float, float]], share: float) -> bool:
    """Whether the last iterations lowered the loss by less than `share` of it."""
    if len(terms) <= _WINDOW:
        return False
    before, now = sum(terms[-1 - _WINDOW]), sum(terms[-1])
    return before - now < share * before
