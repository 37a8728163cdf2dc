"""A folder of CT slices as scanners and archives leave it becomes one skull, without the table it lay on."""

import re

import numpy as np
import pydicom
import pytest
from heads import affine_of, dice, head_at, head_in_mm, rotation
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from cranial import volume
from cranial.volume import VolumeError
from cranial.volume_io.dicom import BONE_HU

ORIGIN_MM = np.array((-3.0, 1.5, 2.0))
PIXEL_MM = (0.5, 0.75)  # between columns, between rows
SIZE = (64, 52)  # columns, rows
SERIES = generate_uid()


def scan(
    folder,
    heights_mm,
    *,
    directions=None,
    tilt_mm=0.0,
    series=SERIES,
    hounsfield=None,
    slope=1.0,
    intercept=-1024.0,
    **tags,
):
    """Write one slice of the head at each height along the normal; names in random order, as archives give them.

    directions: (3, 3) rows, columns, normal in LPS; tilt_mm: slide along the rows for each mm of height.
    hounsfield: function of points (..., 3) in LPS mm; by default bone 700, brain 40, air -1000, headrest 900.
    """
    folder.mkdir(parents=True, exist_ok=True)
    directions = np.eye(3) if directions is None else directions
    names = np.random.default_rng(3).permutation(len(heights_mm))
    paths = []
    for name, height in zip(names, heights_mm, strict=True):
        corner = ORIGIN_MM + directions[2] * height + directions[1] * tilt_mm * height
        columns, rows = np.indices(SIZE)
        points = (
            corner + columns[..., None] * PIXEL_MM[0] * directions[0] + rows[..., None] * PIXEL_MM[1] * directions[1]
        )
        values = (hounsfield or lying_head)(points)
        stored = np.round((values - intercept) / slope).astype(np.int16)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"IM{name:04d}"
        slice_ = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.Modality, slice_.SeriesInstanceUID, slice_.ImageType = "CT", series, ["ORIGINAL", "PRIMARY", "AXIAL"]
        slice_.Rows, slice_.Columns = SIZE[1], SIZE[0]
        slice_.PixelSpacing = [PIXEL_MM[1], PIXEL_MM[0]]  # DICOM says rows first
        slice_.ImagePositionPatient = [round(float(number), 4) for number in corner]
        slice_.ImageOrientationPatient = [float(number) for number in directions[:2].ravel()]
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 1
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.RescaleSlope, slice_.RescaleIntercept = slope, intercept
        slice_.PixelData = stored.T.tobytes()  # rows of columns
        for tag, value in tags.items():
            if value is None:
                delattr(slice_, tag)
            else:
                setattr(slice_, tag, value)
        slice_.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def lying_head(points):
    """HU: a head in skin, on a headrest that spans the field below it."""
    x, y, z = np.moveaxis(points - (11.0, 15.0, 13.0), -1, 0)
    inside = (x / 8) ** 2 + (y / 11) ** 2 + (z / 9.5) ** 2 <= 1
    headrest = (y > 16) & (y < 19)
    return np.where(head_at(points), 700, np.where(inside, 40, np.where(headrest, 900, -1000)))


def expected_on(skull):
    return head_in_mm(skull.affine, skull.shape).mask


HEIGHTS_MM = np.arange(0, 24, 1.25)


def edit(path, **tags):
    slice_ = pydicom.dcmread(path)
    for tag, value in tags.items():
        setattr(slice_, tag, value)
    slice_.save_as(path)


def test_a_series_becomes_its_skull_in_place_and_the_headrest_is_gone(tmp_path):
    scan(tmp_path, HEIGHTS_MM)
    skull = volume.read(tmp_path)
    assert np.array_equal(skull.mask, expected_on(skull))  # to the voxel: nothing was interpolated
    assert skull.shape == (*SIZE, len(HEIGHTS_MM)) and skull.orientation == "LPS"
    assert np.allclose(skull.affine, affine_of(spacing_mm=(0.5, 0.75, 1.25), origin_mm=ORIGIN_MM))
    assert not skull.mask[:, 40:].any()
    written = volume.read(volume.write(skull, tmp_path / "out" / "skull.nrrd"))
    assert np.array_equal(written.mask, skull.mask)


def test_slices_are_sorted_by_place_whatever_their_names_numbers_and_direction(tmp_path):
    scan(tmp_path / "up", HEIGHTS_MM, InstanceNumber=1)
    scan(tmp_path / "down", HEIGHTS_MM[::-1], InstanceNumber=1)
    up, down = volume.read(tmp_path / "up"), volume.read(tmp_path / "down")
    assert np.array_equal(up.mask, down.mask) and np.array_equal(up.affine, down.affine)


