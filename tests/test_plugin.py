"""napari: skulls lie where they lie, every button does what it says, and nothing that fails is silent."""

import sys
import threading
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from display import a_display, why_no_window

if why := why_no_window():
    pytest.skip(why, allow_module_level=True)

from cranial.plugin.drivers import keep_triton_out, triton_first  # noqa: E402

triton_first()  # before any window

from heads import ORDERS, affine_of, head, reordered, rotation  # noqa: E402
from napari.layers import Labels, Layer  # noqa: E402
from napari.utils.notifications import notification_manager  # noqa: E402
from npe2 import PluginManifest  # noqa: E402
from npe2.manifest.utils import import_python_name  # noqa: E402
from test_volume_dicom import scan  # noqa: E402

from cranial import figures, volume  # noqa: E402
from cranial.figures.render import rgb  # noqa: E402
from cranial.plugin import app, files, layers, samples, stage, work  # noqa: E402
from cranial.plugin.docks.browse import BrowseDock  # noqa: E402
from cranial.plugin.docks.convert import ConvertDock  # noqa: E402
from cranial.plugin.docks.defect import PREVIEW, DefectDock  # noqa: E402
from cranial.plugin.docks.implant import ImplantDock  # noqa: E402
from cranial.plugin.docks.measure import MeasureDock  # noqa: E402
from cranial.plugin.docks.reconstruct import ReconstructDock  # noqa: E402
from cranial.plugin.docks.register import RegisterDock  # noqa: E402
from cranial.skulls.defects import cut  # noqa: E402
from cranial.skulls.phantom import phantom  # noqa: E402
from cranial.skulls.store import CaseStore  # noqa: E402
from cranial.volume import Volume, VolumeError  # noqa: E402

COARSE_MM = 3.0


@pytest.fixture(scope="session", autouse=True)
def display():
    with a_display():
        yield


@pytest.fixture(scope="module")
def case():
    return cut(phantom(0, spacing_mm=COARSE_MM), "parietotemporal", seed=0)


@pytest.fixture
def manifest(repository, npe2pm):
    manifest = PluginManifest.from_file(repository / "cranial" / "plugin" / "napari.yaml")
    npe2pm.register(manifest)
    return manifest


@pytest.fixture
def viewer(manifest, make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def told():
    """What napari has been told to tell since the test began."""
    first = len(notification_manager.records)
    return lambda: [str(record.message) for record in notification_manager.records[first:]]


@pytest.fixture
def press(qtbot):
    """Press a button of a dock, and wait until its work is done."""

    def press(dock, text):
        dock.button(text).click()
        qtbot.waitUntil(lambda: not dock.busy, timeout=300_000)

    return press


def docked(viewer, kind):
    dock = kind(viewer)
    viewer.window.add_dock_widget(dock)
    return dock


def layer_of(data: layers.LayerData) -> Layer:
    return Layer.create(*data)


def assert_same(one: Volume, other: Volume) -> None:
    assert volume.same_grid(one, other) and np.array_equal(one.mask, other.mask)


# the manifest


def test_napari_finds_the_plugin_and_everything_it_names(repository, manifest):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["napari.manifest"] == {"cranial": "cranial.plugin:napari.yaml"}
    assert all(callable(import_python_name(command.python_name)) for command in manifest.contributions.commands)
    assert [dock.display_name for dock in manifest.contributions.widgets] == list(app.DOCKS)
    assert {path.stem for path in (repository / "cranial" / "plugin" / "docks").glob("*.py")} == {
        "__init__", "dock", "choice", *map(str.lower, app.DOCKS)
    }


def test_the_app_opens_every_dock_with_the_head_upright(viewer, qtbot, tmp_path, case):
    docks = app.open_docks(viewer)
    assert list(docks) == list(app.DOCKS)
    app.open_case(viewer, volume.write(case.defective, tmp_path / "skull.nrrd"))
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=120_000)
    assert not viewer.layers["skull"].visible and viewer.layers["skull (3-D)"].visible
    assert viewer.dims.ndisplay == 3 and viewer.scene.camera.up_direction[2] > 0.9
    assert docks["Reconstruct"].skull.value is viewer.layers["skull"]


