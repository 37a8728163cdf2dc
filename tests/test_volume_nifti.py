"""NIfTI files as other programs write them, and as ours must be so that they lay them over the scan."""

import gzip
import re

import nibabel as nib
import numpy as np
import pytest
from heads import SHAPE, affine_of, head, rotation

from cranial import volume
from cranial.volume import VolumeError
from cranial.volume_io.nifti import RAS_TO_LPS

MASK = head().mask
VALUES = MASK.astype(np.uint8)
RAS = affine_of(rotation((3, 4, 5)) @ np.diag((-1, 1, 1)), (0.5, 0.75, 2), (90, -100, -60.5))


def put(path, values=VALUES, affine=RAS, *, image=nib.Nifti1Image, **header):
    """Save with nibabel, header fields set; then patch the file where nibabel would not write what is asked."""
    picture = image(values, affine)
    picture.header.set_xyzt_units("mm")
    for name, value in header.items():
        picture.header[name] = value
    nib.save(picture, path)
    return path


def patched(path, **header):
    """Overwrite fields of a file's header in place, unchecked: what broken programs leave behind."""
    packed = path.name.endswith(".gz")
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    fields = np.frombuffer(content[:348], dtype=nib.Nifti1Header.template_dtype).copy()
    for name, value in header.items():
        fields[name] = value
    content = fields.tobytes() + content[348:]
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.mark.parametrize("image", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["head.nii", "head.nii.gz"])
def test_ras_becomes_lps(tmp_path, image, name):
    skull = volume.read(put(tmp_path / name, image=image))
    assert np.array_equal(skull.mask, MASK)
    assert np.allclose(skull.affine, np.diag((-1, -1, 1, 1)) @ RAS, atol=1e-5)
    assert skull.orientation == "LAS"


@pytest.mark.parametrize("dtype", ["int8", "int16", ">i2", "int32", "float32", "float64", ">f4"])
def test_a_mask_may_have_any_type_of_number(tmp_path, dtype):
    assert np.array_equal(volume.read(put(tmp_path / "head.nii.gz", VALUES.astype(dtype))).mask, MASK)


def test_a_gzipped_file_is_known_by_its_content_and_not_by_its_name(tmp_path):
    path = put(tmp_path / "head.nii.gz").rename(tmp_path / "head.nii")
    assert np.array_equal(volume.read(path).mask, MASK)


def test_the_sform_counts_before_the_qform_and_the_qform_if_it_is_alone(tmp_path):
    other = affine_of(np.eye(3), (1, 1, 1), (7, 8, 9))
    picture = nib.Nifti1Image(VALUES, None)
    picture.header.set_qform(RAS, code=1)
    nib.save(picture, tmp_path / "qform.nii")
    assert np.allclose(volume.read(tmp_path / "qform.nii").affine, RAS_TO_LPS @ RAS, atol=1e-4)
    picture.header.set_sform(other, code=2)
    nib.save(picture, tmp_path / "both.nii")
    assert np.allclose(volume.read(tmp_path / "both.nii").affine, RAS_TO_LPS @ other)


def test_a_file_with_neither_is_read_with_a_warning(tmp_path):
    path = patched(put(tmp_path / "head.nii"), sform_code=0, qform_code=0)
    with pytest.warns(
        UserWarning, match="neither sform nor qform is set, so the file does not say where the patient's left"
    ):
        skull = volume.read(path)
    assert skull.orientation == "LAS" and skull.spacing_mm == pytest.approx((0.5, 0.75, 2))
    with pytest.warns(UserWarning, match="neither sform nor qform"):
        again = volume.read(volume.write(skull, tmp_path / "again.nii"))  # and is not said to have one after
    assert np.array_equal(again.affine, skull.affine)


def test_unknown_units_are_mm_and_a_fourth_axis_of_one_is_none(tmp_path):
    path = put(tmp_path / "head.nii.gz", VALUES[..., None], xyzt_units=0)
    assert np.array_equal(volume.read(path).mask, MASK)


def test_a_scaled_ct_is_thresholded_in_hounsfield_units(tmp_path):
    stored = np.where(MASK, 1724, 1064).astype(np.int16)  # -1024: 700 and 40 HU
    path = patched(put(tmp_path / "ct.nii.gz", stored), scl_slope=1.0, scl_inter=-1024.0)
    assert np.array_equal(volume.read(path, threshold_hu=300).mask, MASK)
    with pytest.raises(
        VolumeError, match=r"not a mask of 0 and one other value: it holds 40, 700, ... \(from 0 to 700\)"
    ):
        volume.read(path)
    path = patched(
        put(tmp_path / "half.nii.gz", np.where(MASK, 1400, 80).astype(np.int16)), scl_slope=0.5, scl_inter=np.nan
    )
    assert np.array_equal(volume.read(path, threshold_hu=300).mask, MASK)
    with pytest.raises(VolumeError, match="no voxel reaches 800 HU; its values run from 40 to 700"):
        volume.read(path, threshold_hu=800)


