"""The Gaussian of a set of embeddings: where the latents lie that a decoder has seen.

N(0, I) becomes N(m, A A), A = V diag(s) V^T, of the mean m of the embeddings and their principal axes V with standard
deviations s: ex-post density estimation, Ghosh et al. 2020 (arXiv:1903.12436).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class EmbeddingGaussian(nn.Module):
    """Latents (B, *shape) drawn as if from N(0, I) -> embeddings (B, *shape); rank: how many axes are kept."""

    middle: Tensor  # (n,), n numbers in an embedding
    axes: Tensor  # (rank, n), orthonormal
    spread: Tensor  # (rank,), 0 until they were measured

    def __init__(self, shape: Sequence[int], rank: int) -> None:
        super().__init__()
        numbers = torch.Size(shape).numel()
        if not 1 <= rank <= numbers:
            raise ValueError(f"rank is {rank}, an embedding has {numbers} numbers; choose 1 to {numbers} axes")
        self.register_buffer("middle", torch.zeros(numbers))
        self.register_buffer("axes", torch.zeros(rank, numbers))
        self.register_buffer("spread", torch.zeros(rank))

    @torch.no_grad()
    def measure(self, embeddings: Tensor) -> None:
        """Take the mean and the principal axes of embeddings (N, *shape). Raises ValueError for N <= rank."""
        rank = len(self.spread)
        if len(embeddings) <= rank:
            raise ValueError(f"{len(embeddings)} embeddings have fewer than {rank} axes; lower the rank or give more")
        centred = embeddings.double().flatten(1)
        middle = centred.mean(0)
        _, deviations, axes = torch.linalg.svd(centred - middle, full_matrices=False)
        self.middle.copy_(middle)
        self.axes.copy_(axes[:rank])
        self.spread.copy_(deviations[:rank] / (len(embeddings) - 1) ** 0.5)

    def forward(self, latents: Tensor) -> Tensor:
        if not self.spread.any():
            raise ValueError("the Gaussian of the embeddings is not known yet; measure it on those of training cases")
        along = latents.flatten(1) @ self.axes.T * self.spread
        return (self.middle + along @ self.axes).view_as(latents)
