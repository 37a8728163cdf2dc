"""Splits: no head is in two parts, the lists are those once shipped, and leaks are told as far as known."""

import hashlib
import itertools
import json
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
from skull_trees import ball, clinical, fill, mug500, skullbreak, skullfix

from cranial import volume
from cranial.skulls.datasets import DATASETS, DatasetError, open_dataset
from cranial.skulls.splits import (
    fingerprint,
    part_of,
    parts,
    phantom_items,
    shared_source,
    split,
    subsets,
    twins,
)

WHOLE = {
    "skullbreak": skullbreak,
    "skullfix": skullfix,
    "mug500": mug500,
    "autoimplant": clinical,
}
SKULLS = {
    "skullbreak": {"train": 100, "validation": 14, "test": 20},
    "skullfix": {"train": 90, "validation": 10, "test": 110},
    "mug500": {"train": 400, "validation": 50, "test": 50, "clinical": 29},
    "autoimplant": {"clinical": 11},
}
# SHA-256 of the shipped lists. A split that changes makes old and new numbers incomparable: never edit these.
SHIPPED = {
    "skullbreak": "e6f1bdc61a439b85",
    "skullfix": "fa641a9ec006b224",
    "mug500": "788584eec789fef7",
    "autoimplant": "c25fcca9c8a63fee",
    "phantom": "99735d75a5bd3e67",
}


