"""What every format must prove before its voxels are believed, and the error if it cannot."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# A CT of 1024^3 float32 voxels is exactly this large; a header that claims more is a mistake or an attack.
MAX_DATA_BYTES = 4 * 2**30
# No deflate stream expands further than this (zlib's own documentation: 1032 to 1).
MAX_DEFLATE_RATIO = 1032
# Determinant of the three unit axis directions (the volume of their parallelepiped); 1 when orthogonal.
MIN_AXIS_INDEPENDENCE = 1e-3


class VolumeError(ValueError):
    """A file or grid cannot be used: the message names the file, the fact and the remedy."""


class NotAMaskError(VolumeError):
    """A file of many values; those of a CT run from air, about -1000, to bone. low, high: its own."""

    def __init__(self, message: str, low: float, high: float) -> None:
        super().__init__(message)
        self.low, self.high = low, high


@dataclass(frozen=True)
class FileHeader:
    """A file's header as its format keeps it; `format` is "nrrd" or "nifti", `fields` that module's own."""

    format: str
    fields: Any


def checked_affine(affine: np.ndarray, path: Path | str) -> np.ndarray:
    """Return `affine` (4, 4) as float64; raise VolumeError where it is no map from voxels to millimetres."""
    affine = np.array(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.array_equal(affine[3], (0, 0, 0, 1)):
        raise VolumeError(f"{path}: affine is no 4 x 4 matrix with last row 0 0 0 1; got {affine.tolist()}")
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (spacing_mm > 0).all():
        raise VolumeError(
            f"{path}: voxel spacing is {describe(spacing_mm)} mm and origin {describe(affine[:3, 3])} mm; "
            "every spacing must be finite and above 0: correct the header or export the file again"
        )
    independence = abs(np.linalg.det(affine[:3, :3] / spacing_mm))
    if independence < MIN_AXIS_INDEPENDENCE:
        raise VolumeError(
            f"{path}: the axis directions {np.round(affine[:3, :3].T, 6).tolist()} lie in one plane, so "
            "the grid is flat; correct the header or export the file again"
        )
    return affine


def check_claim(shape: tuple[int, ...], itemsize: int, path: Path | str) -> int:
    """Return the bytes of data a header claims; raise before anything impossibly large is allocated."""
    if min(shape) < 1:
        raise VolumeError(f"{path}: the header gives the size {times(shape)}; export the file again")
    claimed = itemsize
    for size in shape:
        claimed *= int(size)
    if claimed > MAX_DATA_BYTES:
        raise VolumeError(
            f"{path}: the header claims {times(shape)} voxels, {claimed / 2**30:.1f} GiB; the limit is "
            f"{MAX_DATA_BYTES / 2**30:.0f} GiB: crop or downsample it first (3D Slicer: Crop Volume)"
        )
    return claimed


def check_room(claimed: int, available: int, compressed: bool, path: Path | str) -> None:
    """Raise if `available` bytes of file cannot hold `claimed` bytes of voxels, however well compressed."""
    if claimed > available * (MAX_DEFLATE_RATIO if compressed else 1):
        raise VolumeError(
            f"{path}: the header claims {claimed} bytes of voxels, but only {available} "
            f"{'compressed ' if compressed else ''}bytes follow it; the file is truncated or its header is "
            "wrong: copy or export it again"
        )


def describe(numbers: np.ndarray) -> str:
    """(0.4, 0.4, nan) for people."""
    return "(" + ", ".join(f"{number:g}" for number in numbers) + ")"


def times(shape: tuple[int, ...]) -> str:
    """512 x 512 x 360 for people."""
    return " x ".join(str(int(size)) for size in shape)
