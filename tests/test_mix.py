"""Training on given cases: a step is the same whenever it is asked for, and each pool has its share."""

import json

import numpy as np
import pytest

from cranial.reconstruction.mix import MixRecipe, StoredCases, as_case, draw_mix, lay_cases, train_mix
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom
from cranial.skulls.store import CaseStore

SIDE = 32


@pytest.fixture(scope="module")
def cases():
    return [cut(phantom(item, spacing_mm=3.0), "bilateral", seed=item) for item in range(2)]


@pytest.fixture(scope="module")
def pool(cases) -> np.ndarray:
    return lay_cases(cases, SIDE)


def of_number(number: int, count: int) -> np.ndarray:
    """Cases that can be told apart: input all 0, target a block of `number` voxels."""
    pool = np.zeros((count, 2, SIDE, SIDE, SIDE), np.uint8)
    pool[:, 1].reshape(count, -1)[:, :number] = 1
    return pool


def test_a_case_is_laid_whole_and_apart(cases, pool):
    assert pool.shape == (2, 2, SIDE, SIDE, SIDE) and pool.dtype == np.uint8
    assert not (pool[:, 0] & pool[:, 1]).any() and pool.any(axis=(2, 3, 4)).all()
    share = cases[0].implant.volume_mm3 / cases[0].complete.volume_mm3
    assert pool[0, 1].sum() / pool[0].sum() == pytest.approx(share, rel=0.3)


def test_a_case_in_its_cube_is_a_case_again(pool):
    case = as_case(pool[0], edge_mm=256.0, style="bilateral")
    np.testing.assert_array_equal(case.implant.mask, pool[0, 1] == 1)
    np.testing.assert_array_equal(case.complete.mask, pool[0].any(axis=0))
    assert case.complete.spacing_mm == (8.0, 8.0, 8.0)
    np.testing.assert_allclose(case.complete.voxel_to_mm(np.full((1, 3), (SIDE - 1) / 2)), 0, atol=1e-9)


def test_a_step_is_the_same_whenever_it_is_drawn(pool):
    choices = {"geometric": "extreme", "seed": 3, "batch": 3}
    one, again, other = (draw_mix([pool], [1], step=step, **choices) for step in (5, 5, 6))
    for first, second in zip(one, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert not np.array_equal(one[0], other[0])
    assert one[0].shape == one[1].shape == (3, 1, SIDE, SIDE, SIDE)
    assert set(np.unique(one[0])) | set(np.unique(one[1])) <= {0.0, 1.0}


def test_without_augmentation_cases_are_shown_as_they_are(pool):
    inputs, targets = draw_mix([pool], [1], geometric="none", seed=0, step=0, batch=4)
    for shown in zip(inputs[:, 0], targets[:, 0], strict=True):
        assert any(np.array_equal(np.stack(shown), case) for case in pool)


def test_pools_are_drawn_from_by_their_shares():
    pools = [of_number(1, 5), of_number(7, 1), of_number(9, 3)]
    _, targets = draw_mix(pools, [1, 3, 0], geometric="none", seed=0, step=0, batch=400)
    sizes = targets.sum(axis=(1, 2, 3, 4))
    assert set(sizes) == {1, 7}
    assert np.mean(sizes == 7) == pytest.approx(0.75, abs=0.07)


def test_a_store_is_a_pool_without_what_is_missing_or_rejected(tmp_path, pool):
    store = CaseStore.create(tmp_path, count=5, shape=(SIDE,) * 3, spacing_mm=(1, 1, 1), recipe={})
    store.write(1, *pool[0].astype(bool), {})
    store.write(4, *pool[1].astype(bool), {})
    store.reject(2, "broken")
    stored = StoredCases(store)
    assert len(stored) == 2
    np.testing.assert_array_equal(stored[1], pool[1])
    assert len(StoredCases(store, range(2))) == 1


def test_a_mix_trains_resumes_and_learns(tmp_path, pool):
    recipe = MixRecipe(steps=60, batch=2, widths=(8, 16), patch=1, learning_rate=1e-2, precision="32-true")
    choices = {"validation": pool, "validate_every": 30, "progress": False}
    result = train_mix(recipe, [pool, pool[:1]], tmp_path, **choices)
    log = [json.loads(line) for line in result.log.read_text().splitlines()]
    losses = [line["unet/dice"] for line in log if "unet/dice" in line]
    assert losses[-1] < 0.75 * losses[0]
    assert [line["step"] for line in log if "validation/dsc" in line] == [30, 60]
    before = result.last.read_bytes()
    assert train_mix(recipe, [pool, pool[:1]], tmp_path, **choices).last.read_bytes() == before


def test_an_empty_mix_is_named(tmp_path, pool):
    recipe = MixRecipe(steps=1)
    with pytest.raises(ValueError, match="pools is empty; give pools of cases"):
        train_mix(recipe, [], tmp_path)
    with pytest.raises(ValueError, match=r"pools is without a case at \[1\]"):
        train_mix(recipe, [pool, pool[:0]], tmp_path)
