"""VQVAE (van den Oord et al. 2017, arXiv:1711.00937): codes of a codebook, drawn by a learned convolutional prior.

    autoencoder:  Dice(F, R) + beta mean((E - sg Q(E))^2) - gamma Dice(F1, F2)      codebook: moving averages
    prior:        -log p(codes) = -sum_i log p(code_i | codes before it)

First the autoencoder learns, codebook included; then it is frozen, its codes of all training cases are computed once,
and the prior, a gated masked network over code volumes, learns which code follows which. A prior overfits few cases:
train it on many, and let it see their mirror images. With 2,000 cases at 64^3 and 256 codes in 8^3 positions, every
code comes to be used within minutes (k-means++ revives the dead), and the prior goes on gaining for as long as it is
trained. It reconstructs best of all seven; a quarter of its samples have no missing piece, which a few codes decide.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Params
from ..nets.autoencoder import Decoder, Encoder
from ..nets.masked_prior import MaskedPrior, PriorShape
from ..nets.quantizer import VectorQuantizer
from ..objectives import reconstruction, separation
from ..rng import generator as stream
from ..sampling import Strategy
from ..train import warmup_cosine
from . import Autoencoder, Stage

_STREAM = 1_000_005  # ends the key of a sample's numbers


class VQVAE(Autoencoder):
    """One player, `vqvae`; its prior is the player of a second stage."""

    latent = "codes"

    class Settings(Params):
        codes: int = Field(default=256, gt=1)
        beta: float = Field(default=0.25, ge=0, description="of the commitment to a code")
        gamma: float = Field(default=0.01, ge=0, description="of the separation of skull and defect")
        cross_entropy: float = Field(default=5.0, ge=0)
        decay: float = Field(default=0.99, ge=0, lt=1, description="of the codebook's moving averages")
        dead_below: float = Field(default=0.05, ge=0, lt=1, description="share of the mean use: below it a code moves")
        prior_steps: int = Field(default=1000, ge=0, description="0: no prior, as latent diffusion needs none")
        prior_batch: int = Field(default=16, gt=0)
        prior_rate: float = Field(default=1e-3, gt=0)
        prior_channels: int = Field(default=48, gt=0)
        prior_layers: int = Field(default=8, gt=0)
        temperature: float = Field(default=1.0, gt=0, description="below 1: the likelier codes only")

    def __init__(self, shape, **choices) -> None:
        super().__init__(shape, **choices)
        s = self.settings
        quantizer = VectorQuantizer(s.codes, shape.latent_channels, decay=s.decay, dead_below=s.dead_below)
        parts = {"encoder": Encoder(shape), "quantizer": quantizer, "decoder": Decoder(shape)}
        self.players = {"vqvae": nn.ModuleDict(parts)}
        self.prior: Prior | None = None
        if s.prior_steps:
            prior = PriorShape(s.codes, channels=s.prior_channels, layers=s.prior_layers)
            self.prior = Prior(prior, self._codes, steps=s.prior_steps, learning_rate=s.prior_rate)

    @property
    def can_draw(self) -> bool:
        return self.prior is not None

    @property
    def encoder(self) -> nn.Module:
        return self.players["vqvae"]["encoder"]

    @property
    def quantizer(self) -> VectorQuantizer:
        return self.players["vqvae"]["quantizer"]

    @property
    def decoder(self) -> nn.Module:
        return self.players["vqvae"]["decoder"]

    def networks(self) -> nn.ModuleDict:
        return nn.ModuleDict(self.players | (self.prior.players if self.prior else {}))

    def stages(self) -> list[Stage]:
        stages = [Stage("autoencoder", self, self.steps)]
        if self.prior:
            batch = self.settings.prior_batch
            stages.append(Stage("prior", self.prior, self.prior.steps, embed=self._codes, batch=batch))
        return stages

    def turns(self, step: int) -> Iterable[tuple[str, Callable]]:
        yield "vqvae", self.loss

    def loss(self, cases: Tensor, rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstruction + beta commitment - gamma separation; moves the codebook."""
        s = self.settings
        latents = self.quantizer(self.encoder(cases), update=True, generator=rng)
        logits = self.decoder(latents.quantized)
        found = reconstruction(logits, cases, cross_entropy=s.cross_entropy).mean()
        # mean((E - sg Q(E))^2)
        commitment = (latents.continuous - latents.quantized.detach()).square().mean()
        apart = separation(logits).mean()
        logged = {
            "reconstruction": found, "commitment": commitment, "separation": apart,
            "perplexity": self.quantizer.use(latents.codes).perplexity,
        }
        return found + s.beta * commitment - s.gamma * apart, logged

    def encode(self, cases: Tensor) -> Tensor:
        """Codes (B, d, h, w), int64; the codebook stays as it is."""
        return self.quantizer.encode(self.encoder(cases))

    def decode(self, latents: Tensor) -> Tensor:
        """Codes (B, d, h, w), or embeddings (B, z, d, h, w), which become their nearest codes first -> logits."""
        codes = self.quantizer.encode(latents) if latents.is_floating_point() else latents
        return self.decoder(self.quantizer.decode(codes))

    def embed(self, cases: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings before quantisation, and no spread, for latent diffusion."""
        latents = self.encoder(cases)
        return latents, torch.zeros_like(latents)

    def draw(self, indices: Iterable[int], *, seed: int, strategy: Strategy | None = None) -> Tensor:
        """Codes from the prior. Raises ValueError if it has none."""
        if not self.can_draw:
            raise ValueError("this VQVAE was trained without a prior (prior_steps: 0), so it cannot draw codes")
        seeds = [int(stream(seed, index, _STREAM).integers(2**63)) for index in indices]
        chance = [torch.Generator(self.device).manual_seed(number) for number in seeds]
        network = self.prior.players["prior"]
        if not chance:
            return torch.empty(0, *self.latent_shape[1:], dtype=torch.int64)
        return network.sample(self.latent_shape[1:], chance, temperature=self.settings.temperature)

    def _codes(self, cases: Tensor) -> tuple[Tensor]:
        return (self.encode(cases),)


class Prior:
    """The learner of the second stage; batches are code volumes (B, d, h, w). One player, `prior`."""

    def __init__(self, shape: PriorShape, codes: Callable, *, steps: int, learning_rate: float) -> None:
        self.players: Mapping[str, nn.Module] = {"prior": MaskedPrior(shape)}
        self.steps, self.rate, self.codes = steps, learning_rate, codes
        self.validation: Tensor | None = None

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"prior": torch.optim.AdamW(self.players["prior"].parameters(), lr=self.rate, weight_decay=1e-2)}

    def learning_rate(self, step: int) -> float:
        warmup = min(100, self.steps // 10)
        return warmup_cosine(step, steps=self.steps, peak=self.rate, warmup=warmup, floor=0.02 * self.rate)

    def turns(self, step: int) -> Iterable[tuple[str, Callable]]:
        yield "prior", self.loss

    def loss(self, batch: tuple[Tensor], rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over the positions of -log p(code | codes before it), in nats."""
        (codes,) = batch
        entropy = F.cross_entropy(self.players["prior"](codes), codes)
        return entropy, {"nats": entropy}

    def validate(self, step: int) -> dict[str, float]:
        """The same for held-out cases."""
        if self.validation is None:
            return {"nats": float("nan")}
        network = self.players["prior"]
        device = next(network.parameters()).device
        codes = torch.cat([self.codes(case[None].to(device))[0] for case in self.validation])
        return {"nats": F.cross_entropy(network(codes), codes).item()}
