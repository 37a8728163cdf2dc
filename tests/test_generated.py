"""Sets of generated cases: the same from any number of processes, resumed, with reasons where there is no case."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from toy_generators import EDGE_MM, SHAPE, SIDE, head, heads, learn, make, store_of_heads

from cranial import __version__
from cranial.config import ConfigError, load
from cranial.generators import as_masks, build, sample
from cranial.quality import NearestCase
from cranial.reconstruction.mix import as_case
from cranial.sampling import UDS
from cranial.skulls.store import CaseStore, StoreError
from cranial.synthesis import generated
from cranial.synthesis.filling import fill
from cranial.synthesis.gates import refusal
from cranial.synthesis.generated import COPY, SIZE, GeneratedSet, generated_case, make_generated_set, open_set
from cranial.synthesis.recipe import GeneratorRecipe
from cranial.synthesis.trained import load_generator, save_generator

pytestmark = pytest.mark.usefixtures("one_thread")  # bits are compared

COUNT = 8
TINY = {"side": SIDE, "steps": 1, "widths": (8, 16), "latent_channels": 3}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A VAE that has learned what hollow balls look like, from a set of four."""
    folder = tmp_path_factory.mktemp("generator")
    balls = store_of_heads(folder / "balls", 4).folder
    made, many = make("vae", steps=120, beta=0.02), heads(16)
    made.rate = 1e-2
    learn(made, 120, batches=lambda step: many[torch.arange(2 * step, 2 * step + 2) % 16])
    recipe = GeneratorRecipe(method="vae", cases=balls, settings={"beta": 0.02}, **TINY)
    return save_generator(folder / "generator.safetensors", made, recipe, edge_mm=EDGE_MM)


@pytest.fixture(scope="module")
def recipe(file) -> GeneratedSet:
    return GeneratedSet(count=COUNT, generator=file, seed=2, copy_above=0.95)


@pytest.fixture(scope="module")
def made(recipe, tmp_path_factory) -> CaseStore:
    folder = tmp_path_factory.mktemp("set")
    done = make_set(recipe, folder)
    assert done.written + sum(done.rejected.values()) == COUNT and done.written >= 4 and done.before == 0
    return CaseStore.open(folder)


def make_set(recipe, folder, **choices):
    return make_generated_set(recipe, folder, cache=folder, device="cpu", progress=False, **choices)


def same(one: CaseStore, other: CaseStore) -> bool:
    return (one.present(), one.rejections()) == (other.present(), other.rejections()) and all(
        np.array_equal(one.read(item).defective, other.read(item).defective)
        and np.array_equal(one.read(item).defect, other.read(item).defect)
        and one.provenance(item) == other.provenance(item)
        for item in one.present()
    )


def hand_back(monkeypatch, cases: dict[int, np.ndarray]):
    """A generator that makes these cases, and a new head, near none of the four it has seen, for every other item."""
    known = NearestCase([head(number) for number in range(4)])
    new = [number for number in range(100, 160) if known.dice(head(number))[1] < 0.85]

    def sample(generator, items, *, seed, strategy):
        return torch.from_numpy(np.stack([cases.get(item, head(new[item])) for item in items])).float()

    monkeypatch.setattr(generated, "sample", sample)


# -- what a set is


def test_a_case_is_what_the_generator_decodes_from_the_latent_of_its_number(made, recipe):
    generator = load_generator(recipe.generator).generator
    for item in made.present():
        defective, defect = as_masks(sample(generator, [item], seed=2)[0]).numpy()
        case = made.read(item)
        np.testing.assert_array_equal(case.defective, defective)
        np.testing.assert_array_equal(case.defect, defect)
        assert refusal(defective, defect, voxel_mm3=(EDGE_MM / SIDE) ** 3) is None
    assert made.layout.spacing_mm == (EDGE_MM / SIDE,) * 3


