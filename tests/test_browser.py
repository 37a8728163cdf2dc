"""Every notebook in a real JupyterLab: Run All shows no error, and a slider that is moved changes the picture."""

import re

import pytest
from browser import await_widgets, chromium, jupyterlab, move_a_slider, run_all, why_no_browser
from tiny_notebooks import REPOSITORY, TINY, write_notebooks

pytestmark = pytest.mark.skipif(bool(why_no_browser()), reason=why_no_browser())


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder of notebooks with tiny values, and the address of the JupyterLab that shows it."""
    folder = tmp_path_factory.mktemp("lab")
    write_notebooks(folder, TINY)
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
    assert page.locator(".jp-OutputArea-output img").count() >= 2, "pictures are shown"
    source = (REPOSITORY / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    widgets = len(re.findall(r"widgets\.(?:look|turn|explore)\(", source))
    await_widgets(page, widgets)
    for which in range(widgets):
        move_a_slider(page, which)
    assert refused == []


def test_every_notebook_is_opened_and_the_teaching_ones_have_sliders():
    assert set(TINY) == {path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
    teaching = list((REPOSITORY / "notebooks").glob("0[1-8]_*.ipynb"))
    assert len(teaching) >= 7
    assert all(re.search(r"widgets\.(?:look|turn|explore)\(", path.read_text(encoding="utf-8")) for path in teaching)
