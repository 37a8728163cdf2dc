"""Which real cases does a study train on, and which does it try? Laid into cubes, in a store, each with its skull.

"Real" is what is not synthesised from other cases: of a dataset, or cut from real heads; and where there are no data,
phantoms stand for them. They are the same cases that the study's generators learn from.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import Field

from .. import __version__, volume
from ..config import ConfigError, Params
from ..reconstruction.cases import SkullPool, Strength
from ..reconstruction.mix import as_case
from ..skulls.store import CaseStore
from ..synthesis.filling import Item, Made, fill
from ..synthesis.gates import refusal
from ..synthesis.learning_cases import CaseMasks, Cases
from ..synthesis.phantom_cases import EDGE_MM, GENTLE, phantom_cases, pool_case
from ..synthesis.prepared import PreparedSet, make_prepared_set
from .recipe import CaseSource

STRENGTHS = {
    "gently": GENTLE,
    "strongly": Strength(speckle=0.0, cut_chance=0.0, none_chance=0.0, second_chance=0.0),
}
_SUFFIXES = (".nrrd", ".nii", ".nii.gz")


class RealSet(Params):
    """What a set of real cases is made from."""

    source: CaseSource
    side: int = Field(ge=16)
    phantom_spacing_mm: float = Field(default=2.0, gt=0, le=8)
    floor: float = Field(default=0.0, ge=0, lt=1)
    styles: tuple[str, ...] = Field(min_length=1)


def head_files(folder: Path) -> list[Path]:
    """The complete heads in a folder, by name. Raises ConfigError where there is none."""
    found = sorted(path for path in folder.glob("*") if path.name.endswith(_SUFFIXES)) if folder.is_dir() else []
    if not found:
        raise ConfigError(f"{folder} holds no complete head ({', '.join(_SUFFIXES)}); put some there, or name another")
    return found


def make_real_set(recipe: RealSet, folder: Path | str, *, cache: Path, progress: bool = True) -> Made:
    """Make the cases that are still missing. cache: folder in which phantoms and their cases are kept.

    Raises ConfigError for heads that are not there; DatasetError, which says how to set the folder, for a dataset.
    """
    source, side = recipe.source, recipe.side
    if source.dataset:
        prepared = PreparedSet(dataset=source.dataset, part=source.part, side=side)
        return make_prepared_set(prepared, folder, progress=progress)
    names, drawn, skulls = _drawn(recipe, cache, progress)
    each = len(recipe.styles)
    count = source.cases or skulls * each
    store = CaseStore.create(
        folder, count=count, shape=(side,) * 3, spacing_mm=(EDGE_MM / side,) * 3,
        recipe={"method": "real", **recipe.model_dump(mode="json", exclude={"source": {"heads"}}), "skulls": names},
    )  # fmt: skip

    def make(item: int) -> Item:
        number, style = (item, "mixed") if source.cases else (item // each, recipe.styles[item % each])
        case = as_case(drawn(number, style), edge_mm=EDGE_MM, style=style)
        provenance = {
            "skull": names[number % skulls], "style": style, "affine": case.complete.affine.tolist(),
            "cranial": __version__,
        }
        reason = refusal(case.defective.mask, case.implant.mask, voxel_mm3=case.complete.voxel_mm3)
        return (None, provenance, reason) if reason else (case, provenance, "")

    return fill(store, make, items=None, name="real", progress=progress)


def _drawn(
    recipe: RealSet, cache: Path, progress: bool
) -> tuple[list[str], Callable[[int, str], np.ndarray], int]:
    """Names of the skulls, masks (2, n, n, n) of a case by number and style (mixed: any), and how many skulls."""
    source, side, strength = recipe.source, recipe.side, STRENGTHS[recipe.source.warped]
    choices = dict(side=side, seed=source.seed, floor=recipe.floor, strength=strength)
    if source.phantoms:
        skulls = min(source.phantoms, source.cases or source.phantoms)
        kept: dict[str, CaseMasks] = {}

        def of_phantoms(number: int, style: str) -> np.ndarray:
            if style not in kept:
                pool = phantom_cases(
                    source.cases or source.phantoms, phantoms=source.phantoms, spacing_mm=recipe.phantom_spacing_mm,
                    styles=recipe.styles if style == "mixed" else (style,), cache=cache, progress=progress, **choices,
                )  # fmt: skip
                kept[style] = Cases(pool, 255, EDGE_MM).masks()
            return kept[style][number]

        return [f"phantom/{source.seed}/{n}" for n in range(skulls)], of_phantoms, skulls
    files = head_files(source.heads)
    pool = SkullPool.of([volume.read(path) for path in files], 2 * side)

    def of_heads(number: int, style: str) -> np.ndarray:
        styles = recipe.styles if style == "mixed" else (style,)
        return Cases([pool_case(pool, number, styles=styles, **choices)], 255, EDGE_MM).masks()[0]

    return [path.name.partition(".")[0] for path in files], of_heads, len(files)
