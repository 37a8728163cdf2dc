"""An implant fills its hole, keeps its distance from bone, goes in, and can be printed."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import trimesh
from heads import affine_of, reordered, rotation
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from cranial import volume
from cranial.implant import Check, Implant, ImplantDesign, checks, make, make_implant, write_implant
from cranial.implant.bone import crop, free_mm
from cranial.implant.solid import beyond_opened_outline
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom
from cranial.volume import Volume, VolumeError
from cranial.volume_io.mesh import surface

OUT_MM, IN_MM, HOLE_MM = 24.0, 19.0, 8.0  # radii of a spherical shell, and of a hole in it
UP = np.array([0.36, -0.48, 0.8])  # where the hole is, a unit vector
MIDDLE_MM = np.array([3.0, -11.0, 7.0])
FINE_MM = 0.6
OBLIQUE = affine_of(rotation((20, -35, 50)), (0.5, 0.6, 0.8))


def quick(**figures) -> ImplantDesign:
    return ImplantDesign(**{"detail_mm": 0.5, **figures})


def grid_around(affine: np.ndarray, half_mm: float) -> Volume:
    """An empty grid with these axes, in whose middle MIDDLE_MM lies."""
    shape = tuple(int(2 * half_mm / step) + 1 for step in np.linalg.norm(affine[:3, :3], axis=0))
    affine = affine.copy()
    affine[:3, 3] = MIDDLE_MM - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Volume(np.zeros(shape, bool), affine)


def drawn(grid: Volume, bone_at, piece_at) -> tuple[Volume, Volume]:
    """Skull and piece by rules of points (N, 3) in mm about MIDDLE_MM."""
    points = grid.voxel_to_mm(np.indices(grid.shape).reshape(3, -1).T) - MIDDLE_MM
    return tuple(grid.with_mask(rule(points).reshape(grid.shape)) for rule in (bone_at, piece_at))


def shell(affine=None, up=UP, wider_inside=0.0, inner_mm=IN_MM) -> tuple[Volume, Volume]:
    """A spherical skull with a round hole about `up`; wider_inside: mm of radius for a mm of depth."""
    grid = grid_around(affine_of(None, (FINE_MM,) * 3) if affine is None else affine, OUT_MM + 3)

    def solid(points):
        radius = np.linalg.norm(points, axis=1)
        return (radius <= OUT_MM) & (radius >= inner_mm)

    def hole(points):
        along, off = cylindrical(points, up)
        return (along > 0) & (off < HOLE_MM + wider_inside * (OUT_MM - np.linalg.norm(points, axis=1)))

    return drawn(grid, lambda p: solid(p) & ~hole(p), lambda p: solid(p) & hole(p))


def slab(half_mm=(8.0, 6.0), thick_mm=5.0, affine=None) -> tuple[Volume, Volume]:
    """A plate across z with a box hole, 30 mm wide."""
    grid = grid_around(affine_of(None, (FINE_MM,) * 3) if affine is None else affine, 17)

    def plate(points):
        return (np.abs(points[:, 2]) <= thick_mm / 2) & (np.abs(points[:, :2]) <= 15).all(axis=1)

    def hole(points):
        return (np.abs(points[:, :2]) < half_mm).all(axis=1)

    return drawn(grid, lambda p: plate(p) & ~hole(p), lambda p: plate(p) & hole(p))


def cylindrical(points: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far along `up`, and how far off its axis, points (N, 3) about the middle lie."""
    along = points @ up
    return along, np.linalg.norm(points - along[:, None] * up, axis=1)


def on_mesh(mesh: trimesh.Trimesh) -> np.ndarray:
    """Vertices and middles of faces, about MIDDLE_MM."""
    return np.concatenate([mesh.vertices, mesh.triangles_center]) - MIDDLE_MM


def rim(mesh: trimesh.Trimesh, up=UP) -> tuple[np.ndarray, np.ndarray]:
    """Along and off the axis of `up`, for the faces of the rim between the rounded edges."""
    sideways = np.abs(mesh.face_normals @ up) < 0.3
    return cylindrical(mesh.triangles_center[sideways] - MIDDLE_MM, up)


