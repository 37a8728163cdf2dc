"""A run keeps what a reader of a lab book wants: the notebook as executed, parameters, versions, pictures."""

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest

from cranial.config import ConfigError
from cranial.notebook_run import NotebookError, declared_parameters, run_notebook, versions

PICTURE = "import matplotlib.pyplot as plt\nplt.plot([0, side_vox])\nplt.show()"


@pytest.fixture
def make_notebook(tmp_path):
    def make(parameters: str | None, *cells: str, name: str = "lesson.ipynb") -> Path:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A lesson")])
        if parameters is not None:
            book.cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
        book.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
        folder = tmp_path / "notebooks"
        folder.mkdir(exist_ok=True)
        nbformat.write(book, folder / name)
        return folder / name

    return make


@pytest.fixture
def make_params(tmp_path):
    def make(text: str) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return make


def shown_text(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_a_run_keeps_notebook_parameters_versions_and_pictures(
    make_notebook, make_params, tmp_path, monkeypatch, repository
):
    # A kernel named python3 that the user registered for something else must not be taken.
    other = tmp_path / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    spec = {"argv": ["/bin/false"], "display_name": "of another environment", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    monkeypatch.chdir(tmp_path)  # paths of the caller are relative to the caller
    notebook = make_notebook(
        "side_vox = 8\noutput_dir = 'outputs/here'",
        "import os, sys\nprint(sys.executable, os.getcwd(), side_vox, output_dir, sep='\\n')",
        PICTURE,
    )
    params = make_params("# how large?\nside_vox: 96\n")
    (tmp_path / "run" / "figures").mkdir(parents=True)
    (tmp_path / "run" / "figures" / "cell_77.png").write_bytes(b"of an earlier run")

    run = run_notebook(Path("notebooks/lesson.ipynb"), Path("params.yaml"), Path("run"), progress=False)

    run_dir = tmp_path / "run"
    assert run.notebook == run_dir / "notebook.ipynb"
    assert shown_text(run.notebook).split("\n")[:4] == [
        sys.executable,
        str(notebook.parent),
        "96",
        str(run_dir),
    ]
    assert (run_dir / "params.yaml").read_bytes() == params.read_bytes()
    kept = json.loads((run_dir / "versions.json").read_text())
    assert kept["python"] == sys.version.split()[0]
    assert kept["packages"]["papermill"] and kept["platform"]
    assert run.figures == (run_dir / "figures" / "cell_04.png",)
    assert run.figures[0].read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in run_dir.rglob("*") if p.is_file()) == [
        "cell_04.png",
        "notebook.ipynb",
        "params.yaml",
        "versions.json",
    ]
    assert run.seconds > 0
    assert "JUPYTER_PATH" not in os.environ


def test_a_failed_cell_is_named_and_the_notebook_kept_as_far_as_it_got(make_notebook, make_params, tmp_path):
    notebook = make_notebook(
        "side_vox = 8", "print('before')\n" + PICTURE, "raise ValueError('no such skull')", "print('after')"
    )
    message = r"lesson\.ipynb: In \[3\] failed: ValueError: no such skull; .* as far as it got is .*\.ipynb"
    with pytest.raises(NotebookError, match=message):
        run_notebook(notebook, make_params(""), tmp_path / "run", progress=False)
    text = shown_text(tmp_path / "run" / "notebook.ipynb")
    assert "before" in text and "after" not in text
    assert [p.name for p in (tmp_path / "run" / "figures").iterdir()] == ["cell_02.png"]
    assert not list((tmp_path / "run").glob("running*"))


def test_a_kernel_that_dies_is_said_to_have_died(make_notebook, make_params, tmp_path):
    notebook = make_notebook(None, "import os\nos._exit(9)")
    with pytest.raises(NotebookError, match=r"lesson\.ipynb: the kernel died, mostly for want of memory"):
        run_notebook(notebook, make_params(""), tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "notebook.ipynb").exists()


def test_a_parameter_that_the_notebook_does_not_declare_is_refused_before_anything_runs(
    make_notebook, make_params, tmp_path
):
    notebook = make_notebook("side_vox = 8\nsteps = 2", "raise SystemExit")
    with pytest.raises(NotebookError, match=r"unknown key 'side_vx'; did you mean 'side_vox'\? .*lesson"):
        run_notebook(notebook, make_params("side_vx: 9"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    bare = make_notebook(None, "x = 1", name="bare.ipynb")
    with pytest.raises(NotebookError, match=r"unknown key 'x'; the known ones are: none"):
        run_notebook(bare, make_params("x: 9"), tmp_path / "run")


def test_declared_parameters_are_what_the_tagged_cell_assigns(make_notebook):
    source = (
        "side_vox: int = 96  # voxels\n"
        "styles = [\n    'bilateral',\n    'skullfix',\n]\n"
        "a = b = dict(side=1)\n"
        "low, high = 0, 1\n"
        "count: int\n"
    )
    declared = ["side_vox", "styles", "a", "b", "low", "high", "count"]
    assert declared_parameters(make_notebook(source, "later = 1")) == declared
    assert declared_parameters(make_notebook(None, "later = 1")) == []


def test_a_parameters_cell_that_is_not_plain_python_is_refused(make_notebook):
    with pytest.raises(NotebookError, match=r"cell 2: the parameters cell is not plain .*line 2\); keep"):
        declared_parameters(make_notebook("side_vox = 8\n%matplotlib inline"))


def test_a_file_that_is_no_notebook_is_named(tmp_path, make_params, make_notebook):
    with pytest.raises(NotebookError, match=r"absent\.ipynb does not exist; give the path of a notebook"):
        declared_parameters(tmp_path / "absent.ipynb")
    for content in ("not json", "[]", '{"no": "cells"}'):
        (tmp_path / "broken.ipynb").write_text(content)
        with pytest.raises(NotebookError, match=r"broken\.ipynb is not a notebook; give the path of an \."):
            declared_parameters(tmp_path / "broken.ipynb")
    with pytest.raises(ConfigError, match="does not exist"):
        run_notebook(make_notebook("a = 1"), tmp_path / "absent.yaml", tmp_path / "run")


def test_without_papermill_the_error_names_the_extra(make_notebook, make_params, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "papermill", None)
    with pytest.raises(NotebookError, match=r"papermill is not installed; pip install 'cranial\[lab\]'"):
        run_notebook(make_notebook("a = 1"), make_params(""), tmp_path / "run")


def test_versions_name_the_git_commit_where_there_is_one(tmp_path):
    assert versions(tmp_path)["git"] is None
    git = f"git -C {tmp_path} -c user.name=a -c user.email=a@b"
    assert os.system(f"{git} init -q && {git} commit -q --allow-empty -m first") == 0
    clean = versions(tmp_path)["git"]
    assert len(clean["commit"]) == 40 and clean["changed"] is False
    (tmp_path / "skull.txt").touch()
    assert versions(tmp_path)["git"] == {"commit": clean["commit"], "changed": True}
