"""What does a generator learn from, and what is it tried on? Cases as occupancies: of phantoms, or of a store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..generators import as_masks
from ..reconstruction.mix import StoredCases
from ..skulls.store import CaseStore
from .phantom_cases import EDGE_MM, phantom_cases
from .recipe import HELD_OUT_SEED, GeneratorRecipe

_HELD_OUT = 24  # cases to validate with


@dataclass(frozen=True)
class Cases:
    """Cases to learn from, uint8 (2, n, n, n) by number; full: what 1 is; edge_mm: of their cube."""

    pool: Any
    full: int
    edge_mm: float

    def tensor(self, number: int, *, mirrored: bool = False) -> Tensor:
        """Case, float32 (2, n, n, n) in [0, 1]; mirrored: left is right."""
        case = np.asarray(self.pool[number], np.float32)
        return torch.from_numpy(np.ascontiguousarray(case[:, ::-1] if mirrored else case) / np.float32(self.full))

    def __len__(self) -> int:
        return len(self.pool)

    def masks(self) -> "CaseMasks":
        """The same cases, yes or no."""
        return CaseMasks(self)


@dataclass(frozen=True)
class CaseMasks:
    """Cases as bool (2, n, n, n) by number, each voxel of bone to the part that fills more of it: a CasePool."""

    cases: Cases

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, number: int) -> np.ndarray:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return as_masks(self.cases.tensor(number)).numpy()


def training_cases(
    recipe: GeneratorRecipe, *, cache: Path, folder: Path | str = ".", progress: bool = True
) -> Cases:
    """What a recipe, trained in `folder`, learns from.

    Raises ValueError unless it names one of `cases` and `phantom_cases`, and for a set of another side or without a
    case; StoreError as CaseStore.open.
    """
    if (recipe.cases is None) == (recipe.phantom_cases == 0):
        raise ValueError(
            f"the recipe has cases {recipe.cases} and phantom_cases {recipe.phantom_cases}; give one of the two"
        )
    if recipe.cases is None:
        return _phantoms(recipe, recipe.phantom_cases, recipe.phantoms, recipe.seed, cache, progress)
    store = CaseStore.open((Path(folder) / recipe.cases).resolve())
    pool = StoredCases(store)
    if store.layout.shape != (recipe.side,) * 3 or not len(pool):
        raise ValueError(
            f"{recipe.cases} holds {len(pool)} cases of {store.layout.shape} voxels, the recipe has side "
            f"{recipe.side}; give a set of that side with at least one case"
        )
    return Cases(pool, 1, store.layout.spacing_mm[0] * recipe.side)


def held_out_cases(recipe: GeneratorRecipe, *, cache: Path, progress: bool = True) -> Cases:
    """Cases of phantoms that no training draws, to validate with."""
    return _phantoms(recipe, _HELD_OUT, _HELD_OUT, HELD_OUT_SEED, cache, progress)


def _phantoms(recipe: GeneratorRecipe, count: int, phantoms: int, seed: int, cache: Path, progress: bool) -> Cases:
    pool = phantom_cases(
        count, side=recipe.side, phantoms=phantoms, seed=seed, styles=recipe.styles,
        spacing_mm=recipe.phantom_spacing_mm, floor=recipe.phantom_floor, cache=cache, progress=progress,
    )  # fmt: skip
    return Cases(pool, 255, EDGE_MM)
