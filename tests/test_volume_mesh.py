"""Surfaces lie where the voxels lie, enclose what they enclose, and become voxels again."""

import re

import numpy as np
import pytest
import trimesh
from heads import ORDERS, affine_of, dice, head, reordered, rotation

from cranial import volume
from cranial.volume import Volume, VolumeError
from cranial.volume_io.mesh import fill

OBLIQUE = affine_of(rotation((8, -11, 20)), (0.9, 1.1, 1.3), (-40.5, 12.25, 300))


def smooth_head(spacing_mm=0.5):
    """The head at a resolution at which a surface is more than corners."""
    coarse = head()
    shape = tuple(int(size / spacing_mm) for size in coarse.shape)
    return volume.resample(coarse, like=Volume(np.zeros(shape, bool), affine_of(spacing_mm=(spacing_mm,) * 3)))


def ball(radius=10.0, centre=(0.0, 0.0, 0.0), subdivisions=3):
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    sphere.apply_translation(centre)
    return sphere


# ---- writing


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".obj"])
def test_a_surface_is_closed_wound_outward_and_as_large_as_its_voxels(tmp_path, suffix):
    skull = head(OBLIQUE)
    mesh = trimesh.load_mesh(volume.write_mesh(skull, tmp_path / f"head{suffix}"))
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(skull.volume_mm3, rel=0.05)
    assert b"SPACE=LPS" in (tmp_path / f"head{suffix}").read_bytes()[:400]


@pytest.mark.parametrize("order", ORDERS[::5], ids=lambda order: str(order.tolist()))
def test_a_surface_points_outward_in_reflected_grids_too(tmp_path, order):
    skull = reordered(head(OBLIQUE), order)
    mesh = trimesh.load_mesh(volume.write_mesh(skull, tmp_path / "head.stl"))
    assert mesh.volume == pytest.approx(skull.volume_mm3, rel=0.05)


@pytest.mark.parametrize(
    "affine", [affine_of(spacing_mm=(0.5, 1.25, 2), origin_mm=(-7, 30, 11.5)), OBLIQUE], ids=["box", "oblique"]
)
def test_nrrd_nifti_and_stl_agree_where_the_head_is(tmp_path, affine):
    skull = head(affine)
    nrrd = volume.read(volume.write(skull, tmp_path / "a.nrrd"))
    nifti = volume.read(volume.write(nrrd, tmp_path / "b.nii.gz"))
    mesh = trimesh.load_mesh(volume.write_mesh(nifti, tmp_path / "c.stl", smoothing_mm=0))
    half_voxel_mm = np.abs(affine[:3, :3]).sum(axis=1) / 2
    for found in (nrrd, nifti):
        centres = found.voxel_to_mm(np.argwhere(found.mask))
        assert np.allclose(mesh.center_mass, centres.mean(axis=0), atol=0.1)
        assert (np.abs(mesh.bounds[0] - centres.min(axis=0)) <= half_voxel_mm + 1e-3).all()
        assert (np.abs(mesh.bounds[1] - centres.max(axis=0)) <= half_voxel_mm + 1e-3).all()


def test_smoothing_rounds_the_corners_and_keeps_volume_and_thin_bone(tmp_path):
    plate = np.zeros((40, 40, 12), bool)
    plate[4:36, 4:36, 5:6] = True  # 0.4 mm: at the level 1/2 nothing of it would be left
    skull = Volume(plate, affine_of(spacing_mm=(0.4, 0.4, 0.4)))
    for smoothing_mm in (0, 0.3, 0.5, 0.8):
        mesh = trimesh.load_mesh(volume.write_mesh(skull, tmp_path / "plate.stl", smoothing_mm=smoothing_mm))
        assert mesh.volume == pytest.approx(skull.volume_mm3, rel=0.04)
        assert np.ptp(mesh.vertices, axis=0)[0] > 10
    rough, smooth = (
        trimesh.load_mesh(volume.write_mesh(smooth_head(), tmp_path / "head.stl", smoothing_mm=mm)) for mm in (0, 0.8)
    )
    assert smooth.area < rough.area and smooth.volume == pytest.approx(rough.volume, rel=0.03)


def test_a_head_cut_by_the_edge_of_the_scan_is_closed_there(tmp_path):
    skull = smooth_head()
    cut = Volume(skull.mask[:, :, 25:40], skull.affine)
    mesh = trimesh.load_mesh(volume.write_mesh(cut, tmp_path / "cut.ply"))
    assert mesh.is_watertight and mesh.volume == pytest.approx(cut.volume_mm3, rel=0.05)


