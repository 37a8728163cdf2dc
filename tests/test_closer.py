"""The closer look: a second network sees the case at half the voxel size, around what the first one proposes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cranial import volume
from cranial.checkpoint import CheckpointError, load_weights
from cranial.metrics import dice
from cranial.nets.residual_unet import ResidualUNet, ResidualUNetShape
from cranial.reconstruction.answer import Answer
from cranial.reconstruction.cases import SkullPool, Strength, warp
from cranial.reconstruction.closer import AROUND, CHANNELS, WORTH, closer_answer, infer_closer, look_closer
from cranial.reconstruction.closer_cases import BLOCK, CloserPool, draw_closer, less_sure
from cranial.reconstruction.grid import HeadGrid, lay_grid
from cranial.reconstruction.model import Model, load_model, read_networks, save_closer
from cranial.reconstruction.predict import brought_back, postprocess, reconstruct
from cranial.reconstruction.proposals import propose
from cranial.reconstruction.recipe import Recipe
from cranial.reconstruction.suggestions import find_suggestions
from cranial.reconstruction.training import train_reconstruction
from cranial.resampling import sample
from cranial.rng import generator
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom
from cranial.skulls.splits import phantom_items
from cranial.volume import Volume

TINY = {"side": 16, "steps": 2, "batch": 1, "widths": (4, 8), "phantoms": 1, "pool_side": 32,
        "phantom_spacing_mm": 5.0, "suggested": 2, "precision": "32-true"}  # fmt: skip


MILD = Strength(pitch_deg=2.0, elastic=0.003, elastic_fine=0.001, none_chance=0, second_chance=0, cut_chance=0)


@pytest.fixture(scope="module")
def case():
    return cut(phantom(phantom_items("test")[0], spacing_mm=1.5), "parietotemporal", seed=5)


@pytest.fixture(scope="module")
def asked(case):
    grid, suggestions = lay_grid(case.defective, 64), find_suggestions(case.defective)
    return {"grid": grid, "suggestions": suggestions, "probability": grid.occupancy(case.implant)}


class Says(nn.Module):
    """Probability where a channel has something, as a network that sees boxes of any multiple of 8."""

    shape = ResidualUNetShape(CHANNELS, 1, (4, 8, 16), 1, 2)

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, x):
        return 20 * (x[:, self.channel : self.channel + 1] - 0.5)


# -- what it sees


def test_the_box_holds_what_is_proposed_at_half_the_voxel_size_and_its_sides_divide(case, asked):
    near = look_closer(case.defective, **asked, multiple=8)
    assert near.seen.shape[0] == CHANNELS and all(n % 8 == 0 for n in near.seen.shape[1:])
    assert np.isclose(np.linalg.norm(near.affine[:3, 0]), asked["grid"].spacing_mm / 2)
    back = sample(near.seen[1], near.affine, (64,) * 3, asked["grid"].affine)
    worth = asked["probability"] >= WORTH
    assert np.abs(back - asked["probability"])[worth].mean() < 0.1
    there = np.argwhere(near.seen[1] >= 0.5)
    assert (there.min(axis=0) >= AROUND - 2).all(), "there is something to see around it"


def test_each_channel_is_what_it_is_called(case, asked):
    near = look_closer(case.defective, **asked, multiple=8)
    shape = near.seen.shape[1:]
    skull, answer, mirrored, atlas = near.seen
    assert np.array_equal(skull, sample(case.defective.mask, case.defective.affine, shape, near.affine))
    truth = sample(case.implant.mask, case.implant.affine, shape, near.affine) > 0.5
    assert dice(answer > 0.5, truth) > 0.85, "the first answer is the truth here, in coarse voxels"
    for suggested in (mirrored, atlas):
        assert suggested[truth].mean() > 0.5


def test_where_nothing_is_proposed_there_is_nothing_to_look_at(case, asked):
    nothing = np.full((64,) * 3, 0.9 * WORTH, np.float32)
    assert look_closer(case.defective, nothing, asked["grid"], asked["suggestions"], multiple=8) is None
    model = Model(None, 64, True, {}, suggested=True, closer=Says(1))
    seen = np.zeros((3, 64, 64, 64), np.float32)
    assert not brought_back(model, case.defective, nothing, seen, asked["grid"], asked["suggestions"]).any()


def test_a_proposal_that_fills_the_cube_is_looked_at_whole(case, asked):
    everything = np.ones((64,) * 3, np.float32)
    near = look_closer(case.defective, everything, asked["grid"], asked["suggestions"], multiple=8)
    assert near.seen.shape == (CHANNELS, 128, 128, 128)


# -- what it is good for


class Knows(nn.Module):
    """Answers what it was told, whatever it sees."""

    shape = Says.shape

    def __init__(self, truth: np.ndarray) -> None:
        super().__init__()
        self.logits = torch.logit(torch.from_numpy(truth.clip(0.001, 0.999)))[None, None]

    def forward(self, x):
        self.logits = self.logits.flip(2) if getattr(self, "asked", False) else self.logits  # asked twice, flipped
        self.asked = True
        return self.logits


def test_a_perfect_second_answer_is_nearer_to_the_truth_than_a_perfect_first_one(case, asked):
    near = look_closer(case.defective, **asked, multiple=8)
    truth = sample(case.implant.mask, case.implant.affine, near.seen.shape[1:], near.affine)
    seen = np.concatenate([asked["grid"].occupancy(case.defective)[None], asked["suggestions"].on(asked["grid"])])
    scores = []
    for closer in (None, Knows(truth)):
        model = Model(None, 64, True, {}, suggested=True, closer=closer)
        proposal = brought_back(model, case.defective, asked["probability"], seen, asked["grid"], asked["suggestions"])
        scores.append(dice(postprocess(proposal, case.defective), case.implant.mask))
    assert scores[1] > max(0.97, scores[0] + 0.01)


def test_both_sides_are_asked(case, asked):
    torch.manual_seed(0)
    network = ResidualUNet(Says.shape).eval().bfloat16()
    near = look_closer(case.defective, **asked, multiple=8)
    model = Model(None, 64, True, {}, suggested=True, closer=network)
    flipped = infer_closer(model, np.ascontiguousarray(near.seen[:, ::-1]))
    assert np.allclose(infer_closer(model, near.seen)[::-1], flipped, atol=1e-2)


def test_what_is_proposed_on_one_side_alone_is_missing_on_the_other_too():
    grid = HeadGrid(48, np.diag([1.5, 1.5, 1.5, 1.0]))
    bone, said, rest = np.zeros((3, 48, 48, 48), np.float32)
    bone[6:42, 10:36, 10:16] = 1
    said[30:36, 20:26, 16:34] = said[12:18, 20:26, 16:20] = 1  # a strut whole on the left, its foot on the right
    rest[12:18, 20:26, 20:34] = 1
    first = Answer(said + 0.42 * rest, bone, grid.affine)  # of which the network is not sure
    itself = SimpleNamespace(within=lambda *onto: np.stack([sample(bone, grid.affine, *onto)] * 2))
    model, skull = Model(None, 48, True, {}, suggested=True, closer=Says(1)), Volume(bone > 0.5, grid.affine)
    with_it, without = (
        closer_answer(model, skull, first, grid, itself, counterpart=counterpart) for counterpart in (True, False)
    )
    inner = sample(rest, grid.affine, with_it.probability.shape, with_it.affine) > 0.99
    assert with_it.probability[inner].mean() > 0.95 and without.probability[inner].mean() < 0.2
    elsewhere = sample(rest + said, grid.affine, with_it.probability.shape, with_it.affine) == 0
    assert np.array_equal(with_it.probability[elsewhere], without.probability[elsewhere])


# -- what it learns from


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    skulls = [SkullPool.of_phantoms(2, seed=3, side=96, spacing_mm=2.5, progress=False)]
    first = Model(Copies(2), 48, True, {}, suggested=True)
    return CloserPool(
        skulls, [1.0], count=3, side=96, seed=7, strength=MILD, styles=("skullfix", "random_1"),
        cache=tmp_path_factory.mktemp("cache"), model=first, multiple=8,
    )  # fmt: skip


class Copies(nn.Module):
    """A first network that says what the mirrored skull has, where the skull has nothing."""

    shape = ResidualUNetShape(4, 1, (4, 8), 1, 2)

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel
        self.register_buffer("weight", torch.ones(1))

    def forward(self, x):
        return 20 * (x[:, self.channel : self.channel + 1] - x[:, :1] - 0.5)


def test_an_item_is_what_the_first_network_says_and_what_is_true_and_it_is_kept(pool):
    item = pool[0]
    assert item.dtype == np.uint8 and item.shape[0] == CHANNELS + 1 and all(n % 8 == 0 for n in item.shape[1:])
    skull, answer, mirrored, _, truth = item / 255
    assert truth.any() and np.minimum(skull, truth).mean() < 0.1 * truth.mean(), "what is missing is not there"
    assert mirrored[truth > 0.5].mean() > 0.4 and answer.max() > 0.9
    kept = pool.folder / "00000.npz"
    assert kept.is_file() and pool.folder.name.startswith("closer-")
    assert np.array_equal(pool[0], item)
    kept.unlink()
    assert np.array_equal(pool[0], item), "of (seed, item) alone"
    with pytest.raises(IndexError, match="item is 3; the pool has 0 to 2"):
        pool[3]


def test_another_first_network_and_other_sides_have_pools_of_their_own(pool):
    other = Copies(2)
    other.weight += 1

    def folder(**changes):
        settings = {"count": 3, "side": 96, "seed": 7, "strength": pool.strength, "styles": pool.styles,
                    "cache": pool.folder.parent, "model": pool.model, "multiple": 8}  # fmt: skip
        return CloserPool(pool.skulls, [1.0], **settings | changes).folder

    assert folder() == pool.folder
    assert len({folder(), folder(model=replace(pool.model, network=other)), folder(multiple=16)}) == 3


def test_a_draw_is_a_block_of_a_case_and_the_same_for_the_same_step(pool):
    seen, truth = draw_closer(pool, seed=1, step=5, batch=1)
    assert seen.shape[1] == CHANNELS and truth.shape[1] == 1 and seen.shape[2:] == truth.shape[2:]
    assert max(seen.shape[2:]) <= BLOCK and seen.dtype == np.float32 and 0 <= seen.min() and seen.max() <= 1
    again = draw_closer(pool, seed=1, step=5, batch=1)
    assert np.array_equal(seen, again[0]) and np.array_equal(truth, again[1])
    assert not np.array_equal(truth, draw_closer(pool, seed=1, step=6, batch=1)[1])
    assert draw_closer(pool, seed=1, step=5, batch=2)[0].shape[0] == 2, "of cases of different sizes what all have"


def test_odds_are_multiplied_and_added_to_and_certainty_stays():
    p = np.array([0.0, 0.1, 0.5, 0.9, 1.0], np.float32)
    assert np.allclose(less_sure(p, 1.0, 0.0), p, atol=1e-6)
    assert np.allclose(less_sure(p, 0.5, 0.0), [0, 0.25, 0.5, 0.75, 1], atol=1e-6)
    assert np.allclose(less_sure(p, 1.0, np.log(2))[1:4], [2 / 11, 2 / 3, 18 / 19], atol=1e-5)


def test_a_steeper_surface_is_as_sharp_as_a_mask_and_lies_where_it_lay():
    x = np.abs(np.arange(32) - 15.5)
    ball = np.clip((10 - np.sqrt(x[:, None, None] ** 2 + x[:, None] ** 2 + x**2)) / 6 + 0.5, 0, 1)
    blurred = np.rint(255 * ball).astype(np.uint8)
    still = Strength(0, 0, 0, 0, 0, 0, 0, thickness=0)
    plain, steep = (
        warp(blurred, generator(0), side=32, strength=replace(still, slope=slope)) for slope in (1.0, 4.0)
    )
    partial = [((0.05 < each) & (each < 0.95)).sum() for each in (plain, steep)]
    assert partial[1] < 0.4 * partial[0] and np.array_equal(plain > 0.5, steep > 0.5)


# -- how it is made, kept and asked


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    train_reconstruction(Recipe(**TINY), folder, cache=folder, progress=False, validate_every=None)
    return folder / "model.safetensors"


def test_a_recipe_trains_one_that_reconstructs_with_the_first(case, first, tmp_path):
    recipe = Recipe(**TINY | {"symmetry": False, "closer_to": first, "pool_side": 48})
    result = train_reconstruction(recipe, tmp_path, cache=tmp_path, progress=False, validate_every=2)
    model, before = load_model(tmp_path / "model.safetensors"), load_model(first)
    assert result.steps == 2 and model.closer.shape.in_channels == CHANNELS and before.closer is None
    same = zip(model.network.parameters(), before.network.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in same), "the first network is the one whose answers were looked at"
    assert model.metadata["closer"]["recipe"]["steps"] == 2 and model.metadata["side"] == 16
    assert "closer_to" not in model.metadata["closer"]["recipe"], "names of files tell others nothing"
    assert volume.same_grid(reconstruct(case.defective, model=model).defect, case.defective)
    assert len(propose(case.defective, count=2, seed=0, model=model, progress=False).defects) == 2


def test_a_closer_look_starts_from_an_earlier_one(first, tmp_path):
    recipe = Recipe(**TINY | {"symmetry": False, "closer_to": first, "pool_side": 48})
    train_reconstruction(recipe, tmp_path / "one", cache=tmp_path, progress=False, validate_every=None)
    on = recipe.model_copy(
        update={"start_from": tmp_path / "one/model.safetensors", "steps": 1, "learning_rate": 1e-12}
    )
    train_reconstruction(on, tmp_path / "two", cache=tmp_path, progress=False, validate_every=None)
    one, two = (read_networks(tmp_path / name / "model.safetensors")[1] for name in ("one", "two"))
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), two.parameters(), strict=True))
    with pytest.raises(ValueError, match="no network in it looks closer; name weights of such a recipe"):
        train_reconstruction(on.model_copy(update={"start_from": first}), tmp_path / "three", cache=tmp_path)


def test_a_second_closer_look_takes_the_place_of_the_first(first, tmp_path):
    path = tmp_path / "pair.safetensors"
    for value in (0.0, 1.0):
        closer = ResidualUNet(Says.shape)
        nn.init.constant_(closer.head.bias, value)
        save_closer(path, closer, {"shape": Says.shape.as_dict()}, first=path if value else first)
        assert read_networks(path)[1].head.bias[0] == value
    assert len(load_weights(path)[0]) == len(load_weights(first)[0]) + len(closer.state_dict())


def test_a_file_whose_second_network_is_not_what_it_says_is_refused(first, tmp_path):
    path = tmp_path / "pair.safetensors"
    other = ResidualUNetShape(CHANNELS, 1, (4, 8, 12), 1, 2)
    save_closer(path, ResidualUNet(other), {"shape": Says.shape.as_dict()}, first=first)
    with pytest.raises(CheckpointError, match="does not fit closer"):
        load_model(path)


@pytest.mark.parametrize("wrong", [{"symmetry": True}, {"suggested": 0}, {"boxed": True}])
def test_a_recipe_of_a_closer_look_needs_suggestions_and_no_mirror_image(wrong):
    settings = {**TINY, "symmetry": False, "closer_to": "model.safetensors", **wrong}
    with pytest.raises(ValueError, match="closer look needs suggestions and no mirror image|without an atlas a box"):
        Recipe(**settings)


@pytest.mark.parametrize("wrong", [{"side": 32}, {"suggested": 0}])
def test_a_first_network_for_other_cases_is_refused(first, tmp_path, wrong):
    if "suggested" in wrong:
        train_reconstruction(Recipe(**TINY | wrong), tmp_path / "plain", progress=False, validate_every=None)
        first, wrong = tmp_path / "plain" / "model.safetensors", {}
    recipe = Recipe(**TINY | {"symmetry": False, "closer_to": first} | wrong)
    with pytest.raises(ValueError, match="name one with suggestions, and its side"):
        train_reconstruction(recipe, tmp_path / "run", progress=False, validate_every=None)
