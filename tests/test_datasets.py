"""Public skull datasets: the same cases from every folder layout, and a report of exactly what is missing."""

import os
import re

import numpy as np
import pytest
from skull_trees import STYLES, ball, clinical, fill, mug500, skullbreak, skullfix

from cranial import volume
from cranial.skulls.completeness import SHOWN, runs
from cranial.skulls.datasets import DATASETS, DatasetError, open_dataset
from cranial.skulls.layouts import SKULLBREAK_STYLES
from cranial.volume import VolumeError

WHOLE_COPIES = {
    ("skullbreak", "as published"): ("SkullBreak", lambda: skullbreak()),
    ("skullbreak", "complete skull per defect"): ("skull-break", lambda: skullbreak(repeated=True)),
    ("skullfix", "as published"): ("SkullFix", lambda: skullfix()),
    ("skullfix", "train and test"): ("skull_fix", lambda: skullfix("train", "test", "test", suffix=".nii")),
    ("mug500", "one folder"): ("MUG500", lambda: mug500()),
    ("autoimplant", "from one"): ("AutoImplantClinical", lambda: clinical()),
    ("autoimplant", "from zero"): ("AutoImplant_clinical/test", lambda: clinical(range(11))),
}
CASES = {"skullbreak": 134 * 5, "skullfix": 210, "mug500": 529, "autoimplant": 11}
FEW = {"train_numbers": (0, 5, 113), "test_numbers": (0, 19)}
FEW_SKULLS = {
    "sets": ("SkullBreak", skullbreak("training_set", "test_set", **FEW)),
    "challenge": ("SkullBreak", skullbreak("trainset2021", "testset2021", **FEW)),
    "side by side": ("", skullbreak("skullbreak_training/nrrd", "skullbreak_evaluation/nrrd", **FEW)),
    "zip of zips": ("SkullBreak/data", skullbreak("nrrd/Training", "nrrd/Testing", **FEW)),
    "nii.gz": ("SkullBreak_nifti", skullbreak(suffix=".nii.gz", **FEW)),
    "upper case": ("SKULLBREAK", [path.upper() for path in skullbreak(**FEW)]),
    "one folder": ("SkullBreak", skullbreak("", "", train_numbers=(0, 5, 113), test_numbers=(114, 133))),
    "other names": ("SkullBreak", [
        path.replace("_skull/", "Skulls/").replace("implant", "Implants").replace("fronto", "fronto-")
        for path in skullbreak(**FEW)
    ]),
}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """copy(folder, paths) lays out a dataset in tmp_path/folder and sets CRANIAL_DATA; returns its paths."""
    monkeypatch.setenv("CRANIAL_DATA", str(tmp_path))

    def lay_out(folder: str, paths) -> list[str]:
        return fill(tmp_path / folder, paths)

    return lay_out


# Layouts

@pytest.mark.parametrize(("name", "layout"), WHOLE_COPIES, ids=map(", ".join, WHOLE_COPIES))
def test_a_whole_copy_is_complete(copy, name, layout):
    folder, paths = WHOLE_COPIES[name, layout]
    copy(folder, paths())
    dataset = open_dataset(name)
    assert dataset.report.complete, str(dataset.report)
    assert not (dataset.report.missing or dataset.report.gaps or dataset.report.unexpected)
    assert len(dataset) == len({case.case_id for case in dataset}) == CASES[name]
    for case in dataset:
        for path in filter(None, (case.complete, case.defective, case.implant)):
            assert path.is_file()


@pytest.mark.parametrize("layout", FEW_SKULLS)
def test_skullbreak_is_understood_in_every_layout(copy, layout):
    folder, paths = FEW_SKULLS[layout]
    paths = copy(folder, paths)
    dataset = open_dataset("skullbreak")
    assert [case.part for case in dataset] == ["train"] * 15 + ["test"] * 10
    assert {case.style for case in dataset} == set(STYLES)
    used = {path for case in dataset for path in (case.complete, case.defective, case.implant)}
    assert len(used) == sum(part.files_found for part in dataset.report.parts) == len(paths) == 5 * 11
    for case in dataset:
        number = case.skull_id[-3:]
        assert {path.name[:3] for path in (case.complete, case.defective, case.implant)} == {number}
    assert not (dataset.report.unexpected or dataset.report.duplicates)


