"""Pictures of proposals: doubt is bright where proposals differ, and what only one has is in its colour."""

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.text import Text

from cranial.figures.abreast import abreast
from cranial.figures.disagreement import disagreement, symmetric_differences
from cranial.figures.render import rgb
from cranial.figures.sections import HEAT
from cranial.volume import Volume


def solid(inside, spacing_mm: float = 3.0) -> Volume:
    """The points (x, y, z), L P S mm within 50 mm, for which `inside` holds."""
    count = int(100 / spacing_mm) + 1
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -spacing_mm * (count - 1) / 2
    grid = Volume(np.zeros((count,) * 3, bool), affine)
    return grid.with_mask(inside(*grid.voxel_to_mm(np.argwhere(~grid.mask)).T).reshape((count,) * 3))


@pytest.fixture(scope="module")
def shell() -> Volume:
    return solid(lambda x, y, z: (32**2 <= x**2 + y**2 + z**2) & (x**2 + y**2 + z**2 <= 44**2))


@pytest.fixture(scope="module")
def piece(shell) -> Volume:
    """The front of the shell."""
    return shell.with_mask(shell.mask & solid(lambda x, y, z: (y < 0) & (x**2 + z**2 < 22**2)).mask)


@pytest.fixture(scope="module")
def skull(shell, piece) -> Volume:
    return shell.with_mask(shell.mask & ~piece.mask)


def half(piece: Volume, side: int) -> Volume:
    """What of the piece is on the patient's left (1) or right (-1)."""
    return piece.with_mask(piece.mask & solid(lambda x, y, z: side * x > 2).mask)


def pictures(figure) -> list[np.ndarray]:
    return [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes if axes.get_images()]


def words(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def near(picture: np.ndarray, colour, within: float = 0.12) -> np.ndarray:
    """Columns of the pixels of this colour, in any light."""
    shade = picture / np.maximum(picture.max(axis=2, keepdims=True), 1e-6)
    return np.argwhere((np.abs(shade - np.array(colour) / np.max(colour)) < within).all(axis=2))[:, 1]


def test_doubt_is_bright_on_the_side_where_proposals_differ(skull, piece):
    doubt = np.where(half(piece, 1).mask, np.float32(1), np.float32(0))
    drawn = disagreement(skull, piece, doubt, note="agreement 0.50", title="a case")
    _, painted, axial, coronal, sagittal = pictures(drawn)[:5]
    bright, dark = colormaps[HEAT](0.9)[:3], colormaps[HEAT](0.1)[:3]
    assert near(painted, bright).mean() > painted.shape[1] / 2 > near(painted, dark).mean(), "left is right, from ahead"
    yellow = near(axial, colormaps[HEAT](1.0)[:3])
    assert len(yellow) > 50 and (yellow > axial.shape[1] / 2).all()
    assert "a case   agreement 0.50" in words(drawn) and "disagreement" in words(drawn)


def test_proposals_that_all_agree_are_drawn_without_doubt_and_none_at_all_as_the_skull(skull, piece):
    nothing = np.zeros(skull.shape, np.float32)
    for vote in (piece, piece.with_mask(np.zeros_like(piece.mask))):
        axial = pictures(disagreement(skull, vote, nothing))[2]
        assert not len(near(axial, colormaps[HEAT](1.0)[:3]))


def test_a_map_of_another_case_is_refused(skull, piece):
    with pytest.raises(ValueError, match=r"skull, vote and doubt have shapes .*; give the three of one case"):
        disagreement(skull, piece, np.zeros((2, 2, 2), np.float32))


def test_what_only_one_method_has_is_in_its_colour_on_its_side(skull, piece):
    left, right = half(piece, 1), half(piece, -1)
    drawn = symmetric_differences(
        {"a head": skull}, [left], [right], names=("network", "mirror"), notes=["Dice 0.00"], title="both"
    )
    for picture in pictures(drawn)[:2]:
        middle = picture.shape[1] / 2
        assert near(picture, rgb("missed")).mean() > middle > near(picture, rgb("proposal")).mean()
    said = words(drawn)
    assert all(word in said for word in ("a head", "network only", "mirror only", "in both", "Dice 0.00"))


def test_cases_stand_abreast_with_and_without_a_truth(skull, piece):
    empty = piece.with_mask(np.zeros_like(piece.mask))
    columns = {"network": [piece, empty], "mirror": [half(piece, 1), piece]}
    drawn = abreast({"one": skull, "two": skull}, columns, truths=[piece, piece], notes={"mirror": ["0.61", "1.00"]})
    shown = pictures(drawn)
    assert len(shown) == 8
    blue, orange = rgb("implant"), rgb("proposal")
    assert [len(near(each, blue)) > 100 for each in shown[:4]] == [False, True, False, False]
    assert [len(near(each, orange)) > 100 for each in shown[4:]] == [False, False, False, True]
    said = words(drawn)
    assert all(word in said for word in ("as it came", "truth", "network", "mirror", "one", "two", "0.61", "1.00"))
    unknown = abreast({"one": skull}, {"network": [piece]})
    assert len(pictures(unknown)) == 2 and "truth" not in words(unknown)


def test_a_column_that_is_too_short_is_refused(skull, piece):
    with pytest.raises(ValueError, match="'network' has 1 entries for 2 skulls; give one each"):
        abreast({"one": skull, "two": skull}, {"network": [piece]})
    with pytest.raises(ValueError, match="'mirror' has 0 entries for 1 skulls; give one each"):
        abreast({"one": skull}, {"mirror": [piece]}, notes={"mirror": []})
