"""Synthetic cases by registration: a skull with its hole, bent onto another skull (image registration, IR).

From (seed, item) come two different skulls, a hole in the first, and a stiffness; one field carries defective skull
and defect. Pairs that fail, and cases that are not fit to learn from, are noted with their reason and not written.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydantic import Field

from .. import __version__
from ..config import Params
from ..registration import ALPHA, RegistrationError, register
from ..rng import generator
from ..skulls.defects import STYLES, Case
from ..skulls.store import CaseStore
from ..volume import Volume
from .filling import Item, Made, fill
from .gates import refusal
from .sources import Source, dataset, heads, phantoms, stored

_STREAM = 1_000_003  # ends the key: without it an item would share its numbers with the phantom of that number


class RegisteredSet(Params):
    """What a set of registered cases is made from: everything that decides what item i is."""

    count: int = Field(gt=0, description="items of the set; those that fail stay empty")
    side: int = Field(default=128, ge=16, description="voxels along each edge of a case")
    edge_mm: float = Field(default=256.0, gt=0, description="size of the cube that a case lies in")
    alphas: tuple[float, ...] = Field(default=(ALPHA,), min_length=1, description="an item draws one")
    iterations: tuple[int, ...] = (50, 50, 50, 50)
    learning_rate: float = Field(default=0.01, gt=0)
    common: bool = Field(default=True, description="nothing pulls where only one of the two scans shows anything")
    phantoms: int = Field(default=0, ge=0)
    phantom_spacing_mm: float = Field(default=1.2, gt=0, le=8)
    heads: tuple[Path, ...] = Field(default=(), description="files of complete real skulls")
    dataset: str | None = Field(default=None, description="skullbreak, skullfix, ...: with the holes they come with")
    part: str = "train"
    cases: Path | None = Field(default=None, description="or a set (a CaseStore) of this side and edge_mm")
    styles: tuple[str, ...] = Field(default=STYLES, description="of the holes cut into phantoms and heads")
    seed: int = Field(default=0, ge=0)


def sources(recipe: RegisteredSet) -> list[Source]:
    """The skulls of a recipe. Raises ValueError for fewer than two; and as `sources.heads` and `.dataset` do."""
    found = phantoms(recipe.phantoms, seed=recipe.seed, spacing_mm=recipe.phantom_spacing_mm, styles=recipe.styles)
    found += heads(recipe.heads, seed=recipe.seed, styles=recipe.styles)
    if recipe.dataset:
        found += dataset(recipe.dataset, recipe.part)
    if recipe.cases is not None:
        found += stored(_cases(recipe))
    if len(found) < 2:
        raise ValueError(
            f"the recipe names {len(found)} skulls, and a pair needs two; raise phantoms, list files in heads, or name "
            "a dataset or a set of cases"
        )
    return found


def open_set(recipe: RegisteredSet, folder: Path | str) -> CaseStore:
    """The store of a recipe's cases, made if it is not there; StoreError if the folder holds another set."""
    described = recipe.model_dump(mode="json", exclude={"count", "cases"})
    if recipe.cases is not None:  # by what they are: their folder may be moved
        described["cases"] = _cases(recipe).layout.recipe
    return CaseStore.create(
        folder,
        count=recipe.count,
        shape=(recipe.side,) * 3,
        spacing_mm=(recipe.edge_mm / recipe.side,) * 3,
        recipe={"method": "registration", **described},
    )


def make_registered_set(
    recipe: RegisteredSet,
    folder: Path | str,
    *,
    items: Iterable[int] | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: bool = True,
) -> Made:
    """Make the items (None: all) of a set that are still missing; the same call again goes on where one ended.

    Any number of processes and nodes may make one set: each begins at a place of its own, and who finds an item
    decided goes on to the next. What item i is depends on the recipe and i alone. Raises as `sources` and `open_set`.
    """
    skulls, store = sources(recipe), open_set(recipe, folder)

    def make(item: int) -> Item:
        return registered_case(recipe, skulls, item, device=device, threads=threads)

    return fill(store, make, items=items, name="registered", progress=progress)


def registered_case(
    recipe: RegisteredSet, skulls: list[Source], item: int, *, device: str = "auto", threads: int | None = None
) -> Item:
    """(case, provenance, "") of an item, or (None, provenance, reason) where it came to nothing.

    The reason is the same for the same fault, so that reasons can be counted; provenance has the figures.
    """
    rng = generator(recipe.seed, item, _STREAM)
    one, other = rng.choice(len(skulls), 2, replace=False)
    moving, fixed = skulls[one], skulls[other]
    alpha = float(rng.choice(recipe.alphas))
    provenance = {
        "method": "registration", "moving": moving.name, "fixed": fixed.name, "alpha": alpha, "seed": recipe.seed,
        "item": item, "cranial": __version__,
    }
    try:
        case = moving.case(rng, item)
    except ValueError as error:
        return None, provenance | {"error": str(error)}, "no such hole in this skull"
    provenance["style"] = case.style
    try:
        found = register(
            case.complete, fixed.complete(), alpha=alpha, side=recipe.side, edge_mm=recipe.edge_mm, cube=fixed.cube,
            iterations=recipe.iterations, learning_rate=recipe.learning_rate, common=recipe.common, device=device,
            threads=threads,
        )
    except RegistrationError as error:
        return None, provenance | {"error": str(error)}, "registration diverged"
    provenance |= {"quality": found.quality.as_dict(), "affine": found.cube.affine.tolist()}
    if found.problems:
        return None, provenance | {"problems": list(found.problems)}, "registration failed"
    defective, implant = found.carry(case.defective, case.implant)
    reason = refusal(defective.mask, implant.mask, voxel_mm3=defective.voxel_mm3)
    if reason:
        return None, provenance, reason
    provenance["defect_mm3"] = implant.volume_mm3
    complete = defective.with_mask(defective.mask | implant.mask)
    return Case(complete, defective, implant, case.style), provenance, ""


def _cases(recipe: RegisteredSet) -> CaseStore:
    store = CaseStore.open(recipe.cases)
    edge_mm = store.layout.spacing_mm[0] * store.layout.shape[0]
    if store.layout.shape != (recipe.side,) * 3 or not np.isclose(edge_mm, recipe.edge_mm):
        raise ValueError(
            f"{recipe.cases} holds cases of {store.layout.shape} voxels in {edge_mm:g} mm, the recipe has side "
            f"{recipe.side} and edge_mm {recipe.edge_mm:g}; give it those of the set"
        )
    return store


def stored_cases(
    folder: Path | str, items: Iterable[int] | None = None, *, at_most: int | None = None
) -> list[Case]:
    """The cases of a set, each in the coordinates of its fixed head.

    items: only these; None: all that are there. at_most: of these the first so many, and no more are read.
    """
    store = CaseStore.open(folder)
    found = []
    for item in store.present(items)[:at_most]:
        stored = store.read(item)
        affine = np.array(stored.provenance["affine"])
        complete = Volume(stored.defective | stored.defect, affine)
        parts = complete.with_mask(stored.defective), complete.with_mask(stored.defect)
        found.append(Case(complete, *parts, stored.provenance["style"]))
    return found
