"""How far a piece stands out or stays behind, at each place of its surface."""

import numpy as np
import pytest
from heads import affine_of, rotation

from cranial.deviation import deviation
from cranial.volume import Volume, VolumeError


def ball(radius_mm: float, affine: np.ndarray, shape=(60, 60, 60)) -> Volume:
    grid = Volume(np.zeros(shape, bool), affine)
    points = grid.voxel_to_mm(np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3))
    middle = grid.voxel_to_mm(0.5 * (np.array(shape)[None] - 1))
    return grid.with_mask((np.linalg.norm(points - middle, axis=1) < radius_mm).reshape(shape))


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.8, 1.0, 1.2)])
def test_a_ball_stands_out_by_the_difference_of_the_radii_wherever_one_looks(spacing_mm):
    affine = affine_of(rotation((10, 20, 30)), spacing_mm, (5, -7, 90))
    small, large = ball(15, affine), ball(18, affine)
    out, within = deviation(large, small), deviation(small, large)
    assert out.deviation_mm == pytest.approx(3, abs=1)
    # smoothing may change the volume by 2 %, and that is 0.1 mm of either radius
    assert np.mean(out.deviation_mm) == pytest.approx(3, abs=0.3)
    assert np.mean(within.deviation_mm) == pytest.approx(-3, abs=0.3)
    middle = small.voxel_to_mm(0.5 * (np.array(small.shape)[None] - 1))
    assert np.linalg.norm(out.vertices_mm - middle, axis=1) == pytest.approx(18, abs=0.8)
    assert out.faces.max() == len(out.vertices_mm) - 1 and len(out.deviation_mm) == len(out.vertices_mm)


def test_a_piece_does_not_deviate_from_itself():
    piece = ball(12, affine_of(), (40, 40, 40))
    assert np.abs(deviation(piece, piece).deviation_mm).max() < 0.5  # the surface is smooth, the mask a staircase


def test_the_two_may_lie_on_different_grids():
    coarse = ball(12, affine_of(spacing_mm=(2.0, 2.0, 2.0)), (20, 20, 20))
    fine = ball(12, affine_of(origin_mm=(-0.5, -0.5, -0.5)), (40, 40, 40))
    assert np.abs(deviation(fine, coarse).deviation_mm).mean() < 0.5


def test_nothing_deviates_from_an_empty_reference():
    piece = ball(6, affine_of(), (20, 20, 20))
    nothing = piece.with_mask(np.zeros(piece.shape, bool))
    with pytest.raises(VolumeError, match="reference: the mask is empty, so nothing is near or far from it"):
        deviation(piece, nothing)
    with pytest.raises(VolumeError, match="the mask is empty, so it has no surface"):
        deviation(nothing, piece)
