"""Surfaces: solids are filled by counting, along rays, how often the surface is entered and left.

Meshes carry no unit: mm are assumed. They are in patient LPS unless a comment says SPACE=RAS, as 3D Slicer
writes. Three families of rays (along each array axis) vote. A ray that ends inside the surface met a hole and
abstains, so the seams and chips of a dry skull do not smear; where too many abstain the mesh is refused.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cranial.volume_io.checks import FileHeader, VolumeError, describe, times
from cranial.volume_io.stream import atomic

if TYPE_CHECKING:
    from cranial.volume import Volume

MARGIN_VOX = 2
# outside, the unit cannot be mm: a burr hole is larger, a body smaller
MIN_EXTENT_MM, MAX_EXTENT_MM = 2.0, 2000.0
VOLUME_TOLERANCE = 0.02  # by which smoothing may change what a surface encloses
_LEVELS = 10  # halvings of the interval in which the level is sought
MAX_VOXELS = 2**30
MAX_OPEN_RAYS = 0.05  # share of the rays through the mesh


def read_mesh(
    path: Path, *, spacing_mm: float, like: "Volume | None" = None
) -> tuple[np.ndarray, np.ndarray, FileHeader | None]:
    """Return mask and affine of the solid: on the grid of `like`, else along L, P, S with a margin."""
    return voxelise(*read_surface(path), name=path, spacing_mm=spacing_mm, like=like)


def voxelise(
    vertices: np.ndarray, faces: np.ndarray, *, name: Path | str, spacing_mm: float, like: "Volume | None" = None
) -> tuple[np.ndarray, np.ndarray, FileHeader | None]:
    """Return mask and affine of the solid inside a surface, vertices (V, 3) in LPS mm and faces (F, 3).

    It lies on the grid of `like`, else along L, P, S at spacing_mm, with a margin. Raises VolumeError, which begins
    with `name`, for a surface that is not closed, is not in mm, or needs too many voxels.
    """
    extent = np.ptp(vertices, axis=0)
    if not MIN_EXTENT_MM <= extent.max() <= MAX_EXTENT_MM:
        raise VolumeError(
            f"{name}: the mesh spans {describe(extent)}, taken as mm; a skull or implant spans "
            f"{MIN_EXTENT_MM:g} to {MAX_EXTENT_MM:g} mm: scale it to mm (metres x 1000, micrometres / 1000)"
        )
    if like is not None:
        shape, affine, header = like.shape, like.affine, like.header
    else:
        if not (np.isfinite(spacing_mm) and spacing_mm > 0):
            raise VolumeError(f"{name}: mesh_spacing_mm is {spacing_mm:g}; give a spacing above 0 mm, for example 1")
        affine = np.diag((spacing_mm, spacing_mm, spacing_mm, 1.0))
        affine[:3, 3] = vertices.min(axis=0) - MARGIN_VOX * spacing_mm
        shape = tuple(int(size) for size in np.ceil(extent / spacing_mm).astype(np.int64) + 2 * MARGIN_VOX + 1)
        header = None
        if np.prod(shape, dtype=np.float64) > MAX_VOXELS:
            raise VolumeError(
                f"{name}: spans {describe(extent)} mm, {times(shape)} voxels at mesh_spacing_mm {spacing_mm:g}; the "
                f"limit is {MAX_VOXELS} voxels: choose a larger spacing, or remove what lies far from the skull"
            )
    inverse = np.linalg.inv(affine)
    vertices = vertices @ inverse[:3, :3].T + inverse[:3, 3]
    mask, open_rays = fill(vertices, faces, shape)
    if open_rays > MAX_OPEN_RAYS:  # perhaps closed, but wound both ways: count crossings and not their senses
        mask, open_rays = fill(vertices, faces, shape, by_parity=True)
    if open_rays > MAX_OPEN_RAYS:
        raise VolumeError(
            f"{name}: {open_rays:.0%} of the rays through the mesh enter it and never leave; it has holes "
            "or faces of mixed winding: close it (MeshLab: Close Holes, Re-Orient All Faces) and export "
            "it again"
        )
    return mask, affine, header


def fill(
    vertices: np.ndarray, faces: np.ndarray, shape: tuple[int, int, int], *, by_parity: bool = False
) -> tuple[np.ndarray, float]:
    """Voxels (I, J, K) whose centres lie inside the surface, and the share of rays that never came out.

    vertices: (V, 3) in voxel indices; faces: (F, 3). Inside is where the winding number is not 0, so solids
    may overlap and be wound either way; `by_parity`, where it is odd, so triangles may be wound both ways.
    """
    low = np.clip(np.floor(vertices.min(axis=0)), 0, shape).astype(np.int64)
    high = np.clip(np.ceil(vertices.max(axis=0)) + 1, low, shape).astype(np.int64)
    mask = np.zeros(shape, dtype=bool, order="F")
    if not (high > low).all():
        return mask, 0.0
    vertices, shape = vertices - low, tuple(int(size) for size in high - low)
    votes = np.zeros(shape, dtype=np.int8)
    hit = opened = 0
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        turned = (*others, axis)
        winding = _winding(vertices[:, turned], faces, tuple(shape[other] for other in turned))
        if by_parity:
            winding &= 1
        touched = winding.any(axis=2)
        leaking = winding[:, :, -1] != 0
        hit += np.count_nonzero(touched)
        opened += np.count_nonzero(leaking)
        vote = np.where(winding[:, :, :-1] != 0, np.int8(1), np.int8(-1))
        vote[leaking] = 0
        votes += vote.transpose(np.argsort(turned))
    mask[tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))] = votes > 0
    return mask, opened / hit if hit else 0.0


def _winding(points: np.ndarray, faces: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Winding number int8 (X, Y, Z + 1) of rays along the last axis; [..., Z] is what remains beyond."""
    from cranial.volume_io.rays import add_crossings

    winding = np.zeros((*shape[:2], shape[2] + 1), dtype=np.int8)
    add_crossings(np.ascontiguousarray(points), np.ascontiguousarray(faces), winding)
    return np.cumsum(winding, axis=2, dtype=np.int8, out=winding)


