"""A synthetic set beside the real cases: copies are found and counted, variety and cover have their known values."""

import json

import numpy as np
import pytest

from cranial import metrics, quality
from cranial.quality import MEASURES, NearestCase, assess, diversity, expected_coverage, facts, thickness_mm
from cranial.quality import words as packed
from cranial.quality.neighbours import Coverage, PairDistances
from cranial.reconstruction.mix import StoredCases
from cranial.skulls.store import CaseStore

SIDE, SPACING_MM = 24, (2.0, 2.0, 2.0)


def head(item: int) -> np.ndarray:
    """A hollow ellipsoid with a round hole, of its own size, place, wall and hole; bool (2, 24, 24, 24)."""
    rng = np.random.default_rng(item)
    centre, radii = rng.uniform(10.5, 12.5, 3), rng.uniform(6.5, 9.5, 3)
    rays = (np.stack(np.indices((SIDE,) * 3), -1) - centre) / radii
    length = np.linalg.norm(rays, axis=-1)
    skull = (length < 1) & (length > rng.uniform(0.65, 0.8))
    towards = rng.normal(size=3)
    hole = skull & (rays @ (towards / np.linalg.norm(towards)) > rng.uniform(0.4, 0.7) * length)
    return np.stack([skull & ~hole, hole])


def heads(*items: int) -> np.ndarray:
    return np.stack([head(item) for item in items])


