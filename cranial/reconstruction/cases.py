"""Training cases drawn on the fly: a skull from the pool, warped, cut and spoiled, all from (seed, step, index).

The pool holds complete skulls as occupancy in their HeadGrid. A draw warps one (affine and elastic in one resample),
thickens or thins its bone, cuts a defect in millimetres, and spoils the input alone: scan cut, speckle. Input and
target are occupancies; together they are the complete skull, exactly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from ..rng import generator
from ..skulls.defects import STYLES, draw_defect, find_vault
from ..volume import Volume
from .grid import lay_grid

EDGE_MM = 215.0  # a typical cube; defects scale with the vault they are cut from


@dataclass(frozen=True)
class Strength:
    """How heavily skulls are augmented (standard deviations unless named otherwise)."""

    pitch_deg: float = 12.0
    tilt_deg: float = 3.0  # yaw and roll: what is left after the mid-plane was found
    shift: float = 0.025  # of the cube's edge
    scale: float = 0.07
    stretch: float = 0.05  # per axis
    elastic: float = 0.03  # coarse displacement, of the cube's edge
    elastic_fine: float = 0.008
    even: float = 0.0  # coarse displacement of both sides alike: another head, as symmetric as before
    even_fine: float = 0.0
    uneven_chance: float = 0.0  # cases whose two sides differ more than others'
    uneven: float = 5.0  # times as far: elastic and elastic_fine of these
    thickness: float = 0.25  # occupancy added to or taken from every half-filled voxel
    slope: float = 1.0  # times as steep a surface, where skulls are blurred in their pool: as a segmentation makes it
    speckle: float = 0.02  # largest share of input voxels that are flipped
    cut_chance: float = 0.4
    none_chance: float = 0.04  # cases without any defect
    second_chance: float = 0.12  # cases with a second defect of another style


class SkullPool:
    """Complete skulls, uint8 occupancy 0-255 (N, side, side, side).

    heads: the real head that each was made from, by name; "" for a phantom, and for all where nothing is said.
    """

    def __init__(self, occupancy: np.ndarray, heads: Sequence[str] = ()) -> None:
        if occupancy.ndim != 4 or occupancy.dtype != np.uint8 or not len(occupancy):
            raise ValueError(f"pool is {occupancy.dtype} of shape {occupancy.shape}; give uint8 (N, n, n, n), N >= 1")
        self.occupancy = occupancy
        self.heads = tuple(heads) or ("",) * len(occupancy)
        if len(self.heads) != len(occupancy):
            raise ValueError(
                f"heads names {len(self.heads)}, and there are {len(occupancy)} skulls; name each, or none"
            )

    def __len__(self) -> int:
        return len(self.occupancy)

    @classmethod
    def of(cls, skulls: Sequence[Volume], side: int = 128, *, heads: Sequence[str] = ()) -> "SkullPool":
        """Lay each skull into its own cube."""
        return cls(np.stack([_pooled(skull, side) for skull in skulls]), heads)

    @classmethod
    def of_phantoms(
        cls,
        count: int,
        *,
        seed: int,
        side: int = 128,
        spacing_mm: float = 1.2,
        cache: Path | None = None,
        progress: bool = True,
    ) -> "SkullPool":
        """Phantoms 0 ... count-1; those already in the folder `cache` are read instead of made.

        A cache is of one version of the package: empty it after an update.
        """
        from tqdm.auto import tqdm

        from ..skulls.phantom import phantom
        from ..symmetry import Midplane

        plane = Midplane(np.zeros(3), np.array([1.0, 0.0, 0.0]), 1.0)
        pool = np.empty((count, side, side, side), np.uint8)
        for item in tqdm(range(count), desc="phantoms", disable=not progress):
            path = None if cache is None else Path(cache) / f"phantom-{seed}-{item:05d}-{side}-{spacing_mm:g}mm.npz"
            pool[item] = kept(
                path, lambda item=item: _pooled(phantom(item, seed=seed, spacing_mm=spacing_mm), side, plane)
            )
        return cls(pool)


def kept(path: Path | None, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The occupancy in a file, or what `make` returns, left there for the next time; None: made, and not kept."""
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as stored:
            return stored["occupancy"]
    occupancy = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{np.random.SeedSequence().entropy}.tmp.npz")
        np.savez_compressed(part, occupancy=occupancy)
        part.replace(path)
    return occupancy


