"""Suggestions: the mirrored skull and the atlas lie where the bone does, and a network may be shown them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from cranial import volume
from cranial.metrics import dice
from cranial.nets.residual_unet import ResidualUNet, ResidualUNetShape
from cranial.reconstruction import Model, load_model, propose, reconstruct
from cranial.reconstruction.atlas import Atlas, load_atlas
from cranial.reconstruction.cases import SkullPool, Strength
from cranial.reconstruction.grid import HeadGrid, lay_grid
from cranial.reconstruction.grown import grown
from cranial.reconstruction.learner import ReconstructionLearner, network_input
from cranial.reconstruction.predict import infer, look, suggest
from cranial.reconstruction.recipe import Recipe
from cranial.reconstruction.suggested import CHANNELS, SuggestedPool, anothers, draw_suggested, with_suggestions
from cranial.reconstruction.suggestions import find_suggestions
from cranial.reconstruction.training import train_reconstruction
from cranial.rng import generator
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom
from cranial.skulls.splits import phantom_items
from cranial.volume import Volume


@pytest.fixture(scope="module")
def case():
    return cut(phantom(phantom_items("test")[0], spacing_mm=2.0), "parietotemporal", seed=5)


@pytest.fixture(scope="module")
def found(case):
    return find_suggestions(case.defective)


@pytest.fixture(scope="module")
def skulls():
    return [SkullPool.of_phantoms(2, seed=3, side=48, spacing_mm=4.0, progress=False)]


def pool_of(skulls, folder, **changes):
    values = dict(count=4, side=48, seed=7, strength=Strength(), styles=("skullfix", "random_1"), cache=folder)
    return SuggestedPool(skulls, [1.0], **values | changes)


# -- what is suggested


def test_both_have_bone_where_it_is_missing_and_where_it_is(case, found):
    grid = lay_grid(case.defective, 64)
    mirrored, atlas = found.on(grid) > 0.5
    missing, bone = grid.occupancy(case.implant) > 0.5, grid.occupancy(case.defective) > 0.5
    for name, suggested in (("mirrored", mirrored), ("atlas", atlas)):
        assert (suggested & missing).sum() > 0.7 * missing.sum(), name
    assert dice(mirrored & ~missing, bone & ~missing) > 0.8, "but for the hole on its other side it is this skull"


def test_they_belong_to_the_head_and_not_to_the_cube(case, found):
    grid = lay_grid(case.defective, 48)
    finer = found.on(grid.at(96)).reshape(2, 48, 2, 48, 2, 48, 2).mean(axis=(2, 4, 6))
    assert np.abs(finer - found.on(grid)).mean() < 0.02
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, 0]  # one voxel further
    along_x = HeadGrid(48, affine)
    assert np.abs(found.on(along_x)[:, :-1] - found.on(grid)[:, 1:]).mean() < 1e-3
    inside = np.argwhere(found.on(grid)[0] > 0)
    points = inside @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    assert np.abs(found.mirrored(points) - found.on(grid)[0][tuple(inside.T)]).mean() < 1e-2


def test_a_skull_that_lies_elsewhere_is_suggested_the_same(case):
    further = case.defective.affine.copy()
    further[:3, 3] += [30.0, -20.0, 10.0]
    moved = Volume(case.defective.mask, further)
    seen = [find_suggestions(skull).on(lay_grid(skull, 32)) for skull in (case.defective, moved)]
    assert np.abs(seen[0] - seen[1]).mean() < 0.01


# -- cases to learn from


def test_a_case_has_four_channels_of_one_cube(case):
    grid = lay_grid(case.complete, 64)
    defective, implant = grid.occupancy(case.defective), grid.occupancy(case.implant)
    channels = with_suggestions(defective, implant, 48)
    assert channels.shape == (CHANNELS, 48, 48, 48) and channels.dtype == np.uint8
    skull, missing, mirrored, atlas = channels > 127
    assert not (skull & missing).any() and missing.any()
    assert (mirrored & missing).sum() > 0.5 * missing.sum() and (atlas & missing).sum() > 0.5 * missing.sum()


def test_where_nothing_can_be_found_nothing_is_suggested():
    speck = np.zeros((32, 32, 32), np.float32)
    speck[16, 16, 16] = 1
    channels = with_suggestions(speck, np.zeros_like(speck), 32)
    assert not channels[2:].any() and channels[0].any()


def test_an_item_comes_from_its_number_alone_and_is_kept(skulls, tmp_path):
    first = pool_of(skulls, tmp_path)[2]
    assert np.array_equal(pool_of(skulls, tmp_path / "elsewhere")[2], first)
    files = list(tmp_path.glob("suggested-*/00002.npz"))
    assert len(files) == 1
    before = files[0].stat().st_mtime_ns
    assert np.array_equal(pool_of(skulls, tmp_path)[2], first) and files[0].stat().st_mtime_ns == before
    assert pool_of(skulls, tmp_path, seed=8).folder != pool_of(skulls, tmp_path).folder, "another pool, another folder"
    with pytest.raises(IndexError, match="item is 4; the pool has 0 to 3"):
        pool_of(skulls, tmp_path)[4]


def test_a_head_is_suggested_the_atlas_that_was_made_without_it(skulls, tmp_path):
    whole = load_atlas()
    nothing = Atlas(np.zeros_like(whole.occupancy), whole.affine, {})
    named = SkullPool(skulls[0].occupancy, ["one", "other"])
    pool = pool_of([named], tmp_path, count=6, atlas=lambda head: nothing if head == "one" else whole)
    empty = {not pool[item][3].any() for item in range(6)}
    assert empty == {True, False}, "each of the two was drawn, with its own atlas"
    assert pool_of([named], tmp_path).folder != pool.folder, "another atlas, another folder"


def test_a_head_with_a_face_is_shown_the_whole_atlas_bent_as_often_as_a_recipe_says(skulls, tmp_path):
    whole = load_atlas()
    nothing = Atlas(np.zeros_like(whole.occupancy), whole.affine, {})
    named = SkullPool(skulls[0].occupancy, ["faced", "faceless"])

    def shown(own_face):
        pool = pool_of([named], tmp_path, count=12, atlas=lambda head: nothing, faces=["faced"], own_face=own_face)
        return [pool.cut(item)[2] for item in range(12)]

    assert all(atlas is nothing for atlas in shown(0.0))
    always, half = shown(1.0), shown(0.5)
    seen, some = ([atlas for atlas in atlases if atlas is not nothing] for atlases in (always, half))
    assert 0 < len(some) < len(seen) < 12, "half of the one head's; and of the other's, which has no face, none"
    for atlas in seen:
        assert 0.7 < dice(atlas.occupancy > 0.5, whole.occupancy > 0.5) < 0.99, "like it, and not the same"
    folders = {pool_of([named], tmp_path, faces=["faced"], own_face=share).folder for share in (0.0, 0.5, 1.0)}
    assert len(folders) == 3


def test_another_heads_atlas_comes_from_its_numbers_alone():
    one, same, other = (anothers(load_atlas(), generator(3, item)).occupancy for item in (0, 0, 1))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_another_heads_atlas_is_bent_with_what_it_is_fitted_by():
    atlas = load_atlas()
    bent = anothers(atlas, generator(3, 0))
    same = anothers(replace(atlas, occupancy=atlas.fitted), generator(3, 0))
    assert np.array_equal(bent.fitted, same.occupancy)
    drawn = atlas.occupancy - atlas.fitted > 0.3
    assert np.mean((bent.occupancy - bent.fitted)[ndimage.binary_dilation(drawn, iterations=3)] > 0.3) > 0.1


def test_a_facial_defect_is_cut_into_phantoms_and_heads_with_a_face_alone(skulls, tmp_path, monkeypatch):
    occupancy, cut_into = np.concatenate([skulls[0].occupancy] * 2)[:3], {}
    occupancy = occupancy * np.array([1.0, 0.9, 0.8])[:, None, None, None]  # to be told apart

    def drawn(skull, rng, *, styles, **rest):
        cut_into[int(skull.max())] = tuple(styles)
        return np.zeros((8, 8, 8), np.float32), np.zeros((8, 8, 8), np.float32)

    monkeypatch.setattr("cranial.reconstruction.suggested.draw_case", drawn)
    named = SkullPool(occupancy.astype(np.uint8), ["", "faced", "faceless"])
    styles = ("frontoorbital", "skullfix", "bilateral")
    pool = pool_of([named], tmp_path, count=20, styles=styles, faces=["faced"])
    for item in range(20):
        pool._make(item)
    assert cut_into == {255: styles, 229: styles, 204: ("skullfix",)}
    assert pool.folder != pool_of([named], tmp_path, count=20, styles=styles).folder
    with pytest.raises(ValueError, match="styles are bilateral, and none is for a head without a face; add one"):
        pool_of([named], tmp_path, styles=("bilateral",), faces=["faced"])


def test_a_draw_moves_all_channels_alike_and_comes_from_its_step(skulls, tmp_path):
    pool = pool_of(skulls, tmp_path)
    seen, targets = draw_suggested(pool, seed=1, step=5, batch=2, side=32)
    assert seen.shape == (2, 3, 32, 32, 32) and targets.shape == (2, 1, 32, 32, 32)
    again = draw_suggested(pool, seed=1, step=5, batch=2, side=32)
    assert np.array_equal(seen, again[0]) and np.array_equal(targets, again[1])
    assert not np.array_equal(seen, draw_suggested(pool, seed=1, step=6, batch=2, side=32)[0])


def test_however_far_a_draw_moves_all_channels_stay_on_each_other():
    class Same:
        def __len__(self):
            return 1

        def __getitem__(self, item):
            ball = (np.square(np.mgrid[:32, :32, :32] - 15.5).sum(axis=0) < 100) * np.uint8(255)
            return np.stack([ball] * CHANNELS)

    still, little, much = (
        draw_suggested(Same(), seed=1, step=6, batch=1, side=32, moved=Strength(elastic=e, elastic_fine=0))
        for e in (0, 0.01, 0.06)
    )
    assert (much[0][0, 0] == much[1][0, 0]).all(), "the skull and the target, which are never withheld"
    moved = [np.abs(seen[0][0, 0] - still[0][0, 0]).sum() for seen in (little, much)]
    assert 0 < 3 * moved[0] < moved[1]


def test_a_suggestion_is_withheld_now_and_then(skulls, tmp_path):
    class Full:
        def __len__(self):
            return 1

        def __getitem__(self, item):
            return np.full((CHANNELS, 8, 8, 8), 255, np.uint8)

    drawn = [draw_suggested(Full(), seed=0, step=step, batch=8, side=8)[0] for step in range(50)]
    empty = 1 - np.concatenate(drawn).any(axis=(2, 3, 4)).mean(axis=0)
    assert empty[0] == 0 and (0.02 < empty[1:]).all() and (empty[1:] < 0.09).all()


# -- the network that is shown them


def test_the_mirror_image_comes_second_and_suggestions_after_it():
    seen = torch.rand(1, 3, 4, 4, 4)
    shown = network_input(seen, symmetry=True)
    assert torch.equal(shown, torch.stack([seen[:, 0], seen[:, 0].flip(1), seen[:, 1], seen[:, 2]], dim=1))


def test_a_network_that_is_grown_says_at_first_what_it_said_before():
    torch.manual_seed(0)
    before = ResidualUNet(ResidualUNetShape(2, 1, (8, 16), 1, 2)).eval()
    after = ResidualUNet(ResidualUNetShape(4, 1, (8, 16), 1, 2)).eval()
    after.load_state_dict(grown(before.state_dict(), after.state_dict()))
    shown = torch.rand(1, 4, 16, 16, 16)
    assert torch.allclose(before(shown[:, :2]), after(shown), atol=1e-5)


def test_a_network_of_more_channels_says_at_first_what_the_narrower_said():
    torch.manual_seed(0)
    before = ResidualUNet(ResidualUNetShape(2, 1, (8, 16, 24), 1, 2)).eval()
    for part in before.parameters():
        torch.nn.init.normal_(part, std=0.1)  # the second convolutions start at next to nothing
    after = ResidualUNet(ResidualUNetShape(2, 1, (16, 32, 24), 1, 2, project=True)).eval()
    after.load_state_dict(grown(before.state_dict(), after.state_dict()))
    x = torch.rand(1, 2, 16, 16, 16)
    said = before(x)
    refused = grown(before.state_dict(), ResidualUNet(ResidualUNetShape(2, 1, (12, 16, 24), 1, 2)).state_dict())
    assert refused["head.weight"].shape[1] == 8, "12 channels have other groups; load_into says so"
    assert said.std() > 0.05 and torch.allclose(said, after(x), atol=1e-5), "groups of one and of two, of equal copies"


def test_a_shape_without_room_for_them_is_refused():
    with pytest.raises(ValueError, match="suggested=True and answered=False needs 4"):
        ReconstructionLearner(ResidualUNetShape(2, 1, (4, 8), 1, 2), steps=1, learning_rate=1e-3, suggested=True)


class Copies(torch.nn.Module):
    """Says that bone is where a channel has it."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, x):
        return 20 * (x[:, self.channel : self.channel + 1] - 0.5)


