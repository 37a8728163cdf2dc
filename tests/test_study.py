"""A study's YAML becomes jobs: each is made once, and what an entry decides changes with that entry alone."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
import yaml
from tiny_notebooks import REPOSITORY, write_recipes

from cranial.config import ConfigError, check, read_yaml
from cranial.notebook_run import declared_parameters
from cranial.skulls.datasets import ENVIRONMENT, DatasetError
from cranial.study import batch, rates
from cranial.study.batch import BatchError, run_study, set_aside, summary
from cranial.study.plan import Plan, write_plan
from cranial.study.planner import make_plan
from cranial.study.recipe import KINDS, Study, load_study
from cranial.synthesis.recipe import GeneratorRecipe
from cranial.synthesis.trained import save_generator, untrained

SCALES = ("demo", "laptop", "paper")
BOOKS = sorted((REPOSITORY / "notebooks" / "batch").glob("*.ipynb"))
VALUES = {
    "side": 16,
    "phantom_spacing_mm": 5.0,
    "phantom_floor": 0.38,
    "styles": ["skullfix", "bilateral"],
    "train": {"phantoms": 3, "cases": 6},
    "tests": {"seen": {"phantoms": 1, "seed": 7}, "unseen": {"phantoms": 1, "seed": 8, "warped": "strongly"}},
    "training": {"steps": 3, "batch": 2, "widths": [4, 8]},
    "sets": {
        "soft": {"alphas": [6250], "count": 6, "shards": 3},
        "stiff": {"alphas": [50000], "count": 6},
        "drawn": {"generator": "vae", "count": 4},
        "even": {"generator": "vae", "strategy": "uds", "count": 4},
        "denoised": {"generator": "ldm_vae", "count": 4},
    },
    "rows": {
        "no_aug": {"label": "No Aug", "tables": ["2", "5"], "seeds": [0, 1]},
        "soft": {"label": "IR", "tables": ["3", "5"], "sets": {"soft": 6}},
        "stiff": {"label": "IR, stiff", "tables": ["3"], "sets": {"stiff": 6}},
        "both": {"label": "IR + VAE", "tables": ["5"], "geometric": "heavy", "sets": {"soft": 3, "drawn": 3}},
        "three": {"label": "all", "tables": ["5"], "sets": {"drawn": 1, "even": 1, "denoised": 1}},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> Path:
    return write_recipes(tmp_path_factory.mktemp("recipes"))


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def planned(recipes: Path, **changes) -> Plan:
    """The plan of VALUES with other top-level values; a function is given the old value, to change it."""
    values = copy.deepcopy(VALUES) | {"recipes": str(recipes)}
    for key, change in changes.items():
        values[key] = change(values[key]) if callable(change) else change
    return make_plan("tiny", check(values, Study, where="tiny.yaml"))


def names(plan: Plan, kind: str) -> list[str]:
    return [job.name.partition("/")[2].split("-")[0] for job in plan.of_kind(kind)]


def test_each_thing_is_made_once_however_many_rows_use_it(recipes):
    plan = planned(recipes)
    assert sorted(names(plan, "prepare")) == ["seen", "train", "unseen"]
    assert names(plan, "register") == ["soft"] * 3 + ["stiff"], "three parts of one set, used by two rows"
    assert sorted(names(plan, "generator")) == ["ldm_vae", "vae"], "one VAE for two sets, a row and a diffusion"
    assert sorted(names(plan, "sample")) == ["denoised", "drawn", "even"]
    assert len(plan.of_kind("reconstruct")) == len(plan.of_kind("evaluate")) == 6, "five rows, one of them twice"
    assert len({job.name for job in plan.jobs}) == len(plan.jobs)


def test_a_job_comes_after_those_that_it_needs_and_parts_of_a_set_share_out_its_items(recipes):
    plan, before = planned(recipes), set()
    for job in plan.jobs:
        assert set(job.needs) <= before, job.name
        before.add(job.name)
    parts = [job.values["items"] for job in plan.of_kind("register")[:3]]
    assert parts == [[0, 2], [2, 4], [4, 6]]
    both = next(job for job in plan.of_kind("reconstruct") if "both" in job.name)
    assert {need.partition("/")[0] for need in both.needs} == {"prepare", "register", "sample"} and len(both.needs) == 5
    diffusion = next(job for job in plan.of_kind("generator") if "ldm" in job.name)
    assert [need.startswith("generator/vae-") for need in diffusion.needs] == [True]
    assert set(plan.of_kind("tables")[0].needs) == {job.name for job in plan.of_kind("evaluate")}


def test_a_generator_learns_from_the_study_s_own_cases_and_nothing_else(recipes):
    plan = planned(recipes, effort=0.5, train={"phantoms": 3, "cases": 6, "seed": 4})
    files = {name: values for name, values in plan.files.items() if "/generators/" in name}
    made = [GeneratorRecipe(**values) for values in files.values()]
    assert len(made) == 2
    for recipe in made:
        assert (recipe.side, recipe.phantoms, recipe.phantom_cases, recipe.seed) == (16, 3, 6, 4)
        assert recipe.phantom_floor == 0.38 and recipe.styles == ("skullfix", "bilateral")
        asked = yaml.safe_load((recipes / f"{recipe.method}.yaml").read_text())["steps"]
        assert recipe.steps == asked // 2, "half of what its own YAML asks for"
    vae, diffusion = sorted(files)[::-1]
    assert files[diffusion]["autoencoder"] == f"../{Path(vae).stem}/generator.safetensors"


def test_another_row_is_its_own_jobs_and_nothing_else(recipes):
    extreme = {"label": "Geo", "tables": ["2"], "geometric": "extreme", "sets": {"stiff": 2}}
    before, after = planned(recipes), planned(recipes, rows=lambda rows: rows | {"extreme": extreme})
    added = {job.name for job in after.jobs} - {job.name for job in before.jobs}
    assert {name.split("-")[0] for name in added} == {"reconstruct/extreme", "evaluate/extreme"} and len(added) == 2
    assert {job.name for job in before.jobs} <= {job.name for job in after.jobs}


def written(plan: Plan, folder: Path) -> dict[str, float]:
    """The YAMLs of a study's folder, and when each was written."""
    write_plan(plan, folder, cache=folder / "cache")
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.yaml")}