@pytest.mark.parametrize("turn", [(0, 0, 180), (7, -9, 14), (-90, 0, 0)], ids=["feet first", "oblique", "coronal"])
def test_a_head_lies_where_it_was_scanned_however_the_slices_are_turned(tmp_path, turn):
    directions = rotation(turn)
    centre = ORIGIN_MM + (np.array(SIZE) - 1) / 2 * PIXEL_MM @ directions[:2] + HEIGHTS_MM.mean() * directions[2]

    def moved(points):
        return lying_head(points - centre + (11, 15, 13))

    scan(tmp_path, HEIGHTS_MM, directions=directions, hounsfield=moved)
    skull = volume.read(tmp_path)
    points = skull.voxel_to_mm(np.argwhere(np.ones(skull.shape, bool))).reshape(*skull.shape, 3)
    assert dice(skull.mask, head_at(points - centre + (11, 15, 13))) > 0.99


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1, -1024), (0.5, -1000), (2, 10)])
def test_stored_numbers_are_rescaled_to_hounsfield_units(tmp_path, slope, intercept):
    scan(tmp_path, HEIGHTS_MM, slope=slope, intercept=intercept)
    skull = volume.read(tmp_path)
    assert np.array_equal(skull.mask, expected_on(skull))


def test_the_threshold_is_in_hounsfield_units_and_inclusive(tmp_path):
    scan(tmp_path, HEIGHTS_MM, hounsfield=lambda points: np.where(head_at(points), BONE_HU, BONE_HU - 1))
    assert np.array_equal(volume.read(tmp_path).mask, volume.read(tmp_path, threshold_hu=200).mask)
    assert volume.read(tmp_path, threshold_hu=199).mask.all()
    with pytest.raises(
        VolumeError, match="no voxel reaches 1500 HU; its values run from 199 to 200: lower the threshold"
    ):
        volume.read(tmp_path, threshold_hu=1500)


def test_uneven_slices_are_interpolated_by_outline_and_said_to_be(tmp_path):
    """4 mm below and 6 mm above, as an old scanner took them (here at half scale)."""
    heights = np.concatenate((np.arange(0, 12, 2), np.arange(12, 27, 3)))
    scan(tmp_path, heights)
    with pytest.warns(UserWarning, match="slices are 2 to 3 mm apart; bone between them is interpolated to 1 mm"):
        skull = volume.read(tmp_path)
    assert skull.spacing_mm == pytest.approx((0.5, 0.75, 1.0))
    truth = expected_on(skull)
    assert dice(skull.mask, truth) > 0.9
    taken = (heights + 1e-6).astype(int)[heights < 24]
    assert np.array_equal(skull.mask[:, :, taken], truth[:, :, taken])  # the scan's own slices are untouched
    nearest = truth[:, :, taken[np.abs(np.arange(skull.shape[2])[:, None] - taken).argmin(axis=1)]]
    assert dice(skull.mask, truth) > dice(nearest, truth)


def test_gaps_without_a_common_measure_get_the_finest_of_them(tmp_path):
    heights = np.cumsum([0, 1.1, 1.3, 1.1, 1.7, 1.1, 1.3, 1.9, 1.1, 2.3, 1.1, 1.3, 1.1, 1.3, 1.9, 1.1])
    scan(tmp_path, heights)
    with pytest.warns(UserWarning, match="interpolated to 1.1 mm"):
        skull = volume.read(tmp_path)
    assert dice(skull.mask, expected_on(skull)) > 0.9


def test_a_slice_without_bone_ends_the_bone_between_it_and_the_next(tmp_path):
    heights = np.array([-5, -3, 0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 24, 29])
    scan(tmp_path, heights, hounsfield=lambda points: np.where(head_at(points), 700, -1000))
    with pytest.warns(UserWarning, match="interpolated to"):
        skull = volume.read(tmp_path)
    assert dice(skull.mask, expected_on(skull)) > 0.85
    assert not skull.mask[:, :, -1].any()


def test_a_tilted_gantry_is_set_upright(tmp_path):
    scan(tmp_path, HEIGHTS_MM, tilt_mm=np.tan(np.deg2rad(18)))
    skull = volume.read(tmp_path)
    steps = skull.affine[:3, :3] / np.array(skull.spacing_mm)
    assert np.allclose(steps.T @ steps, np.eye(3), atol=1e-6)  # no shear
    assert skull.shape[1] > SIZE[1]
    assert dice(skull.mask, expected_on(skull)) > 0.95


