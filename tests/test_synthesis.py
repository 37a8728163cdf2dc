"""Sets of registered cases: the same from any number of processes, resumed, with reasons where there is no case."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cranial import volume
from cranial.config import ConfigError, load, read_yaml
from cranial.skulls.phantom import phantom
from cranial.skulls.population import write_population
from cranial.skulls.store import CaseStore, StoreError
from cranial.synthesis import registered, sources
from cranial.synthesis.gates import refusal
from cranial.synthesis.kinds import kind_of
from cranial.synthesis.registered import (
    RegisteredSet,
    make_registered_set,
    open_set,
    registered_case,
    stored_cases,
)

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPE = RegisteredSet(count=6, side=32, alphas=(6250.0, 50000.0), iterations=(10, 10, 10), phantoms=4,
                       phantom_spacing_mm=3.0, styles=("bilateral", "random_2"), seed=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> CaseStore:
    folder = tmp_path_factory.mktemp("set")
    done = make_registered_set(RECIPE, folder, progress=False)
    assert done.written + sum(done.rejected.values()) == 6 and done.written >= 4 and done.before == 0
    return CaseStore.open(folder)


def same(one: CaseStore, other: CaseStore) -> bool:
    return one.present() == other.present() and all(
        np.array_equal(one.read(item).defective, other.read(item).defective)
        and np.array_equal(one.read(item).defect, other.read(item).defect)
        and one.provenance(item) == other.provenance(item)
        for item in one.present()
    )


def test_a_case_is_a_skull_and_what_is_missing_in_it(made):
    for item in made.present():
        case = made.read(item)
        assert refusal(case.defective, case.defect, voxel_mm3=8.0**3) is None
        assert not (case.defective & case.defect).any()


def test_every_case_says_where_it_is_from(made):
    for item in made.present():
        said = made.provenance(item)
        assert said["moving"] != said["fixed"] and said["moving"].startswith("phantom/3/")
        assert said["alpha"] in RECIPE.alphas and said["style"] in RECIPE.styles
        assert (said["seed"], said["item"], said["method"]) == (3, item, "registration")
        assert 0 <= said["quality"]["folded_share"] < 0.02 < said["quality"]["dice_after"]
    assert len({(made.provenance(i)["moving"], made.provenance(i)["fixed"]) for i in made.present()}) > 1


def test_an_item_is_the_same_alone(made):
    item = made.present()[-1]
    case, said, reason = registered_case(RECIPE, registered.sources(RECIPE), item, threads=1)
    assert reason == "" and said["defect_mm3"] == made.provenance(item)["defect_mm3"]
    np.testing.assert_array_equal(case.implant.mask, made.read(item).defect)
    np.testing.assert_array_equal(case.complete.mask, case.defective.mask | case.implant.mask)


def test_stored_cases_lie_where_their_fixed_heads_lay(made):
    first = made.present()[0]
    (case,) = stored_cases(made.folder, [first])
    alone, _, _ = registered_case(RECIPE, registered.sources(RECIPE), first)
    np.testing.assert_array_equal(case.complete.affine, alone.complete.affine)
    np.testing.assert_array_equal(case.complete.mask, alone.complete.mask)
    assert case.style == alone.style and len(stored_cases(made.folder)) == len(made.present())
    (least,) = stored_cases(made.folder, at_most=1)
    assert np.array_equal(least.implant.mask, case.implant.mask)


def test_a_stopped_set_goes_on_and_ends_as_if_it_had_not_been(made, tmp_path, monkeypatch):
    real = registered.registered_case
    calls = []

    def stop_at_the_third(*arguments, **choices):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **choices)

    monkeypatch.setattr(registered, "registered_case", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        make_registered_set(RECIPE, tmp_path, progress=False)
    monkeypatch.undo()
    done = make_registered_set(RECIPE, tmp_path, progress=False)
    assert done.before == 2
    assert same(CaseStore.open(tmp_path), made)
    assert make_registered_set(RECIPE, tmp_path, progress=False).before == 6


def test_two_processes_make_one_set(made, tmp_path):
    code = (
        "import sys; from test_synthesis import RECIPE, make_registered_set; "
        "make_registered_set(RECIPE, sys.argv[1], threads=1, progress=False)"
    )
    here = Path(__file__).resolve().parent
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=here) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert same(CaseStore.open(tmp_path), made)


def test_items_can_be_shared_out_by_number(tmp_path, made):
    done = make_registered_set(RECIPE, tmp_path, items=range(2, 4), progress=False)
    assert done.written + sum(done.rejected.values()) == 2
    assert open_set(RECIPE, tmp_path).missing() == [0, 1, 4, 5]


def test_a_set_of_other_settings_is_not_mixed_in(made, tmp_path):
    other = RECIPE.model_copy(update={"seed": 4})
    with pytest.raises(StoreError, match="recipe.seed 3, not 4"):
        open_set(other, made.folder)


def test_pairs_that_fail_are_noted_and_not_written(tmp_path):
    rod = np.zeros((60, 60, 60), bool)
    rod[27:33, 27:33, 5:55] = True
    volume.write(volume.Volume(rod, np.diag([3.0, 3.0, 3.0, 1.0])), tmp_path / "rod.nrrd")
    recipe = RECIPE.model_copy(update={"phantoms": 1, "heads": (tmp_path / "rod.nrrd",), "count": 4})
    done = make_registered_set(recipe, tmp_path / "set", progress=False)
    store = CaseStore.open(tmp_path / "set")
    assert done.written == 0 and store.present() == [] == store.missing()
    assert done.rejected == Counter(store.rejections().values())
    assert set(done.rejected) <= {"registration failed", "no such hole in this skull"}
    failed = [item for item, reason in store.rejections().items() if reason == "registration failed"]
    assert all(store.provenance(item)["problems"] for item in failed)


def test_a_dataset_brings_its_own_holes(tmp_path, monkeypatch):
    write_population(tmp_path / "SkullBreak" / "train", count=2, styles=["bilateral"], spacing_mm=4.0)
    train = tmp_path / "SkullBreak" / "train"
    with pytest.warns(UserWarning, match="only 2 of the"):
        found = sources.dataset("skullbreak", "train", root=tmp_path)
    assert [source.name for source in found] == ["skullbreak/train/000", "skullbreak/train/001"]
    case = found[0].case(np.random.default_rng(0), 0)
    assert case.style == "bilateral"
    np.testing.assert_array_equal(case.implant.mask, volume.read(train / "implant/bilateral/000.nrrd").mask)
    np.testing.assert_array_equal(found[0].complete().mask, case.complete.mask)


def test_a_dataset_without_whole_cases_is_named(tmp_path):
    write_population(tmp_path / "SkullBreak" / "train", count=1, styles=["bilateral"], spacing_mm=4.0)
    (tmp_path / "SkullBreak" / "train" / "implant" / "bilateral" / "000.nrrd").unlink()
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="has no skull of part 'train' with all"):
        sources.dataset("skullbreak", "train", root=tmp_path)


def test_a_set_of_cases_brings_its_own_skulls_and_what_is_bent_onto_one_stays_in_its_cube(made, tmp_path):
    from cranial.reconstruction.mix import as_case

    base = CaseStore.create(tmp_path / "base", count=8, shape=(32,) * 3, spacing_mm=(8.0,) * 3, recipe={"of": "heads"})
    for item in made.present():
        stored = made.read(item)
        shifted = np.roll(np.stack([stored.defective, stored.defect]), 3, axis=3)  # not in the middle of its cube
        case = as_case(shifted, edge_mm=256.0, style=stored.provenance["style"])
        said = {"skull": stored.provenance["fixed"], "style": case.style, "affine": case.complete.affine.tolist()}
        base.write(item, case.defective.mask, case.implant.mask, said)
    recipe = RegisteredSet(count=4, side=32, edge_mm=256.0, alphas=(12500.0,), iterations=(10, 10, 10),
                           cases=tmp_path / "base", common=False)  # fmt: skip
    done = make_registered_set(recipe, tmp_path / "set", progress=False)
    assert done.written >= 2
    heads = {source.name: source.complete().mask for source in sources.stored(base)}
    for case, item in zip(stored_cases(tmp_path / "set"), CaseStore.open(tmp_path / "set").present(), strict=True):
        said = CaseStore.open(tmp_path / "set").provenance(item)
        fixed, there = heads[said["fixed"]], case.complete.mask
        assert said["moving"] != said["fixed"]
        assert 2 * (fixed & there).sum() / (fixed.sum() + there.sum()) > 0.6, "voxel upon voxel, no grid in between"
    with pytest.raises(ValueError, match="holds cases of .32, 32, 32. voxels in 256 mm, the recipe has side 16"):
        make_registered_set(recipe.model_copy(update={"side": 16}), tmp_path / "other", progress=False)
    empty = CaseStore.create(tmp_path / "empty", count=1, shape=(32,) * 3, spacing_mm=(8.0,) * 3, recipe={})
    with pytest.raises(ValueError, match="empty holds no case; make the set first"):
        sources.stored(empty)


def test_a_recipe_needs_two_skulls_that_are_there(tmp_path):
    with pytest.raises(ValueError, match="the recipe names 1 skulls, and a pair needs two"):
        registered.sources(RECIPE.model_copy(update={"phantoms": 1}))
    with pytest.raises(volume.VolumeError, match=r"gone.nrrd: does not exist"):
        registered.sources(RECIPE.model_copy(update={"heads": (tmp_path / "gone.nrrd",)}))
    (tmp_path / "recipe.yaml").write_text("count: 3\nalpha: [1]\n")
    with pytest.raises(ConfigError, match="unknown key 'alpha'; did you mean 'alphas'"):
        load(tmp_path / "recipe.yaml", RegisteredSet)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "params" / "sets").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_that_are_shipped_can_be_read(path):
    kind, _ = kind_of(read_yaml(path))
    assert kind.__name__.lower().startswith(path.stem.split("_")[0].replace("skullbreak", "prepared"))
    assert getattr(load(path, kind), "count", 100) >= 100
    assert path.read_text().startswith("# ") and path.read_text().splitlines()[0].endswith("?")


def ring_and_disc() -> tuple[np.ndarray, np.ndarray]:
    """A plate with a round hole, and the disc that fits it, in voxels of 1 mm."""
    x, y, _ = np.indices((40, 40, 8)) - 19.5
    inside = np.hypot(x, y) < 9
    plate = np.zeros((40, 40, 8), bool)
    plate[:, :, 2:6] = True
    return plate & ~inside, plate & inside


def test_a_plate_with_a_hole_passes_the_gates():
    assert refusal(*ring_and_disc(), voxel_mm3=1.0) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda skull, hole: (skull & False, hole), "empty skull"),
        (lambda skull, hole: (skull, hole & False), "empty defect"),
        (lambda skull, hole: (skull | hole, hole), "skull and defect overlap"),
        (lambda skull, hole: (hole, skull), "defect above 50% of the skull"),
        (lambda skull, hole: (np.roll(skull, 40, 0) & (np.indices(skull.shape)[0] < 6), np.roll(hole, 2, 0) &
                              (np.indices(skull.shape)[0] > 12) & (np.indices(skull.shape)[1] > 17)),
         "defect does not touch the skull"),
    ],
)
def test_what_is_wrong_with_a_case_is_said(change, reason):
    assert refusal(*change(*ring_and_disc()), voxel_mm3=1.0) == reason


def test_a_tiny_defect_and_one_in_pieces_are_refused():
    skull, hole = ring_and_disc()
    assert refusal(skull, hole, voxel_mm3=0.1) == "defect below 500 mm3"
    stripes = hole & (np.indices(hole.shape)[0] % 3 != 0)
    assert refusal(skull | (hole & ~stripes), stripes, voxel_mm3=1.0) == "defect in more than 4 pieces"


def test_a_skull_in_pieces_is_refused_even_if_its_defect_is_whole():
    skull, hole = ring_and_disc()
    apart = skull.copy()
    apart[33:36] = False
    assert refusal(apart, hole, voxel_mm3=1.0) == "skull in pieces"


def test_the_pool_draws_a_phantom_once():
    (source,) = sources.phantoms(1, seed=5, spacing_mm=4.0, styles=("skullfix",))
    assert source.complete() is source.complete()
    np.testing.assert_array_equal(source.complete().mask, phantom(0, seed=5, spacing_mm=4.0).mask)
