"""Is this head like those the network learnt from? A few facts of what it is shown, held against their ranges there.

The facts are of the cube, not of the patient: a head of any size fills it, so size is a fact of its own. They catch
what is no skull, half a skull or another kind of mask; a skull upside down passes, its base is as closed as a vault.
"""

from dataclasses import dataclass

import numpy as np

from .grid import HeadGrid


@dataclass(frozen=True)
class Range:
    """Between what a fact lay in the training set, in words what it is, and what to do about a head outside."""

    low: float
    high: float
    words: str
    advice: str


# Least and greatest of 240 cases of the shipped model's training mix (half phantoms, half its three heads, side 96) as
# they are laid; for bone, thickness and lower_half also of 160 augmented ones, as augmentation is there to vary them.
# size_mm: of 60 of the phantoms and the three heads, and a tenth more either way.
RANGES = {
    "size_mm": Range(172, 267, "the edge of the cube around the head in mm",
                     "check the spacing in the file; no child was among them"),
    "bone": Range(0.0173, 0.113, "the share of the cube that is bone",
                  "is the mask all of the skull, and nothing but bone?"),
    "thickness": Range(0.0114, 0.0441, "the thickness of the bone as a share of the cube's edge",
                       "is the mask hollow, and segmented at the usual threshold?"),
    "lower_half": Range(0.0, 0.692, "the share of the bone in the lower half of the cube",
                        "is the vault there, whole but for the hole?"),
    "breadth": Range(0.662, 0.924, "breadth over length of the head",
                     "does the mask hold a whole head, not turned to the side?"),
    "symmetry": Range(0.503, 1.0, "the share of the bone that meets its mirror image",
                      "the mid-plane may be wrong: is the head turned or tilted by more than 30 degrees?"),
    "loose": Range(0.0, 0.223, "the share of the bone that is not of its largest part",
                   "remove table, frame and specks"),
    "closed": Range(0.654, 1.0, "the share of upward directions that meet bone",
                    "is the vault there, whole but for the hole?"),
}  # fmt: skip


def facts_of(occupancy: np.ndarray, grid: HeadGrid) -> dict[str, float]:
    """What the ranges are of; occupancy (n, n, n) of a defective skull, not empty, in its cube."""
    from scipy import ndimage

    side, total = grid.side, float(occupancy.sum())
    across, along, up = (occupancy.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    slope = np.sqrt(sum(np.square(step) for step in np.gradient(occupancy)))
    parts, _ = ndimage.label(occupancy > 0.4)
    sizes = np.bincount(parts.ravel())[1:]
    return {
        "size_mm": side * grid.spacing_mm,
        "bone": total / side**3,
        "thickness": 2 * total / max(float(slope.sum()), 1e-6) / side,
        "lower_half": float(up[: side // 2].sum()) / total,
        "breadth": _extent(across) / max(_extent(along), 1),
        "symmetry": float(np.minimum(occupancy, occupancy[::-1]).sum()) / total,
        "loose": 1 - float(sizes.max()) / float(sizes.sum()) if len(sizes) else 1.0,
        "closed": _closed(occupancy),
    }


def _extent(profile: np.ndarray) -> int:
    """Voxels between the outermost half per cent at either end."""
    reached = np.cumsum(profile) / profile.sum()
    return int(np.searchsorted(reached, 0.995) - np.searchsorted(reached, 0.005))


def _closed(occupancy: np.ndarray) -> float:
    """Share of the directions upward from the middle of the cube that meet bone."""
    side = len(occupancy)
    height = (np.arange(500) + 0.5) / 500  # evenly over the upper half of a sphere (Fibonacci)
    turn, ring = np.pi * (1 + 5**0.5) * np.arange(500), np.sqrt(1 - height**2)
    rays = np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=1)
    steps = np.arange(2, side // 2)
    places = np.rint(0.5 * (side - 1) + rays[:, None] * steps[:, None]).astype(int)
    return float((occupancy[tuple(np.moveaxis(places, 2, 0))] > 0.3).any(axis=1).mean())


def unfamiliar(occupancy: np.ndarray, grid: HeadGrid) -> tuple[str, ...]:
    """A sentence for each fact outside its range, which says what to look at; empty for a head like the others."""
    return tuple(
        f"unlike the training set: {RANGES[name].words} is {value:.3g}, there {RANGES[name].low:.3g} to "
        f"{RANGES[name].high:.3g}; {RANGES[name].advice}"
        for name, value in facts_of(occupancy, grid).items()
        if not RANGES[name].low <= value <= RANGES[name].high
    )