def test_a_changed_alpha_renews_its_branch_and_touches_no_other_file(recipes, tmp_path):
    first = written(planned(recipes), tmp_path)
    again = written(planned(recipes), tmp_path)
    assert again == first, "the same plan leaves every file as it is"
    softer = planned(recipes, sets=lambda sets: sets | {"soft": sets["soft"] | {"alphas": [3000]}})
    then = written(softer, tmp_path)
    changed = {name for name in then if then[name] != first.get(name)} - {"study.yaml"}
    kinds = {"register": 3, "reconstruct": 2, "evaluate": 2}
    assert {kind: sum(f"params/{kind}/" in name for name in changed) for kind in kinds} == kinds
    assert len(changed) == 7 and all("soft" in name or "both" in name for name in changed)
    assert set(first) <= set(then), "what was made before is not lost"


def test_what_the_workflow_reads_has_no_placeholder_left(recipes, tmp_path):
    folder = tmp_path / "a 'quoted' folder"
    path = write_plan(planned(recipes), folder, cache=tmp_path / "cache")
    told = json.loads(path.read_text())
    assert told["folder"] == str(folder)
    texts = [each.read_text() for each in folder.rglob("*.yaml")]
    assert len(texts) == len(told["jobs"]) + 3 and not any("{root}" in text or "{cache}" in text for text in texts)
    mix = next(read_yaml(each) for each in folder.rglob("evaluate/both*.yaml"))["mix"]
    assert mix["real"].startswith(str(folder)) and set(mix["sets"]) == {"soft", "drawn"}