@pytest.mark.parametrize("arrangement", ["figshare", "by format", "one folder"])
def test_mug500_is_understood_in_every_layout(copy, arrangement):
    copy("MUG500+", mug500(arrangement, healthy=(1, 250, 500), craniotomies=(1, 29)))
    dataset = open_dataset("mug500")
    names = ["A0001", "A0250", "A0500", "B0001", "B0029"]
    assert [case.skull_id for case in dataset] == [f"mug500/{name}" for name in names]
    assert [case.complete.name for case in dataset.cases[:3]] == ["A0001.nrrd", "A0250.nrrd", "A0500.nrrd"]
    assert [case.implant.name for case in dataset.cases[3:]] == ["B0001_implant.stl", "B0029_implant.stl"]
    assert [part.files_found for part in dataset.report.parts] == [3, 4]
    assert not (dataset.report.unexpected or dataset.report.duplicates)


@pytest.mark.parametrize(
    ("folder", "paths"),
    [("14161307/SkullFix", skullfix(test="test_set_give_participants")), ("SkullFix", skullfix(""))],
    ids=["figshare", "training at the top"],
)
def test_skullfix_is_understood_in_every_layout(copy, folder, paths):
    copy(folder, (path for path in paths if path[-8:-5] in ("000", "099", "109")))
    cases = open_dataset("skullfix").cases
    skulls = ["train/000", "train/099", "test/000", "test/099", "test/109"]
    assert [case.case_id for case in cases] == [f"skullfix/{skull}" for skull in skulls]
    assert all(case.implant for case in cases[:2]) and not any(case.implant for case in cases[2:])


def test_a_skullbreak_case_points_at_the_files_of_its_own_skull_and_style(copy, tmp_path):
    copy("SkullBreak", skullbreak(train_numbers=(7, 8), test_numbers=(7,)))
    dataset, folder = open_dataset("SkullBreak"), tmp_path / "SkullBreak"
    case = dataset.case("train/007/random_1")
    assert (case.skull_id, case.part, case.style) == ("skullbreak/train/007", "train", "random_1")
    assert case.complete == folder / "train/complete_skull/007.nrrd"
    assert case.defective == folder / "train/defective_skull/random_1/007.nrrd"
    assert case.implant == folder / "train/implant/random_1/007.nrrd"
    assert [case.style for case in dataset.cases[:5]] == list(STYLES)


def test_skull_000_of_train_and_000_of_test_are_two_heads(copy):
    copy("SkullBreak", skullbreak(train_numbers=(0,), test_numbers=(0,)))
    skulls = {case.skull_id for case in open_dataset("skullbreak")}
    assert skulls == {"skullbreak/train/000", "skullbreak/test/000"}


def test_a_repeated_complete_skull_is_taken_from_the_folder_of_its_defect(copy, tmp_path):
    copy("SkullBreak", skullbreak(repeated=True, test_numbers=[]))
    lost = tmp_path / "SkullBreak/train/complete_skull/random_2/003.nrrd"
    lost.unlink()
    dataset = open_dataset("skullbreak")
    assert dataset.case("train/003/bilateral").complete.parent.name == "bilateral"
    assert dataset.case("train/003/random_2").complete.name == "003.nrrd"  # another copy of the same skull
    assert dataset.report.missing == ("train/complete_skull/random_2/003.nrrd",)


def test_a_folder_named_above_the_dataset_does_not_decide_its_part(tmp_path):
    fill(tmp_path / "test" / "SkullBreak", skullbreak(train="", train_numbers=(0, 1), test_numbers=[]))
    dataset = open_dataset("skullbreak", tmp_path / "test")
    assert {case.part for case in dataset} == {"train"}


