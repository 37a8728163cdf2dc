"""What did the runs of a study measure? FOLDER/<row>/seed_<s>/metrics.json, one a finished run, read and checked.

A run that is not finished has no such file. Everything that tables and figures say is computed from these files alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from pydantic import ConfigDict, Field

from ..config import ConfigError, Params, check

METRICS = {  # of a case -> how it is called, digits after the point
    "dice": ("DSC", 3),
    "border_dice": ("bDSC", 3),
    "surface_dice": ("SDSC", 3),
    "hd95_mm": ("HD95, mm", 2),
    "msd_mm": ("MSD, mm", 2),
}
_FIRST = ("seen", "unseen")  # distributions come in this order, others after them


class ScoresError(ValueError):
    """Measurements that cannot be used; the message says which file, what is wrong with it, and what to do."""


class CaseScore(Params):
    """One reconstructed case. hd95_mm and msd_mm: None where a surface is missing."""

    model_config = ConfigDict(extra="ignore")
    distribution: str = Field(min_length=1, description="seen, unseen, or another test set")
    skull: str | int
    case: str | int
    style: str
    dice: float = Field(ge=0, le=1)
    border_dice: float = Field(ge=0, le=1)
    surface_dice: float = Field(ge=0, le=1)
    hd95_mm: float | None = Field(ge=0)
    msd_mm: float | None = Field(ge=0)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells this case from the others of its run."""
        return self.distribution, str(self.skull), str(self.case), self.style


class Run(Params):
    """One training of one row, scored on every test case: a metrics.json."""

    model_config = ConfigDict(extra="ignore")
    row: str = Field(min_length=1)
    label: str = Field(min_length=1)
    tables: tuple[str, ...]
    scale: str
    seed: int = Field(ge=0)
    geometric: str
    sets: dict[str, int] = Field(description="synthetic cases of each kind")
    real_cases: int = Field(ge=0)
    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    seconds: float = Field(ge=0)
    cases: tuple[CaseScore, ...] = Field(min_length=1)

    @property
    def synthetic_cases(self) -> int:
        return sum(self.sets.values())


@dataclass(frozen=True)
class Method:
    """A row with all its seeds, ascending, scored on the same cases."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """For what is the same in all runs: row, label, tables, sets, ..."""
        return self.runs[0]

    def values(self, metric: str, distribution: str) -> np.ndarray:
        """A metric of a distribution's cases, float (seeds, cases), NaN where there is none; cases as in `keys`."""
        by_seed = [{case.key: getattr(case, metric) for case in run.cases} for run in self.runs]
        found = [[scores[key] for key in self.keys(distribution)] for scores in by_seed]
        return np.array(found, dtype=float).reshape(len(self.runs), -1)

    def keys(self, distribution: str) -> list[tuple[str, str, str, str]]:
        """The cases of a distribution, sorted."""
        return sorted(case.key for case in self.first.cases if case.distribution == distribution)

    def skulls(self, distribution: str) -> list[str]:
        """The skull of each case, in the order of `keys`."""
        return [skull for _, skull, _, _ in self.keys(distribution)]


@dataclass(frozen=True)
class Scores:
    """All finished runs of one study at one scale. unfinished: row/seed folders without a metrics.json."""

    folder: Path
    methods: Mapping[str, Method]  # by row
    unfinished: tuple[str, ...]

    @property
    def distributions(self) -> list[str]:
        found = {case.distribution for method in self.methods.values() for case in method.first.cases}
        return [name for name in _FIRST if name in found] + sorted(found - set(_FIRST))

    @property
    def baseline(self) -> Method | None:
        """The row without augmentation: no geometric setting, no synthetic set. None if it has not been run."""
        plain = [m for m in self.methods.values() if m.first.geometric == "none" and not m.first.sets]
        return plain[0] if plain else None

    def of_table(self, table: str) -> list[Method]:
        """The methods that name this table."""
        return [method for method in self.methods.values() if table in method.first.tables]


def metrics_files(folder: Path | str) -> list[Path]:
    """Every ROW/seed_S/metrics.json below a folder, sorted."""
    return sorted(Path(folder).rglob("seed_*/metrics.json"))


def read_scores(folder: Path | str) -> Scores:
    """Read every metrics.json below a folder.

    Raises ScoresError where there is none, for one that is broken, incomplete, or not of the folder it is in, and for
    runs that do not belong together: a row and seed twice, two scales, other test cases, one row's runs at odds.
    """
    folder = Path(folder)
    paths = metrics_files(folder)
    if not paths:
        raise ScoresError(
            f"{folder} holds no ROW/seed_S/metrics.json; run the study first, or name the folder that it was run in"
        )
    runs: dict[tuple[str, int], tuple[Path, Run]] = {}
    for path in paths:
        run = read_run(path)
        if (run.row, run.seed) in runs:
            _fail(path, f"row {run.row} with seed {run.seed}, as {runs[run.row, run.seed][0]} does",
                  "delete the one that is out of date")
        runs[run.row, run.seed] = path, run
    _check_together(list(runs.values()))
    rows = sorted({row for row, _ in runs})
    methods = {row: Method(tuple(runs[key][1] for key in sorted(runs) if key[0] == row)) for row in rows}
    started = [path for path in sorted(folder.rglob("seed_*")) if path.is_dir() and path / "metrics.json" not in paths]
    return Scores(folder, methods, tuple(str(path.relative_to(folder)) for path in started))


def read_run(path: Path) -> Run:
    """One metrics.json. Raises ScoresError as `read_scores` does."""
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScoresError(f"{path} cannot be read as JSON ({error}); delete it and run this seed again") from None
    if not isinstance(values, dict):
        raise ScoresError(f"{path} holds a {type(values).__name__}, not keys and values; delete it and run this again")
    try:
        run = check(values, Run, where=path)
    except ConfigError as error:
        raise ScoresError(f"{error}; delete it and run this seed again") from None
    if path.parent.name != f"seed_{run.seed}" or path.parent.parent.name != run.row:
        _fail(path, f"row {run.row} with seed {run.seed}", "move it into the folder of its own row and seed")
    keys = [case.key for case in run.cases]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        _fail(path, f"the case {', '.join(twice)} more than once", "delete it and run this seed again")
    return run


def _check_together(found: Sequence[tuple[Path, Run]]) -> None:
    """All runs at one scale and on the same cases, the runs of a row all trained alike."""
    (_, first), seen = found[0], {}
    wanted = {case.key for case in first.cases}
    for path, run in found:
        if run.scale != first.scale:
            _fail(path, f"scale {run.scale}, others have {first.scale}", "give each scale a folder of its own")
        odd = wanted ^ {case.key for case in run.cases}
        if odd:
            _fail(path, f"other test cases than row {first.row} ({', '.join(min(odd))} is in one of the two only)",
                  "run the older of the two again")
        facts = {name: getattr(run, name) for name in ("label", "tables", "geometric", "sets", "real_cases")}
        other = seen.setdefault(run.row, facts)
        for name, value in facts.items():
            if value != other[name]:
                _fail(path, f"{name} {value}, another seed of the row {other[name]}", "run the older of the two again")


def _fail(path: Path, what: str, remedy: str) -> NoReturn:
    raise ScoresError(f"{path} has {what}; {remedy}")
