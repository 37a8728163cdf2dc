"""What the benchmark does to a scan changes how it was taken, and not what is missing in the head."""

import numpy as np
import pytest
from perturbations import PERTURBATIONS, SCAN_MM, SPECKLED, cropped, in_slices, shifted, speckled, turned

from cranial import volume
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom


@pytest.fixture(scope="module")
def case():
    return cut(phantom(1, spacing_mm=3.0), "random_2", seed=0)


@pytest.mark.parametrize("change", PERTURBATIONS.values(), ids=PERTURBATIONS)
def test_what_is_seen_and_the_truth_are_on_one_grid_and_the_defect_is_no_bone(case, change, rng):
    changed = change(case, rng)
    assert volume.same_grid(changed.seen, changed.implant) and volume.same_grid(changed.defective, changed.implant)
    assert changed.implant.mask.any() and not (changed.implant.mask & changed.defective.mask).any()


@pytest.mark.parametrize("change", [turned, shifted, in_slices])
def test_the_defect_keeps_its_volume(case, change, rng):
    assert change(case, rng).implant.volume_mm3 == pytest.approx(case.implant.volume_mm3, rel=0.06)


def test_a_turned_head_lies_elsewhere_in_a_scan_along_the_patients_axes(case, rng):
    changed = turned(case, rng).defective
    assert np.allclose(changed.affine[:3, :3], 3 * np.eye(3))
    again = volume.resample(changed, like=case.defective).mask
    assert np.count_nonzero(again & case.defective.mask) < 0.6 * np.count_nonzero(case.defective.mask)


def test_a_shifted_head_is_the_same_head_with_air_around(case, rng):
    changed = shifted(case, rng).defective
    box = volume.to_lps(changed).mask
    assert np.count_nonzero(box) == np.count_nonzero(case.defective.mask) and box.size > case.defective.mask.size
    assert np.abs(changed.affine[:3, 3] - case.defective.affine[:3, 3]).max() > 60


def test_a_cropped_scan_shows_the_vault_alone(case, rng):
    changed = cropped(case, rng).defective
    assert changed.shape[2] * 3.0 < SCAN_MM + 10 < case.defective.shape[2] * 3.0
    assert (volume.resample(changed, like=case.defective).mask <= case.defective.mask).all()


def test_speckle_spoils_what_is_seen_and_not_what_is_asked_for(case, rng):
    changed = speckled(case, rng)
    assert np.mean(changed.seen.mask ^ case.defective.mask) == pytest.approx(SPECKLED, rel=0.05)
    assert changed.implant is case.implant and changed.defective is case.defective
