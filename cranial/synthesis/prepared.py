"""The cases of a dataset, laid into cubes and kept in a store: what generators and reconstruction networks train on.

A case of SkullBreak is three files of 512^3 voxels; here it is some 60 kB at 256^3, read in milliseconds.
"""

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from .. import __version__
from ..config import Params
from ..reconstruction.mix import as_case, lay_cases
from ..skulls.datasets import open_dataset
from ..skulls.defects import Case
from ..skulls.splits import split
from ..skulls.store import CaseStore
from .filling import Item, Made, fill
from .gates import refusal


class PreparedSet(Params):
    """Which cases, and how large their cubes are."""

    dataset: str | tuple[str, ...] = Field(description="skullbreak, ...; one or several; see skulls.datasets")
    part: str = Field(default="train", description="of the shipped split, by skull")
    side: int = Field(default=256, ge=16, description="voxels along each edge of a case")
    edge_mm: float = Field(default=256.0, gt=0, description="size of the cube")


def make_prepared_set(
    recipe: PreparedSet,
    folder: Path | str,
    *,
    root: Path | None = None,
    items: Iterable[int] | None = None,
    progress: bool = True,
) -> Made:
    """Lay the cases (these items; None: all) that are still missing; the same call again goes on where one ended.

    root: of the dataset, None: where the environment says. Raises DatasetError and ValueError as open_dataset and split
    do, and ValueError where no case of the part has all three of its files.
    """
    paths = []
    for name in (recipe.dataset,) if isinstance(recipe.dataset, str) else recipe.dataset:
        found = open_dataset(name, root)
        whole = [case for case in split(found, recipe.part) if case.complete and case.defective and case.implant]
        if not whole:
            raise ValueError(
                f"{name} in {found.root} has no whole case of part {recipe.part!r}; print(dataset.report) says what "
                "is missing"
            )
        paths += [(found, case) for case in whole]
    store = CaseStore.create(
        folder,
        count=len(paths),
        shape=(recipe.side,) * 3,
        spacing_mm=(recipe.edge_mm / recipe.side,) * 3,
        recipe={"method": "prepared", **recipe.model_dump(mode="json")},
    )

    def make(item: int) -> Item:
        found, path = paths[item]
        loaded = found.load(path)
        whole = Case(loaded.complete, loaded.defective, loaded.implant, path.style)
        (channels,) = lay_cases([whole], recipe.side, edge_mm=recipe.edge_mm)
        case = as_case(channels, edge_mm=recipe.edge_mm, style=path.style)
        provenance = {
            "dataset": found.name, "skull": path.skull_id, "style": path.style,
            "affine": case.complete.affine.tolist(), "cranial": __version__,
        }  # fmt: skip
        reason = refusal(case.defective.mask, case.implant.mask, voxel_mm3=case.complete.voxel_mm3)
        return (None, provenance, reason) if reason else (case, provenance, "")

    return fill(store, make, items=items, name="prepared", progress=progress)
