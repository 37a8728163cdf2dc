"""VAE (Kingma & Welling 2014, arXiv:1312.6114): an encoder and a decoder, held together by a prior.

    Dice(F, R) + beta KL(E) - gamma Dice(F1, F2)

beta weighs the KL of a *number* of the embedding, and decides everything. Measured at 64^3 on the vaults of phantoms:

- 4 x 8^3 numbers, beta 0.1 to 0.3: skulls come back well, but N(0, I) decodes to rubble. So many positions depend on
  each other, and N(0, I) draws each by itself. Latents drawn from the Gaussian of the embeddings instead (`fitted`
  axes of them) decode to skulls with a hole: 0.1 loses nothing, and is what latent diffusion works in.
- 16 x 4^3 numbers, beta 0.5: skulls in shreds; beta 2: heads, and the defect lies in them. Only then does N(0, I) meet
  places that the decoder knows; the price is a Dice of 0.74 for unseen skulls. IntroVAE and Soft-IntroVAE, which play
  against N(0, I), start from it (`vae_strong` in params).

A weak prior first and a strong one afterwards (`vae_rough`, then `vae_strong`) trains faster than a strong one at once.
"""

from collections.abc import Callable, Iterable

import torch
from pydantic import Field
from torch import Tensor, nn

from ..config import Params
from ..nets.autoencoder import VariationalAutoencoder
from ..nets.gaussian import EmbeddingGaussian
from ..objectives import kl, reconstruction, reparametrised, separation
from . import GaussianAutoencoder, Stage

_FITTED_TO = 1000  # cases, and their mirror images

class VAE(GaussianAutoencoder):
    """One player, `vae`."""

    class Settings(Params):
        beta: float = Field(default=0.05, ge=0, description="of the KL per number of the embedding")
        warmup: float = Field(default=0.1, ge=0, le=1, description="share of the steps in which beta grows")
        gamma: float = Field(default=0.01, ge=0, description="of the separation of skull and defect")
        cross_entropy: float = Field(default=5.0, ge=0)
        fitted: int = Field(default=0, ge=0, description="axes of the Gaussian to draw from; 0: N(0, I), as the paper")

    def __init__(self, shape, **choices) -> None:
        super().__init__(shape, **choices)
        self.players = {"vae": VariationalAutoencoder(shape)}
        self.gaussian = EmbeddingGaussian(self.latent_shape, self.settings.fitted) if self.settings.fitted else None

    def stages(self) -> list[Stage]:
        if self.gaussian is None:
            return super().stages()
        measure = self.gaussian.measure
        look = Stage("gaussian", self, 0, embed=lambda cases: (self.encode(cases),), embedded=measure, of=_FITTED_TO)
        return [*super().stages(), look]

    def state_modules(self) -> dict[str, nn.Module]:
        return {} if self.gaussian is None else {"gaussian": self.gaussian}

    def placed(self, latents: Tensor) -> Tensor:
        if self.gaussian is None or not len(latents):
            return latents
        return torch.cat([self.gaussian(latent[None]) for latent in latents])  # each by itself: the same to the bit

    @property
    def encoder(self):
        return self.players["vae"].encoder

    @property
    def decoder(self):
        return self.players["vae"].decoder

    def turns(self, step: int) -> Iterable[tuple[str, Callable]]:
        grown = min(1.0, (step + 1) / max(1.0, self.settings.warmup * self.steps))
        yield "vae", lambda cases, rng: self.loss(cases, rng, beta=grown * self.settings.beta)

    def loss(self, cases: Tensor, rng: torch.Generator, *, beta: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstruction + beta KL - gamma separation, mean over the batch."""
        s = self.settings
        mu, logvar = self.encoder(cases)
        logits = self.decoder(reparametrised(mu, logvar, rng))
        found = reconstruction(logits, cases, cross_entropy=s.cross_entropy).mean()
        divergence, apart = kl(mu, logvar).mean(), separation(logits).mean()
        logged = {"reconstruction": found, "kl": divergence, "separation": apart}
        return found + beta * divergence - s.gamma * apart, logged
