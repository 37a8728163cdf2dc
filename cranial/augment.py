"""Geometric augmentation: draw flips, crop, affine and speckle, then apply them to all channels in one resample.

    drawn = draw(SETTINGS["extreme"], defective.shape, generator(seed, item))
    defective, defect = apply(drawn, np.stack([defective, defect]))

The grid's axes are L, P, S and its voxels cubes. Drawn and applied apart, so that a case can be looked at, changed by
hand and repeated to the bit, on CPU and GPU alike.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor, from_numpy

from cranial.config import Params
from cranial.kernels.geometry import Geometry, Mode, Speckle, below, resample

TRANSFORMS = ("flip", "crop", "affine")
_SIDE = 256  # voxels; translations are given for a grid of this size
_CROP = 0.15  # ours: the study crops, and does not say how much

Triple = tuple[float, float, float]
Channels = TypeVar("Channels", np.ndarray, Tensor)


class Setting(Params):
    """What may happen to a case: ranges, of which `draw` draws uniformly. A transform acts with `probability`.

    The study leaves three things open; here they have names: `crop` (how much), `isotropic` (whether a scale is
    drawn for each axis), and what a flip is: each axis that may be flipped is, with `probability`, on its own.
    """

    flips: tuple[bool, bool, bool] = (False, False, False)  # sagittal (left-right), frontal, longitudinal (up-down)
    crop: float = Field(default=0.0, ge=0, lt=0.5)  # largest share of a side that is lost from each end
    rotation_deg: float = Field(default=0.0, ge=0, le=180)  # about each axis, to either side
    translation_vox: float = Field(default=0.0, ge=0)  # along each axis, to either side, where the longest has 256
    scale: tuple[float, float] = (1.0, 1.0)
    isotropic: bool = True
    speckle: tuple[float, float] | None = None  # thresholds T
    probability: float = Field(default=0.75, ge=0, le=1)

    @model_validator(mode="after")
    def _ranges(self) -> "Setting":
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale runs from {self.scale[0]:g} to {self.scale[1]:g}; give 0 < smallest <= largest")
        if self.speckle is not None and not 0 <= self.speckle[0] <= self.speckle[1]:
            raise ValueError(f"speckle runs from {self.speckle[0]:g} to {self.speckle[1]:g}; give 0 <= least <= most")
        return self


# Table 1 of the study
SETTINGS = {
    "none": Setting(),
    "basic": Setting(
        flips=(True, False, False),
        rotation_deg=7,
        translation_vox=7,
        scale=(0.7, 1.1),
    ),
    "heavy": Setting(
        flips=(True, False, False),
        crop=_CROP,
        rotation_deg=15,
        translation_vox=10,
        scale=(0.5, 1.2),
        speckle=(2.2, 4.5),
    ),
    "extreme": Setting(
        flips=(True, True, True),
        crop=_CROP,
        rotation_deg=45,
        translation_vox=15,
        scale=(0.4, 1.3),
        speckle=(1.8, 4.5),
    ),
}


@dataclass(frozen=True)
class Draw:
    """What happens to one case; without arguments nothing does.

    order: of the transforms. crop: (start, stop) along each axis, voxels; the rest becomes empty, as if the scan had
    ended there. angles_deg: about axis 0, then 1, then 2, through the middle of the grid, positive from axis 1 towards
    2, 2 towards 0, 0 towards 1. scale: along each axis, before the rotation; translation_vox: after it.
    speckle: threshold T; a voxel of the first channel changes where a normal number exceeds it. seed: of those numbers.
    """

    order: tuple[str, str, str] = TRANSFORMS
    flips: tuple[bool, bool, bool] = (False, False, False)
    crop: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None = None
    angles_deg: Triple = (0.0, 0.0, 0.0)
    translation_vox: Triple = (0.0, 0.0, 0.0)
    scale: Triple = (1.0, 1.0, 1.0)
    speckle: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if sorted(self.order) != sorted(TRANSFORMS):
            raise ValueError(f"order is {self.order}; give {', '.join(TRANSFORMS)} in any order, each once")
        if self.crop is not None and not all(start < stop for start, stop in self.crop):
            raise ValueError(f"crop is {self.crop}; give start < stop for each axis, or None")
        if not all(0 < size < math.inf for size in self.scale):
            raise ValueError(f"scale is {self.scale}; give three numbers above 0, 1 for none")
        if self.speckle is not None and not self.speckle >= 0:
            raise ValueError(f"speckle is {self.speckle}; give a threshold of at least 0, or None")

    @property
    def speckle_share(self) -> float:
        """Share of the first channel's voxels that change: P(n > T) for n ~ N(0, 1), 0.036 at T = 1.8."""
        # 1 - Phi(T) = erfc(T / sqrt(2)) / 2
        return 0.0 if self.speckle is None else math.erfc(self.speckle / math.sqrt(2)) / 2


