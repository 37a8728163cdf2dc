"""How do directions cover a sphere evenly, when each must be known alone? And how evenly does a set of points lie?

cross_polytope   blocks of 2N: the axes of a coordinate system and their opposites, every block turned in its own way
sobol            for many directions in few numbers: a scrambled Sobol sequence, bent onto the sphere

In a block of cross_polytope no two directions are nearer than sqrt(2), which no set of more than N + 1 betters
(Rankin 1955, Proc Glasgow Math Assoc 2:139-144); its mean is 0 and its covariance the same along all axes. Opposites
follow each other: the mean is 0 after any even number, but the first half of a block is along half of the axes. Both
are functions of (N, index, seed), with no state and no order.

spread           measures any set: the nearest two, the mean, the covariance
"""

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
import torch
from scipy.fft import dct
from scipy.special import ndtri
from torch.quasirandom import SobolEngine

from .rng import generator

# A block is turned by random signs, and in few numbers there are few of these: by count 1 way to turn a block at
# N = 2, 2^(2N - 3) from there on. At 16 two of 1000 blocks are the same in one seed of a thousand.
LEAST_TURNED = 16
SOBOL_BITS = 30
TILE_NUMBERS = 2**23  # of latents held in float64 at once, 64 MB
MOST_SOBOL_NUMBERS = 21201  # direction numbers were only ever searched for so many (Joe & Kuo 2008)


def cross_polytope(size: int, index: int, seed: int) -> np.ndarray:
    """Direction `index` of size N >= 1, float64 (N,), in O(N log N).

    Raises ValueError below N = 16 for an index beyond the first block: its blocks would repeat.
    """
    block, place = divmod(index, 2 * size)
    if block and size < LEAST_TURNED:
        raise ValueError(
            f"index {index} is beyond the first {2 * size} directions of {size} numbers, and below {LEAST_TURNED} "
            "numbers the further blocks repeat these; use directions='sobol'"
        )
    # i % 2N is axis k and sign s; z = Q_b (s e_k), Q_b = (DCT D_3) (DCT D_2) (DCT D_1), D_j random signs
    direction = np.zeros(size)
    direction[place // 2] = 1 - 2 * (place % 2)
    for signs in _signs(size, block, seed):
        direction = dct(signs * direction, norm="ortho")
    return direction


@lru_cache(maxsize=8)
def _signs(size: int, block: int, seed: int) -> np.ndarray:
    """The three diagonals of a block, +-1, float64 (3, size)."""
    return np.stack([1.0 - 2.0 * generator(seed, block, j).integers(0, 2, size) for j in (1, 2, 3)])


def sobol(size: int, index: int, seed: int) -> np.ndarray:
    """Direction `index` of size N <= 21201, float64 (N,): point i of a scrambled sequence -> normal -> length 1.

    On the circle, N = 2, a single number is the angle: by way of two, near ones would not stay apart.
    Raises ValueError for more numbers than 21201, and for an index from 2^30 on.
    """
    if size > MOST_SOBOL_NUMBERS:
        raise ValueError(
            f"Sobol sequences have at most {MOST_SOBOL_NUMBERS} numbers, not {size}; use directions='cross_polytope'"
        )
    if index >= 1 << SOBOL_BITS:
        raise ValueError(f"the Sobol sequence has 2^{SOBOL_BITS} points, and index {index} is beyond; use another seed")
    if size == 2:
        # van der Corput: the binary digits of i mirrored at the point, 1/2, 1/4, 3/4, 1/8, ...
        turn = int(f"{index:b}"[::-1], 2) / 2 ** index.bit_length() + generator(seed).random()
        return np.array([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)])
    normal = ndtri(sobol_point(size, index, seed))
    return normal / np.sqrt((normal**2).sum())  # not BLAS, whose sum depends on the number of threads


def sobol_point(size: int, index: int, seed: int) -> np.ndarray:
    """Point `index` of the scrambled sequence, float64 (size,), between 0 and 1 and never either.

    Among the first 2^m points every number falls once into each of 2^m equal intervals.
    """
    numbers, shift = _scrambled(size, seed)
    digits = [digit for digit in range(index.bit_length()) if index >> digit & 1]
    # x_i = shift xor V_j over the digits j of i that are 1; half a step up, so that no number is 0, nor its normal -inf
    point = shift ^ np.bitwise_xor.reduce(numbers[digits], axis=0)
    return (point + 0.5) / (1 << SOBOL_BITS)