def without(implant: Implant, name: str) -> Implant:
    """The same without one line of its report; of a small piece the rounded rim is more than its drift may be."""
    kept = tuple(check for check in implant.report.checks if check.name != name)
    return replace(implant, report=replace(implant.report, checks=kept))


def assert_printable_and_passing(implant: Implant) -> None:
    assert implant.mesh.is_watertight and implant.mesh.is_winding_consistent and implant.mesh.volume > 0
    assert implant.mesh.body_count == len(implant.pieces) == len(implant.directions)
    assert implant.report.passed, str(implant.report)


def assert_goes_in(implant: Implant, skull: Volume) -> None:
    """No point of a piece is in bone on the way out, looked up in the mask, to a quarter of its voxels."""
    bone = gaussian_filter(skull.mask.astype(np.float32), 0.5)
    for piece, direction in zip(implant.pieces, implant.directions, strict=True):
        points = piece.vertices[:: max(1, len(piece.vertices) // 4000)]
        for travelled in np.arange(0, 60, min(skull.spacing_mm)):
            voxels = skull.mm_to_voxel(points + travelled * direction)
            assert map_coordinates(bone, voxels.T, order=1).max() < 0.7, f"bone {travelled:g} mm up the way"


@pytest.fixture(scope="module")
def round_implant() -> Implant:
    return make_implant(*shell(), quick(), progress=False)


# Shape


@pytest.mark.parametrize("clearance_mm", [0.2, 0.5, 1.5])
def test_the_gap_all_around_is_the_clearance(clearance_mm):
    skull, defect = shell()
    implant = make_implant(skull, defect, quick(clearance_mm=clearance_mm), progress=False)
    assert_printable_and_passing(implant)
    _, off_mm = rim(implant.mesh)
    assert np.median(off_mm) == pytest.approx(HOLE_MM - clearance_mm, abs=0.15)  # a hole of voxels
    vertices, faces = surface(skull, smoothing_mm=0.5)  # as the project writes bone
    bone = np.concatenate([vertices, vertices[faces].mean(axis=1)])
    nearest_mm, _ = cKDTree(bone).query(on_mesh(implant.mesh) + MIDDLE_MM)
    assert nearest_mm.min() == pytest.approx(clearance_mm, abs=0.1)


@pytest.mark.parametrize("affine", [None, OBLIQUE, affine_of(np.diag([-1, -1, 1]), (0.7, 0.7, 1.0))])
def test_it_goes_in_along_the_radius_and_sits_flush_on_any_grid(affine):
    skull, defect = shell(affine)
    implant = make_implant(skull, defect, quick(), progress=False)
    assert_printable_and_passing(implant)
    assert_goes_in(implant, skull)
    (direction,) = implant.directions
    assert np.linalg.norm(direction) == pytest.approx(1) and np.degrees(np.arccos(direction @ UP)) < 3
    radius_mm = np.linalg.norm(on_mesh(implant.mesh), axis=1)
    assert radius_mm.max() == pytest.approx(OUT_MM, abs=0.2)
    assert radius_mm.min() == pytest.approx(IN_MM, abs=0.3)  # the blur, 1.6 mm at most, costs 0.13 mm at this radius
    outside = (implant.mesh.face_normals * (implant.mesh.triangles_center - MIDDLE_MM)).sum(axis=1) > 0.95 * OUT_MM
    assert np.linalg.norm(implant.mesh.triangles_center[outside] - MIDDLE_MM, axis=1).std() < 0.08, "a staircase"


def test_the_same_head_stored_otherwise_has_the_same_implant(round_implant):
    skull, defect = shell()
    for order in (np.array([[0, -1, 0], [0, 0, 1], [1, 0, 0]]), np.diag([1, -1, -1])):
        again = make_implant(reordered(skull, order), reordered(defect, order), quick(), progress=False)
        assert again.mesh.volume == pytest.approx(round_implant.mesh.volume, rel=1e-3)
        assert np.allclose(again.mesh.bounds, round_implant.mesh.bounds, atol=0.05)


@pytest.mark.parametrize("thickness_mm", [2.0, 3.5, 7.0])
def test_thickness_is_kept_from_the_outer_surface_inward(thickness_mm):
    implant = make_implant(*shell(), quick(thickness_mm=thickness_mm), progress=False)
    assert_printable_and_passing(without(implant, "volume drift"))
    along_mm, off_mm = cylindrical(on_mesh(implant.mesh), UP)
    radius_mm = np.linalg.norm(on_mesh(implant.mesh), axis=1)[off_mm < HOLE_MM / 2]
    assert radius_mm.max() == pytest.approx(OUT_MM, abs=0.15)
    assert radius_mm.min() == pytest.approx(OUT_MM - thickness_mm, abs=0.2)


def test_bone_thinner_than_the_minimum_wall_is_thickened_inward():
    implant = make_implant(*shell(inner_mm=OUT_MM - 0.9), quick(minimum_wall_mm=2.0), progress=False)
    assert_printable_and_passing(without(implant, "volume drift"))
    _, off_mm = cylindrical(on_mesh(implant.mesh), UP)
    radius_mm = np.linalg.norm(on_mesh(implant.mesh), axis=1)[off_mm < HOLE_MM / 2]
    assert radius_mm.max() == pytest.approx(OUT_MM, abs=0.3)
    assert np.ptp(radius_mm) >= 2.0


def test_a_plate_with_a_box_hole_gets_a_box_less_the_clearance_straight_through():
    skull, defect = slab()
    implant = make_implant(skull, defect, quick(), progress=False)
    assert_printable_and_passing(without(implant, "volume drift"))
    assert_goes_in(implant, skull)
    assert abs(implant.directions[0][2]) > np.cos(np.deg2rad(2))
    low, high = on_mesh(implant.mesh).min(axis=0), on_mesh(implant.mesh).max(axis=0)
    box_mm = (np.ptp(np.argwhere(defect.mask), axis=0) + 1) * FINE_MM - (1.0, 1.0, 0.0)
    assert high - low == pytest.approx(box_mm, abs=0.2)
    assert implant.mesh.volume == pytest.approx(np.prod(box_mm), rel=0.08)


def test_what_bone_hides_from_outside_is_left_out():
    skull, defect = shell(wider_inside=0.45)
    implant = make_implant(skull, defect, quick(), progress=False)
    assert_goes_in(implant, skull)
    assert_printable_and_passing(implant)
    _, off_mm = cylindrical(on_mesh(implant.mesh), UP)
    assert off_mm.max() < HOLE_MM + 0.3  # inside, the hole is 10.2 mm wide, and the way in a degree or two askew
    straight = make_implant(*shell(), quick(), progress=False)
    assert implant.mesh.volume == pytest.approx(straight.mesh.volume, rel=0.1)
    assert implant.mesh.volume < 0.75 * defect.volume_mm3


@pytest.mark.parametrize("taper_deg", [5.0, 15.0])
def test_a_taper_narrows_the_rim_inward_by_its_angle(taper_deg):
    implant = make_implant(*shell(), quick(taper_deg=taper_deg), progress=False)
    assert_printable_and_passing(implant)
    along_mm, off_mm = rim(implant.mesh)
    slope, _ = np.polyfit(along_mm, off_mm, 1)
    assert np.degrees(np.arctan(slope)) == pytest.approx(taper_deg, abs=1.5)
    _, untapered_mm = rim(make_implant(*shell(), quick(), progress=False).mesh)
    assert off_mm.max() == pytest.approx(untapered_mm.max(), abs=0.2), "the gap at the outer surface stays"


def test_perforations_go_through_and_leave_the_rim_alone(round_implant):
    design = quick(perforation_mm=2.0, perforation_spacing_mm=4.0)
    implant = make_implant(*shell(), design, progress=False)
    assert_printable_and_passing(without(implant, "volume drift"))
    holes = 1 - implant.mesh.euler_number / 2
    assert holes == 7  # one in the middle, six around it; the next ring would cut the rim
    missing_mm3 = round_implant.mesh.volume - implant.mesh.volume
    assert missing_mm3 == pytest.approx(holes * np.pi * 1.0**2 * (OUT_MM - IN_MM), rel=0.15)
    assert np.allclose(implant.mesh.bounds, round_implant.mesh.bounds, atol=0.05)


def test_a_defect_on_each_side_gives_two_pieces_each_with_its_own_way_in(tmp_path):
    skull, left = shell(up=np.array([1.0, 0, 0]))
    other, right = shell(up=np.array([-0.8, -0.6, 0.0]))
    bone, both = skull.with_mask(skull.mask & other.mask), skull.with_mask(left.mask | right.mask)
    implant = make_implant(bone, both, quick(), progress=False)
    assert_printable_and_passing(implant)
    assert_goes_in(implant, bone)
    for up in ((1.0, 0, 0), (-0.8, -0.6, 0)):
        assert max(direction @ up for direction in implant.directions) > 0.998
    assert implant.mesh.volume == pytest.approx(sum(piece.volume for piece in implant.pieces))
    vertices, _ = read_three_mf(write_implant(implant, tmp_path / "two.3mf"))
    assert [len(each) for each in vertices] == [len(piece.vertices) for piece in implant.pieces]


def test_crumbs_of_a_reconstruction_are_left_out_and_counted(round_implant):
    skull, defect = shell()
    mask = defect.mask.copy()
    mask[1:3, 1:3, 1:3] = True
    implant = make_implant(skull, defect.with_mask(mask), quick(), progress=False)
    assert implant.report.left_out == 1 and round_implant.report.left_out == 0
    assert implant.mesh.volume == pytest.approx(round_implant.mesh.volume, rel=1e-6)


def test_a_slot_too_narrow_for_three_walls_is_not_filled_with_a_tongue():
    skull, defect = shell()
    points = defect.voxel_to_mm(np.indices(defect.shape).reshape(3, -1).T) - MIDDLE_MM
    along = np.cross(UP, [0.0, 0.6, 0.8]) / np.linalg.norm(np.cross(UP, [0.0, 0.6, 0.8]))
    narrow = (np.abs(points @ np.cross(UP, along)) < 1.7) & (points @ UP > 0)
    slot = narrow & (points @ along > 0) & (points @ along < 14)
    cut_out = skull.mask & slot.reshape(skull.shape)
    implant = make_implant(
        skull.with_mask(skull.mask & ~cut_out), defect.with_mask(defect.mask | cut_out), quick(), progress=False
    )
    assert_printable_and_passing(without(implant, "volume drift"))
    assert (on_mesh(implant.mesh) @ along).max() < HOLE_MM + 3  # the slot itself ends at 14
    assert (on_mesh(implant.mesh) @ -along).max() == pytest.approx(HOLE_MM - 0.5, abs=0.25)


def test_a_narrow_tongue_of_the_outline_is_cut_off_and_a_straight_rim_is_not():
    inside = np.zeros((60, 60, 3), bool)
    inside[10:40, 10:50] = True
    inside[40:55, 28:31] = True  # 1.2 mm wide
    beyond_mm = beyond_opened_outline(inside, 0.4, 1.5)
    assert (beyond_mm[45:55] > 0).all() and (beyond_mm[11:39, 14:46] < 0).all() and (beyond_mm[14:36, 10] < 0).all()
    inside[:40] = False
    assert (beyond_opened_outline(inside, 0.4, 1.5) < 0).all(), "what is all tongue is left alone"


def test_a_running_minimum_is_what_bone_leaves_free_on_the_way_out():
    distance_mm = np.random.default_rng(0).uniform(0, 5, (3, 4, 9)).astype(np.float32)
    free = free_mm(distance_mm.copy(), 0.5, 10.0)
    for k in range(9):
        up = np.arange(9 - k) * 0.5 * np.tan(np.deg2rad(10))
        assert np.allclose(free[:, :, k], (distance_mm[:, :, k:] - up).min(axis=2), atol=1e-5)


# Heads


@pytest.mark.parametrize("style", ["trephination", "random_1"])
def test_phantoms_get_implants_that_fit_and_go_in(tmp_path, style):
    case = cut(phantom(3, spacing_mm=(1.0, 1.0, 1.5)), style, seed=5)
    implant = make_implant(case.defective, case.implant, quick(minimum_wall_mm=1.2, detail_mm=0.6), progress=False)
    assert_printable_and_passing(implant)
    assert_goes_in(implant, case.defective)
    filled = volume.read(write_implant(implant, tmp_path / "implant.stl"), like=case.defective)
    assert np.count_nonzero(filled.mask & case.defective.mask) < 0.002 * np.count_nonzero(filled.mask)  # 1.5 mm slices
    assert np.count_nonzero(filled.mask & case.implant.mask) > 0.8 * np.count_nonzero(case.implant.mask)


@pytest.mark.parametrize(
    ("name", "style"), [("scct_template", "random_1"), ("inv0051", "trephination"), ("keinos", "trephination")]
)
def test_real_heads_get_implants_that_fit_and_go_in(real_skulls, name, style):
    if name not in real_skulls:
        pytest.skip(f"{name} is not among the real skulls")
    case = cut(volume.read(real_skulls[name]), style, seed=2)
    implant = make_implant(case.defective, case.implant, quick(minimum_wall_mm=1.2, detail_mm=0.6), progress=False)
    assert implant.mesh.is_watertight and implant.mesh.is_winding_consistent
    assert_goes_in(implant, case.defective)
    passed = {check.name: check.passed for check in implant.report.checks}
    assert passed["clearance to bone"] and passed["clearance on way in"] and passed["minimum wall"], str(implant.report)


# Report


def test_the_report_says_every_figure_its_limit_and_whether_it_passes(round_implant):
    said = json.loads(json.dumps(round_implant.report.as_dict()))
    assert said["passed"] is True and said["volume_mm3"] == pytest.approx(round_implant.mesh.volume)
    assert set(said["checks"]["minimum wall"]) == {"figure", "limit", "unit", "at_least", "passed"}
    assert said["checks"]["clearance to bone"]["limit"] == pytest.approx(0.4)
    lines = str(round_implant.report).splitlines()
    assert len(lines) == len(said["checks"]) == 8 and all(line.endswith("pass") for line in lines)


def test_a_figure_at_its_limit_passes_and_one_that_is_no_number_fails():
    assert Check("wall", 1.0, 1.0, at_least=True).passed and Check("drift", 1.0, 1.0).passed
    assert not Check("wall", 0.99, 1.0, at_least=True).passed and not Check("drift", 1.01, 1.0).passed
    assert not Check("wall", float("nan"), 1.0, at_least=True).passed and not Check("drift", float("nan"), 1.0).passed
    assert str(Check("wall", 0.5, 1.0, "mm", at_least=True)).endswith("FAIL")


@pytest.fixture(scope="module")
def examined():
    """What checks.examine takes, for the round hole; and a function that reports on a mesh in its place."""
    skull, defect = shell()
    (piece,), _ = make.split(skull, defect)
    here, this = crop(skull, piece.box, 60), crop(piece.volume, piece.box, 60)
    design = quick()
    solid = make.solid_of(here, this, UP, design, begin=lambda step: None)

    def report(mesh, solid=solid):
        found = checks.examine(solid, mesh, here, design)
        return {check.name: check for check in checks.report([found], [mesh], design, 0).checks}

    return solid, make.surface(solid), report


def test_an_implant_that_sits_askew_or_is_blown_up_is_found_too_near_to_bone(examined):
    _, mesh, report = examined
    assert report(mesh)["clearance to bone"].passed
    aside = mesh.copy()
    aside.apply_translation(0.3 * np.cross(UP, [0.0, 0.6, 0.8]))
    assert report(aside)["clearance to bone"].figure == pytest.approx(0.22, abs=0.1)
    assert not report(aside)["clearance to bone"].passed
    large = mesh.copy()
    large.vertices = (large.vertices - mesh.center_mass) * 1.1 + mesh.center_mass
    assert not report(large)["volume drift"].passed and not report(large)["clearance to bone"].passed


def test_a_way_through_bone_is_found(examined):
    solid, mesh, report = examined
    askew = UP + 0.8 * np.cross(UP, [0.0, 0.6, 0.8])
    turned = replace(solid, direction=askew / np.linalg.norm(askew))
    assert report(mesh, turned)["clearance to bone"].passed
    assert not report(mesh, turned)["clearance on way in"].passed


def test_open_meshes_turned_faces_and_second_shells_are_found(examined):
    _, mesh, report = examined
    assert not report(trimesh.Trimesh(mesh.vertices, mesh.faces[1:], process=False))["open edges"].passed
    faces = mesh.faces.copy()
    faces[7] = faces[7, ::-1]
    assert report(trimesh.Trimesh(mesh.vertices, faces, process=False))["edges wound both ways"].figure == 3
    ball = trimesh.creation.icosphere(radius=0.2)
    ball.apply_translation(mesh.center_mass)
    assert report(trimesh.util.concatenate([mesh, ball]))["shells beyond pieces"].figure == 1


def test_a_wall_thinner_than_asked_is_found(examined):
    solid, _, report = examined
    depth = solid.grid.mm_to_voxel(solid.grid.voxel_to_mm(np.zeros((1, 3))))[0, 2]
    height = np.indices(solid.grid.shape)[2] - depth
    middle = round(height[solid.field_mm < 0].mean())  # on a plane of voxels, whose surface is then exact
    sheet = np.abs(height - middle) * solid.grid.spacing_mm[2] - 0.3  # 0.6 mm thick
    thin = replace(solid, field_mm=np.maximum(solid.field_mm, sheet).astype(np.float32))
    found = report(make.surface(thin), thin)["minimum wall"]
    assert 0.4 < found.figure < 0.65 and not found.passed


# Files


def read_three_mf(path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Vertices and triangles of every object, as the XML says."""
    space = {"m": "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"}
    with zipfile.ZipFile(path) as archive:
        assert {"[Content_Types].xml", "_rels/.rels"} < set(archive.namelist())
        root = ElementTree.fromstring(archive.read("3D/3dmodel.model"))
    assert root.get("unit") == "millimeter"
    built = [item.get("objectid") for item in root.findall("m:build/m:item", space)]
    objects = root.findall("m:resources/m:object", space)
    assert [each.get("id") for each in objects] == built
    vertices = [np.array([[float(v.get(k)) for k in "xyz"] for v in each.iterfind(".//m:vertex", space)])
                for each in objects]
    triangles = [np.array([[int(t.get(k)) for k in ("v1", "v2", "v3")] for t in each.iterfind(".//m:triangle", space)])
                 for each in objects]
    return vertices, triangles


def test_files_hold_the_implant_in_patient_millimetres(round_implant, tmp_path):
    path = write_implant(round_implant, tmp_path / "new" / "implant.stl")
    assert b"SPACE=LPS" in path.read_bytes()[:80]
    read = trimesh.load_mesh(path)
    assert read.is_watertight and np.allclose(read.bounds, round_implant.mesh.bounds, atol=1e-4)
    assert read.volume == pytest.approx(round_implant.mesh.volume, rel=1e-5)
    (vertices,), (triangles,) = read_three_mf(write_implant(round_implant, tmp_path / "implant.3MF"))
    assert np.allclose(vertices, round_implant.mesh.vertices, atol=1e-5)
    assert np.array_equal(triangles, round_implant.mesh.faces)
    assert trimesh.Trimesh(vertices, triangles).is_watertight


def test_a_file_appears_whole_or_not_at_all(round_implant, tmp_path, monkeypatch):
    path = tmp_path / "implant.stl"
    path.write_bytes(b"what was there")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_implant(round_implant, path)
    assert [file.name for file in tmp_path.iterdir()] == ["implant.stl"] and path.read_bytes() == b"what was there"


def test_a_format_that_no_printer_takes_is_refused(round_implant, tmp_path):
    with pytest.raises(ValueError, match=r"implant\.obj: format '\.obj' is not written; name it \.stl or \.3mf"):
        write_implant(round_implant, tmp_path / "implant.obj")


def test_both_faces_of_a_sphere_are_smooth_though_its_voxels_are_not():
    implant = make_implant(*shell(affine_of(None, (1.0,) * 3)), quick(), progress=False)
    points = implant.mesh.triangles_center - MIDDLE_MM
    outward = points / np.linalg.norm(points, axis=1, keepdims=True)
    facing = (implant.mesh.face_normals * outward).sum(axis=1)
    middle = cylindrical(points, UP)[1] < 5
    for side in (1, -1):
        face = middle & (side * facing > 0.3)
        off_deg = np.rad2deg(np.arccos(np.clip(side * facing[face], -1, 1)))
        assert face.sum() > 500 and np.percentile(off_deg, 95) < 3


def test_long_work_shows_a_bar_and_only_if_asked(capsys):
    skull, defect = shell(affine_of(None, (1.2,) * 3))
    make_implant(skull, defect, quick(detail_mm=0.5))
    assert "implant: 100%" in capsys.readouterr().err
    make_implant(skull, defect, quick(detail_mm=0.5), progress=False)
    assert capsys.readouterr().err == ""


def test_who_asks_is_told_each_step_and_may_end_the_work():
    skull, defect = shell(affine_of(None, (1.2,) * 3))
    told = []
    make_implant(skull, defect, quick(), progress=lambda share, step: told.append((round(6 * share), step)))
    assert told == list(enumerate(make._STEPS))

    def enough(share, step):
        if step == "faces":
            raise InterruptedError(step)

    with pytest.raises(InterruptedError, match="faces"):
        make_implant(skull, defect, quick(), progress=enough)


# Errors


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ({"clearance_mm": -0.1}, r"clearance_mm is -0\.1; give a gap to bone, for example 0\.5 \(from 0 to 5\)"),
        ({"clearance_mm": float("nan")}, "clearance_mm is nan; give"),
        ({"thickness_mm": 0.0}, "thickness_mm is 0; give a thickness"),
        ({"thickness_mm": 0.8}, "thickness_mm is 0.8, below minimum_wall_mm 1; raise the thickness or lower"),
        ({"taper_deg": 40.0}, "taper_deg is 40; give a draft of the rim"),
        ({"minimum_wall_mm": 0.1}, "minimum_wall_mm is 0.1; give the thinnest printable wall"),
        ({"detail_mm": 2.0}, "detail_mm is 2; give a working voxel"),
        ({"detail_mm": 0.8}, "detail_mm is 0.8, too coarse for a minimum_wall_mm of 1; give at most half the wall"),
        ({"perforation_mm": 0.5}, "perforation_mm is 0.5; give a diameter, for example 2.5, or 0 for none"),
        ({"perforation_mm": 2, "perforation_spacing_mm": float("inf")}, "perforation_spacing_mm is inf; give"),
        ({"perforation_mm": 4, "perforation_spacing_mm": 5}, "of 4 mm every 5 mm leave 1 mm between them; leave"),
    ],
)
def test_a_design_that_makes_no_sense_is_refused(figures, message):
    with pytest.raises(ValueError, match=message):
        ImplantDesign(**figures)


def test_masks_that_make_no_case_are_refused():
    skull, defect = shell(affine_of(None, (1.2,) * 3))
    nothing = np.zeros(skull.shape, bool)
    elsewhere = Volume(defect.mask, defect.affine + shift(3))
    apart = nothing.copy()
    apart[18:26, 18:26, 18:26] = True
    crumb = nothing.copy()
    crumb[tuple(np.argwhere(defect.mask)[0])] = True
    for one, other, message in [
        (skull, elsewhere, r"the defect has .* of 1\.2 x 1\.2 x 1\.2 mm.*resample\(defect, like=skull\)"),
        (skull.with_mask(nothing), defect, "the skull is empty, not one voxel is set; an implant needs bone"),
        (skull, defect.with_mask(nothing), "the defect is empty, not one voxel is set; there is nothing"),
        (skull, skull, "every voxel of the defect is bone of the skull; give the skull with the hole"),
        (skull, defect.with_mask(apart), r"the defect does not touch the skull: no bone within 1\.5 mm of it"),
        (skull, defect.with_mask(crumb), "the largest piece of the defect has less than 50 mm3; that is noise"),
    ]:
        with pytest.raises(ValueError, match=message):
            make_implant(one, other, quick(), progress=False)
    assert issubclass(VolumeError, ValueError)


def shift(mm: float) -> np.ndarray:
    """(4, 4) to add to an affine."""
    matrix = np.zeros((4, 4))
    matrix[:3, 3] = mm
    return matrix


def test_an_implant_of_which_nothing_is_left_is_an_error_that_says_why():
    skull, defect = slab(half_mm=(8.0, 1.6))
    with pytest.raises(ValueError, match=r"nothing is left of a piece of 0\.\d+ cm3: with .* 2 .*closer to bone"):
        make_implant(skull, defect, quick(clearance_mm=2.0), progress=False)
    with pytest.raises(ValueError, match="thinner than the minimum wall of 3 mm; lower them"):
        make_implant(skull, defect, quick(minimum_wall_mm=3.0), progress=False)