def test_triton_is_kept_out_only_where_a_driver_brought_its_llvm(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    maps = tmp_path / "maps"
    for loaded, kept_out in (("libGL.so.1", False), ("/usr/lib/libLLVM-15.so.1", True)):
        maps.write_text(f"7f00-7f01 r--p {loaded}\n")
        keep_triton_out(maps)
        assert ("triton" in sys.modules) == kept_out
    assert sys.modules.pop("triton") is None
    keep_triton_out(tmp_path / "absent")
    assert "triton" not in sys.modules


def test_without_a_display_the_app_says_how_to_get_one(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(ValueError, match="there is no display for a window; on a server use ssh -X, or xvfb-run"):
        app.check_display({})
    app.check_display({"WAYLAND_DISPLAY": "wayland-0"})


# layers and files


@pytest.mark.parametrize("order", ORDERS[::5])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (12, -7, 25)])
def test_a_mask_comes_back_from_its_layer_on_its_own_grid_whatever_its_axes(order, degrees):
    skull = reordered(head(affine_of(rotation(degrees), (0.5, 0.8, 1.25), (-40, 7, 90))), order)
    layer = layer_of(layers.labels_data(skull, "skull"))
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3 and layer.axis_labels == ("L", "P", "S")
    assert np.all(np.diag(layers.affine_of(layer))[:3] > 0)  # array axes along L, P, S: napari slices along those
    assert_same(layers.volume_of(layer), skull)
    assert_same(volume.resample(Volume(layer.data > 0, layers.affine_of(layer)), like=skull), skull)


def test_what_is_painted_is_part_of_the_mask_and_what_is_moved_lies_elsewhere():
    skull = reordered(head(affine_of(spacing_mm=(1, 2, 3))), ORDERS[7])
    layer = layer_of(layers.labels_data(skull, "skull"))
    layer.data[0, 0, 0] = 3
    assert layers.volume_of(layer).mask.sum() == skull.mask.sum() + 1
    layer.translate = (5.0, 0.0, 0.0)
    moved = layers.volume_of(layer)
    assert not volume.same_grid(moved, skull) and moved.affine[0, 3] == pytest.approx(layer.affine.translate[0] + 5)


def test_a_layer_that_is_not_ours_lies_where_napari_shows_it():
    layer = Labels(np.ones((3, 4, 5), int), scale=(2, 1, 0.5), rotate=(10, 20, 30), translate=(1, 2, 3))
    mask = layers.volume_of(layer)
    corner = np.array([[2, 3, 4]])
    assert mask.voxel_to_mm(corner)[0] == pytest.approx(layer.data_to_world(corner[0]))
    assert mask.spacing_mm == pytest.approx((2, 1, 0.5))


def test_what_napari_reads_and_writes_has_the_same_geometry(viewer, tmp_path):
    skull = reordered(head(affine_of(rotation((5, 0, -20)), (0.5, 0.8, 1.25), (-40, 7, 90))), ORDERS[11])
    for suffix in (".nrrd", ".nhdr", ".seg.nrrd", ".nii", ".nii.gz"):
        path = volume.write(skull, tmp_path / f"skull{suffix}")
        (layer,) = viewer.open(path, plugin="cranial")
        assert layer.name.startswith("skull") and "nii" not in layer.name
        again = tmp_path / f"again{suffix}"
        assert layer.save(str(again), plugin="cranial") == [str(again)]
        assert_same(volume.read(again), volume.read(path))


