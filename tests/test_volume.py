"""A skull keeps its place in the patient, whatever grid it lies on."""

import re
import subprocess
import sys

import numpy as np
import pytest
from heads import ORDERS, SHAPE, affine_of, dice, head, head_in_mm, points_mm, reordered, rotation

from cranial import volume
from cranial.resampling import bounding_box, sample
from cranial.volume import Volume, VolumeError

OBLIQUE = affine_of(rotation((8, -11, 20)), (0.9, 1.1, 1.3), (-40.5, 12.25, 300))


def test_importing_volume_loads_nothing_but_numpy():
    heavy = "scipy nibabel nrrd pydicom skimage trimesh numba torch"
    code = f"import sys, cranial.volume; print([name for name in '{heavy}'.split() if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# ---- the type


def test_a_voxel_goes_to_its_millimetres_and_back():
    skull = Volume(np.zeros(SHAPE, bool), OBLIQUE)
    indices = np.array([[0, 0, 0], [1, 2, 3], [22, 30, 26], [-1.5, 0.25, 40]])
    assert np.allclose(skull.mm_to_voxel(skull.voxel_to_mm(indices)), indices, atol=1e-12)
    assert np.allclose(skull.voxel_to_mm([[0, 0, 0]]), [[-40.5, 12.25, 300]])
    assert np.allclose(skull.voxel_to_mm([[0, 1, 0]]) - skull.voxel_to_mm([[0, 0, 0]]), OBLIQUE[:3, 1])


def test_spacing_and_volume_are_those_of_the_grid_and_not_of_its_directions():
    skull = head(OBLIQUE)
    assert skull.spacing_mm == pytest.approx((0.9, 1.1, 1.3))
    assert skull.voxel_mm3 == pytest.approx(0.9 * 1.1 * 1.3)
    assert skull.volume_mm3 == pytest.approx(skull.mask.sum() * 0.9 * 1.1 * 1.3)


def test_a_sheared_voxel_is_as_large_as_its_determinant():
    affine = affine_of()
    affine[0, 2] = 0.5
    assert Volume(np.ones((2, 2, 2), bool), affine).volume_mm3 == pytest.approx(8)


def test_all_48_orientations_have_48_names():
    names = {Volume(np.zeros((2, 2, 2), bool), affine_of(order)).orientation for order in ORDERS}
    assert len(names) == 48
    assert Volume(np.zeros((2, 2, 2), bool), affine_of(np.diag((-1, -1, 1)))).orientation == "RAS"
    assert Volume(np.zeros((2, 2, 2), bool), affine_of(np.eye(3)[:, [1, 2, 0]])).orientation == "PSL"
    assert Volume(np.zeros((2, 2, 2), bool), OBLIQUE).orientation == "LPS"


def test_another_mask_keeps_grid_header_and_source(tmp_path):
    skull = volume.read(volume.write(head(OBLIQUE), tmp_path / "head.nrrd"))
    other = skull.with_mask(~skull.mask)
    assert other.header is skull.header and other.source == skull.source
    assert np.array_equal(other.affine, skull.affine) and np.array_equal(other.mask, ~skull.mask)


def test_a_grid_cannot_be_changed_behind_the_mask():
    with pytest.raises(ValueError, match="read-only"):
        head().affine[0, 3] = 5