def test_the_training_folder_alone_may_be_given(tmp_path):
    fill(tmp_path, skullbreak("mine/training", "mine/evaluation", **FEW))
    assert {case.part for case in open_dataset("skullbreak", tmp_path / "mine" / "evaluation")} == {"test"}


def test_skullfix_test_cases_have_no_ground_truth_unless_the_copy_has_it(copy, tmp_path):
    copy("SkullFix", skullfix())
    dataset = open_dataset("skullfix")
    case = dataset.case("test/105")
    assert case.defective.parent.name == "additional_test_set_for_participants"
    assert case.complete is None and case.implant is None
    assert "not published" in str(dataset.report)
    fill(tmp_path / "SkullFix", (f"test_set_for_participants/implant/{n:03d}.nrrd" for n in range(109)))
    dataset = open_dataset("skullfix")
    assert dataset.case("test/105").implant.name == "105.nrrd"
    assert dataset.report.missing == ("test_set_for_participants/implant/109.nrrd",)


def test_a_craniotomy_of_mug500_is_a_scan_and_an_implant_mesh_and_a_healthy_skull_is_complete(copy):
    copy("MUG500", mug500("figshare", healthy=(3,), craniotomies=(3,)))
    dataset = open_dataset("mug500+")
    craniotomy, healthy = dataset.case("B0003"), dataset.case("A0003")
    assert (craniotomy.defective.name, craniotomy.implant.name) == ("B0003.nrrd", "B0003_implant.stl")
    assert (craniotomy.style, craniotomy.complete) == ("craniotomy", None)
    assert (healthy.complete.name, healthy.defective, healthy.implant) == ("A0003.nrrd", None, None)


def test_a_healthy_skull_without_volume_is_taken_from_its_cleaned_mesh_and_reported(copy, tmp_path):
    copy("MUG500", mug500("figshare", healthy=range(1, 11), craniotomies=[]))
    (tmp_path / "MUG500/A0006-A0010/A0006/A0006.nrrd").unlink()
    dataset = open_dataset("mug500")
    assert dataset.case("A0006").complete.name == "A0006_clear.stl"
    assert dataset.report.missing[0] == "A0006-A0010/A0006/A0006.nrrd"
    assert dataset.report.parts[0].files_found == 9
    assert "1 skulls are here as meshes only" in str(dataset.report)


def test_the_styles_of_the_datasets_are_those_that_defects_cuts():
    from cranial.skulls import defects

    assert SKULLBREAK_STYLES == defects.SKULLBREAK_STYLES
    named = {part.style for layout in DATASETS.values() for part in layout.parts if part.style}
    assert {"skullfix", "craniotomy"} <= named & set(defects.STYLES)


# What is missing

PUBLISHED = {
    "skullbreak, side by side": ("", lambda: skullbreak("skullbreak_training/nrrd", "skullbreak_evaluation")),
    "skullbreak, complete skull per defect": ("SkullBreak", lambda: skullbreak("Training", repeated=True)),
    "skullbreak, nii.gz in one folder": (
        "SkullBreak", lambda: skullbreak("", "", suffix=".nii.gz", test_numbers=range(114, 134))),
    "skullfix, as published": ("SkullFix", lambda: skullfix()),
    "mug500, one folder": ("MUG500", lambda: mug500()),
    "mug500, by format": ("MUG500", lambda: mug500("by format")),
    "autoimplant, from zero": ("clinical", lambda: clinical(range(11))),
}


