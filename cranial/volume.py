"""A skull, a defect or an implant: one mask and the affine that places it in the patient, in LPS millimetres.

LPS: x grows to the patient's left, y to the back (posterior), z to the top (superior), as in DICOM and ITK.
This is the only module that turns millimetres into voxels or voxels into millimetres.
"""

from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

import numpy as np

from cranial.resampling import same_grid as grids_agree
from cranial.resampling import sample_mask
from cranial.volume_io.checks import FileHeader, VolumeError, checked_affine, times

__all__ = [
    "FileHeader",
    "Volume",
    "VolumeError",
    "read",
    "resample",
    "same_grid",
    "to_lps",
    "write",
    "write_map",
    "write_mesh",
]

MESH_SPACING_MM = 1.0
SMOOTHING_MM = 0.5
WRITABLE = (".nrrd", ".nhdr", ".seg.nrrd", ".nii", ".nii.gz")
MESHES = (".stl", ".ply", ".obj")


@dataclass(frozen=True, eq=False)
class Volume:
    """A binary volume.

    mask: bool (I, J, K) in the file's own axis order. affine: (4, 4) float64, index of a voxel's centre ->
    patient LPS mm. header, source: of the file it was read from, if any.
    """

    mask: np.ndarray
    affine: np.ndarray
    header: FileHeader | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        name = self.source or "volume"
        if self.mask.ndim != 3 or self.mask.dtype != bool:
            raise VolumeError(
                f"{name}: mask is {self.mask.dtype} of shape {self.mask.shape}; it must be bool (I, J, K): "
                "pass mask > 0"
            )
        affine = checked_affine(self.affine, name)
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each array axis."""
        return self.mask.shape

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each array axis."""
        return tuple(float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel (the determinant, so right for sheared grids too)."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def volume_mm3(self) -> float:
        """Volume of the mask."""
        return int(np.count_nonzero(self.mask)) * self.voxel_mm3

    @property
    def orientation(self) -> str:
        """Where each array axis runs, most nearly: "LPS", "RAS", "PIL"..."""
        letters = ("RL", "AP", "IS")
        axes, signs = _nearest_axes(self.affine)
        names = {array_axis: letters[k][sign > 0] for k, (array_axis, sign) in enumerate(zip(axes, signs, strict=True))}
        return "".join(names[axis] for axis in range(3))

    def voxel_to_mm(self, ijk: np.ndarray) -> np.ndarray:
        """Patient LPS mm (N, 3) of voxel indices (N, 3); fractions are allowed."""
        return np.asarray(ijk, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def mm_to_voxel(self, xyz: np.ndarray) -> np.ndarray:
        """Fractional voxel indices (N, 3) of points in patient LPS mm (N, 3)."""
        return (np.asarray(xyz, dtype=np.float64) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    def with_mask(self, mask: np.ndarray) -> "Volume":
        """The same grid, header and source with another mask of the same shape."""
        if mask.shape != self.shape:
            raise VolumeError(
                f"{self.source or 'volume'}: mask is {times(mask.shape)}, the grid {times(self.shape)}; "
                "resample it with volume.resample(mask, like=this)"
            )
        return replace(self, mask=mask)


def read(
    path: Path | str,
    *,
    threshold_hu: float | None = None,
    mesh_spacing_mm: float = MESH_SPACING_MM,
    like: Volume | None = None,
    allow_empty: bool = False,
) -> Volume:
    """Read a mask, CT or mesh: .nrrd .nhdr .seg.nrrd .nii .nii.gz, a folder of DICOM slices, .stl .ply .obj.

    threshold_hu: the file is a CT; bone is its largest connected part of at least so many HU (a DICOM folder
        is always a CT; without a threshold it takes dicom.BONE_HU).
    mesh_spacing_mm, like: a mesh is voxelised at this spacing along L, P, S, or onto the grid of `like`;
        files of voxels keep their own grid.
    allow_empty: a mask without a voxel is an answer and not an error (a prediction that found nothing).
    Raises VolumeError, which names the file, the fact and the remedy.
    """
    path = Path(path)
    if not path.exists():
        raise VolumeError(f"{path}: does not exist; check the path")
    name = path.name.lower()
    if path.is_dir():
        from cranial.volume_io import dicom

        mask, affine, header = dicom.read_dicom(path, threshold_hu=threshold_hu)
    elif name.endswith((".nrrd", ".nhdr")):
        from cranial.volume_io import nrrd

        mask, affine, header = nrrd.read_nrrd(path, threshold_hu=threshold_hu)
    elif name.endswith((".nii", ".nii.gz")):
        from cranial.volume_io import nifti

        mask, affine, header = nifti.read_nifti(path, threshold_hu=threshold_hu)
    elif name.endswith(MESHES):
        from cranial.volume_io import mesh

        if threshold_hu is not None:
            raise VolumeError(f"{path}: is a mesh, so threshold_hu {threshold_hu:g} means nothing; leave it out")
        mask, affine, header = mesh.read_mesh(path, spacing_mm=mesh_spacing_mm, like=like)
    elif name.endswith((".dcm", ".ima")):
        raise VolumeError(f"{path}: is one DICOM slice; give the folder that holds the whole series")
    else:
        raise VolumeError(
            f"{path}: format {path.suffix or 'without suffix'!r} is not read; give "
            f"{', '.join(WRITABLE + MESHES)} or a folder of DICOM slices"
        )
    if threshold_hu is not None and not path.is_dir():
        from cranial.volume_io.bone import largest_part

        mask = largest_part(mask)
    if not allow_empty and not mask.any():
        raise VolumeError(f"{path}: the mask is empty, not one voxel is set; export the segmentation again")
    return Volume(mask, affine, header, path)


def write(volume: Volume, path: Path | str) -> Path:
    """Write by suffix, one of WRITABLE, as uint8 0/1; return the path.

    On the grid of the file it was read from, that file's own header is kept. It appears whole or not at all.
    """
    return _write_bytes(volume.mask, volume, Path(path))


def write_map(values: np.ndarray, path: Path | str, *, like: Volume) -> Path:
    """Write values from 0 to 1, (I, J, K) on the grid of `like`, as uint8 0 to 255 and otherwise as `write` does.

    Raises VolumeError for another shape, and for values outside 0 to 1.
    """
    if values.shape != like.shape:
        raise VolumeError(f"{path}: the map is {times(values.shape)}, the grid of `like` {times(like.shape)}; "
                          "give the map of this volume")
    if not (values.min() >= 0 and values.max() <= 1):
        raise VolumeError(f"{path}: the map runs from {values.min():g} to {values.max():g}; scale it to 0 to 1")
    return _write_bytes(np.rint(255 * values).astype(np.uint8), like, Path(path))


def write_mesh(volume: Volume, path: Path | str, *, smoothing_mm: float = SMOOTHING_MM) -> Path:
    """Write the mask's surface as .stl, .ply or .obj in patient LPS mm, wound outward; return the path."""
    from cranial.volume_io import mesh

    mesh.write_mesh(Path(path), volume, smoothing_mm=smoothing_mm)
    return Path(path)


def to_lps(volume: Volume) -> Volume:
    """Permute and flip array axes to run most nearly along +L, +P, +S; no voxel changes its value or place.

    resample(to_lps(v), like=v) undoes it to the bit.
    """
    axes, signs = _nearest_axes(volume.affine)
    if axes == (0, 1, 2) and signs == (1, 1, 1):
        return volume
    mask = volume.mask.transpose(axes)
    affine = np.eye(4)
    affine[:3, :3] = volume.affine[:3, axes] * signs
    ends = [volume.shape[axis] - 1 if sign < 0 else 0 for axis, sign in zip(axes, signs, strict=True)]
    affine[:3, 3] = volume.affine[:3, 3] + volume.affine[:3, axes] @ np.array(ends, dtype=np.float64)
    return Volume(mask[tuple(slice(None, None, sign) for sign in signs)], affine, None, volume.source)


def resample(volume: Volume, *, like: Volume) -> Volume:
    """Bring the mask of `volume` onto the grid of `like`: voxels at least half full.

    Onto coarser voxels occupancy is averaged, onto finer ones interpolated. Equal grids, and those that
    differ by flips, permutations, cropping or padding, are copied to the bit.
    """
    return like.with_mask(sample_mask(volume.mask, volume.affine, like.shape, like.affine))


def thinned(volume: Volume, *, spacing_mm: float) -> Volume:
    """Every k-th voxel along each axis, k the largest that keeps the spacing within spacing_mm: for a rough look."""
    steps = np.maximum(1, np.floor(spacing_mm / np.asarray(volume.spacing_mm) + 1e-6)).astype(int)
    first = (steps - 1) // 2
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ first
    affine[:3, :3] *= steps
    taken = tuple(slice(start, None, step) for start, step in zip(first, steps, strict=True))
    return Volume(volume.mask[taken], affine)


def same_grid(one: Volume, other: Volume) -> bool:
    """Whether two volumes have the same voxels at the same places (within a hundredth of a voxel)."""
    return grids_agree(one.shape, one.affine, other.shape, other.affine)


def _write_bytes(values: np.ndarray, volume: Volume, path: Path) -> Path:
    """Bool or uint8 (I, J, K) on the grid, and under the header, of `volume`."""
    name = path.name.lower()
    if name.endswith((".nrrd", ".nhdr")):
        from cranial.volume_io import nrrd

        nrrd.write_nrrd(path, values, volume.affine, volume.header)
    elif name.endswith((".nii", ".nii.gz")):
        from cranial.volume_io import nifti

        nifti.write_nifti(path, values, volume.affine, volume.header)
    else:
        raise VolumeError(
            f"{path}: format {path.suffix or 'without suffix'!r} is not written; name it "
            f"{', '.join(WRITABLE)}, or use volume.write_mesh for {', '.join(MESHES)}"
        )
    return path


def _nearest_axes(affine: np.ndarray) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """For L, P, S in turn: the array axis that runs most nearly along it, and 1 or -1 for its sense."""
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    axes = max(permutations(range(3)), key=lambda order: sum(abs(cosines[k, axis]) for k, axis in enumerate(order)))
    return axes, tuple(1 if cosines[k, axis] > 0 else -1 for k, axis in enumerate(axes))
