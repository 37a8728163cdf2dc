"""What may have happened to a scan before a method sees it? Turned, shifted, cropped, finer, in slices, speckled.

Each perturbation takes a case and the generator of its random numbers and gives `Perturbed`: what the method sees,
and the truth it is scored by, on the same grid.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cranial.resampling import bounding_box, sample
from cranial.skulls.defects import Case
from cranial.volume import Volume, to_lps

TURN_DEG = 20.0
PADDING_MM, AWAY_MM = 60.0, 400.0
SCAN_MM = 100.0  # from the vertex down to the orbits: nose, jaws and base are not in the scan
FINE_MM, SLICE_MM = 0.5, 2.5
SPECKLED = 0.01  # of all voxels


@dataclass(frozen=True)
class Perturbed:
    """seen: the skull given to the method; defective and implant: what its answer is scored by."""

    seen: Volume
    defective: Volume
    implant: Volume


def unperturbed(case: Case, rng: np.random.Generator) -> Perturbed:
    """The case as it is."""
    return Perturbed(case.defective, case.defective, case.implant)


def turned(case: Case, rng: np.random.Generator) -> Perturbed:
    """The head turned by TURN_DEG about an axis in any direction, scanned on a grid of the same spacing."""
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    cross = np.cross(np.eye(3), axis)
    angle = np.deg2rad(TURN_DEG)
    turn = np.eye(4)
    turn[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return _scanned(case, turn, to_lps(case.complete).spacing_mm)


def shifted(case: Case, rng: np.random.Generator) -> Perturbed:
    """Air on every side, up to PADDING_MM of it, and the origin up to AWAY_MM from where it was."""
    spacing = np.asarray(case.complete.spacing_mm)
    padding = np.rint(rng.uniform(0, PADDING_MM, (3, 2)) / spacing[:, None]).astype(int)
    affine = case.complete.affine.copy()
    affine[:3, 3] += rng.uniform(-AWAY_MM, AWAY_MM, 3)
    affine[:3, 3] -= affine[:3, :3] @ padding[:, 0]
    defective, implant = (Volume(np.pad(part.mask, padding), affine) for part in (case.defective, case.implant))
    return Perturbed(defective, defective, implant)


def cropped(case: Case, rng: np.random.Generator) -> Perturbed:
    """The scan ends SCAN_MM below the vertex: there is no face. What of the defect lies below is not asked for."""
    complete, defective, implant = (to_lps(part) for part in (case.complete, case.defective, case.implant))
    top = bounding_box(complete.mask)[2].stop
    low = max(0, top - round(SCAN_MM / complete.spacing_mm[2]))
    affine = complete.affine.copy()
    affine[:3, 3] += low * affine[:3, 2]
    defective, implant = (Volume(part.mask[:, :, low:], affine) for part in (defective, implant))
    return Perturbed(defective, defective, implant)


def finer(case: Case, rng: np.random.Generator) -> Perturbed:
    """Voxels of FINE_MM."""
    return _scanned(case, np.eye(4), (FINE_MM,) * 3)


def in_slices(case: Case, rng: np.random.Generator) -> Perturbed:
    """Slices of SLICE_MM from below to above."""
    return _scanned(case, np.eye(4), (*to_lps(case.complete).spacing_mm[:2], SLICE_MM))


def speckled(case: Case, rng: np.random.Generator) -> Perturbed:
    """SPECKLED of all voxels are bone where there was none, and none where there was bone. The truth is as it was."""
    wrong = rng.random(case.defective.shape, dtype=np.float32) < SPECKLED
    return Perturbed(case.defective.with_mask(case.defective.mask ^ wrong), case.defective, case.implant)


PERTURBATIONS: dict[str, Callable[[Case, np.random.Generator], Perturbed]] = {
    "as it is": unperturbed,
    f"turned by {TURN_DEG:.0f} degrees": turned,
    "shifted": shifted,
    "cropped at the face": cropped,
    f"voxels of {FINE_MM} mm": finer,
    f"slices of {SLICE_MM} mm": in_slices,
    "speckled": speckled,
}


def _scanned(case: Case, turn: np.ndarray, spacing_mm: tuple[float, float, float]) -> Perturbed:
    """The case moved by `turn` (4, 4) and seen on a grid along L, P, S that holds all of it."""
    affine = turn @ case.complete.affine
    ends = np.array(np.meshgrid(*((-0.5, size - 0.5) for size in case.complete.shape))).reshape(3, -1)
    corners = affine[:3, :3] @ ends + affine[:3, 3:]
    low, high = corners.min(axis=1), corners.max(axis=1)
    onto = np.diag([*spacing_mm, 1.0])
    onto[:3, 3] = low + 0.5 * np.asarray(spacing_mm)
    shape = tuple(int(np.ceil((b - a) / step)) for a, b, step in zip(low, high, spacing_mm, strict=True))
    complete, implant = (sample(part.mask, affine, shape, onto) for part in (case.complete, case.implant))
    bone, cut = complete >= 0.5, implant >= 0.5 * complete
    defective = Volume(bone & ~cut, onto)
    return Perturbed(defective, defective, Volume(bone & cut, onto))
