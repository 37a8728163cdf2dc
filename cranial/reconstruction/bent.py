"""Real heads bent onto other skulls: real bone in shapes that nobody scanned.

Few real heads may be learnt from, but each can be brought towards the shape of any other skull, part of the way or all
of it. Both lie in the cube of `grid`, upright and of one size, so the displacement field is all there is to find.
"""

import zlib
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..kernels.warp import warp
from ..registration import ALPHA
from ..registration.deformable import deform, finer
from ..rng import generator
from .cases import kept

_STREAM = 1_000_009  # ends the key: the numbers of an item are nobody else's
_SIDE = 64  # of the cube in which fields are sought: shapes are smooth
_PARTS = (0.4, 1.1)  # of the way that a head is bent


def bend(
    heads: np.ndarray,
    onto: np.ndarray,
    count: int,
    *,
    seed: int,
    alpha: float = ALPHA,
    cache: Path | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Bent heads, uint8 (count, n, n, n): item k is head k mod N on a drawn part of its way onto another skull.

    heads: (N, n, n, n), onto: (M, n, n, n), uint8 occupancy 0-255 in the cube of `grid`, n a multiple of 64. Item k
    comes from (seed, k) alone; those in the folder `cache` are read instead of made. alpha: stiffness, as in
    `registration`. Raises ValueError for cubes that do not fit each other.
    """
    from tqdm.auto import tqdm

    side = heads.shape[-1]
    if onto.shape[1:] != heads.shape[1:] or heads.shape[1:] != (side,) * 3 or side % _SIDE:
        raise ValueError(
            f"heads are {heads.shape} and onto is {onto.shape}; give (N, n, n, n) of one n, a multiple of {_SIDE}"
        )
    skulls = zlib.crc32(onto.tobytes(), zlib.crc32(heads.tobytes()))
    bent = np.empty((count, side, side, side), np.uint8)
    for item in tqdm(range(count), desc="bent heads", disable=not progress):
        path = None if cache is None else Path(cache) / f"bent-{skulls:08x}-{seed}-{item:05d}-{alpha:g}.npz"
        bent[item] = kept(path, lambda item=item: _item(heads, onto, item, seed=seed, alpha=alpha))
    return bent


def _item(heads: np.ndarray, onto: np.ndarray, item: int, *, seed: int, alpha: float) -> np.ndarray:
    rng = generator(seed, item, _STREAM)
    return _bend(heads[item % len(heads)], onto[rng.integers(len(onto))], rng.uniform(*_PARTS), alpha)


def _bend(head: np.ndarray, onto: np.ndarray, part: float, alpha: float) -> np.ndarray:
    fine = torch.from_numpy(head.astype(np.float32) / 255)
    coarse, target = (
        F.avg_pool3d(image[None, None], image.shape[0] // _SIDE)[0, 0]
        for image in (fine, torch.from_numpy(onto.astype(np.float32) / 255))
    )
    field, _ = deform(coarse, target, alpha=alpha, iterations=(60, 60, 60), threads=1)
    moved = warp(fine[None], (part * finer(field, fine)).contiguous(), threads=1)[0]
    return np.rint(255 * moved.numpy()).astype(np.uint8)
