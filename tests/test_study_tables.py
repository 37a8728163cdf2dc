"""What runs measured comes back in tables: means, how sure they are, what is missing, and what is refused."""

import csv
import json
import re

import numpy as np
import pytest
from study_runs import metrics, write_run, write_study

from cranial.report import table as markdown
from cranial.statistics import mean_interval, wilcoxon
from cranial.study.compare import Planned, case_means, curve, entry, table_entries
from cranial.study.literature import REPORTED
from cranial.study.scores import ScoresError, read_scores
from cranial.study.tables import literature_rows, overview, shown, write_tables

FORMS = ("csv", "md", "tex")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def scores(study):
    return read_scores(study)


def changed(folder, change):
    """A run whose file is changed by `change(document)` before it is written again."""
    path = write_run(folder, "geo", 0)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


def test_every_run_is_read_and_the_baseline_is_the_row_that_adds_nothing(scores):
    assert {row: len(method.runs) for row, method in scores.methods.items()} == {
        "geo": 2, "ir_100": 2, "ir_1000": 2, "no_aug": 2,
    }  # fmt: skip
    assert scores.distributions == ["seen", "unseen"] and scores.unfinished == ()
    assert scores.baseline.first.row == "no_aug"


def test_without_a_plain_row_there_is_no_baseline_and_nothing_to_compare_with(tmp_path):
    write_run(tmp_path, "geo", 0, geometric="heavy")
    scores = read_scores(tmp_path)
    assert scores.baseline is None
    assert all(each.against_baseline is None and not each.missing for each in table_entries(scores, "5"))


def test_the_overview_has_a_line_a_row_and_says_of_it_what_its_table_says(scores):
    planned = [Planned("ir_1000", "IR", ("5",)), Planned("never_run", "none", ("5",))]
    lines = overview(scores, planned=planned)
    assert [line["trained on"] for line in lines] == [
        scores.methods[row].first.label for row in ("no_aug", "ir_1000", "geo", "ir_100")
    ]
    of_table = {row["method"]: row for row in shown(table_entries(scores, "5"), "unseen")}
    line = lines[1]
    told = of_table[line["trained on"]]
    assert told["DSC"].startswith(line["DSC, unseen"] + " ")
    assert told["HD95, mm"].startswith(line["HD95, unseen, mm"][:-2])
    assert (line["Δ DSC, unseen"], line["p, unseen"], line["seeds"]) == (told["Δ DSC"], told["p"], told["seeds"])


def test_a_case_counts_once_with_the_mean_of_its_seeds(scores, study):
    method = scores.methods["ir_1000"]
    files = [json.loads((study / f"ir_1000/seed_{seed}/metrics.json").read_text()) for seed in (0, 1)]
    by_key = {}
    for document in files:
        for case in document["cases"]:
            if case["distribution"] == "unseen":
                by_key.setdefault((case["skull"], case["case"]), []).append(case["dice"])
    assert all(len(values) == 2 for values in by_key.values())
    means = [np.mean(by_key[skull, case]) for _, skull, case, _ in method.keys("unseen")]
    assert case_means(method, "unseen", "dice") == pytest.approx(means)
    found = entry(method, "unseen")
    assert found.metrics["dice"].mean == pytest.approx(np.mean(means))
    assert (found.metrics["dice"].cases, found.metrics["dice"].clusters, found.seeds) == (24, 12, 2)


def test_the_interval_and_the_test_are_those_of_the_statistics_with_skulls_as_clusters(scores):
    method, plain = scores.methods["ir_1000"], scores.baseline
    found = entry(method, "seen", baseline=plain)
    a, b = case_means(method, "seen", "dice"), case_means(plain, "seen", "dice")
    assert found.metrics["dice"] == mean_interval(a, clusters=method.skulls("seen"))
    assert found.against_baseline == wilcoxon(a, b, clusters=method.skulls("seen"))
    assert found.against_baseline.p_clustered < 0.01 < entry(scores.methods["geo"], "seen", baseline=plain
                                                             ).against_baseline.p_clustered  # fmt: skip
    assert found.metrics["dice"].low < found.metrics["dice"].mean < found.metrics["dice"].high


def test_the_spread_of_the_seeds_is_that_of_their_means_and_one_seed_has_none(tmp_path, scores):
    method = scores.methods["geo"]
    means = method.values("dice", "seen").mean(axis=1)
    assert entry(method, "seen").seed_spread == pytest.approx(abs(means[0] - means[1]) / np.sqrt(2))
    write_run(tmp_path, "geo", 3)
    assert entry(read_scores(tmp_path).methods["geo"], "seen").seed_spread is None


def test_a_case_without_a_surface_is_left_out_of_the_distances_alone_and_counted(tmp_path):
    def lost(document):
        for case in document["cases"]:
            if case["case"] == "0-0":
                case |= {"dice": 0.0, "hd95_mm": None, "msd_mm": None}

    changed(tmp_path, lost)
    found = entry(read_scores(tmp_path).methods["geo"], "seen")
    assert found.without_distance == 1
    assert (found.metrics["hd95_mm"].cases, found.metrics["dice"].cases) == (23, 24)


