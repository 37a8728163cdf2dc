"""What is missing in this skull? Preprocess -> network, mirror or atlas -> postprocess, on the case's own grid."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..volume import Volume
from .answer import Answer, to_case
from .grid import HeadGrid, lay_grid
from .model import Model, load_model, torch_device

if TYPE_CHECKING:
    from ..symmetry import Midplane
    from .suggestions import Suggestions

METHODS = ("network", "mirror", "atlas")
SMALLEST_MM3 = 300.0  # a proposed piece below this is noise: a trephination of 9 mm is larger
Progress = Callable[[float, str], None]  # the share that is done, and what comes next; what it raises ends the work


@dataclass(frozen=True)
class Reconstruction:
    """defect: what is missing, on the case's grid, disjoint from the skull; report: how it was found, JSON values."""

    defect: Volume
    report: dict


def reconstruct(
    defective: Volume,
    *,
    method: str = "network",
    model: Model | Path | str | None = None,
    device: str = "auto",
    smallest_mm3: float = SMALLEST_MM3,
    progress: Progress | None = None,
) -> Reconstruction:
    """Propose the missing part of a defective skull, on its own grid.

    method: one of METHODS. model: a Model, a weights file, or None for the shipped one (network only).
    device: auto, cpu, cuda, cuda:1. smallest_mm3: smaller separate pieces are dropped; the largest is not
    preferred to the others, a defect may have two sides. progress: called between the steps, as Progress says.
    Raises ValueError for an unknown method or device, a skull that is empty or too small to find its mid-plane, and
    a model with another method than network; CheckpointError for a weights file that can't be used.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; choose one of {', '.join(METHODS)}")
    if not defective.mask.any():
        raise ValueError("the skull's mask is empty; there is nothing to reconstruct from")
    started = time.perf_counter()
    progress = progress or _unseen
    if method != "network":
        if model is not None:
            raise ValueError(f"method {method} uses no model; leave model out or choose method='network'")
        from ..symmetry import mirror_defect
        from .atlas import atlas_defect

        proposed = mirror_defect if method == "mirror" else atlas_defect
        proposal, facts = proposed(defective, progress=progress).mask, {}
    else:
        progress(0.0, "reading the model")
        found = model if isinstance(model, Model) else load_model(model)
        progress(0.1, "finding the mid-plane")
        from ..symmetry import find_midplane

        midplane = find_midplane(defective)
        grid = lay_grid(defective, found.side, midplane=midplane)
        suggestions = suggest(found, defective, midplane=midplane, progress=progress)
        seen = look(found, defective, grid, suggestions)
        progress(0.6, "asking the network")
        probability = infer(found, seen, device=device)
        progress(0.8, "bringing the answer to the skull's grid")
        proposal = brought_back(
            found, defective, probability, seen, grid, suggestions, device=device, smallest_mm3=smallest_mm3
        )
        facts = {
            "side": grid.side,
            "spacing_mm": grid.spacing_mm,
            "skull_outside": grid.share_outside(defective),
            "trained_on": found.metadata.get("trained_on"),
        }
    progress(0.95, "leaving out crumbs")
    mask = postprocess(proposal, defective, smallest_mm3=smallest_mm3)
    defect = defective.with_mask(mask)
    return Reconstruction(
        defect,
        {"method": method, **facts, "volume_cm3": defect.volume_mm3 / 1000, "seconds": time.perf_counter() - started},
    )


def suggest(
    model: Model, defective: Volume, *, midplane: "Midplane | None" = None, progress: Progress | None = None
) -> "Suggestions | None":
    """What is suggested for a case, if the model wants it. Raises ValueError as find_suggestions does."""
    if not model.suggested:
        return None
    from .suggestions import find_suggestions

    return find_suggestions(defective, midplane=midplane, progress=progress)


def look(model: Model, defective: Volume, grid: HeadGrid, suggestions: "Suggestions | None") -> np.ndarray:
    """What a model is shown of a case in a cube, float32 (C, n, n, n): occupancy, and the suggestions if it wants any.

    suggestions: what `suggest` found for this case, in whatever cube.
    """
    occupancy = grid.occupancy(defective)[None]
    return occupancy if suggestions is None else np.concatenate([occupancy, suggestions.on(grid)])


def infer(model: Model, seen: np.ndarray, *, both_sides: bool = True, device: str = "auto") -> np.ndarray:
    """Probability of implant in each voxel of the cube, float32 (n, n, n): mean over the skull and its mirror image.

    seen: what `look` returns, (C, n, n, n), or the occupancy alone, (n, n, n). both_sides: False for the skull as it
    is alone. Raises ValueError for a device that is not there.
    """
    import torch

    from .box import bone_box
    from .learner import network_input

    where = torch_device(device)
    network = model.network.to(where, memory_format=torch.channels_last_3d)
    seen = np.asarray(seen, np.float32).reshape(-1, *seen.shape[-3:])
    box = bone_box(seen, network.shape.stride, own=seen[:2]) if model.boxed else np.s_[:, :, :]
    x = torch.from_numpy(np.ascontiguousarray(seen[(slice(None), *box)]))[None].to(where, torch.bfloat16)
    half = all(weight.dtype == torch.bfloat16 for weight in network.parameters())  # as load_model leaves it
    with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16, enabled=not half):
        probability = torch.sigmoid(network(network_input(x, symmetry=model.symmetry)).float())
        if both_sides:
            mirrored = network(network_input(x.flip(2), symmetry=model.symmetry)).float().flip(2)
            probability = 0.5 * (probability + torch.sigmoid(mirrored))
    result = np.zeros(seen.shape[1:], np.float32)
    result[box] = probability[0, 0].cpu().numpy()
    return result


def brought_back(
    model: Model,
    defective: Volume,
    probability: np.ndarray,
    seen: np.ndarray,
    grid: HeadGrid,
    suggestions: "Suggestions | None",
    *,
    device: str = "auto",
    smallest_mm3: float = SMALLEST_MM3,
) -> np.ndarray:
    """The answer to a case on its own grid, bool (I, J, K).

    probability: what `infer` returned for `seen` in the cube `grid`. It is looked at closer, if the model has a network
    for that; where there are suggestions, surfaces are drawn towards the mirrored skull's if both agree.
    """
    answer = Answer(probability, seen[0], grid.affine)
    if suggestions is None:
        return to_case(answer, defective)
    from .sharpening import LEAST_FIT, agreement, fit_around, sharpened

    fits = fit_around(answer, seen[1], grid.spacing_mm) >= LEAST_FIT
    alike = agreement(answer, seen[1], grid.spacing_mm)
    if model.closer is not None:
        from .closer import closer_answer

        answer = closer_answer(model, defective, answer, grid, suggestions, counterpart=fits, device=device)
    pieces = postprocess(to_case(answer, defective), defective, smallest_mm3=smallest_mm3)
    if not fits:
        return pieces
    return sharpened(pieces, defective, answer, suggestions, alike=alike, grid=grid)


def postprocess(proposal: np.ndarray, defective: Volume, *, smallest_mm3: float = SMALLEST_MM3) -> np.ndarray:
    """Remove what overlaps the skull, then every piece (6-connected) below smallest_mm3; bool (I, J, K)."""
    from scipy import ndimage

    from ..resampling import bounding_box

    mask = proposal & ~defective.mask
    box = bounding_box(mask)
    if box is None:
        return mask
    labels, _ = ndimage.label(mask[box])
    large = np.bincount(labels.ravel()) * defective.voxel_mm3 >= smallest_mm3
    large[0] = False
    mask[box] = large[labels]
    return mask


def _unseen(share: float, step: str) -> None:
    """The Progress of who does not ask."""