def test_a_generator_that_is_trained_already_is_taken_only_if_it_is_the_same(recipes, tmp_path):
    fresh = planned(recipes)
    recipe = GeneratorRecipe(**next(values for name, values in fresh.files.items() if "/vae-" in name))
    (tmp_path / "vae").mkdir()
    vae = untrained(recipe, tmp_path)
    save_generator(tmp_path / "vae" / "generator.safetensors", vae, recipe, edge_mm=215.0)
    plan = planned(recipes, trained=str(tmp_path))
    assert names(plan, "generator") == ["ldm_vae"], "the VAE is there"
    drawn = next(job for job in plan.of_kind("sample") if "drawn" in job.name)
    assert drawn.values["recipe"]["generator"] == str(tmp_path / "vae" / "generator.safetensors") and not drawn.needs
    torch.nn.init.zeros_(next(vae.networks().parameters()))
    save_generator(tmp_path / "vae" / "generator.safetensors", vae, recipe, edge_mm=215.0)
    other = next(job for job in planned(recipes, trained=str(tmp_path)).of_kind("sample") if "drawn" in job.name)
    assert other.name != drawn.name, "other weights, another set"
    longer = planned(recipes, trained=str(tmp_path), train={"phantoms": 3, "cases": 7})
    assert sorted(names(longer, "generator")) == ["ldm_vae", "vae"], "other cases, another VAE"


def test_hours_and_disk_add_up_and_shards_cost_no_more_but_their_start(recipes):
    plan = planned(recipes, resources={"reconstruct": {"gpu": 1, "mem_mb": 9000, "runtime": 30, "threads": 4}})
    *kinds, whole = summary(plan)
    assert [line["jobs of kind"] for line in kinds] == [kind for kind in KINDS if plan.of_kind(kind)]
    assert int(whole["jobs"]) == sum(int(line["jobs"]) for line in kinds) == len(plan.jobs)
    reconstruct = next(line for line in kinds if line["jobs of kind"] == "reconstruct")
    assert reconstruct["CPU core-hours"] == "0.00" and plan.of_kind("reconstruct")[0].resources.threads == 4
    seconds = [job.cost.core_seconds for job in plan.jobs if not job.resources.gpu]
    assert float(whole["CPU core-hours"]) == pytest.approx(sum(seconds) / 3600, abs=0.006) and sum(seconds) > 100
    cost = rates.Cost(100.0 + rates.START_SECONDS, 8.0)
    assert cost.shared(4) == rates.Cost(25.0 + rates.START_SECONDS, 2.0), "100 s of work, and a start each"