def test_the_source_header_is_kept_but_for_what_describes_the_samples(tmp_path):
    stored = np.where(MASK, 1724, 1064).astype(np.int16)
    picture = nib.Nifti1Image(stored, RAS)
    picture.header.set_xyzt_units("mm", "sec")
    picture.header.set_qform(affine_of(np.diag((-1, -1, 1)), (0.5, 0.75, 2)), code=1)
    picture.header.set_sform(RAS, code=4)
    picture.header["descrip"], picture.header["cal_max"], picture.header["intent_name"] = b"ward 7", 900, b"bone"
    picture.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"an extension of 28 bytes"))
    nib.save(picture, tmp_path / "ct.nii.gz")
    out = nib.load(volume.write(volume.read(tmp_path / "ct.nii.gz", threshold_hu=1500), tmp_path / "out.nii.gz"))
    ours, theirs = out.header, nib.load(tmp_path / "ct.nii.gz").header
    samples = {"datatype", "bitpix", "scl_slope", "scl_inter", "cal_max"}
    for name in set(theirs.keys()) - samples:
        assert np.array_equal(ours[name], theirs[name]), name
    assert out.get_data_dtype() == np.uint8 and ours["cal_max"] == 0
    assert np.array_equal(np.asarray(out.dataobj), VALUES)
    assert ours.extensions[0].get_content() == b"an extension of 28 bytes"


def test_a_mask_moved_to_another_grid_gets_a_header_of_that_grid(tmp_path):
    skull = volume.read(put(tmp_path / "head.nii.gz"))
    for other in (
        volume.Volume(skull.mask, affine_of(rotation((5, 6, 7)), (1, 2, 3), (4, 5, 6)), skull.header),
        volume.Volume(skull.mask[:, 1:], skull.affine, skull.header),
    ):
        path = volume.write(other, tmp_path / "out.nii")
        found, picture = volume.read(path), nib.load(path)
        assert np.allclose(found.affine, other.affine, atol=1e-5) and np.array_equal(found.mask, other.mask)
        assert int(picture.header["sform_code"]) == 1 and picture.header.get_xyzt_units()[0] == "mm"
        assert np.allclose(picture.get_qform(), picture.get_sform(), atol=1e-4)


def test_a_grid_too_long_for_nifti_1_becomes_nifti_2(tmp_path):
    rod = volume.Volume(np.ones((40_000, 1, 1), bool), np.eye(4))
    path = volume.write(rod, tmp_path / "rod.nii.gz")
    assert isinstance(nib.load(path), nib.Nifti2Image) and volume.read(path).shape == (40_000, 1, 1)


def test_nibabel_and_pynrrd_agree_with_us_about_a_real_place(tmp_path):
    """The tip of the nose, in mm, by three readers."""
    import nrrd

    skull = head(affine_of(rotation((10, 20, 30)), (0.5, 0.75, 2), (-80, -90, 40)))
    nose = np.argwhere(skull.mask)[np.argwhere(skull.mask)[:, 1].argmin()]
    place_mm = skull.voxel_to_mm(nose[None])[0]
    picture = nib.load(volume.write(skull, tmp_path / "head.nii.gz"))
    assert np.allclose(picture.affine[:3] @ (*nose, 1), place_mm * (-1, -1, 1), atol=1e-4)
    _, header = nrrd.read(str(volume.write(skull, tmp_path / "head.nrrd")))
    assert header["space"] == "left-posterior-superior"
    assert np.allclose(header["space directions"].T @ nose + header["space origin"], place_mm)


