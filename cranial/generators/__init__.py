"""What makes a skull with a hole out of numbers? Seven methods, one contract; a method is one file and one row here.

vae               an encoder and a decoder, held together by a prior
intro_vae         a VAE whose encoder tells real cases from its own
soft_intro_vae    the same without a margin
wgan_gp           a decoder against a critic
vqvae             codes of a codebook, drawn by a learned prior
latent_diffusion  noise, denoised step by step into an embedding of one of the others

    generator = build("vae", shape, side=64, settings={"beta": 0.05}, steps=4000, learning_rate=1e-3)
    cases = sample(generator, range(16), seed=0, strategy=strategy("uds"))      probabilities (16, 2, 64, 64, 64)

A generator is a learner (cranial.train) which, once trained, draws latents and decodes them. Latent diffusion is given
its autoencoder; no method imports another.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..config import Params, check, unknown_key
from ..nets.autoencoder import AutoencoderShape, Decoder, VariationalEncoder
from ..sampling import SD, Strategy, check_fit
from ..train import warmup_cosine

GENERATORS = {  # name -> (file: class, the methods whose embedding it works in)
    "vae": ("vae:VAE", ()),
    "wgan_gp": ("wgan_gp:WGANGP", ()),
    "vqvae": ("vqvae:VQVAE", ()),
    "intro_vae": ("intro_vae:IntroVAE", ()),
    "soft_intro_vae": ("soft_intro_vae:SoftIntroVAE", ()),
    "ldm_vae": ("latent_diffusion:LatentDiffusion", ("vae", "intro_vae", "soft_intro_vae")),
    "ldm_vqvae": ("latent_diffusion:LatentDiffusion", ("vqvae",)),
}


@dataclass(frozen=True)
class Stage:
    """A part of a method's training, after which the next one begins.

    learner: what the loop trains; steps; embed: (B, 2, n, n, n) -> tensors (B, ...), if the learner sees no cases but
    what the networks trained so far make of them: that is computed once, given to `embedded` as a whole, and batches
    are taken from it; of: how many cases at most, evenly picked; batch: their size, None for the recipe's. A stage of
    0 steps is done once it was given what it looks at.
    """

    name: str
    learner: Any
    steps: int
    embed: Callable[[Tensor], tuple[Tensor, ...]] | None = None
    embedded: Callable[..., None] | None = None
    of: int | None = None
    batch: int | None = None


class Generator(ABC):
    """A learner whose networks make cases. `method` is its row's name, `latent` what its latents are (sampling)."""

    latent: ClassVar[str]
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)  # of Adam

    class Settings(Params):
        """What a method's YAML may say under `settings`."""

    def __init__(
        self, shape: AutoencoderShape, *, side: int, settings: Params, steps: int, learning_rate: float
    ) -> None:
        self.shape, self.side, self.settings, self.steps, self.rate = shape, side, settings, steps, learning_rate
        self.method = ""
        self.latent_shape = shape.latent_shape(side)
        self.players: dict[str, nn.Module] = {}

    @abstractmethod
    def turns(self, step: int) -> Iterable[tuple[str, Callable]]:
        """See train.Learner; the batch is cases, (B, 2, n, n, n) in [0, 1]."""

    @abstractmethod
    def draw(self, indices: Iterable[int], *, seed: int, strategy: Strategy | None = None) -> Tensor:
        """Latents of these indices, each the same to the bit whatever the others are."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, ...) -> logits of cases (B, 2, n, n, n)."""

    def stages(self) -> list[Stage]:
        """What is trained, in order."""
        return [Stage("generator", self, self.steps)]

    def networks(self) -> nn.ModuleDict:
        """Everything that `draw` and `decode` need, to be saved and loaded."""
        return nn.ModuleDict(self.players | self.state_modules())

    def state_modules(self) -> Mapping[str, nn.Module]:
        """See train.Learner."""
        return {}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam for each player."""
        return {
            name: torch.optim.AdamW(player.parameters(), lr=self.rate, betas=self.betas, weight_decay=0)
            for name, player in self.players.items()
        }

    def learning_rate(self, step: int) -> float:
        """Of a step: a short warm-up, then half a cosine."""
        warmup = min(100, self.steps // 10)
        return warmup_cosine(step, steps=self.steps, peak=self.rate, warmup=warmup, floor=0.02 * self.rate)

    @property
    def can_draw(self) -> bool:
        """Whether it draws latents, as all do that are not only there to be diffused in."""
        return True

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.networks().parameters()).device


class Autoencoder(Generator):
    """A generator that can also embed a case. Validation: Dice of held-out cases after encoding and decoding."""

    validation: Tensor | None = None  # cases (N, 2, n, n, n)

    @abstractmethod
    def encode(self, cases: Tensor) -> Tensor:
        """Cases (B, 2, n, n, n) in [0, 1] -> the latents that `decode` turns into them again."""

    def validate(self, step: int) -> dict[str, float]:
        """Mean Dice of skull and defect, thresholded at a half, one case at a time."""
        scores = []
        for case in () if self.validation is None else self.validation:
            wanted = case[None].to(self.device)
            found = self.decode(self.encode(wanted)) > 0
            scores.append(dice(found, wanted > 0.5))
        skull, defect = torch.cat(scores).mean(0).tolist() if scores else (float("nan"),) * 2
        return {"skull_dice": skull, "defect_dice": defect, "dice": 0.5 * (skull + defect)}


class GaussianAutoencoder(Autoencoder):
    """Embeddings are normal, N(mu, var), and drawn towards N(0, I): a strategy samples them. Has encoder, decoder."""

    latent = "gaussian"
    encoder: nn.Module
    decoder: nn.Module

    def draw(self, indices: Iterable[int], *, seed: int, strategy: Strategy | None = None) -> Tensor:
        return self.placed((strategy or SD())(self.latent_shape, indices, seed).to(self.device))

    def placed(self, latents: Tensor) -> Tensor:
        """Latents (B, z, d, h, w) as a strategy draws them, brought to where `decode` wants them."""
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents)

    def encode(self, cases: Tensor) -> Tensor:
        return self.encoder(cases)[0]

    def start_from(self, other: "GaussianAutoencoder") -> None:
        """Take the weights of another one of the same shape, trained by this or another method."""
        self.encoder.load_state_dict(other.encoder.state_dict())
        self.decoder.load_state_dict(other.decoder.state_dict())

    def embed(self, cases: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the embeddings, for latent diffusion."""
        mu, logvar = self.encoder(cases)
        return mu, (0.5 * logvar).exp()


