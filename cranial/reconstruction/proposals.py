"""How sure is the answer? Several reconstructions of one case, what most of them have, and where they differ.

The first is the plain one. Each other sees the head in a cube turned, shifted and scaled a little, half of them in a
mirror. How the cube lies means nothing, so what the answer owes to it is doubt. It is not all the doubt there is: what
the network never learnt, all proposals lack alike. Measured with the shipped model on twenty defects of all styles, cut
into a head that no training saw (arothron_human, five proposals each): agreement goes with DSC (correlation 0.95);
the vote is hardly better than the first proposal (mean DSC 0.891 both), for 31 % of what is wrong with a vote lies
where proposals differ, and the rest where they do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from ..metrics import dice
from ..resampling import bounding_box
from ..rng import generator
from ..volume import Volume
from .cases import Strength, rotation
from .familiar import unfamiliar
from .grid import HeadGrid, lay_grid
from .model import Model, load_model
from .predict import SMALLEST_MM3, brought_back, infer, look, postprocess, suggest

MOST = 255  # proposals: votes are counted in bytes
LOW_AGREEMENT = 0.93  # of those twenty, the four below had a DSC of 0.82 or less, the sixteen above of 0.88 or more
_PART = 0.5  # of what the network saw heads moved by when it was trained
STREAM = 1_000_010  # ends the key of a proposal's numbers


@dataclass(frozen=True)
class Proposals:
    """Several reconstructions of one case, all on its grid.

    defects: one each; votes: how many of them have a voxel, uint8 (I, J, K); vote: what more than half of them have;
    agreement: mean Dice between two of them, 1 where all are equal; warnings: reasons to look twice.
    """

    defects: tuple[Volume, ...]
    votes: np.ndarray
    vote: Volume
    agreement: float
    warnings: tuple[str, ...]

    @property
    def disagreement(self) -> np.ndarray:
        """4 p (1 - p), p the share of the proposals that have a voxel: 0 where all agree, 1 where they are even.

        float32 (I, J, K)."""
        share = self.votes / np.float32(len(self.defects))
        return 4 * share * (1 - share)


def propose(
    case: Volume,
    *,
    count: int,
    seed: int,
    model: Model | Path | str | None = None,
    device: str = "auto",
    smallest_mm3: float = SMALLEST_MM3,
    progress: bool = True,
) -> Proposals:
    """Reconstruct a defective skull `count` times; proposal k depends on (seed, k) alone, proposal 0 is `reconstruct`.

    model, device, smallest_mm3: as of `reconstruct`. Raises ValueError for a count that is not 1 to 255, and as
    `reconstruct` does.
    """
    from tqdm.auto import tqdm

    if not 1 <= count <= MOST:
        raise ValueError(f"count is {count}; give 1 to {MOST} proposals")
    found = model if isinstance(model, Model) else load_model(model)
    laid = lay_grid(case, found.side)
    strength = Strength(**found.metadata.get("recipe", {}).get("strength", {}))
    defects, warnings, suggestions = [], (), suggest(found, case)
    for item in tqdm(range(count), desc="proposals", disable=not progress):
        grid = moved(laid, generator(seed, item, STREAM), strength) if item else laid
        seen = look(found, case, grid, suggestions)
        if not item:
            warnings = unfamiliar(seen[0], grid)
        probability = infer(found, seen, both_sides=not item, device=device)
        mask = brought_back(
            found, case, probability, seen, grid, suggestions, device=device, smallest_mm3=smallest_mm3
        )
        defects.append(case.with_mask(postprocess(mask, case, smallest_mm3=smallest_mm3)))
    return gather(case, defects, warnings=warnings, smallest_mm3=smallest_mm3)


def gather(
    case: Volume, defects: Sequence[Volume], *, warnings: Sequence[str] = (), smallest_mm3: float = SMALLEST_MM3
) -> Proposals:
    """Count the votes of reconstructions, wherever they come from; `warnings` come before those of the votes.

    Raises ValueError for none, for more than 255, and for one that is not of the case's shape.
    """
    if not 1 <= len(defects) <= MOST:
        raise ValueError(f"there are {len(defects)} proposals; give 1 to {MOST}")
    votes = np.zeros(case.shape, np.uint8)
    for number, defect in enumerate(defects):
        if defect.shape != case.shape:
            raise ValueError(
                f"proposal {number} has shape {defect.shape}, the case {case.shape}; "
                "bring it onto the case's grid with volume.resample(proposal, like=case)"
            )
        votes += defect.mask
    vote = case.with_mask(postprocess(votes > len(defects) // 2, case, smallest_mm3=smallest_mm3))
    agreement = _agreement(defects, votes)
    return Proposals(tuple(defects), votes, vote, agreement, (*warnings, *_doubts(agreement, defects)))


def moved(grid: HeadGrid, rng: np.random.Generator, strength: Strength) -> HeadGrid:
    """The cube laid a little differently about its middle, in half of the draws as its mirror image."""
    pitch, yaw, roll = np.deg2rad(_PART * np.array([strength.pitch_deg, strength.tilt_deg, strength.tilt_deg])
                                  * rng.normal(size=3))
    linear = rotation(0, pitch) @ rotation(1, roll) @ rotation(2, yaw) * np.exp(_PART * strength.scale * rng.normal())
    if rng.random() < 0.5:
        linear = linear @ np.diag([-1.0, 1.0, 1.0])
    middle = np.full(3, 0.5 * (grid.side - 1))
    shift = _PART * strength.shift * grid.side * np.array([0.3, 1, 1]) * rng.normal(size=3)
    onto = np.eye(4)
    onto[:3, :3], onto[:3, 3] = linear, middle + shift - linear @ middle
    return HeadGrid(grid.side, grid.affine @ onto)


def _agreement(defects: Sequence[Volume], votes: np.ndarray) -> float:
    box = bounding_box(votes)
    if len(defects) == 1 or box is None:
        return 1.0
    masks = [defect.mask[box] for defect in defects]
    return float(np.mean([dice(one, other) for one, other in combinations(masks, 2)]))


def _doubts(agreement: float, defects: Sequence[Volume]) -> list[str]:
    found = []
    if agreement < LOW_AGREEMENT:
        found.append(
            f"the proposals agree by {agreement:.2f} only (mean Dice between two; below {LOW_AGREEMENT:.2f} they "
            "tend to be wrong): look where they disagree, and at the other methods, before you use one"
        )
    empty = sum(not defect.mask.any() for defect in defects)
    if empty:
        found.append(f"{empty} of {len(defects)} proposals find nothing missing; is there a hole in this skull?")
    return found
