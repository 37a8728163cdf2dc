"""What is missing in this skull? Preprocess -> network, mirror or atlas -> postprocess, on the case's own grid."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..resampling import sample
from ..volume import Volume
from .grid import HeadGrid, lay_grid

if TYPE_CHECKING:
    from torch import nn

    from ..symmetry import Midplane
    from .suggestions import Suggestions

METHODS = ("network", "mirror", "atlas")
SHIPPED = Path(__file__).resolve().parent.parent / "weights" / "reconstruction.safetensors"
SMALLEST_MM3 = 300.0  # a proposed piece below this is noise: a trephination of 9 mm is larger
Progress = Callable[[float, str], None]  # the share that is done, and what comes next; what it raises ends the work
_LEVELS = (0.5, 0.45, 0.4)
_WORTH = 0.02  # probabilities below this are not brought back to the case's grid


@dataclass(frozen=True)
class Model:
    """A trained network and how it wants to be asked: side of the cube, what it is shown beside the skull."""

    network: "nn.Module"
    side: int
    symmetry: bool  # the flipped cube, as a second channel
    metadata: dict = field(repr=False)
    suggested: bool = False  # the mirrored skull and the atlas, bent onto the skull: see suggestions
    boxed: bool = False  # of the cube only the box around the bone: see box


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
        proposal = to_case(probability, seen[0], grid, defective)
        if suggestions is not None:
            progress(0.9, "sharpening its surfaces")
            proposal = sharpen(proposal, defective, probability, seen, grid, suggestions, smallest_mm3=smallest_mm3)
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


def load_model(path: Path | str | None = None) -> Model:
    """The network in a weights file, in bfloat16, as it is asked; None: the one shipped with the package.

    Raises CheckpointError when the file is absent, damaged, or not a reconstruction network.
    """
    import torch

    from ..checkpoint import CheckpointError, load_into, load_weights
    from ..nets.residual_unet import ResidualUNet, ResidualUNetShape

    path = SHIPPED if path is None else Path(path)
    weights, metadata = load_weights(path)
    if metadata.get("architecture") != "residual_unet":
        raise CheckpointError(
            f"{path} holds {metadata.get('architecture')!r}, not a reconstruction network; "
            "give a model.safetensors written by train_reconstruction"
        )
    network = ResidualUNet(ResidualUNetShape(**metadata["shape"]))
    load_into(network, weights, name="unet", path=path)
    side, symmetry = int(metadata["side"]), bool(metadata["symmetry"])
    suggested, boxed = bool(metadata.get("suggested")), bool(metadata.get("boxed"))
    return Model(network.eval().to(torch.bfloat16), side, symmetry, metadata, suggested, boxed)


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

    where = _device(device)
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


def to_case(probability: np.ndarray, occupancy: np.ndarray, grid: HeadGrid, defective: Volume) -> np.ndarray:
    """Bring a probability (n, n, n) from the cube to the case's grid, bool (I, J, K).

    A case's voxel outside the skull is implant where p / (1 - s) reaches the `likeliest_level`, near 1/2 where the
    network is sure: of the part of a cube's voxel that is not skull (occupancy s), half is implant (occupancy p).
    Resampling p alone and cutting it would leave a seam along the rim.
    """
    result = np.zeros_like(defective.mask)  # in its memory order: what mixes both orders is slow on large grids
    worth = np.argwhere(probability > _WORTH)
    if not len(worth):
        return result
    corners = np.stack([worth.min(axis=0) - 2, worth.max(axis=0) + 2])
    corners = np.array([[corners[a, 0], corners[b, 1], corners[c, 2]] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    index = defective.mm_to_voxel(corners @ grid.affine[:3, :3].T + grid.affine[:3, 3])
    low = np.clip(np.floor(index.min(axis=0)).astype(int), 0, defective.shape)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, 0, defective.shape)
    if np.any(high <= low):
        return result
    level = likeliest_level(probability, occupancy)
    for first in range(low[0], high[0], 64):  # slabs: the float volumes stay small
        last = min(first + 64, high[0])
        affine = defective.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.array([first, low[1], low[2]], float)
        shape = (int(last - first), int(high[1] - low[1]), int(high[2] - low[2]))
        p, s = (sample(field, grid.affine, shape, affine) for field in (probability, occupancy))
        result[first:last, low[1] : high[1], low[2] : high[2]] = (p > _WORTH) & (p >= level * (1 - np.minimum(s, 0.98)))
    return result


def likeliest_level(probability: np.ndarray, occupancy: np.ndarray) -> float:
    """Where p / (1 - s) is cut, 0.4 to 1/2: at the level for which the network itself expects the highest Dice.

    A network that does not know to a voxel where a thin wall is gives several voxels less than 1/2 each, and at 1/2 the
    wall would be lost. The best level is half the Dice to be had (Lipton et al. 2014, arXiv:1402.1892); not below 0.4,
    for the network expects too much, and sound pieces would come out half as thick again. Shipped model, mean DSC and
    volume over the truth's, at 1/2 and at this level: twenty defects in a head that no training saw 0.872, 0.97 and
    0.874, 0.99; 29 in phantoms that none saw 0.899, 1.01 and 0.901, 1.04. Arguments as of `to_case`.
    """
    worth = probability > _WORTH
    p, share = probability[worth], 1 - np.minimum(occupancy[worth], 0.98)
    ratio, all_of_it = p / share, p.sum()

    def expected(level: float) -> float:
        there = ratio >= level
        return 2 * p[there].sum() / (share[there].sum() + all_of_it) if len(p) else 1.0

    return max(_LEVELS, key=expected)


def sharpen(
    proposal: np.ndarray,
    defective: Volume,
    probability: np.ndarray,
    seen: np.ndarray,
    grid: HeadGrid,
    suggestions: "Suggestions",
    *,
    smallest_mm3: float = SMALLEST_MM3,
) -> np.ndarray:
    """A proposal without its crumbs, its surfaces drawn towards the mirrored skull's where both agree."""
    from .sharpening import sharpened

    pieces = postprocess(proposal, defective, smallest_mm3=smallest_mm3)
    return sharpened(pieces, defective, probability=probability, seen=seen, grid=grid, suggestions=suggestions)


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


def _device(name: str):
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device is {name!r}; choose auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but torch sees no CUDA GPU; choose auto or cpu")
    return device