@pytest.mark.parametrize("suffix", [".stl", ".ply"])
def test_a_mesh_is_a_surface_in_patient_mm_and_a_mask_can_be_written_as_one(viewer, tmp_path, suffix):
    skull = phantom(1, spacing_mm=COARSE_MM)
    path = volume.write_mesh(skull, tmp_path / f"implant{suffix}")
    (surface,) = viewer.open(path, plugin="cranial")
    bone_mm = skull.voxel_to_mm(np.argwhere(skull.mask))
    vertices_mm, _ = layers.triangles_of(surface)
    assert np.ptp(vertices_mm, axis=0) == pytest.approx(np.ptp(bone_mm, axis=0), abs=2 * COARSE_MM)
    assert surface.colormap.colors[0][:3] == pytest.approx(rgb("implant"), abs=1e-6)

    written = tmp_path / f"written{suffix}"
    surface.save(str(written), plugin="cranial")
    assert_same(volume.read(written, like=skull), volume.read(path, like=skull))

    stage.put(viewer, layers.labels_data(skull, "voxels"))
    viewer.layers["voxels"].save(str(tmp_path / f"voxels{suffix}"), plugin="cranial")
    assert_same(volume.read(tmp_path / f"voxels{suffix}", like=skull), volume.read(path, like=skull))


def test_a_folder_of_slices_is_a_skull_and_another_folder_is_not_ours(viewer, tmp_path):
    scan(tmp_path / "ct", np.arange(0, 22, 0.5))
    (layer,) = viewer.open(tmp_path / "ct", plugin="cranial")
    assert_same(layers.volume_of(layer), volume.read(tmp_path / "ct"))
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("no slice")
    assert files.get_reader(str(tmp_path / "letters")) is None
    assert files.get_reader(str(tmp_path / "skull.png")) is None


def test_a_ct_is_read_as_its_bone_and_said_to_be(viewer, tmp_path, told):
    import nibabel

    hounsfield = np.full((24, 20, 22), -1000, np.int16)
    hounsfield[4:16, 4:16, 4:16] = 1200
    nibabel.save(nibabel.Nifti1Image(hounsfield, np.eye(4)), tmp_path / "ct.nii.gz")
    (layer,) = viewer.open(tmp_path / "ct.nii.gz", plugin="cranial")
    assert layer.data.sum() == 12**3
    assert told() == ["ct.nii.gz is a CT; its largest part of at least 200 HU is taken for bone"]
    nibabel.save(nibabel.Nifti1Image(np.clip(hounsfield, 0, 7) + (hounsfield == 0), np.eye(4)), tmp_path / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.arange(27, dtype=np.int16).reshape(3, 3, 3), np.eye(4)), tmp_path / "b.nii.gz")
    with pytest.raises(VolumeError, match="b.nii.gz: not a mask of 0 and one other value"):
        files.read(str(tmp_path / "b.nii.gz"))


@pytest.mark.parametrize(
    ("path", "stem", "role"),
    [
        ("implant/bilateral/007.nrrd", "007", "implant"),
        ("a/B0001_implant.stl", "B0001_implant", "implant"),
        ("skull.seg.nrrd", "skull", "bone"),
        ("Head.NII.GZ", "Head", "bone"),
    ],
)
def test_a_layer_is_named_and_coloured_by_its_file(path, stem, role):
    assert files.stem(Path(path)) == stem and files.role(Path(path)) == role


def test_every_sample_opens_in_the_patients_millimetres(viewer, manifest, monkeypatch):
    monkeypatch.setattr(samples, "SPACING_MM", COARSE_MM)
    for sample in manifest.contributions.sample_data:
        opened = viewer.open_sample("cranial", sample.key)
        assert len(opened) == (2 if sample.key == "complete" else 4)
        skull, *piece = map(layers.volume_of, opened[::2])
        assert skull.spacing_mm == (COARSE_MM,) * 3 and skull.orientation == "LPS"
        for one in piece:
            assert one.mask.any() and not (one.mask & skull.mask).any()


# how the patient lies


