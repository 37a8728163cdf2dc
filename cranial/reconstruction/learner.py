"""The reconstruction network as a learner: soft Dice on occupancies, and what its input is made of."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nets.residual_unet import ResidualUNet, ResidualUNetShape
from ..objectives import soft_dice
from ..train import warmup_cosine

SUGGESTIONS = 2  # what a network may be shown beside the skull: see suggestions


def soft_dice_loss(probability: Tensor, target: Tensor) -> Tensor:
    """Soft Dice loss of whole cases, (B, ...) each, values in [0, 1], mean over the batch; see objectives.soft_dice."""
    return soft_dice(probability.flatten(1)[:, None], target.flatten(1)[:, None]).mean()


def network_input(seen: Tensor, *, symmetry: bool) -> Tensor:
    """(B, C, n, n, n), occupancy of the skull and what else is shown -> (B, C or C + 1, n, n, n): with symmetry the
    skull's mirror image comes second."""
    return torch.cat([seen[:, :1], seen[:, :1].flip(2), seen[:, 1:]], dim=1) if symmetry else seen


class ReconstructionLearner:
    """Trains a residual UNet to propose what is missing. One player, `unet`; batches are (seen, target).

    seen: (B, 1, n, n, n) the defective skull, or (B, 3, n, n, n) with what is suggested for it, or (B, 4, i, j, k) with
    another network's answer second (`answered`).
    """

    def __init__(
        self,
        shape: ResidualUNetShape,
        *,
        steps: int,
        learning_rate: float,
        symmetry: bool = True,
        suggested: bool = False,
        answered: bool = False,
        cross_entropy: float = 0.5,
        weight_decay: float = 1e-4,
        validation: Sequence[tuple[Tensor, Tensor]] = (),
    ) -> None:
        channels = 1 + symmetry + SUGGESTIONS * suggested + answered
        if shape.in_channels != channels:
            raise ValueError(
                f"shape.in_channels is {shape.in_channels}; symmetry={symmetry}, suggested={suggested} and "
                f"answered={answered} needs {channels}"
            )
        self.players: dict[str, nn.Module] = {"unet": ResidualUNet(shape)}
        self.symmetry, self.cross_entropy, self.weight_decay = symmetry, cross_entropy, weight_decay
        self.validation = validation
        self.learning_rate: Callable[[int], float] = partial(
            warmup_cosine, steps=steps, peak=learning_rate, warmup=min(200, steps // 10), floor=0.01 * learning_rate
        )

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {
            "unet": torch.optim.AdamW(
                self.players["unet"].parameters(), lr=self.learning_rate(0), weight_decay=self.weight_decay
            )
        }

    def turns(self, step: int) -> Iterable[tuple[str, Callable]]:
        yield "unet", self.loss

    def loss(self, batch: tuple[Tensor, Tensor], rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Soft Dice plus cross-entropy (mean over the voxels, x 10: the defect is a hundredth of the cube)."""
        seen, target = batch
        logits = self.players["unet"](network_input(seen, symmetry=self.symmetry)).float()
        dice = soft_dice_loss(torch.sigmoid(logits), target)
        entropy = F.binary_cross_entropy_with_logits(logits, target)
        return dice + 10 * self.cross_entropy * entropy, {"dice": dice, "cross_entropy": entropy}

    def validate(self, step: int) -> dict[str, float]:
        """Mean Dice of the thresholded proposals on the held-out cases (those with a defect)."""
        scores = []
        for seen, target in self.validation:
            device = next(self.players["unet"].parameters()).device
            logits = self.players["unet"](network_input(seen.to(device), symmetry=self.symmetry))
            found, wanted = logits.float().cpu() > 0, target > 0.5
            for f, w in zip(found, wanted, strict=True):
                if w.any():
                    scores.append(2 * float((f & w).sum()) / float(f.sum() + w.sum()))
        return {"dsc": sum(scores) / len(scores)} if scores else {"dsc": float("nan")}
