"""One row with one seed: what it is shown, what is scored, and what metrics.json says of it."""

import json

import numpy as np
import pytest

from cranial.config import ConfigError
from cranial.reconstruction.mix import MixRecipe, as_case
from cranial.skulls.store import CaseStore
from cranial.study.cases import RealSet, head_files, make_real_set
from cranial.study.experiment import (
    Mix,
    best_to_worst,
    facts_of,
    pools,
    score_row,
    train_row,
    trained_network,
    write_metrics,
)
from cranial.study.recipe import CaseSource
from cranial.study.scores import read_run

SIDE = 16
TRAINING = MixRecipe(steps=2, batch=2, widths=(4, 8), seed=3, geometric="basic")


def shell(defect: slice) -> np.ndarray:
    """A hollow box, uint8 (2, n, n, n), with a hole in its upper face."""
    bone = np.zeros((SIDE,) * 3, bool)
    bone[3:13, 3:13, 3:13] = True
    bone[5:11, 5:11, 5:11] = False
    hole = np.zeros_like(bone)
    hole[defect, 6:10, 11:13] = True
    return np.stack([bone & ~hole, bone & hole]).astype(np.uint8)


def store_of(folder, count: int, *, rejected: int = 0) -> CaseStore:
    store = CaseStore.create(folder, count=count, shape=(SIDE,) * 3, spacing_mm=(10.0,) * 3, recipe={"of": str(count)})
    for item in range(count):
        if item < rejected:
            store.reject(item, "not fit")
            continue
        case = as_case(shell(slice(5, 8 + item % 3)), edge_mm=10.0 * SIDE)
        said = {"skull": f"skull {item // 2}", "style": "square", "affine": case.complete.affine.tolist()}
        store.write(item, case.defective.mask, case.implant.mask, said)
    return store


@pytest.fixture
def mix(tmp_path) -> Mix:
    store_of(tmp_path / "real", 4)
    store_of(tmp_path / "made", 6, rejected=2)
    return Mix(
        training=TRAINING, real=tmp_path / "real", sets={"made": tmp_path / "made"}, counts={"made": 3}
    )


def test_a_row_is_shown_the_real_cases_and_as_many_of_a_set_as_it_asks_for_or_as_there_are(mix):
    assert {name: len(pool) for name, pool in pools(mix).items()} == {"real": 4, "made": 3}
    more = mix.model_copy(update={"counts": {"made": 100}})
    assert {name: len(pool) for name, pool in pools(more).items()} == {"real": 4, "made": 4}, "two were rejected"


def test_a_set_that_the_gates_left_nothing_of_adds_nothing_and_is_told_as_nothing(mix, tmp_path):
    store_of(tmp_path / "none", 2, rejected=2)
    sets = {"bad": tmp_path / "none", **mix.sets}
    poor = mix.model_copy(update={"sets": sets, "counts": {"bad": 2, "made": 2}})
    trained = train_row(poor, tmp_path / "training", accelerator="cpu", progress=False)
    assert dict(trained.sets) == {"bad": 0, "made": 2}
    with pytest.raises(ValueError, match="none holds no case to train on; make it first"):
        pools(mix.model_copy(update={"real": tmp_path / "none"}))


def test_a_trained_row_says_what_it_was_shown_and_a_second_call_trains_no_more(mix, tmp_path):
    first = train_row(mix, tmp_path / "training", accelerator="cpu", progress=False)
    again = train_row(mix, tmp_path / "training", accelerator="cpu", progress=False)
    assert (first.real_cases, dict(first.sets), first.result.steps) == (4, {"made": 3}, 2)
    assert again.result.seconds == pytest.approx(first.result.seconds, abs=0.5)
    facts = facts_of(mix, tmp_path / "training")
    assert facts["sets"] == {"made": 3} and facts["real_cases"] == 4 and facts["seed"] == 3
    assert facts["geometric"] == "basic" and (facts["steps"], facts["batch"]) == (2, 2) and facts["seconds"] >= 0
    propose = trained_network(TRAINING, tmp_path / "training")
    bone = shell(slice(5, 8))[0] > 0
    found = propose(bone)
    assert found.shape == bone.shape and found.dtype == bool and np.array_equal(found, propose(bone))