@pytest.fixture(scope="module", params=WHOLE)
def dataset(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("copy") / request.param
    fill(root, WHOLE[request.param]())
    return open_dataset(request.param, root)


# By skull

def test_every_case_is_in_exactly_one_part_and_no_skull_is_in_two(dataset):
    by_part = {part: split(dataset, part) for part in parts(dataset.name)}
    assert sum(map(len, by_part.values())) == len(dataset)
    assert {case for cases in by_part.values() for case in cases} == set(dataset)
    for one, other in itertools.combinations(by_part.values(), 2):
        assert not {case.skull_id for case in one} & {case.skull_id for case in other}
    skulls = {part: len({case.skull_id for case in cases}) for part, cases in by_part.items()}
    assert skulls == SKULLS[dataset.name]


def test_the_part_of_a_skull_is_the_part_its_cases_are_split_into(dataset):
    for part in parts(dataset.name):
        assert {part_of(case.skull_id) for case in split(dataset, part)} == {part}


def test_published_test_skulls_and_patients_never_teach_or_choose(dataset):
    for part in ("train", "validation"):
        if part in parts(dataset.name):
            assert {case.part for case in split(dataset, part)} <= {"train", "healthy"}


def test_the_five_defects_of_a_skullbreak_skull_stay_together(tmp_path):
    fill(tmp_path, skullbreak(test_numbers=[]))
    cases = split(open_dataset("skullbreak", tmp_path), "validation")
    skulls = [case.skull_id for case in cases]
    assert {skulls.count(skull) for skull in skulls} == {5}


def test_the_test_part_does_not_depend_on_how_a_copy_numbers_it(tmp_path):
    fill(tmp_path, skullbreak(train_numbers=[], test_numbers=range(114, 134)))
    cases = split(open_dataset("skullbreak", tmp_path), "test")
    assert len(cases) == 100 and {case.part for case in cases} == {"test"}


def test_the_subsets_of_skullfix_test_are_the_ranked_hundred_and_the_ten_with_other_defects(tmp_path):
    fill(tmp_path, skullfix())
    copy = open_dataset("skullfix", tmp_path)
    assert subsets("skullfix") == ("test_regular", "test_robustness")
    regular, robustness = (split(copy, subset) for subset in subsets("skullfix"))
    assert (len(regular), len(robustness)) == (100, 10)
    assert {*regular, *robustness} == set(split(copy, "test"))
    assert robustness[0].skull_id == "skullfix/test/100"


# Fixed and shipped

def test_every_dataset_has_a_shipped_split():
    for name in DATASETS:
        assert parts(name)


@pytest.mark.parametrize("name", [*WHOLE, "phantom"])
def test_the_lists_are_the_ones_that_were_shipped_first(name):
    table = json.loads((files("cranial.skulls") / "split_files" / f"{name}.json").read_text())
    assert table["dataset"] == name and table["made"] and table["source"]
    lists = json.dumps([table["parts"], table["within"]], sort_keys=True)
    assert hashlib.sha256(lists.encode()).hexdigest()[:16] == SHIPPED[name]


def test_a_split_does_not_depend_on_what_else_is_on_the_disk(tmp_path):
    fill(tmp_path / "whole", mug500(craniotomies=[]))
    fill(tmp_path / "half", mug500(healthy=range(2, 501, 2), craniotomies=[]))
    whole = split(open_dataset("mug500", tmp_path / "whole"), "validation")
    with pytest.warns(UserWarning, match=r"only \d+ of the 50 skulls of mug500 validation are in .*half"):
        half = split(open_dataset("mug500", tmp_path / "half"), "validation")
    even = [case.case_id for case in whole if int(case.case_id[-4:]) % 2 == 0]
    assert [case.case_id for case in half] == even


# Phantoms

def test_no_phantom_is_in_two_parts_and_each_knows_its_own():
    ranges = [phantom_items(part) for part in ("train", "validation", "test")]
    assert all(one.stop <= other.start for one, other in itertools.pairwise(ranges))
    assert all(len(items) >= 10_000 for items in ranges)
    for part, items in zip(("train", "validation", "test"), ranges, strict=True):
        assert part_of(f"phantom/{items[0]}") == part_of(f"phantom/{items[-1]}") == part


# Errors

def test_a_part_that_is_not_on_the_disk_is_an_error_and_not_an_empty_list(tmp_path):
    fill(tmp_path, skullbreak(train_numbers=(0,), test_numbers=[]))
    copy = open_dataset("skullbreak", tmp_path)
    with pytest.raises(DatasetError, match=r"holds no case of skullbreak test; print\(dataset.report\)"):
        split(copy, "test")


def test_an_unknown_part_gets_the_parts_there_are(dataset):
    with pytest.raises(ValueError, match=f"{dataset.name} has no part 'holdout'; its parts are [ctv]"):
        split(dataset, "holdout")


def test_an_unknown_dataset_gets_the_splits_there_are():
    for name in ("skulbreak", "../splits", ""):
        with pytest.raises(ValueError, match="no split is shipped for .*one for autoimplant, mug500"):
            parts(name)


@pytest.mark.parametrize(
    ("skull_id", "example"),
    [
        ("skullbreak/train/114", "skullbreak/train/000"),
        ("skullbreak/train/007/random_1", "skullbreak/train/000"),
        ("mug500/A0501", "mug500/A0001"),
        ("autoimplant/train/000", "autoimplant/sub01"),
        ("phantom/-1", "phantom/0"),
        ("phantom/1020000", "phantom/0"),
    ],
)
def test_a_skull_of_no_part_is_an_error_that_shows_what_ids_look_like(skull_id, example):
    with pytest.raises(ValueError, match=f"{skull_id}' is in no part of .*look like '{example}'"):
        part_of(skull_id)


# Leaks between datasets

def test_datasets_from_one_collection_are_told_apart_from_those_that_are_not():
    said = shared_source("skullbreak", "mug500", "skullfix")
    assert "skullbreak and skullfix are all made from CQ500" in said and "no list of the scans" in said
    assert shared_source("skullbreak", "mug500", "phantom", "autoimplant") == ""
    assert shared_source("skullbreak", "skullbreak") == ""


def test_the_same_bone_is_found_under_another_name_axis_order_and_padding(rng):
    mask = rng.random((9, 10, 11)) < 0.3
    skull = volume.Volume(mask, np.diag((0.5, 0.5, 1.0, 1.0)))
    turned = volume.Volume(mask.transpose(2, 0, 1)[::-1], skull.affine[:, (2, 0, 1, 3)] * (-1, 1, 1, 1))
    padded = volume.Volume(np.pad(mask, 3), skull.affine)
    other_spacing = volume.Volume(mask, np.diag((0.5, 0.5, 1.1, 1.0)))
    one_voxel_less = skull.with_mask(mask & (np.cumsum(mask).reshape(mask.shape) > 1))
    named = {"a": skull, "b": turned, "c": padded, "d": other_spacing, "e": one_voxel_less, "f": ball()}
    assert twins(named.items()) == [("a", "b", "c")]


def test_an_empty_volume_is_no_twin_of_another():
    empty = ball().with_mask(np.zeros((9, 9, 9), dtype=bool))
    with pytest.raises(ValueError, match="the skull has no bone in it; leave empty volumes out"):
        fingerprint(empty)


def test_listing_and_splitting_need_nothing_heavy():
    heavy = {"torch", "monai", "scipy", "skimage", "numba", "nibabel", "nrrd", "trimesh"}
    code = f"import sys, cranial.skulls.splits; print({heavy} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
