"""Widgets are made without a browser, hold the patient's millimetres, and need no net."""

import re

import nibabel
import numpy as np
import pytest

from cranial.skulls.defects import Case
from cranial.volume import Volume

k3d = pytest.importorskip("k3d", reason="k3d is not installed; pip install 'cranial[lab]'")
pytest.importorskip("ipyniivue", reason="ipyniivue is not installed; pip install 'cranial[lab]'")

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


def test_normals_of_a_ball_point_away_from_its_middle(layers):
    mesh = widgets.show({"bone": layers["bone"]}).objects[0]
    outwards = mesh.vertices - (10, -20, 30)
    outwards /= np.linalg.norm(outwards, axis=1)[:, None]
    cosine = (outwards * mesh.normals).sum(axis=1)
    a, b, c = (mesh.vertices[corner].astype(float) for corner in mesh.indices.T)
    assert ((b - a) * np.cross(c - a, a - (10, -20, 30))).sum() > 0, "and its triangles are seen from outside"
    curved = mesh.vertices[:, 2] < 30  # the rest belongs to the cut
    assert np.median(cosine[curved]) > 0.97 and (cosine[curved] > 0.5).mean() > 0.98


def test_another_head_is_shown_by_the_same_meshes_and_an_empty_layer_by_nothing(layers):
    plot = widgets.show(layers)
    before = list(plot.objects)
    empty = layers["implant"].with_mask(np.zeros(layers["implant"].shape, bool))
    widgets.redraw(plot, {"bone": layers["implant"], "implant": empty})
    assert list(plot.objects) == before
    bone, implant = before
    assert bone.vertices[:, 2].min() > 46 and len(bone.normals) == len(bone.vertices)
    assert bone.indices.max() == len(bone.vertices) - 1
    assert np.ptp(implant.vertices) == 0, "a triangle without extent"


def test_a_slider_changes_the_surfaces_the_volume_the_words_and_the_view(layers):
    def draw(piece: bool, grown: int) -> dict[str, Volume]:
        bone, implant = layers["bone"], layers["implant"]
        kept = implant.mask.copy()
        kept[: 25 - grown] = False
        return {"bone": bone, "implant": implant.with_mask(kept & piece)}

    view = widgets.turn(draw, caption=lambda piece, grown: f"grown by {grown}", piece=True, grown=(0, 20, 1, 0))
    side, plot = view.children
    controls, words, boxes, facing = side.children
    (box, slider), (of_bone, of_implant, _) = controls.children[:2], boxes.children
    assert facing.value and slider.continuous_update and words.value == "grown by 0"
    meshes = {mesh.name: mesh for mesh in plot.objects}
    vertices, camera, said = meshes["implant"].vertices, list(plot.camera), of_implant.description
    assert f"{draw(True, 0)['implant'].volume_mm3 / 1000:.0f} cm³" in said and "missing piece" in said
    slider.value = 12
    assert meshes["implant"].vertices.shape != vertices.shape and words.value == "grown by 12"
    assert of_implant.description != said and "bone" in of_bone.description
    assert plot.camera[:3] != camera[:3] and plot.camera[3:] == pytest.approx(camera[3:])
    assert np.linalg.norm(np.subtract(plot.camera[:3], plot.camera[3:6])) == pytest.approx(
        np.linalg.norm(np.subtract(camera[:3], camera[3:6]))
    )
    facing.value, camera = False, list(plot.camera)
    slider.value = 0
    assert plot.camera == camera, "the box is not ticked: the view stays"
    box.value = False
    assert np.ptp(meshes["implant"].vertices) == 0 and "0 cm³" in of_implant.description


def test_a_case_is_turned_as_its_skull_and_its_piece_even_if_the_first_is_empty(layers):
    bone, implant = layers["bone"], layers["implant"]
    nothing = bone.with_mask(np.zeros(bone.shape, bool))
    cases = [Case(nothing, nothing, nothing, "empty"), Case(bone, bone, implant, "random_1")]
    view = widgets.turn(lambda number: cases[number], number=(0, 1, 1, 0), follow=False)
    side, plot = view.children
    assert [mesh.name for mesh in plot.objects] == ["bone", "implant"]
    assert all(np.ptp(mesh.vertices) == 0 for mesh in plot.objects) and side.children[1].value == "empty"
    side.children[0].children[0].value = 1
    assert all(len(mesh.vertices) > 100 for mesh in plot.objects) and side.children[1].value == "random 1"


def test_a_head_that_cannot_be_drawn_is_reported_with_its_choices():
    with pytest.raises(ValueError, match=r"draw failed at the first of its choices, \{'number': 3\}; try draw"):
        widgets.turn(lambda number: {}[number], number=(3, 5, 1, 3))


def test_the_sections_hold_every_layer_in_the_patients_space(layers):
    view = widgets.sections(layers)
    assert view.volumes == [], "nothing is sent before there is a canvas to draw on"
    view._canvas_attached = True
    (volume,) = view.volumes
    image = nibabel.Nifti1Image.from_bytes(volume.data)
    labels = np.asarray(image.dataobj)
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    for number, layer in enumerate(layers.values(), 1):
        places = nibabel.affines.apply_affine(image.affine, np.argwhere(labels == number)) * (-1, -1, 1)
        assert sorted(map(tuple, places.round(3))) == sorted(map(tuple, layer.voxel_to_mm(np.argwhere(layer.mask))))
    colours = np.reshape(volume.colormap_label.lut, (3, 4))
    assert colours[1:, :3].tolist() == [[0xF1, 0xE9, 0xD9], [0x2F, 0x7F, 0xC1]]
    assert view.opts.is_radiological_convention
    share = np.array(view.scene.crosshair_pos)
    place = nibabel.affines.apply_affine(image.affine, share * image.shape - 0.5) * (-1, -1, 1)
    implant = layers["implant"]
    assert implant.mask[tuple(np.rint(implant.mm_to_voxel(place[None])[0]).astype(int))]


def test_the_slider_of_a_head_runs_from_foot_to_vertex_moves_the_section_and_cuts_the_head_open(layers):
    view = widgets.look(layers)
    controls, pictures = view.children
    solid, flat = pictures.children
    level, cut_open = controls.children[0].children
    assert (level.min, level.max) == pytest.approx((-10, 70), abs=3)
    level.value = 40.0
    assert flat.scene.crosshair_pos[2] == pytest.approx((40 + 20) / 3 / 34 + 0.5 / 34)
    assert len(solid.clipping_planes) == 0
    cut_open.value = True
    (plane,) = solid.clipping_planes
    assert np.dot(plane, (0, 0, 39, 1)) > 0 > np.dot(plane, (0, 0, 41, 1)), "what is above the section is gone"


def test_names_become_a_menu_and_numbers_a_slider():
    choices = {"style": ("bilateral", "skullfix"), "seed": (0, 9), "size": (0.5, 2.0, 0.1, 1.0)}
    view = widgets.explore(lambda **chosen: chosen, **choices)
    menu, seed, size = view.children[:3]
    assert menu.options == ("bilateral", "skullfix") and (seed.min, seed.max) == (0, 9)
    assert (size.min, size.max, size.step, size.value) == (0.5, 2.0, 0.1, 1.0) and not seed.continuous_update
    menu.value = "skullfix"
    assert view.result == {"style": "skullfix", "seed": seed.value, "size": 1.0}
