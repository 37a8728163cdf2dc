"""NIfTI-1 and -2 (.nii, .nii.gz): nibabel reads the header, the voxels are streamed.

What the format leaves open is settled as nibabel and 3D Slicer do: the sform counts if its code is above 0,
else the qform; with neither the file does not say where the patient's left is, and nibabel's convention (x
runs to the left, origin at the centre) is taken with a warning. Units other than mm are refused; unknown
units are taken as mm.
"""

import warnings
from pathlib import Path

import numpy as np

from cranial.volume_io.checks import (
    FileHeader,
    VolumeError,
    check_claim,
    check_room,
    checked_affine,
    describe,
    times,
)
from cranial.volume_io.stream import AtLeast, Rule, TwoValued, atomic, opened, read_mask, write_bytes

RAS_TO_LPS = np.diag((-1.0, -1.0, 1.0, 1.0))
_UNITS = {0: "unknown", 1: "metres", 2: "mm", 3: "micrometres"}


def read_nifti(path: Path, *, threshold_hu: float | None = None) -> tuple[np.ndarray, np.ndarray, FileHeader]:
    """Return mask (I, J, K), affine to LPS mm and header of `path`; raise VolumeError if not usable."""
    header, encoding = _header(path)
    sizes = tuple(int(size) for size in header["dim"][1 : 1 + int(header["dim"][0])])
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    if len(sizes) != 3:
        raise VolumeError(
            f"{path}: is {len(sizes)}-D ({times(sizes)}), a skull is 3-D; export one volume of it (fslroi, "
            "or 3D Slicer: save the frame on its own)"
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise VolumeError(f"{path}: voxels of type {dtype} are not plain numbers; export the file as uint8")
    claimed = check_claim(sizes, dtype.itemsize, path)
    start = int(header["vox_offset"])
    check_room(claimed, path.stat().st_size - (start if encoding == "raw" else 0), encoding == "gzip", path)
    affine = _affine(header, path)
    slope, intercept = (float(header[name]) for name in ("scl_slope", "scl_inter"))
    if not np.isfinite(slope) or slope == 0:
        slope, intercept = 1.0, 0.0
    rule: Rule = TwoValued() if threshold_hu is None else AtLeast(threshold_hu)
    with opened(path, encoding) as file:
        try:
            file.read(start)
        except (EOFError, OSError) as error:
            raise VolumeError(f"{path}: the gzip data break in the header ({error}); copy it again") from error
        mask = read_mask(
            file,
            sizes,
            dtype,
            rule,
            path,
            slope=slope,
            intercept=intercept if np.isfinite(intercept) else 0.0,
        )
    rule.finish(path)
    return mask, affine, FileHeader("nifti", header)


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray, header: FileHeader | None) -> None:
    """Write uint8 under the header it came with where that describes this grid, else under a new one."""
    import io

    kept = _kept(header, values.shape, affine) or _composed(values.shape, affine)
    kept.set_data_dtype(np.uint8)
    kept.set_slope_inter(1, 0)
    kept["cal_min"], kept["cal_max"], kept["vox_offset"] = 0, 0, 0
    head = io.BytesIO()
    kept.write_to(head)
    head.write(b"\0" * (int(kept["vox_offset"]) - head.tell()))
    with atomic(path) as file:
        write_bytes(file, values, compressed=path.name.lower().endswith(".gz"), head=head.getvalue())


def _header(path: Path):
    """The nibabel header of `path` (NIfTI-1 or -2) and its encoding, whatever its name ends in."""
    import nibabel as nib

    with open(path, "rb") as file:
        encoding = "gzip" if file.read(2) == b"\x1f\x8b" else "raw"
    try:
        with opened(path, encoding) as file:
            size = int.from_bytes(file.read(4), "little")
            file.seek(0)
            kind = nib.Nifti2Header if size in (540, 0x1C020000) else nib.Nifti1Header
            if size not in (348, 540, 0x5C010000, 0x1C020000):
                raise ValueError(f"it starts with {size}, not with 348 or 540")
            header = kind.from_fileobj(file, check=False)  # its check repairs silently what is refused here
        if bytes(header["magic"])[:3] not in (b"n+1", b"n+2"):
            raise ValueError(f"its magic is {bytes(header['magic'])!r}, not n+1 or n+2")
        header.get_data_dtype(), header.get_best_affine()
        if int(header["vox_offset"]) < size and size in (348, 540):
            raise ValueError(f"voxels are said to start at byte {int(header['vox_offset'])}, inside the header")
        return header, encoding
    except Exception as error:  # nibabel has no common base for what a broken header makes it raise
        what = (
            "is an empty file" if path.stat().st_size == 0 else f"has no NIfTI header that can be understood ({error})"
        )
        raise VolumeError(f"{path}: {what}; copy or export it again") from error


def _affine(header, path: Path) -> np.ndarray:
    """Voxel index to patient LPS mm, (4, 4)."""
    units = int(header["xyzt_units"]) & 7
    if units not in (0, 2):
        raise VolumeError(
            f"{path}: lengths are in {_UNITS.get(units, f'units of code {units}')}, not in mm; convert the "
            "affine to mm and set xyzt_units to mm"
        )
    spacing_mm = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not np.isfinite(spacing_mm).all() or not (spacing_mm > 0).all():
        raise VolumeError(
            f"{path}: voxel spacing (pixdim) is {describe(spacing_mm)} mm; every spacing must be finite "
            "and above 0: correct the header or export the file again"
        )
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        warnings.warn(
            f"{path}: neither sform nor qform is set, so the file does not say where the patient's left "
            "is; x is taken "
            "to run from right to left",
            stacklevel=2,
        )
    return checked_affine(RAS_TO_LPS @ header.get_best_affine(), path)


def _kept(header: FileHeader | None, shape: tuple[int, ...], affine: np.ndarray):
    """A copy of the source's own header if it describes this very grid."""
    if header is None or header.format != "nifti":
        return None
    kept = header.fields.copy()
    sizes = tuple(int(size) for size in kept["dim"][1:4])
    if sizes != tuple(shape) or not np.array_equal(RAS_TO_LPS @ kept.get_best_affine(), affine):
        return None
    kept["dim"][0] = 3
    kept["dim"][4:] = 1
    return kept


def _composed(shape: tuple[int, ...], affine: np.ndarray):
    import nibabel as nib

    header = nib.Nifti1Header() if max(shape) < 2**15 else nib.Nifti2Header()
    header.set_data_shape(shape)
    ras = RAS_TO_LPS @ affine
    header.set_sform(ras, code=1)
    header.set_qform(ras, code=1)  # the nearest without shear; sform is exact
    header.set_xyzt_units("mm")
    return header
