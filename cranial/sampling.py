"""How is a latent space sampled? SD, UD and UDS: (shape, indices, seed) -> latents, every index known alone.

    draw = strategy("uds", radius="quantile")
    latents = draw((8, 8, 8, 8), range(100, 116), seed)     # float32 tensor (16, 8, 8, 8, 8)

sd    every number normal: z ~ N(0, I)
ud    every number uniform on an interval
uds   uniform deterministic sampling: evenly spread over a sphere of one radius

N is the number of numbers in a latent. Latent i is made from (shape, i, seed) by itself, so it is the same to the bit
alone or in any batch, in any order and process; a set of any size streams, and shards over nodes by its indices.
Wodzinski et al. 2024 (arXiv:2406.06372) compare the three; the radius of their UDS is here called "literal".

A method declares what its latents are, one of LATENT_KINDS, and check_fit says whether a strategy may draw them.
cranial.sphere has the directions, and spread, which measures a set of latents.
"""

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from scipy.special import gammaincinv

from .rng import generator
from .sphere import cross_polytope, sobol

FEW_NUMBERS = 64  # up to here, beyond one block, Sobol keeps the nearest two further apart than turned blocks do
INTERVALS = {"unit_variance": (-math.sqrt(3), math.sqrt(3)), "three": (-3.0, 3.0)}
Radius = Literal["quantile", "literal", "per_axis", "typical"]
Directions = Literal["auto", "cross_polytope", "sobol"]


class Strategy(ABC):
    """Frozen choices, called as (shape, indices, seed) -> latents."""

    def __call__(self, shape: Sequence[int], indices: Iterable[int], seed: int) -> torch.Tensor:
        """The latents of these indices, in this order: float32 (len(indices), *shape), on the CPU.

        shape: of one latent, channels first; indices >= 0 and seed >= 0 are integers.
        Raises ValueError for a shape without numbers, for a negative index or seed, and for what the strategy refuses.
        """
        shape, indices = tuple(map(operator.index, shape)), [operator.index(index) for index in indices]
        if not shape or min(shape) < 1:
            raise ValueError(f"shape {shape} holds no numbers; give the shape of one latent, such as (8, 4, 4, 4)")
        if min(indices, default=0) < 0:
            raise ValueError(f"index {min(indices)} is negative; number the latents from 0")
        latents = np.empty((len(indices), math.prod(shape)), dtype=np.float32)
        for latent, index in zip(latents, indices, strict=True):
            latent[:] = self.item(latent.size, index, seed)
        return torch.from_numpy(latents).view(-1, *shape)

    @abstractmethod
    def item(self, size: int, index: int, seed: int) -> np.ndarray:
        """Latent `index`, float64 (size,), from nothing but the arguments."""


@dataclass(frozen=True)
class SD(Strategy):
    """z ~ N(0, I): what the methods are trained for."""

    def item(self, size: int, index: int, seed: int) -> np.ndarray:
        return generator(seed, index).standard_normal(size)


@dataclass(frozen=True, kw_only=True)
class UD(Strategy):
    """Every number uniform on an interval, which has to be named.

    interval: "unit_variance" is [-sqrt 3, sqrt 3], "three" is [-3, 3] with a variance of 3; or a pair (low, high).
    Raises ValueError for an interval that is neither.
    """

    interval: str | tuple[float, float]

    def __post_init__(self) -> None:
        if isinstance(self.interval, str):
            _one_of("interval", self.interval, INTERVALS)
            return
        if isinstance(self.interval, list):  # as a YAML has it
            object.__setattr__(self, "interval", tuple(self.interval))
        pair = isinstance(self.interval, tuple) and len(self.interval) == 2
        if not (pair and -math.inf < self.interval[0] < self.interval[1] < math.inf):
            raise ValueError(f"interval {self.interval} is not a pair low < high; for example (-3, 3)")

    def item(self, size: int, index: int, seed: int) -> np.ndarray:
        low, high = INTERVALS[self.interval] if isinstance(self.interval, str) else self.interval
        return generator(seed, index).uniform(low, high, size)