def draw(setting: Setting, shape: tuple[int, int, int], rng: np.random.Generator) -> Draw:
    """What happens to one case of this shape, for example with rng = generator(seed, item).

    The flips have one place in the order: between two flips an affine would be the same affine with other signs, and
    its ranges have no sign. All numbers are drawn whether used or not: two settings turn a case the same way.
    """
    order = tuple(TRANSFORMS[n] for n in rng.permutation(len(TRANSFORMS)))
    *flips, crops, moves, speckles = rng.random(6) < setting.probability
    ends, turns, shifts, sizes = rng.random((3, 2)), rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 3), rng.random(3)
    threshold, seed = rng.random(), int(rng.integers(1 << 63))
    values = {"order": order, "seed": seed}
    values["flips"] = tuple(bool(may and does) for may, does in zip(setting.flips, flips, strict=True))
    if crops and setting.crop:
        lost = (setting.crop * ends * np.array(shape)[:, None]).astype(int)
        values["crop"] = tuple((int(low), n - int(high)) for (low, high), n in zip(lost, shape, strict=True))
    if moves:
        values["angles_deg"] = _floats(setting.rotation_deg * turns)
        values["translation_vox"] = _floats(setting.translation_vox * max(shape) / _SIDE * shifts)
        low, high = setting.scale
        values["scale"] = _floats(low + (high - low) * (sizes[[0, 0, 0]] if setting.isotropic else sizes))
    if speckles and setting.speckle:
        low, high = setting.speckle
        values["speckle"] = low + (high - low) * threshold
    return Draw(**values)


def _floats(values: np.ndarray) -> Triple:
    return tuple(float(value) for value in values)


def apply(drawn: Draw, channels: Channels, *, mode: Mode = "nearest", threads: int | None = None) -> Channels:
    """The case after its draw: same shape and type, an array for an array, a tensor on its device for a tensor.

    channels: bool or uint8 (C, I, J, K), the network's input first; what was not 0 is bone. One geometry moves them
    all: disjoint channels stay disjoint, and their union is the moved union. mode: "nearest", or "linear", bone where
    the trilinear value of all channels together is at least 1/2. threads: on a CPU, None for as many as torch has.

    Speckle comes last and reaches the first channel alone, whatever is in the others: it is dirt in the scan and not
    bone, so with it the input may overlap the target, and their union is no longer a skull. Where that must not be,
    replace(drawn, speckle=None). Last, because before an affine it would be resampled with the bone, into grains of
    one size for each scale; the share of voxels that change would be the same.

    Raises ValueError for channels of another type or shape, and in linear mode for channels that overlap.
    """
    share = below(drawn.speckle_share)
    geometry = geometry_of(drawn, tuple(channels.shape[1:]))
    tensor = channels
    if isinstance(channels, np.ndarray):
        tensor = from_numpy(np.require(channels, requirements=["C", "W"]))
    speckle = Speckle(drawn.seed, share) if share else None
    moved = resample(tensor, geometry, mode=mode, speckle=speckle, threads=threads)
    return moved.numpy() if isinstance(channels, np.ndarray) else moved


def geometry_of(drawn: Draw, shape: tuple[int, int, int]) -> Geometry:
    """Where each voxel of the result comes from: all transforms but speckle as one."""
    middle = (np.array(shape) - 1) / 2
    back = {
        "flip": _about(middle, np.diag(np.where(drawn.flips, -1.0, 1.0))),
        # x = S^-1 R^T (y - middle - t) + middle
        "affine": _about(
            middle, np.diag(1 / np.array(drawn.scale)) @ rotation(drawn.angles_deg).T, np.array(drawn.translation_vox)
        ),
    }
    source, crop = np.eye(4), None
    for transform in reversed(drawn.order):  # the last one made the result; before it the voxel was there
        if transform == "crop":
            crop = source
        else:
            source = back[transform] @ source
    if drawn.crop is None:
        return Geometry.of(source[:3], shape)
    return Geometry.of(source[:3], shape, crop=crop[:3], box=drawn.crop)


def _about(middle: np.ndarray, linear: np.ndarray, shift: np.ndarray | float = 0.0) -> np.ndarray:
    """(4, 4) of y -> linear (y - middle - shift) + middle."""
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = middle - linear @ (middle + shift)
    return matrix


def rotation(angles_deg: Triple) -> np.ndarray:
    """Rotation matrix (3, 3) about axis 0, then 1, then 2."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles_deg)):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = np.cos(angle)
        turn[one, two], turn[two, one] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix
