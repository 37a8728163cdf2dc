"""What did a run propose, case by case? cases.npz beside metrics.json: masks, packed bit by bit, in its cases' order.

A run need not keep them. They are there to be looked at; every figure in a table is from metrics.json.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..reconstruction.mix import as_case
from ..skulls.defects import Case
from ..volume import Volume
from .compare import case_means
from .scores import Method, Run, Scores, metrics_files

if TYPE_CHECKING:
    from .experiment import Reconstructed

FILE = "cases.npz"


@dataclass(frozen=True)
class Extremes:
    """The best and the worst case of one row, with what others proposed for them."""

    cases: list[Case]
    proposed: dict[str, list[Volume]]  # by the rows' labels
    dice: dict[str, list[float]]


def keep_cases(folder: Path | str, scored: Sequence["Reconstructed"]) -> Path:
    """Write cases.npz beside the metrics.json of the same cases, whole or not at all; all on one cubic grid."""
    path = Path(folder) / FILE
    masks = np.stack([[each.case.defective.mask, each.case.implant.mask, each.proposed.mask] for each in scored])
    side = masks.shape[-1]
    part = path.with_name(f".{path.stem}.{os.getpid()}.partial.npz")
    np.savez_compressed(
        part, masks=np.packbits(masks.reshape(len(scored), 3, -1), axis=-1), side=side,
        edge_mm=side * float(scored[0].case.defective.spacing_mm[0]),
    )  # fmt: skip
    os.replace(part, path)
    return path


def read_case(path: Path | str, number: int, *, style: str = "") -> tuple[Case, Volume]:
    """A case and what was proposed for it, in a cube about the origin; number: its place in metrics.json.

    Raises IndexError for a number that is not there.
    """
    with np.load(path, allow_pickle=False) as file:
        side, edge_mm, packed = int(file["side"]), float(file["edge_mm"]), file["masks"]
    if not 0 <= number < len(packed):
        raise IndexError(f"{path} keeps {len(packed)} cases, so none has number {number}; count from 0")
    bits = np.unpackbits(packed[number], axis=-1, count=side**3).reshape(3, side, side, side)
    case = as_case(bits[:2], edge_mm=edge_mm, style=style)
    return case, case.defective.with_mask(bits[2] != 0)


def extremes(scores: Scores, distribution: str, row: str, *, beside: Sequence[str] = ()) -> Extremes | None:
    """The best and the worst case of a row by its mean Dice, as its first seed solved them, and other rows' first too.

    None where one of the rows has not kept its cases, or has none of this distribution.
    """
    methods = [scores.methods[name] for name in dict.fromkeys([*beside, row])]
    paths = [_path(scores, method) for method in methods]
    keys = scores.methods[row].keys(distribution)
    if not keys or not all(path.exists() for path in paths):
        return None
    means = case_means(scores.methods[row], distribution, "dice")
    wanted = [keys[int(np.argmax(means))], keys[int(np.argmin(means))]]
    found = Extremes([], {}, {})
    for method, path in zip(methods, paths, strict=True):
        run = method.first
        numbers = [_number(run, key) for key in wanted]
        read = [read_case(path, number, style=run.cases[number].style) for number in numbers]
        found.proposed[run.label] = [proposed for _, proposed in read]
        found.dice[run.label] = [run.cases[number].dice for number in numbers]
        found.cases[:] = [case for case, _ in read]
    return found


def _path(scores: Scores, method: Method) -> Path:
    where = method.first.row, f"seed_{method.first.seed}"
    found = [path.parent for path in metrics_files(scores.folder)]
    return next(path / FILE for path in found if (path.parent.name, path.name) == where)


def _number(run: Run, key: tuple[str, ...]) -> int:
    return [case.key for case in run.cases].index(key)