def test_sections_are_seen_from_the_feet_and_heads_stand_without_being_mirrored(viewer, case):
    stage.arrange(viewer)
    stage.arrange(viewer)
    stage.put(viewer, layers.labels_data(case.defective, "skull"))
    assert viewer.scale_bar.visible and tuple(viewer.dims.order) == (2, 1, 0)  # slider S, P down, L to the right
    assert viewer.text_overlay.visible and "left is on the right" in viewer.text_overlay.text
    viewer.dims.order = (0, 1, 2)
    assert not viewer.text_overlay.visible  # sagittal: it would not be true
    viewer.dims.ndisplay = 3
    assert not viewer.text_overlay.visible
    assert tuple(viewer.dims.order) == (0, 1, 2)
    right = np.cross(viewer.scene.camera.view_direction, viewer.scene.camera.up_direction)
    _, down, forward = figures.camera(stage.VIEW)
    assert viewer.scene.camera.view_direction == pytest.approx(forward, abs=1e-6)
    assert right == pytest.approx(np.cross(forward, -down), abs=1e-6) and right[0] > 0.5  # the left is on the right


def test_in_3d_a_surface_stands_for_its_mask_and_in_2d_the_mask_for_itself(viewer, case):
    stage.arrange(viewer)
    stage.put(viewer, layers.labels_data(case.defective, "skull"), layers.surface_of(case.defective, "skull"))
    mask, surface = viewer.layers
    assert (mask.visible, surface.visible) == (True, False)
    viewer.dims.ndisplay = 3
    assert (mask.visible, surface.visible) == (False, True)
    surface.visible = False  # hidden by hand: it stays so
    viewer.dims.ndisplay = 2
    assert (mask.visible, surface.visible) == (False, False)


def test_a_surface_to_look_at_has_no_terraces_and_lies_where_the_mask_does():
    grid = phantom(0, spacing_mm=2.5)
    away_mm = np.linalg.norm(grid.voxel_to_mm(np.indices(grid.shape).reshape(3, -1).T), axis=1).reshape(grid.shape)
    (vertices, faces, _), *_ = layers.surface_of(grid.with_mask(away_mm < 50), "ball")
    radius_mm = np.linalg.norm(vertices, axis=1)
    assert radius_mm.mean() == pytest.approx(50, abs=0.5) and radius_mm.std() < 0.2
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    normals, middles = np.cross(b - a, c - a), (a + b + c) / 3
    turn = (normals * middles).sum(1) / np.linalg.norm(normals, axis=1) / np.linalg.norm(middles, axis=1)
    assert np.percentile(np.rad2deg(np.arccos(np.clip(turn, -1, 1))), 95) < 8


def test_layers_that_change_while_one_looks_are_not_made_anew(viewer, case):
    for mask in (case.defective, case.implant):
        stage.refresh(viewer, layers.labels_data(mask, "mask"), layers.surface_of(mask, "mask"))
    again = [viewer.layers["mask"], viewer.layers["mask (3-D)"]]
    stage.refresh(viewer, layers.labels_data(case.defective, "mask"))
    assert again == list(viewer.layers) and np.array_equal(layers.volume_of(again[0]).mask, case.defective.mask)
    elsewhere = Volume(case.implant.mask, np.diag([2.0, 2.0, 2.0, 1.0]))
    stage.refresh(viewer, layers.labels_data(elsewhere, "mask"))
    assert_same(layers.volume_of(viewer.layers["mask"]), elsewhere)
    stage.refresh(viewer, layers.labels_data(phantom(0, spacing_mm=8.0), "mask"))
    assert viewer.layers["mask"] is not again[0] and len(viewer.layers) == 2


def test_a_menu_follows_the_newest_layer_of_its_role_until_somebody_chooses(viewer, case):
    dock = docked(viewer, ReconstructDock)
    assert dock.skull.value is None
    stage.put(viewer, layers.labels_data(case.implant, "piece", "implant"))
    assert dock.skull.value.name == "piece"  # better than nothing
    stage.put(viewer, layers.labels_data(case.defective, "one"), layers.labels_data(case.defective, "two"))
    assert dock.skull.value.name == "two"
    dock.skull.value = viewer.layers["one"]
    dock.skull.native.activated.emit(0)
    stage.put(viewer, layers.labels_data(case.defective, "three"))
    assert dock.skull.value.name == "one"


# the docks


