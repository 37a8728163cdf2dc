"""What do generators and reconstruction learn towards? Losses that several methods share; each has its formula.

Values of a case are occupancies or probabilities in [0, 1]; channels are defective skull, defect. A loss is one number
a case, (B,), so that methods may weigh cases (Soft-IntroVAE); KL terms are per number of the embedding, so that a
weight or a margin means the same at every size.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_dice(p: Tensor, t: Tensor) -> Tensor:
    """1 - (2 |p n t| + 1) / (|p| + |t| + 1), over all but the first two axes: (B, C, ...) twice -> (B, C).

    |p n t| = (|p| + |t| - |p - t|_1) / 2 (Wang et al. 2023, Dice semimetric losses, arXiv:2303.16296): equal to
    sum(p t) where one of them is binary, and, unlike sum(p t), least at p = t where they are occupancies.
    """
    p, t = p.flatten(2), t.flatten(2)
    total = p.sum(2) + t.sum(2)
    overlap = 0.5 * (total - (p - t).abs().sum(2))
    return 1 - (2 * overlap + 1) / (total + 1)


def reconstruction(logits: Tensor, target: Tensor, *, cross_entropy: float) -> Tensor:
    """(B,): soft Dice, mean over the channels, plus `cross_entropy` times the mean cross-entropy of a voxel.

    The study has Dice alone; where a network still proposes nothing, its gradient is nearly nothing.
    """
    logits = logits.float()
    loss = soft_dice(torch.sigmoid(logits), target).mean(1)
    if cross_entropy:
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        loss = loss + cross_entropy * entropy.flatten(1).mean(1)
    return loss


def separation(logits: Tensor) -> Tensor:
    """(B,): soft Dice loss between skull and defect of one case, 1 where they are disjoint. Methods subtract it.

    sum(p q) and not the semimetric form: |p - q| pushes both channels to 0 or 1, sum(p q) only away from each other.
    An empty defect satisfies it too: it is the quality gates that refuse those.
    """
    skull, defect = torch.sigmoid(logits.float()).flatten(2).unbind(1)
    return 1 - (2 * (skull * defect).sum(1) + 1) / (skull.sum(1) + defect.sum(1) + 1)


def kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """(B,): KL(N(mu, var) || N(0, I)) per number of the embedding."""
    # KL = 1/2 sum(mu^2 + var - 1 - log var)
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).flatten(1).mean(1)


def reparametrised(mu: Tensor, logvar: Tensor, rng: torch.Generator) -> Tensor:
    """z ~ N(mu, var), through which mu and logvar have gradients."""
    noise = torch.randn(mu.shape, generator=rng, device=mu.device, dtype=mu.dtype)
    return mu + (0.5 * logvar).exp() * noise
