"""Voxels pass between disk and mask in pieces: no float copy of a whole head is ever held."""

import bz2
import gzip
import os
import secrets
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from cranial.resampling import bounding_box
from cranial.volume_io.checks import NotAMaskError, VolumeError

PIECE_BYTES = 8 * 2**20
COMPRESSION_LEVEL = 1  # masks are long runs: higher levels cost seconds at 512^3 and gain little


class Rule(Protocol):
    """Turns voxel values into a mask, piece by piece, then says whether the whole was what it should be."""

    def __call__(self, values: np.ndarray) -> np.ndarray: ...
    def finish(self, path: Path) -> None: ...


class TwoValued:
    """Accepts 0 and one other value (1, 255, 1.0); anything else is a CT, a labelmap or a soft mask."""

    def __init__(self) -> None:
        self.value = None
        self.others: set[float] = set()
        self.low, self.high = 0.0, 0.0  # every piece before the first wrong one held 0 or the value

    def __call__(self, values: np.ndarray) -> np.ndarray:
        mask = values != 0
        occupied = np.count_nonzero(mask)
        if occupied and self.value is None:
            self.value = values[np.argmax(mask)]
        if occupied and (not self.value > 0 or np.count_nonzero(values == self.value) != occupied):
            self.others.update(np.unique(values)[:8].tolist())
        if self.others:
            self.low, self.high = _range(values, self.low, self.high)
        return mask

    def finish(self, path: Path) -> None:
        if self.others:
            some = ", ".join(f"{value:g}" for value in sorted(self.others | {float(self.value)})[:8])
            raise NotAMaskError(
                f"{path}: not a mask of 0 and one other value: it holds {some}, ... (from {self.low:g} to "
                f"{self.high:g}); if it is a CT pass threshold_hu (--threshold-hu 200 on the command line), "
                "otherwise save the bone as a mask of its own",
                self.low,
                self.high,
            )


class AtLeast:
    """Bone is every voxel of at least `threshold_hu` Hounsfield units (NaN, outside the scan, is not)."""

    def __init__(self, threshold_hu: float) -> None:
        self.threshold_hu = threshold_hu
        self.low, self.high = np.inf, -np.inf

    def __call__(self, values: np.ndarray) -> np.ndarray:
        self.low, self.high = _range(values, self.low, self.high)
        return values >= self.threshold_hu

    def finish(self, path: Path) -> None:
        if self.high < self.threshold_hu:
            raise VolumeError(
                f"{path}: no voxel reaches {self.threshold_hu:g} HU; its values run from {self.low:g} to "
                f"{self.high:g}: lower the threshold, or leave it out if the file is a mask"
            )


def _range(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The interval widened by the finite ones among `values`."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not values.size:
        return low, high
    return min(low, float(values.min())), max(high, float(values.max()))


def opened(path: Path, encoding: str, skip_bytes: int = 0) -> BinaryIO:
    """Open `path` at byte `skip_bytes` and decode what follows; `encoding` is "raw", "gzip" or "bzip2"."""
    file = open(path, "rb")
    file.seek(skip_bytes)
    if encoding == "gzip":
        return gzip.GzipFile(fileobj=file, mode="rb")
    return bz2.BZ2File(file) if encoding == "bzip2" else file


def read_mask(
    file: BinaryIO,
    shape: tuple[int, ...],
    dtype: np.dtype,
    rule: Rule,
    path: Path,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    exact: bool = False,
) -> np.ndarray:
    """Read prod(shape) values of `dtype`, Fortran order; return rule(values * slope + intercept) as a mask.

    `exact`: bytes left over after the last voxel are an error.
    """
    total = int(np.prod(shape, dtype=np.int64))
    mask = np.empty(total, dtype=bool)
    buffer = bytearray(max(PIECE_BYTES // dtype.itemsize, 1) * dtype.itemsize)
    done = 0
    try:
        while done < total:
            wanted = memoryview(buffer)[: min(len(buffer), (total - done) * dtype.itemsize)]
            filled = _fill(file, wanted)
            if filled < len(wanted):
                raise EOFError
            values = np.frombuffer(wanted, dtype)
            if (slope, intercept) != (1.0, 0.0):
                values = values.astype(np.float32) * np.float32(slope) + np.float32(intercept)
            mask[done : done + len(values)] = rule(values)
            done += len(values)
        surplus = file.read(1)  # also makes gzip verify its checksum
    except (EOFError, OSError, zlib.error) as error:
        raise VolumeError(
            f"{path}: the data end or break after {done} of {total} voxels ({error or 'end of file'}); the "
            "file is truncated or damaged: copy or export it again"
        ) from error
    if surplus and exact:
        raise VolumeError(
            f"{path}: more data follow the {total} voxels that the header claims; the header is wrong: "
            "export the file again"
        )
    return mask.reshape(shape, order="F")


def _fill(file: BinaryIO, view: memoryview) -> int:
    filled = 0
    while filled < len(view):
        count = file.readinto(view[filled:])
        if not count:
            break
        filled += count
    return filled


def pieces(values: np.ndarray) -> Iterator[bytes]:
    """Bool or uint8 (I, J, K) as uint8 in Fortran order, a few slices at a time."""
    box = bounding_box(values) or (slice(0, 0),) * 3
    depth = max(1, PIECE_BYTES // max(1, values.shape[0] * values.shape[1]))
    for start in range(0, values.shape[2], depth):
        slices = np.zeros((*values.shape[:2], min(depth, values.shape[2] - start)), dtype=np.uint8, order="F")
        slices[box[:2]] = values[box[0], box[1], start : start + depth]
        yield slices.tobytes(order="F")


def write_bytes(file: BinaryIO, values: np.ndarray, *, compressed: bool = True, head: bytes = b"") -> None:
    """Write `head`, then the values as uint8, both gzipped together where `compressed`."""
    if not compressed:
        file.write(head)
        file.writelines(pieces(values))
        return
    # mtime 0: the same volume gives the same bytes
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=COMPRESSION_LEVEL, mtime=0) as packed:
        packed.write(head)
        for piece in pieces(values):
            packed.write(piece)


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` only if the block ends well; else what stood there stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
