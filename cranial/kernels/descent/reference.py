"""One iteration of deformable registration, written to be read: the specification of the descent kernels.

    loss = mean((moving o (id + u) - fixed)^2) + sum over components c and axes a of
           weights[c, a] * mean((u_c(x + e_a) - u_c(x))^2)

u is the displacement in voxels. The regulariser in any other coordinates, and for any spacing, is a matter of the
weights alone; so kernels know nothing of millimetres.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..warp.reference import warp


@dataclass(frozen=True)
class Rates:
    """Adam's numbers (Kingma & Ba 2015, arXiv:1412.6980); rate and epsilon one for each component, in voxels."""

    rate: tuple[float, float, float]
    epsilon: tuple[float, float, float] = (1e-8, 1e-8, 1e-8)
    betas: tuple[float, float] = (0.9, 0.999)


def loss(moving: Tensor, fixed: Tensor, field: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(mean squared difference, weighted regulariser), with gradients towards field.

    moving, fixed: (I, J, K). field: (3, I, J, K), voxels. weights: (3, 3), of component and axis.
    """
    difference = warp(moving[None], field)[0] - fixed
    roughness = torch.zeros((), dtype=field.dtype, device=field.device)
    for axis in range(3):
        if field.shape[axis + 1] > 1:
            steps = field.diff(dim=axis + 1)
            roughness = roughness + (weights[:, axis].to(field) * steps.square().mean(dim=(1, 2, 3))).sum()
    return difference.square().mean(), roughness


class Descent:
    """Deformable registration of one pair at one resolution, step by step; field: (3, I, J, K), changed in place."""

    def __init__(self, moving: Tensor, fixed: Tensor, field: Tensor, weights: Tensor, rates: Rates) -> None:
        self.moving, self.fixed, self.field, self.weights, self.rates = moving, fixed, field, weights, rates
        self.first, self.second = torch.zeros_like(field), torch.zeros_like(field)
        self.steps = 0

    def gradient(self) -> tuple[float, float, Tensor]:
        """(mean squared difference, regulariser, gradient of their sum towards field (3, I, J, K)); no step."""
        field = self.field.detach().requires_grad_()
        terms = loss(self.moving, self.fixed, field, self.weights)
        (gradient,) = torch.autograd.grad(sum(terms), field)
        return terms[0].item(), terms[1].item(), gradient

    def step(self) -> tuple[float, float]:
        """One step of Adam; returns (mean squared difference, regulariser) from before it."""
        mse, roughness, gradient = self.gradient()
        self.steps += 1
        one, two = self.rates.betas
        self.first.mul_(one).add_(gradient, alpha=1 - one)
        self.second.mul_(two).addcmul_(gradient, gradient, value=1 - two)
        for c in range(3):
            # u <- u - rate * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
            slowed = (self.second[c] / (1 - two**self.steps)).sqrt() + self.rates.epsilon[c]
            self.field[c] -= self.rates.rate[c] / (1 - one**self.steps) * self.first[c] / slowed
        return mse, roughness
