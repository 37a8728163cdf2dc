"""What would a generator put into this hole? Latent diffusion, led at every step by the bone that is known.

Each step of the sampler has an idea z of the clean latent. Before the next one, z is moved against the gradient of

    E(z) = - mean over known voxels of  s log b + (1 - s) log(1 - b),     b = 1 - (1 - d) (1 - m)

s is the skull with the hole; d and m are the decoder's skull and missing piece, b either of the two: where the decoder
itself would put a hole is of no interest. So those of the generator's heads are drawn that are this one, and what
they have within the hole is a proposal (posterior sampling, Chung et al. 2023, arXiv:2209.14687; here the gradient goes
through the decoder alone, not through the denoiser as well). Not known is what is near the network's proposal: it
finds the hole, the generator fills it. As with every generator, a piece is as fine as its decoder.

Measured with a latent diffusion of 64^3 on a VAE (params/laptop), two pieces each for three holes in phantoms that no
training saw, mean DSC: led 0.68, 0.84 and 0.92; in the same holes without a lead 0.29, 0.61 and 0.42; the network alone
0.90, 0.91 and 0.94. So a lead is worth having, and what it gives is variety and not accuracy.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..diffusion import ddim
from ..generators.latent_diffusion import LatentDiffusion
from ..reconstruction.answer import Answer, to_case
from ..reconstruction.grid import HeadGrid, lay_grid
from ..reconstruction.model import Model, load_model
from ..reconstruction.predict import SMALLEST_MM3, infer, look, postprocess, suggest
from ..reconstruction.proposals import Proposals, gather
from ..resampling import sample
from ..sampling import SD
from ..volume import Volume
from .trained import TrainedGenerator, load_generator

PULL = 0.08  # standard deviations of a latent that the first lead moves it by, in the mean square; the last: none
STEPS = 15
_FIRST = 0.5  # of the noise: from the embedding of the skull as it is, so much noised, sampling begins
_LEADS = 2  # a step
_AROUND = 3  # voxels around the network's proposal in which nothing is known


def propose_conditioned(
    case: Volume,
    generator: TrainedGenerator | Path | str,
    *,
    count: int,
    seed: int,
    model: Model | Path | str | None = None,
    device: str = "auto",
    pull: float = PULL,
    steps: int = STEPS,
    smallest_mm3: float = SMALLEST_MM3,
    progress: bool = True,
) -> Proposals:
    """Draw `count` pieces for a defective skull, on its own grid; piece k depends on (seed, k) alone.

    generator: a latent diffusion, or its file. model, device: of the network that finds the hole, as of `reconstruct`.
    pull: how strongly the skull leads, 0 not at all. steps: of the sampler. Raises ValueError for a generator that
    can't be led, and as `propose` and `load_generator` do.
    """
    from tqdm.auto import tqdm

    trained = generator if isinstance(generator, TrainedGenerator) else load_generator(generator)
    recipe = trained.recipe
    if trained.generator.latent != "diffusion" or recipe.cases is not None:
        raise ValueError(
            f"the generator is a {recipe.method} trained on {recipe.cases or 'phantoms'}; give a latent diffusion "
            "(ldm_vae, ldm_vqvae) trained on phantoms, whose cubes are laid as those of the reconstruction are"
        )
    grid = lay_grid(case, recipe.side)
    occupancy = grid.occupancy(case)
    hole = find_hole(case, grid, occupancy, model if isinstance(model, Model) else load_model(model), device=device)
    known = torch.from_numpy(occupancy).clone()
    floor = round(recipe.phantom_floor * recipe.side)
    known[..., :floor] = 0  # the generator's cases have no bone there
    hole[..., :floor] = False
    open_ = torch.from_numpy(hole)
    defects = []
    for item in tqdm(range(count), desc="proposals", disable=not progress):
        bone = draw_led(trained.generator, known, open_, item, seed=seed, pull=pull, steps=steps).numpy()
        missing = np.where(hole, np.clip(bone * (0.5 / trained.level) - occupancy, 0, 1), 0)
        mask = to_case(Answer(missing, occupancy, grid.affine), case)
        defects.append(case.with_mask(postprocess(mask, case, smallest_mm3=smallest_mm3)))
    return gather(case, defects, smallest_mm3=smallest_mm3)


def find_hole(case: Volume, grid: HeadGrid, occupancy: np.ndarray, model: Model, *, device: str = "auto") -> np.ndarray:
    """Where in the cube nothing is known: around what the network proposes, but for bone; bool (n, n, n)."""
    from scipy.ndimage import binary_dilation

    finer = grid.at(model.side)
    probability = infer(model, look(model, case, finer, suggest(model, case)), device=device)
    proposed = sample(probability, finer.affine, occupancy.shape, grid.affine) > 0.5 * (1 - np.minimum(occupancy, 0.98))
    return binary_dilation(proposed & (occupancy < 0.5), iterations=_AROUND) & (occupancy < 0.5)


def draw_led(
    generator: LatentDiffusion, known: Tensor, hole: Tensor, item: int, *, seed: int, pull: float = PULL,
    steps: int = STEPS,
) -> Tensor:  # fmt: skip
    """A head, probability of bone (n, n, n) on the CPU, near the known skull (n, n, n) wherever `hole` is False."""
    device = generator.device
    known, counts = known.to(device)[None], (~hole).to(device)[None]
    networks, scale, coarse = generator.networks().eval(), generator.scale, generator.autoencoder
    left = iter(np.linspace(pull, 0, steps * _LEADS, endpoint=False))

    def bone(latent: Tensor) -> Tensor:
        skull, missing = torch.sigmoid(coarse.decoder(scale.inverse(latent)).float()).unbind(1)
        return 1 - (1 - skull) * (1 - missing)

    def lead(clean: Tensor) -> Tensor:
        for _ in range(_LEADS):
            with torch.enable_grad():
                latent = clean.detach().requires_grad_(True)
                error = F.binary_cross_entropy(bone(latent).clamp(1e-5, 1 - 1e-5), known, weight=counts.float())
                (slope,) = torch.autograd.grad(error, latent)
            clean = clean - next(left) * slope / slope.square().mean().sqrt().clamp_min(1e-12)
        return clean

    noise = SD()(generator.latent_shape, [item], seed).to(device)
    with torch.no_grad(), _frozen(networks):
        first = scale(coarse.embed(torch.stack([known, torch.zeros_like(known)], dim=1))[0])
        latent = ddim(generator.players["denoiser"], noise, generator.schedule, steps=steps, lead=lead,
                      begin=(first, _FIRST))  # fmt: skip
        return bone(latent)[0].cpu()


@contextmanager
def _frozen(networks: nn.Module) -> Iterator[None]:
    """No gradients of weights within the block: they would cost as much again as that of the latent."""
    wanted = [weight.requires_grad for weight in networks.parameters()]
    networks.requires_grad_(False)
    try:
        yield
    finally:
        for weight, was in zip(networks.parameters(), wanted, strict=True):
            weight.requires_grad_(was)
