"""Every notebook in a real JupyterLab: Run All shows no error, and a slider that is moved changes the picture."""

import nbformat
import pytest
from browser import chromium, count_sliders, jupyterlab, move_a_slider, run_all, why_no_browser
from tiny_notebooks import REPOSITORY, TINY, write_recipes

pytestmark = pytest.mark.skipif(bool(why_no_browser()), reason=why_no_browser())


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder of notebooks with tiny values, and the address of the JupyterLab that shows it."""
    folder = tmp_path_factory.mktemp("lab")
    recipes = folder / "recipes"
    recipes.mkdir()
    places = {"recipes": str(write_recipes(recipes)), "generators": str(folder / "generators"),
              "cache": str(folder / "cache")}  # fmt: skip
    for name, tiny in TINY.items():
        notebook = nbformat.read(REPOSITORY / "notebooks" / f"{name}.ipynb", as_version=4)
        cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
        values = tiny | {"output_dir": str(folder / name)}
        values |= {key: place for key, place in places.items() if f"\n{key} = " in cell.source}
        cell.source += "".join(f"\n{key} = {value!r}" for key, value in values.items())
        nbformat.write(notebook, folder / f"{name}.ipynb")
    with jupyterlab(folder) as address:
        yield address


@pytest.fixture(scope="module")
def refused():
    """Addresses outside this machine that a notebook asked for."""
    return []


@pytest.fixture(scope="module")
def page(refused):
    with chromium(refused) as opened:
        yield opened


@pytest.mark.parametrize("name", TINY)
def test_a_notebook_runs_and_answers_its_sliders_with_no_net(lab, page, refused, name):
    assert run_all(page, lab, f"{name}.ipynb") == []
    assert page.locator(".jp-OutputArea-output img").count() >= 3, "pictures are shown"
    widgets = count_sliders(page)
    assert widgets >= 1
    for which in range(widgets):
        move_a_slider(page, which)
    assert refused == []


def test_every_notebook_is_opened():
    assert set(TINY) == {path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
