"""The weights that come with the package: small, described, and better than nothing on heads they never saw."""

from statistics import mean

import numpy as np
import pytest

from cranial import metrics, volume
from cranial.reconstruction import load_model, reconstruct
from cranial.reconstruction.model import SHIPPED
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom
from cranial.skulls.splits import phantom_items


@pytest.fixture(scope="module")
def model():
    return load_model()


def test_the_weights_are_a_few_megabytes_and_have_a_card():
    assert 1e6 < SHIPPED.stat().st_size < 30e6
    card = (SHIPPED.parent / "README.md").read_text()
    assert all(source in card for source in ("keinos", "mricrogl_ct", "scct_template", "phantoms", "medical device"))


def test_the_card_names_what_the_weights_say_they_were_trained_on(model):
    card = (SHIPPED.parent / "README.md").read_text()
    assert all(source in card for source in model.metadata["trained_on"])
    assert "arothron_human" not in model.metadata["trained_on"]


@pytest.mark.parametrize("style", ["parietotemporal", "random_1", "bilateral"])
def test_a_hole_in_an_unseen_phantom_is_filled(model, style):
    skull = phantom(phantom_items("test")[0], spacing_mm=1.5)
    case = cut(skull, style, seed=0)
    found = reconstruct(case.defective, model=model)
    assert metrics.dice(found.defect.mask, case.implant.mask) > 0.6


def test_holes_in_an_unseen_real_head_are_filled(model, real_skulls):
    head = volume.read(real_skulls["arothron_human"])
    cases = [cut(head, style, seed=2026, item=item) for item, style in ((2, "parietotemporal"), (3, "random_1"))]
    scores = [metrics.dice(reconstruct(c.defective, model=model).defect.mask, c.implant.mask) for c in cases]
    assert mean(scores) > 0.8


@pytest.mark.parametrize("name", ["inv0051", "skullbreak001_parietotemporal"])
def test_a_real_defect_gets_one_patch_on_its_own_grid(model, real_skulls, name):
    case = volume.read(real_skulls[name])
    found = reconstruct(case, model=model)
    assert volume.same_grid(found.defect, case) and not np.any(found.defect.mask & case.mask)
    assert 3 < found.report["volume_cm3"] < 80