def test_every_case_says_where_it_is_from(made, recipe):
    nearest = NearestCase([head(number) for number in range(4)])
    for item in made.present():
        said, case = made.provenance(item), made.read(item)
        assert (said["method"], said["strategy"], said["seed"], said["item"]) == ("vae", None, 2, item)
        assert said["style"] == "generated" and said["cranial"] == __version__
        assert said["affine"][0][0] == EDGE_MM / SIDE and said["affine"][3] == [0, 0, 0, 1]
        assert said["defect_mm3"] == pytest.approx(case.defect.sum() * (EDGE_MM / SIDE) ** 3)
        index, score = nearest.dice(np.stack([case.defective, case.defect]))
        assert (said["nearest_training_case"], said["nearest_dice"]) == (index, round(score, 4))
        assert said["overlap_voxels"] >= 0


def test_bone_is_what_reaches_the_level_of_the_generator(recipe, tmp_path):
    trained = load_generator(recipe.generator)
    probabilities = sample(trained.generator, [0], seed=2)
    path = tmp_path / "lower.safetensors"
    save_generator(path, trained.generator, trained.recipe, edge_mm=EDGE_MM, level=0.2)
    make_set(recipe.model_copy(update={"generator": path}), tmp_path / "set", items=[0])
    said = CaseStore.open(tmp_path / "set").provenance(0)
    assert said["level"] == 0.2 and said["overlap_voxels"] == (probabilities[0] >= 0.2).all(0).sum()
    case, _, _ = generated_case(recipe, load_generator(path), 0, chosen=None, known=None)
    np.testing.assert_array_equal(case.complete.mask, (probabilities[0].sum(0) >= 0.2).numpy())


def test_a_set_lies_about_the_origin_of_its_cube(recipe, monkeypatch):
    hand_back(monkeypatch, {})
    case, _, _ = generated_case(recipe, load_generator(recipe.generator), 0, chosen=None, known=None)
    centre = case.complete.affine @ [*[(SIDE - 1) / 2] * 3, 1]
    np.testing.assert_allclose(centre[:3], 0, atol=1e-9)
    np.testing.assert_array_equal(case.complete.mask, case.defective.mask | case.implant.mask)


# -- the same from anywhere


def test_an_item_is_the_same_alone(made, recipe):
    item = made.present()[-1]
    case, said, reason = generated_case(recipe, load_generator(recipe.generator), item, chosen=None, known=None)
    assert reason == "" and said["defect_mm3"] == made.provenance(item)["defect_mm3"]
    np.testing.assert_array_equal(case.implant.mask, made.read(item).defect)


def test_parts_of_a_set_are_the_set(made, recipe, tmp_path):
    """Also where the items are an iterator, or written twice."""
    first = make_set(recipe, tmp_path, items=iter(range(3)))
    assert first.written + sum(first.rejected.values()) == 3 and first.before == 0
    assert open_set(recipe, load_generator(recipe.generator), tmp_path).missing() == list(range(3, COUNT))
    second = make_set(recipe, tmp_path, items=[7, 6, 5, 4, 3, 3, 2])
    assert second.before == 1 and second.written + sum(second.rejected.values()) == COUNT - 3
    assert same(CaseStore.open(tmp_path), made)