def test_the_truth_scores_one_nothing_scores_zero_and_what_lies_in_the_bone_does_not_count(tmp_path):
    store = store_of(tmp_path / "seen", 3)
    store_of(tmp_path / "unseen", 2, rejected=1)
    tests = {"seen": tmp_path / "seen", "unseen": tmp_path / "unseen"}
    truths = {stored.defective.tobytes(): stored.defect for stored in map(store.read, store.present())}

    def perfect(bone: np.ndarray) -> np.ndarray:
        return truths[bone.tobytes()] | bone

    scored = score_row(perfect, tests, progress=False)
    assert [(s.scores["distribution"], s.scores["case"]) for s in scored] == [
        ("seen", 0), ("seen", 1), ("seen", 2), ("unseen", 1)
    ]  # fmt: skip
    assert all(s.scores["dice"] == s.scores["surface_dice"] == 1 and s.scores["hd95_mm"] == 0 for s in scored)
    nothing = score_row(np.zeros_like, tests, progress=False)
    diagonal_mm = np.sqrt(3) * 10 * SIDE
    assert {s.scores["dice"] for s in nothing} == {0.0} and {s.scores["empty"] for s in nothing} == {"predicted"}
    assert all(s.scores["hd95_mm"] == pytest.approx(diagonal_mm, rel=0.1) for s in nothing), "not None, not left out"


def test_metrics_json_is_what_the_tables_read_and_no_part_of_one_is_ever_there(mix, tmp_path, monkeypatch):
    train_row(mix, tmp_path / "training", accelerator="cpu", progress=False)
    scored = score_row(np.zeros_like, {"seen": mix.real}, progress=False)
    facts = {"row": "a", "label": "A", "tables": ["5"], "scale": "tiny"} | facts_of(mix, tmp_path / "training")
    path = tmp_path / "a" / "seed_3" / "metrics.json"
    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            write_metrics(path, facts, scored)
    assert not path.exists()
    run = read_run(write_metrics(path, facts, scored))
    assert (run.row, run.seed, run.sets, run.real_cases, len(run.cases)) == ("a", 3, {"made": 3}, 4, 4)
    assert [each.name for each in path.parent.iterdir()] == ["metrics.json"]


def test_the_cases_shown_go_from_the_best_to_the_worst(tmp_path):
    store_of(tmp_path / "seen", 6)
    half = np.zeros((SIDE,) * 3, bool)
    half[5:8, 6:10, 11:13] = True
    scored = score_row(lambda bone: half, {"seen": tmp_path / "seen"}, progress=False)
    dice = [each.scores["dice"] for each in best_to_worst(scored)]
    assert dice == sorted(dice, reverse=True) and dice[0] > dice[-1] and len(dice) == 4
    assert (dice[0], dice[-1]) == (max(s.scores["dice"] for s in scored), min(s.scores["dice"] for s in scored))
    assert len(best_to_worst(scored, 100)) == 6


def test_test_cases_are_one_of_each_style_from_each_skull_and_say_so(tmp_path):
    source = CaseSource(phantoms=2, seed=11)
    recipe = RealSet(source=source, side=24, phantom_spacing_mm=4.0, floor=0.38, styles=("skullfix", "bilateral"))
    made = make_real_set(recipe, tmp_path / "set", cache=tmp_path / "cache", progress=False)
    store = CaseStore.open(tmp_path / "set")
    assert made.written + sum(made.rejected.values()) == 4 and made.written >= 3
    for item in store.present():
        said = store.provenance(item)
        assert (said["skull"], said["style"]) == (f"phantom/11/{item // 2}", ("skullfix", "bilateral")[item % 2])
        assert not store.read(item).defective[..., : round(0.38 * 24)].any(), "no bone below the floor"
    again = make_real_set(recipe, tmp_path / "set", cache=tmp_path / "cache", progress=False)
    assert again.written == 0 and again.before == 4


def test_heads_in_a_folder_are_cut_as_phantoms_are(tmp_path):
    from cranial import volume
    from cranial.skulls.phantom import phantom

    with pytest.raises(ConfigError, match="heads holds no complete head .* put some there, or name another"):
        head_files(tmp_path / "heads")
    (tmp_path / "heads").mkdir()
    volume.write(phantom(5, spacing_mm=4.0), tmp_path / "heads" / "someone.nrrd")
    recipe = RealSet(source=CaseSource(heads=tmp_path / "heads"), side=24, styles=("skullfix", "bilateral"))
    made = make_real_set(recipe, tmp_path / "set", cache=tmp_path / "cache", progress=False)
    store = CaseStore.open(tmp_path / "set")
    assert len(store) == 2 and made.written >= 1
    assert {store.provenance(item)["skull"] for item in store.present()} == {"someone"}
    case = store.read(store.present()[0])
    assert case.defect.any() and case.defective.sum() > 300
