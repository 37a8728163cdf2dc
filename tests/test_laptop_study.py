"""The README's tables of the laptop study say what the metrics.json files say that its runs have left in docs/."""

import pytest
from tiny_notebooks import REPOSITORY

from cranial.report import table
from cranial.study.compare import planned_rows
from cranial.study.recipe import load_study
from cranial.study.scores import read_scores
from cranial.study.tables import overview


@pytest.mark.parametrize("scale", ["laptop", "laptop_long"])
def test_the_readme_has_the_table_of_the_runs_that_are_kept(scale, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    scores = read_scores(REPOSITORY / "docs" / "laptop_study" / scale)
    assert table(overview(scores, planned=planned_rows(scale))) in (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("scale", ["laptop", "laptop_long"])
def test_every_row_of_the_study_was_run_with_all_its_seeds_and_its_budget(scale, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    _, study = load_study(scale)
    scores = read_scores(REPOSITORY / "docs" / "laptop_study" / scale)
    asked = {row: sorted(entry.seeds or study.seeds) for row, entry in study.rows.items()}
    assert {row: [run.seed for run in method.runs] for row, method in scores.methods.items()} == asked
    steps = {run.steps for method in scores.methods.values() for run in method.runs}
    assert steps == {study.training.steps} and not scores.unfinished
