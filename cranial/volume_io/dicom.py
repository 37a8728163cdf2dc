"""A CT series in a folder of DICOM slices becomes bone on an upright grid, whatever the scanner did.

The series with most slices counts. Slices are sorted along their normal. A tilted gantry shifts each slice
against the one before: they are shifted back. Where gaps are uneven, the outline is interpolated between
slices by its signed distance, with a warning; with even gaps and no tilt the voxels are the scan's own.
"""

import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from cranial.volume_io.bone import largest_part
from cranial.volume_io.checks import FileHeader, VolumeError, check_claim, checked_affine, describe
from cranial.volume_io.stream import AtLeast

BONE_HU = 200.0
AIR_HU = -1024.0
MAX_GAP_MM = 10.0  # beyond, slices are missing: a whole burr hole fits between
GAP_TOLERANCE_MM = 0.02  # positions are written with two or three decimals
FINEST_STEP_MM = 0.5  # slices are not interpolated more finely than this
REACH_MM = 10.0  # signed distances further than this from the outline say nothing about the next slice
_NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")


@dataclass(frozen=True)
class _Slice:
    path: Path
    position_mm: np.ndarray  # (3,) centre of the first pixel, LPS
    directions: np.ndarray  # (2, 3) of growing column index, of growing row index
    pixel_mm: tuple[float, float]  # along these two
    size: tuple[int, int]  # columns, rows


def read_dicom(folder: Path, *, threshold_hu: float | None = None) -> tuple[np.ndarray, np.ndarray, FileHeader | None]:
    """Return mask (columns, rows, slices) of the largest bone at `threshold_hu` (BONE_HU) and its affine."""
    slices, normal = _sorted_slices(_series(folder), folder)
    heights = np.array([one.position_mm @ normal for one in slices])
    gaps = np.diff(heights)
    _check_gaps(gaps, heights, folder)
    first = slices[0]
    pixel_mm = np.array(first.pixel_mm)
    # what each slice has slid against the normal through the first, in pixels
    slid = np.array([first.directions @ (one.position_mm - first.position_mm) for one in slices]) / pixel_mm
    slid[:, np.abs(slid).max(axis=0) < 0.05] = 0
    low, high = np.floor(slid.min(axis=0)).astype(int), np.ceil(slid.max(axis=0)).astype(int)
    size = tuple(int(count) for count in np.array(first.size) + high - low)
    step_mm = _step(gaps)
    even = np.ptp(gaps) <= 2 * GAP_TOLERANCE_MM
    count = len(slices) if even else int((heights[-1] - heights[0] + GAP_TOLERANCE_MM) / step_mm) + 1
    check_claim((*size, count), 1, folder)

    rule = AtLeast(BONE_HU if threshold_hu is None else threshold_hu)
    bones = (rule(_shifted(_hounsfield(one), shift - low, size)) for one, shift in zip(slices, slid, strict=True))
    mask = np.zeros((*size, count), dtype=bool, order="F")
    if even:
        for index, bone in enumerate(bones):
            mask[:, :, index] = bone
    else:
        warnings.warn(
            f"{folder}: slices are {gaps.min():g} to {gaps.max():g} mm apart; bone between them is "
            "interpolated to "
            f"{step_mm:g} mm",
            stacklevel=2,
        )
        _interpolate(bones, heights, pixel_mm, heights[0] + step_mm * np.arange(count), mask)
    rule.finish(folder)
    affine = np.eye(4)
    affine[:3, :2] = first.directions.T * pixel_mm
    affine[:3, 2] = normal * step_mm
    affine[:3, 3] = first.position_mm + affine[:3, :2] @ low
    return largest_part(mask), checked_affine(affine, folder), None


def _series(folder: Path) -> list:
    """Headers of the largest CT series below `folder`, with their paths."""
    import pydicom

    series: dict[str, dict[str, tuple[Path, pydicom.Dataset]]] = {}
    other: set[str] = set()
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.upper() == "DICOMDIR":
            continue
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, EOFError):
            continue  # a viewer, a report, a thumbnail
        if header.get("Modality") != "CT":
            other.add(str(header.get("Modality", "unknown")))
        elif "LOCALIZER" not in header.get("ImageType", ()):
            if int(header.get("NumberOfFrames", 1)) > 1:
                raise VolumeError(f"{path}: is a multi-frame DICOM file; convert it to NIfTI first (dcm2niix)")
            series.setdefault(str(header.get("SeriesInstanceUID")), {})[str(header.get("SOPInstanceUID"))] = (
                path,
                header,
            )
    if not series:
        found = f"only modality {', '.join(sorted(other))}" if other else "no DICOM file"
        raise VolumeError(f"{folder}: holds {found}; give the folder of a CT series, or a .nrrd or .nii.gz")
    most = max(len(members) for members in series.values())
    largest = [list(members.values()) for members in series.values() if len(members) == most]
    if len(largest) > 1:
        names = ", ".join(
            f"{members[0][1].get('SeriesDescription', 'without description')} ({members[0][0].parent})"
            for members in largest
        )
        raise VolumeError(
            f"{folder}: holds {len(largest)} CT series of {most} slices each: {names}; give a folder with "
            "only the one that is meant (the bone kernel, if there is one)"
        )
    if most < 2:
        raise VolumeError(f"{folder}: the CT series has one slice; a skull needs all of them: export the whole series")
    return largest[0]


