"""The codebook of a VQVAE (van den Oord et al. 2017, arXiv:1711.00937): each position becomes its nearest code.

Moving averages instead of a codebook loss (their appendix A.1), straight-through gradients, and dead codes placed
anew. Our own and not a library's, because of three promises that resuming to the bit and encoding a data set need:
looking never moves the codebook (MONAI's moves in train mode), every draw comes from a generator that is passed in
(vector-quantize-pytorch draws from the global one), and what a process averages is linear in what it has seen, so
that the training loop's mean over processes is the average of all of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .blocks import at_least_float32, check_counts

AT_ONCE = 16384  # positions compared with the whole codebook at a time: 64 MB with 1024 codes


@dataclass(frozen=True)
class Quantized:
    """continuous (B, C, d, h, w): the latents before quantisation, for the commitment loss and for diffusion;
    quantized, the same shape: exactly vectors of the codebook, whose gradient passes to `continuous` unchanged;
    codes (B, d, h, w): their indices, int64."""

    continuous: Tensor
    quantized: Tensor
    codes: Tensor


@dataclass(frozen=True)
class CodebookUse:
    """used: share of the codes that occur; perplexity: exp(entropy) of how often each does, 1 to all codes."""

    used: float
    perplexity: float


class VectorQuantizer(nn.Module):
    """A codebook of `codes` vectors of `channels` numbers, kept in buffers: no optimiser moves it, a checkpoint has it.

    decay: of the moving averages at each update, reached after some 10 / (1 - decay) of them; dead_below: a code is
    dead when it is used less often than this share of the mean over all codes.
    """

    counts: Tensor  # (codes,) moving average of how many positions an update gives to a code
    sums: Tensor  # (codes, channels) moving average of their sum
    updates: Tensor  # () int64

    def __init__(self, codes: int, channels: int, *, decay: float = 0.99, dead_below: float = 0.05) -> None:
        super().__init__()
        check_counts(1, codes=codes, channels=channels)
        for name, value in {"decay": decay, "dead_below": dead_below}.items():
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value}; give a share in [0, 1)")
        self.decay, self.dead_below = decay, dead_below
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", torch.randn(codes, channels))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @property
    def codebook(self) -> Tensor:
        """(codes, channels): the mean of what each code has stood for."""
        return self.sums / self.counts[:, None]

    def forward(self, latents: Tensor, *, update: bool, generator: torch.Generator | None = None) -> Quantized:
        """Quantise (B, C, d, h, w). Only with update=True does the codebook move, after it has been used.

        The first update places all codes among the latents; each update revives the dead, from `generator`.
        """
        if update and generator is None:
            raise ValueError("update=True may revive dead codes; pass the loss function's rng as generator")
        continuous = at_least_float32(latents)
        vectors = self._vectors(continuous.detach())
        if update and self.updates == 0:
            self._place(torch.ones_like(self.counts, dtype=torch.bool), vectors, generator)
        codes = self._nearest(vectors).reshape(latents.shape[0], *latents.shape[2:])
        # codebook + (latents - latents): a vector of the codebook to the bit, with the gradient of the latents
        quantized = self.decode(codes) + (continuous - continuous.detach())
        if update:
            self._update(vectors, codes.flatten(), generator)
        return Quantized(continuous, quantized, codes)

    @torch.no_grad()
    def encode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, d, h, w) -> codes (B, d, h, w), int64; never moves the codebook."""
        codes = self._nearest(self._vectors(at_least_float32(latents)))
        return codes.reshape(latents.shape[0], *latents.shape[2:])

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, d, h, w) -> latents (B, C, d, h, w)."""
        return self.codebook[codes].permute(0, 4, 1, 2, 3).contiguous(memory_format=torch.channels_last_3d)

    def use(self, codes: Tensor) -> CodebookUse:
        """How much of the codebook these codes, of any shape, make use of."""
        share = torch.bincount(codes.flatten(), minlength=len(self.counts)).double() / codes.numel()
        # perplexity = exp(-sum p log p)
        return CodebookUse((share > 0).double().mean().item(), torch.special.entr(share).sum().exp().item())

    def _vectors(self, latents: Tensor) -> Tensor:
        """(B, C, d, h, w) -> (B d h w, C)."""
        if latents.ndim != 5 or latents.shape[1] != self.sums.shape[1]:
            raise ValueError(
                f"latents are {tuple(latents.shape)}, the codebook's vectors have {self.sums.shape[1]} channels; "
                "give (B, channels, d, h, w)"
            )
        return latents.movedim(1, -1).flatten(0, -2)

    def _nearest(self, vectors: Tensor) -> Tensor:
        """Index of the nearest code of each vector; the first of equals."""
        codebook = self.codebook
        with torch.autocast(vectors.device.type, enabled=False):
            # |v - c|^2 = |v|^2 + |c|^2 - 2 v c, of which |v|^2 is the same for all codes
            square = codebook.square().sum(1)
            chunks = [torch.addmm(square, part, codebook.T, alpha=-2).argmin(1) for part in vectors.split(AT_ONCE)]
        return torch.cat(chunks)

    @torch.no_grad()
    def _update(self, vectors: Tensor, codes: Tensor, generator: torch.Generator) -> None:
        counts = torch.bincount(codes, minlength=len(self.counts)).to(self.counts)
        sums = torch.zeros_like(self.sums).index_add_(0, codes, vectors.to(self.sums))
        # a short memory at first: young latents move fast, and leave most codes behind within some ten steps
        step = int(self.updates)
        decay = min(self.decay, (1 + step) / (10 + step))
        self.counts.lerp_(counts, 1 - decay)
        self.sums.lerp_(sums, 1 - decay)
        self.updates += 1
        dead = self.counts <= self.dead_below * self.counts.mean()
        if dead.any():
            self._place(dead, vectors, generator)

    @torch.no_grad()
    def _place(self, dead: Tensor, vectors: Tensor, generator: torch.Generator) -> None:
        """Put the dead codes where the others are far: k-means++ (Arthur & Vassilvitskii 2007) among the vectors.

        Most of a cube is background; a uniform draw would only make more codes for it. A code that was placed starts
        with the mean count, so that it has some hundred updates to find its place.
        """
        alive = self.codebook[~dead]
        if len(alive):
            parts = (torch.cdist(part, alive).amin(1) for part in vectors.to(alive).split(AT_ONCE))
            distance = torch.cat(list(parts)).square()
        else:
            distance = torch.full((len(vectors),), torch.inf, device=vectors.device)
        count = len(vectors) / len(dead) if self.updates == 0 else self.counts.mean()
        for index in dead.nonzero().flatten().tolist():
            # the first of all is any vector; the tiny constant is for vectors that all have a code to the bit
            chance = torch.where(distance.isinf(), 1.0, distance + 1e-20)
            chosen = vectors[torch.multinomial(chance, 1, generator=generator)]
            distance = torch.minimum(distance, (vectors - chosen).square().sum(1))
            self.counts[index] = count
            self.sums[index] = chosen[0] * count
