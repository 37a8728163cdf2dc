"""IntroVAE (Huang et al. 2018, arXiv:1807.06358): a VAE whose encoder tells real cases from its own.

Encoder E and decoder D play against each other, with the KL of an embedding as the score of a case:

    E:  Dice + beta KL(E(x)) + theta ([m - KL(E(sg x_r))]+ + [m - KL(E(sg x_f))]+) - gamma Dice(F1, F2)
    D:  Dice + beta (KL(E(x_r)) + KL(E(x_f)))                                      - gamma Dice(F1, F2)

x_r reconstructs x, x_f is decoded from z ~ N(0, I), sg stops the gradient, []+ is ReLU. The margin acts on
reconstructions and samples, never on real cases (the study's print swaps them). KL and margin m are per number of the
embedding; m has to lie above the KL of real cases, or E has nothing to do. The first steps are a plain VAE's: an
encoder that embeds nothing yet has no opinion worth fooling.
"""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..config import Params
from ..objectives import kl, reconstruction, reparametrised, separation
from . import IntrospectiveVAE


class IntroVAE(IntrospectiveVAE):
    """Two players, `encoder` and `decoder`."""

    class Settings(Params):
        beta: float = Field(default=0.05, ge=0, description="of the KL per number, real and fooling")
        theta: float = Field(default=0.05, ge=0, description="of the margins")
        margin: float = Field(default=0.5, gt=0, description="KL per number that a fake should at least have")
        gamma: float = Field(default=0.01, ge=0, description="of the separation of skull and defect")
        cross_entropy: float = Field(default=5.0, ge=0)
        alone: float = Field(default=0.5, ge=0, le=1, description="share of the steps, at first, as a plain VAE")

    def encoder_loss(self, cases: Tensor, rng: torch.Generator, *, against: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """What real cases look like, and how far from N(0, I) everything that the decoder made is."""
        s = self.settings
        mu, logvar = self.encoder(cases)
        logits = self.decoder(reparametrised(mu, logvar, rng))
        found = reconstruction(logits, cases, cross_entropy=s.cross_entropy).mean()
        real, apart = kl(mu, logvar).mean(), separation(logits).mean()
        loss = found + s.beta * real - s.gamma * apart
        logged = {"reconstruction": found, "kl": real, "separation": apart}
        if against:
            with torch.no_grad():
                fake = torch.sigmoid(self.decoder(self._normal(mu, rng)))
            of_rec = kl(*self.encoder(torch.sigmoid(logits.detach())))
            of_fake = kl(*self.encoder(fake))
            # [m - KL(E(sg x_r))]+ + [m - KL(E(sg x_f))]+
            hinge = (F.relu(s.margin - of_rec) + F.relu(s.margin - of_fake)).mean()
            loss = loss + s.theta * hinge
            logged |= {"kl_reconstruction": of_rec.mean(), "kl_fake": of_fake.mean()}
        return loss, logged

    def decoder_loss(self, cases: Tensor, rng: torch.Generator, *, against: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstructions like the real ones, and nothing that the encoder would embed far from N(0, I)."""
        s = self.settings
        with torch.no_grad():
            mu, logvar = self.encoder(cases)
        logits = self.decoder(reparametrised(mu, logvar, rng))
        found = reconstruction(logits, cases, cross_entropy=s.cross_entropy).mean()
        apart = separation(logits).mean()
        loss = found - s.gamma * apart
        if against:
            fake = torch.sigmoid(self.decoder(self._normal(mu, rng)))
            fooled = kl(*self.encoder(torch.sigmoid(logits))) + kl(*self.encoder(fake))
            loss = loss + s.beta * fooled.mean()
        return loss, {"reconstruction": found}

    def _normal(self, like: Tensor, rng: torch.Generator) -> Tensor:
        return torch.randn(like.shape, generator=rng, device=like.device)