def _pooled(skull: Volume, side: int, midplane=None) -> np.ndarray:
    return np.rint(255 * lay_grid(skull, side, midplane=midplane).occupancy(skull)).astype(np.uint8)


def draw_case(
    occupancy: np.ndarray,
    rng: np.random.Generator,
    *,
    side: int,
    strength: Strength = Strength(),
    styles: Sequence[str] = STYLES,
) -> tuple[np.ndarray, np.ndarray]:
    """One (input, target) pair: occupancies of defective skull and implant, float32 (side, side, side) in [0, 1].

    occupancy: one skull of the pool, uint8 (n, n, n).
    """
    complete = warp(occupancy, rng, side=side, strength=strength)
    spacing = EDGE_MM / side
    affine = np.diag([spacing, spacing, spacing, 1.0])
    bone = Volume(complete > 0.5, affine)
    cut = np.zeros_like(complete)
    if rng.random() >= strength.none_chance and bone.mask.any():
        vault = find_vault(bone)
        for _ in range(1 + (rng.random() < strength.second_chance)):
            defect = draw_defect(styles[rng.integers(len(styles))], vault, rng, probe=bone)
            depth = defect.depth_mm(complete.shape, affine)
            cut = np.maximum(cut, np.clip(depth / spacing + 0.5, 0, 1))
    implant = complete * cut
    defective = complete - implant
    return spoil(defective, rng, strength), implant


def warp(occupancy: np.ndarray, rng: np.random.Generator, *, side: int, strength: Strength) -> np.ndarray:
    """Affine and elastic deformation in one trilinear resample, then thinner or thicker bone; float32 in [0, 1]."""
    warped = resampled(occupancy[None], rng, side=side, strength=strength)[0]
    thicker = rng.normal(0, strength.thickness)
    if abs(thicker) > 0.02:  # occupancy shifted where it is partial: the surface moves, empty and full stay
        warped = np.clip(warped + 4 * thicker * warped * (1 - warped), 0, 1)
    if strength.slope != 1:
        warped = np.clip(0.5 + strength.slope * (warped - 0.5), 0, 1)
    return warped.astype(np.float32)


def resampled(channels: np.ndarray, rng: np.random.Generator, *, side: int, strength: Strength) -> np.ndarray:
    """Occupancies (C, n, n, n) of one cube, uint8, all moved by one drawn map; float32 (C, side, side, side)."""
    n = rng.normal
    heavy = 2.0 if rng.random() < 0.2 else 1.0
    pitch, yaw, roll = np.deg2rad(
        [heavy * n(0, strength.pitch_deg), heavy * n(0, strength.tilt_deg), heavy * n(0, strength.tilt_deg)]
    )
    linear = rotation(0, pitch) @ rotation(1, roll) @ rotation(2, yaw)
    size = np.exp(n(0, strength.scale)) * np.exp(n(0, strength.stretch, 3))
    linear = linear @ np.diag(1 / size)
    if rng.random() < 0.5:
        linear = linear @ np.diag([-1.0, 1.0, 1.0])
    source = channels.shape[-1]
    shift = n(0, strength.shift, 3) * np.array([0.3, 1, 1]) * source
    scale = source / side
    offset = 0.5 * (source - 1) + shift - linear @ np.full(3, 0.5 * (side - 1) * scale)
    more = strength.uneven if strength.uneven_chance and rng.random() < strength.uneven_chance else 1.0
    field = _smooth_noise(rng, 4, more * strength.elastic * source)
    field += _smooth_noise(rng, 8, more * strength.elastic_fine * source)
    if strength.even or strength.even_fine:
        field += _of_both_sides(
            _smooth_noise(rng, 4, strength.even * source) + _smooth_noise(rng, 8, strength.even_fine * source)
        )
    linear, field = np.ascontiguousarray(linear * scale), field.astype(np.float32)
    return _resample(np.ascontiguousarray(channels), linear, offset, field, side)


def spoil(defective: np.ndarray, rng: np.random.Generator, strength: Strength) -> np.ndarray:
    """What a scan does to its input: ends above the jaw (tilted), is speckled."""
    side = defective.shape[0]
    spoiled = defective.copy()
    if rng.random() < strength.cut_chance:
        x, y, z = np.ogrid[:side, :side, :side]
        level = side * rng.uniform(0.1, 0.5)
        spoiled[z < level + rng.normal(0, 0.1) * (y - side / 2) + rng.normal(0, 0.03) * (x - side / 2)] = 0
    if strength.speckle > 0 and rng.random() < 0.3:
        flipped = rng.random(spoiled.shape, dtype=np.float32) < rng.uniform(0, strength.speckle)
        spoiled[flipped] = 1 - spoiled[flipped]
    return spoiled