@pytest.mark.parametrize("copied", PUBLISHED)
def test_the_report_names_exactly_the_files_that_are_missing(copy, rng, copied):
    name, (folder, paths) = copied.split(",")[0], PUBLISHED[copied]
    published = {path for path in paths() if not re.search(r"A\d{4}\.stl|B\d{4}\.stl", path)}
    some = {path for path in published if re.search(r"(005|105|116|A0005|B0005|sub00)[._][^/]*$", path)}
    there = some | {path for path in published if rng.random() < 0.05}
    copy(folder, there)
    report = open_dataset(name).report
    assert set(report.missing) == published - there
    assert sum(part.files_found for part in report.parts) == len(there)
    assert sum(part.files_expected for part in report.parts) == len(published)
    assert not report.complete


def test_a_handful_of_missing_files_is_printed_path_by_path(copy, tmp_path, rng):
    paths = copy("SkullFix", skullfix())
    lost = sorted(paths[index] for index in rng.choice(len(paths), 5, replace=False))
    for path in lost:
        (tmp_path / "SkullFix" / path).unlink()
    report = open_dataset("skullfix").report
    assert list(report.missing) == lost
    assert f"  missing (5):\n    {chr(10).join(lost).replace(chr(10), chr(10) + '    ')}\n" in f"{report}\n"


def test_a_skull_of_which_nothing_is_there_is_a_gap_and_all_its_files_are_missing(copy):
    copy("SkullBreak", skullbreak(train_numbers=[n for n in range(114) if n not in (12, 13, 14, 77)]))
    report = open_dataset("skullbreak").report
    assert report.gaps == ("train/012", "train/013", "train/014", "train/077")
    assert len(report.missing) == 4 * 11
    assert "nothing is there: train/012-014, train/077" in str(report)
    assert f"... and {44 - SHOWN} more" in str(report)


def test_a_lost_mug500_skull_is_looked_for_in_the_folder_of_its_range(copy):
    healthy = [number for number in range(1, 21) if number not in (8, 11, 12, 13, 14, 15)]
    copy("MUG500", mug500("figshare", healthy=healthy, craniotomies=[]))
    report = open_dataset("mug500").report
    whole_range = [f"A{number:04d}/A{number:04d}.nrrd" for number in (11, 12, 13, 14, 15)]
    assert report.missing[:6] == ("A0006-A0010/A0008/A0008.nrrd", *whole_range)
    assert runs(report.gaps) == ["A0008", "A0011-A0015", "A0021-A0500"]


def test_a_copy_without_the_test_part_says_so_and_does_not_list_it_file_by_file(copy):
    copy("SkullBreak", skullbreak(test_numbers=[]))
    report = open_dataset("skullbreak").report
    assert report.absent == ("test",) and not report.complete and report.missing == ()
    assert "test: absent, 0 of 20 skulls, 0 of 220 files" in str(report)


def test_a_role_that_is_missing_altogether_is_named_where_it_belongs(copy):
    copy("MUG500", (path for path in mug500(healthy=[]) if "_implant" not in path))
    assert open_dataset("mug500").report.missing[:2] == ("B0001/B0001_implant.stl", "B0002/B0002_implant.stl")
    copy("SkullBreak", (path for path in skullbreak(**FEW) if not path.startswith("train/implant/random_1")))
    missing = open_dataset("skullbreak").report.missing
    assert {f"train/implant/random_1/{number:03d}.nrrd" for number in range(114)} < set(missing)


def test_too_few_skulls_of_undocumented_number_are_counted_and_not_named(copy):
    copy("SkullBreak", skullbreak(train_numbers=[], test_numbers=[200, 201, 205]))
    report = open_dataset("skullbreak").report
    assert not report.complete and report.missing == ()
    assert report.gaps == ("test/202", "test/203", "test/204")
    assert "test: 3 skulls found, 20 published" in str(report)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "zero bytes"),
        (b"<html>404 not found", "does not begin like a .nrrd file"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (None, "link to a file that is not there"),
    ],
)
def test_a_damaged_file_is_reported_with_its_reason_and_is_no_case(copy, tmp_path, content, why):
    copy("clinical", clinical())
    damaged = tmp_path / "clinical/sub05.nrrd"
    damaged.unlink()
    damaged.symlink_to("nowhere") if content is None else damaged.write_bytes(content)
    dataset = open_dataset("autoimplant")
    assert [path for path, _ in dataset.report.unreadable] == ["sub05.nrrd"] == list(dataset.report.missing)
    assert why in dataset.report.unreadable[0][1] and why in str(dataset.report)
    assert len(dataset) == 10 and not dataset.report.complete


