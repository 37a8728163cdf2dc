"""What the reconstruction network learns from, what it is taught, and the recipe that ties both together."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cranial import volume
from cranial.config import ConfigError, load
from cranial.nets.residual_unet import ResidualUNetShape
from cranial.reconstruction import load_model
from cranial.reconstruction.cases import SkullPool, Strength, draw_batch, draw_case, spoil, warp
from cranial.reconstruction.dry import as_dry_skull
from cranial.reconstruction.learner import ReconstructionLearner, network_input, soft_dice_loss
from cranial.reconstruction.recipe import Recipe, pools
from cranial.reconstruction.thin_walls import with_thin_walls
from cranial.reconstruction.training import train_reconstruction
from cranial.rng import generator
from cranial.skulls.phantom import phantom

STILL = Strength(
    pitch_deg=0,
    tilt_deg=0,
    shift=0,
    scale=0,
    stretch=0,
    elastic=0,
    elastic_fine=0,
    thickness=0,
    speckle=0,
    cut_chance=0,
)


@pytest.fixture(scope="module")
def pool():
    return SkullPool.of_phantoms(2, seed=0, side=48, spacing_mm=3.0, progress=False)


# -- cases


def test_without_any_strength_a_skull_stays_itself_or_becomes_its_mirror_image(pool):
    warped = warp(pool.occupancy[0], generator(0, 0), side=48, strength=STILL)
    original = pool.occupancy[0] / 255
    assert min(np.abs(warped - original).max(), np.abs(warped - original[::-1]).max()) < 1e-5


def test_an_even_bend_makes_another_skull_that_is_its_own_mirror_image_as_before(pool):
    own = np.maximum(pool.occupancy[0], pool.occupancy[0][::-1])
    for item in range(4):
        even = warp(own, generator(2, item), side=48, strength=replace(STILL, even=0.03, even_fine=0.01))
        assert np.abs(even - even[::-1]).max() < 1e-4 and np.abs(even - own / 255).mean() > 0.005
        uneven = warp(own, generator(2, item), side=48, strength=replace(STILL, elastic=0.03, elastic_fine=0.01))
        assert np.abs(uneven - uneven[::-1]).mean() > 0.005


def test_sides_differ_more_in_as_many_cases_as_the_strength_says(pool):
    sometimes = replace(STILL, elastic=0.01, elastic_fine=0.002, uneven_chance=0.3, uneven=4.0)
    always, never = replace(sometimes, uneven_chance=1.0), replace(sometimes, uneven=1.0)
    counted = {"strong": 0, "calm": 0}
    for item in range(60):
        got, strong, calm = (
            warp(pool.occupancy[0], generator(4, item), side=24, strength=s) for s in (sometimes, always, never)
        )
        assert not np.array_equal(strong, calm)
        counted["strong"] += np.array_equal(got, strong)
        counted["calm"] += np.array_equal(got, calm)
    assert sum(counted.values()) == 60 and 8 <= counted["strong"] <= 30


def test_input_and_target_are_together_the_complete_skull(pool):
    for item in range(6):
        unspoiled = Strength(speckle=0, cut_chance=0)
        defective, implant = draw_case(pool.occupancy[0], generator(3, item), side=32, strength=unspoiled)
        complete = warp(pool.occupancy[0], generator(3, item), side=32, strength=unspoiled)
        assert np.allclose(defective + implant, complete, atol=1e-6)
        assert defective.min() >= 0 and implant.min() >= 0


def test_speckle_and_scan_cuts_reach_the_input_only(pool):
    calm, loud = Strength(speckle=0, cut_chance=0), Strength(speckle=0.05, cut_chance=1)
    changed = 0
    for item in range(6):
        before, target = draw_case(pool.occupancy[1], generator(1, item), side=32, strength=calm)
        after, same = draw_case(pool.occupancy[1], generator(1, item), side=32, strength=loud)
        assert np.array_equal(target, same)
        changed += not np.array_equal(before, after)
    assert changed >= 4


def test_a_scan_cut_only_takes_from_below():
    full = np.ones((32, 32, 32), np.float32)
    cut = spoil(full, generator(0, 1), Strength(speckle=0, cut_chance=1))
    removed = np.argwhere(cut == 0)
    assert len(removed) and removed[:, 2].mean() < 12 and cut[:, :, -4:].all()


def test_a_batch_depends_on_seed_and_step_alone(pool):
    draw = {"batch": 2, "side": 32, "strength": Strength()}
    one, again = (draw_batch([pool], [1.0], seed=5, step=7, **draw) for _ in range(2))
    other = draw_batch([pool], [1.0], seed=5, step=8, **draw)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], other[0])
    assert one[0].shape == (2, 1, 32, 32, 32) and one[0].dtype == np.float32


def test_a_pool_with_no_share_is_never_drawn_from(pool):
    poisoned = SkullPool(np.zeros((1, 48, 48, 48), np.uint8))
    inputs, _ = draw_batch([pool, poisoned], [1.0, 0.0], seed=0, step=0, batch=8, side=16, strength=STILL)
    assert (inputs.sum(axis=(1, 2, 3, 4)) > 0).all()


def test_some_cases_have_no_defect_and_most_have_one(pool):
    empty = sum(not draw_case(pool.occupancy[0], generator(9, i), side=16)[1].any() for i in range(150))
    assert 1 <= empty <= 25


def test_phantoms_come_back_from_the_cache_as_they_were_made(tmp_path):
    settings = {"seed": 1, "side": 24, "spacing_mm": 5.0, "cache": tmp_path, "progress": False}
    made, read = SkullPool.of_phantoms(2, **settings), SkullPool.of_phantoms(2, **settings)
    assert np.array_equal(made.occupancy, read.occupancy) and len(list(tmp_path.iterdir())) == 2


def test_a_pool_of_something_else_is_refused():
    with pytest.raises(ValueError, match="give uint8"):
        SkullPool(np.zeros((2, 8, 8, 8), np.float32))
    with pytest.raises(ValueError, match="heads names 1, and there are 2 skulls; name each, or none"):
        SkullPool(np.zeros((2, 8, 8, 8), np.uint8), ["keinos"])


def test_a_recipe_knows_from_which_head_each_of_its_skulls_was_made(tmp_path):
    for name in ("first", "second"):
        volume.write(phantom(len(name), spacing_mm=5.0), tmp_path / f"{name}.nrrd")
    heads = [tmp_path / "first.nrrd", tmp_path / "second.nrrd"]
    recipe = Recipe(side=16, steps=1, phantoms=1, phantom_spacing_mm=5.0, pool_side=64, heads=heads, bent=3)
    found, _ = pools(recipe)
    assert [pool.heads for pool in found] == [("",), ("first", "second"), ("first", "second", "first")]


def test_a_dry_skull_is_its_head_without_what_is_below_the_bite_and_with_all_that_is_above_the_arches():
    head = np.full((50, 50, 50), 255, np.uint8)
    dry = as_dry_skull(head)
    assert not dry[:, :, :15].any() and dry[:, :, 21:].all() and head.all()
    assert dry[25, :, 17].all() and not dry[5, 15, 17]  # the middle of the base stays, the rami go
    assert np.array_equal(dry, dry[::-1])


def test_a_recipe_shows_its_dry_heads_as_often_as_it_says(tmp_path):
    volume.write(phantom(1, spacing_mm=5.0), tmp_path / "one.nrrd")
    named = {"heads": [tmp_path / "one.nrrd"], "dry": ["one"], "dry_share": 0.25}
    recipe = Recipe(side=16, steps=1, phantoms=1, phantom_spacing_mm=5.0, pool_side=64, head_share=0.8, **named)
    found, shares = pools(recipe)
    assert [pool.heads for pool in found] == [("",), ("one",), ("one",)]
    assert shares == pytest.approx([0.2, 0.6, 0.2])
    assert np.array_equal(found[2].occupancy[0], as_dry_skull(found[1].occupancy[0]))
    with pytest.raises(ValueError, match="dry names one; name heads of the recipe by their file stems"):
        pools(recipe.model_copy(update={"heads": ()}))
    with pytest.raises(ValueError, match="faces names two; name heads of the recipe by their file stems"):
        pools(recipe.model_copy(update={"faces": ("one", "two")}))


def test_a_face_that_sees_itself_must_be_named():
    with pytest.raises(ValueError, match="own_face is 0.5, but faces names no head; name those that have a face"):
        Recipe(side=32, steps=1, own_face=0.5)
    assert Recipe(side=32, steps=1, own_face=0.5, faces=("one",)).own_face == 0.5


def test_thin_walls_only_add_bone_and_only_in_the_face():
    dry = np.zeros((64, 64, 64), np.uint8)
    dry[20:44, 10:14, 30:44] = 200  # something of a forehead
    walled = with_thin_walls(dry, generator(3, 0))
    more = np.argwhere(walled > dry)
    assert (walled >= dry).all() and walled.dtype == np.uint8 and 300 < len(more) < 6000
    assert more.min(axis=0).tolist() >= [19, 6, 20] and more.max(axis=0).tolist() <= [45, 29, 48]
    assert np.array_equal(walled, with_thin_walls(dry, generator(3, 0)))
    assert not np.array_equal(walled, with_thin_walls(dry, generator(3, 1)))


def test_thin_walls_are_the_same_in_a_finer_cube():
    def drawn(n):
        return with_thin_walls(np.zeros((n, n, n), np.uint8), generator(3, 2)).astype(float) / 255

    coarse, fine = drawn(64), drawn(128).reshape(64, 2, 64, 2, 64, 2).mean(axis=(1, 3, 5))
    assert np.corrcoef(coarse.ravel(), fine.ravel())[0, 1] > 0.85


def test_a_dry_head_is_shown_with_as_many_faces_as_a_recipe_says(tmp_path):
    volume.write(phantom(1, spacing_mm=5.0), tmp_path / "one.nrrd")
    named = {"heads": [tmp_path / "one.nrrd"], "dry": ["one"], "thin_walls": 3}
    (real, dry), _ = pools(Recipe(side=16, steps=1, phantoms=0, pool_side=64, seed=7, **named))
    assert dry.heads == ("one",) * 3
    bare = as_dry_skull(real.occupancy[0])
    assert np.array_equal(dry.occupancy[2], with_thin_walls(bare, generator(7, 2)))
    assert (dry.occupancy >= bare).all() and not np.array_equal(dry.occupancy[0], dry.occupancy[1])


# -- what is taught


def test_soft_dice_of_a_perfect_proposal_is_zero_and_of_a_disjoint_one_nearly_one():
    target = torch.zeros(1, 1, 8, 8, 8)
    target[..., :4] = 1
    assert soft_dice_loss(target, target) == 0
    assert soft_dice_loss(1 - target, target) > 0.99


def test_on_binary_targets_it_is_the_plain_soft_dice_of_the_study():
    torch.manual_seed(0)
    p, t = torch.rand(2, 1, 6, 6, 6, dtype=torch.float64), (torch.rand(2, 1, 6, 6, 6) > 0.5).double()
    plain = (1 - (2 * (p * t).flatten(1).sum(1) + 1) / (p.flatten(1).sum(1) + t.flatten(1).sum(1) + 1)).mean()
    assert torch.isclose(soft_dice_loss(p, t), plain)


def test_on_occupancies_it_is_least_at_the_occupancy_itself():
    """The plain soft Dice would push a voxel that is 0.4 full to 0 or 1."""
    target = torch.full((1, 1, 4, 4, 4), 0.4, dtype=torch.float64)
    losses = {p: soft_dice_loss(torch.full_like(target, p), target).item() for p in (0.0, 0.2, 0.4, 0.6, 1.0)}
    assert min(losses, key=losses.get) == 0.4


def test_an_empty_target_asks_for_an_empty_proposal():
    logits = torch.zeros(1, 1, 4, 4, 4, requires_grad=True)
    soft_dice_loss(torch.sigmoid(logits), torch.zeros_like(logits)).backward()
    assert (logits.grad > 0).all()


def test_the_second_channel_is_the_mirror_image():
    x = torch.rand(2, 1, 4, 6, 8)
    both = network_input(x, symmetry=True)
    assert torch.equal(both[:, :1], x) and torch.equal(both[:, 1:], x.flip(2))
    assert torch.equal(network_input(x, symmetry=False), x)


def test_a_shape_without_room_for_the_mirror_image_is_refused():
    with pytest.raises(ValueError, match="suggested=False and answered=False needs 2"):
        ReconstructionLearner(ResidualUNetShape(1, 1, (4, 8), 1, 2), steps=1, learning_rate=1e-3, symmetry=True)


# -- the recipe


TINY = {
    "side": 16,
    "steps": 6,
    "batch": 1,
    "widths": (4, 8),
    "phantoms": 2,
    "pool_side": 24,
    "phantom_spacing_mm": 5.0,
    "precision": "32-true",
}


def test_a_recipe_trains_resumes_and_gives_a_model_that_reconstructs(tmp_path):
    recipe = Recipe(**TINY)
    settings = {"cache": tmp_path / "pool", "progress": False, "validate_every": 3}
    result = train_reconstruction(recipe, tmp_path / "run", **settings)
    assert result.steps == 6 and (tmp_path / "run" / "model.safetensors").is_file()
    again = train_reconstruction(recipe, tmp_path / "run", **settings)
    assert again.steps == 6
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert model.side == 16 and model.metadata["trained_on"] == ["2 phantoms"]
    assert model.metadata["recipe"]["phantoms"] == 2


def test_the_network_learns_to_fill_the_holes_of_one_skull(tmp_path):
    still = replace(STILL, none_chance=0)
    easy = {"steps": 120, "batch": 2, "widths": (8, 16), "learning_rate": 1e-2, "phantoms": 1, "strength": still}
    result = train_reconstruction(Recipe(**{**TINY, **easy}), tmp_path, progress=False, validate_every=None)
    lines = [json.loads(line) for line in result.log.read_text().splitlines()]
    losses = [line["unet/loss"] for line in lines if "unet/loss" in line]
    assert losses[-1] < 0.7 * losses[0]


def test_real_heads_join_the_phantoms(real_skulls):
    recipe = Recipe(**TINY, heads=(real_skulls["scct_template"],), head_share=0.25)
    found, shares = pools(recipe)
    assert [len(p) for p in found] == [2, 1] and shares == [0.75, 0.25]


def test_a_recipe_without_skulls_is_refused():
    with pytest.raises(ValueError, match="names no skulls"):
        pools(Recipe(**{**TINY, "phantoms": 0}))


def test_heads_to_bend_need_heads():
    with pytest.raises(ValueError, match="bent is 4, but heads is empty"):
        pools(Recipe(**{**TINY, "bent": 4}))


def test_the_recipes_of_the_shipped_model_are_readable(repository):
    recipes = [path for path in (repository / "params" / "model").glob("*.yaml") if path.stem != "atlas"]
    assert len(recipes) >= 3
    for path in recipes:
        assert load(path, Recipe).steps > 1000, path


def test_a_misspelt_key_of_a_recipe_names_the_nearest(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("side: 32\nsteps: 10\nphantom: 3\n")
    with pytest.raises(ConfigError, match="did you mean 'phantoms'"):
        load(path, Recipe)
