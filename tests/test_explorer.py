"""A place in a latent space: a sample, the way to another, a few directions, and what is kept of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_generators import EDGE_MM, SHAPE, SIDE, heads, learn, make, store_of_heads

from cranial.checkpoint import CheckpointError
from cranial.reconstruction.mix import as_case
from cranial.skulls.store import CaseStore, StoreError
from cranial.synthesis.explorer import LatentExplorer, Place, between, check_fit_to_learn_from, keep
from cranial.synthesis.latent_walk import decoded_cases, sampled_cases
from cranial.synthesis.recipe import GeneratorRecipe
from cranial.synthesis.trained import save_generator


def saved(folder: Path, method: str, steps: int = 4) -> Path:
    """A tiny trained generator in a file; it learnt from a set that lies beside it."""
    store_of_heads(folder / "set", 6)
    generator = make(method, steps=max(steps, 8))
    if not method.startswith("ldm"):
        learn(generator, steps)
    recipe = GeneratorRecipe(
        method=method, side=SIDE, steps=8, latent_channels=3, widths=SHAPE.widths, cases=Path("set"),
        settings=generator.settings.model_dump(),
    )  # fmt: skip
    if method.startswith("ldm"):
        generator.autoencoder.recipe = recipe.model_copy(
            update={"method": generator.autoencoder.method, "settings": generator.autoencoder.settings.model_dump()}
        )
    return save_generator(folder / "generator.safetensors", generator, recipe, edge_mm=EDGE_MM)


def explorer(folder: Path, method: str = "vae") -> LatentExplorer:
    return LatentExplorer(saved(folder, method), cache=folder / "cache")


def same(one, other) -> bool:
    return np.array_equal(one.defective.mask, other.defective.mask) and np.array_equal(
        one.implant.mask, other.implant.mask
    )


@pytest.mark.parametrize("method", ["vae", "wgan_gp", "vqvae", "ldm_vae"])
def test_the_way_begins_at_one_sample_and_ends_at_the_other(tmp_path, method):
    here = explorer(tmp_path, method)
    one, other = sampled_cases(here.trained, [4, 9], seed=3)
    place = Place(index=4, other=9, seed=3)
    assert same(here.case(place), one)
    assert same(here.case(replace(place, share=1.0)), other)
    assert here.case(place).style == one.style


def test_each_sample_is_drawn_once_and_the_rest_is_decoding(tmp_path, monkeypatch):
    here, drawn = explorer(tmp_path), []
    generator = here.trained.generator
    draw = generator.draw
    monkeypatch.setattr(generator, "draw", lambda indices, **how: drawn.extend(indices) or draw(indices, **how))
    for share in (0.0, 0.3, 0.6, 1.0):
        here.case(Place(index=2, other=5, share=share))
    assert drawn == [2, 5]


def test_directions_are_those_of_the_cases_it_learnt_from_and_begin_at_the_sample(tmp_path):
    here = explorer(tmp_path)
    assert sum(here.walk.shares) <= 1 + 1e-5 and len(here.walk.directions) == 3
    latent = here.trained.generator.draw([1], seed=0) - 2.5 * here.walk.directions[1]
    (wanted,) = decoded_cases(here.trained, latent)
    assert same(here.case(Place(index=1, amounts=(0.0, -2.5, 0.0))), wanted)


@pytest.mark.parametrize(
    ("method", "name", "message"),
    [
        ("ldm_vae", "ud", "ud does not fit ldm_vae: its latents are denoised"),
        ("vqvae", "sd", "sd does not fit vqvae: its latents are codes, and its learned prior draws them"),
    ],
)
def test_a_strategy_that_does_not_fit_is_refused_in_the_librarys_words(tmp_path, method, name, message):
    with pytest.raises(ValueError, match=message):
        explorer(tmp_path, method).case(Place(strategy=name, choice="three"))


def test_the_radius_of_uds_and_the_interval_of_ud_are_the_samples(tmp_path):
    here = explorer(tmp_path)
    lengths = {choice: here._sample(Place(strategy="uds", choice=choice), 7).norm().item() for choice in
               ("literal", "per_axis")}
    assert lengths["literal"] == pytest.approx(3, rel=1e-5) and lengths["per_axis"] > 10
    assert here._sample(Place(strategy="ud", choice="unit_variance"), 7).abs().max() <= 3**0.5


def test_a_sample_beyond_the_set_has_no_place(tmp_path):
    with pytest.raises(ValueError, match="sample 64000 is none of the 64000 from 0 on; choose a smaller number"):
        explorer(tmp_path).case(Place(index=64_000))


def test_weights_of_something_else_are_not_explored(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="a.safetensors"):
        LatentExplorer(tmp_path / "a.safetensors", cache=tmp_path)


def test_the_way_between_is_an_arc_of_even_steps_whose_length_goes_from_one_to_the_other():
    one, other = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0.0, 4.0, 0.0]])
    points = [between(one, other, share) for share in (0, 0.25, 0.5, 0.75, 1)]
    torch.testing.assert_close(points[0], one)
    torch.testing.assert_close(points[-1], other)
    torch.testing.assert_close(points[2], torch.tensor([[3 / 2**0.5, 3 / 2**0.5, 0.0]]))
    steps = [torch.cosine_similarity(a, b).item() for a, b in zip(points, points[1:], strict=False)]
    assert steps == pytest.approx([np.cos(np.pi / 8)] * 4, abs=1e-6)
    assert [point.norm().item() for point in points] == pytest.approx([2, 2.5, 3, 3.5, 4])


@pytest.mark.parametrize("other", [(4.0, 0.0), (-4.0, 0.0), (0.0, 0.0)])
def test_between_latents_on_one_line_the_way_is_straight(other):
    one, other = torch.tensor([2.0, 0.0]), torch.tensor(other)
    torch.testing.assert_close(between(one, other, 0.25), one + 0.25 * (other - one))


def test_what_passes_the_gates_is_kept_in_a_set_one_after_the_other(tmp_path):
    cases = [as_case(pair.numpy() > 0.5, edge_mm=EDGE_MM) for pair in heads(2)]
    assert [keep(case, tmp_path / "kept", {"index": n}) for n, case in enumerate(cases)] == [0, 1]
    store = CaseStore.open(tmp_path / "kept")
    assert store.present() == [0, 1] and store.provenance(1) == {"index": 1}
    assert np.array_equal(store.read(1).defect, cases[1].implant.mask)
    assert store.layout.spacing_mm == (EDGE_MM / SIDE,) * 3


def test_what_fails_a_gate_is_not_kept_and_is_told_why(tmp_path):
    bad = replace(as_case(heads(1)[0].numpy() > 0.5, edge_mm=EDGE_MM), style="skull in pieces")
    with pytest.raises(ValueError, match="this case is not kept: skull in pieces; a network would learn"):
        check_fit_to_learn_from(bad)
    with pytest.raises(ValueError, match="this case is not kept: skull in pieces"):
        keep(bad, tmp_path / "kept", {})
    assert not (tmp_path / "kept").exists()


def test_cases_of_another_size_do_not_go_into_the_same_set(tmp_path):
    case = as_case(heads(1)[0].numpy() > 0.5, edge_mm=EDGE_MM)
    keep(case, tmp_path, {})
    with pytest.raises(StoreError, match="holds a set with spacing_mm"):
        keep(as_case(heads(1)[0].numpy() > 0.5, edge_mm=2 * EDGE_MM), tmp_path, {})


def test_a_full_set_takes_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr("cranial.synthesis.explorer.SET_SIZE", 1)
    case = as_case(heads(1)[0].numpy() > 0.5, edge_mm=EDGE_MM)
    keep(case, tmp_path, {})
    with pytest.raises(ValueError, match="is full, it has room for 1 cases; choose another folder"):
        keep(case, tmp_path, {})


def test_a_kept_case_says_where_it_is_from_in_json(tmp_path):
    import json

    here = explorer(tmp_path)
    told = json.loads(json.dumps(here.provenance(Place(index=3, amounts=(1.0, 0.0, -1.0)))))
    assert told["method"] == "vae" and told["index"] == 3 and told["amounts"] == [1.0, 0.0, -1.0]