def test_each_table_has_its_rows_with_the_baseline_first_and_each_distribution(scores):
    rows = [each.row for each in table_entries(scores, "5")]
    assert rows == ["no_aug", "geo", "ir_1000"] * 2
    assert [each.row for each in table_entries(scores, "3")] == ["no_aug", "ir_1000"] * 2
    assert table_entries(scores, "4") == []


def test_a_planned_row_without_a_run_is_in_its_tables_as_missing(scores, study, tmp_path):
    planned = [Planned("vae", "VAE", ("5",)), Planned("geo", "geo", ("5",))]
    entries = table_entries(scores, "5", planned=planned)
    assert [each.row for each in entries] == ["no_aug", "vae", "geo", "ir_1000"] * 2, "in the order of the plan"
    assert [each.missing for each in entries] == [False, True, False, False] * 2
    row = shown(entries, "unseen")[1]
    assert row["method"] == "VAE" and row["DSC"] == row["HD95, mm"] == "missing" and row["p"] == "–"
    write_tables(study, tmp_path, planned=planned)
    text = (tmp_path / "table_5.md").read_text()
    assert "Missing, for want of a finished run: VAE." in text and "| VAE | missing |" in text
    with open(tmp_path / "table_5.csv") as file:
        assert [line["missing"] for line in csv.DictReader(file) if line["row"] == "vae"] == ["1", "1"]


def test_a_seed_that_has_begun_and_not_ended_is_named(tmp_path, study):
    folder = write_study(tmp_path / "study")
    (folder / "ir_1000" / "seed_2").mkdir()
    assert read_scores(folder).unfinished == ("ir_1000/seed_2",)
    write_tables(folder, tmp_path / "tables")
    assert "Not finished yet: ir_1000/seed_2." in (tmp_path / "tables" / "table_5.md").read_text()


def test_the_tables_are_written_in_three_forms_that_say_the_same(study, scores, tmp_path):
    written = write_tables(study, tmp_path)
    assert {path.name for path in written} == {
        f"{name}.{form}" for name in ("table_2", "table_3", "table_5", "table_6", "overview") for form in FORMS
    }
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written}, "nothing half written stays"
    best = entry(scores.methods["ir_1000"], "unseen", baseline=scores.baseline)
    with open(tmp_path / "table_5.csv") as file:
        lines = {(line["row"], line["distribution"]): line for line in csv.DictReader(file)}
    line = lines["ir_1000", "unseen"]
    assert float(line["dice"]) == best.metrics["dice"].mean
    assert float(line["p_clustered"]) == best.against_baseline.p_clustered
    assert (line["cases"], line["skulls"], line["synthetic_cases"]) == ("24", "12", "1000")
    shown_dice = f"{best.metrics['dice'].mean:.3f} [{best.metrics['dice'].low:.3f}, {best.metrics['dice'].high:.3f}]"
    for form in ("md", "tex"):
        text = (tmp_path / f"table_5.{form}").read_text()
        assert shown_dice in text.split("unseen distribution")[1]
        assert shown_dice not in text.split("unseen distribution")[0]


def test_a_difference_is_marked_below_one_in_a_hundred_and_not_above(scores):
    rows = {row["method"]: row for row in shown(table_entries(scores, "5"), "seen")}
    assert rows["ir 1000"]["p, by skull"] == "<0.001*" and rows["ir 1000"]["Δ DSC"].startswith("+0.05")
    assert not rows["geo"]["p"].endswith("*")
    assert rows["no aug"]["p"] == rows["no aug"]["Δ DSC"] == "–"


def test_the_latex_has_a_cell_a_column_and_nothing_that_latex_would_choke_on(study, tmp_path):
    write_tables(study, tmp_path)
    text = (tmp_path / "table_5.tex").read_text()
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = len(re.search(r"begin\{tabular\}\{(\w+)\}", text)[1])
    assert rows and all(row.count(" & ") == columns - 1 for row in rows)
    assert all(ord(sign) < 128 for row in rows for sign in row)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2


def test_the_literature_stands_beside_the_baseline_and_our_best_row(scores):
    rows = literature_rows(scores)
    assert len(rows) == len(REPORTED) + 4
    assert [row["method"] for row in rows[-4:]] == ["ours: no aug", "ours: ir 1000"] * 2
    assert all(row["source"] for row in rows)
    study = next(row for row in rows if "LDM-VQVAE" in row["method"] and row["test set"] == "SkullFix")
    assert study["DSC"] == "0.968" and study["HD95, mm"] == "–"
    assert {row["DSC"] for row in rows[:-4]} >= {"0.90", "0.8555"}, "with the digits that the source gives"
    best = entry(scores.methods["ir_1000"], "unseen").metrics
    assert rows[-1]["DSC"] == f"{best['dice'].mean:.3f}" and rows[-1]["HD95, mm"] == f"{best['hd95_mm'].mean:.2f}"
    assert "these runs" in markdown(rows)


