"""A latent diffusion led by a known skull: its cases come near that skull, and its pieces lie on the case's grid."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from toy_generators import EDGE_MM, SHAPE, SIDE, heads, make

from cranial import volume
from cranial.diffusion import Schedule, ddim
from cranial.reconstruction import Model
from cranial.reconstruction.grid import lay_grid
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom
from cranial.synthesis.conditioned import draw_led, find_hole, propose_conditioned
from cranial.synthesis.recipe import GeneratorRecipe
from cranial.synthesis.trained import TrainedGenerator


class HealthySide(torch.nn.Module):
    """A network that needs no training: where the mirror image has bone and the skull has none, there is implant."""

    def forward(self, x):
        return 30 * (x[:, 1:2] - x[:, :1] - 0.3)


def trained(method: str, **recipe) -> TrainedGenerator:
    described = GeneratorRecipe(
        method=method, side=SIDE, steps=8, latent_channels=3, widths=SHAPE.widths, phantom_floor=0.3,
        **{"phantom_cases": 1} | recipe,
    )  # fmt: skip
    return TrainedGenerator(make(method), described, EDGE_MM)


@pytest.fixture(scope="module")
def diffusion() -> TrainedGenerator:
    return trained("ldm_vae")


@pytest.fixture(scope="module")
def skull() -> tuple[torch.Tensor, torch.Tensor]:
    """A skull with a hole, and where nothing is known."""
    skull, missing = heads(1)[0]
    return skull, missing > 0


def wrong(bone: torch.Tensor, skull: torch.Tensor, hole: torch.Tensor) -> float:
    return F.binary_cross_entropy(bone[~hole], skull[~hole]).item()


@pytest.mark.parametrize("method", ["ldm_vae", "ldm_vqvae"])
def test_the_more_a_skull_leads_the_nearer_a_head_comes_to_it(method, skull):
    generator = trained(method).generator
    errors = [wrong(draw_led(generator, *skull, 0, seed=1, pull=pull, steps=8), *skull) for pull in (0.0, 0.1, 0.5)]
    assert errors[0] > errors[1] > errors[2]


def test_where_everything_is_open_nothing_leads(diffusion, skull):
    known, hole = skull
    everywhere = torch.ones_like(hole)
    led, free = (draw_led(diffusion.generator, known, everywhere, 0, seed=1, pull=p, steps=3) for p in (0.5, 0.0))
    assert torch.allclose(led, free)
    assert not torch.allclose(draw_led(diffusion.generator, known, hole, 0, seed=1, pull=0.5, steps=3), free)


def test_a_led_head_depends_on_its_seed_and_number_and_leaves_the_weights_as_they_are(diffusion, skull):
    keys = ((1, 0), (1, 1), (2, 0))
    drawn = {(seed, item): draw_led(diffusion.generator, *skull, item, seed=seed, steps=3) for seed, item in keys}
    assert torch.equal(drawn[1, 0], draw_led(diffusion.generator, *skull, 0, seed=1, steps=3))
    assert not torch.equal(drawn[1, 0], drawn[1, 1]) and not torch.equal(drawn[1, 0], drawn[2, 0])
    weights = list(diffusion.generator.networks().parameters())
    assert all(weight.grad is None for weight in weights) and any(weight.requires_grad for weight in weights)


def test_what_leads_the_sampler_sees_every_clean_latent_and_what_it_says_is_what_comes_out():
    seen = []

    def lead(clean):
        seen.append(clean)
        return torch.full_like(clean, 7.0)

    noise = torch.randn(1, 2, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    found = ddim(lambda latents, time: torch.zeros_like(latents), noise, Schedule(times=20), steps=4, lead=lead)
    assert len(seen) == 4 and torch.allclose(found, torch.full_like(noise, 7.0))


def test_a_sampler_that_begins_at_latents_keeps_them_where_there_is_no_noise_to_take_away():
    first = torch.full((1, 2, 2, 2, 2), 3.0)
    schedule = Schedule(times=100)
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(0))
    found = ddim(lambda latents, time: noise, noise, schedule, steps=4, begin=(first, 0.5))
    assert torch.allclose(found, first, atol=1e-4)
    assert schedule.visited(4, share=0.5) == [49, 37, 24, 11] and schedule.visited(4)[0] == 99
    with pytest.raises(ValueError, match="steps is 51; give 1 to 50, the times the denoiser was trained for"):
        schedule.visited(51, share=0.5)


def test_pieces_lie_on_the_grid_of_the_case_near_its_hole_and_off_its_bone(diffusion):
    case = cut(phantom(3, spacing_mm=4.0), "craniotomy", seed=1)
    skull = case.defective
    model = Model(HealthySide(), side=32, symmetry=True, metadata={})
    found = propose_conditioned(
        skull, diffusion, count=2, seed=0, model=model, steps=3, smallest_mm3=0, progress=False
    )
    grid = lay_grid(skull, SIDE)
    hole = find_hole(skull, grid, grid.occupancy(skull), model)
    assert hole[grid.occupancy(case.implant) > 0.4].mean() > 0.6 and not hole[grid.occupancy(skull) >= 0.5].any()
    assert len(found.defects) == 2
    for defect in (*found.defects, found.vote):
        assert volume.same_grid(defect, skull) and not np.any(defect.mask & skull.mask)


def test_a_generator_that_cannot_be_led_is_refused(diffusion):
    case = phantom(3, spacing_mm=6.0)
    with pytest.raises(ValueError, match=r"generator is a vae trained on phantoms; give a latent diffusion \(ldm"):
        propose_conditioned(case, trained("vae"), count=1, seed=0)
    other = TrainedGenerator(diffusion.generator, diffusion.recipe.model_copy(update={"cases": "set"}), EDGE_MM)
    with pytest.raises(ValueError, match="the generator is a ldm_vae trained on set; give a latent diffusion"):
        propose_conditioned(case, other, count=1, seed=0)
