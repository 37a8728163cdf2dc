"""NRRD files as other programs write them, and as ours must be so that they lay them over the scan."""

import bz2
import gzip
import re
import zlib

import nrrd
import numpy as np
import pytest
from heads import SHAPE, affine_of, head, rotation

from cranial import volume
from cranial.volume import VolumeError

MASK = head().mask
VALUES = MASK.astype(np.uint8)
FIELDS = {
    "type": "uint8",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "23 31 27",
    "space directions": "(0.5,0,0) (0,0.5,0) (0,0,2)",
    "kinds": "domain domain domain",
    "encoding": "gzip",
    "space units": '"mm" "mm" "mm"',
    "space origin": "(-10,20,5.5)",
}


def put(path, data=None, **changes):
    """Write a NRRD by hand: FIELDS with `changes` (None drops one); `data` bytes, by default the gzipped head."""
    fields = FIELDS | {name.replace("_", " "): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None and ":=" not in name]
    body = gzip.compress(VALUES.tobytes(order="F")) if data is None else data
    path.write_bytes("\n".join(["NRRD0005", *lines]).encode() + b"\n\n" + body)
    return path


@pytest.mark.parametrize(
    ("space", "to_lps"),
    [
        ("left-posterior-superior", (1, 1, 1)),
        ("LPS", (1, 1, 1)),
        ("right-anterior-superior", (-1, -1, 1)),
        ("RAS", (-1, -1, 1)),
        ("left-anterior-superior", (1, -1, 1)),
        ("las", (1, -1, 1)),
    ],
)
def test_each_space_puts_the_patients_left_where_it_is(tmp_path, space, to_lps):
    skull = volume.read(put(tmp_path / "head.nrrd", space=space))
    assert np.array_equal(skull.mask, MASK)
    expected = np.diag((*to_lps, 1)) @ affine_of(spacing_mm=(0.5, 0.5, 2), origin_mm=(-10, 20, 5.5))
    assert np.array_equal(skull.affine, expected)


def test_a_file_that_names_no_space_is_taken_as_lps_with_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="head.nrrd: the header names no space; left-posterior-superior is assumed"):
        skull = volume.read(put(tmp_path / "head.nrrd", space=None))
    assert skull.orientation == "LPS"
    volume.write(skull, tmp_path / "again.nrrd")
    assert "space" not in nrrd.read_header(str(tmp_path / "again.nrrd"))  # nothing is claimed that was not known


def test_spacings_alone_place_a_head_at_the_origin(tmp_path):
    path = put(
        tmp_path / "head.nrrd",
        space=None,
        space_directions=None,
        space_origin=None,
        space_units=None,
        spacings="0.5 1 2",
    )
    with pytest.warns(UserWarning, match="names no space"):
        assert np.array_equal(volume.read(path).affine, np.diag((0.5, 1, 2, 1)))


@pytest.mark.parametrize("type_", ["int8", "unsigned short", "int", "int64", "float", "double"])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_a_mask_may_have_any_type_of_number(tmp_path, type_, endian):
    dtype = np.dtype(nrrd.reader._TYPEMAP_NRRD2NUMPY[type_]).newbyteorder("<" if endian == "little" else ">")
    body = gzip.compress(MASK.astype(dtype).tobytes(order="F"))
    assert np.array_equal(volume.read(put(tmp_path / "head.nrrd", body, type=type_, endian=endian)).mask, MASK)


def test_a_mask_may_be_drawn_with_255(tmp_path):
    assert np.array_equal(
        volume.read(put(tmp_path / "head.nrrd", gzip.compress((VALUES * 255).tobytes(order="F")))).mask, MASK
    )


@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz", "bzip2", "ascii", "txt"])
def test_every_encoding_gives_the_same_head(tmp_path, encoding):
    raw = VALUES.tobytes(order="F")
    body = {
        "raw": raw,
        "gzip": gzip.compress(raw),
        "gz": gzip.compress(raw),
        "bzip2": bz2.compress(raw),
        "ascii": " ".join(map(str, raw)).encode(),
        "txt": "\n".join(map(str, raw)).encode(),
    }[encoding]
    assert np.array_equal(volume.read(put(tmp_path / "head.nrrd", body, encoding=encoding)).mask, MASK)


