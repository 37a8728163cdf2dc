"""Which skulls teach, which choose and which judge: by skull, never by case; fixed, and shipped as lists.

    for case in split(open_dataset("skullbreak"), "train"): ...

The five defects of a SkullBreak skull share a head, so a case follows its skull. The lists are data
(split_files/*.json, each saying how it was made) and nothing is drawn at run time. Parts:

- train and validation: divided once inside the published training skulls; test: the published test set.
- clinical: patients. For evaluation only, never for training or for choosing a model.
- phantoms have ranges of item numbers instead of skulls: phantom_items("train").

What is known of leaks between datasets: SkullBreak and SkullFix are both made from the head scans of CQ500.
Their authors write that the two do not overlap (Kodym et al. 2021) but publish no list of the scans they
took, and the grids differ, so no file can prove it: training on one and testing on the other rests on their
word, and shared_source says so. Nor is it documented whether the 110 test cases of SkullFix are 110 heads.
What files can show is exact copies: twins groups skulls that are voxel for voxel the same bone.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from cranial.skulls.datasets import CasePaths, Dataset, DatasetError

if TYPE_CHECKING:
    from cranial.volume import Volume


def split(dataset: Dataset, part: str) -> list[CasePaths]:
    """The cases of `dataset` whose skulls are of `part` (see parts), in the order of the dataset.

    Raises DatasetError where this copy holds none of them, and warns where it holds only some.
    """
    wanted = _members(dataset.name, part)
    prefix = len(dataset.name) + 1
    cases = [case for case in dataset.cases if _is_member(case.skull_id[prefix:], wanted)]
    if not cases:
        raise DatasetError(
            f"{dataset.root} holds no case of {dataset.name} {part}; print(dataset.report) says what is there"
        )
    here = len({case.skull_id for case in cases})
    there = wanted["skulls"] if isinstance(wanted, dict) else len(wanted)
    if here < there:
        warnings.warn(
            f"only {here} of the {there} skulls of {dataset.name} {part} are in {dataset.root}: results are "
            "not those of the whole part; print(dataset.report) says what is missing",
            stacklevel=2,
        )
    return cases


def parts(name: str) -> tuple[str, ...]:
    """The parts that divide this dataset: every skull of it is in exactly one."""
    return tuple(_table(name)["parts"])


def subsets(name: str) -> tuple[str, ...]:
    """Smaller sets inside a part that split understands too, such as SkullFix's test_regular."""
    return tuple(_table(name)["within"])


def part_of(skull_id: str) -> str:
    """The part of one skull: skullbreak/train/007 -> train, phantom/1000003 -> validation."""
    name, _, skull = skull_id.partition("/")
    found = [part for part, wanted in _table(name)["parts"].items() if _is_member(skull, wanted)]
    if not found:
        raise ValueError(f"{skull_id!r} is in no part of {name}; skull ids look like {_example(name)!r}")
    return found[0]


def phantom_items(part: str) -> range:
    """The item numbers of the phantoms of `part`: phantom(item) for an item of one part is in no other."""
    return range(*_members("phantom", part)["items"])


def shared_source(*names: str) -> str:
    """What must be said of results that train on some of these datasets and test on others; "" if nothing."""
    by_source: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        by_source.setdefault(_table(name)["source"], []).append(name)
    shared = [f"{' and '.join(group)} are all made from {source}" for source, group in by_source.items()
              if len(group) > 1]
    if not shared:
        return ""
    return (f"{'; '.join(shared)}; their authors state that no head is in both, but published no list of the "
            "scans to check it by")


def twins(skulls: Iterable[tuple[str, "Volume"]]) -> list[tuple[str, ...]]:
    """Groups of skull ids that are the same bone, voxel for voxel; one volume in memory at a time.

    Finds copies, also under another array order or on a padded grid. It does not find one head scanned or
    resampled twice: an empty answer is no proof that two datasets share no patient.
    """
    groups: dict[str, list[str]] = {}
    for skull_id, skull in skulls:
        groups.setdefault(fingerprint(skull), []).append(skull_id)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def fingerprint(skull: "Volume") -> str:
    """SHA-256 of the bone inside its bounding box, in LPS order, with its spacing to 1 micrometre."""
    from cranial.volume import to_lps

    upright = to_lps(skull)
    occupied = [np.flatnonzero(upright.mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not occupied[0].size:
        raise ValueError(f"{skull.source or 'the skull'} has no bone in it; leave empty volumes out of twins")
    bone = upright.mask[tuple(slice(there[0], there[-1] + 1) for there in occupied)]
    spacing_um = [round(1000 * spacing) for spacing in upright.spacing_mm]
    return hashlib.sha256(repr((bone.shape, spacing_um)).encode() + np.packbits(bone).tobytes()).hexdigest()


@cache
def _table(name: str) -> dict:
    folder = files("cranial.skulls") / "split_files"
    file = folder / f"{name}.json"
    if not re.fullmatch(r"\w+", name) or not file.is_file():
        known = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir())
        raise ValueError(f"no split is shipped for {name!r}; there is one for {', '.join(known)}")
    return json.loads(file.read_text(encoding="utf-8"))


def _members(name: str, part: str) -> list[str] | dict:
    known = _table(name)["parts"] | _table(name)["within"]
    if part not in known:
        raise ValueError(f"{name} has no part {part!r}; its parts are {', '.join(known)}")
    return known[part]


def _is_member(skull: str, wanted: list[str] | dict) -> bool:
    if isinstance(wanted, list):
        return skull in wanted
    if "items" in wanted:
        return skull.isdecimal() and int(skull) in range(*wanted["items"])
    return re.fullmatch(rf"{re.escape(wanted['every'])}\d+", skull) is not None


def _example(name: str) -> str:
    first = next(iter(_table(name)["parts"].values()))
    if isinstance(first, list):
        return f"{name}/{first[0]}"
    return f"{name}/{first['items'][0]}" if "items" in first else f"{name}/{first['every']}01"