def test_defect_shows_what_it_would_cut_follows_a_click_and_cuts(viewer, press, qtbot):
    stage.put(viewer, layers.labels_data(phantom(3, spacing_mm=COARSE_MM, cut=False), "head"))
    dock = docked(viewer, DefectDock)
    viewer.dims.ndisplay = 3
    press(dock, "Preview")
    before = viewer.layers[PREVIEW].data.sum()
    dock.size.value = 0.6
    qtbot.waitUntil(lambda: viewer.layers[PREVIEW].data.sum() < 0.8 * before, timeout=120_000)
    dock.style.value = "bilateral"
    qtbot.waitUntil(lambda: not dock.busy, timeout=120_000)
    dock.style.value = "random_2"
    qtbot.waitUntil(lambda: not dock.busy, timeout=120_000)

    click(dock, (0.0, 0.0, 0.0), (0.0, 0.0, -1.0))
    qtbot.waitUntil(lambda: not dock.busy, timeout=120_000)
    hole = layers.volume_of(viewer.layers[PREVIEW])
    middle_mm = hole.voxel_to_mm(np.argwhere(hole.mask)).mean(axis=0)
    assert np.hypot(*middle_mm[:2]) < 25 and middle_mm[2] > 40
    assert "cm³ would be cut out" in dock.said

    press(dock, "Cut")
    assert PREVIEW not in viewer.layers and not viewer.layers["head"].visible and dock.skull.value.name == "head"
    skull, piece = (layers.volume_of(viewer.layers[name]) for name in ("head, cut", "head, piece"))
    assert np.array_equal(piece.mask, hole.mask)
    assert np.array_equal(skull.mask ^ piece.mask, layers.volume_of(viewer.layers["head"]).mask)
    assert viewer.layers["head, piece (3-D)"].visible


def click(dock, position, direction, moves=0):
    """A press and a release, with moves of the mouse between them, as napari sends them."""

    class Event:
        type = "mouse_press"

    Event.position, Event.view_direction = position, direction
    callback = dock._clicked(dock.viewer, Event)
    for kind in [None, *["mouse_move"] * moves, "mouse_release"]:
        Event.type = kind or Event.type
        if next(callback, "over") == "over":
            break


def test_a_drag_turns_the_head_and_a_click_in_a_section_places_the_hole_there(viewer, qtbot):
    skull = phantom(3, spacing_mm=COARSE_MM, cut=False)
    stage.put(viewer, layers.labels_data(skull, "head"))
    dock = docked(viewer, DefectDock)
    click(dock, (0.0, 0.0, 0.0), (0.0, 0.0, -1.0), moves=2)
    dock.by_click.value = False
    click(dock, (0.0, 0.0, 0.0), (0.0, 0.0, -1.0))
    assert not dock.busy and PREVIEW not in viewer.layers
    dock.by_click.value = True
    click(dock, (70.0, 0.0, 30.0), None)
    qtbot.waitUntil(lambda: PREVIEW in viewer.layers, timeout=120_000)
    hole = layers.volume_of(viewer.layers[PREVIEW])
    assert hole.voxel_to_mm(np.argwhere(hole.mask))[:, 0].mean() > 30


def test_reconstruct_proposes_a_piece_by_either_method(viewer, press, case):
    stage.put(viewer, layers.labels_data(case.defective, "skull"), layers.labels_data(case.implant, "piece", "implant"))
    dock = docked(viewer, ReconstructDock)
    for method in ("network", "mirror"):
        dock.method.value = method
        press(dock, "Reconstruct")
        proposal = layers.volume_of(viewer.layers[f"skull, {method}"])
        assert volume.same_grid(proposal, case.defective) and proposal.mask.any()
        assert not (proposal.mask & case.defective.mask).any()
        assert f"skull, {method} (3-D)" in viewer.layers
        assert f"are missing, by {method} in" in dock.said
    assert not dock.model.enabled and not viewer.layers["piece"].visible
    assert "skull (3-D)" in viewer.layers