def test_data_may_lie_in_a_file_of_their_own_behind_lines_and_bytes_to_skip(tmp_path):
    raw = VALUES.tobytes(order="F")
    (tmp_path / "head.raw").write_bytes(b"a line\nanother\n12345" + raw)
    path = put(tmp_path / "head.nhdr", b"", encoding="raw", data_file="head.raw", line_skip="2", byte_skip="5")
    assert np.array_equal(volume.read(path).mask, MASK)
    path = put(tmp_path / "tail.nhdr", b"", encoding="raw", data_file="head.raw", byte_skip="-1")
    assert np.array_equal(volume.read(path).mask, MASK)
    (tmp_path / "head.raw.gz").write_bytes(gzip.compress(b"12345" + raw))
    path = put(tmp_path / "packed.nhdr", b"", datafile="head.raw.gz", byte_skip="5")
    assert np.array_equal(volume.read(path).mask, MASK)


def test_windows_line_ends_are_understood(tmp_path):
    path = put(tmp_path / "head.nrrd")
    text, body = path.read_bytes().split(b"\n\n", 1)
    path.write_bytes(text.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body)
    assert np.array_equal(volume.read(path).mask, MASK)


# ---- CT


def ct(path, values, **changes):
    return put(path, gzip.compress(values.tobytes(order="F")), type="int16", endian="little", **changes)


def test_a_ct_with_a_threshold_is_its_largest_bone(tmp_path):
    values = np.where(MASK, 700, 40).astype(np.int16)
    values[0, :, 0] = 900  # a headrest
    skull = volume.read(ct(tmp_path / "ct.nrrd", values), threshold_hu=300)
    assert np.array_equal(skull.mask, MASK)


def test_a_ct_without_a_threshold_is_refused_with_its_values_and_the_option(tmp_path):
    values = np.where(MASK, 700, -1000).astype(np.int16)
    values[3, 3, 3] = 40
    expected = (
        r"ct.nrrd: not a mask of 0 and one other value: it holds -1000, .*700.* \(from -1000 to 700\); if "
        r"it is a CT "
        r"pass threshold_hu \(--threshold-hu 200 on the command line\), otherwise save the bone as a mask "
        r"of its own"
    )
    with pytest.raises(VolumeError, match=expected) as raised:
        volume.read(ct(tmp_path / "ct.nrrd", values))
    assert (raised.value.low, raised.value.high) == (-1000, 700)


@pytest.mark.parametrize("bad", [2, -1, np.nan, 0.5])
def test_a_third_value_anywhere_makes_it_no_mask(tmp_path, bad):
    values = MASK.astype(np.float32)
    values[tuple(np.argwhere(MASK)[-1])] = bad
    path = put(tmp_path / "head.nrrd", gzip.compress(values.tobytes(order="F")), type="float", endian="little")
    with pytest.raises(VolumeError, match=f"not a mask of 0 and one other value: it holds .*{bad:g}"):
        volume.read(path)


def test_a_threshold_that_nothing_reaches_is_an_error_that_says_the_range(tmp_path):
    with pytest.raises(
        VolumeError, match="no voxel reaches 300 HU; its values run from 0 to 1: lower the threshold, or leave it out"
    ):
        volume.read(put(tmp_path / "head.nrrd"), threshold_hu=300)


# ---- 3D Slicer segmentations


def segmentation(path, labels, segments, **changes):
    """A .seg.nrrd: labels (I, J, K) or (layers, I, J, K); segments: name -> (layer, label)."""
    keys = {}
    for number, (name, (layer, label)) in enumerate(segments.items()):
        keys |= {
            f"Segment{number}_ID": f"id{number}",
            f"Segment{number}_Name": name,
            f"Segment{number}_LabelValue": str(label),
            f"Segment{number}_Layer": str(layer),
        }
    fields = dict(FIELDS)
    if labels.ndim == 4:
        fields |= {
            "dimension": "4",
            "sizes": " ".join(map(str, labels.shape)),
            "kinds": "list domain domain domain",
            "space directions": "none " + FIELDS["space directions"],
        }
    fields |= changes
    lines = [f"{name}: {value}" for name, value in fields.items()] + [f"{key}:={value}" for key, value in keys.items()]
    path.write_bytes(
        "\n".join(["NRRD0005", *lines]).encode() + b"\n\n" + gzip.compress(labels.astype(np.uint8).tobytes(order="F"))
    )
    return path


def test_a_segmentation_of_one_segment_is_that_segment(tmp_path):
    path = segmentation(tmp_path / "head.seg.nrrd", VALUES * 7, {"Segment_1": (0, 7)})
    assert np.array_equal(volume.read(path).mask, MASK)


def test_of_several_segments_those_named_bone_count(tmp_path):
    labels = VALUES + 2 * np.roll(VALUES, 5, axis=0) * (1 - VALUES)
    path = segmentation(tmp_path / "head.seg.nrrd", labels, {"Brain": (0, 2), "Cranial bone": (0, 1)})
    assert np.array_equal(volume.read(path).mask, MASK)


