"""What is at this place of a latent space? Samples, the way from one to another, and a few directions from there.

A place begins at a sample, goes a share of the way towards a second one, and from there so many standard deviations
along the directions in which real cases vary most (latent_walk). Each sample is drawn once, so that a step is one
decoding, and can be seen at once.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..sampling import check_fit, strategy
from ..skulls.defects import Case
from ..skulls.store import CaseStore
from .latent_walk import LatentWalk, decoded_cases, latent_walk
from .learning_cases import held_out_cases, training_cases
from .trained import load_generator

SET_SIZE = 64_000  # samples that have a number: UDS spreads its points over all of them
_PARALLEL = 1e-4  # sine of the angle below which the way between two latents is straight


@dataclass(frozen=True)
class Place:
    """Sample `index` of a seed; `share` of the way to sample `other`; `amounts` of the directions.

    strategy: sd, ud or uds, None for the method's own; choice: the interval of ud, the radius of uds.
    """

    index: int = 0
    seed: int = 0
    strategy: str | None = None
    choice: str | None = None
    other: int = 1
    share: float = 0.0
    amounts: tuple[float, ...] = ()


class LatentExplorer:
    """A trained generator to look around in. file: generator.safetensors; cache: where phantoms are kept.

    Raises CheckpointError for a file that is no generator's.
    """

    def __init__(self, file: Path, *, cache: Path) -> None:
        self.file, self._cache = file, cache
        self.trained = load_generator(file)
        self._drawn = lru_cache(256)(self._draw)

    def case(self, place: Place) -> Case:
        """The case there; its style says which gate it fails, "" if none.

        Raises ValueError for a strategy that does not fit the method, and for an index beyond SET_SIZE.
        """
        latent = self._sample(place, place.index)
        if place.share > 0:
            latent = between(latent, self._sample(place, place.other), place.share)
        if any(place.amounts):
            return replace(self.walk, start=latent).case(*place.amounts)
        return decoded_cases(self.trained, latent)[0]

    @cached_property
    def walk(self) -> LatentWalk:
        """The directions: of the cases that it was trained on if they are a set, else of unseen phantoms."""
        recipe = self.trained.recipe
        if recipe.cases is None:
            cases = held_out_cases(recipe, cache=self._cache, progress=False)
        else:
            cases = training_cases(recipe, cache=self._cache, folder=self.file.parent, progress=False)
        return latent_walk(self.trained, cases)

    def provenance(self, place: Place) -> dict[str, Any]:
        """Where the case of a place is from, as JSON values."""
        return {"method": self.trained.recipe.method, "generator": str(self.file), "level": self.trained.level,
                **vars(place), "amounts": list(place.amounts)}

    def _sample(self, place: Place, index: int) -> Tensor:
        if not 0 <= index < SET_SIZE:
            raise ValueError(f"sample {index} is none of the {SET_SIZE} from 0 on; choose a smaller number")
        return self._drawn(place.strategy, place.choice, place.seed, index)

    @torch.no_grad()
    def _draw(self, name: str | None, choice: str | None, seed: int, index: int) -> Tensor:
        generator, chosen = self.trained.generator, None
        if name is not None:
            check_fit(name, method=generator.method, latent=generator.latent)
            choices = {"ud": {"interval": choice}, "uds": {"radius": choice, "count": SET_SIZE}}.get(name, {})
            chosen = strategy(name, **choices)
        latent = generator.draw([index], seed=seed, strategy=chosen)
        return latent if latent.is_floating_point() else generator.quantizer.decode(latent)  # codes: their embedding


def between(one: Tensor, other: Tensor, share: float) -> Tensor:
    """The latent (...) at a share of the way from one to the other, along an arc, its length between theirs.

    Halfway on a straight line two normal latents of many numbers are shorter by sqrt 2 than any that is ever drawn.
    """
    a, b = one.flatten(), other.flatten()
    lengths = a.norm(), b.norm()
    angle = torch.arccos((a @ b / (lengths[0] * lengths[1])).clamp(-1, 1))  # NaN beside a latent of length 0
    if not angle.sin() > _PARALLEL:
        return torch.lerp(one, other, share)
    # slerp (Shoemake 1985): (sin((1 - t) w) a + sin(t w) b) / sin w, of unit a and b
    along = (((1 - share) * angle).sin() * a / lengths[0] + (share * angle).sin() * b / lengths[1]) / angle.sin()
    return (torch.lerp(lengths[0], lengths[1], share) * along).view_as(one)


def keep(case: Case, folder: Path, provenance: dict[str, Any]) -> int:
    """Write a case into a set of kept ones, made if it is not there; its number in it.

    Raises ValueError for a case that fails a gate, StoreError for a folder that holds another set.
    """
    check_fit_to_learn_from(case)
    store = CaseStore.create(
        folder, count=SET_SIZE, shape=case.complete.shape, spacing_mm=case.complete.spacing_mm,
        recipe={"kept": "by hand"},
    )
    for item in store.missing():
        if store.write(item, case.defective.mask, case.implant.mask, provenance):
            return item
    raise ValueError(f"{folder} is full, it has room for {SET_SIZE} cases; choose another folder")


def check_fit_to_learn_from(case: Case) -> None:
    """Raise ValueError for a sampled case that fails a gate, with its reason."""
    if case.style:
        raise ValueError(f"this case is not kept: {case.style}; a network would learn from it what is not so")
