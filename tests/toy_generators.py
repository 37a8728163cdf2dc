"""Heads that are hollow balls with a hole, and a tiny generator of each method, for the tests of generators."""

import numpy as np
import torch

from cranial.generators import GENERATORS, Generator, build
from cranial.nets.autoencoder import AutoencoderShape
from cranial.skulls.store import CaseStore

SIDE, EDGE_MM = 16, 160.0
SHAPE = AutoencoderShape(2, 3, (8, 16), 1, 1, 2)
PRIOR = {"prior_steps": 3, "prior_batch": 2, "prior_channels": 8, "prior_layers": 2}
SETTINGS = {  # of each method, so small that all of them are built in a second
    "vae": {},
    "wgan_gp": {"widths": [8, 16], "critic_turns": 2},
    "vqvae": {"codes": 16, **PRIOR},
    "intro_vae": {"alone": 0.5},
    "soft_intro_vae": {"alone": 0.5},
    "ldm_vae": {"widths": [8, 16], "heads": 2, "times": 20, "ddim_steps": 3},
    "ldm_vqvae": {"widths": [8, 16], "heads": 2, "times": 20, "ddim_steps": 3},
}
PLAYERS = {
    "vae": {"vae"},
    "wgan_gp": {"critic", "decoder"},
    "vqvae": {"vqvae"},
    "intro_vae": {"encoder", "decoder"},
    "soft_intro_vae": {"encoder", "decoder"},
    "ldm_vae": {"denoiser"},
    "ldm_vqvae": {"denoiser"},
}
DRAWN_BY_A_STRATEGY = ("vae", "wgan_gp", "intro_vae", "soft_intro_vae")
INNER = {"ldm_vae": "vae", "ldm_vqvae": "vqvae"}


def head(number: int, side: int = SIDE) -> np.ndarray:
    """Case `number`: a hollow ball with a hole on top, each of another size and place; bool (2, side, side, side)."""
    rng = np.random.default_rng(number)
    centre = side * (0.5 + rng.uniform(-0.04, 0.04, 3))
    x, y, z = np.indices((side,) * 3) + 0.5 - centre.reshape(3, 1, 1, 1)
    radius, distance = side * rng.uniform(0.34, 0.42), np.sqrt(x**2 + y**2 + z**2)
    bone = (distance < radius) & (distance > radius - side * 0.16)
    hole = bone & (z > 0) & (np.hypot(x - side * rng.uniform(-0.1, 0.2), y) < side * rng.uniform(0.2, 0.3))
    return np.stack([bone & ~hole, hole])


def heads(count: int, side: int = SIDE) -> torch.Tensor:
    """Cases 0 ... count - 1, float32 (count, 2, side, side, side)."""
    return torch.from_numpy(np.stack([head(number, side) for number in range(count)])).float()


def store_of_heads(folder, count: int = 4, side: int = SIDE) -> CaseStore:
    """The same as a set of cases."""
    spacing_mm = (EDGE_MM / side,) * 3
    store = CaseStore.create(folder, count=count, shape=(side,) * 3, spacing_mm=spacing_mm, recipe={"heads": "balls"})
    for item in range(count):
        store.write(item, *head(item, side), {"style": "round"})
    return store


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(method: str, *, seed: int = 0, steps: int = 8, **settings) -> Generator:
    """An untrained generator; latent diffusion on a tiny autoencoder after two steps, its scale measured."""
    inner = None
    if method in INNER:
        choices = {"prior_steps": 0} if INNER[method] == "vqvae" else {}
        inner = make(INNER[method], seed=seed, **choices)
        learn(inner, 2)
    torch.manual_seed(seed)
    made = build(
        method, SHAPE, side=SIDE, settings=SETTINGS[method] | settings, steps=steps, learning_rate=1e-3,
        autoencoder=inner,
    )  # fmt: skip
    if inner is not None:
        with torch.no_grad():
            made.scale.measure(*inner.embed(heads(4)))
            made.players["denoiser"].head.weight.normal_(0, 0.1)  # it starts as one that finds no noise at all
    return made


def batch_for(stage) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """What a step of this stage learns from."""
    with torch.no_grad():
        return stage.embed(heads(3)) if stage.embed else heads(3)


def learn(learner, steps: int, *, first: int = 0, batches=None) -> list[float]:
    """What the loop of cranial.train does, without files; the losses, turn by turn."""
    optimizers, losses = learner.optimizers(), []
    for step in range(first, first + steps):
        batch = heads(3) if batches is None else batches(step)
        for turn, (player, loss_fn) in enumerate(learner.turns(step)):
            loss, _ = loss_fn(batch, rng(100 * step + turn))
            loss.backward(inputs=list(learner.players[player].parameters()))
            optimizers[player].step()
            optimizers[player].zero_grad(set_to_none=True)
            losses.append(loss.item())
    return losses


METHODS = tuple(GENERATORS)
