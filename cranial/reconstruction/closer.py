"""A closer look at what is missing: the cube's voxels are coarse, so a second network looks around the first's answer.

It sees a box of the same cube at half the voxel size: the skull, the first answer, and what is suggested. How the
piece meets the rim, how thick its bone is and how far the mirrored skull can be trusted is told from near.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..resampling import bounding_box, box_affine, sample
from ..volume import Volume
from .answer import Answer
from .counterpart import counterparts
from .grid import HeadGrid
from .model import Model, torch_device

if TYPE_CHECKING:
    from .suggestions import Suggestions

CHANNELS, MIRRORED = 4, 2  # defective skull, first answer, mirrored skull, atlas; which is the mirrored one
FINER = 2  # times the voxels of the cube along each edge
WORTH = 0.1  # probabilities of the first answer below this are not looked at
AROUND = 8  # fine voxels that are seen around the others, of air or bone


@dataclass(frozen=True)
class CloserLook:
    """seen: float32 (CHANNELS, i, j, k), of a box of the finer cube; affine (4, 4): its voxel index -> patient mm."""

    seen: np.ndarray
    affine: np.ndarray


def look_closer(
    defective: Volume, probability: np.ndarray, grid: HeadGrid, suggestions: "Suggestions", *, multiple: int
) -> CloserLook | None:
    """What the second network is shown of a case; None where the first proposes nothing.

    probability: the first answer, (n, n, n), in the cube `grid`; multiple: what the box's sides must be divisible by.
    """
    found = bounding_box(probability >= WORTH)
    if found is None:
        return None
    fine = grid.at(FINER * grid.side)
    box = tuple(_around(part, fine.side, multiple) for part in found)
    shape, affine = tuple(part.stop - part.start for part in box), box_affine(fine.affine, box)
    answer = sample(probability, grid.affine, shape, affine)
    skull = sample(defective.mask, defective.affine, shape, affine)
    return CloserLook(np.concatenate([[skull, answer], suggestions.within(shape, affine)]), affine)


def closer_answer(
    model: Model,
    defective: Volume,
    first: Answer,
    grid: HeadGrid,
    suggestions: "Suggestions",
    *,
    counterpart: bool = True,
    device: str = "auto",
) -> Answer:
    """What the second network says of a case; first: what the first said, in the cube `grid`.

    counterpart: whether structures of the other side that are missing here, too, belong to it.
    """
    near = look_closer(defective, first.probability, grid, suggestions, multiple=model.closer.shape.stride)
    if near is None:
        return replace(first, probability=np.zeros_like(first.probability))
    answer = Answer(infer_closer(model, near.seen, device=device), near.seen[0], near.affine)
    if not counterpart:
        return answer
    proposed = Answer(first.probability[::-1], first.occupancy[::-1], first.affine)  # on the other side
    other = np.maximum(near.seen[MIRRORED], proposed.share_on(near.seen.shape[1:], near.affine))
    also = counterparts(answer.occupancy, answer.said, answer.probability, other, 0.5 * grid.spacing_mm)
    more = np.maximum(answer.probability, np.minimum(other, 1 - answer.occupancy))
    return replace(answer, probability=np.where(also, more, answer.probability))


def infer_closer(model: Model, seen: np.ndarray, *, device: str = "auto") -> np.ndarray:
    """Probability of implant in each voxel of a box, float32 (i, j, k); seen: of a CloserLook."""
    import torch

    where = torch_device(device)
    network = model.closer.to(where, memory_format=torch.channels_last_3d)
    x = torch.from_numpy(np.ascontiguousarray(seen))[None].to(where, torch.bfloat16)
    with torch.inference_mode():
        probability = torch.sigmoid(network(x).float()) + torch.sigmoid(network(x.flip(2)).float().flip(2))
    return (0.5 * probability)[0, 0].cpu().numpy()


def _around(part: slice, side: int, multiple: int) -> slice:
    """The fine voxels of coarse ones and of what is around them, a multiple of them, in a cube of `side`."""
    low, high = FINER * part.start - AROUND, FINER * part.stop + AROUND
    length = min(side, -(-(high - low) // multiple) * multiple)
    low = min(max(0, low - (length - (high - low)) // 2), side - length)
    return slice(low, low + length)