def read_surface(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) in LPS mm, equal ones merged, and faces (F, 3); VolumeError for what is no surface."""
    import trimesh

    _check_length(path)
    try:
        mesh = trimesh.load_mesh(path, process=False)
        if np.isfinite(mesh.vertices).all():
            mesh.merge_vertices(merge_tex=True, merge_norm=True)  # drops what is not finite, unsaid
        vertices, faces = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
        if vertices.shape[1:] != (3,) or (len(faces) and not 0 <= faces.min() <= faces.max() < len(vertices)):
            raise ValueError("vertices or faces are incomplete")
    except Exception as error:  # every trimesh loader fails in its own way
        raise VolumeError(f"{path}: cannot be read as a mesh ({error}); export it again as binary STL") from error
    if not len(faces):
        raise VolumeError(f"{path}: the mesh has no triangles; export the surface, not points or lines")
    if not np.isfinite(vertices).all():
        raise VolumeError(f"{path}: the mesh has vertices at infinity or NaN; export it again")
    with open(path, "rb") as file:
        if b"SPACE=RAS" in file.read(2**12):
            vertices = vertices * (-1.0, -1.0, 1.0)
    return vertices, faces


def _check_length(path: Path) -> None:
    """A binary STL says how many triangles follow; a loader that finds fewer may take it for text."""
    size = path.stat().st_size
    if size == 0:
        raise VolumeError(f"{path}: is an empty file; copy or export it again")
    with open(path, "rb") as file:
        head = file.read(2**12)
    if path.suffix.lower() == ".stl" and b"facet" not in head:
        triangles = int.from_bytes(head[80:84], "little")
        if size < 84 + 50 * triangles or size < 84:
            raise VolumeError(
                f"{path}: claims {triangles} triangles, {84 + 50 * triangles} bytes, but has {size}; the file is "
                "truncated: copy or export it again"
            )


def write_mesh(path: Path, volume: "Volume", *, smoothing_mm: float) -> None:
    """Marching cubes of the mask, Gaussian-smoothed by `smoothing_mm`, at the level that keeps its volume."""
    if not (np.isfinite(smoothing_mm) and smoothing_mm >= 0):
        raise VolumeError(f"{path}: smoothing_mm is {smoothing_mm:g}; give 0 (none) or more millimetres")
    vertices, faces = surface(volume, smoothing_mm=smoothing_mm)
    write_surface(path, vertices, faces)


def write_surface(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Write vertices (V, 3) in LPS mm and faces (F, 3) as .stl, .ply or .obj; VolumeError for another suffix."""
    if path.suffix.lower() not in (".stl", ".ply", ".obj"):
        raise VolumeError(f"{path}: mesh format {path.suffix!r} is not written; name it .stl, .ply or .obj")
    with atomic(path) as file:
        file.write(_encoded(vertices, faces, path.suffix.lower()))


def surface(volume: "Volume", *, smoothing_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) in patient LPS mm and faces (F, 3), counter-clockwise seen from outside."""
    from scipy.ndimage import gaussian_filter
    from skimage.measure import marching_cubes

    from cranial.resampling import bounding_box

    box = bounding_box(volume.mask)
    if box is None:
        raise VolumeError(f"{volume.source or 'volume'}: the mask is empty, so it has no surface; write no mesh for it")
    sigma_vox = np.array([smoothing_mm / step for step in volume.spacing_mm])
    margin = int(np.ceil(3 * sigma_vox.max())) + 1
    field = np.pad(volume.mask[box], margin).astype(np.float32)
    occupied = int(np.count_nonzero(volume.mask[box]))
    low, level, high = 0.0, 0.5, 1.0
    if smoothing_mm > 0:
        gaussian_filter(field, sigma_vox, output=field, truncate=3.0)
        high = float(field.max())
        level = min(level, high / 2)
    for _ in range(_LEVELS if smoothing_mm > 0 else 1):  # at 1/2 thin bone would vanish
        vertices, faces, _, _ = marching_cubes(field, level, allow_degenerate=False)
        surplus = abs(_enclosed(vertices, faces)) / occupied - 1
        if abs(surplus) < VOLUME_TOLERANCE:
            break
        low, high = (level, high) if surplus > 0 else (low, level)
        level = (low + high) / 2
    corner = np.array([part.start for part in box]) - margin
    vertices = volume.voxel_to_mm(vertices + corner)
    if _enclosed(vertices, faces) < 0:
        faces = faces[:, ::-1]
    return vertices, faces


def _enclosed(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Volume inside a closed surface; negative where it is wound inward."""
    a, b, c = (vertices[faces[:, corner]] - vertices[0] for corner in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c))) / 6


def _encoded(vertices: np.ndarray, faces: np.ndarray, suffix: str) -> bytes:
    """The file's bytes, saying which space its millimetres are in where 3D Slicer looks for it."""
    import trimesh

    data = trimesh.Trimesh(vertices, faces, process=False).export(file_type=suffix[1:])
    if suffix == ".obj":
        return b"# SPACE=LPS\n" + (data.encode() if isinstance(data, str) else data)
    if suffix == ".ply":
        magic, kind, rest = data.split(b"\n", 2)
        return b"\n".join((magic, kind, b"comment SPACE=LPS", rest))
    return b"cranial SPACE=LPS".ljust(80) + data[80:]
