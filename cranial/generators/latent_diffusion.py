"""Latent diffusion (Rombach et al. 2022, arXiv:2112.10752): noise, denoised step by step into an embedding.

    mean((e - e_theta(sqrt(a_t) z + sqrt(1 - a_t) e, t))^2),   t uniform in 0 ... T - 1,  e ~ N(0, I)

z is the embedding of a case by an autoencoder that is given, trained and frozen, shifted and scaled channel by channel
to mean 0 and standard deviation 1 (the paper's 1 / std; a VQVAE's channels have means of their own). On a VQVAE it
diffuses the embeddings before quantisation; what comes out becomes codes afterwards. The embeddings of all training
cases are computed once: a step costs the denoiser alone.
"""

from collections.abc import Callable, Iterable

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Params
from ..diffusion import Schedule, ddim
from ..nets.denoiser import Denoiser, DenoiserShape
from ..sampling import SD, Strategy
from . import Autoencoder, Generator, Stage


class LatentDiffusion(Generator):
    """One player, `denoiser`; the autoencoder's networks and the embeddings' scale are kept beside it."""

    latent = "diffusion"

    class Settings(Params):
        widths: tuple[int, ...] = Field(default=(64, 128), description="of the denoiser, fine to coarse")
        blocks: int = Field(default=1, gt=0)
        heads: int = Field(default=4, ge=0)
        times: int = Field(default=1000, gt=0, description="T")
        ddim_steps: int = Field(default=50, gt=0, description="of the sampler")

    def __init__(self, shape, *, autoencoder: Autoencoder, **choices) -> None:
        super().__init__(autoencoder.shape, **choices)
        s = self.settings
        self.autoencoder, self.schedule, self.ddim_steps = autoencoder, Schedule(times=s.times), s.ddim_steps
        denoiser = DenoiserShape(self.latent_shape[0], widths=s.widths, blocks=s.blocks, heads=s.heads)
        self.players = {"denoiser": Denoiser(denoiser)}
        self.scale = Scale(self.latent_shape[0])

    def state_modules(self) -> dict[str, nn.Module]:
        """The frozen networks, under names of their own."""
        frozen = {f"autoencoder_{name}": network for name, network in self.autoencoder.networks().items()}
        return frozen | {"scale": self.scale}

    def stages(self) -> list[Stage]:
        return [Stage("denoiser", self, self.steps, embed=self.autoencoder.embed, embedded=self.scale.measure)]

    def turns(self, step: int) -> Iterable[tuple[str, Callable]]:
        yield "denoiser", self.loss

    def loss(self, batch: tuple[Tensor, Tensor], rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean square of what is wrong with the predicted noise."""
        mean, spread = batch
        device = mean.device

        def normal() -> Tensor:
            return torch.randn(mean.shape, generator=rng, device=device)

        latents, noise = self.scale(mean + spread * normal()), normal()
        time = torch.randint(self.schedule.times, (len(mean),), generator=rng, device=device)
        found = self.players["denoiser"](self.schedule.noisy(latents, noise, time), time)
        loss = F.mse_loss(found, noise)
        return loss, {"noise_error": loss}

    def draw(self, indices: Iterable[int], *, seed: int, strategy: Strategy | None = None) -> Tensor:
        """Embeddings, each denoised by itself, in `ddim_steps` steps."""
        drawn = [ddim(self.players["denoiser"], noise[None].to(self.device), self.schedule, steps=self.ddim_steps)
                 for noise in (strategy or SD())(self.latent_shape, indices, seed)]
        return self.scale.inverse(torch.cat(drawn)) if drawn else torch.empty(0, *self.latent_shape)

    def decode(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents)


class Scale(nn.Module):
    """Embeddings (B, z, d, h, w) brought to mean 0 and standard deviation 1 in each channel, and back."""

    middle: Tensor  # (z,)
    width: Tensor  # (z,), 0 until it was measured

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(channels))
        self.register_buffer("width", torch.zeros(channels))

    @torch.no_grad()
    def measure(self, mean: Tensor, spread: Tensor) -> None:
        """Take the scale of these embeddings, N(mean, spread^2), (N, z, d, h, w) each."""
        mean, spread = (x.double().movedim(1, 0).flatten(1) for x in (mean, spread))
        variance = mean.var(1, correction=0) + spread.square().mean(1)
        self.middle.copy_(mean.mean(1))
        self.width.copy_(variance.clamp_min(1e-12).sqrt())

    def forward(self, latents: Tensor) -> Tensor:
        middle, width = self._facts()
        return (latents - middle) / width

    def inverse(self, latents: Tensor) -> Tensor:
        """What `forward` had before."""
        middle, width = self._facts()
        return latents * width + middle

    def _facts(self) -> tuple[Tensor, Tensor]:
        if not self.width.all():
            raise ValueError("the scale of the embeddings is not known yet; measure it on those of the training cases")
        return self.middle.reshape(1, -1, 1, 1, 1), self.width.reshape(1, -1, 1, 1, 1)
