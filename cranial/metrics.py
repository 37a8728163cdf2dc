"""How near a reconstruction comes to the truth: DSC, bDSC, HD95, surface Dice, mean surface distance.

Every case counts. A prediction that found nothing scores 0 and is a volume diagonal away: dropping such cases
as NaN would reward a model for finding nothing. Two empty masks agree: scores 1, distances 0. `Scores.empty`
says when either happened. cranial/surface.py says how the distances compare with those of other software.
"""

from dataclasses import asdict, dataclass

import numpy as np

from cranial.statistics import Significance, wilcoxon
from cranial.surface import Spacing, check_masks, count_within, diagonal, grow, surface_distances, union_box
from cranial.volume import Volume, same_grid

__all__ = ["Scores", "Significance", "border_dice", "dice", "evaluate", "surface_distances", "wilcoxon"]

BORDER_MM = 10.0  # of bDSC in the AutoImplant challenge
MAX_SHEAR = 1e-3  # cosine between two axes; up to it, distances by voxel side are right within 0.1 %


@dataclass(frozen=True)
class Scores:
    """One case. Scores from 0 to 1, best 1; distances in mm, best 0; never NaN."""

    dsc: float  # Dice of the voxels
    bdsc: float  # the same over voxels at most border_mm from the defective skull
    hd95_mm: float  # 95th percentile of both directed sets pooled (AutoImplant, MedPy)
    hd95_monai_mm: float  # the larger of the two directed 95th percentiles (MONAI)
    surface_dice: float  # share of both surfaces that is at most tolerance_mm from the other
    msd_mm: float  # mean of both directed sets pooled (MONAI's symmetric average)
    msd_of_means_mm: float  # mean of the two directed means (MedPy's assd)
    tolerance_mm: float
    border_mm: float
    diagonal_mm: float  # of the volume: how far away an empty mask is taken to be
    empty: str  # which masks are: "none", "predicted", "reference" or "both"
    border_empty: bool  # neither has a voxel that near the skull: bdsc is 0, or 1 where empty is "both"

    def as_dict(self) -> dict[str, float | str | bool]:
        """The fields by name, for JSON and tables."""
        return asdict(self)


def evaluate(
    predicted: Volume,
    reference: Volume,
    *,
    defective: Volume,
    tolerance_mm: float = 1.0,
    border_mm: float = BORDER_MM,
) -> Scores:
    """All scores of one case; the three volumes on one grid, oblique or not.

    Raises ValueError if the grids differ, if their axes are not perpendicular, if `defective` is empty, and
    for a tolerance or border that is not 0 mm or more.
    """
    for name, length_mm in (("tolerance_mm", tolerance_mm), ("border_mm", border_mm)):
        if not (np.isfinite(length_mm) and length_mm >= 0):
            raise ValueError(f"{name} is {length_mm}; give a length of 0 mm or more")
    _check_grids(predicted, reference, defective)
    spacing_mm = reference.spacing_mm
    margin_vox = [int(border_mm / side) + 1 for side in spacing_mm]
    box = grow(union_box(predicted.mask, reference.mask), margin_vox, reference.shape)
    found, truth, skull = (each.mask[box].copy(order="K") for each in (predicted, reference, defective))
    if not skull.any() and not defective.mask.any():
        raise ValueError(f"defective{_file(defective)} is empty; bDSC needs the skull with the hole")
    distances = surface_distances(found, truth, spacing_mm, diagonal_mm=diagonal(reference.shape, spacing_mm))
    border_vox = count_within(found, truth, skull, spacing_mm, within_mm=border_mm)
    empty = [name for name, mask in (("predicted", found), ("reference", truth)) if not mask.any()]
    return Scores(
        dsc=dice(found, truth),
        bdsc=_dice_of(*border_vox, both_empty=len(empty) == 2),
        hd95_mm=distances.hausdorff_mm(95),
        hd95_monai_mm=distances.hausdorff_monai_mm(95),
        surface_dice=distances.surface_dice(tolerance_mm),
        msd_mm=distances.mean_mm(),
        msd_of_means_mm=distances.mean_of_means_mm(),
        tolerance_mm=float(tolerance_mm),
        border_mm=float(border_mm),
        diagonal_mm=distances.diagonal_mm,
        empty={0: "none", 1: "".join(empty), 2: "both"}[len(empty)],
        border_empty=border_vox[0] + border_vox[1] == 0,
    )


def dice(predicted: np.ndarray, reference: np.ndarray) -> float:
    """DSC = 2 |P and R| / (|P| + |R|) of bool (I, J, K); 1 if both are empty (the challenge's code: 0)."""
    check_masks((1, 1, 1), predicted=predicted, reference=reference)
    sizes = [int(np.count_nonzero(mask)) for mask in (predicted, reference)]
    return _dice_of(*sizes, int(np.count_nonzero(predicted & reference)), both_empty=not any(sizes))


def border_dice(
    predicted: np.ndarray,
    reference: np.ndarray,
    defective: np.ndarray,
    spacing_mm: Spacing,
    *,
    border_mm: float = BORDER_MM,
) -> float:
    """bDSC: DSC over the voxels at most `border_mm` from the defective skull; masks bool (I, J, K).

    As in the AutoImplant challenge, voxels inside the skull count, and masks that never come so near score 0.
    """
    check_masks(spacing_mm, predicted=predicted, reference=reference, defective=defective)
    counts_vox = count_within(predicted, reference, defective, spacing_mm, within_mm=border_mm)
    return _dice_of(*counts_vox, both_empty=not (predicted.any() or reference.any()))


def _dice_of(predicted_vox: int, reference_vox: int, common_vox: int, *, both_empty: bool) -> float:
    if predicted_vox + reference_vox == 0:
        return float(both_empty)
    return 2 * common_vox / (predicted_vox + reference_vox)


def _check_grids(predicted: Volume, reference: Volume, defective: Volume) -> None:
    for name, volume in (("predicted", predicted), ("defective", defective)):
        if not same_grid(volume, reference):
            raise ValueError(
                f"{name}{_file(volume)} is on a grid of {_grid(volume)}; reference{_file(reference)} is on "
                f"one of {_grid(reference)}; bring it there: volume.resample({name}, like=reference)"
            )
    directions = reference.affine[:3, :3] / reference.spacing_mm
    shear = float(np.abs(directions.T @ directions - np.eye(3)).max())
    if shear > MAX_SHEAR:
        raise ValueError(
            f"the axes of reference{_file(reference)} are not perpendicular (cosine {shear:.3g}), so voxel "
            "sides give no distances; bring all three onto a grid that is: volume.resample(each, like=that)"
        )


def _grid(volume: Volume) -> str:
    size = " x ".join(map(str, volume.shape))
    sides = " x ".join(f"{side:g}" for side in volume.spacing_mm)
    origin = ", ".join(f"{place:g}" for place in volume.affine[:3, 3])
    return f"{size} voxels of {sides} mm, axes {volume.orientation}, first voxel at ({origin}) mm"


def _file(volume: Volume) -> str:
    return f" ({volume.source})" if volume.source else ""