def test_what_has_no_surface_or_no_name_for_it_is_refused(tmp_path):
    skull = head()
    with pytest.raises(VolumeError, match="volume: the mask is empty, so it has no surface; write no mesh for it"):
        volume.write_mesh(skull.with_mask(np.zeros_like(skull.mask)), tmp_path / "head.stl")
    with pytest.raises(VolumeError, match="head.vtk: mesh format '.vtk' is not written; name it .stl, .ply or .obj"):
        volume.write_mesh(skull, tmp_path / "head.vtk")
    with pytest.raises(VolumeError, match="smoothing_mm is -1; give 0 .none. or more millimetres"):
        volume.write_mesh(skull, tmp_path / "head.stl", smoothing_mm=-1)
    assert not list(tmp_path.iterdir())


# ---- reading


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".obj"])
def test_a_head_comes_back_from_its_surface(tmp_path, suffix):
    skull = smooth_head()
    path = volume.write_mesh(skull, tmp_path / f"head{suffix}")
    assert dice(volume.read(path, like=skull).mask, skull.mask) > 0.98
    free = volume.read(path, mesh_spacing_mm=0.5)  # on a grid of its own
    assert free.orientation == "LPS" and free.spacing_mm == (0.5, 0.5, 0.5)
    assert dice(volume.resample(free, like=skull).mask, skull.mask) > 0.95
    assert free.volume_mm3 == pytest.approx(skull.volume_mm3, rel=0.02)


def test_a_mesh_without_smoothing_gives_the_mask_back_to_the_bit_on_any_grid(tmp_path):
    for order in ORDERS[::7]:
        skull = reordered(head(OBLIQUE), order)
        path = volume.write_mesh(skull, tmp_path / "head.ply", smoothing_mm=0)
        assert np.array_equal(volume.read(path, like=skull).mask, skull.mask)


def test_a_mesh_read_onto_a_scan_can_be_written_over_it(tmp_path):
    scan = volume.read(volume.write(head(OBLIQUE), tmp_path / "scan.nrrd"))
    implant = volume.read(volume.write_mesh(scan, tmp_path / "implant.stl"), like=scan)
    assert implant.header is scan.header and np.array_equal(implant.affine, scan.affine)


@pytest.mark.parametrize("spacing_mm", [0.7, 1.0, 2.0])
def test_a_ball_is_as_large_as_a_ball_and_where_it_was(tmp_path, spacing_mm):
    ball(20, (100, -50, 7.3), subdivisions=4).export(tmp_path / "ball.stl")
    found = volume.read(tmp_path / "ball.stl", mesh_spacing_mm=spacing_mm)
    assert found.volume_mm3 == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.02)
    assert np.allclose(found.voxel_to_mm(np.argwhere(found.mask)).mean(axis=0), (100, -50, 7.3), atol=0.05)
    assert not (found.mask[0].any() or found.mask[-1].any())  # a margin all round


def test_inside_and_outside_agree_with_an_exact_winding_number(rng):
    mesh = ball(8, (10.2, 9.7, 10.1), subdivisions=2)
    mask, open_rays = fill(mesh.vertices, mesh.faces, (21, 21, 21))
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    points = np.argwhere(np.ones(mask.shape, bool))[rng.permutation(21**3)[:2000]]
    for point in points:
        p, q, r = a - point, b - point, c - point
        lengths = [np.linalg.norm(side, axis=1) for side in (p, q, r)]
        below = (
            np.prod(lengths, axis=0)
            + (p * q).sum(1) * lengths[2]
            + (q * r).sum(1) * lengths[0]
            + (r * p).sum(1) * lengths[1]
        )  # Van Oosterom and Strackee 1983
        winding = np.arctan2((p * np.cross(q, r)).sum(1), below).sum() / (2 * np.pi)
        assert mask[tuple(point)] == (winding > 0.5)
    assert open_rays == 0


def test_a_shell_is_hollow_and_overlapping_solids_are_one():
    shape = (41, 41, 41)
    outer, inner = ball(15, (20, 20, 20)), ball(11, (20, 20, 20))
    inner.invert()
    shell, _ = fill(*_joined(outer, inner), shape)
    assert not shell[20, 20, 20] and shell[20, 20, 7]
    left, right = ball(9, (15, 20, 20)), ball(9, (24, 20, 20))
    both, _ = fill(*_joined(left, right), shape)
    each = [fill(one.vertices, one.faces, shape)[0] for one in (left, right)]
    assert np.array_equal(both, each[0] | each[1])


def test_a_mesh_wound_inward_is_as_solid():
    sphere = ball(9, (10, 10, 10))
    upright, _ = fill(sphere.vertices, sphere.faces, (21, 21, 21))
    inward, open_rays = fill(sphere.vertices, sphere.faces[:, ::-1], (21, 21, 21))
    assert np.array_equal(upright, inward) and open_rays == 0


def test_faces_wound_both_ways_are_counted_by_parity(tmp_path, rng):
    sphere = ball(15)
    faces = np.where(rng.random(len(sphere.faces))[:, None] < 0.5, sphere.faces, sphere.faces[:, ::-1])
    trimesh.Trimesh(sphere.vertices, faces, process=False).export(tmp_path / "mixed.ply")
    assert volume.read(tmp_path / "mixed.ply").volume_mm3 == pytest.approx(sphere.volume, rel=0.02)