def draw_batch(
    pools: Sequence[SkullPool],
    shares: Sequence[float],
    *,
    seed: int,
    step: int,
    batch: int,
    side: int,
    strength: Strength,
    styles: Sequence[str] = STYLES,
) -> tuple[np.ndarray, np.ndarray]:
    """`batch` cases of one step: inputs and targets, float32 (batch, 1, side, side, side).

    shares: how often each pool is drawn from.
    """
    inputs, targets = [], []
    for index in range(batch):
        rng = generator(seed, step, index)
        pool = pools[rng.choice(len(pools), p=np.asarray(shares) / np.sum(shares))]
        skull = pool.occupancy[rng.integers(len(pool))]
        x, y = draw_case(skull, rng, side=side, strength=strength, styles=styles)
        inputs.append(x)
        targets.append(y)
    return np.stack(inputs)[:, None], np.stack(targets)[:, None]


def rotation(axis: int, angle: float) -> np.ndarray:
    """(3, 3); angle: radians, positive from the next axis towards the one after it."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    m = np.eye(3)
    m[a, a] = m[b, b] = np.cos(angle)
    m[a, b], m[b, a] = -np.sin(angle), np.sin(angle)
    return m


def _smooth_noise(rng: np.random.Generator, nodes: int, amplitude: float) -> np.ndarray:
    """Random displacement (3, 17, 17, 17): normal at nodes^3 places, cubic between them."""
    from scipy.ndimage import zoom

    coarse = rng.normal(0, amplitude * rng.uniform(0.3, 1.0), (3, nodes, nodes, nodes))
    return np.stack([zoom(c, 17 / nodes, order=3, mode="nearest", grid_mode=False) for c in coarse])


def _of_both_sides(field: np.ndarray) -> np.ndarray:
    """A displacement (3, n, n, n) made its own mirror image about the middle of the first axis, as strong as before."""
    return (field + np.array([-1.0, 1.0, 1.0])[:, None, None, None] * field[:, ::-1]) / np.sqrt(2)


@njit(nogil=True, cache=True)
def _resample(channels, linear, offset, field, side):
    """out[c, i] = channels[c, linear i + offset + field(i)] / 255, trilinear, 0 outside."""
    count, n = channels.shape[0], channels.shape[1]
    out = np.zeros((count, side, side, side), np.float32)
    step = np.float32((field.shape[1] - 1) / (side - 1))
    for i in range(side):
        fi = i * step
        i0 = min(int(fi), field.shape[1] - 2)
        u = fi - i0
        for j in range(side):
            fj = j * step
            j0 = min(int(fj), field.shape[1] - 2)
            v = fj - j0
            for k in range(side):
                fk = k * step
                k0 = min(int(fk), field.shape[1] - 2)
                w = fk - k0
                x = linear[0, 0] * i + linear[0, 1] * j + linear[0, 2] * k + offset[0]
                y = linear[1, 0] * i + linear[1, 1] * j + linear[1, 2] * k + offset[1]
                z = linear[2, 0] * i + linear[2, 1] * j + linear[2, 2] * k + offset[2]
                for a in range(2):
                    wa = u if a else 1 - u
                    for b in range(2):
                        wab = wa * (v if b else 1 - v)
                        for c in range(2):
                            weight = wab * (w if c else 1 - w)
                            x += weight * field[0, i0 + a, j0 + b, k0 + c]
                            y += weight * field[1, i0 + a, j0 + b, k0 + c]
                            z += weight * field[2, i0 + a, j0 + b, k0 + c]
                if x <= 0 or y <= 0 or z <= 0 or x >= n - 1 or y >= n - 1 or z >= n - 1:
                    continue
                xi, yi, zi = int(x), int(y), int(z)
                tx, ty, tz = x - xi, y - yi, z - zi
                for channel in range(count):
                    value = 0.0
                    for a in range(2):
                        wa = tx if a else 1 - tx
                        for b in range(2):
                            wab = wa * (ty if b else 1 - ty)
                            for c in range(2):
                                value += wab * (tz if c else 1 - tz) * channels[channel, xi + a, yi + b, zi + c]
                    out[channel, i, j, k] = value / 255
    return out
