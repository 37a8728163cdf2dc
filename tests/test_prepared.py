"""A dataset's cases in a store: each on its cube, with its name; the same again goes on."""

import shutil

import numpy as np
import pytest
from skull_trees import STYLES

from cranial import volume
from cranial.skulls.datasets import open_dataset
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom
from cranial.skulls.splits import split
from cranial.skulls.store import CaseStore
from cranial.synthesis.prepared import PreparedSet, make_prepared_set

pytestmark = pytest.mark.filterwarnings("ignore:only .* skulls of skullbreak")
RECIPE = PreparedSet(dataset="skullbreak", side=24)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two skulls of SkullBreak's training set, as phantoms, one of five defects lacking its implant."""
    root = tmp_path_factory.mktemp("SkullBreak")
    for number, name in ((0, "000"), (1, "001")):
        skull = phantom(number, spacing_mm=6.0)
        volume.write(skull, _path(root / "complete_skull" / f"{name}.nrrd"))
        for style in STYLES:
            case = cut(skull, style, seed=number)
            volume.write(case.defective, _path(root / "defective_skull" / style / f"{name}.nrrd"))
            volume.write(case.implant, _path(root / "implant" / style / f"{name}.nrrd"))
    (root / "implant" / "bilateral" / "001.nrrd").unlink()
    return root


def _path(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_every_whole_case_is_laid_into_its_cube(root, tmp_path):
    made = make_prepared_set(RECIPE, tmp_path, root=root, progress=False)
    store = CaseStore.open(tmp_path)
    whole = [c for c in split(open_dataset("skullbreak", root), "train") if c.complete and c.defective and c.implant]
    assert len(store) == len(whole) == 9 and made.written + sum(made.rejected.values()) == 9 and made.written >= 7
    assert store.layout.spacing_mm == (256.0 / 24,) * 3
    for item in store.present():
        case, said = store.read(item), store.provenance(item)
        assert not (case.defective & case.defect).any()
        assert (said["skull"], said["style"]) == (whole[item].skull_id, whole[item].style)
        complete = volume.read(whole[item].complete)
        cubed = (case.defective | case.defect).sum() * (256.0 / 24) ** 3
        assert cubed == pytest.approx(complete.volume_mm3, rel=0.35), "voxels of 11 mm, bone of 6"


def test_it_goes_on_where_it_stopped_and_nodes_may_share(root, tmp_path):
    make_prepared_set(RECIPE, tmp_path, root=root, items=range(0, 4), progress=False)
    rest = make_prepared_set(RECIPE, tmp_path, root=root, progress=False)
    assert rest.before == 4 and CaseStore.open(tmp_path).missing() == []
    whole = tmp_path.parent / "whole"
    make_prepared_set(RECIPE, whole, root=root, progress=False)
    for item in CaseStore.open(whole).present():
        one, other = CaseStore.open(whole).read(item), CaseStore.open(tmp_path).read(item)
        assert np.array_equal(one.defective, other.defective) and np.array_equal(one.defect, other.defect)


def test_a_dataset_without_a_whole_case_says_so(root, tmp_path):
    bare = tmp_path / "SkullBreak"
    shutil.copytree(root, bare)
    shutil.rmtree(bare / "implant")
    with pytest.raises(ValueError, match="no whole case of part 'train'"):
        make_prepared_set(RECIPE, tmp_path / "set", root=bare, progress=False)


def test_several_datasets_make_one_set(root, tmp_path):
    both = PreparedSet(dataset=("skullbreak", "skullbreak"), side=24)
    once, twice = tmp_path / "once", tmp_path / "twice"
    make_prepared_set(RECIPE, once, root=root, progress=False)
    make_prepared_set(both, twice, root=root, progress=False)
    one, other = CaseStore.open(once), CaseStore.open(twice)
    assert len(other) == 2 * len(one)
    assert other.present() == one.present() + [len(one) + item for item in one.present()]