def test_what_is_reported_is_a_score_or_a_length_and_has_a_source():
    for each in REPORTED:
        assert "arXiv" in each.source
        assert all(value is None or 0.5 < value < 1 for value in (each.dice, each.border_dice))
        assert each.hd95_mm is None or 1 < each.hd95_mm < 10


def test_the_curve_begins_with_the_baseline_and_goes_to_the_most_cases(scores):
    points = [point for point in curve(scores) if point.distribution == "seen"]
    assert [(point.mix, point.synthetic_cases) for point in points] == [("", 0), ("ir 1000", 100), ("ir 1000", 1000)]
    assert points[0].dice.mean < points[1].dice.mean < points[2].dice.mean


def test_a_mean_lies_in_its_interval_which_covers_the_truth_about_as_often_as_it_says(rng):
    covered = []
    for repeat in range(200):
        skull = np.repeat(np.arange(20), 5)
        values = rng.normal(size=20)[skull] + 0.3 * rng.normal(size=100)
        found = mean_interval(values, clusters=skull, resamples=400, seed=repeat)
        assert found.low < found.mean < found.high
        covered.append(found.low < 0 < found.high)
    assert 0.86 < np.mean(covered) < 0.98


def test_taking_cases_for_independent_would_make_the_interval_too_narrow(rng):
    skull = np.repeat(np.arange(20), 5)
    values = rng.normal(size=20)[skull]
    by_skull, by_case = (mean_interval(values, clusters=clusters) for clusters in (skull, np.arange(100)))
    assert by_skull.high - by_skull.low > 1.7 * (by_case.high - by_case.low)


def test_one_skull_says_nothing_about_how_sure_its_mean_is():
    found = mean_interval([0.5, 0.7], clusters=["a", "a"])
    assert found.mean == pytest.approx(0.6) and np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize("values", [[], [0.5, float("nan")]])
def test_a_mean_of_nothing_or_of_what_is_no_number_is_refused(values):
    with pytest.raises(ValueError, match="give one number a case"):
        mean_interval(values, clusters=range(len(values)))


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ScoresError, match="holds no ROW/seed_S/metrics.json; run the study first"):
        read_scores(tmp_path)


@pytest.mark.parametrize(("text", "message"), [
    ("{", "cannot be read as JSON .*; delete it and run this seed again"),
    ("[]", "holds a list, not keys and values"),
    ('{"row": "geo"}', "'label' is missing.*run this seed again"),
])  # fmt: skip
def test_a_broken_file_is_named_with_what_to_do(tmp_path, text, message):
    path = write_run(tmp_path, "geo", 0)
    path.write_text(text)
    with pytest.raises(ScoresError, match=f"geo/seed_0/metrics.json.*{message}"):
        read_scores(tmp_path)


@pytest.mark.parametrize(("change", "message"), [
    (lambda run: run["cases"][0].update(dice=1.2), r"cases.0.dice = 1.2 should be less than or equal to 1"),
    (lambda run: run.update(cases=[]), "cases = .. .*at least 1"),
    (lambda run: run.update(seed=4), "has row geo with seed 4; move it into the folder of its own row and seed"),
    (lambda run: run["cases"].append(run["cases"][0]), "has the case seen, seen_0, 0-0, bilateral more than once"),
])  # fmt: skip
def test_a_run_with_impossible_contents_is_refused(tmp_path, change, message):
    changed(tmp_path, change)
    with pytest.raises(ScoresError, match=message):
        read_scores(tmp_path)


@pytest.mark.parametrize(("changes", "message"), [
    ({"scale": "paper"}, "has scale paper, others have demo; give each scale a folder of its own"),
    ({"skulls": 11}, r"has other test cases than row geo \(seen, seen_11, 11-0, bilateral is in one of the two only\)"),
    ({"geometric": "heavy"}, "has geometric heavy, another seed of the row none; run the older of the two again"),
])  # fmt: skip
def test_runs_that_do_not_belong_together_are_refused(tmp_path, changes, message):
    write_run(tmp_path, "geo", 0)
    write_run(tmp_path, "geo", 1, **changes)
    with pytest.raises(ScoresError, match=message):
        read_scores(tmp_path)


def test_a_row_and_seed_twice_is_refused(tmp_path):
    write_run(tmp_path / "old", "geo", 0)
    write_run(tmp_path / "new", "geo", 0)
    with pytest.raises(ScoresError, match="has row geo with seed 0, as .*new.* does; delete the one"):
        read_scores(tmp_path)


def test_a_run_may_say_more_than_is_asked(tmp_path):
    write_run(tmp_path, "geo", 0, machine="a laptop")
    assert read_scores(tmp_path).methods["geo"].first.synthetic_cases == 0
    assert "machine" not in metrics("geo", 0)
