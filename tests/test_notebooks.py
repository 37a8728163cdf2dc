"""Each notebook is a lesson: short, clean, and it runs as it is."""

import ast
import json
from pathlib import Path

import nbformat
import pytest
import yaml
from tiny_notebooks import REPOSITORY, TINY, write_recipes

from cranial.config import read_yaml
from cranial.notebook_run import declared_parameters, run_notebook

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
PARAMS = sorted(path for path in (REPOSITORY / "params").glob("*/*.yaml") if path.stem in {n.stem for n in NOTEBOOKS})
STATEMENTS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.AsyncFor, ast.While, ast.With, ast.Try)
each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
each_params = pytest.mark.parametrize("params", PARAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")


def code(notebook: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_notebooks_and_each_has_demo_values():
    assert [path.stem for path in NOTEBOOKS][:2] == ["01_skulls", "02_geometric_augmentation"]
    assert {path.stem for path in PARAMS if path.parent.name == "demo"} == {path.stem for path in NOTEBOOKS}


@each_notebook
def test_a_notebook_has_at_most_twenty_cells_and_begins_with_its_question(notebook):
    book = nbformat.read(notebook, as_version=4)
    assert len(book.cells) <= 20
    assert book.cells[0].cell_type == "markdown" and book.cells[0].source.startswith("# ")
    assert "?" in book.cells[0].source
    assert book.metadata.kernelspec.name == "python3"


@each_notebook
def test_a_notebook_in_git_has_no_outputs(notebook):
    cells = code(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    assert "widgets" not in nbformat.read(notebook, as_version=4).metadata


@each_notebook
def test_a_notebook_defines_nothing_and_loops_over_nothing(notebook):
    """Functions, classes and loops belong into cranial, where tests reach them; comprehensions may stay."""
    found = [
        f"In [{number}], line {node.lineno}: {type(node).__name__}"
        for number, cell in enumerate(code(notebook), 1)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, STATEMENTS)
    ]
    assert not found


@each_notebook
def test_each_code_cell_is_short(notebook):
    longest = max(len(cell.source.splitlines()) for cell in code(notebook) if "tags" not in cell.metadata)
    assert longest <= 20


@each_params
def test_the_keys_of_a_params_file_are_the_notebooks_parameters(params):
    declared = declared_parameters(REPOSITORY / "notebooks" / f"{params.stem}.ipynb")
    assert declared[-1] == "output_dir"
    assert list(read_yaml(params)) == declared[:-1]
    assert len(declared) == len(set(declared))


@each_params
def test_the_first_line_of_a_params_file_asks_a_question(params):
    first = params.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ") and first.endswith("?")


@each_notebook
def test_run_all_uses_the_demo_values(notebook):
    cell = next(cell for cell in code(notebook) if "parameters" in cell.metadata.get("tags", []))
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(cell.source).body}
    output_dir = values.pop("output_dir")
    assert values == read_yaml(REPOSITORY / "params" / "demo" / f"{notebook.stem}.yaml")
    assert (notebook.parent / output_dir).resolve() == REPOSITORY / "outputs" / notebook.stem


def test_the_paper_recipe_is_one_that_training_takes():
    from cranial.reconstruction.recipe import Recipe

    values = read_yaml(REPOSITORY / "params" / "paper" / "06_reconstruction.yaml")
    recipe = Recipe(**{name: value for name, value in values.items() if name in Recipe.model_fields})
    assert recipe.side == recipe.pool_side == 256 and recipe.shape.widths == (16, 32, 64, 128, 256)
    assert recipe.shape.patch == 1 and recipe.shape.in_channels == 1 and recipe.side % recipe.shape.stride == 0
    assert recipe.cross_entropy == 0, "the study's loss is soft Dice alone"


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> Path:
    """Weights that know nothing: what they propose is not the question here."""
    from cranial.reconstruction.learner import ReconstructionLearner
    from cranial.reconstruction.recipe import Recipe
    from cranial.reconstruction.training import save_model

    recipe = Recipe(side=16, steps=1, widths=(4, 8), patch=2)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_model(path, ReconstructionLearner(recipe.shape, steps=1, learning_rate=1e-3), recipe)
    return path


def run(name: str, folder: Path, /, **values) -> Path:
    """Run a notebook with its tiny values and these; returns the run's folder."""
    pytest.importorskip("papermill", reason="papermill is not installed; pip install 'cranial[lab]'")
    params = folder / f"{name}.yaml"
    demo = read_yaml(REPOSITORY / "params" / "demo" / f"{name}.yaml")
    params.write_text(yaml.safe_dump(demo | TINY[name] | values), encoding="utf-8")
    run_notebook(REPOSITORY / "notebooks" / f"{name}.ipynb", params, folder / name, progress=False)
    return folder / name


def outputs(run_dir: Path) -> list[dict]:
    """The data of everything that the executed notebook shows."""
    cells = json.loads((run_dir / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    return [output["data"] for cell in cells for output in cell.get("outputs", []) if "data" in output]


def test_the_skulls_run(tmp_path):
    run_dir = run("01_skulls", tmp_path)
    assert len(list((run_dir / "figures").glob("cell_*.png"))) == 5
    shown = outputs(run_dir)
    assert sum("application/vnd.jupyter.widget-view+json" in data for data in shown) == 2
    assert any("| bilateral |" in "".join(data.get("text/markdown", "")) for data in shown)


def test_the_geometric_augmentation_runs_and_trains_with_and_without(tmp_path):
    run_dir = run("02_geometric_augmentation", tmp_path)
    assert len(list((run_dir / "figures").glob("cell_*.png"))) == 4
    assert {path.name for path in run_dir.iterdir() if (path / "last.safetensors").exists()} == {"none", "heavy"}
    assert any("| extreme | L P S |" in "".join(data.get("text/markdown", "")) for data in outputs(run_dir))


def test_the_registration_runs_and_makes_a_set(tmp_path):
    from cranial.skulls.store import CaseStore

    run_dir = run("03_registration", tmp_path)
    assert len(list((run_dir / "figures").glob("cell_*.png"))) == 6
    assert CaseStore.open(run_dir / "set").missing() == []
    assert any("| 12,500 |" in "".join(data.get("text/markdown", "")) for data in outputs(run_dir))


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> Path:
    """The demo's recipes of generators, so small that a second is enough."""
    return write_recipes(tmp_path_factory.mktemp("recipes"))


@pytest.mark.parametrize("method", ["vae", "ldm_vqvae"])
def test_the_generators_run_whichever_is_named(tmp_path, recipes, method):
    places = {"recipes": str(recipes), "generators": str(tmp_path / "generators"), "cache": str(recipes / "cache")}
    run_dir = run("04_generators", tmp_path, method=method, **places)
    assert len(list((run_dir / "figures").glob("cell_*.png"))) >= 4, "curves, reconstructions, twice samples"
    assert (tmp_path / "generators" / method / "generator.safetensors").exists()
    assert (tmp_path / "generators" / "vqvae").exists() == (method == "ldm_vqvae"), "what it needs is trained first"
    assert any("| written |" in "".join(data.get("text/markdown", "")) for data in outputs(run_dir))


def test_the_sampling_strategies_run_on_one_generator(tmp_path, recipes):
    places = {"recipes": str(recipes), "generators": str(tmp_path / "generators"), "cache": str(recipes / "cache")}
    run_dir = run("05_sampling_strategies", tmp_path, **places)
    assert len(list((run_dir / "figures").glob("cell_*.png"))) == 3
    tables = ["".join(data.get("text/markdown", "")) for data in outputs(run_dir)]
    assert sum("| uds |" in table for table in tables) == 2


def test_the_reconstruction_runs_and_what_it_trained_reconstructs(tmp_path, untrained):
    run_dir = run("06_reconstruction", tmp_path, model=str(untrained))
    assert len(list((run_dir / "figures").glob("cell_*.png"))) == 5
    assert (run_dir / "training" / "model.safetensors").exists()
    assert any("| mirror |" in "".join(data.get("text/markdown", "")) for data in outputs(run_dir))


@pytest.mark.parametrize("from_files", [False, True], ids=["phantoms", "files"])
def test_the_clinical_cases_run_and_leave_one_page_and_volumes(tmp_path, untrained, from_files):
    from cranial import volume
    from cranial.skulls.defects import cut
    from cranial.skulls.phantom import phantom

    values = {"model": str(untrained)}
    if from_files:
        case = cut(phantom(3, spacing_mm=3.0), "craniotomy", seed=0).defective
        values |= {"cases": [str(volume.write(case, tmp_path / "head.nii.gz"))], "methods": ["mirror"]}
    run_dir = run("07_clinical_cases", tmp_path, **values)
    names = ["head"] if from_files else TINY["07_clinical_cases"]["phantom_styles"]
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2 + len(names) and "src=\"figures" not in page
    assert all(f"Disagreement in {name}" in page for name in names) and ("<th>DSC</th>" in page) == (not from_files)
    for name in names:
        vote = volume.read(run_dir / f"{name}_vote.nrrd", allow_empty=True)
        assert (run_dir / f"{name}_disagreement.nrrd").exists()
        assert not from_files or volume.same_grid(vote, case)


@pytest.mark.parametrize("from_file", [False, True], ids=["phantom", "file"])
def test_the_clinical_case_runs_and_leaves_a_report_with_files_that_open(tmp_path, from_file):
    from cranial import volume
    from cranial.skulls.defects import cut
    from cranial.skulls.phantom import phantom

    case = None
    if from_file:
        case = str(volume.write(cut(phantom(3, spacing_mm=3.0), "skullfix", seed=0).defective, tmp_path / "case.nrrd"))
    run_dir = run("08_clinical_case", tmp_path, case=case)
    assert len(list((run_dir / "figures").glob("cell_*.png"))) == (4 if from_file else 5)
    piece = volume.read(run_dir / "defect.nrrd")
    if from_file:
        assert volume.same_grid(piece, volume.read(case))
    mesh = volume.read(run_dir / "defect.stl", like=piece)
    assert mesh.volume_mm3 == pytest.approx(piece.volume_mm3, rel=0.15)
    text = (run_dir / "report.md").read_text(encoding="utf-8")
    assert ("case.nrrd" in text) == from_file and f"{piece.volume_mm3 / 1000:.2f}" in text
    assert {"report.html", "view.html"} <= {path.name for path in run_dir.iterdir()}


def test_the_evaluation_trains_an_example_where_there_is_no_study_and_writes_every_table(tmp_path):
    run_dir = run("09_evaluation", tmp_path, folder=str(tmp_path / "none"))
    assert len(list((run_dir / "figures").glob("cell_*.png"))) == 3
    names = ("table_2", "table_3", "table_5", "table_6", "overview")
    assert {f"{name}.{kind}" for name in names for kind in ("csv", "md", "tex")} == {
        path.name for path in (run_dir / "tables").iterdir()
    }
    shown = ["".join(data.get("text/markdown", "")) for data in outputs(run_dir)]
    assert any("| No Aug |" in text for text in shown) and any("| ours: " in text for text in shown)


def test_the_evaluation_reads_a_study_that_is_there_and_says_what_it_lacks(tmp_path):
    from study_runs import write_study

    run_dir = run("09_evaluation", tmp_path, folder=str(write_study(tmp_path / "study")))
    assert not (run_dir / "example").exists()
    assert len(list((run_dir / "figures").glob("cell_*.png"))) == 2
    shown = ["".join(data.get("text/markdown", "")) for data in outputs(run_dir)]
    assert any("have not kept what they proposed" in text for text in shown)


def test_the_cost_is_counted(tmp_path, recipes):
    run_dir = run("10_cost", tmp_path, recipes=str(recipes))
    assert len(list((run_dir / "figures").glob("cell_*.png"))) == 2
    assert any("more than 100,000" in "".join(data.get("text/markdown", "")) for data in outputs(run_dir))