# ---- what must be refused


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"xyzt_units": 1}, "lengths are in metres, not in mm; convert the affine to mm and set xyzt_units to mm"),
        ({"xyzt_units": 3}, "lengths are in micrometres, not in mm"),
        ({"xyzt_units": 5}, "lengths are in units of code 5, not in mm"),
        (
            {"pixdim": [1, np.nan, 1, 1, 1, 1, 1, 1]},
            "voxel spacing (pixdim) is (nan, 1, 1) mm; every spacing must be finite and above 0",
        ),
        ({"pixdim": [1, 0, 1, 1, 1, 1, 1, 1]}, "voxel spacing (pixdim) is (0, 1, 1) mm"),
        (
            {"srow_x": [0, 0, 0, 0], "srow_y": [0, 0, 0, 0], "srow_z": [0, 0, 2, 0]},
            "every spacing must be finite and above 0",
        ),
        ({"srow_x": [1, 0, 1, 0], "srow_y": [0, 1, 1, 0], "srow_z": [0, 0, 0, 0]}, "lie in one plane"),
        (
            {"dim": [4, 23, 31, 9, 3, 1, 1, 1]},
            "is 4-D (23 x 31 x 9 x 3), a skull is 3-D; export one volume of it (fslroi",
        ),
        ({"dim": [2, 23, 837, 1, 1, 1, 1, 1]}, "is 2-D (23 x 837)"),
        ({"dim": [3, 23, 0, 27, 1, 1, 1, 1]}, "the header gives the size 23 x 0 x 27"),
        ({"dim": [3, 23, -31, 27, 1, 1, 1, 1]}, "the header gives the size 23 x -31 x 27"),
        ({"dim": [3, 2200, 2200, 2200, 1, 1, 1, 1]}, "claims 2200 x 2200 x 2200 voxels, 9.9 GiB; the limit is 4 GiB"),
        ({"dim": [3, 1500, 1500, 1500, 1, 1, 1, 1]}, "claims 3375000000 bytes of voxels, but only"),
        ({"datatype": 128, "bitpix": 24}, "are not plain numbers; export the file as uint8"),
        ({"datatype": 77}, "has no NIfTI header that can be understood"),
        (
            {"vox_offset": 100},
            "has no NIfTI header that can be understood (voxels are said to start at byte 100, inside",
        ),
        ({"magic": b"ni1"}, "has no NIfTI header that can be understood (its magic is b'ni1"),
        ({"sizeof_hdr": 12}, "has no NIfTI header that can be understood (it starts with 12, not with 348 or 540)"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
@pytest.mark.parametrize("name", ["head.nii", "head.nii.gz"])
def test_a_header_that_cannot_be_right_is_refused_with_fact_and_remedy(tmp_path, name, header, message):
    path = patched(put(tmp_path / name), **header)
    with pytest.raises(VolumeError, match=re.escape(name) + ": .*" + re.escape(message)):
        volume.read(path)


def test_truncated_and_damaged_files_are_refused(tmp_path):
    noise = (np.random.default_rng(1).random(SHAPE) < 0.5).astype(np.uint8)
    plain, packed = put(tmp_path / "plain.nii", noise), put(tmp_path / "packed.nii.gz", noise)
    plain.write_bytes(plain.read_bytes()[:-100])
    with pytest.raises(
        VolumeError, match="plain.nii: the header claims 19251 bytes of voxels, but only 19151 bytes follow it"
    ):
        volume.read(plain)
    content = packed.read_bytes()
    packed.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        VolumeError,
        match=r"the data end or break after \d+ of 19251 voxels .*truncated or damaged: copy "
        r"or export",
    ):
        volume.read(packed)
    packed.write_bytes(content[:-8] + b"\0" * 8)
    with pytest.raises(VolumeError, match="the data end or break after 19251 of 19251 voxels"):
        volume.read(packed)
    packed.write_bytes(content[:60])
    with pytest.raises(VolumeError, match="has no NIfTI header that can be understood"):
        volume.read(packed)
    far = gzip.compress(patched(put(tmp_path / "far.nii"), vox_offset=60_000).read_bytes())
    (tmp_path / "far.nii.gz").write_bytes(far)
    with pytest.raises(VolumeError, match="the data end or break after 0 of 19251 voxels"):
        volume.read(tmp_path / "far.nii.gz")
    (tmp_path / "empty.nii").write_bytes(b"")
    with pytest.raises(VolumeError, match="empty.nii: is an empty file; copy or export it again"):
        volume.read(tmp_path / "empty.nii")


def test_gzip_that_breaks_between_header_and_voxels_is_refused(tmp_path):
    picture = nib.Nifti1Image(VALUES, RAS)
    picture.header.extensions.append(nib.nifti1.Nifti1Extension("comment", np.random.default_rng(1).bytes(9000)))
    nib.save(picture, tmp_path / "head.nii")
    content = (tmp_path / "head.nii").read_bytes()
    patched(tmp_path / "head.nii", vox_offset=int(nib.load(tmp_path / "head.nii").header["vox_offset"]))
    header = bytearray(content)
    header[348] = 0  # the extension is not announced, so the header itself ends early
    (tmp_path / "head.nii.gz").write_bytes(gzip.compress(bytes(header))[:4000])
    with pytest.raises(VolumeError, match="the gzip data break in the header .*; copy it again"):
        volume.read(tmp_path / "head.nii.gz")
