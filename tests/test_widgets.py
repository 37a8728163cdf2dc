"""Widgets are made without a browser, hold the patient's millimetres, and need no net."""

import re

import numpy as np
import pytest

from cranial.figures import Figure
from cranial.volume import Volume

k3d = pytest.importorskip("k3d", reason="k3d is not installed; pip install 'cranial[lab]'")
ipywidgets = pytest.importorskip("ipywidgets", reason="ipywidgets is not installed; pip install 'cranial[lab]'")

from cranial import widgets  # noqa: E402


@pytest.fixture(scope="module")
def layers() -> dict[str, Volume]:
    """A ball about (10, -20, 30) mm in voxels of 2 x 2 x 3 mm, its top a piece of its own, on a turned grid."""
    affine = np.array([[0, -2.0, 0, 60], [2.0, 0, 0, -70], [0, 0, 3.0, -20], [0, 0, 0, 1]])
    grid = Volume(np.zeros((50, 50, 34), bool), affine)
    x, y, z = (grid.voxel_to_mm(np.argwhere(~grid.mask)) - (10, -20, 30)).T
    ball, top = (x**2 + y**2 + z**2 < 40**2).reshape(grid.shape), (z > 20).reshape(grid.shape)
    return {"bone": grid.with_mask(ball & ~top), "implant": grid.with_mask(ball & top)}


def test_a_3d_view_holds_each_layer_where_it_is_in_the_patient(layers):
    plot = widgets.show(layers)
    bone, implant = plot.objects
    assert [bone.name, implant.name] == ["bone", "implant"] and bone.color == 0xF1E9D9
    points = np.concatenate([bone.vertices, implant.vertices])
    assert points.min(axis=0) == pytest.approx((-30, -60, -10), abs=3)
    assert points.max(axis=0) == pytest.approx((50, 20, 70), abs=3)
    assert implant.vertices[:, 2].min() > 46
    assert plot.camera[3:6] == pytest.approx((10, -20, 30), abs=3)
    assert plot.camera[1] < -60, "the view begins in front of the patient"
    assert plot.camera[6:] == [0, 0, 1]


def test_coarser_meshes_have_fewer_faces_and_empty_layers_are_left_out(layers):
    fine, coarse = (len(widgets.show(layers, mesh_mm=size).objects[0].indices) for size in (2.0, 5.0))
    assert coarse < fine / 3
    empty = layers["bone"].with_mask(np.zeros(layers["bone"].shape, bool))
    assert [each.name for each in widgets.show({**layers, "proposal": empty}).objects] == ["bone", "implant"]
    with pytest.raises(ValueError, match="layer 'skin' has no colour"):
        widgets.show({"skin": layers["bone"]})


def test_a_view_saved_as_a_page_needs_no_net(layers, tmp_path):
    page = widgets.save_page(widgets.show(layers, mesh_mm=5.0), tmp_path / "view.html")
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["']https?:""", text)
    assert [path.name for path in tmp_path.iterdir()] == ["view.html"]


def test_the_slider_runs_from_foot_to_vertex_and_draws_where_it_stands(layers):
    view = widgets.slider(layers)
    height = view.children[0]
    assert (height.min, height.max) == pytest.approx((-10, 70), abs=3)
    assert not height.continuous_update
    assert isinstance(view.result, Figure)
    height.value = 40.0
    assert view.result.axes[0].get_title() == "axial, S = 40 mm"


def test_names_become_a_menu_and_two_numbers_a_slider():
    view = widgets.explore(lambda style, seed: (style, seed), style=("bilateral", "skullfix"), seed=(0, 9))
    menu, slider = view.children[:2]
    assert menu.options == ("bilateral", "skullfix") and (slider.min, slider.max) == (0, 9)
    menu.value = "skullfix"
    assert view.result == ("skullfix", slider.value)
