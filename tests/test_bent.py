"""Real heads bent onto other skulls: nearer to them, still bone, each known alone."""

import numpy as np
import pytest

from cranial.reconstruction.bent import bend


def shell(radii: tuple[float, float, float], thickness: float = 5.0, side: int = 64) -> np.ndarray:
    """Occupancy 0-255 of an ellipsoid's shell about the cube's middle."""
    grid = np.stack(np.meshgrid(*[np.arange(side) - 0.5 * (side - 1)] * 3, indexing="ij"))
    outer = np.sqrt(((grid / np.reshape(radii, (3, 1, 1, 1))) ** 2).sum(axis=0))
    inner = np.sqrt(((grid / np.reshape(np.subtract(radii, thickness), (3, 1, 1, 1))) ** 2).sum(axis=0))
    return (255 * ((outer <= 1) & (inner > 1))).astype(np.uint8)


ROUND, LONG = shell((22, 22, 22)), shell((19, 27, 21))


def dice(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one > 127, other > 127
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_bent_head_is_nearer_to_the_skull_it_was_bent_onto():
    bent = bend(ROUND[None], LONG[None], 3, seed=0, progress=False)
    assert dice(ROUND, LONG) < 0.7
    assert min(dice(one, LONG) for one in bent) > dice(ROUND, LONG) + 0.05
    assert max(dice(one, LONG) for one in bent) > 0.75
    assert len({one.tobytes() for one in bent}) == 3, "each goes its own part of the way"


def test_a_head_bent_onto_itself_stays_as_it_is():
    assert dice(bend(ROUND[None], ROUND[None], 1, seed=0, progress=False)[0], ROUND) > 0.99


def test_each_bent_head_comes_from_its_number_alone_and_is_kept(tmp_path):
    heads, onto = np.stack([ROUND, LONG]), np.stack([LONG, ROUND])
    two = bend(heads, onto, 2, seed=5, cache=tmp_path, progress=False)
    three = bend(heads, onto, 3, seed=5, progress=False)
    assert np.array_equal(three[:2], two)
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 2
    np.savez_compressed(kept[1], occupancy=np.full_like(ROUND, 7))
    assert (bend(heads, onto, 2, seed=5, cache=tmp_path, progress=False)[1] == 7).all(), "read, not made anew"
    assert not (bend(heads, onto[::-1], 2, seed=5, cache=tmp_path, progress=False)[1] == 7).all(), "other skulls"


@pytest.mark.parametrize("heads, onto", [(ROUND[None], LONG[None, :32]), (ROUND[None][..., :48], LONG[None][..., :48])])
def test_cubes_that_do_not_fit_are_refused(heads, onto):
    with pytest.raises(ValueError, match="give .* of one n, a multiple of 64"):
        bend(heads, onto, 1, seed=0, progress=False)