def test_reconstruct_with_a_model_that_is_not_there_says_so_in_one_sentence(viewer, press, case, tmp_path, told):
    stage.put(viewer, layers.labels_data(case.defective, "skull"))
    dock = docked(viewer, ReconstructDock)
    dock.model.line_edit.value = str(tmp_path / "absent.safetensors")
    press(dock, "Reconstruct")
    (sentence,) = told()
    assert "absent.safetensors" in sentence and "Traceback" not in sentence and dock.said == sentence
    assert len(viewer.layers) == 1 and dock.button("Reconstruct").isEnabled()


def test_a_skull_with_nothing_missing_is_said_to_be_so(viewer, press, case, monkeypatch):
    from types import SimpleNamespace

    from cranial import reconstruction

    nothing = SimpleNamespace(defect=case.complete.with_mask(np.zeros(case.complete.shape, bool)),
                              report={"volume_cm3": 0.0, "seconds": 1.0})
    monkeypatch.setattr(reconstruction, "reconstruct", lambda *_, **__: nothing, raising=False)
    stage.put(viewer, layers.labels_data(case.complete, "skull"))
    dock = docked(viewer, ReconstructDock)
    press(dock, "Reconstruct")
    assert dock.said.startswith("Nothing is missing in this skull")
    assert [layer.name for layer in viewer.layers] == ["skull", "skull (3-D)"]


def test_measure_scores_and_paints_a_proposal_in_millimetres(viewer, press, case):
    moved = volume.resample(case.implant, like=phantom(0, spacing_mm=2.5))  # on another grid, too
    parts = ((case.defective, "skull", "bone"), (case.implant, "truth", "implant"), (moved, "proposal", "proposal"))
    stage.put(viewer, *(layers.labels_data(*part) for part in parts))
    dock = docked(viewer, MeasureDock)
    press(dock, "Measure")
    assert "Dice (DSC)" in dock.results and "Hausdorff 95 %" in dock.results
    press(dock, "Paint distances")
    painted = viewer.layers["proposal: deviation, mm"]
    assert painted.colorbar.visible and painted.contrast_limits[0] == -painted.contrast_limits[1]
    assert np.abs(painted.data[2]).mean() < 1.5
    assert not viewer.layers["truth"].visible and viewer.layers["skull"].visible
    assert "mm (stands out)" in dock.said


def test_implant_is_made_checked_and_written(viewer, press, tmp_path, told):
    from cranial import implant

    if not hasattr(implant, "make_implant"):
        pytest.skip("no implants yet")
    case = cut(phantom(0, spacing_mm=2.0), "trephination", seed=1)
    stage.put(viewer, layers.labels_data(case.defective, "skull"), layers.labels_data(case.implant, "piece", "implant"))
    dock = docked(viewer, ImplantDock)
    press(dock, "Write")
    assert told()[-1] == "there is no implant yet; press Make first"
    press(dock, "Make")
    assert "piece, implant" in viewer.layers and "clearance to bone" in dock.results
    press(dock, "Write")
    assert told()[-1] == "no file to write to; choose one, for example implant.stl"
    dock.path.line_edit.value = str(tmp_path / "implant.stl")
    press(dock, "Write")
    assert (tmp_path / "implant.stl").stat().st_size > 84 and dock.said.startswith("written to")


def test_making_an_implant_tells_its_steps_and_ends_at_the_next_one_when_cancelled(viewer, qtbot):
    case = cut(phantom(0, spacing_mm=2.0), "trephination", seed=1)
    stage.put(viewer, layers.labels_data(case.defective, "skull"), layers.labels_data(case.implant, "piece", "implant"))
    dock, steps = docked(viewer, ImplantDock), []

    def heard(share, step):
        steps.append(step)
        if step == "bone":
            dock.button("Cancel").click()

    dock._work.said.connect(heard)
    dock.button("Make").click()
    qtbot.waitUntil(lambda: not dock.busy, timeout=300_000)
    assert "way in" in steps and "bone" in steps and "checks" not in steps
    assert dock.said == "stopped" and "piece, implant" not in viewer.layers


