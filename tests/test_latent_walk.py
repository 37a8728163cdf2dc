"""A walk through embeddings: along the directions in which heads vary, and samples that say what is wrong with them."""

import numpy as np
import pytest
import torch
from toy_generators import EDGE_MM, SHAPE, SIDE, heads, learn, make, store_of_heads

from cranial.sampling import UDS
from cranial.synthesis.latent_walk import decoded_cases, judged, latent_walk, reconstructed_cases, sampled_cases
from cranial.synthesis.learning_cases import Cases
from cranial.synthesis.recipe import GeneratorRecipe
from cranial.synthesis.trained import TrainedGenerator


def trained(method: str, **settings) -> TrainedGenerator:
    recipe = GeneratorRecipe(method=method, side=SIDE, steps=8, latent_channels=3, widths=SHAPE.widths, phantom_cases=4)
    generator = make(method, **settings)
    if not method.startswith("ldm"):  # whose autoencoder has learnt already
        learn(generator, 4)
    return TrainedGenerator(generator, recipe, EDGE_MM)


@pytest.fixture(scope="module")
def cases() -> Cases:
    return Cases((255 * heads(6)).numpy().astype(np.uint8), 255, EDGE_MM)


@pytest.mark.parametrize("method", ["vae", "vqvae", "ldm_vae", "wgan_gp"])
def test_a_walk_that_goes_nowhere_stays_where_it_begins_and_one_that_goes_ends_elsewhere(method, cases):
    walk = latent_walk(trained(method), cases, count=6, directions=2)
    assert np.array_equal(walk.case().complete.mask, walk.case(0.0, 0.0).complete.mask)
    there = walk.start + 2.0 * walk.directions[0]
    (wanted,) = decoded_cases(walk.trained, there)
    assert np.array_equal(walk.case(2.0).complete.mask, wanted.complete.mask)
    assert walk.case().complete.shape == (SIDE,) * 3 and walk.case().complete.spacing_mm[0] == EDGE_MM / SIDE


def test_directions_are_principal_and_one_standard_deviation_long(cases):
    vae = trained("vae")
    walk = latent_walk(vae, cases, count=6, directions=5)
    with torch.no_grad():
        points = torch.cat([vae.generator.embed(cases.tensor(number)[None])[0] for number in range(6)]).flatten(1)
    torch.testing.assert_close(walk.start.flatten(), points.mean(0))
    along = walk.directions.flatten(1)
    angles = along @ along.T / along.norm(dim=1) / along.norm(dim=1)[:, None]
    torch.testing.assert_close(angles, torch.eye(5), atol=1e-3, rtol=0)
    amounts = (points - points.mean(0)) @ along.T / along.square().sum(1)
    torch.testing.assert_close(amounts.square().mean(0), torch.ones(5), atol=1e-3, rtol=0)
    assert sum(walk.shares) == pytest.approx(1, abs=1e-3) and walk.shares == tuple(sorted(walk.shares, reverse=True))


def test_a_walk_needs_more_cases_than_directions_and_no_more_amounts(cases):
    with pytest.raises(ValueError, match="2 cases have no 3 directions"):
        latent_walk(trained("vae"), cases, count=2, directions=3)
    with pytest.raises(ValueError, match="2 amounts are given, the walk has 1 directions"):
        latent_walk(trained("vae"), cases, directions=1).case(0.0, 1.0)


def test_what_is_reconstructed_lies_beside_what_it_was(cases):
    shown = reconstructed_cases(trained("ldm_vqvae"), cases, [0, 3])
    assert list(shown) == ["case", "decoded"] and [len(row) for row in shown.values()] == [2, 2]
    assert np.array_equal(shown["case"][1].implant.mask, heads(4)[3, 1].numpy() > 0.5)
    with pytest.raises(ValueError, match="wgan_gp has no encoder"):
        reconstructed_cases(trained("wgan_gp"), cases, [0])


def test_samples_say_which_gate_they_fail(cases):
    vae = trained("vae")
    with torch.no_grad():
        vae.generator.decoder.head.bias.fill_(-50.0)
    drawn = sampled_cases(vae, range(3), seed=0, strategy=UDS(radius="typical"))
    assert [case.style for case in drawn] == ["empty skull"] * 3


def test_samples_are_judged_by_their_gates_volumes_and_differences(tmp_path):
    from cranial.reconstruction.mix import as_case

    good = [as_case(np.asarray(pair), edge_mm=EDGE_MM) for pair in (heads(2).numpy() > 0.5)]
    bad = as_case(np.zeros((2, SIDE, SIDE, SIDE), bool), edge_mm=EDGE_MM, style="empty skull")
    found = judged([*good, bad])
    assert found["pass the gates, %"] == pytest.approx(100 * 2 / 3)
    assert found["skull, cm³"] == pytest.approx(sorted(c.complete.volume_mm3 / 1000 for c in [*good, bad])[1])
    assert judged([good[0], good[0]])["diversity"] == 0


def test_a_store_of_cases_walks_too(tmp_path):
    from cranial.reconstruction.mix import StoredCases

    pool = StoredCases(store_of_heads(tmp_path, 5))
    assert latent_walk(trained("vae"), Cases(pool, 1, EDGE_MM)).case().complete.mask.shape == (SIDE,) * 3