@pytest.mark.parametrize(
    ("mask", "affine", "message"),
    [
        (
            np.zeros((2, 2, 2), np.uint8),
            np.eye(4),
            "volume: mask is uint8 of shape (2, 2, 2); it must be bool (I, J, K): pass mask > 0",
        ),
        (np.zeros((2, 2), bool), np.eye(4), "volume: mask is bool of shape (2, 2); it must be bool (I, J, K)"),
        (np.zeros((2, 2, 2), bool), np.eye(3), "affine is no 4 x 4 matrix with last row 0 0 0 1"),
        (np.zeros((2, 2, 2), bool), np.diag((1, 1, 1, 2)), "affine is no 4 x 4 matrix with last row 0 0 0 1"),
        (
            np.zeros((2, 2, 2), bool),
            np.diag((0.4, 0, 1, 1)),
            "voxel spacing is (0.4, 0, 1) mm and origin (0, 0, 0) mm; every spacing must be finite and above 0",
        ),
        (np.zeros((2, 2, 2), bool), np.diag((1, np.nan, 1, 1)), "every spacing must be finite and above 0"),
        (
            np.zeros((2, 2, 2), bool),
            affine_of(np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1]]) + [[0, 0, 0], [1, 1, 0], [0, 0, 0]]),
            "lie in one plane, so the grid is flat; correct the header",
        ),
    ],
)
def test_what_is_no_volume_is_refused(mask, affine, message):
    with pytest.raises(VolumeError, match=re.escape(message)):
        Volume(mask, affine)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(VolumeError, match="mask is 2 x 2 x 2, the grid 23 x 31 x 27; resample it with volume.resample"):
        head().with_mask(np.zeros((2, 2, 2), bool))


# ---- reading and writing in general


def test_formats_are_told_by_suffix_and_others_refused(tmp_path):
    (tmp_path / "head.mha").write_bytes(b"x")
    (tmp_path / "slice.dcm").write_bytes(b"x")
    with pytest.raises(
        VolumeError, match=r"head.mha: format '.mha' is not read; give .nrrd, .*.obj or a folder of DICOM"
    ):
        volume.read(tmp_path / "head.mha")
    with pytest.raises(VolumeError, match="slice.dcm: is one DICOM slice; give the folder that holds the whole series"):
        volume.read(tmp_path / "slice.dcm")
    with pytest.raises(VolumeError, match="nowhere.nrrd: does not exist; check the path"):
        volume.read(tmp_path / "nowhere.nrrd")
    with pytest.raises(
        VolumeError, match=r"head.stl: format '.stl' is not written; name it .nrrd.*or use volume.write_mesh"
    ):
        volume.write(head(), tmp_path / "head.stl")


@pytest.mark.parametrize("name", ["head.nrrd", "head.nhdr", "head.seg.nrrd", "head.nii", "head.nii.gz"])
def test_an_empty_mask_is_an_error_unless_it_is_an_answer(tmp_path, name):
    nothing = head().with_mask(np.zeros(SHAPE, bool))
    path = volume.write(nothing, tmp_path / name)
    with pytest.raises(VolumeError, match=f"{name}: the mask is empty, not one voxel is set; export the segmentation"):
        volume.read(path)
    assert not volume.read(path, allow_empty=True).mask.any()


@pytest.mark.parametrize("name", ["map.nrrd", "map.nhdr", "map.nii", "map.nii.gz"])
def test_a_map_is_written_as_bytes_at_the_place_of_its_volume(tmp_path, name):
    import nibabel
    import nrrd

    like = head(OBLIQUE)
    values = np.linspace(0, 1, like.mask.size, dtype=np.float32).reshape(SHAPE)
    path = volume.write_map(values, tmp_path / name, like=like)
    stored = np.asarray(nibabel.load(path).dataobj) if ".nii" in name else nrrd.read(str(path))[0]
    assert stored.dtype == np.uint8 and np.abs(stored / 255 - values).max() < 0.5 / 255 + 1e-6
    assert volume.same_grid(volume.read(path, threshold_hu=200), like)


def test_a_map_of_another_shape_or_beyond_0_to_1_is_refused(tmp_path):
    like = Volume(np.zeros(SHAPE, bool), np.eye(4))
    with pytest.raises(VolumeError, match="the map is .*, the grid of `like` .*; give the map of this volume"):
        volume.write_map(np.zeros((2, 2, 2)), tmp_path / "map.nrrd", like=like)
    for wrong in (1.5, -0.5, np.nan):
        with pytest.raises(VolumeError, match="the map runs from .* to .*; scale it to 0 to 1"):
            volume.write_map(np.full(SHAPE, wrong), tmp_path / "map.nrrd", like=like)


