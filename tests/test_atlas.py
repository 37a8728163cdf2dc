"""The atlas: an average skull fills what both sides lack, leaves a whole head alone, and is nobody's own head."""

from dataclasses import replace
from statistics import mean

import numpy as np
import pytest
import torch

from cranial import metrics, volume
from cranial.checkpoint import CheckpointError, save_weights
from cranial.reconstruction import reconstruct
from cranial.reconstruction.atlas import SHIPPED, Atlas, find_hole, fit_atlas, load_atlas
from cranial.reconstruction.atlas_making import AtlasRecipe, _means, make_atlas, save_atlas, without_each
from cranial.reconstruction.grid import lay_grid
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom
from cranial.skulls.splits import phantom_items


@pytest.fixture(scope="module")
def skulls():
    return [phantom(item, spacing_mm=2.0) for item in phantom_items("test")[:2]]


@pytest.fixture(scope="module")
def small():
    return make_atlas(AtlasRecipe(phantoms=2, phantom_spacing_mm=2.5, side=64, rounds=1), progress=False)


def test_the_shipped_atlas_is_small_symmetric_and_described():
    card = (SHIPPED.parent / "atlas.md").read_text()
    assert SHIPPED.stat().st_size <= 2.5e6
    atlas = load_atlas()
    assert np.array_equal(atlas.occupancy, atlas.occupancy[::-1]) and 300 < atlas.skull.volume_mm3 / 1000 < 1200
    assert all(source in card for source in atlas.metadata["made_from"])
    assert not {"arothron_human", "inv0051", "skullbreak001_parietotemporal"} & set(atlas.metadata["made_from"])


def test_what_both_sides_lack_the_atlas_knows_better_than_the_mirror(skulls):
    cases = [cut(skull, "bilateral", seed=5, item=item) for item, skull in enumerate(skulls)]

    def dice(method):
        return mean(metrics.dice(reconstruct(c.defective, method=method).defect.mask, c.implant.mask) for c in cases)

    assert dice("atlas") > max(0.5, dice("mirror") + 0.1)


def test_little_is_missing_in_a_whole_phantom_though_no_phantom_is_in_the_atlas(skulls):
    assert reconstruct(skulls[0], method="atlas").defect.volume_mm3 < 0.02 * skulls[0].volume_mm3


def test_nothing_is_missing_in_a_whole_head_that_is_not_in_the_atlas(real_skulls):
    assert reconstruct(volume.read(real_skulls["arothron_human"]), method="atlas").defect.volume_mm3 < 1000


def test_the_answer_is_on_the_skulls_own_grid_and_beside_its_bone(skulls):
    case = cut(skulls[0], "random_2", seed=1)
    found = reconstruct(case.defective, method="atlas")
    assert volume.same_grid(found.defect, case.defective) and found.report["method"] == "atlas"
    assert found.defect.mask.any() and not (found.defect.mask & case.defective.mask).any()


def test_an_atlas_bent_onto_itself_stays_where_it_is(small):
    grid = lay_grid(small.skull, 64)
    points = small.skull.voxel_to_mm(np.argwhere(small.skull.mask)[::50])
    moved = fit_atlas(small, small.skull, grid.affine).map_points(points)
    assert np.linalg.norm(moved - points, axis=1).mean() < 1.0


def test_a_hole_is_where_the_atlas_has_bone_and_the_skull_has_none_near():
    plate = np.zeros((24, 24, 24))
    plate[:, :, 10:13] = 1
    assert not find_hole(plate, plate).any() and not find_hole(plate, np.roll(plate, 1, axis=2)).any()
    holed = plate.copy()
    holed[8:16, 8:16] = 0
    hole = find_hole(plate, holed)
    assert hole[8:16, 8:16, 10:13].all() and not hole[:3].any() and not hole[:, :, 20:].any()


def test_an_atlas_is_symmetric_and_says_what_it_is_made_from(small):
    assert np.allclose(small.occupancy, small.occupancy[::-1])
    assert small.metadata["made_from"] == ["2 phantoms"] and small.metadata["recipe"]["side"] == 64


def test_the_atlas_without_a_head_is_of_the_others_and_who_is_not_in_it_gets_the_shipped_one(tmp_path):
    paths = [volume.write(phantom(item, spacing_mm=4.0), tmp_path / f"{item}.nrrd") for item in (1, 2)]
    without = without_each(AtlasRecipe(heads=paths, side=32, rounds=1))
    assert [without(head).metadata["made_from"] for head in ("1", "2")] == [["2"], ["1"]]
    assert without("") is load_atlas() and without("1") is without("1")


