"""An average skull, bent onto the defective one, minus it: the classical way that also serves holes on both sides.

The atlas is the mean of registered heads (`atlas_making`). Registration would pull its bone out of the hole, for
there is none there. So a first fit tells where the hole is; it is cut into the atlas too, and the next fits bend what
both have. In the hole the field is as smooth as can be, and carries the whole atlas. What was drawn into its faces
(`thin_walls`) is carried too, but pulls nothing: walls of one head are not where another's are, if it has any.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from ..checkpoint import CheckpointError, load_weights
from ..kernels.warp import warp
from ..registration.affine import register_affine
from ..registration.deformable import deform
from ..registration.view import known
from ..resampling import sample
from ..symmetry import find_midplane
from ..symmetry.head import Head, lay_head
from ..symmetry.holes import free_vault, missing_bone
from ..volume import Volume, thinned
from .grid import lay_grid

SHIPPED = Path(__file__).resolve().parent.parent / "weights" / "atlas.safetensors"
SIDE = 64  # voxels along each edge of the cube of the field: 3.4 mm; the atlas itself is finer
ALPHA = 12500.0
PITCHES_DEG = (-20.0, 0.0, 20.0, 40.0)  # of the front, downwards
ROUNDS = 3  # fits; each begins with the hole that the one before has found
ITERATIONS = (50, 50, 50)
_SHOWN = 0.2
_FINE_MM = 1.2  # of a skull that the atlas is bent onto: finer is of no use to cubes of 3 mm
_BONE, _AROUND_VOX = 0.3, 3  # least occupancy, and how far around a gap nothing pulls


@dataclass(frozen=True, eq=False)
class Atlas:
    """occupancy: float32 (I, J, K), symmetric along its first axis; affine (4, 4): voxel -> its own mm, L, P, S.

    scanned: of the same shape, the share of it that scans have shown, by which it is fitted; None: all of it.
    """

    occupancy: np.ndarray
    affine: np.ndarray
    metadata: dict = field(repr=False)
    scanned: np.ndarray | None = None

    @property
    def fitted(self) -> np.ndarray:
        """Occupancy that is laid onto a skull, (I, J, K)."""
        return self.occupancy if self.scanned is None else self.scanned

    @property
    def skull(self) -> Volume:
        """Where at least half a voxel is bone."""
        return Volume(self.fitted >= 0.5, self.affine)

    @property
    def shown(self) -> Volume:
        """Where some of its skulls have bone: the face too, in which no two are alike, but which tells the pitch."""
        return Volume(self.fitted >= _SHOWN, self.affine)


@dataclass(frozen=True, eq=False)
class Fit:
    """Patient mm x of the skull -> the atlas' mm: y = into_cube x (voxels), affine (y + field(y))."""

    into_cube: np.ndarray  # (4, 4)
    affine: np.ndarray  # (4, 4), cube voxels -> atlas mm
    field: np.ndarray  # (3, n, n, n), voxels of the cube

    def map_points(self, points_mm: np.ndarray) -> np.ndarray:
        """Where points (N, 3) of the skull lie in the atlas, (N, 3)."""
        place = points_mm @ self.into_cube[:3, :3].T + self.into_cube[:3, 3]
        shift = [ndimage.map_coordinates(part, place.T, order=1, mode="nearest") for part in self.field]
        return (place + np.stack(shift, axis=1)) @ self.affine[:3, :3].T + self.affine[:3, 3]


def atlas_defect(
    defective: Volume, *, atlas: Atlas | None = None, progress: Callable[[float, str], None] | None = None
) -> Volume:
    """The missing bone as the atlas shows it, on the grid of `defective` and disjoint from it.

    atlas: None for the shipped one. progress: called between the steps with the share of the work that is done and
    what comes next; what it raises ends the work. Raises ValueError as find_midplane does.
    """
    tell = progress or (lambda share, step: None)
    tell(0.0, "finding the mid-plane")
    midplane = find_midplane(defective)
    head = lay_head(defective, midplane=midplane)
    tell(0.2, "laying the atlas onto the skull")
    atlas = atlas or load_atlas()
    grid = lay_grid(defective, SIDE, midplane=midplane)
    fit = fit_atlas(atlas, defective, grid.affine, tell=tell)
    tell(0.8, "looking for holes")
    return missing_bone(head, suggested_vault(head, atlas, fit), defective)