def test_a_dry_skull_with_chips_and_seams_is_filled_without_streaks(tmp_path, rng):
    skull = smooth_head()
    mesh = trimesh.load_mesh(volume.write_mesh(skull, tmp_path / "head.stl"))
    kept = rng.random(len(mesh.faces)) > 0.005
    trimesh.Trimesh(mesh.vertices, mesh.faces[kept], process=False).export(tmp_path / "chipped.stl")
    assert dice(volume.read(tmp_path / "chipped.stl", like=skull).mask, skull.mask) > 0.97


def test_a_surface_that_bounds_nothing_is_refused(tmp_path):
    cap = ball(15)
    cap.update_faces(cap.triangles_center[:, 2] > -4)
    cap.export(tmp_path / "cap.stl")
    with pytest.raises(
        VolumeError,
        match=r"cap.stl: \d+% of the rays through the mesh enter it and never leave; .*Close "
        r"Holes",
    ):
        volume.read(tmp_path / "cap.stl")


def test_slicers_ras_meshes_are_turned_to_lps(tmp_path):
    ball(15, (30, 20, 10)).export(tmp_path / "ball.stl")
    content = (tmp_path / "ball.stl").read_bytes()
    (tmp_path / "ball.stl").write_bytes(b"3D Slicer SPACE=RAS".ljust(80) + content[80:])
    found = volume.read(tmp_path / "ball.stl")
    assert np.allclose(found.voxel_to_mm(np.argwhere(found.mask)).mean(axis=0), (-30, -20, 10), atol=0.1)


def test_an_obj_of_several_objects_is_one_solid(tmp_path):
    lines = []
    for number, one in enumerate((ball(10), ball(10, (40, 0, 0)))):
        lines.append(f"o ball{number}")
        lines += [f"v {x} {y} {z}" for x, y, z in one.vertices]
        lines += [f"f {a} {b} {c}" for a, b, c in one.faces + 1 + number * len(one.vertices)]
    (tmp_path / "two.obj").write_text("\n".join(lines))
    assert volume.read(tmp_path / "two.obj").volume_mm3 == pytest.approx(2 * ball(10).volume, rel=0.03)


@pytest.mark.parametrize(
    ("radius", "message"),
    [
        (
            0.1,
            r"the mesh spans (0.2, 0.2, 0.2), taken as mm; a skull or implant spans 2 to 2000 mm: scale it "
            r"to mm (metres x 1000",
        ),
        (100_000, "the mesh spans (200000, 200000, 200000), taken as mm"),
    ],
)
def test_a_mesh_in_metres_or_micrometres_is_refused(tmp_path, radius, message):
    ball(radius).export(tmp_path / "ball.stl")
    with pytest.raises(VolumeError, match=re.escape(message)):
        volume.read(tmp_path / "ball.stl")


def test_what_is_no_solid_at_all_is_refused(tmp_path):
    good = tmp_path / "good.stl"
    ball().export(good)
    cases = {
        "empty.stl": (b"", "empty.stl: is an empty file; copy or export it again"),
        "cut.stl": (
            good.read_bytes()[:1000],
            "cut.stl: claims 1280 triangles, 64084 bytes, but has 1000; the file is truncated: copy",
        ),
        "text.ply": (b"ply but not really", "text.ply: cannot be read as a mesh"),
        "points.obj": (
            b"v 0 0 0\nv 10 0 0\nv 0 10 0\n",
            "points.obj: (cannot be read as a mesh|the mesh has no triangles)",
        ),
        "flat.obj": (b"v 0 0\nv 10 0\nv 0 10\nf 1 2 3\n", "flat.obj: cannot be read as a mesh .*incomplete"),
        "nan.stl": (_with_a_vertex_at_infinity(good.read_bytes()), "at infinity or NaN; export it again"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VolumeError, match=message):
            volume.read(tmp_path / name)


def test_a_grid_that_cannot_be_is_refused(tmp_path):
    ball().export(tmp_path / "ball.stl")
    with pytest.raises(VolumeError, match="ball.stl: is a mesh, so threshold_hu 200 means nothing; leave it out"):
        volume.read(tmp_path / "ball.stl", threshold_hu=200)
    with pytest.raises(VolumeError, match="mesh_spacing_mm is 0; give a spacing above 0 mm, for example 1"):
        volume.read(tmp_path / "ball.stl", mesh_spacing_mm=0)
    with pytest.raises(VolumeError, match="20005 x 20005 x 20005 voxels at mesh_spacing_mm 0.001; the limit is"):
        volume.read(tmp_path / "ball.stl", mesh_spacing_mm=0.001)


def _with_a_vertex_at_infinity(stl):
    return stl[:96] + np.float32(np.inf).tobytes() + stl[100:]


def _joined(*meshes):
    joined = trimesh.util.concatenate(meshes)
    return np.asarray(joined.vertices), np.asarray(joined.faces)