def test_thin_bone_that_one_scan_has_lost_stays_in_the_mean():
    affine = np.diag([1.7, 1.7, 1.7, 1.0])
    affine[:3, 3] = -0.5 * 63 * 1.7
    ball = np.linalg.norm(np.indices((64,) * 3) - 31.5, axis=0)
    whole = ((ball > 24) & (ball < 28)).astype(np.float32)
    plate = np.zeros_like(whole)
    plate[20:44, 31:33, 20:44] = 1  # far from the shell
    first, other = Atlas(np.maximum(whole, plate), affine, {}), Atlas(whole, affine, {})
    mean, scanned = _means(first, [(first, 1.0), (other, 1.0)])
    assert np.array_equal(mean, scanned), "nothing was drawn"
    assert mean[26:38, 31:33, 26:38].min() > 0.6
    shell = whole > 0.5
    aside = np.abs(np.indices(ball.shape)[1] - 31.5) > 8
    assert mean[shell].mean() > 0.8 and mean[(ball > 32) | ((ball < 20) & aside)].max() < 0.1


def test_a_file_gives_the_atlas_back_within_half_a_byte(small, tmp_path):
    again = load_atlas(save_atlas(small, tmp_path / "atlas.safetensors"))
    assert np.abs(again.occupancy - small.occupancy).max() <= 0.5 / 255 + 1e-6 and again.scanned is None
    assert np.array_equal(again.affine, small.affine) and again.metadata["made_from"] == ["2 phantoms"]


def test_a_file_of_something_else_is_no_atlas(tmp_path):
    other = {"architecture": "critic"}
    path = save_weights(tmp_path / "other.safetensors", torch.nn.Linear(2, 2), other, storage="float32")
    with pytest.raises(CheckpointError, match="holds 'critic', not an atlas; give a file that save_atlas"):
        load_atlas(path)


def test_a_recipe_without_skulls_is_refused():
    with pytest.raises(ValueError, match="names no skulls: set phantoms above 0"):
        make_atlas(AtlasRecipe())


def test_thin_walls_are_drawn_into_the_faces_that_a_recipe_names(tmp_path):
    skull = phantom(3, spacing_mm=3.0, mandible=False)
    volume.write(skull, tmp_path / "one.nrrd")
    recipe = AtlasRecipe(heads=[tmp_path / "one.nrrd"], side=64, rounds=1)
    bare, drawn = (
        make_atlas(recipe.model_copy(update={"thin_walls": names}), progress=False) for names in ((), ("one",))
    )
    plain, walled = bare.occupancy, drawn.occupancy
    front = walled[16:48, :32].sum() - plain[16:48, :32].sum()
    everywhere = walled.sum() - plain.sum()
    assert front > 0.03 * plain.sum(), "bone, in front and in the middle"
    assert abs(everywhere - front) < 0.015 * plain.sum(), "and next to nothing elsewhere"
    assert bare.scanned is None and np.array_equal(drawn.fitted, plain), "they are shown, and do not pull"
    again = load_atlas(save_atlas(drawn, tmp_path / "atlas.safetensors"))
    assert np.abs(again.occupancy - walled).max() <= 0.5 / 255 + 1e-6
    assert np.abs(again.fitted - plain).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(without_each(recipe.model_copy(update={"thin_walls": ("one",)}))("").occupancy,
                          load_atlas().occupancy)
    with pytest.raises(ValueError, match="thin_walls names two; name heads of the recipe by their file stems"):
        make_atlas(recipe.model_copy(update={"thin_walls": ("two",)}))


def test_a_model_for_the_atlas_is_refused(skulls):
    with pytest.raises(ValueError, match="method atlas uses no model"):
        reconstruct(skulls[0], method="atlas", model="weights.safetensors")


def test_what_is_drawn_into_an_atlas_is_carried_along_and_does_not_pull():
    atlas = load_atlas()
    skull = phantom(5, spacing_mm=3.0, mandible=False)
    cube = lay_grid(skull, 32).affine
    whole = fit_atlas(atlas, skull, cube, side=32, rounds=1)
    bare = fit_atlas(replace(atlas, occupancy=atlas.fitted), skull, cube, side=32, rounds=1)
    pulled = fit_atlas(replace(atlas, scanned=None), skull, cube, side=32, rounds=1)
    assert np.array_equal(whole.affine, bare.affine) and np.array_equal(whole.field, bare.field)
    assert not np.array_equal(whole.field, pulled.field), "walls that are fitted do pull"