@dataclass(frozen=True, kw_only=True)
class UDS(Strategy):
    """Points evenly spread over the sphere of one radius.

    radius: "quantile", the sphere that holds `share` of N(0, I), 66.0 at N = 4096; "literal", the study's words taken
    literally, 3, where a normal latent of many numbers never is; "per_axis", 3 sqrt N; "typical", sqrt N.
    directions: see cranial.sphere. "auto" is cross_polytope, but sobol for latents of at most 64 numbers when there
    are more of them than one block of 2N; for these it has to know `count`, the number of latents in the whole set.
    Raises ValueError for an unknown choice, a share that is none, or a count below 1; and, called, for an index beyond
    the count, a count that is missing, and what the directions refuse.
    """

    radius: Radius = "quantile"
    share: float = 0.9973
    directions: Directions = "auto"
    count: int | None = None

    def __post_init__(self) -> None:
        _one_of("radius", self.radius, get_args(Radius))
        _one_of("directions", self.directions, get_args(Directions))
        if not 0 < self.share < 1:
            raise ValueError(f"share {self.share} is not between 0 and 1; three standard deviations hold 0.9973")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count {self.count} is no set; give the number of latents in the whole set")

    def item(self, size: int, index: int, seed: int) -> np.ndarray:
        if self.count is not None and index >= self.count:
            raise ValueError(f"index {index} is beyond the set of {self.count}; give UDS the count of the whole set")
        return self.length(size) * self._direction(size)(size, index, seed)

    def length(self, size: int) -> float:
        """R, what the radius is for latents of `size` numbers."""
        if self.radius == "quantile":
            # P(||z|| <= R) = share for z ~ N(0, I): R = chi_N^-1(share) = sqrt(2 P^-1(N/2, share)), P incomplete gamma
            return math.sqrt(2 * gammaincinv(size / 2, self.share))
        return {"literal": 3.0, "per_axis": 3 * math.sqrt(size), "typical": math.sqrt(size)}[self.radius]

    def _direction(self, size: int) -> Callable[[int, int, int], np.ndarray]:
        if self.directions != "auto":
            return {"cross_polytope": cross_polytope, "sobol": sobol}[self.directions]
        if size > FEW_NUMBERS:
            return cross_polytope
        if self.count is None:
            raise ValueError(
                f"for latents of {size} numbers the directions depend on how many there will be; give UDS the count of "
                "the whole set, or name its directions"
            )
        return sobol if self.count > 2 * size else cross_polytope


STRATEGIES: dict[str, type[Strategy]] = {"sd": SD, "ud": UD, "uds": UDS}


def strategy(name: str, **choices: object) -> Strategy:
    """The strategy of this name with its choices, as a YAML has them: strategy("ud", interval="three").

    Raises ValueError for an unknown name or choice and for a choice that is missing.
    """
    _one_of("strategy", name, STRATEGIES)
    known = {field.name for field in fields(STRATEGIES[name])}
    for choice in choices:
        if choice not in known:
            raise ValueError(f"{name} has no choice '{choice}'; it has: {', '.join(sorted(known)) or 'none'}")
    if name == "ud" and "interval" not in choices:
        raise ValueError(f"ud needs its interval: {', '.join(INTERVALS)}, or a pair (low, high)")
    return STRATEGIES[name](**choices)


class LatentKind(NamedTuple):
    """What the latents of a method are, as far as sampling is concerned."""

    strategies: tuple[str, ...]  # those that fit
    drawn: str  # the sentence that says where a latent comes from


LATENT_KINDS = {
    "gaussian": LatentKind(("sd", "ud", "uds"), "its latents are trained towards N(0, I)"),
    "diffusion": LatentKind(("sd",), "its latents are denoised, step by step, from N(0, I)"),
    "codes": LatentKind((), "its latents are codes, and its learned prior draws them"),
}


def check_fit(name: str, *, method: str, latent: str) -> None:
    """Whether a strategy may draw the latents of a method, which declares their kind: one of LATENT_KINDS.

    Raises ValueError with the strategies that fit; and for an unknown strategy or kind.
    """
    _one_of("strategy", name, STRATEGIES)
    _one_of("latent", latent, LATENT_KINDS)
    kind = LATENT_KINDS[latent]
    if name not in kind.strategies:
        fitting = " and ".join(kind.strategies) or "no strategy, leave it out"
        raise ValueError(f"{name} does not fit {method}: {kind.drawn}; what fits: {fitting}")


def _one_of(what: str, value: object, known: Iterable[str]) -> None:
    if value not in (known := tuple(known)):
        raise ValueError(f"{what} '{value}' is unknown; it is one of: {', '.join(known)}")
