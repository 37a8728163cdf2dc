"""SD, UD and UDS: a latent is the same alone or in any company, and UDS is spread as evenly as it can be."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import chi, kstest

from cranial.sampling import LATENT_KINDS, SD, STRATEGIES, UD, UDS, check_fit, strategy
from cranial.sphere import LEAST_TURNED, cross_polytope, nearest_distances, sobol, sobol_point, spread

SHAPE = (4, 4, 4, 8)
DRAWS = [
    SD(),
    UD(interval="unit_variance"),
    UD(interval="three"),
    UDS(),
    UDS(radius="typical", directions="sobol"),
]
# What the seven methods will declare of their latents, and what may then draw them (docs: methods.md).
METHODS = {
    "vae": ("gaussian", {"sd", "ud", "uds"}),
    "wgan_gp": ("gaussian", {"sd", "ud", "uds"}),
    "intro_vae": ("gaussian", {"sd", "ud", "uds"}),
    "soft_intro_vae": ("gaussian", {"sd", "ud", "uds"}),
    "vqvae": ("codes", set()),
    "ldm_vae": ("diffusion", {"sd"}),
    "ldm_vqvae": ("diffusion", {"sd"}),
}


def numbers(latents: torch.Tensor) -> np.ndarray:
    """float64 (n, N)."""
    return latents.flatten(1).double().numpy()


def block(size: int, seed: int = 0, *, which: int = 0) -> np.ndarray:
    """The 2N unit directions of one block."""
    return np.stack([cross_polytope(size, 2 * size * which + place, seed) for place in range(2 * size)])


# ------------------------------------------------------------------------------------------------ alone as in company


@pytest.mark.parametrize("draw", DRAWS, ids=repr)
@pytest.mark.parametrize("shape", [SHAPE, (3, 5, 7), (100,), (67,)], ids=str)
def test_a_latent_is_the_same_alone_in_any_batch_and_in_any_order(draw, shape):
    indices = [0, 1, 2, 7, 205, 1029, 64_000]
    together = draw(shape, indices, 5)
    assert together.shape == (len(indices), *shape) and together.dtype == torch.float32
    alone = torch.cat([draw(shape, [index], 5) for index in indices])
    backwards = draw(shape, np.array(indices)[::-1], 5).flip(0)
    from_a_tensor = draw(shape, torch.tensor(indices), np.int64(5))
    assert torch.equal(together, alone) and torch.equal(together, backwards) and torch.equal(together, from_a_tensor)
    assert len(torch.unique(together.flatten(1), dim=0)) == len(indices)


def test_a_latent_is_the_same_in_another_process(repository):
    say = (
        "from cranial.sampling import *\n"
        "for draw in (SD(), UD(interval='three'), UDS(), UDS(directions='sobol')):\n"
        "    print(draw((3, 5, 7), [9, 4000], 2).numpy().tobytes().hex())\n"
    )
    done = subprocess.run([sys.executable, "-c", say], cwd=repository, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    draws = (SD(), UD(interval="three"), UDS(), UDS(directions="sobol"))
    assert done.stdout.split() == [draw((3, 5, 7), [9, 4000], 2).numpy().tobytes().hex() for draw in draws]


@pytest.mark.parametrize("draw", DRAWS, ids=repr)
def test_another_seed_gives_other_latents(draw):
    first, second = draw(SHAPE, range(8), 0), draw(SHAPE, range(8), 1)
    assert spread(torch.cat([first, second])).minimum_distance > 0.1 * spread(first).radius


@pytest.mark.parametrize("draw", DRAWS, ids=repr)
def test_no_indices_give_no_latents(draw):
    assert draw(SHAPE, [], 0).shape == (0, *SHAPE)


# ------------------------------------------------------------------------------------------------------------ SD and UD


def test_sd_is_standard_normal():
    drawn = numbers(SD()(SHAPE, range(400), 0)).ravel()  # 204,800 numbers
    error = 1 / math.sqrt(len(drawn))
    assert abs(drawn.mean()) < 4 * error
    assert abs(drawn.var() - 1) < 4 * math.sqrt(2) * error
    assert kstest(drawn, "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    ("interval", "low", "high"),
    [("unit_variance", -math.sqrt(3), math.sqrt(3)), ("three", -3, 3), ((0.5, 2), 0.5, 2), ([-1, 4], -1, 4)],
    ids=str,
)
def test_ud_fills_its_interval_and_nothing_else(interval, low, high):
    drawn = numbers(UD(interval=interval)(SHAPE, range(400), 0)).ravel()
    width, error = high - low, 1 / math.sqrt(len(drawn))
    assert low - 1e-6 <= drawn.min() < low + 1e-3 * width and high - 1e-3 * width < drawn.max() <= high + 1e-6
    assert abs(drawn.mean() - (low + high) / 2) < 4 * width / math.sqrt(12) * error
    # the variance of a uniform variable is width^2 / 12, that of its square width^4 / 180
    assert abs(drawn.var() - width**2 / 12) < 4 * width**2 / math.sqrt(180) * error
    assert kstest(drawn, "uniform", (low, width)).pvalue > 1e-3


def test_the_interval_called_unit_variance_has_it():
    assert numbers(UD(interval="unit_variance")(SHAPE, range(400), 1)).var() == pytest.approx(1, abs=0.01)


# ------------------------------------------------------------------------------------------------------------------ UDS


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 100, 127, 512])
def test_a_block_is_a_turned_coordinate_system_and_its_opposites(size):
    directions = block(size)
    axes, opposites = directions[::2], directions[1::2]
    np.testing.assert_array_equal(axes, -opposites)
    np.testing.assert_allclose(axes @ axes.T, np.eye(size), atol=1e-13)


@pytest.mark.parametrize("size", [7, 100, 512])
def test_over_a_block_the_mean_is_zero_and_the_covariance_isotropic(size):
    draw = UDS(directions="cross_polytope")
    drawn, radius = numbers(draw((size,), range(2 * size), 3)), draw.length(size)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=1e-12 * radius)
    np.testing.assert_allclose(np.cov(drawn.T, bias=True), radius**2 / size * np.eye(size), atol=1e-7 * radius**2)


def test_after_any_even_number_the_mean_is_zero():
    drawn = numbers(UDS()(SHAPE, range(1400), 0))
    for count in (2, 10, 514, 1400):
        np.testing.assert_allclose(drawn[:count].mean(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize("size", [7, 100, 512])
def test_in_a_block_the_nearest_two_are_sqrt_2_radii_apart(size):
    draw = UDS(directions="cross_polytope")
    measured = spread(draw((size,), range(2 * size), 3))
    assert measured.minimum_distance == pytest.approx(math.sqrt(2) * draw.length(size), rel=1e-6)


def test_every_further_block_is_turned_in_its_own_way():
    blocks = [block(128, which=which)[::2] for which in range(4)] + [block(128, seed=1)[::2]]
    for one in range(5):
        for other in range(one):
            # the cosines between random directions of N numbers have a deviation of 1 / sqrt N
            cosines = blocks[one] @ blocks[other].T
            assert np.abs(cosines).max() < 7 / math.sqrt(128)
            assert cosines.std() == pytest.approx(1 / math.sqrt(128), rel=0.02)


def test_an_axis_far_into_the_set_mixes_all_numbers():
    # The largest of 4096 numbers of a random direction is near sqrt(2 ln N) / sqrt N; one DCT alone leaves a cosine.
    for index in (0, 8190, 8192 * 7 + 3):
        largest = np.abs(cross_polytope(4096, index, 0)).max() * 64
        assert 2.9 < largest < 6
        assert kstest(cross_polytope(4096, index, 0) * 64, "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    ("choices", "size", "radius"),
    [
        ({}, 4096, 66.0),
        ({"radius": "quantile"}, 64, chi(64).ppf(0.9973)),
        ({"radius": "quantile"}, 1, 3.0),  # where three standard deviations hold 0.9973
        ({"radius": "quantile", "share": 0.5}, 32768, chi(32768).ppf(0.5)),
        ({"radius": "literal"}, 4096, 3.0),
        ({"radius": "per_axis"}, 4096, 192.0),
        ({"radius": "typical"}, 4096, 64.0),
    ],
)
def test_every_latent_lies_on_the_sphere_of_its_radius(choices, size, radius):
    draw = UDS(count=2, **choices)
    assert draw.length(size) == pytest.approx(radius, abs=0.03 if radius == 66.0 else 1e-4)
    lengths = np.linalg.norm(numbers(draw((size,), range(2), 0)), axis=1)
    np.testing.assert_allclose(lengths, draw.length(size), rtol=1e-6)


def test_the_quantile_sphere_holds_its_share_of_sd():
    lengths = np.linalg.norm(numbers(SD()((16,), range(4000), 0)), axis=1)
    share = (lengths <= UDS(share=0.9).length(16)).mean()
    assert share == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / 4000))


# ------------------------------------------------------------------------------------ UDS, many latents of few numbers


def test_sobol_is_spread_better_than_random_and_starts_without_nan():
    random = spread(np.stack([z / np.linalg.norm(z) for z in numbers(SD()((8,), range(512), 0))]))
    for seed in range(5):
        directions = np.stack([sobol(8, index, seed) for index in range(512)])
        assert np.isfinite(directions).all()
        np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-14)
        measured = spread(directions)
        assert measured.length_of_mean < random.length_of_mean / 3
        assert measured.covariance_error < random.covariance_error / 2
        assert measured.minimum_distance > random.minimum_distance


@pytest.mark.parametrize("first", [0, 512, 2**20])
def test_every_number_of_sobol_falls_once_into_each_interval(first):
    points = np.stack([sobol_point(5, index, 3) for index in range(first, first + 64)])
    assert (np.sort((points * 64).astype(int), axis=0) == np.arange(64)[:, None]).all()
    assert (points * 2**30 % 1 == 0.5).all()  # half a step inside, so that none is 0 or 1


def test_a_seed_scrambles_sobol_by_more_than_a_shift():
    # Shifted only, the digits in which two seeds differ would be the same at every index.
    one, other = (np.stack([sobol_point(5, index, seed) for index in range(64)]) * 2**30 // 1 for seed in (0, 1))
    differing = one.astype(np.int64) ^ other.astype(np.int64)
    assert all(len(np.unique(differing[:, number])) > 32 for number in range(5))


def test_every_pair_of_the_first_numbers_of_sobol_is_a_net():
    # Numbers 1 and 2 are a (0, m, 2)-net: one of 64 points in each of 64 boxes, of every way to cut them.
    points = np.stack([sobol_point(2, index, 3) for index in range(64)])
    for cuts in range(7):
        boxes = (points * [2**cuts, 2 ** (6 - cuts)]).astype(int)
        assert len(np.unique(boxes, axis=0)) == 64


@pytest.mark.parametrize("count", [2, 8, 64])
def test_on_the_circle_a_power_of_two_is_a_regular_polygon(count):
    drawn = numbers(UDS(directions="sobol", radius="literal")((2,), range(count), 4))
    angles = np.sort(np.arctan2(drawn[:, 1], drawn[:, 0]))
    np.testing.assert_allclose(np.diff(angles), 2 * np.pi / count, rtol=1e-5)
    turned = numbers(UDS(directions="sobol", radius="literal")((2,), range(count), 5))
    assert np.linalg.norm(drawn[:, None] - turned, axis=2).min() > 1e-3


def test_on_the_circle_any_number_keeps_half_the_distance_of_a_polygon():
    measured = spread(UDS(directions="sobol", radius="literal")((1, 2), range(100), 4))
    assert measured.minimum_distance > 3 * math.sin(math.pi / 100)
    assert measured.length_of_mean < 0.05 * 3


@pytest.mark.parametrize(("size", "count"), [(2, 16), (4, 64), (8, 512), (32, 65), (64, 129)])
def test_auto_takes_sobol_for_more_than_a_block_of_few_numbers(size, count):
    auto, other = UDS(count=count)((size,), range(16), 0), UDS(directions="sobol")((size,), range(16), 0)
    assert torch.equal(auto, other)


@pytest.mark.parametrize(("size", "count"), [(1, 2), (2, 4), (8, 16), (64, 128), (65, 10_000), (65, None)])
def test_auto_takes_blocks_for_one_block_or_many_numbers(size, count):
    auto, other = UDS(count=count)((size,), [0, 1], 0), UDS(directions="cross_polytope")((size,), [0, 1], 0)
    assert torch.equal(auto, other)


@pytest.mark.parametrize("count", [2, 64])
def test_one_number_has_the_two_directions_there_are(count):
    drawn = UDS(count=count, radius="literal")((1,), range(count), 0).flatten()
    assert sorted(set(drawn.tolist())) == [-3, 3] and drawn.sum() == 0


# --------------------------------------------------------------------------------------------------------------- spread


def test_spread_is_what_numpy_says(rng):
    points = rng.normal(size=(300, 2, 10)) * np.linspace(1, 2, 10) + 0.3
    flat = points.reshape(300, 20)
    covariance = np.cov(flat.T, bias=True)
    isotropic = np.trace(covariance) / 20 * np.eye(20)
    distances = np.linalg.norm(flat[:, None] - flat, axis=2) + np.diag(np.full(300, np.inf))
    measured = spread(points)
    assert (measured.count, measured.size) == (300, 20)
    assert measured.radius == pytest.approx(np.sqrt((flat**2).sum(axis=1).mean()))
    assert measured.minimum_distance == pytest.approx(distances.min())
    assert measured.length_of_mean == pytest.approx(np.linalg.norm(flat.mean(axis=0)))
    error = np.linalg.norm(covariance - isotropic) / np.linalg.norm(isotropic)
    assert measured.covariance_error == pytest.approx(error)
    assert measured.as_dict()["covariance_error"] == measured.covariance_error


def test_spread_is_the_same_in_many_tiles(rng, monkeypatch):
    points = torch.from_numpy(rng.normal(size=(50, 6)))
    points[49] = points[3] + 0.001
    whole = spread(points).as_dict()
    monkeypatch.setattr("cranial.sphere.TILE_NUMBERS", 6 * 7)
    assert spread(points).as_dict() == pytest.approx(whole)
    assert whole["minimum_distance"] == pytest.approx(0.001 * math.sqrt(6))


def test_few_points_cannot_be_isotropic(rng):
    # n points have n - 1 directions among them, so the error is at least sqrt(N / (n - 1) - 1).
    simplex = np.eye(100)[:5]
    assert spread(simplex).covariance_error == pytest.approx(math.sqrt(100 / 4 - 1))
    assert spread(rng.normal(size=(5, 100))).covariance_error > math.sqrt(100 / 4 - 1)


# ------------------------------------------------------------------------------------------------------------ what fits


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_the_strategies_that_fit_its_latents(method):
    latent, fitting = METHODS[method]
    for name in STRATEGIES:
        if name in fitting:
            check_fit(name, method=method, latent=latent)
        else:
            said = " and ".join(sorted(fitting)) or "no strategy, leave it out"
            with pytest.raises(ValueError, match=rf"^{name} does not fit {method}: .*; what fits: {said}$"):
                check_fit(name, method=method, latent=latent)


def test_the_latent_kinds_know_only_strategies_that_exist():
    for kind in LATENT_KINDS.values():
        assert set(kind.strategies) <= set(STRATEGIES)
    for name in STRATEGIES:
        assert any(name in kind.strategies for kind in LATENT_KINDS.values())


def test_a_strategy_is_made_of_what_a_yaml_says():
    assert strategy("sd") == SD()
    assert strategy("ud", interval=[-3, 3]) == UD(interval=(-3, 3))
    assert strategy("uds", radius="typical", count=9) == UDS(radius="typical", count=9)
    with pytest.raises(ValueError, match="strategy 'udd' is unknown; it is one of: "):
        strategy("udd")
    with pytest.raises(ValueError, match="strategy 'grid' is unknown; it is one of: sd, ud, uds"):
        strategy("grid")
    with pytest.raises(ValueError, match="sd has no choice 'radius'; it has: none"):
        strategy("sd", radius="typical")
    with pytest.raises(ValueError, match=r"ud needs its interval: unit_variance, three, or a pair \(low, high\)"):
        strategy("ud")


# -------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UD(interval="tree"), "interval 'tree' is unknown; it is one of: "),
        (lambda: UD(interval=(3, -3)), r"interval \(3, -3\) is not a pair low < high"),
        (lambda: UD(interval=(0, math.inf)), r"interval \(0, inf\) is not a pair low < high"),
        (lambda: UD(interval=(0, math.nan)), r"interval \(0, nan\) is not a pair low < high"),
        (lambda: UD(interval=(0, 1, 2)), r"interval \(0, 1, 2\) is not a pair low < high"),
        (lambda: UD(interval=3), "interval 3 is not a pair low < high; for example"),
        (lambda: UDS(radius="litteral"), "radius 'litteral' is unknown; it is one of: "),
        (lambda: UDS(radius=3), "radius '3' is unknown; it is one of: quantile, literal, per_axis, typical"),
        (lambda: UDS(directions="halton"), "directions 'halton' is unknown; it is one of: auto, cross_polytope, sobol"),
        (lambda: UDS(share=1.0), "share 1.0 is not between 0 and 1; three standard deviations hold 0.9973"),
        (lambda: UDS(count=0), "count 0 is no set; give the number of latents in the whole set"),
        (lambda: check_fit("udd", method="vae", latent="gaussian"), "strategy 'udd' is unknown; it is one of: "),
        (lambda: check_fit("sd", method="vae", latent="code"), "latent 'code' is unknown; it is one of: "),
    ],
)
def test_a_choice_that_cannot_be_says_what_can(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("draw", "shape", "indices", "seed", "message"),
    [
        (SD(), (), [0], 0, r"shape \(\) holds no numbers; give the shape of one latent"),
        (SD(), (8, 0, 4), [0], 0, r"shape \(8, 0, 4\) holds no numbers"),
        (UDS(), SHAPE, [3, -1], 0, "index -1 is negative; number the latents from 0"),
        (UDS(), SHAPE, [0], -1, "seed and item must be >= 0"),
        (SD(), SHAPE, [0], -1, "seed and item must be >= 0"),
        (UDS(count=8), SHAPE, [8], 0, "index 8 is beyond the set of 8; give UDS the count of the whole set"),
        (UDS(), (4, 4), [0], 0, "for latents of 16 numbers the directions depend on how many there will be"),
        (UDS(directions="sobol"), (21202,), [0], 0, "at most 21201 numbers, not 21202; use directions='cross_poly"),
        (UDS(directions="sobol"), (3,), [2**30], 0, r"has 2\^30 points, and index 1073741824 is beyond"),
        (UDS(directions="cross_polytope"), (2,), [4], 0, "index 4 is beyond the first 4 directions of 2 numbers"),
        (UDS(directions="cross_polytope"), (15,), [30], 0, "below 16 numbers the further blocks repeat these; use dir"),
    ],
)
def test_a_latent_that_cannot_be_says_why(draw, shape, indices, seed, message):
    with pytest.raises(ValueError, match=message):
        draw(shape, indices, seed)


def test_blocks_of_few_numbers_would_repeat(monkeypatch):
    # by count, all that signs can do at N = 3 is 8 ways to turn a block
    assert cross_polytope(LEAST_TURNED, 2 * LEAST_TURNED, 0).any()  # the first size that may go on
    monkeypatch.setattr("cranial.sphere.LEAST_TURNED", 0)
    blocks = (np.round(block(3, which=which), 9) + 0.0 for which in range(64))
    assert len({each[np.lexsort(each.T)].tobytes() for each in blocks}) == 8


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (np.zeros((1, 4)), "spread compares latents, and there is 1; give two or more"),
        (np.array([[0.0, 1], [np.nan, 0]]), "latent 1 is not finite"),
        (np.full((3, 4), 0.1), "the 3 latents are all one point; draw them from different indices"),
    ],
)
def test_a_set_that_has_no_spread_is_refused(latents, message):
    with pytest.raises(ValueError, match=message):
        spread(latents)


def test_the_nearest_distance_of_each_latent_is_that_to_its_nearest_other():
    points = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]])
    assert nearest_distances(points).tolist() == [5.0, 1.0, 1.0]
    many = torch.randn(1500, 7, generator=torch.Generator().manual_seed(0))  # more than one tile
    assert nearest_distances(many).min() == pytest.approx(spread(many).minimum_distance)
    with pytest.raises(ValueError, match="latents have no neighbours, there is 1"):
        nearest_distances(points[:1])
