"""A report says what was read and what was found, in the patient's millimetres."""

import numpy as np
import pytest

from cranial import report
from cranial.figures.style import figure
from cranial.volume import Volume

AFFINE = np.diag((1.0, 2.0, 3.0, 1.0))


@pytest.fixture
def piece_and_skull() -> tuple[Volume, Volume]:
    """A block of 4 x 3 x 2 voxels of 1 x 2 x 3 mm, lying with one side of 3 x 2 voxels against a wall."""
    piece, skull = np.zeros((12, 12, 12), bool), np.zeros((12, 12, 12), bool)
    piece[4:8, 3:6, 2:4] = True
    skull[8, 2:9, 1:6] = True
    return Volume(piece, AFFINE), Volume(skull, AFFINE)


def test_a_block_against_a_wall_measures_what_a_ruler_says(piece_and_skull):
    piece, skull = piece_and_skull
    found = report.measure(piece, skull)
    assert found.volume_cm3 == pytest.approx(24 * 6 / 1000)
    assert found.box_mm == pytest.approx((3, 4, 3))
    assert found.largest_extent_mm == pytest.approx(np.sqrt(3**2 + 4**2 + 3**2))
    assert found.contact_cm2 == pytest.approx(3 * 2 * (2 * 3) / 100)
    assert found.pieces == 1


def test_measures_do_not_depend_on_how_the_axes_run(piece_and_skull):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned = np.eye(4)
    turned[:3, :3] = turn @ AFFINE[:3, :3]
    expected = report.measure(*piece_and_skull)
    found = report.measure(*(Volume(each.mask[::-1], turned) for each in piece_and_skull))
    assert found.largest_extent_mm == pytest.approx(expected.largest_extent_mm)
    assert found.contact_cm2 == pytest.approx(expected.contact_cm2)
    permuted = [Volume(each.mask.transpose(2, 0, 1), each.affine[:, [2, 0, 1, 3]]) for each in piece_and_skull]
    assert report.measure(*permuted).box_mm == pytest.approx(expected.box_mm)


def test_two_pieces_are_counted_and_none_measures_nothing(piece_and_skull):
    piece, skull = piece_and_skull
    both = piece.mask.copy()
    both[0, 0, 11] = True
    found = report.measure(piece.with_mask(both), skull)
    assert found.pieces == 2 and found.largest_extent_mm > 20
    nothing = report.measure(piece.with_mask(np.zeros_like(both)), skull)
    assert nothing == report.Measures(0.0, 0.0, (0.0, 0.0, 0.0), 0.0, 0)


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 1, 1), (9, 5, 1), (9, 5, 3)])
def test_the_largest_extent_is_right_for_points_lines_and_plates(shape):
    mask = np.zeros((12, 12, 12), bool)
    mask[tuple(slice(1, 1 + n) for n in shape)] = True
    piece = Volume(mask, AFFINE)
    expected = np.linalg.norm((np.array(shape) - 1) * (1, 2, 3))
    assert report.measure(piece, piece.with_mask(~mask)).largest_extent_mm == pytest.approx(expected)


def test_a_piece_on_another_grid_is_refused(piece_and_skull):
    other = Volume(np.ones((3, 3, 3), bool), AFFINE)
    with pytest.raises(ValueError, match=r"piece has shape \(3, 3, 3\), the skull \(12, .*resample\(piece, like=skull"):
        report.measure(other, piece_and_skull[1])


def test_what_was_read_is_said_in_words(piece_and_skull, tmp_path):
    skull = piece_and_skull[1]
    assert report.describe(skull) == {
        "file": "made on the spot",
        "size": "12 × 12 × 12 voxels",
        "spacing": "1 × 2 × 3 mm",
        "orientation": "axes run to L, P, S",
        "bone": "0 cm³",
    }
    assert report.describe(Volume(skull.mask, AFFINE, None, tmp_path / "head.nrrd"))["file"] == "head.nrrd"


def test_a_table_aligns_numbers_and_keeps_words():
    text = report.table([{"method": "mirror", "DSC": 0.5, "cases": 4}, {"method": "network", "DSC": 0.916, "cases": 4}])
    assert text.splitlines() == [
        "| method | DSC | cases |",
        "| :-- | --: | --: |",
        "| mirror | 0.50 | 4 |",
        "| network | 0.92 | 4 |",
    ]
    with pytest.raises(ValueError, match="the table has no row; give at least one"):
        report.table([])
    with pytest.raises(ValueError, match="row 2 has the keys DSC, row 1 method, DSC; give all rows the same"):
        report.table([{"method": "mirror", "DSC": 0.5}, {"DSC": 0.9}])


def test_a_report_is_written_twice_with_its_pictures_and_leaves_nothing_else(tmp_path):
    with figure(2, 2) as drawn:
        drawn.subplots().plot([0, 1])
    paths = report.write_report(tmp_path, title="A <head>", tables={"What was found": [{"volume, cm³": 8.2}]},
                                pictures={"From four sides": drawn}, note="Look & see.")
    text, page = (path.read_text(encoding="utf-8") for path in paths)
    assert [path.name for path in paths] == ["report.md", "report.html"]
    assert "# A <head>" in text and "| 8.20 |" in text and "](figures/from_four_sides.png)" in text
    assert "<h1>A &lt;head&gt;</h1>" in page and "<td>8.20</td>" in page and "Look &amp; see." in page
    assert page.count("data:image/png;base64,") == 1 and "http" not in page
    assert (tmp_path / "figures" / "from_four_sides.png").read_bytes().startswith(b"\x89PNG")
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3