@lru_cache(maxsize=8)
def _scrambled(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Direction numbers int64 (30, size) and shift (size,), scrambled: random linear, then digital (Matousek 1998)."""
    rng = generator(seed)
    places = np.arange(SOBOL_BITS)[::-1]  # of a binary digit, the highest first
    digits = SobolEngine(size).sobolstate.numpy()[:, :, None] >> places & 1  # (size, number, digit)
    # V'_j = L V_j modulo 2, L lower triangular with ones on the diagonal: a digit is changed by higher ones only
    lower = np.tril(rng.integers(0, 2, (size, SOBOL_BITS, SOBOL_BITS)), -1) + np.eye(SOBOL_BITS, dtype=np.int64)
    numbers = ((digits @ lower.transpose(0, 2, 1) & 1) << places).sum(axis=2)
    return numbers.T.copy(), rng.integers(0, 1 << SOBOL_BITS, size)


@dataclass(frozen=True)
class Spread:
    """How evenly a set of n latents of N numbers is spread."""

    count: int  # n
    size: int  # N
    radius: float  # root mean square of ||z||
    minimum_distance: float  # between the nearest two
    length_of_mean: float  # ||mean z||, 0 where opposites balance
    covariance_error: float  # ||C - t I|| / ||t I||, Frobenius, t = tr C / N; at least sqrt(N / (n - 1) - 1) for few

    def as_dict(self) -> dict[str, float | int]:
        """The fields by name, for JSON and tables."""
        return asdict(self)


def spread(latents: torch.Tensor | np.ndarray) -> Spread:
    """Measure latents (n, ...), all pairs in float64, tile by tile: some 300 MB beside them, and O(n^2 N) time.

    Raises ValueError for fewer than two latents, for one that is not finite, and where all are one point.
    """
    latents = torch.as_tensor(latents).detach().cpu().flatten(1)
    count, size = latents.shape
    if count < 2:
        raise ValueError(f"spread compares latents, and there is {count}; give two or more")
    bad = torch.nonzero(~torch.isfinite(latents.sum(dim=1, dtype=torch.float64)))
    if len(bad):
        raise ValueError(f"latent {int(bad[0])} is not finite; a strategy never draws such, so look where it came from")
    mean = latents.mean(dim=0, dtype=torch.float64)
    # The Gram matrix of the centred latents, G, has it all: ||z_i - z_j||^2 = G_ii + G_jj - 2 G_ij, tr C = tr G / n,
    # ||C||^2 = ||G||^2 / n^2. It is n x n, and N x N would be 8 GB at N = 32768.
    tiles = latents.split(max(1, min(2048, TILE_NUMBERS // size)))
    squares = [((tile.double() - mean) ** 2).sum(dim=1) for tile in tiles]
    nearest, gram_squares = math.inf, 0.0
    for i, j in combinations_with_replacement(range(len(tiles)), 2):
        gram = (tiles[i].double() - mean) @ (tiles[j].double() - mean).T
        gram_squares += (1 if i == j else 2) * float((gram**2).sum())
        distances = squares[i][:, None] + squares[j] - 2 * gram
        if i == j:
            distances.fill_diagonal_(math.inf)
        nearest = min(nearest, float(distances.min()))
    trace = float(torch.cat(squares).sum()) / count
    if trace <= 1e-20 * float(mean @ mean):
        raise ValueError(f"the {count} latents are all one point; draw them from different indices")
    return Spread(
        count=count,
        size=size,
        radius=math.sqrt(trace + float(mean @ mean)),
        minimum_distance=math.sqrt(max(nearest, 0.0)),
        length_of_mean=float(mean.norm()),
        # ||C - t I||^2 = ||C||^2 - (tr C)^2 / N
        covariance_error=math.sqrt(max(size * gram_squares / (count * trace) ** 2 - 1, 0.0)),
    )


def nearest_distances(latents: torch.Tensor | np.ndarray) -> np.ndarray:
    """How far each of latents (n, ...) is from its nearest other: float64 (n,). ValueError for fewer than two."""
    points = torch.as_tensor(latents).detach().cpu().flatten(1).double()
    if len(points) < 2:
        raise ValueError(f"latents have no neighbours, there is {len(points)}; give two or more")
    found = [torch.cdist(tile, points) for tile in points.split(1024)]
    distances = torch.cat(found).fill_diagonal_(math.inf)
    return distances.amin(1).numpy()