@pytest.mark.parametrize("name", ["head.nrrd", "head.nhdr", "head.nii", "head.nii.gz", "head.stl"])
def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, name, monkeypatch):
    write = volume.write_mesh if name.endswith("stl") else volume.write
    path = write(head(), tmp_path / name)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def disk_full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("cranial.volume_io.stream.os.replace", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write(head(OBLIQUE), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_the_same_head_gives_the_same_bytes_and_missing_folders_are_made(tmp_path):
    for name in ("head.nrrd", "head.nii.gz"):
        one, two = (volume.write(head(), tmp_path / folder / name) for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: str(order.tolist()))
def test_in_every_axis_order_and_flip_all_formats_put_each_voxel_in_the_same_place(tmp_path, order):
    skull = reordered(head(affine_of(spacing_mm=(0.5, 1.25, 2), origin_mm=(-7, 30, 11.5))), order)
    where = points_mm(skull)
    from_nrrd = volume.read(volume.write(skull, tmp_path / "a.nrrd"))
    from_nifti = volume.read(volume.write(from_nrrd, tmp_path / "b.nii.gz"))
    back = volume.read(volume.write(from_nifti, tmp_path / "c.nrrd"))
    for found in (from_nrrd, from_nifti, back):
        assert np.array_equal(found.mask, skull.mask)
        assert np.array_equal(found.affine, skull.affine)
        assert np.array_equal(points_mm(found), where)
    upright = volume.to_lps(skull)
    assert upright.orientation == "LPS" and np.array_equal(points_mm(upright), where)


def test_an_oblique_head_keeps_its_millimetres_through_every_format(tmp_path):
    skull = head(OBLIQUE)
    from_nrrd = volume.read(volume.write(skull, tmp_path / "a.nrrd"))
    assert np.array_equal(from_nrrd.affine, OBLIQUE)  # float64 to the bit
    from_nifti = volume.read(volume.write(from_nrrd, tmp_path / "b.nii"))
    back = volume.read(volume.write(from_nifti, tmp_path / "c.nhdr"))
    for found in (from_nifti, back):
        assert np.array_equal(found.mask, skull.mask) and volume.same_grid(found, skull)
        assert np.allclose(found.affine, OBLIQUE, atol=2e-5)  # NIfTI keeps float32


# ---- to_lps and resample


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: str(order.tolist()))
def test_turning_to_lps_is_undone_to_the_bit(order):
    skull = reordered(head(OBLIQUE), order)
    upright = volume.to_lps(skull)
    assert upright.orientation == "LPS"
    assert np.array_equal(points_mm(upright), points_mm(skull))
    back = volume.resample(upright, like=skull)
    assert np.array_equal(back.mask, skull.mask) and np.array_equal(back.affine, skull.affine)


def test_an_upright_head_is_left_as_it_is():
    skull = head(OBLIQUE)
    assert volume.to_lps(skull) is skull


@pytest.mark.parametrize("order", ORDERS[::7])
def test_what_is_thinned_are_voxels_that_were_there_no_further_apart_than_asked(order):
    skull = reordered(head(OBLIQUE), order)
    few = volume.thinned(skull, spacing_mm=2.5 * min(skull.spacing_mm))
    assert len(few.mask.ravel()) < len(skull.mask.ravel()) / 2 and max(few.spacing_mm) <= 2.5 * max(skull.spacing_mm)
    places = np.argwhere(few.mask)
    was = skull.mm_to_voxel(few.voxel_to_mm(places))
    assert np.allclose(was, np.rint(was), atol=1e-6) and skull.mask[tuple(np.rint(was).astype(int).T)].all()
    assert few.volume_mm3 == pytest.approx(skull.volume_mm3, rel=0.2)
    assert volume.same_grid(volume.thinned(skull, spacing_mm=0.1 * min(skull.spacing_mm)), skull)


def test_resampling_onto_the_same_grid_is_the_identity_and_a_copy():
    skull = head(OBLIQUE)
    again = volume.resample(skull, like=skull)
    assert np.array_equal(again.mask, skull.mask)
    again.mask[:] = False
    assert skull.mask.any()


def test_cropping_and_padding_copy_to_the_bit():
    skull = head()
    wide = volume.resample(skull, like=Volume(np.zeros((40, 40, 40), bool), affine_of(origin_mm=(-5, -6, -7))))
    assert np.array_equal(points_mm(wide), points_mm(skull))
    assert np.array_equal(volume.resample(wide, like=skull).mask, skull.mask)
    cropped = volume.resample(skull, like=Volume(np.zeros((8, 9, 10), bool), affine_of(origin_mm=(3, 4, 5))))
    assert np.array_equal(cropped.mask, skull.mask[3:11, 4:13, 5:15])
    far = volume.resample(skull, like=Volume(np.zeros((8, 9, 10), bool), affine_of(origin_mm=(300, 4, 5))))
    assert not far.mask.any()


def test_a_coarse_voxel_holds_the_exact_share_of_bone_within_it():
    skull = head()
    coarse = sample(skull.mask, skull.affine, (8, 11, 9), affine_of(spacing_mm=(3, 3, 3), origin_mm=(1, 1, 1)))
    padded = np.pad(skull.mask, ((0, 1), (0, 2), (0, 0)))
    blocks = padded.reshape(8, 3, 11, 3, 9, 3)
    assert np.allclose(coarse, blocks.mean(axis=(1, 3, 5)), atol=1e-6)


@pytest.mark.parametrize("spacing_mm", [(2.5, 1.7, 3.1), (1, 4, 2), (7.3, 7.3, 7.3)])
@pytest.mark.parametrize("turn", [(0, 0, 0), (8, -11, 20)], ids=["parallel", "oblique"])
def test_occupancy_keeps_the_volume_of_bone_at_any_spacing(spacing_mm, turn):
    skull = head()
    directions = rotation(turn)
    affine = affine_of(directions, spacing_mm)
    shape = tuple(int(size) for size in np.ceil(60 / np.array(spacing_mm)))
    affine[:3, 3] = np.array((11, 15, 13)) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    occupancy = sample(skull.mask, skull.affine, shape, affine)
    assert occupancy.min() >= 0 and occupancy.max() <= 1 + 1e-5
    assert occupancy.sum() * np.prod(spacing_mm) == pytest.approx(skull.volume_mm3, rel=0.02 if any(turn) else 1e-5)


def test_a_voxel_exactly_half_full_counts_as_bone():
    plate = Volume(np.arange(8).reshape(8, 1, 1) % 2 == 0, affine_of())
    half = volume.resample(
        plate, like=Volume(np.zeros((4, 1, 1), bool), affine_of(spacing_mm=(2, 1, 1), origin_mm=(0.5, 0, 0)))
    )
    assert half.mask.all()


def test_thin_bone_is_not_lost_by_skipping_voxels():
    """Nearest-neighbour at a third of the resolution would keep none or all of a bone two voxels thick."""
    plate = np.zeros((30, 30, 30), bool)
    plate[:, :, 13:15] = True
    skull = Volume(plate, affine_of(spacing_mm=(0.4, 0.4, 0.4)))
    for shift_mm in (0.0, 0.4, 0.8):
        grid = affine_of(spacing_mm=(1.2, 1.2, 1.2), origin_mm=(0.4, 0.4, 0.4 + shift_mm))
        coarse = sample(skull.mask, skull.affine, (10, 10, 9), grid)
        assert coarse.sum() * 1.2**3 == pytest.approx(skull.volume_mm3, rel=1e-5)


@pytest.mark.parametrize("turn", [(0, 0, 0), (8, -11, 20)], ids=["parallel", "oblique"])
def test_a_head_comes_back_from_a_finer_grid_as_it_was(turn):
    skull = head()
    directions = rotation(turn)
    affine = affine_of(directions, (0.45, 0.45, 0.45))
    shape = (100, 100, 100)
    affine[:3, 3] = np.array((11, 15, 13)) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    fine = volume.resample(skull, like=Volume(np.zeros(shape, bool), affine))
    assert fine.volume_mm3 == pytest.approx(skull.volume_mm3, rel=0.03)
    assert dice(volume.resample(fine, like=skull).mask, skull.mask) > 0.98
    # where the finer grid says bone, the head's formula agrees
    assert dice(fine.mask, head_in_mm(affine, shape).mask) > 0.9


def test_an_oblique_grid_and_a_parallel_one_agree_where_they_are_almost_the_same():
    skull = head()
    for spacing in (0.7, 1.0, 2.0):
        shape = tuple(int(np.ceil(size / spacing)) for size in SHAPE)
        straight = sample(skull.mask, skull.affine, shape, affine_of(spacing_mm=(spacing,) * 3))
        turned = sample(skull.mask, skull.affine, shape, affine_of(rotation((0, 0, 0.1)), (spacing,) * 3))
        assert np.abs(straight - turned).mean() < 0.02


def test_a_probability_is_interpolated_and_thresholded_after():
    ramp = np.broadcast_to(np.linspace(0, 1, 11, dtype=np.float32)[:, None, None], (11, 4, 4))
    fine = sample(ramp, affine_of(), (21, 4, 4), affine_of(spacing_mm=(0.5, 1, 1)))
    assert np.allclose(fine[:, 0, 0], np.linspace(0, 1, 21), atol=1e-6)


def test_nothing_resamples_to_nothing():
    skull = head()
    assert bounding_box(np.zeros(SHAPE, bool)) is None
    for grid in (affine_of(spacing_mm=(2, 2, 2)), OBLIQUE):
        like = Volume(np.zeros(SHAPE, bool), grid)
        assert not volume.resample(skull.with_mask(np.zeros(SHAPE, bool)), like=like).mask.any()


def test_grids_are_the_same_within_a_hundredth_of_a_voxel():
    skull = head(OBLIQUE)
    nearly = OBLIQUE.copy()
    nearly[0, 3] += 0.003
    assert volume.same_grid(skull, Volume(skull.mask, nearly))
    nearly[0, 3] += 0.1
    assert not volume.same_grid(skull, Volume(skull.mask, nearly))
    assert not volume.same_grid(skull, Volume(skull.mask[1:], OBLIQUE))


# ---- real heads


def test_real_heads_are_read_upright_and_survive_every_format(real_skulls, tmp_path):
    name = "scct_template" if "scct_template" in real_skulls else next(iter(real_skulls))
    skull = volume.read(real_skulls[name])
    assert skull.orientation == "LPS" and 200_000 < skull.volume_mm3 < 2_000_000
    nifti = volume.read(volume.write(skull, tmp_path / "head.nii.gz"))
    back = volume.read(volume.write(nifti, tmp_path / "head.nrrd"))
    assert np.array_equal(back.mask, skull.mask) and volume.same_grid(back, skull)


def test_every_real_head_can_be_read(real_skulls):
    for path in real_skulls.values():
        skull = volume.read(path)
        assert skull.mask.any() and skull.header is not None and skull.source == path


@pytest.mark.parametrize("tilt", [1e-6, 1e-12, 1e-20, 1e-300])
def test_an_almost_straight_row_beside_the_source_ends(tilt):
    """A row almost parallel to a face it never meets meets it 1e20 voxels away: that is nowhere, not a range."""
    from cranial.interpolation import interpolate

    field = np.pad(np.ones((4, 4, 4), np.float32), 1)
    matrix = np.array([[1.0, 0.0, 0.0], [tilt, 1.0, 0.0], [0.0, 0.0, 1.0]])
    values = np.empty((6, 9, 6), np.float32)
    interpolate(field, matrix, np.array([0.0, -3.5, 0.0]), values)
    assert values[2, 6, 2] == pytest.approx(1, abs=1e-4) and not values[2, :3].any()