def test_a_damaged_file_is_replaced_by_its_readable_double(copy, tmp_path):
    copy("clinical", [*clinical(), "sub05.nii.gz"])
    damaged = tmp_path / "clinical/sub05.nrrd"
    damaged.unlink()
    damaged.touch()
    dataset = open_dataset("autoimplant")
    assert dataset.case("sub05").defective.name == "sub05.nii.gz"
    assert dataset.report.complete and len(dataset.report.unreadable) == 1


def test_of_a_volume_that_is_there_twice_the_nrrd_is_used_and_the_other_named(copy):
    copy("clinical", [*clinical(), "sub05.nii.gz", "copy/sub06.nrrd"])
    dataset = open_dataset("autoimplant")
    assert dataset.report.duplicates == (("sub05.nrrd", "sub05.nii.gz"), ("sub06.nrrd", "copy/sub06.nrrd"))
    assert dataset.case("sub05").defective.name == "sub05.nrrd"
    assert "sub05.nii.gz (used: sub05.nrrd)" in str(dataset.report)
    assert dataset.report.complete


def test_hidden_files_of_other_systems_are_not_looked_at(copy, tmp_path):
    copy("clinical", [*clinical(), "__MACOSX/sub01.nrrd", ".Trash/sub01.nrrd"])
    for junk in (".DS_Store", "Thumbs.db", "._sub01.nrrd", "README.txt"):
        (tmp_path / "clinical" / junk).write_bytes(b"junk")
    report = open_dataset("autoimplant").report
    assert report.complete
    assert not (report.unexpected or report.unreadable or report.duplicates)


def test_volumes_that_have_no_place_are_named(copy):
    strange = ["train/complete_skull/114.nrrd", "train/implant/000.nrrd", "train/implant/random_3/000.nrrd",
               "train/complete_skull/skull.nrrd", "predictions/000.nrrd"]
    copy("SkullBreak", [*skullbreak(**FEW), *strange, "train/mesh/000.stl"])
    report = open_dataset("skullbreak").report
    assert report.unexpected == tuple(sorted(strange))
    assert "1 meshes lie beside" in str(report)


def test_archives_are_named_until_they_are_unpacked(copy, tmp_path):
    copy("MUG500", mug500("figshare", healthy=range(6, 11), craniotomies=[]))
    for name in ("A0001-A0005.zip", "A0006-A0010.zip"):
        (tmp_path / "MUG500" / name).write_bytes(b"PK")
    report = open_dataset("mug500").report
    assert report.packed == ("A0001-A0005.zip",)
    assert "A0001-A0005.zip" in str(report)


def test_a_link_to_a_folder_above_ends_there_and_a_linked_part_is_followed(copy, tmp_path):
    copy("elsewhere", skullbreak(**FEW))
    home = tmp_path / "SkullBreak"
    home.mkdir()
    (home / "train").symlink_to(tmp_path / "elsewhere" / "train")
    (home / "test").symlink_to(tmp_path / "elsewhere" / "test")
    (tmp_path / "elsewhere" / "train" / "again").symlink_to(home)
    dataset = open_dataset("skullbreak")
    assert len(dataset) == 25 and dataset.report.duplicates == ()


def test_a_folder_that_may_not_be_listed_is_reported(copy, tmp_path, monkeypatch):
    copy("clinical", [*clinical(range(1, 11)), "locked/sub11.nrrd"])
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    report = open_dataset("autoimplant").report
    assert report.unreadable == (("locked", "folder cannot be listed (Permission denied)"),)
    assert report.missing == ("sub11.nrrd",)


# Where it is looked for

