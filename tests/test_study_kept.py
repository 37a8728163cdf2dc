"""What a run proposed is kept and found again, and an example study leaves what a whole one does."""

from types import SimpleNamespace

import numpy as np
import pytest
from study_runs import write_run, write_study

from cranial.reconstruction.mix import as_case
from cranial.study.example import Example, make_example, scores_or_example
from cranial.study.kept import extremes, keep_cases, read_case
from cranial.study.scores import read_scores

SIDE = 8


def scored(run, rng):
    """Cases as experiment.score_row gives them, for the cases of a metrics.json, in its order."""
    done = []
    for case in run.cases:
        masks = rng.random((2, SIDE, SIDE, SIDE)) < 0.3
        made = as_case(np.stack([masks[0], masks[1] & ~masks[0]]), edge_mm=80.0, style=case.style)
        done.append(SimpleNamespace(case=made, proposed=made.defective.with_mask(rng.random((SIDE,) * 3) < 0.2)))
    return done


@pytest.fixture
def kept(tmp_path, rng):
    """A study whose first seeds have kept their cases: (scores, what each row kept)."""
    scores = read_scores(write_study(tmp_path))
    done = {row: scored(method.first, rng) for row, method in scores.methods.items()}
    for row, cases in done.items():
        keep_cases(tmp_path / row / "seed_0", cases)
    return scores, done


def test_a_case_comes_back_as_it_was(tmp_path, rng):
    run = read_scores(write_run(tmp_path, "geo", 0).parent.parent.parent).methods["geo"].first
    done = scored(run, rng)
    path = keep_cases(tmp_path, done)
    assert [each.name for each in tmp_path.iterdir()] in (["geo", "cases.npz"], ["cases.npz", "geo"])
    for number in (0, len(done) - 1):
        case, proposed = read_case(path, number, style="bilateral")
        wanted = done[number]
        for found, was in ((case.defective, wanted.case.defective), (case.implant, wanted.case.implant),
                           (proposed, wanted.proposed)):  # fmt: skip
            assert np.array_equal(found.mask, was.mask) and np.allclose(found.affine, was.affine)
        assert case.style == "bilateral"
    with pytest.raises(IndexError, match=f"keeps {len(done)} cases, so none has number {len(done)}; count from 0"):
        read_case(path, len(done))


def test_the_best_and_the_worst_case_are_those_of_the_row_with_what_others_proposed_for_them(kept):
    scores, done = kept
    found = extremes(scores, "unseen", "ir_1000", beside=["no_aug"])
    method = scores.methods["ir_1000"]
    means = method.values("dice", "unseen").mean(axis=0)
    keys = method.keys("unseen")
    for place, number in enumerate((int(means.argmax()), int(means.argmin()))):
        for row in ("no_aug", "ir_1000"):
            run = scores.methods[row].first
            at = [case.key for case in run.cases].index(keys[number])
            assert found.dice[run.label][place] == run.cases[at].dice
            assert np.array_equal(found.proposed[run.label][place].mask, done[row][at].proposed.mask)
            assert found.cases[place].style == run.cases[at].style
    assert list(found.proposed) == ["no aug", "ir 1000"]


def test_where_a_row_kept_nothing_there_is_nothing_to_look_at(tmp_path):
    scores = read_scores(write_study(tmp_path))
    assert extremes(scores, "seen", "geo") is None


def test_an_example_is_trained_once_and_a_study_that_is_there_is_read_instead(tmp_path):
    recipe = Example(phantoms=3, unseen_phantoms=2, styles=("parietotemporal",), registered=12, steps=2, batch=1,
                     widths=(4, 8), seeds=(0,), spacing_mm=5.0)  # fmt: skip
    rows = make_example(recipe, tmp_path / "example", progress=False)
    scores = scores_or_example(tmp_path / "nothing", tmp_path / "example", recipe, progress=False)
    assert scores.folder == rows and scores.distributions == ["seen", "unseen"]
    assert list(scores.methods) == ["geo", "geo_ir", "ir", "ir_few", "no_aug"]
    assert scores.baseline.first.row == "no_aug" and scores.methods["ir"].first.synthetic_cases > 0
    assert extremes(scores, "unseen", "ir", beside=["no_aug"]).cases[0].implant.mask.any()
    made = {path: path.stat().st_mtime_ns for path in rows.rglob("metrics.json")}
    make_example(recipe, tmp_path / "example", progress=False)
    assert made == {path: path.stat().st_mtime_ns for path in rows.rglob("metrics.json")}
    write_run(tmp_path / "study", "geo", 7)
    assert list(scores_or_example(tmp_path / "study", tmp_path / "other", recipe).methods) == ["geo"]
    assert not (tmp_path / "other").exists()