class IntrospectiveVAE(GaussianAutoencoder):
    """A VAE whose encoder and decoder are two players, in this order in every step; the subclass has their losses.

    For the share `alone` of the steps, at first, each plays as in a plain VAE; then against the other.
    """

    def __init__(self, shape: AutoencoderShape, **choices: Any) -> None:
        super().__init__(shape, **choices)
        self.players = {"encoder": VariationalEncoder(shape), "decoder": Decoder(shape)}

    @property
    def encoder(self) -> nn.Module:
        return self.players["encoder"]

    @property
    def decoder(self) -> nn.Module:
        return self.players["decoder"]

    def turns(self, step: int) -> Iterable[tuple[str, Callable]]:
        against = step >= self.settings.alone * self.steps
        yield "encoder", lambda cases, rng: self.encoder_loss(cases, rng, against=against)
        yield "decoder", lambda cases, rng: self.decoder_loss(cases, rng, against=against)

    @abstractmethod
    def encoder_loss(self, cases: Tensor, rng: torch.Generator, *, against: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and what to log of the encoder's turn."""

    @abstractmethod
    def decoder_loss(self, cases: Tensor, rng: torch.Generator, *, against: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and what to log of the decoder's turn."""


def dice(found: Tensor, wanted: Tensor) -> Tensor:
    """Bool (B, C, ...) twice -> Dice (B, C); 1 where both are empty."""
    found, wanted = found.flatten(2), wanted.flatten(2)
    total = found.sum(2) + wanted.sum(2)
    return torch.where(total > 0, 2 * (found & wanted).sum(2) / total, torch.ones_like(total))


def build(
    method: str,
    shape: AutoencoderShape,
    *,
    side: int,
    settings: Mapping[str, Any],
    steps: int,
    learning_rate: float,
    autoencoder: Autoencoder | None = None,
) -> Generator:
    """An untrained generator. Latent diffusion gets its trained autoencoder, whose shape is then the shape.

    Raises ValueError for an unknown method or setting, an autoencoder that is missing, does not fit or is not wanted,
    and a side that is not a multiple of the shape's stride.
    """
    if method not in GENERATORS:
        raise ValueError(unknown_key(method, GENERATORS).replace("key", "method", 1))
    path, fitting = GENERATORS[method]
    if bool(fitting) != (autoencoder is not None) or (fitting and autoencoder.method not in fitting):
        has = "none" if autoencoder is None else autoencoder.method
        needs = f"give it one of {', '.join(fitting)}" if fitting else "leave it out"
        raise ValueError(f"autoencoder is {has}, for {method} {needs}")
    module, name = path.split(":")
    kind = getattr(import_module(f".{module}", __name__), name)
    checked = check(settings, kind.Settings, where=f"settings of {method}")
    given = {"autoencoder": autoencoder} if fitting else {}
    made = kind(shape, side=side, settings=checked, steps=steps, learning_rate=learning_rate, **given)
    made.method = method
    return made


@torch.no_grad()
def sample(
    generator: Generator, indices: Iterable[int], *, seed: int, strategy: Strategy | None = None
) -> Tensor:
    """Cases of these indices, as probabilities float32 (n, 2, side, side, side) on the CPU; item by item, so that each
    is the same to the bit alone or in any company. The networks are in eval mode then.

    strategy: for Gaussian latents, None for N(0, I). Raises ValueError, with those that fit, for one that does not.
    """
    if strategy is not None:
        check_fit(type(strategy).__name__.lower(), method=generator.method, latent=generator.latent)
    generator.networks().eval()
    latents = generator.draw(list(indices), seed=seed, strategy=strategy)
    cases = [torch.sigmoid(generator.decode(latent[None]).float()).cpu() for latent in latents]
    return torch.cat(cases) if cases else torch.empty(0, generator.shape.channels, *[generator.side] * 3)


def as_masks(probabilities: Tensor, level: float = 0.5) -> Tensor:
    """Probabilities (..., 2, n, n, n) -> bool, disjoint: bone where skull and defect together are at least `level`, and
    each voxel of it is of the likelier of the two.

    Together: at the rim of a hole each has a half, and the larger of them alone would leave a gap around the defect.
    """
    bone = probabilities.sum(-4) >= level
    defect = probabilities[..., 1, :, :, :] > probabilities[..., 0, :, :, :]
    return torch.stack([bone & ~defect, bone & defect], dim=-4)


def volume_level(probabilities: Tensor, voxels: float) -> float:
    """The level at which as_masks of cases (N, 2, n, n, n) have so many voxels of bone on average, 0.1 to 0.9.

    A sharp decoder's is a half. One that does not know to a voxel where the surface lies spreads a vault, two voxels
    thick, over four with less than a half each: at a half its heads fall to pieces, at this level they are whole.
    """
    bone = probabilities.sum(1).flatten()
    wanted = min(max(round(voxels * len(probabilities)), 1), bone.numel())
    level = bone.kthvalue(bone.numel() - wanted + 1).values.item()
    return min(max(level, 0.1), 0.9)