def _sorted_slices(members: list, folder: Path) -> tuple[list[_Slice], np.ndarray]:
    """Slices from low to high along their common normal, and that normal."""
    slices = []
    for path, header in members:
        missing = [name for name in _NEEDED if header.get(name) in (None, "")]
        if missing:
            raise VolumeError(
                f"{path}: has no {missing[0]}, so its place is unknown; export the series again from PACS"
            )
        row_mm, column_mm = (float(number) for number in header.PixelSpacing)  # between rows, between columns
        slices.append(
            _Slice(
                path,
                np.array(header.ImagePositionPatient, dtype=np.float64),
                np.array(header.ImageOrientationPatient, dtype=np.float64).reshape(2, 3),
                (column_mm, row_mm),
                (int(header.Columns), int(header.Rows)),
            )
        )
    first = slices[0]
    for one in slices[1:]:
        for what, ours, theirs in (
            ("orientation", one.directions, first.directions),
            ("pixel spacing", one.pixel_mm, first.pixel_mm),
            ("size", one.size, first.size),
        ):
            if not np.allclose(ours, theirs, atol=1e-3):
                raise VolumeError(
                    f"{one.path}: has {what} {np.array(ours).tolist()}, {first.path.name} has "
                    f"{np.array(theirs).tolist()}; keep only the slices of one stack in {folder}"
                )
    if not (np.isfinite(first.pixel_mm).all() and min(first.pixel_mm) > 0):
        raise VolumeError(
            f"{first.path}: pixel spacing is {describe(first.pixel_mm)} mm; both must be finite and above 0: export "
            "the series again from PACS"
        )
    normal = np.cross(*first.directions)
    length = np.linalg.norm(normal)
    if not abs(length - 1) < 1e-2:
        raise VolumeError(
            f"{first.path}: ImageOrientationPatient {first.directions.tolist()} is not two orthogonal unit "
            "vectors; export the series again from PACS"
        )
    normal /= length
    return sorted(slices, key=lambda one: one.position_mm @ normal), normal


def _check_gaps(gaps: np.ndarray, heights: np.ndarray, folder: Path) -> None:
    if not np.isfinite(heights).all():
        raise VolumeError(f"{folder}: a slice has no finite position; export the series again from PACS")
    if gaps.min() < GAP_TOLERANCE_MM:
        height = heights[int(gaps.argmin())]
        raise VolumeError(
            f"{folder}: two different slices lie at {height:g} mm; the series holds more than one scan "
            "(phases, or two reconstructions): keep one of them"
        )
    if gaps.max() > MAX_GAP_MM:
        place = int(gaps.argmax())
        raise VolumeError(
            f"{folder}: no slice between {heights[place]:g} and {heights[place + 1]:g} mm, a gap of "
            f"{gaps.max():g} mm (at most {MAX_GAP_MM:g}); slices are missing: export the whole series"
        )


def _step(gaps: np.ndarray) -> float:
    """Slice distance of the grid: the common one, else the coarsest that meets every slice of the scan."""
    if np.ptp(gaps) <= 2 * GAP_TOLERANCE_MM:
        return float(gaps.mean())
    for parts in range(1, 5):
        step = gaps.min() / parts
        if parts > 1 and step < FINEST_STEP_MM:
            break
        if np.abs(gaps / step - np.round(gaps / step)).max() * step <= GAP_TOLERANCE_MM:
            return float(step)
    return float(gaps.min())


def _hounsfield(one: _Slice) -> np.ndarray:
    """HU (columns, rows) float32."""
    import pydicom

    try:
        header = pydicom.dcmread(one.path)
        stored = header.pixel_array
    except Exception as error:  # decoders fail in their own ways
        raise VolumeError(
            f"{one.path}: its pixels cannot be decoded ({error}); the file is damaged, or compressed: "
            "decompress the series (gdcmconv --raw) or convert it to NIfTI (dcm2niix)"
        ) from error
    slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
    return (stored.astype(np.float32) * slope + intercept).T


def _shifted(values: np.ndarray, shift: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`values` moved by `shift` pixels on a canvas of `size`, air around."""
    if not shift.any() and values.shape == size:
        return values
    from scipy.ndimage import shift as moved

    canvas = np.full(size, AIR_HU, dtype=np.float32)
    canvas[: values.shape[0], : values.shape[1]] = values
    return moved(canvas, shift, order=1, mode="constant", cval=AIR_HU)


def _interpolate(bones, heights: np.ndarray, pixel_mm: np.ndarray, wanted: np.ndarray, mask: np.ndarray) -> None:
    """Fill mask[..., k] at height wanted[k]: signed distances of the slices around it, mixed linearly."""
    distances = ((height, _signed_distance(bone, pixel_mm)) for height, bone in zip(heights, bones, strict=True))
    index = 0
    for (below, low), (above, high) in pairwise(distances):
        while index < len(wanted) and wanted[index] <= above + GAP_TOLERANCE_MM:
            weight = np.clip((wanted[index] - below) / (above - below), 0, 1)
            mask[:, :, index] = (1 - weight) * low + weight * high > 0
            index += 1


def _signed_distance(bone: np.ndarray, pixel_mm: np.ndarray) -> np.ndarray:
    """mm inside (+) or outside (-) the outline, to REACH_MM."""
    from scipy.ndimage import distance_transform_edt

    if not bone.any():
        return np.full(bone.shape, -REACH_MM, dtype=np.float32)
    signed = distance_transform_edt(bone, sampling=pixel_mm) - distance_transform_edt(~bone, sampling=pixel_mm)
    return np.clip(signed, -REACH_MM, REACH_MM).astype(np.float32)