def cubes(*corners: tuple[int, int, int], side: int = 8, grid: int = SIDE) -> np.ndarray:
    """A case a corner: a cube whose upper half is the defect."""
    found = np.zeros((len(corners), 2, grid, grid, grid), bool)
    for case, (i, j, k) in zip(found, corners, strict=True):
        case[0, i : i + side, j : j + side, k : k + side // 2] = True
        case[1, i : i + side, j : j + side, k + side // 2 : k + side] = True
    return found


def seen(synthetic, training, held_out=None, **choices) -> quality.SetQuality:
    usual = {"spacing_mm": SPACING_MM, "progress": False, "neighbours": 1}
    return assess(synthetic, training, held_out, **usual | choices)


# Dice


@pytest.mark.parametrize("shape", [(8, 8, 8), (5, 6, 7), (4, 9, 64), (1, 1, 65), (13, 3, 2)])
def test_dice_of_packed_cases_is_that_of_their_voxels(shape):
    rng = np.random.default_rng(0)
    cases = rng.random((6, 2, *shape)) < rng.uniform(0.02, 0.6, (6, 1, 1, 1, 1))
    found = NearestCase(cases).to_all(cases[0])
    for case, row in zip(cases, found, strict=True):
        complete, defect = metrics.dice(cases[0].any(axis=0), case.any(axis=0)), metrics.dice(cases[0][1], case[1])
        both = 2 * np.count_nonzero(cases[0] & case) / (np.count_nonzero(cases[0]) + np.count_nonzero(case))
        np.testing.assert_allclose(row, [complete, defect, both, min(complete, defect)], rtol=1e-14)


@pytest.mark.parametrize("block", [1, 7, 100, 1 << 30])
def test_how_many_cases_are_compared_at_once_changes_nothing(monkeypatch, block):
    cases = heads(*range(9))
    cases[[0, 4, 5, 8]] = False  # no words at all, at both ends and in between
    alone = np.concatenate([NearestCase(case[None]).to_all(cases[2]) for case in cases])
    monkeypatch.setattr(packed, "_BLOCK", block)
    np.testing.assert_array_equal(NearestCase(cases).to_all(cases[2]), alone)
    assert alone[2].tolist() == [1, 1, 1, 1] and alone[0].tolist() == [0, 0, 0, 0]


def test_a_shifted_cube_has_the_dice_of_its_overlap():
    nearest = NearestCase(cubes((0, 0, 0), (8, 8, 8), (4, 8, 8)))
    assert nearest.dice(cubes((10, 8, 8))[0]) == (1, 0.75)  # 6 of 8 planes
    assert nearest.dice(cubes((5, 8, 8))[0]) == (2, 0.875)


def test_two_empty_defects_agree():
    case = head(0) & np.array([True, False])[:, None, None, None]
    assert NearestCase(case[None]).to_all(case).tolist() == [[1, 1, 1, 1]]
    assert NearestCase(heads(0)).to_all(case)[0, 1] == 0


def test_bone_may_be_any_number_but_zero():
    nearest = NearestCase(heads(0, 1))
    for case in (head(1), head(1).astype(np.uint8), 255 * head(1).astype(np.uint8)):
        assert nearest.dice(case) == (1, 1.0)


def test_the_same_skull_with_another_hole_is_near_by_its_skull_only():
    training = heads(0)
    other = np.stack([training[0].any(axis=0) & ~head(5)[1], training[0].any(axis=0) & head(5)[1]])
    nearest = NearestCase(training)
    assert nearest.dice(other, by="complete") == (0, 1.0)
    assert nearest.dice(other, by="both")[1] > 0.5 > nearest.dice(other)[1] == nearest.dice(other, by="defect")[1]


def test_the_first_of_several_nearest_is_named():
    assert NearestCase(heads(3, 1, 1)).dice(head(1)) == (1, 1.0)
    assert len(NearestCase(heads(3, 1, 1))) == 3


# Diversity


def test_copies_have_no_diversity_and_disjoint_cubes_all_there_is():
    assert all((found == 0).all() and len(found) == 6 for found in diversity(heads(1, 1, 1, 1)).values())
    apart = diversity(cubes((0, 0, 0), (8, 0, 0), (0, 8, 0)))
    assert all((apart[measure] == 1).all() for measure in MEASURES)


def test_diversity_is_that_of_each_pair():
    cases = heads(*range(5))
    found = diversity(cases)
    expected = [1 - NearestCase(cases[[one]]).to_all(cases[other])[0] for other in range(5) for one in range(other)]
    np.testing.assert_array_equal(np.stack([found[measure] for measure in MEASURES], axis=1), expected)


def test_a_pair_is_drawn_from_its_seed_and_number():
    cases = heads(*range(12))
    few, many = diversity(cases, pairs=20, seed=4), diversity(cases, pairs=40, seed=4)
    np.testing.assert_array_equal(few["complete"], many["complete"][:20])
    assert len(np.unique(many["complete"])) > 20 and len(many["complete"]) == 40
    assert (many["complete"] > 0).all()  # nobody is their own partner
    assert not np.array_equal(few["complete"], diversity(cases, pairs=20, seed=5)["complete"])
    np.testing.assert_array_equal(diversity(cases, pairs=66)["both"], diversity(cases)["both"])  # 66 are all there are


def test_random_pairs_say_what_all_pairs_say():
    cases = heads(*range(40))
    all_pairs, some = diversity(cases, pairs=780)["complete"], diversity(cases, pairs=300)["complete"]
    assert len(all_pairs) == 780 and len(some) == 300
    assert abs(all_pairs.mean() - some.mean()) < 4 * all_pairs.std() / np.sqrt(300)
    assert np.isin(some, all_pairs).all()


def test_a_case_is_kept_only_until_its_last_partner_has_come():
    apart, words = PairDistances(30, pairs=10, seed=0), packed.pack(head(0))
    most = 0
    for index in range(30):
        apart.add(index, words)
        most = max(most, len(apart._kept))
    assert 0 < most <= 10 and not apart._kept and not np.isnan(apart.distances).any()


# Coverage


def test_of_two_kinds_of_cases_one_is_covered():
    left = [(0, 0, k) for k in range(4)]
    right = [(16, 16, k) for k in range(8, 12)]
    found = seen(cubes(*left, *left), cubes(*left, *right))
    assert found.coverage["synthetic"] == dict.fromkeys(MEASURES, 0.5)
    # Each lies in its own neighbourhood and those of its neighbours one step away: 2, 3, 3, 2 of them.
    assert found.density["synthetic"]["complete"] == 2.5


def test_coverage_and_density_are_those_of_the_paper():
    real, synthetic, k = heads(*range(20)), heads(*range(100, 115)), 3
    found = seen(synthetic, real, heads(*range(200, 240)), neighbours=k)  # of others it knows nothing
    nearest = NearestCase(real)
    between = 1 - np.stack([nearest.to_all(case) for case in real])  # (N, N, 4)
    across = 1 - np.stack([nearest.to_all(case) for case in synthetic])  # (M, N, 4)
    radii = np.sort(between, axis=1)[:, k]  # the first is the case itself
    for number, measure in enumerate(("complete", "defect", "both")):
        inside = (across[..., number] <= radii[:, number]) & (across[..., number] < 1)
        assert found.coverage["synthetic"][measure] == inside.any(axis=0).mean()
        assert found.density["synthetic"][measure] == pytest.approx(inside.sum() / (k * 15))
    assert 0 < found.coverage["synthetic"]["complete"] < 1


def test_a_case_that_shares_no_voxel_is_no_neighbour():
    real = cubes((0, 0, 0), (8, 0, 0), (0, 8, 0))  # 1 from each other: their neighbourhoods are everything
    found = seen(cubes((16, 16, 16), (16, 16, 8)), real)
    assert found.coverage["synthetic"]["complete"] == 0 == found.density["synthetic"]["complete"]
    assert seen(real, real).coverage["synthetic"]["complete"] == 1


def test_a_second_set_begins_afresh():
    real = [packed.pack(case) for case in heads(0, 1, 2)]
    nearest = NearestCase.of(real)
    covering = Coverage(nearest, k=1)
    covering.add(nearest.to_all(real[0]))
    assert covering.coverage()["complete"] >= 1 / 3
    covering.clear()
    assert covering.coverage()["complete"] == 0 == covering.density()["complete"]


def test_expected_coverage_is_what_draws_from_one_distribution_reach():
    assert expected_coverage(10, 10, 1) == pytest.approx(1 - 9 / 19)
    assert expected_coverage(50, 10**9, 5) == pytest.approx(1)
    rng, real, synthetic, k = np.random.default_rng(0), 12, 20, 3
    places = rng.random((4000, real + synthetic))
    between = np.abs(places[:, :real, None] - places[:, None, :real])
    radii = np.sort(between, axis=2)[..., k]
    covered = (np.abs(places[:, :real, None] - places[:, None, real:]) <= radii[..., None]).any(axis=2)
    assert covered.mean() == pytest.approx(expected_coverage(real, synthetic, k), abs=0.01)


# Facts


def slab(thick: int, axis: int = 0, *, size: int = 20, hole: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A slab through the whole grid, and the square piece of it that is missing."""
    place = np.indices((size,) * 3)
    bone = (place[axis] >= 6) & (place[axis] < 6 + thick)
    across = np.abs(np.delete(place, axis, 0) - 9.5).max(axis=0)
    return bone, bone & (across < hole / 2)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("thick", [1, 2, 3, 4, 5, 8])
def test_a_slab_is_as_thick_as_it_is(thick, axis):
    bone, part = slab(thick, axis)
    spacing_mm = (1.5, 0.8, 1.1)
    assert thickness_mm(bone, part, spacing_mm) == pytest.approx(thick * spacing_mm[axis])


@pytest.mark.parametrize("thick", [2.0, 3.0, 4.5, 6.0, 8.0])
def test_a_slab_at_any_angle_is_as_thick_to_a_third_of_a_voxel(thick):
    rng, place = np.random.default_rng(1), np.stack(np.indices((40, 40, 40)), -1) - 19.5
    found = []
    for _ in range(6):
        normal = rng.normal(size=3)
        bone = np.abs(place @ (normal / np.linalg.norm(normal)) - rng.uniform(-1, 1)) < thick / 2
        found.append(thickness_mm(bone, bone & (np.linalg.norm(place, axis=-1) < 11), (1.0, 1.0, 1.0)))
    assert np.mean(found) == pytest.approx(thick, abs=0.34)
    assert np.max(np.abs(np.array(found) - thick)) < 0.7


def test_the_rim_of_a_hole_is_no_surface_of_the_bone():
    bone, part = slab(7, hole=2)  # a hole narrower than the wall is thick
    assert thickness_mm(bone, part, (1.0, 1.0, 1.0)) == 7.0
    assert thickness_mm(part, part, (1.0, 1.0, 1.0)) == 2.0  # alone, the piece is a rod
    assert facts(np.stack([bone & ~part, part]), (1.0, 1.0, 1.0)).thickness_mm == 7.0


def test_thickness_is_that_of_most_of_the_part():
    bone, part = slab(3, size=24, hole=16)
    bone[3:12, 10:14, 10:14] = part[3:12, 10:14, 10:14] = True  # a boss
    assert thickness_mm(bone, part, (1.0, 1.0, 1.0)) == 3.0


def test_where_a_part_is_not_the_whole_depth_of_the_bone_its_inner_side_is_no_ridge():
    bone = np.zeros((20, 20, 20), bool)
    bone[6:15, :14], bone[6:9, 14:] = True, True  # a block of 9, that goes on as a plate of 3
    part = bone & (np.arange(20)[:, None, None] == 6)
    part[6:9, 14:] = True
    assert thickness_mm(bone, part, (1.0, 1.0, 1.0)) == 3.0
    part[6:9, 13:] = False  # a layer of the block alone
    assert thickness_mm(bone, part, (1.0, 1.0, 1.0)) == 2.0


def test_bone_at_the_border_of_the_grid_ends_there():
    bone, part = np.zeros((2, 9, 20, 20), bool)
    bone[:3], part[:3, 8:12, 8:12] = True, True
    assert thickness_mm(bone, part, (1.0, 1.0, 1.0)) == 3.0


def test_bone_is_at_most_as_thick_as_what_is_looked_at():
    assert thickness_mm(*(np.ones((40, 40, 40), bool),) * 2, (2.0, 2.0, 2.0)) == 32.0


def test_the_facts_of_a_plate_with_a_square_hole_are_those_it_was_cut_with():
    bone, part = slab(2, hole=6)
    found = facts(np.stack([bone & ~part, part]), (2.0, 1.0, 1.0))
    assert found.skull_mm3 == 2 * 20 * 20 * 2 and found.defect_mm3 == 2 * 6 * 6 * 2
    assert found.contact == (4 * 6 - 4) / 36  # of the 6 x 6 columns, those at the rim; all voxels are surface
    assert (found.skull_pieces, found.defect_pieces, found.thickness_mm) == (1, 1, 4.0)


def test_contact_counts_the_voxels_of_the_surface_only():
    bone, part = slab(3, hole=6)  # inside, 4 x 4 voxels have no face outside
    assert quality.contact(bone & ~part, part) == 3 * 20 / (3 * 36 - 16)
    assert quality.contact(np.roll(bone, 5, 0), part) == 0
    beside = np.zeros_like(part)
    beside[9:11] = True  # the plate lies on the piece
    assert quality.contact(beside, part) == 36 / (3 * 36 - 16)


def test_pieces_hold_together_by_corners():
    case = np.zeros((2, 8, 8, 8), bool)
    case[1, 2, 2, 2] = case[1, 3, 3, 3] = case[1, 5, 5, 5] = True
    case[0, 7, 7, 7] = case[0, 6, 6, 6] = True
    found = facts(case, (1.0, 1.0, 1.0))
    assert found.defect_pieces == 2 and found.skull_pieces == 2  # the complete skull: the defect ties 5 to 6


def test_an_empty_defect_has_zero_of_everything():
    case = head(0) & np.array([True, False])[:, None, None, None]
    found = facts(case, SPACING_MM).as_dict()
    assert found.pop("skull_mm3") > 0 and found.pop("skull_pieces") == 1
    assert set(found.values()) == {0}
    assert set(facts(case & False, SPACING_MM).as_dict().values()) == {0}


# Sets


def test_a_set_that_is_the_training_set_covers_it_and_is_all_memorised():
    cases = heads(*range(8))
    found = seen(cases, cases)
    assert found.coverage["synthetic"] == dict.fromkeys(MEASURES, 1.0)
    assert all((found.nearest["synthetic"][measure] == 1).all() for measure in MEASURES)
    assert found.nearest_index["synthetic"]["lesser"].tolist() == list(range(8)) == found.memorised().tolist()
    assert {found.kolmogorov_smirnov(fact) for fact in found.facts["synthetic"]} == {0}
    for measure in MEASURES:
        np.testing.assert_array_equal(found.diversity["synthetic"][measure], found.diversity["training"][measure])


def test_exactly_the_copies_are_memorised():
    training = heads(*range(12))
    synthetic = heads(50, 51, 3, 52, 7, 53, 3)
    synthetic[4, 1] ^= head(7)[1] & (np.indices((SIDE,) * 3).sum(0) % 20 == 0)  # but for a few voxels
    found = seen(synthetic, training, heads(30, 31))
    assert found.memorised().tolist() == [2, 4, 6]
    assert found.nearest_index["synthetic"]["lesser"][[2, 4, 6]].tolist() == [3, 7, 3]
    said = found.as_dict()["memorised"]["lesser"]
    assert (said["cases"], said["share"]) == (3, 3 / 7)


def test_a_new_hole_in_a_training_skull_memorises_the_skull_and_not_the_case():
    skull = head(2).any(axis=0)
    hole = skull & (np.arange(SIDE) < 9)
    found = seen(np.stack([np.stack([skull & ~hole, hole]), head(60)]), heads(0, 1, 2))
    assert found.memorised("complete").tolist() == [0] and found.memorised().tolist() == []


def test_what_held_out_cases_reach_is_not_called_memorised():
    training, near = cubes((8, 8, 8), (0, 0, 0)), cubes((9, 8, 8), (8, 9, 8))  # Dice 0.875
    alone, beside = seen(near, training), seen(near, training, cubes((8, 7, 8)))
    assert alone.memorised().tolist() == [0, 1] and alone.thresholds["lesser"] == quality.COPY_DICE == 0.8
    assert beside.memorised().tolist() == [] and beside.thresholds["lesser"] == 0.875
    assert beside.nearest["held_out"]["lesser"].tolist() == [0.875]
    assert seen(near, training, copy_dice=0.9).memorised().tolist() == []


def test_the_order_of_a_set_changes_nothing():
    synthetic, training, held_out = heads(*range(20, 28)), heads(*range(9)), heads(40, 41, 42)
    order, again = np.random.default_rng(0).permutation(8), np.random.default_rng(1).permutation(9)
    one = seen(synthetic, training, held_out)
    other = seen(synthetic[order], training[again], held_out[::-1])
    np.testing.assert_array_equal(other.nearest["synthetic"]["both"], one.nearest["synthetic"]["both"][order])
    np.testing.assert_array_equal(again[other.nearest_index["synthetic"]["complete"]],
                                  one.nearest_index["synthetic"]["complete"][order])
    np.testing.assert_array_equal(other.facts["synthetic"]["contact"], one.facts["synthetic"]["contact"][order])
    assert flat(one.as_dict()) == pytest.approx(flat(other.as_dict()), rel=1e-12)


def flat(nested, name: str = "") -> dict[str, float]:
    if not isinstance(nested, dict):
        return {name: nested}
    return {path: value for key, inner in nested.items() for path, value in flat(inner, f"{name}/{key}").items()}


class Counted:
    """A pool that counts how often each case is read."""

    def __init__(self, cases: np.ndarray) -> None:
        self.cases, self.reads = cases, np.zeros(len(cases), int)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> np.ndarray:
        self.reads[index] += 1
        return self.cases[index]


def test_every_case_is_read_once_even_if_pairs_are_drawn():
    pools = [Counted(heads(*items)) for items in (range(20, 32), range(8), (40, 41))]
    seen(*pools, pairs=15)
    assert all((pool.reads == 1).all() for pool in pools)


def test_a_set_streamed_from_disk_is_judged_as_one_in_memory(tmp_path):
    synthetic, training = heads(*range(20, 26)), heads(*range(5))
    store = CaseStore.create(tmp_path, count=8, shape=(SIDE,) * 3, spacing_mm=SPACING_MM, recipe={})
    for item, (defective, defect) in zip((0, 1, 3, 4, 6, 7), synthetic, strict=True):
        store.write(item, defective, defect, {})
    assert seen(StoredCases(store), training, pairs=9).as_dict() == seen(synthetic, training, pairs=9).as_dict()


def test_the_distribution_of_a_fact_is_compared_with_the_training_cases():
    small, large = cubes((0, 0, 0), (8, 8, 8), side=4), cubes((0, 0, 0), (8, 8, 8), (4, 4, 4), side=8)
    found = seen(small, large, small[:1])
    assert found.kolmogorov_smirnov("defect_mm3") == 1 == found.kolmogorov_smirnov("skull_mm3", "held_out")
    assert found.kolmogorov_smirnov("skull_pieces") == 0
    assert found.facts["synthetic"]["defect_mm3"].tolist() == [4 * 4 * 2 * 8] * 2
    summed = found.as_dict()["facts"]["training"]["defect_mm3"]
    assert summed == dict.fromkeys(["mean", "q05", "q25", "q50", "q75", "q95"], 8 * 8 * 4 * 8)


def test_what_is_found_goes_into_json_and_comes_back():
    said = seen(heads(20, 21, 22), heads(0, 1, 2), heads(40)).as_dict()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["cases"] == {"synthetic": 3, "training": 3, "held_out": 1}
    assert set(said["nearest_dice"]) == {"synthetic", "held_out"} == set(said["expected_coverage"])
    assert said["expected_coverage"]["held_out"] == expected_coverage(3, 1, 1)
    assert set(said["kolmogorov_smirnov"]) == {"synthetic", "held_out"}
    assert set(seen(heads(20, 21), heads(0, 1), []).as_dict()["coverage"]) == {"synthetic"}


def test_progress_is_shown_case_by_case(capsys):
    seen(heads(20, 21), heads(0, 1, 2), progress=True)
    said = capsys.readouterr().err
    assert "training cases" in said and "synthetic cases" in said and "3/3" in said
    seen(heads(20, 21), heads(0, 1, 2))
    assert capsys.readouterr().err == ""


# What cannot be


def test_what_is_no_case_is_named():
    with pytest.raises(ValueError, match=r"training case 0 is float64 \(2, 3, 3, 3\); give uint8 or bool"):
        NearestCase(np.zeros((1, 2, 3, 3, 3)))
    with pytest.raises(ValueError, match=r"case 0 is bool \(3, 24, 24, 24\); give uint8 or bool \(2, I, J, K\)"):
        NearestCase(heads(0)).dice(np.zeros((3, 24, 24, 24), bool))
    with pytest.raises(ValueError, match=r"case 0 is bool \(24, 24, 24\)"):
        diversity(np.zeros((2, 24, 24, 24), bool))


def test_cases_on_several_grids_are_refused():
    small = cubes((0, 0, 0), (4, 4, 4), grid=16)
    with pytest.raises(ValueError, match=r"synthetic case 0 has \(16, 16, 16\) voxels, the cases to compare with \(24"):
        seen(small, heads(0, 1))
    with pytest.raises(ValueError, match=r"held-out case 0 has \(16, 16, 16\) voxels"):
        seen(heads(0, 1), heads(0, 1), small)
    with pytest.raises(ValueError, match=r"training case 1 has \(16, 16, 16\) voxels"):
        NearestCase([head(0), small[0]])
    with pytest.raises(ValueError, match=r"case 1 has \(16, 16, 16\) voxels.*lay all on one grid"):
        diversity([head(0), small[0]])
    with pytest.raises(ValueError, match=r"training case 1 has \(16, 16, 16\) voxels"):
        seen(heads(0, 1), [head(0), small[0]])


def test_a_set_needs_cases():
    with pytest.raises(ValueError, match="there is no training case; give a pool of at least one"):
        NearestCase([])
    with pytest.raises(ValueError, match="1 cases and 2000 pairs; diversity needs at least 2 cases and 1 pair"):
        diversity(heads(0))
    with pytest.raises(ValueError, match="2 cases and 0 pairs"):
        diversity(heads(0, 1), pairs=0)
    with pytest.raises(ValueError, match="0 cases and 2000 pairs"):
        seen([], heads(0, 1))
    with pytest.raises(ValueError, match="k is 5 for 3 real cases; give a k of at least 1, and more real cases than k"):
        seen(heads(0, 1), heads(0, 1, 2), neighbours=5)
    with pytest.raises(ValueError, match="k is 3 for 3 real cases"):
        seen(heads(0, 1), heads(0, 1, 2), neighbours=3)
    with pytest.raises(ValueError, match="k is 0 for 3 real cases"):
        seen(heads(0, 1), heads(0, 1, 2), neighbours=0)


def test_a_choice_that_is_none_is_refused():
    with pytest.raises(ValueError, match="by is 'skull'; choose from complete, defect, both, lesser"):
        NearestCase(heads(0)).dice(head(0), by="skull")
    with pytest.raises(ValueError, match=r"copy_dice is 95; give a Dice from 0 to 1, such as 0.8"):
        seen(heads(0, 1), heads(0, 1), copy_dice=95)
    with pytest.raises(ValueError, match="spacing_mm is"):
        seen(heads(0, 1), heads(0, 1), spacing_mm=(0.0, 1.0, 1.0))


def test_a_held_out_case_that_was_trained_on_is_no_measure():
    with pytest.raises(ValueError, match="held-out case 1 is training case 2, voxel for voxel; hold out skulls"):
        seen(heads(0, 1), heads(0, 1, 2), heads(40, 2))
