"""NRRD: attached (.nrrd), detached (.nhdr), 3D Slicer segmentations (.seg.nrrd); headers kept line by line.

What the format leaves open is settled so:
- `space` missing: left-posterior-superior is assumed, with a warning. Spaces not anatomical are refused.
- `space units` other than mm are refused, never converted: such a header is more often wrong than meant.
- voxel size missing altogether: refused.
- a segmentation of one segment is that segment; of several, those named bone, skull, cranium or calvaria;
  their layers (a 4-D file) are united. A file of several segments with no such name is refused.
"""

from pathlib import Path

import numpy as np

from cranial.volume_io.checks import FileHeader, VolumeError, check_claim, check_room, times
from cranial.volume_io.nrrd_header import (
    ENCODINGS,
    composed_lines,
    dropped_axis,
    grid_affine,
    header_lines,
    header_text,
    kept_lines,
    parsed,
    voxel_type,
)
from cranial.volume_io.slicer import ChosenSegments, chosen, segment_keys, segments_of
from cranial.volume_io.stream import AtLeast, Rule, TwoValued, atomic, opened, read_mask, write_bytes


def read_nrrd(path: Path, *, threshold_hu: float | None = None) -> tuple[np.ndarray, np.ndarray, FileHeader]:
    """Return mask (I, J, K), affine to LPS mm and header of `path`; raise VolumeError if not usable."""
    lines, data_start = header_lines(path)
    fields = parsed(lines, path)
    sizes = tuple(int(size) for size in fields["sizes"])
    dtype = voxel_type(fields, path)
    claimed = check_claim(sizes, dtype.itemsize, path)
    segments = segments_of(fields, path)
    list_axis = dropped_axis(fields, sizes, segments, path)
    affine = grid_affine(fields, list_axis, path)
    rule: Rule
    if segments:
        if threshold_hu is not None:
            raise VolumeError(
                f"{path}: is a segmentation, so threshold_hu {threshold_hu:g} means nothing; leave it out"
            )
        rule = ChosenSegments(chosen(segments, path), layers=1 if list_axis is None else sizes[list_axis])
    else:
        rule = TwoValued() if threshold_hu is None else AtLeast(threshold_hu)
    mask = _read_data(path, fields, data_start, sizes, dtype, claimed, rule)
    if list_axis is not None:
        mask = np.asfortranarray(mask.any(axis=list_axis))
    return mask, affine, FileHeader("nrrd", lines)


def write_nrrd(path: Path, values: np.ndarray, affine: np.ndarray, header: FileHeader | None) -> None:
    """Write uint8, gzipped, under the source's header where it describes this grid, else a new one."""
    lines = kept_lines(header, values.shape, affine) or composed_lines(values.shape, affine)
    if path.name.lower().endswith(".seg.nrrd"):
        lines = [*lines, *segment_keys(values)]
    fields = ["type: uint8", "encoding: gzip"]
    if path.suffix.lower() != ".nhdr":
        with atomic(path) as file:
            file.write(header_text(lines, fields))
            write_bytes(file, values)
        return
    data = path.with_suffix(".raw.gz")
    with atomic(path) as file:  # the header appears only once its data are in place
        file.write(header_text(lines, [*fields, f"data file: {data.name}"]))
        with atomic(data) as data_file:
            write_bytes(data_file, values)


def _read_data(
    path: Path,
    fields: dict,
    data_start: int,
    sizes: tuple[int, ...],
    dtype: np.dtype,
    claimed: int,
    rule: Rule,
) -> np.ndarray:
    name = fields.get("data file", fields.get("datafile"))
    data_path = path
    if name is not None:
        data_start, data_path = 0, path.parent / name
        if not data_path.is_file():
            raise VolumeError(
                f"{path}: its data file {name!r} does not exist beside it; copy both files, or join a list "
                "or pattern of data files into one .nrrd with 3D Slicer"
            )
    encoding = fields["encoding"].lower()
    line_skip = int(fields.get("line skip", fields.get("lineskip", 0)))
    byte_skip = int(fields.get("byte skip", fields.get("byteskip", 0)))
    if line_skip < 0 or byte_skip < -1:
        raise VolumeError(
            f"{path}: line skip {line_skip} or byte skip {byte_skip} is below what NRRD allows; correct it"
        )
    if encoding in ("ascii", "text", "txt"):
        return _read_text(path, data_path, data_start, line_skip, sizes, dtype, rule)
    if encoding not in ENCODINGS:
        raise VolumeError(f"{path}: encoding {fields['encoding']!r} is not read; save it with encoding gzip or raw")
    encoding = ENCODINGS[encoding]
    with open(data_path, "rb") as file:
        file.seek(data_start)
        for _ in range(line_skip):
            file.readline()
        data_start = file.tell()
    available = data_path.stat().st_size - data_start
    if encoding != "bzip2":  # bzip2 has no bound; the general limit holds
        check_room(claimed, available, encoding == "gzip", path)
    if byte_skip == -1 and encoding == "raw":
        data_start += available - claimed
    elif byte_skip > 0 and encoding == "raw":
        data_start += byte_skip
    with opened(data_path, encoding, data_start) as file:
        if byte_skip > 0 and encoding != "raw":
            file.read(byte_skip)
        mask = read_mask(file, sizes, dtype, rule, path, exact=True)
    rule.finish(path)
    return mask


def _read_text(
    path: Path,
    data_path: Path,
    data_start: int,
    line_skip: int,
    sizes: tuple[int, ...],
    dtype: np.dtype,
    rule: Rule,
) -> np.ndarray:
    total = int(np.prod(sizes, dtype=np.int64))
    if total > data_path.stat().st_size - data_start:  # a digit a voxel at the very least
        raise VolumeError(
            f"{path}: the header claims {times(sizes)} voxels, more than the file has characters; it is "
            "truncated or its header is wrong: copy or export it again"
        )
    with open(data_path, "rb") as file:
        file.seek(data_start)
        words = b"".join(file.readlines()[line_skip:]).split()
    if len(words) != total:
        raise VolumeError(f"{path}: holds {len(words)} numbers, the header claims {total}; copy or export it again")
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError as error:
        raise VolumeError(f"{path}: not every voxel is a number ({error}); export it with encoding gzip") from error
    mask = rule(values.astype(dtype) if np.isfinite(values).all() else values).reshape(sizes, order="F")
    rule.finish(path)
    return mask
