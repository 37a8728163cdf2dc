"""The header of a NRRD file: which of its freedoms are understood, and keeping the rest line by line."""

import re
import warnings
from pathlib import Path

import numpy as np

from cranial.volume_io.checks import FileHeader, VolumeError, checked_affine, describe, times

# diag of the map from the named space to LPS
SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
MILLIMETRES = {"", "mm", "millimeter", "millimeters", "millimetre", "millimetres"}
_TYPES = {
    name: kind
    for kind, names in {
        "i1": "signed char,int8,int8_t",
        "u1": "uchar,unsigned char,uint8,uint8_t",
        "i2": "short,short int,signed short,signed short int,int16,int16_t",
        "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
        "i4": "int,signed int,int32,int32_t",
        "u4": "uint,unsigned int,uint32,uint32_t",
        "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
        "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
        "f4": "float",
        "f8": "double",
    }.items()
    for name in names.split(",")
}
ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
MAX_HEADER_BYTES = 2**20
_SEGMENT_KEY = re.compile(r"Segment(ation)?\d*_")
# fields that describe the source's samples and not its grid
_SAMPLE_FIELDS = {
    "type",
    "encoding",
    "endian",
    "data file",
    "datafile",
    "line skip",
    "lineskip",
    "byte skip",
    "byteskip",
    "min",
    "max",
    "old min",
    "oldmin",
    "old max",
    "oldmax",
    "block size",
    "blocksize",
    "sample units",
    "sampleunits",
}