def test_a_model_that_wants_suggestions_gets_them(case):
    model = Model(Copies(2), 64, True, {}, suggested=True)
    grid = lay_grid(case.defective, 64)
    seen = look(model, case.defective, grid, suggest(model, case.defective))
    assert seen.shape == (3, 64, 64, 64) and np.array_equal(seen[0], grid.occupancy(case.defective))
    assert np.allclose(infer(model, seen), 1 / (1 + np.exp(-20 * (seen[1] - 0.5))), atol=0.1)
    found = reconstruct(case.defective, model=model).defect
    inside = found.mask & case.implant.mask
    assert inside.sum() > 0.6 * case.implant.mask.sum(), "what the other side has is proposed"
    several = propose(case.defective, count=2, seed=0, model=model, progress=False)
    assert dice(several.defects[1].mask, several.defects[0].mask) > 0.6, "the head is suggested the same in other cubes"


def test_a_model_that_wants_none_sees_the_skull_alone(case):
    grid = lay_grid(case.defective, 32)
    model = Model(Copies(0), 32, True, {})
    assert suggest(model, case.defective) is None and look(model, case.defective, grid, None).shape == (1, 32, 32, 32)


def test_a_recipe_with_suggestions_trains_and_gives_a_model_that_asks_for_them(case, tmp_path):
    recipe = Recipe(
        side=16, steps=2, batch=1, widths=(4, 8), phantoms=1, pool_side=32, phantom_spacing_mm=5.0, suggested=2,
        precision="32-true",
    )  # fmt: skip
    train_reconstruction(recipe, tmp_path / "run", cache=tmp_path, progress=False, validate_every=2)
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert model.suggested and model.network.shape.in_channels == 4
    assert volume.same_grid(reconstruct(case.defective, model=model).defect, case.defective)