def fit_atlas(
    atlas: Atlas,
    skull: Volume,
    cube: np.ndarray,
    *,
    side: int = SIDE,
    rounds: int = ROUNDS,
    tell: Callable[[float, str], None] = lambda share, step: None,
) -> Fit:
    """Bend the atlas onto a skull, affine first; cube: affine (4, 4) of an upright cube of side^3 voxels around it."""
    skull = thinned(skull, spacing_mm=_FINE_MM)
    shape = (side,) * 3
    spacing = np.linalg.norm(cube[:3, 0])
    upright = np.diag([spacing] * 3 + [1.0])
    to_upright = upright @ np.linalg.inv(cube)  # patient mm -> mm along the cube's axes
    standing = Volume(skull.mask, to_upright @ skull.affine)
    bone = sample(skull.mask, skull.affine, shape, cube)
    onto = _best_pose(atlas, standing, bone, upright) @ upright
    target = torch.from_numpy(bone)
    laid = torch.from_numpy(sample(atlas.fitted, atlas.affine, shape, onto))
    seen = torch.from_numpy(known(standing, upright, side) & known(atlas.skull, onto, side))
    target = torch.where(seen, target, laid)
    hole = torch.zeros(shape, dtype=torch.bool)
    for number in range(rounds):
        tell(0.35 + 0.45 * number / rounds, "bending the atlas onto the skull")
        found, _ = deform(laid * ~hole, target * ~hole, alpha=ALPHA, iterations=ITERATIONS)
        if number + 1 < rounds:
            hole = torch.from_numpy(find_hole(warp(laid[None], found)[0].numpy(), target.numpy()))
    return Fit(np.linalg.inv(cube), onto, found.numpy())


def _best_pose(atlas: Atlas, standing: Volume, bone: np.ndarray, upright: np.ndarray) -> np.ndarray:
    """Affine part (4, 4), mm of the standing skull -> of the atlas; bone: the skull's occupancy on the upright cube.

    The mid-plane leaves the pitch open, and a round vault fits a turned one well enough to end a search. Of the poses
    found from several pitches the one counts under which most of the skull's bone is covered: what the atlas has
    where the skull has none is not held against it, for there may be the hole.
    """
    poses, shown = [], atlas.shown
    for pitch in np.deg2rad(PITCHES_DEG):
        nod = np.eye(4)
        nod[1:3, 1:3] = [[np.cos(pitch), -np.sin(pitch)], [np.sin(pitch), np.cos(pitch)]]
        poses.append(register_affine(shown, Volume(standing.mask, nod @ standing.affine)) @ nod)

    def covered(pose: np.ndarray) -> float:
        return float(np.minimum(sample(atlas.fitted, atlas.affine, bone.shape, pose @ upright), bone).sum())

    return max(poses, key=covered)


def find_hole(moved: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Where the moved atlas has bone with none of the skull's beside it, and around; bool (n, n, n)."""
    gap = (moved > _BONE) & ~ndimage.binary_dilation(target > _BONE)
    return ndimage.binary_dilation(gap, iterations=_AROUND_VOX)


def suggested_vault(head: Head, atlas: Atlas, fit: Fit) -> np.ndarray:
    """Occupancy of the bent atlas where the vault may be and the head has no bone, else 0: float32 (I, J, K)."""
    voxels = free_vault(head)
    suggested = np.zeros_like(head.occupancy)
    into_atlas = np.linalg.inv(atlas.affine)
    for part in np.array_split(voxels, 16):
        points = fit.map_points(part @ head.affine[:3, :3].T + head.affine[:3, 3])
        place = points @ into_atlas[:3, :3].T + into_atlas[:3, 3]
        suggested[tuple(part.T)] = ndimage.map_coordinates(atlas.occupancy, place.T, order=1)
    return suggested


@lru_cache(maxsize=2)
def load_atlas(path: Path | str = SHIPPED) -> Atlas:
    """The atlas in a file, as `atlas_making.save_atlas` wrote it; by default the one that is shipped.

    Raises CheckpointError when the file is absent, damaged, or not an atlas.
    """
    tensors, metadata = load_weights(path)
    if metadata.get("architecture") != "atlas":
        raise CheckpointError(
            f"{path} holds {metadata.get('architecture')!r}, not an atlas; give a file that save_atlas has written"
        )
    whole = {}
    for name, half in tensors.items():
        half = half.numpy().astype(np.float32) / 255
        whole[name] = np.concatenate([half[::-1], half])
    return Atlas(whole["left_half"], np.array(metadata["affine"]), metadata, whole.get("left_half_scanned"))
