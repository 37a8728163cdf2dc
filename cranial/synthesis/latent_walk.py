"""What lies between the cases of a generator? A walk through its embeddings, along the directions in which they vary.

The directions are the principal ones of the embeddings of real cases: along the first, heads differ most. A generator
that cannot embed (WGAN-GP) is walked through latents that it draws, of which no direction is more than another.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..generators import as_masks, sample
from ..quality import diversity
from ..reconstruction.mix import as_case
from ..sampling import Strategy
from ..skulls.defects import Case
from .gates import refusal
from .learning_cases import Cases
from .trained import TrainedGenerator


@dataclass(frozen=True)
class LatentWalk:
    """Where a walk begins, (1, z, d, h, w), and its directions (K, z, d, h, w), each as long as one standard deviation.

    shares: of the variance that each direction has.
    """

    trained: TrainedGenerator
    start: Tensor
    directions: Tensor
    shares: tuple[float, ...]

    @torch.no_grad()
    def case(self, *amounts: float) -> Case:
        """The case at so many standard deviations along each direction, as far as amounts are given."""
        if len(amounts) > len(self.directions):
            raise ValueError(f"{len(amounts)} amounts are given, the walk has {len(self.directions)} directions")
        latent = self.start.clone()
        for amount, direction in zip(amounts, self.directions, strict=False):
            latent += amount * direction
        return decoded_cases(self.trained, latent)[0]


@torch.no_grad()
def latent_walk(trained: TrainedGenerator, cases: Cases, *, count: int = 100, directions: int = 3) -> LatentWalk:
    """The walk through the embeddings of the first `count` cases. Raises ValueError for fewer cases than directions."""
    generator = trained.generator
    count = min(count, len(cases))
    if count <= directions:
        raise ValueError(f"{count} cases have no {directions} directions in which they vary; give more cases")
    embed = getattr(getattr(generator, "autoencoder", generator), "embed", None)
    if embed is None:
        points = generator.draw(range(count), seed=0)
        start = points[:1]
    else:
        points = torch.cat([embed(cases.tensor(number)[None].to(generator.device))[0] for number in range(count)])
        start = points.mean(0, keepdim=True)
    away = (points - points.mean(0)).flatten(1)
    _, lengths, along = torch.linalg.svd(away, full_matrices=False)
    scaled = along[:directions] * lengths[:directions, None] / count**0.5
    shares = (lengths.square() / lengths.square().sum())[:directions].tolist()
    return LatentWalk(trained, start, scaled.reshape(-1, *points.shape[1:]), tuple(shares))


def sampled_cases(
    trained: TrainedGenerator, indices: Iterable[int], *, seed: int, strategy: Strategy | None = None
) -> list[Case]:
    """Samples as cases, whether they pass the gates or not; a case's style says which it failed, "" if none."""
    drawn = sample(trained.generator, indices, seed=seed, strategy=strategy)
    return [_case(probabilities, trained.edge_mm, trained.level) for probabilities in drawn]


@torch.no_grad()
def decoded_cases(trained: TrainedGenerator, latents: Tensor) -> list[Case]:
    """Latents (n, ...) as cases, each with the gate that it failed as its style."""
    generator = trained.generator
    logits = [generator.decode(latent[None].to(generator.device))[0].float().cpu() for latent in latents]
    return [_case(torch.sigmoid(each), trained.edge_mm, trained.level) for each in logits]


def judged(cases: Sequence[Case]) -> dict[str, float]:
    """Of sampled cases: the share that passes the gates, how different they are, and how large, passed or not."""
    masks = [np.stack([case.defective.mask, case.implant.mask]) for case in cases]
    return {
        "pass the gates, %": 100 * sum(not case.style for case in cases) / len(cases),
        "diversity": float(diversity(masks)["complete"].mean()),
        "skull, cm³": float(np.median([case.complete.volume_mm3 for case in cases])) / 1000,
        "defect, cm³": float(np.median([case.implant.volume_mm3 for case in cases])) / 1000,
    }


@torch.no_grad()
def reconstructed_cases(trained: TrainedGenerator, cases: Cases, numbers: Sequence[int]) -> dict[str, list[Case]]:
    """Cases as they are, and after encoding and decoding. Raises ValueError for a generator that cannot encode."""
    coder = getattr(trained.generator, "autoencoder", trained.generator)
    if not hasattr(coder, "encode"):
        raise ValueError(f"{trained.recipe.method} has no encoder, so it reconstructs nothing; look at its samples")
    given = [cases.tensor(number) for number in numbers]
    logits = [coder.decode(coder.encode(case[None].to(coder.device)))[0].float().cpu() for case in given]
    return {
        "case": [_case(case, trained.edge_mm) for case in given],
        "decoded": [_case(torch.sigmoid(each), trained.edge_mm) for each in logits],
    }


def _case(probabilities: Tensor, edge_mm: float, level: float = 0.5) -> Case:
    masks = as_masks(probabilities, level).numpy()
    made = as_case(masks, edge_mm=edge_mm)
    return Case(made.complete, made.defective, made.implant, refusal(*masks, voxel_mm3=made.complete.voxel_mm3) or "")
