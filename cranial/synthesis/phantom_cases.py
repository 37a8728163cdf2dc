"""Phantom cases for generators to learn from: skulls warped a little, each with a hole; drawn once, kept in a folder.

Occupancies, not masks: at 64^3 a vault is two voxels thick, and where its surface lies within a voxel is what a decoder
can learn from and a mask has forgotten. In coarser cubes bone is swollen by as much as they are coarser, or the vault,
thinner than half a voxel, would be gone. The face may be left out: it is the least real part of a phantom, hardly a
defect lies in it, and its thin bones are half of what an embedding has to hold. Case i is drawn from (seed, i) alone,
from phantom i % phantoms.
"""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..reconstruction.cases import SkullPool, Strength, draw_case
from ..rng import generator

EDGE_MM = 215.0  # of the cube that a phantom's head is laid in
GENTLE = Strength(  # poses and proportions; no elastic field: a few hundred more numbers that an embedding has to hold
    pitch_deg=4.0, tilt_deg=1.5, shift=0.01, scale=0.04, stretch=0.03, elastic=0.0, elastic_fine=0.0,
    thickness=0.1, speckle=0.0, cut_chance=0.0, none_chance=0.0, second_chance=0.0,
)  # fmt: skip
_SWELL_BELOW = 64  # voxels along an edge: with fewer, a vault is thinner than a voxel, and half filling none it is lost
_STREAM = 1_000_006  # ends the key of a case's numbers


def phantom_cases(
    count: int,
    *,
    side: int,
    phantoms: int,
    seed: int,
    styles: Sequence[str],
    spacing_mm: float,
    floor: float = 0.0,
    strength: Strength = GENTLE,
    cache: Path,
    progress: bool = True,
) -> np.ndarray:
    """Cases 0 ... count - 1, uint8 occupancy 0-255 (count, 2, side, side, side), left on the disk.

    floor: share of the cube's height below which there is no bone. cache: folder that keeps cases and phantoms;
    of one version of the package: empty it after an update.
    """
    drawing = f"{zlib.crc32(repr((strength, _SWELL_BELOW)).encode()):08x}"
    name = f"cases-{drawing}-{seed}-{count}-of-{phantoms}-{side}-{spacing_mm:g}mm-above-{floor:g}"
    path = Path(cache) / f"{name}-{'+'.join(styles)}.npy"
    if not path.exists():
        pool = SkullPool.of_phantoms(
            min(phantoms, count), seed=seed, side=2 * side, spacing_mm=spacing_mm, cache=cache, progress=progress
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.stem}.{os.getpid()}.tmp.npy")
        drawn = np.lib.format.open_memmap(part, "w+", np.uint8, (count, 2, side, side, side))
        for item in tqdm(range(count), desc="phantom cases", unit="case", disable=not progress):
            drawn[item] = pool_case(
                pool, item, side=side, seed=seed, styles=styles, floor=floor, strength=strength
            )
        drawn.flush()
        del drawn
        os.replace(part, path)
    return np.load(path, mmap_mode="r")


def pool_case(
    pool: SkullPool,
    item: int,
    *,
    side: int,
    seed: int,
    styles: Sequence[str],
    floor: float = 0.0,
    strength: Strength = GENTLE,
) -> np.ndarray:
    """Case `item`, of skull item % len(pool), uint8 occupancy 0-255 (2, side, side, side), from (seed, item) alone."""
    skull = pool.occupancy[item % len(pool)]
    rng = generator(seed, item, _STREAM)
    case = np.stack(draw_case(skull, rng, side=side, strength=strength, styles=styles))
    case[..., : round(floor * side)] = 0
    return np.rint(255 * _swollen(case, max(1.0, _SWELL_BELOW / side))).astype(np.uint8)


def _swollen(case: np.ndarray, times: float) -> np.ndarray:
    """Occupancy (2, n, n, n) times as much, at most 1 for the two parts together, which keep their shares."""
    bone = case.sum(0)
    return case * np.divide(np.minimum(times * bone, 1), bone, out=np.ones_like(bone), where=bone > 0)