def test_register_is_watched_level_by_level(viewer, press, case, told):
    stage.put(viewer, layers.labels_data(case.implant, "piece", "implant"))
    for name, skull in (("fixed", phantom(5, spacing_mm=COARSE_MM)), ("moving", case.defective)):
        stage.put(viewer, layers.labels_data(skull, name))
    dock = docked(viewer, RegisterDock)
    assert (dock.moving.value.name, dock.fixed.value.name, dock.along.value.name) == ("moving", "fixed", "piece")
    dock.fixed.value = viewer.layers["moving"]
    press(dock, "Register")
    assert told()[-1] == "moving and fixed are the same layer; open a second head and choose it"
    dock.fixed.value, dock.side.value, dock.stiffness.value = viewer.layers["fixed"], 32, 0
    assert dock.alpha == 6250
    seen, watch = [], dock.watch
    dock._work.shown.disconnect()
    dock._work.shown.connect(lambda something: (seen.append(something[1]), watch(something)))
    press(dock, "Register")
    assert [found and [level.side for level in found.levels] for found in seen] == [None, [], [4], [4, 8], [4, 8, 16]]
    skull, piece = (layers.volume_of(viewer.layers[name]) for name in ("moving on fixed", "piece on fixed"))
    assert skull.mask.any() and piece.mask.any() and not (skull.mask & piece.mask).any()
    assert "moving on fixed (3-D)" in viewer.layers and "fixed (3-D)" in viewer.layers
    assert "32³" in dock.results and not dock.curves.pixmap().isNull()


def test_browse_scrolls_over_what_is_there_and_leaves_out_the_rejected(viewer, press, tmp_path, told):
    shape, corner = (16, 18, 20), np.zeros((16, 18, 20), bool)
    store = CaseStore.create(tmp_path / "set", count=9, shape=shape, spacing_mm=(2.0, 2.0, 3.0), recipe={})
    for item in (1, 3, 4):
        skull, defect = corner.copy(), corner.copy()
        skull[2:14, 2:14, 2:14], defect[2:8, 2:8, item:14] = True, True
        store.write(item, skull & ~defect, defect, {"pair": [item, 7], "alpha": 12500.0})
    store.reject(2, "folded")
    dock = docked(viewer, BrowseDock)
    for text, sentence in (("Open", "no folder to open; choose that of a set"), ("Next", "no set is open; choose")):
        press(dock, text)
        assert told()[-1].startswith(sentence)
    dock.folder.line_edit.value = str(tmp_path / "set")
    press(dock, "Open")
    layer = viewer.layers["cases of set"]
    assert layer.data.shape == (3, *shape) and dock.item == 1
    press(dock, "Next")
    assert dock.item == 3 and "12500" in dock.results and "folded: 1" in dock.results
    press(dock, "Next")
    press(dock, "Next")
    assert dock.item == 4
    press(dock, "Previous")
    assert dock.item == 3
    viewer.dims.ndisplay = 3
    press(dock, "Take out")
    piece = layers.volume_of(viewer.layers["missing piece of case 3"])
    assert np.array_equal(piece.mask, store.read(3).defect) and piece.spacing_mm == (2.0, 2.0, 3.0)


def test_a_set_without_cases_says_where_they_come_from(viewer, press, tmp_path, told):
    CaseStore.create(tmp_path, count=4, shape=(8, 8, 8), spacing_mm=(1, 1, 1), recipe={}).reject(0, "empty")
    dock = docked(viewer, BrowseDock)
    dock.folder.line_edit.value = str(tmp_path)
    press(dock, "Open")
    assert told()[-1].endswith("has no case yet, and 1 of 4 items are rejected; make some first, for example with "
                               "cranial synthesize")


def test_convert_makes_surfaces_of_masks_and_masks_of_surfaces(viewer, press, case):
    stage.put(viewer, layers.labels_data(case.complete, "skull"))
    dock = docked(viewer, ConvertDock)
    press(dock, "Mask to surface")
    dock.spacing.value = COARSE_MM
    press(dock, "Surface to mask")
    voxels = layers.volume_of(viewer.layers["skull (3-D), voxels"])
    assert voxels.volume_mm3 == pytest.approx(case.complete.volume_mm3, rel=0.1)


