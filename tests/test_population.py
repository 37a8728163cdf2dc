"""A folder of phantoms is SkullBreak's layout, made once, added to, and never mixed."""

import json

import numpy as np
import pytest

from cranial import volume
from cranial.skulls.population import Population, write_population

COARSE_MM = 4.0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    done = write_population(folder, count=2, styles=["bilateral", "skullfix"], spacing_mm=COARSE_MM)
    assert done == Population(written=10, skipped=0)
    return folder


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_population_has_the_layout_of_skullbreak(made):
    assert sorted(files(made)) == [
        "complete_skull/000.nrrd",
        "complete_skull/001.nrrd",
        "defective_skull/bilateral/000.nrrd",
        "defective_skull/bilateral/001.nrrd",
        "defective_skull/skullfix/000.nrrd",
        "defective_skull/skullfix/001.nrrd",
        "implant/bilateral/000.nrrd",
        "implant/bilateral/001.nrrd",
        "implant/skullfix/000.nrrd",
        "implant/skullfix/001.nrrd",
        "population.json",
    ]
    assert json.loads((made / "population.json").read_text()) == {"seed": 0, "spacing_mm": COARSE_MM}


@pytest.mark.parametrize("style", ["bilateral", "skullfix"])
def test_the_skull_with_the_hole_and_the_missing_piece_make_the_complete_skull(made, style):
    complete = volume.read(made / "complete_skull" / "001.nrrd")
    defective = volume.read(made / "defective_skull" / style / "001.nrrd")
    implant = volume.read(made / "implant" / style / "001.nrrd")
    assert complete.spacing_mm == pytest.approx([COARSE_MM] * 3)
    assert not np.any(defective.mask & implant.mask)
    np.testing.assert_array_equal(defective.mask | implant.mask, complete.mask)


def test_two_items_are_two_skulls(made):
    one, other = (volume.read(made / "complete_skull" / f"00{item}.nrrd") for item in range(2))
    assert one.volume_mm3 != other.volume_mm3


def test_an_interrupted_population_is_resumed_to_the_same_files(made):
    before = files(made)
    kept = made / "complete_skull" / "000.nrrd"
    stamp = kept.stat().st_mtime_ns
    (made / "complete_skull" / "001.nrrd").unlink()
    (made / "implant" / "bilateral" / "001.nrrd").unlink()
    done = write_population(made, count=2, styles=["bilateral", "skullfix"], spacing_mm=COARSE_MM)
    assert done == Population(written=2, skipped=8)
    assert files(made) == before
    assert kept.stat().st_mtime_ns == stamp


def test_another_style_adds_to_the_folder(made, tmp_path):
    write_population(tmp_path, count=1, spacing_mm=COARSE_MM)
    assert sorted(files(tmp_path)) == ["complete_skull/000.nrrd", "population.json"]
    done = write_population(tmp_path, count=1, styles=["bilateral"], spacing_mm=COARSE_MM)
    assert done == Population(written=2, skipped=1)
    for name, content in files(tmp_path).items():
        assert files(made)[name] == content


def test_two_populations_are_not_mixed_in_one_folder(made):
    before = files(made)
    message = r"holds phantoms of seed 0 at 4\.0 mm, not of seed 1 at 4\.0 mm; choose another folder"
    with pytest.raises(ValueError, match=message):
        write_population(made, count=2, seed=1, spacing_mm=COARSE_MM)
    with pytest.raises(ValueError, match=r"not of seed 0 at 2\.0 mm"):
        write_population(made, count=2, spacing_mm=2.0)
    assert files(made) == before


def test_what_cannot_be_made_leaves_no_folder_behind(tmp_path):
    folder = tmp_path / "phantoms"
    with pytest.raises(ValueError, match="count is 0; ask for at least one phantom"):
        write_population(folder, count=0)
    with pytest.raises(ValueError, match="'bilaterl' is not a style of defect; choose from bilateral, "):
        write_population(folder, count=1, styles=["bilaterl"])
    with pytest.raises(ValueError, match="spacing_mm is 100"):
        write_population(folder, count=1, spacing_mm=100.0)
    assert not folder.exists()