def test_without_a_folder_the_error_says_how_to_name_one_and_where_the_data_are(monkeypatch):
    monkeypatch.delenv("CRANIAL_DATA", raising=False)
    with pytest.raises(DatasetError, match="export CRANIAL_DATA=") as error:
        open_dataset("skullbreak")
    for word in ("contains SkullBreak/", "root=", "10.1016/j.dib.2021.106902", "CC BY-NC-SA 4.0"):
        assert word in str(error.value)
    with pytest.raises(DatasetError, match="figshare article 14161307"):
        open_dataset("skullfix")
    with pytest.raises(DatasetError, match="figshare article 9616319"):
        open_dataset("mug500")
    with pytest.raises(DatasetError, match="autoimplant2021.grand-challenge.org"):
        open_dataset("autoimplant")


def test_an_unknown_dataset_gets_the_nearest_name():
    with pytest.raises(DatasetError, match="no dataset is called 'skulbreak'.*is 'skullbreak'"):
        open_dataset("skulbreak")


def test_a_root_that_is_no_folder_is_named(tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="root is .*nowhere, which is not a folder"):
        open_dataset("skullbreak", tmp_path / "nowhere")
    monkeypatch.setenv("CRANIAL_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="CRANIAL_DATA is .*nowhere, which is not a folder"):
        open_dataset("skullbreak")


def test_packed_data_are_to_be_unpacked(tmp_path, monkeypatch):
    archive = tmp_path / "skullbreak_training.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(DatasetError, match="skullbreak_training.zip is an archive; unpack it"):
        open_dataset("skullbreak", archive)
    monkeypatch.setenv("CRANIAL_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match="SkullBreak is still packed: unpack skullbreak_training.zip in"):
        open_dataset("skullbreak")
    for number in range(5):
        (tmp_path / "MUG500").mkdir(exist_ok=True)
        (tmp_path / "MUG500" / f"A{number}.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="is still packed: unpack A0.zip, A1.zip, A2.zip and 2 more in"):
        open_dataset("mug500")


def test_a_data_folder_without_the_dataset_says_what_is_there(copy):
    copy("SkullFix", [])
    with pytest.raises(DatasetError, match="called like SkullBreak .folders there: SkullFix.*CRANIAL_DATA"):
        open_dataset("skullbreak")


def test_a_folder_with_something_else_in_it_says_how_the_dataset_is_laid_out(tmp_path):
    with pytest.raises(DatasetError, match="laid out like SkullBreak, which is .train,test.*no file at all"):
        open_dataset("skullbreak", tmp_path)
    fill(tmp_path, ["holiday.nrrd"])
    with pytest.raises(DatasetError, match="1 other files, such as holiday.nrrd"):
        open_dataset("skullbreak", tmp_path)


def test_a_folder_of_damaged_files_says_so(tmp_path):
    (tmp_path / "sub01.nrrd").touch()
    with pytest.raises(DatasetError, match="1 are damaged .sub01.nrrd: zero bytes.; copy them again"):
        open_dataset("autoimplant", tmp_path)


def test_an_unknown_case_gets_the_nearest(copy):
    copy("AutoImplant", ["sub01.nrrd", "sub02.nrrd"])
    with pytest.raises(DatasetError, match="no case 'sub1' among its 2; the nearest is 'autoimplant/sub01'"):
        open_dataset("autoimplant").case("sub1")


# Volumes

def test_no_volume_is_read_before_load(copy, tmp_path):
    copy("AutoImplant", ["sub01.nrrd", "sub02.nrrd"])
    broken = tmp_path / "AutoImplant/sub01.nrrd"
    broken.unlink()
    broken.write_bytes(b"NRRD0004 and then nothing")
    dataset = open_dataset("autoimplant")
    assert len(dataset) == 2
    with pytest.raises(VolumeError, match="sub01.nrrd"):
        dataset.load(dataset.case("sub01"))


def test_a_loaded_case_has_its_three_volumes_on_one_grid(copy, tmp_path):
    copy("SkullBreak", skullbreak(train_numbers=(4,), test_numbers=[]))
    complete = ball(4)
    implant = complete.with_mask(complete.mask & (np.indices(complete.shape)[2] > 6))
    defective = complete.with_mask(complete.mask & ~implant.mask)
    files = {"complete_skull": complete, "defective_skull/random_1": defective, "implant/random_1": implant}
    for folder, content in files.items():
        path = tmp_path / f"SkullBreak/train/{folder}/004.nrrd"
        path.unlink()
        volume.write(content, path)
    dataset = open_dataset("skullbreak")
    loaded = dataset.load(dataset.case("train/004/random_1"))
    assert loaded.style == "random_1"
    assert np.array_equal(loaded.complete.mask, loaded.defective.mask | loaded.implant.mask)
    assert np.array_equal(loaded.implant.mask, implant.mask)
    assert np.array_equal(loaded.implant.affine, loaded.defective.affine)


@pytest.fixture
def mismatched(tmp_path):
    """mismatched(implant) loads a SkullFix case whose implant file holds that volume."""

    def load(implant):
        fill(tmp_path, ["defective_skull/000.nrrd", "complete_skull/000.nrrd"])
        volume.write(implant, tmp_path / "implant.nrrd")
        (tmp_path / "implant").mkdir()
        (tmp_path / "implant.nrrd").rename(tmp_path / "implant/000.nrrd")
        dataset = open_dataset("skullfix", tmp_path)
        return dataset.load(dataset.case("train/000"))

    return load


def test_files_of_two_shapes_are_not_one_case(mismatched):
    with pytest.raises(DatasetError, match=r"000.nrrd has \(11, 11, 11\) voxels.*\(9, 9, 9\); they are not"):
        mismatched(ball(side=11))


def test_files_with_other_axes_are_not_put_on_each_other_silently(mismatched):
    flipped = np.diag((-1.0, 1.0, 1.0, 1.0))
    with pytest.raises(DatasetError, match="axes of .*implant.000.nrrd are not those of .*volume.resample"):
        mismatched(volume.Volume(ball().mask, flipped))


def test_an_origin_that_differs_is_told_and_the_voxels_are_kept(mismatched):
    with pytest.warns(UserWarning, match="origin of .*implant.000.nrrd is 5.00 mm from that of"):
        loaded = mismatched(ball(2, origin_mm=(3, 0, 4)))
    assert np.array_equal(loaded.implant.mask, ball(2).mask)
    assert np.array_equal(loaded.implant.affine, loaded.defective.affine)


def test_an_implant_mesh_is_voxelised_on_the_grid_of_its_scan(tmp_path):
    scan = ball(12, side=33)
    implant = ball(6, side=33)
    (tmp_path / "B0001").mkdir()
    volume.write(scan, tmp_path / "B0001/B0001.nrrd")
    volume.write_mesh(implant, tmp_path / "B0001/B0001_implant.stl")
    dataset = open_dataset("mug500", tmp_path)
    loaded = dataset.load(dataset.case("B0001"))
    assert loaded.complete is None
    assert np.array_equal(loaded.implant.affine, loaded.defective.affine)
    both = np.count_nonzero(loaded.implant.mask & implant.mask)
    assert 2 * both / (loaded.implant.mask.sum() + implant.mask.sum()) > 0.9


def test_an_implant_mesh_in_another_frame_is_refused(tmp_path):
    (tmp_path / "B0001").mkdir()
    volume.write(ball(12, side=33), tmp_path / "B0001/B0001.nrrd")
    volume.write_mesh(ball(6, side=33, origin_mm=(-50, -50, 0)), tmp_path / "B0001/B0001_implant.stl")
    dataset = open_dataset("mug500", tmp_path)
    with pytest.raises(DatasetError, match="only 0% of the mesh .*B0001_implant.stl lies inside .*LPS mm"):
        dataset.load(dataset.case("B0001"))
