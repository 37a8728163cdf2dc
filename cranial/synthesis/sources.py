"""Skulls to make synthetic cases from, each by name: phantoms, files of complete heads, cases of a dataset or a store.

A skull is read or drawn when it is asked for; the last ones are kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from .. import volume
from ..registration import Cube
from ..skulls.datasets import CasePaths, open_dataset
from ..skulls.defects import Case, cut
from ..skulls.phantom import phantom
from ..skulls.splits import split
from ..skulls.store import CaseStore
from ..volume import Volume

_KEPT = 24  # skulls in memory


@dataclass(frozen=True)
class Source:
    """A complete skull, and a way to have a hole in it: case(rng, item) draws one of several, or cuts a new one.

    cube: in which it lies already, and in which what is bent onto it stays; None: one is laid around it.
    """

    name: str
    complete: Callable[[], Volume]
    case: Callable[[np.random.Generator, int], Case]
    cube: Cube | None = None


def phantoms(count: int, *, seed: int, spacing_mm: float, styles: Sequence[str]) -> list[Source]:
    """Phantoms 0 ... count - 1, each with holes of these styles cut into it."""
    return [
        _cut_source(f"phantom/{seed}/{item}", lambda item=item: _phantom(item, seed, spacing_mm), styles, seed)
        for item in range(count)
    ]


def heads(paths: Sequence[Path], *, seed: int, styles: Sequence[str]) -> list[Source]:
    """Files of complete heads, each with holes of these styles cut into it; VolumeError for one that is not there."""
    for path in paths:
        if not path.exists():
            raise volume.VolumeError(f"{path}: does not exist; check the path")
    return [_cut_source(path.stem, lambda path=path: _read(path), styles, seed) for path in paths]


def dataset(name: str, part: str, *, root: Path | None = None) -> list[Source]:
    """The skulls of a dataset that a split gives to `part` (train, ...), with the holes that they come with.

    Raises DatasetError as open_dataset and split do, ValueError where no skull of the part has a whole case.
    """
    found = open_dataset(name, root)
    by_skull: dict[str, list[CasePaths]] = {}
    for case in split(found, part):
        if case.complete and case.defective and case.implant:
            by_skull.setdefault(case.skull_id, []).append(case)
    if not by_skull:
        raise ValueError(
            f"{name} in {found.root} has no skull of part {part!r} with all of complete skull, defective skull and "
            "implant; print(dataset.report) says what is missing"
        )

    def source(skull: str, cases: list[CasePaths]) -> Source:
        def case(rng: np.random.Generator, item: int) -> Case:
            chosen = cases[rng.integers(len(cases))]
            loaded = found.load(chosen)
            return Case(loaded.complete, loaded.defective, loaded.implant, chosen.style)

        return Source(skull, lambda: _read(cases[0].complete), case)

    return [source(skull, cases) for skull, cases in sorted(by_skull.items())]


def stored(store: CaseStore) -> list[Source]:
    """The skulls of a set of cases, as their provenance names them, with the holes that they come with.

    Raises ValueError for a set without a case.
    """
    by_skull: dict[str, list[int]] = {}
    for item in store.present():
        by_skull.setdefault(store.provenance(item)["skull"], []).append(item)
    if not by_skull:
        raise ValueError(f"{store.folder} holds no case; make the set first")

    def read(item: int) -> Case:
        found = store.read(item)
        affine = np.array(found.provenance["affine"])
        complete = Volume(found.defective | found.defect, affine)
        parts = complete.with_mask(found.defective), complete.with_mask(found.defect)
        return Case(complete, *parts, found.provenance["style"])

    def source(skull: str, items: list[int]) -> Source:
        cube = Cube(store.layout.shape[0], np.array(store.provenance(items[0])["affine"]))
        return Source(
            skull, lambda: read(items[0]).complete, lambda rng, item: read(items[rng.integers(len(items))]), cube
        )

    return [source(skull, items) for skull, items in sorted(by_skull.items())]


def _cut_source(name: str, complete: Callable[[], Volume], styles: Sequence[str], seed: int) -> Source:
    def case(rng: np.random.Generator, item: int) -> Case:
        return cut(complete(), styles[rng.integers(len(styles))], seed=seed, item=item)

    return Source(name, complete, case)


@lru_cache(maxsize=_KEPT)
def _phantom(item: int, seed: int, spacing_mm: float) -> Volume:
    return phantom(item, seed=seed, spacing_mm=spacing_mm)


@lru_cache(maxsize=_KEPT)
def _read(path: Path) -> Volume:
    return volume.read(path)