def test_a_stopped_set_goes_on_and_ends_as_if_it_had_not_been(made, recipe, tmp_path, monkeypatch):
    real, calls = generated.generated_case, []

    def stop_at_the_third(*arguments, **choices):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **choices)

    monkeypatch.setattr(generated, "generated_case", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        make_set(recipe, tmp_path)
    monkeypatch.undo()
    assert make_set(recipe, tmp_path).before == 2
    assert same(CaseStore.open(tmp_path), made)


def test_a_set_that_is_whole_is_not_made_again(made, recipe, monkeypatch):
    monkeypatch.setattr(generated, "training_cases", None)
    monkeypatch.setattr(generated, "sample", None)
    done = make_set(recipe, made.folder)
    assert (done.written, done.rejected, done.before) == (0, Counter(), COUNT)


def test_two_processes_make_one_set(made, recipe, tmp_path):
    code = (
        "import sys, torch; torch.set_num_threads(1); from pathlib import Path; "
        "from test_generated import GeneratedSet, make_set; "
        f"make_set(GeneratedSet(count={COUNT}, generator=sys.argv[1], seed=2, copy_above=0.95), Path(sys.argv[2]))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    here = Path(__file__).resolve().parent
    other = subprocess.Popen([sys.executable, "-c", code, recipe.generator, tmp_path], cwd=here, env=environment)
    make_set(recipe, tmp_path, items=range(0, COUNT, 2))
    assert other.wait() == 0
    assert same(CaseStore.open(tmp_path), made)


def test_who_comes_second_counts_nothing(tmp_path):
    """Another process decides each item while this one is at it."""
    store, twin = (store_in(tmp_path) for _ in range(2))

    def late(item):
        twin.reject(item, "no") if item % 2 else twin.write(item, *head(item), {})
        return (None, {}, "no") if item < 2 else (as_case(head(item), edge_mm=160.0), {}, "")

    done = fill(store, late, items=iter(range(4)), name="late", progress=False)
    assert (done.written, done.rejected, done.before) == (0, Counter(), 0)
    assert fill(store, late, items=iter(range(3)), name="late", progress=False).before == 3


def test_items_to_fill_may_be_an_iterator_and_name_an_item_twice(tmp_path):
    def make(item):
        return (None, {}, "no") if item == 2 else (as_case(head(item), edge_mm=160.0), {}, "")

    assert fill(store_in(tmp_path), make, items=iter([1]), name="some", progress=False).written == 1
    done = fill(store_in(tmp_path), make, items=iter([0, 0, 1, 2]), name="some", progress=False)
    assert (done.written, done.rejected, done.before) == (1, Counter({"no": 1}), 1)


def store_in(folder):
    return CaseStore.create(folder, count=4, shape=(SIDE,) * 3, spacing_mm=(10.0,) * 3, recipe={})


# -- what is refused


def test_a_copy_of_a_training_case_is_refused_and_another_head_is_not(recipe, tmp_path, monkeypatch):
    hand_back(monkeypatch, {1: head(3), 5: head(0)})
    done = make_set(recipe, tmp_path)
    store = CaseStore.open(tmp_path)
    assert store.rejections() == {1: COPY, 5: COPY} and done.rejected == Counter({COPY: 2})
    assert done.written == COUNT - 2 and store.present() == [0, 2, 3, 4, 6, 7]
    said = store.provenance(1)
    assert (said["nearest_training_case"], said["nearest_dice"]) == (3, 1.0) and said["item"] == 1
    assert all(store.provenance(item)["nearest_dice"] < recipe.copy_above for item in store.present())


def test_copies_are_kept_by_who_does_not_look_for_them(recipe, tmp_path, monkeypatch):
    hand_back(monkeypatch, {1: head(3)})
    monkeypatch.setattr(generated, "training_cases", None)
    done = make_set(recipe.model_copy(update={"copy_above": None}), tmp_path)
    assert done.written == COUNT
    assert "nearest_dice" not in CaseStore.open(tmp_path).provenance(1)


def test_what_counts_as_a_copy_is_a_setting(recipe, tmp_path, monkeypatch):
    """A head with a voxel too much is no copy at 1, and one just below its Dice; Dice has to be above."""
    near = head(3)
    near[0, 0, 0, 0] = True
    hand_back(monkeypatch, {1: near})
    score = NearestCase([head(3)]).dice(near)[1]
    for limit, expected in ((1.0, {}), (score, {}), (score - 1e-6, {1: COPY})):
        one = recipe.model_copy(update={"copy_above": limit})
        make_set(one, tmp_path / str(limit), items=[1])
        assert CaseStore.open(tmp_path / str(limit)).rejections() == expected


def test_items_that_fail_are_noted_and_counted_by_reason(recipe, tmp_path, monkeypatch):
    nothing, whole = np.zeros_like(head(0)), head(50)
    whole[0] |= whole[1]
    whole[1] = False
    far = head(51)
    far[1] = False
    far[1, :2, :2, :2] = True
    hand_back(monkeypatch, {0: nothing, 2: whole, 3: whole, 4: far, 6: head(1)})
    done = make_set(recipe, tmp_path)
    store = CaseStore.open(tmp_path)
    reasons = {0: "empty skull", 2: "empty defect", 3: "empty defect", 4: "defect does not touch the skull", 6: COPY}
    assert store.rejections() == reasons and done.rejected == Counter(reasons.values())
    assert store.present() == [1, 5, 7] and done.written == 3
    assert store.provenance(4)["item"] == 4 and "nearest_dice" not in store.provenance(4)
    assert make_set(recipe, tmp_path).before == COUNT, "decided is decided"


def test_voxels_that_both_channels_claim_are_counted_and_given_to_one(recipe, monkeypatch):
    claimed = head(60)
    claimed[0] |= claimed[1]
    hand_back(monkeypatch, {0: claimed})
    trained = load_generator(recipe.generator)
    case, said, reason = generated_case(recipe, trained, 0, chosen=None, known=None)
    assert said["overlap_voxels"] == claimed[1].sum() and case is None and reason == "empty defect"


# -- one folder, one set


def test_another_generators_weights_in_the_same_folder_are_refused(made, recipe, tmp_path):
    trained = load_generator(recipe.generator)
    with torch.no_grad():
        trained.generator.decoder.head.bias[0] += 0.1
    path = save_generator(tmp_path / "other.safetensors", trained.generator, trained.recipe, edge_mm=EDGE_MM)
    with pytest.raises(StoreError, match="holds a set with recipe.generator .*, not .*; choose another folder"):
        open_set(recipe.model_copy(update={"generator": path}), load_generator(path), made.folder)


def test_the_same_generator_written_again_or_elsewhere_goes_on(made, recipe, tmp_path):
    """A training that is done writes its file again, and safetensors writes the header in any order."""
    trained = load_generator(recipe.generator)
    for copy in range(4):
        path = save_generator(tmp_path / f"{copy}.safetensors", trained.generator, trained.recipe, edge_mm=EDGE_MM)
        done = make_set(recipe.model_copy(update={"generator": path}), made.folder)
        assert done.before == COUNT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 3}, "recipe.seed 2, not 3"),
        ({"strategy": "uds"}, "recipe.strategy None, not uds"),
        ({"copy_above": None}, "recipe.copy_above 0.95, not None"),
        ({"count": 9}, "count 8, not 9"),
    ],
)
def test_a_set_of_other_settings_is_not_mixed_in(made, recipe, change, message):
    with pytest.raises(StoreError, match=message):
        open_set(recipe.model_copy(update=change), load_generator(recipe.generator), made.folder)