def test_overlapping_layers_are_separated_and_those_of_bone_united(tmp_path):
    face, vault, brain = MASK & (np.indices(SHAPE)[2] < 9), MASK & (np.indices(SHAPE)[2] > 7), ~MASK
    labels = np.stack([vault.astype(np.uint8) * 3, face.astype(np.uint8) * 2 + brain])
    segments = {"skull vault": (0, 3), "skull face": (1, 2), "brain": (1, 1)}
    skull = volume.read(segmentation(tmp_path / "head.seg.nrrd", labels, segments))
    assert np.array_equal(skull.mask, MASK) and skull.spacing_mm == (0.5, 0.5, 2)
    assert np.array_equal(volume.read(volume.write(skull, tmp_path / "out.nrrd")).affine, skull.affine)


def test_several_segments_without_a_bone_among_them_are_refused_by_name(tmp_path):
    path = segmentation(tmp_path / "head.seg.nrrd", VALUES, {"Segment_1": (0, 1), "Segment_2": (0, 2)})
    expected = (
        r"has 2 segments \(Segment_1 \[0\], Segment_2 \[1\]\) and none is named bone, .*; rename the one "
        r"that is meant"
    )
    with pytest.raises(VolumeError, match=expected):
        volume.read(path)


def test_a_segment_without_a_label_is_refused(tmp_path):
    path = segmentation(tmp_path / "head.seg.nrrd", VALUES, {"bone": (0, "one")})
    with pytest.raises(VolumeError, match="segment 0 has layer '0' and label 'one'; both must be whole numbers"):
        volume.read(path)


def test_a_segmentation_has_no_hounsfield_units(tmp_path):
    path = segmentation(tmp_path / "head.seg.nrrd", VALUES, {"bone": (0, 1)})
    with pytest.raises(VolumeError, match="is a segmentation, so threshold_hu 200 means nothing; leave it out"):
        volume.read(path, threshold_hu=200)


def test_a_written_segmentation_has_the_one_segment_slicer_looks_for(tmp_path):
    path = segmentation(tmp_path / "head.seg.nrrd", VALUES, {"old": (0, 1)}, content="from the ward")
    skull = volume.read(path)
    again = volume.write(skull, tmp_path / "again.seg.nrrd")
    data, header = nrrd.read(str(again))
    assert np.array_equal(data, VALUES) and header["content"] == "from the ward"
    assert header["Segment0_Name"] == "bone" and header["Segment0_LabelValue"] == "1"
    assert header["Segment0_Extent"] == "0 22 0 30 0 26"
    assert np.array_equal(volume.read(again).mask, MASK)
    plain = nrrd.read_header(str(volume.write(skull, tmp_path / "plain.nrrd")))
    assert not [key for key in plain if key.startswith("Segment")]


# ---- writing


def test_the_source_header_is_kept_to_the_letter_and_only_the_samples_are_ours(tmp_path):
    values = np.where(MASK, 700, 40).astype(np.int16)
    path = ct(
        tmp_path / "ct.nrrd",
        values,
        space="right-anterior-superior",
        content="scan of märz",
        space_directions="(0.48828125,0.000,0) (0,4.8828125e-1,0) (0,0,1.25)",
        measurement_frame="(1,0,0) (0,1,0) (0,0,1)",
        min="40",
        max="700",
        sample_units="HU",
        labels='"x" "y" "z"',
    )
    path.write_bytes(path.read_bytes().replace(b"\n\n", b"\nDICOM_patientID:=0815\n\n", 1))
    out = volume.write(volume.read(path, threshold_hu=300), tmp_path / "out.nrrd")
    before, after = (file.read_bytes().split(b"\n\n")[0].decode().splitlines() for file in (path, out))
    ours = {"type: uint8", "encoding: gzip"}
    samples = {"type: int16", "encoding: gzip", "endian: little", "min: 40", "max: 700", "sample units: HU"}
    assert set(after) - ours == set(before) - samples
    data, header = nrrd.read(str(out))  # the library everyone has
    assert data.dtype == np.uint8 and np.array_equal(data, VALUES)
    assert header["DICOM_patientID"] == "0815"


def test_a_mask_moved_to_another_grid_gets_a_header_of_that_grid(tmp_path):
    skull = volume.read(put(tmp_path / "head.nrrd"))
    for other in (
        volume.Volume(skull.mask, affine_of(rotation((5, 6, 7)), (1, 2, 3), (4, 5, 6)), skull.header),
        volume.Volume(skull.mask[:, 1:], skull.affine, skull.header),
    ):
        found = volume.read(volume.write(other, tmp_path / "out.nrrd"))
        assert np.array_equal(found.affine, other.affine) and np.array_equal(found.mask, other.mask)