# work


def test_without_a_layer_a_button_says_what_to_open(viewer, press, told):
    for kind, text, name in ((ReconstructDock, "Reconstruct", "skull"), (MeasureDock, "Measure", "proposal")):
        dock = docked(viewer, kind)
        press(dock, text)
        assert told()[-1] == f"there is no labels layer to take as {name}; open a file, or File > Open Sample"


def test_work_that_is_cancelled_ends_at_its_next_report_and_shows_nothing(viewer, qtbot):
    dock, results = docked(viewer, ConvertDock), []
    going = threading.Event()

    def endless(report):
        while True:
            going.set()
            report(0.5, "turning round and round")
            time.sleep(0.01)

    dock.run(endless, results.append)
    qtbot.waitUntil(going.is_set, timeout=20_000)
    assert dock.busy and not dock.button("Mask to surface").isEnabled()
    dock.button("Cancel").click()
    qtbot.waitUntil(lambda: not dock.busy, timeout=20_000)
    assert dock.said == "stopped" and results == [] and dock.button("Mask to surface").isEnabled()


def test_work_that_never_reports_is_dropped_when_it_ends(viewer, qtbot):
    dock, results, gate = docked(viewer, ConvertDock), [], threading.Event()
    dock.run(lambda report: gate.wait(20), results.append)
    dock.button("Cancel").click()
    gate.set()
    qtbot.waitUntil(lambda: not dock.busy, timeout=20_000)
    assert results == [] and dock.said == "stopped"


def test_newer_work_of_a_dock_takes_the_place_of_the_older(viewer, qtbot):
    dock, results, gate = docked(viewer, ConvertDock), [], threading.Event()
    dock.run(lambda report: gate.wait(20) and "first", results.append)
    dock.run(lambda report: "second", results.append)
    dock.run(lambda report: "third", results.append)
    gate.set()
    qtbot.waitUntil(lambda: not dock.busy, timeout=20_000)
    assert results == ["third"]


def test_two_docks_take_turns(viewer, qtbot):
    one, other, results, gate = docked(viewer, ConvertDock), docked(viewer, ConvertDock), [], threading.Event()
    begun = threading.Event()
    one.run(lambda report: begun.set() or (gate.wait(20) and "one"), results.append)
    qtbot.waitUntil(begun.is_set, timeout=20_000)
    other.run(lambda report: "other", results.append)
    qtbot.waitUntil(lambda: other.said == "waiting for another dock", timeout=20_000)
    gate.set()
    qtbot.waitUntil(lambda: not (one.busy or other.busy), timeout=20_000)
    assert results == ["one", "other"]


def test_work_goes_on_in_a_thread_while_the_window_answers(viewer, qtbot):
    dock, gate, beats = docked(viewer, ConvertDock), threading.Event(), []
    dock.run(lambda report: gate.wait(20), beats.append)
    for _ in range(5):
        qtbot.wait(10)
        beats.append("beat")
    assert beats == ["beat"] * 5 and dock.busy
    gate.set()
    qtbot.waitUntil(lambda: not dock.busy, timeout=20_000)


def test_a_dock_that_is_closed_shows_nothing_any_more(viewer, qtbot):
    dock, results, gate = docked(viewer, ConvertDock), [], threading.Event()
    dock.run(lambda report: gate.wait(20), results.append)
    dock._work.leave()
    gate.set()
    qtbot.waitUntil(lambda: not dock.busy, timeout=20_000)
    assert results == []


@pytest.mark.parametrize(
    ("error", "said", "shown"),
    [
        (ValueError("a skull\nof two lines"), "a skull of two lines", "a skull of two lines"),
        (MemoryError(), "not enough memory (MemoryError); close other programs, or use larger voxels", "not enough"),
        (KeyError("side"), "KeyError: 'side' (this looks like a bug)", "side"),
    ],
)
def test_an_error_is_a_notification_with_its_sentence(told, error, said, shown):
    assert work.tell(error) == said
    assert shown in told()[-1]