# -- strategies


def test_a_strategy_draws_the_latents_and_uds_knows_the_count_of_the_set(recipe, tmp_path, monkeypatch):
    seen = []

    def spy(generator, items, *, seed, strategy):
        seen.append(strategy)
        return sample(generator, items, seed=seed, strategy=strategy)

    monkeypatch.setattr(generated, "sample", spy)
    uds = recipe.model_copy(update={"strategy": "uds", "choices": {"radius": "typical"}})
    make_set(uds, tmp_path, items=[3])
    assert seen == [UDS(radius="typical", count=COUNT)]
    store = CaseStore.open(tmp_path)
    assert store.provenance(3)["strategy"] == "uds"
    wanted = as_masks(sample(load_generator(recipe.generator).generator, [3], seed=2, strategy=seen[0])[0]).numpy()
    if store.present():
        np.testing.assert_array_equal(store.read(3).defect, wanted[1])


def test_a_count_that_is_given_to_uds_is_kept(recipe, tmp_path, monkeypatch):
    hand_back(monkeypatch, {})
    uds = recipe.model_copy(update={"strategy": "uds", "choices": {"count": 3}})
    assert make_set(uds, tmp_path, items=[0]).written == 1
    assert generated._strategy(uds, load_generator(recipe.generator)) == UDS(count=3)


