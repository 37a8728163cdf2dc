"""Soft-IntroVAE (Daniel & Tamar 2021, arXiv:2012.13253): a VAE whose encoder is its own critic, without a margin.

With L(x) the reconstruction loss of x, x_r a reconstruction and x_f a sample, both without gradient for the encoder:

    E:  s (b_rec L(x) + b_kl KL(x)) + 1/4 mean[exp(-2 s (b_rec L(x_r) + b_neg KL(x_r)))]
                                    + 1/4 mean[exp(-2 s (b_rec L(x_f) + b_neg KL(x_f)))]
    D:  s (b_rec L(x) + b_kl / 2 (KL(x_r) + KL(x_f)) + g_r b_rec / 2 (L(x_r) + L(x_f)))

and, as in the study, minus gamma Dice(F1, F2) of the reconstruction. Their s = 1 / numbers of an image is for sums over
pixels; with Dice, at most 1, it would make every KL vanish: s = 1, and the KL is per number of the embedding. What has
to be watched: KL(x_r), KL(x_f) >= KL(x). The first steps are a plain VAE's.
"""

import torch
from pydantic import Field
from torch import Tensor

from ..config import Params
from ..objectives import kl, reconstruction, reparametrised, separation
from . import IntrospectiveVAE


class SoftIntroVAE(IntrospectiveVAE):
    """Two players, `encoder` and `decoder`."""

    class Settings(Params):
        scale: float = Field(default=1.0, gt=0, description="s")
        b_rec: float = Field(default=1.0, ge=0)
        b_kl: float = Field(default=0.05, ge=0, description="of the KL per number, as beta of a VAE")
        b_neg: float = Field(default=2.0, ge=0, description="of the KL of what D made, in the exponential")
        g_r: float = Field(default=1e-8, ge=0, description="0 spares the decoder two passes")
        gamma: float = Field(default=0.01, ge=0, description="of the separation of skull and defect")
        cross_entropy: float = Field(default=5.0, ge=0)
        alone: float = Field(default=0.5, ge=0, le=1, description="share of the steps, at first, as a plain VAE")

    def encoder_loss(self, cases: Tensor, rng: torch.Generator, *, against: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The bound of real cases, and an exponential that is small where the bound of fakes is low."""
        s = self.settings
        mu, logvar = self.encoder(cases)
        logits = self.decoder(reparametrised(mu, logvar, rng))
        found = reconstruction(logits, cases, cross_entropy=s.cross_entropy).mean()
        real, apart = kl(mu, logvar).mean(), separation(logits).mean()
        loss = s.scale * (s.b_rec * found + s.b_kl * real) - s.gamma * apart
        logged = {"reconstruction": found, "kl": real, "separation": apart}
        if against:
            with torch.no_grad():
                fake = torch.sigmoid(self.decoder(_normal(mu, rng)))
            for name, made in {"reconstruction": torch.sigmoid(logits.detach()), "fake": fake}.items():
                cost, divergence = self._bound(made, rng)
                loss = loss + 0.25 * self.evidence(cost, divergence).mean()
                logged[f"kl_{name}"] = divergence.mean()
        return loss, logged

    def decoder_loss(self, cases: Tensor, rng: torch.Generator, *, against: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstructions like the real ones, and fakes whose bound is high."""
        s = self.settings
        with torch.no_grad():
            mu, logvar = self.encoder(cases)
        logits = self.decoder(reparametrised(mu, logvar, rng))
        found = reconstruction(logits, cases, cross_entropy=s.cross_entropy).mean()
        loss = s.b_rec * found
        if against:
            for made in (torch.sigmoid(logits), torch.sigmoid(self.decoder(_normal(mu, rng)))):
                mean, spread = self.encoder(made)
                loss = loss + 0.5 * s.b_kl * kl(mean, spread).mean()
                if s.g_r:
                    again = self.decoder(reparametrised(mean.detach(), spread.detach(), rng))
                    cost = reconstruction(again, made.detach(), cross_entropy=s.cross_entropy)
                    loss = loss + 0.5 * s.g_r * s.b_rec * cost.mean()
        return s.scale * loss - s.gamma * separation(logits).mean(), {"reconstruction": found}

    def evidence(self, cost: Tensor, divergence: Tensor) -> Tensor:
        """exp(-2 s (b_rec L + b_neg KL)), (B,) each."""
        s = self.settings
        return torch.exp(-2 * s.scale * (s.b_rec * cost + s.b_neg * divergence))

    def _bound(self, made: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """L and KL, (B,) each, of cases that the decoder made; both move the encoder."""
        mean, spread = self.encoder(made)
        again = self.decoder(reparametrised(mean, spread, rng))
        return reconstruction(again, made, cross_entropy=self.settings.cross_entropy), kl(mean, spread)


def _normal(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=rng, device=like.device)