def test_the_series_with_most_slices_counts_and_the_rest_of_the_folder_is_ignored(tmp_path):
    scan(tmp_path / "study" / "head", HEIGHTS_MM)
    scan(tmp_path / "study" / "thick", HEIGHTS_MM[::4], series=generate_uid())
    scan(tmp_path / "study" / "scout", [100, 200], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    scan(tmp_path / "study" / "dose", [0], Modality="SR", series=generate_uid())
    (tmp_path / "DICOMDIR").write_bytes(b"an index")
    (tmp_path / "viewer.exe").write_bytes(b"MZ")
    (tmp_path / "empty").write_bytes(b"")
    skull = volume.read(tmp_path)
    assert skull.shape[2] == len(HEIGHTS_MM) and np.array_equal(skull.mask, expected_on(skull))


def test_a_copy_of_a_slice_is_not_another_slice(tmp_path):
    first = scan(tmp_path, HEIGHTS_MM)[0]
    (tmp_path / "copy").write_bytes(first.read_bytes())
    assert volume.read(tmp_path).shape[2] == len(HEIGHTS_MM)


# ---- what must be refused


def test_two_series_of_the_same_length_must_be_told_apart(tmp_path):
    scan(tmp_path / "soft", HEIGHTS_MM, SeriesDescription="Head H30s")
    scan(tmp_path / "bone", HEIGHTS_MM, SeriesDescription="Head H60s", series=generate_uid())
    expected = (
        r"holds 2 CT series of 20 slices each: Head H60s \(.*bone\), Head H30s \(.*soft\); give a folder "
        r"with "
        "only the one that is meant"
    )
    with pytest.raises(VolumeError, match=expected):
        volume.read(tmp_path)
    assert volume.read(tmp_path / "bone").mask.any()


def test_a_folder_without_a_ct_is_refused_with_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(VolumeError, match="holds no DICOM file; give the folder of a CT series, or a .nrrd or .nii.gz"):
        volume.read(tmp_path)
    scan(tmp_path, HEIGHTS_MM[:3], Modality="MR")
    with pytest.raises(VolumeError, match="holds only modality MR; give the folder of a CT series"):
        volume.read(tmp_path)


def test_one_slice_is_no_skull(tmp_path):
    scan(tmp_path, [5.0])
    with pytest.raises(
        VolumeError, match="the CT series has one slice; a skull needs all of them: export the whole series"
    ):
        volume.read(tmp_path)


def test_missing_slices_are_seen(tmp_path):
    scan(tmp_path, [0, 1, 2, 3, 14.5, 15.5])
    with pytest.raises(
        VolumeError,
        match=r"no slice between 5 and 16.5 mm, a gap of 11.5 mm \(at most 10\); slices are "
        r"missing",
    ):
        volume.read(tmp_path)


def test_two_scans_in_one_series_are_seen(tmp_path):
    scan(tmp_path / "one", HEIGHTS_MM)
    scan(tmp_path / "two", HEIGHTS_MM)
    with pytest.raises(VolumeError, match="two different slices lie at .* mm; the series holds more than one scan"):
        volume.read(tmp_path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "has orientation [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], IM"),
        ({"PixelSpacing": [0.6, 0.6]}, "has pixel spacing [0.6, 0.6], IM"),
        ({"Rows": 26, "Columns": 128}, "has size [128, 26], IM"),
    ],
)
def test_slices_that_do_not_belong_together_are_seen(tmp_path, tags, message):
    edit(scan(tmp_path, HEIGHTS_MM)[7], **tags)
    with pytest.raises(VolumeError, match=re.escape(message) + ".*keep only the slices of one stack"):
        volume.read(tmp_path)


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_a_slice_without_a_place_is_refused(tmp_path, tag):
    scan(tmp_path, HEIGHTS_MM, **{tag: None})
    with pytest.raises(VolumeError, match=f"has no {tag}, so its place is unknown; export the series again from PACS"):
        volume.read(tmp_path)


def test_a_place_that_is_no_place_is_refused(tmp_path):
    scan(tmp_path / "flat", HEIGHTS_MM, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    with pytest.raises(VolumeError, match="is not two orthogonal unit vectors; export the series again"):
        volume.read(tmp_path / "flat")
    paths = scan(tmp_path / "lost", HEIGHTS_MM)
    content = paths[3].read_bytes()
    place = content.index(b"\x20\x00\x32\x00DS")
    length = int.from_bytes(content[place + 6 : place + 8], "little")
    paths[3].write_bytes(content[: place + 8] + b"nan\\0\\0".ljust(length) + content[place + 8 + length :])
    with pytest.raises(VolumeError, match="a slice has no finite position"):
        volume.read(tmp_path / "lost")
    scan(tmp_path / "zero", HEIGHTS_MM, PixelSpacing=[0, 0])
    with pytest.raises(VolumeError, match="pixel spacing is .0, 0. mm; both must be finite and above 0"):
        volume.read(tmp_path / "zero")


def test_pixels_that_cannot_be_decoded_are_refused_with_a_way_out(tmp_path):
    paths = scan(tmp_path / "cut", HEIGHTS_MM)
    paths[4].write_bytes(paths[4].read_bytes()[:-500])
    with pytest.raises(
        VolumeError,
        match=r"its pixels cannot be decoded \(.*\); the file is damaged, or compressed: "
        r"decompress",
    ):
        volume.read(tmp_path / "cut")
    scan(tmp_path / "many", HEIGHTS_MM, NumberOfFrames=20)
    with pytest.raises(VolumeError, match="is a multi-frame DICOM file; convert it to NIfTI first .dcm2niix"):
        volume.read(tmp_path / "many")