def test_a_larger_cube_and_a_wider_network_cost_more_in_proportion():
    rate = rates.RATES["reconstruct"]
    once = rate.core_seconds(10, 64)
    assert once == pytest.approx(10 * rate.seconds) and rate.core_seconds(10, 128) == pytest.approx(8 * once)
    assert rate.core_seconds(10, 64, widths=(32, 64, 128), patch=2) == pytest.approx(4 * once)
    assert rate.core_seconds(10, 64, widths=(16, 32, 64), patch=1) == pytest.approx(8 * once)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": lambda rows: rows | {"x": {"label": "x", "tables": ["5"], "sets": {"sofd": 1}}}},
         "row 'x' trains on a set that is not there: unknown key 'sofd'; did you mean 'soft'"),
        ({"rows": lambda rows: rows | {"x": {"label": "x", "tables": ["5"], "sets": {"soft": 7}}}},
         "row 'x' wants 7 cases of set 'soft', which has 6 items; raise the set's count"),
        ({"rows": lambda rows: rows | {"x": {"label": "x", "table": ["5"]}}}, "unknown key 'table'; did you mean"),
        ({"tests": {"seen": {"phantoms": 2}}}, "seen has phantoms of seed 0, as train has: the same skulls"),
        ({"tests": {"seen": {"dataset": ["skullfix"]}}}, "seen and train lie in different cubes"),
        ({"train": {"phantoms": 2, "heads": "heads"}}, "names none or several of phantoms, heads and dataset"),
        ({"train": {}}, "names none or several of phantoms, heads and dataset"),
        ({"sets": {"soft": {"count": 3}}, "rows": {"a": {"label": "a", "tables": ["5"]}}},
         "names both or neither of alphas and generator"),
        ({"resources": {"evaluat": {}}}, "resources: unknown key 'evaluat'; did you mean 'evaluate'"),
        ({"sets": lambda sets: sets | {"drawn": {"generator": "vea", "count": 4}}},
         "generator 'vea' has no recipe .*those there are: .*vae"),
        ({"tests": {"unseen": {"heads": "no/such/folder"}}},
         "study tiny has nothing to try its rows on: tests: unseen is left out: no/such/folder holds no complete head"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_study_is_said(recipes, changes, message):
    with pytest.raises(ConfigError, match=message):
        planned(recipes, **changes)


def test_heads_that_are_not_there_are_left_out_with_the_reason(recipes):
    plan = planned(recipes, tests=lambda tests: tests | {"unseen": {"heads": "no/such/folder"}})
    assert [note[:28] for note in plan.skipped] == ["tests: unseen is left out: n"]
    assert set(plan.of_kind("evaluate")[0].values["tests"]) == {"seen"}


def test_a_scale_without_a_file_is_named_with_those_that_there_are(tmp_path, monkeypatch):
    there = "demo, laptop, laptop_long, paper"
    with pytest.raises(ConfigError, match=f"no study is called 'demi'; there are {there}, or give a YAML"):
        load_study("demi")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no study is called 'demo'; run it in a checkout, or give a YAML"):
        load_study("demo")


@pytest.mark.parametrize("scale", SCALES)
def test_a_shipped_study_has_every_row_of_every_table(scale):
    _, study = load_study(scale)
    tables = ("2", "3", "4", "5", "figure_5")
    of = {table: [row for row in study.rows.values() if table in row.tables] for table in tables}
    assert {row.geometric for row in of["2"]} == {"none", "basic", "heavy", "extreme"}
    alphas = {alpha for row in of["3"] for name in row.sets for alpha in study.sets[name].alphas}
    assert len(alphas) == len(of["3"]) >= 3 and 12500 in alphas
    assert {study.sets[name].strategy for row in of["4"] for name in row.sets} == {"sd", "ud", "uds"}
    assert len(of["5"]) == 13 and len(of["figure_5"]) >= 4
    generators = {study.sets[name].generator for row in of["5"] for name in row.sets} - {None}
    assert generators == {"vae", "vqvae", "intro_vae", "soft_intro_vae", "wgan_gp", "ldm_vae", "ldm_vqvae"}
    assert len({sum(row.sets.values()) for row in of["5"] if row.sets}) == 1, "equal numbers of synthetic cases"
    assert (REPOSITORY / "params" / "study" / f"{scale}.yaml").read_text().splitlines()[0].endswith("?")


@pytest.mark.parametrize("scale", SCALES)
def test_a_job_gives_its_notebook_what_that_declares(scale):
    plan = make_plan(*load_study(scale))
    assert {job.kind for job in plan.jobs} >= {"prepare", "sample", "register", "reconstruct", "evaluate", "tables"}
    declared = {job.notebook: declared_parameters(REPOSITORY / job.notebook) for job in plan.jobs}
    for job in plan.jobs:
        given, known = set(job.values), set(declared[job.notebook])
        assert given <= known if job.kind == "tables" else given == known - {"output_dir"}, job.name


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_batch_notebook_is_short_asks_and_holds_no_output(path):
    book = nbformat.read(path, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert len(book.cells) <= 20 and book.cells[0].source.splitlines()[0].endswith("?")
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert all(len(cell.source.splitlines()) <= 20 for cell in code)
    assert {name for job in make_plan(*load_study("demo")).jobs for name in [Path(job.notebook).stem]} >= {path.stem}


def test_a_dataset_that_is_not_there_says_how_to_set_its_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    scale, study = load_study("paper")
    with pytest.raises(DatasetError, match=ENVIRONMENT):
        run_study(make_plan(scale, study), study, tmp_path / "paper", cache=tmp_path)
    assert ENVIRONMENT == "CRANIAL_DATA" and not (tmp_path / "paper").exists()


def test_a_run_needs_snakemake_a_checkout_and_the_folder_for_itself(recipes, tmp_path, monkeypatch):
    plan = planned(recipes)
    study = check(VALUES | {"recipes": str(recipes)}, Study, where="tiny")
    with monkeypatch.context() as patch:
        patch.setattr(batch, "find_spec", lambda name: None)
        with pytest.raises(BatchError, match=r"snakemake is not installed; pip install 'cranial\[batch\]'"):
            run_study(plan, study, tmp_path / "a", cache=tmp_path)
    monkeypatch.setattr(batch, "find_spec", lambda name: True)
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        with pytest.raises(BatchError, match="Snakefile is not here; run it in a checkout"):
            run_study(plan, study, tmp_path / "a", cache=tmp_path)
    with batch._alone(tmp_path / "a"):
        with pytest.raises(BatchError, match="a is being worked on by another run"):
            run_study(plan, study, tmp_path / "a", cache=tmp_path)
    monkeypatch.setattr(batch.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    with pytest.raises(BatchError, match="not all jobs ended; their logs are in"):
        run_study(plan, study, tmp_path / "a", cache=tmp_path)


def test_results_of_rows_that_the_study_no_longer_has_are_set_aside_and_not_lost(recipes, tmp_path):
    for place in ("rows/soft/seed_0", "rows/soft/seed_5", "rows/gone/seed_0"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "metrics.json").write_text(place)
    (tmp_path / "done" / "evaluate").mkdir(parents=True)
    (tmp_path / "done" / "evaluate" / "gone-seed_0").touch()
    moved = set_aside(tmp_path, planned(recipes))
    assert sorted((path / "metrics.json").read_text() for path in moved) == ["rows/gone/seed_0", "rows/soft/seed_5"]
    assert [path.parent.name for path in tmp_path.glob("rows/*/*/metrics.json")] == ["seed_0"]
    assert not (tmp_path / "done" / "evaluate" / "gone-seed_0").exists(), "or it would not come back"


def test_snakemake_s_dry_run_of_the_demo_lists_every_rule(tmp_path):
    pytest.importorskip("snakemake", reason="snakemake is not installed; pip install 'cranial[batch]'")
    command = [sys.executable, "-m", "cranial.cli", "batch", "demo", "--dry-run"]
    places = ["--output", str(tmp_path / "demo"), "--cache", str(tmp_path / "cache")]
    done = subprocess.run([*command, *places], capture_output=True, text=True, cwd=REPOSITORY, env=os.environ)
    assert done.returncode == 0, done.stderr
    plan = make_plan(*load_study("demo"))
    for kind in KINDS:
        assert f"{kind} {len(plan.of_kind(kind))}" in " ".join(done.stdout.split()), kind
        assert f"| {kind} | {len(plan.of_kind(kind))} |" in done.stdout
    assert not (tmp_path / "demo" / "done").exists()


def test_two_rows_go_from_nothing_to_their_tables_and_a_changed_label_renews_one_evaluation(tmp_path, recipes):
    pytest.importorskip("snakemake", reason="snakemake is not installed; pip install 'cranial[batch]'")
    rows = {name: VALUES["rows"][name] | {"seeds": [0]} for name in ("no_aug", "soft")}
    sets = {"soft": VALUES["sets"]["soft"] | {"shards": 1, "iterations": [5, 5]}}
    values = VALUES | {"recipes": str(recipes), "sets": sets, "rows": rows, "tests": {"seen": VALUES["tests"]["seen"]}}
    study, folder = tmp_path / "tiny.yaml", tmp_path / "out"
    command = [sys.executable, "-m", "cranial.cli", "batch", str(study), "--output", str(folder)]

    def run() -> str:
        study.write_text(yaml.safe_dump(values))
        done = subprocess.run([*command, "--cache", str(tmp_path / "cache")], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stderr

    run()
    left = folder.glob("rows/*/seed_0/metrics.json")
    found = {path.parent.parent.name: json.loads(path.read_text()) for path in left}
    assert set(found) == {"no_aug", "soft"} and found["no_aug"]["sets"] == {} and found["no_aug"]["steps"] == 3
    assert 0 < found["soft"]["sets"]["soft"] <= 6 and found["soft"]["real_cases"] > 0
    assert {case["style"] for case in found["soft"]["cases"]} <= {"skullfix", "bilateral"} and found["soft"]["cases"]
    assert "No Aug" in (folder / "tables" / "table_5.md").read_text()
    ages = {path: path.stat().st_mtime_ns for path in folder.glob("done/*/*")}
    rows["soft"]["label"] = "IR, again"
    run()
    renewed = [path.relative_to(folder / "done") for path, age in ages.items() if path.stat().st_mtime_ns != age]
    assert {path.as_posix() for path in renewed} == {"evaluate/soft-seed_0", "tables/all"}
    assert json.loads((folder / "rows/soft/seed_0/metrics.json").read_text())["label"] == "IR, again"