def test_a_strategy_that_does_not_fit_or_lacks_a_choice_is_refused_before_a_set_is_made(recipe, tmp_path):
    ud = recipe.model_copy(update={"strategy": "ud"})
    with pytest.raises(ValueError, match="ud needs its interval"):
        make_set(ud, tmp_path / "set")
    vqvae = make("vqvae")
    described = GeneratorRecipe(method="vqvae", settings=vqvae.settings.model_dump(mode="json"), **TINY)
    path = save_generator(tmp_path / "vqvae.safetensors", vqvae, described, edge_mm=EDGE_MM)
    with pytest.raises(ValueError, match="uds does not fit vqvae: .*what fits: no strategy, leave it out"):
        make_set(recipe.model_copy(update={"generator": path, "strategy": "uds"}), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_set_needs_the_cases_that_its_generator_has_seen(recipe, tmp_path):
    trained = load_generator(recipe.generator)
    moved = trained.recipe.model_copy(update={"cases": tmp_path / "gone"})
    path = save_generator(tmp_path / "moved.safetensors", trained.generator, moved, edge_mm=EDGE_MM)
    with pytest.raises(StoreError, match="gone.* does not exist"):
        make_set(recipe.model_copy(update={"generator": path}), tmp_path / "set")


def test_a_recipe_of_a_set_is_read_from_a_file(tmp_path):
    (tmp_path / "set.yaml").write_text("count: 9\ngenerator: a/generator.safetensors\nstrategy: uds\n")
    assert load(tmp_path / "set.yaml", GeneratedSet).strategy == "uds"
    (tmp_path / "set.yaml").write_text("count: 9\ngenerator: a\nstrategie: uds\n")
    with pytest.raises(ConfigError, match="unknown key 'strategie'; did you mean 'strategy'"):
        load(tmp_path / "set.yaml", GeneratedSet)


def test_untrained_networks_make_nothing_that_is_fit_to_learn_from(recipe, tmp_path):
    """Gates and not luck keep a set clean: a new decoder finds no bone anywhere."""
    new = build("vae", SHAPE, side=SIDE, settings={}, steps=1, learning_rate=1e-3)
    described = load_generator(recipe.generator).recipe.model_copy(update={"settings": {}})
    path = save_generator(tmp_path / "new.safetensors", new, described, edge_mm=EDGE_MM)
    done = make_set(recipe.model_copy(update={"generator": path}), tmp_path / "set")
    assert done.written == 0 and sum(done.rejected.values()) == COUNT


def test_a_skull_of_a_size_that_no_training_case_comes_near_is_refused(recipe, monkeypatch):
    half = head(120).copy()
    half[:, : SIDE // 2] = False
    hand_back(monkeypatch, {0: half, 1: head(121)})
    known, trained = NearestCase([head(number) for number in range(4)]), load_generator(recipe.generator)
    case, _, reason = generated_case(recipe, trained, 0, chosen=None, known=known)
    assert case is None and reason == SIZE
    thick = ndimage.binary_dilation(head(121).any(0), iterations=2)
    hand_back(monkeypatch, {2: np.stack([thick & ~head(121)[1], thick & head(121)[1]])})
    assert generated_case(recipe, trained, 2, chosen=None, known=known)[2] == SIZE
    assert generated_case(recipe, trained, 1, chosen=None, known=known)[0] is not None