def test_a_detached_header_has_its_data_beside_it(tmp_path):
    path = volume.write(head(), tmp_path / "head.nhdr")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["head.nhdr", "head.raw.gz"]
    data, header = nrrd.read(str(path))
    assert np.array_equal(data, VALUES) and header["data file"] == "head.raw.gz"
    assert np.array_equal(volume.read(path).mask, MASK)
    volume.write(volume.read(path), tmp_path / "joined.nrrd")  # and the attached file does not point to it
    assert "data file" not in nrrd.read_header(str(tmp_path / "joined.nrrd"))


def test_memory_order_does_not_show_in_the_file(tmp_path):
    for name, mask in (
        ("c", np.ascontiguousarray(MASK)),
        ("f", np.asfortranarray(MASK)),
        ("flipped", MASK[::-1].copy()[::-1]),
    ):
        volume.write(head().with_mask(mask), tmp_path / f"{name}.nrrd")
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


# ---- what must be refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {
                "dimension": "4",
                "sizes": "23 31 9 3",
                "kinds": "domain domain domain time",
                "space directions": "(1,0,0) (0,1,0) (0,0,1) none",
            },
            r"is 4-D (23 x 31 x 9 x 3), a skull is 3-D; export one volume of it",
        ),
        (
            {
                "dimension": "4",
                "sizes": "3 23 31 9",
                "kinds": "vector domain domain domain",
                "space directions": "none (1,0,0) (0,1,0) (0,0,1)",
            },
            "is 4-D (3 x 23 x 31 x 9)",
        ),
        ({"dimension": "2", "sizes": "23 837", "kinds": None, "space directions": None}, "is 2-D (23 x 837)"),
        (
            {"space": "3D-right-handed"},
            "space '3D-right-handed' does not say where the patient's left is; set it to left-posterior-superior",
        ),
        ({"space": "right-anterior-superior-time"}, "does not say where the patient's left is"),
        (
            {"space units": '"um" "um" "um"'},
            "lengths are in 'um', not in mm; convert space directions and space origin to mm",
        ),
        ({"space units": '"cm" "cm" "cm"'}, "lengths are in 'cm', not in mm"),
        ({"space units": '"mm" "mm" "m"'}, "lengths are in 'm', not in mm"),
        ({"space directions": None}, "neither space directions nor spacings, so the voxel size in mm is unknown"),
        (
            {"space directions": None, "spacings": "0.4 nan 0.4"},
            "voxel spacing is (0.4, nan, 0.4) mm and origin (-10, 20, 5.5) mm; every spacing must be "
            "finite and above 0",
        ),
        (
            {"space directions": None, "spacings": "0.4 0.4"},
            "spacings are (0.4, 0.4); one is needed for each of the 3 axes",
        ),
        ({"space directions": None, "spacings": "1 1 1", "units": '"cm" "cm" "cm"'}, "lengths are in 'cm', not in mm"),
        ({"space directions": "(0.4,0,0) (0,nan,0) (0,0,1)"}, "every spacing must be finite and above 0"),
        ({"space directions": "(0.4,0,0) (0,0,0) (0,0,1)"}, "voxel spacing is (0.4, 0, 1) mm"),
        ({"space directions": "(0.4,0,0) none (0,0,1)"}, "every spacing must be finite and above 0"),
        ({"space directions": "(1,0,0) (0,1,0) (1,1,0)"}, "lie in one plane, so the grid is flat"),
        ({"space directions": "(1,0,0) (0,1,0)"}, "a vector of three numbers is needed for each of the 3 axes"),
        ({"space directions": "(1,0) (0,1) (0,0)"}, "a vector of three numbers is needed for each of the 3 axes"),
        ({"space origin": "(1,2)"}, "space origin is [1.0, 2.0]; three numbers are needed"),
        ({"space origin": "(inf,0,0)"}, "every spacing must be finite and above 0"),
        ({"type": "block"}, "voxels of type 'block' are not numbers; export the file as uint8"),
        ({"type": "int16"}, "endian is 'missing' for voxels of type 'int16'; it must be little or big"),
        ({"type": None}, "the NRRD header cannot be understood (the field 'type' is missing)"),
        ({"dimension": "4"}, "the NRRD header cannot be understood (dimension is 4 but sizes are [23, 31, 27])"),
        ({"sizes": "23 31 many"}, "the NRRD header cannot be understood"),
        ({"sizes": "23 0 27"}, "the header gives the size 23 x 0 x 27; export the file again"),
        ({"sizes": "23 -31 27"}, "the header gives the size 23 x -31 x 27"),
        ({"encoding": "hex"}, "encoding 'hex' is not read; save it with encoding gzip or raw"),
        ({"data file": "gone.raw"}, "its data file 'gone.raw' does not exist beside it; copy both files"),
        ({"data file": "slice%03d.raw 1 27 1"}, "join a list or pattern of data files into one .nrrd with 3D Slicer"),
        ({"line skip": "-1"}, "line skip -1 or byte skip 0 is below what NRRD allows"),
        ({"byte skip": "-2"}, "line skip 0 or byte skip -2 is below what NRRD allows"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_a_header_that_cannot_be_right_is_refused_with_fact_and_remedy(tmp_path, changes, message):
    path = put(tmp_path / "head.nrrd", **changes)
    with pytest.raises(VolumeError, match=r"head\.nrrd: .*" + re.escape(message)):
        volume.read(path)


def test_a_header_of_ten_gigabytes_is_refused_before_anything_is_allocated(tmp_path):
    path = put(tmp_path / "head.nrrd", sizes="2200 2200 2200")
    expected = r"claims 2200 x 2200 x 2200 voxels, 9.9 GiB; the limit is 4 GiB: crop or downsample it first"
    with pytest.raises(VolumeError, match=expected):
        volume.read(path)
    path = put(tmp_path / "head.nrrd", sizes="1500 1500 1500")
    size = len(gzip.compress(VALUES.tobytes(order="F")))
    expected = f"claims 3375000000 bytes of voxels, but only {size} compressed bytes follow it; the file is"
    with pytest.raises(VolumeError, match=expected):
        volume.read(path)
    path = put(tmp_path / "head.nrrd", b"123", encoding="raw")
    with pytest.raises(VolumeError, match="claims 19251 bytes of voxels, but only 3 bytes follow it"):
        volume.read(path)
    path = put(tmp_path / "head.nrrd", b"1 0 1", encoding="ascii")
    with pytest.raises(VolumeError, match="claims 23 x 31 x 27 voxels, more than the file has characters"):
        volume.read(path)


def test_truncated_and_damaged_data_are_refused(tmp_path):
    noise = np.random.default_rng(1).random(SHAPE) < 0.5  # noise does not compress: half a file is half the voxels
    body = gzip.compress(noise.astype(np.uint8).tobytes(order="F"))
    with pytest.raises(
        VolumeError,
        match=r"the data end or break after \d+ of 19251 voxels .*truncated or damaged: copy "
        r"or export",
    ):
        volume.read(put(tmp_path / "head.nrrd", body[: len(body) // 2]))
    with pytest.raises(VolumeError, match="the data end or break after 19251 of 19251 voxels"):  # its checksum
        volume.read(put(tmp_path / "head.nrrd", body[:-8] + b"\0" * 8))
    with pytest.raises(VolumeError, match="the data end or break after 0 of 19251 voxels"):
        volume.read(put(tmp_path / "head.nrrd", zlib.compress(noise.tobytes())))
    with pytest.raises(VolumeError, match="the data end or break after 0 of 19251 voxels"):
        volume.read(put(tmp_path / "head.nrrd", bz2.compress(noise.tobytes())[:100], encoding="bzip2"))
    with pytest.raises(VolumeError, match="more data follow the 19251 voxels that the header claims"):
        volume.read(put(tmp_path / "head.nrrd", VALUES.tobytes() + b"1", encoding="raw"))
    with pytest.raises(VolumeError, match="holds 19252 numbers, the header claims 19251"):
        volume.read(put(tmp_path / "head.nrrd", b"1 " * 19252, encoding="ascii"))
    with pytest.raises(VolumeError, match="not every voxel is a number .*bone.*; export it with encoding gzip"):
        volume.read(put(tmp_path / "head.nrrd", b"1 " * 19250 + b"bone", encoding="ascii"))


def test_what_is_no_nrrd_at_all_is_refused(tmp_path):
    path = tmp_path / "head.nrrd"
    for content, message in (
        (b"", "head.nrrd: is an empty file; this is no NRRD file: copy or export it again"),
        (b"\x1f\x8b\x08 nifti?", "starts with b'.x1f.x8b.x08 nift', not with NRRD000"),
        (b"NRRD0005\n" + b"# comment\n" * 110_000, "the header has no end within 1048576 bytes"),
        (b"NRRD0005\ntype uint8\n\n", "the NRRD header cannot be understood"),
        (b"NRRD0009\ntype: uint8\n\n", "the NRRD header cannot be understood"),
    ):
        path.write_bytes(content)
        with pytest.raises(VolumeError, match=message):
            volume.read(path)