def header_lines(path: Path) -> tuple[tuple[str, ...], int]:
    """The header's lines without line ends, magic first, and the byte at which attached data start."""
    with open(path, "rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    if not head.startswith(b"NRRD000"):
        what = "is an empty file" if not head else f"starts with {head[:8]!r}, not with NRRD000"
        raise VolumeError(f"{path}: {what}; this is no NRRD file: copy or export it again")
    end = re.search(rb"\r?\n\r?\n", head)
    if end is None and len(head) == MAX_HEADER_BYTES:
        raise VolumeError(f"{path}: the header has no end within {MAX_HEADER_BYTES} bytes; export the file again")
    text = head[: end.start() if end else len(head)].decode("utf-8", "surrogateescape")
    return tuple(line.rstrip() for line in text.splitlines()), end.end() if end else len(head)


def parsed(lines: tuple[str, ...], path: Path) -> dict:
    import nrrd

    try:
        fields = nrrd.read_header(lines)
        missing = [name for name in ("type", "dimension", "sizes", "encoding") if name not in fields]
        if missing:
            raise ValueError(f"the field {missing[0]!r} is missing")
        if fields["dimension"] != len(fields["sizes"]):
            raise ValueError(f"dimension is {fields['dimension']} but sizes are {fields['sizes'].tolist()}")
    except (nrrd.NRRDError, ValueError, TypeError, KeyError, IndexError) as error:
        raise VolumeError(f"{path}: the NRRD header cannot be understood ({error}); export the file again") from error
    return fields


def voxel_type(fields: dict, path: Path) -> np.dtype:
    kind = _TYPES.get(fields["type"].lower())
    if kind is None:
        raise VolumeError(f"{path}: voxels of type {fields['type']!r} are not numbers; export the file as uint8")
    dtype = np.dtype(kind)
    endian = str(fields.get("endian", "")).lower()
    if dtype.itemsize > 1 and fields["encoding"].lower() in ENCODINGS:
        if endian not in ("little", "big"):
            raise VolumeError(
                f"{path}: endian is {endian or 'missing'!r} for voxels of type {fields['type']!r}; it must "
                "be little or big: correct the header or export the file again"
            )
        dtype = dtype.newbyteorder("<" if endian == "little" else ">")
    return dtype


def dropped_axis(fields: dict, sizes: tuple[int, ...], segments: dict, path: Path) -> int | None:
    """The axis of a 4-D file that is not in space and may go: a segmentation's layers, or a single one."""
    if len(sizes) == 3:
        return None
    directions = fields.get("space directions")
    kinds = fields.get("kinds", [])
    if len(sizes) == 4:
        if directions is not None and len(directions) == 4:
            outside = [axis for axis in range(4) if np.isnan(directions[axis]).all()]
        else:
            outside = [axis for axis, kind in enumerate(kinds) if kind.lower() not in ("domain", "space")]
        if len(outside) == 1 and (sizes[outside[0]] == 1 or (segments and outside == [0])):
            return outside[0]
    raise VolumeError(
        f"{path}: is {len(sizes)}-D ({times(sizes)}), a skull is 3-D; export one volume of it (3D Slicer: "
        "save the segment or the frame on its own)"
    )


def grid_affine(fields: dict, list_axis: int | None, path: Path) -> np.ndarray:
    """Voxel index to patient LPS mm, (4, 4)."""
    space = str(fields.get("space", "")).lower()
    if space and space not in SPACES:
        raise VolumeError(
            f"{path}: space {fields['space']!r} does not say where the patient's left is; set it to "
            "left-posterior-superior, right-anterior-superior or left-anterior-superior"
        )
    if not space:
        warnings.warn(f"{path}: the header names no space; left-posterior-superior is assumed", stacklevel=2)
    inside = [axis for axis in range(len(fields["sizes"])) if axis != list_axis]
    directions = fields.get("space directions")
    if directions is not None:
        units = fields.get("space units", [])
        directions = np.asarray(directions, dtype=np.float64)
        if directions.shape != (len(fields["sizes"]), 3):
            raise VolumeError(
                f"{path}: space directions are {directions.tolist()}; a vector of three numbers is needed "
                f"for each of the {len(fields['sizes'])} axes: correct the header or export the file again"
            )
        directions = directions[inside]
    elif "spacings" in fields:
        units = [unit for axis, unit in enumerate(fields.get("units", [])) if axis in inside]
        spacings = np.asarray(fields["spacings"], dtype=np.float64)
        if len(spacings) != len(fields["sizes"]):
            raise VolumeError(
                f"{path}: spacings are {describe(spacings)}; one is needed for each of the "
                f"{len(fields['sizes'])} axes: correct the header or export the file again"
            )
        directions = np.diag(spacings[inside])
    else:
        raise VolumeError(
            f"{path}: the header has neither space directions nor spacings, so the voxel size in mm is "
            "unknown; copy the header of the scan or add spacings"
        )
    wrong = [unit for unit in units if unit.lower() not in MILLIMETRES]
    if wrong:
        raise VolumeError(
            f"{path}: lengths are in {wrong[0]!r}, not in mm; convert space directions and space origin to "
            "mm and set "
            'space units to "mm" "mm" "mm"'
        )
    origin = np.asarray(fields.get("space origin", (0.0, 0.0, 0.0)), dtype=np.float64)
    if origin.shape != (3,):
        raise VolumeError(f"{path}: space origin is {origin.tolist()}; three numbers are needed: correct the header")
    affine = np.eye(4)
    affine[:3, :3] = directions.T
    affine[:3, 3] = origin
    affine[:3] *= np.array(SPACES.get(space, (1, 1, 1)), dtype=np.float64)[:, None]
    return checked_affine(affine, path)


def kept_lines(header: FileHeader | None, shape: tuple[int, ...], affine: np.ndarray) -> list[str] | None:
    """The source's own lines less those about its samples, if they describe this very grid."""
    if header is None or header.format != "nrrd":
        return None
    fields = parsed(header.fields, Path("header"))
    if tuple(fields["sizes"]) != tuple(shape):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a missing space the reader was told when reading
        if not np.array_equal(grid_affine(fields, None, Path("header")), affine):
            return None
    kept = []
    for line in header.fields[1:]:
        name, separator, _ = (part.strip() for part in line.partition(":"))
        if separator and name not in _SAMPLE_FIELDS and not line.startswith("#") and not _SEGMENT_KEY.match(name):
            kept.append(line)
    return kept


def composed_lines(shape: tuple[int, ...], affine: np.ndarray) -> list[str]:
    def vector(numbers: np.ndarray) -> str:
        return "(" + ",".join(repr(float(number)) for number in numbers) + ")"

    return [
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(size) for size in shape)}",
        f"space directions: {' '.join(vector(axis) for axis in affine[:3, :3].T)}",
        "kinds: domain domain domain",
        'space units: "mm" "mm" "mm"',
        f"space origin: {vector(affine[:3, 3])}",
    ]


def header_text(lines: list[str], fields: list[str]) -> bytes:
    return ("\n".join(["NRRD0005", *fields, *lines]) + "\n\n").encode("utf-8", "surrogateescape")
