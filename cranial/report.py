"""What was read and what was found, in words and numbers: tables, and a case on one page."""

import base64
import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .volume import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Measures:
    """A piece of bone, in numbers."""

    volume_cm3: float
    largest_extent_mm: float  # between the two voxel centres farthest apart
    box_mm: tuple[float, float, float]  # size along the patient's L, P and S axes
    contact_cm2: float  # of voxel faces that touch bone; an oblique surface of steps counts up to 1.7-fold
    pieces: int  # that touch each other nowhere (6-connected)


def measure(piece: Volume, skull: Volume) -> Measures:
    """Measure a piece that stands in a skull, both on one grid; zeros for an empty piece.

    Raises ValueError where the grids differ in shape.
    """
    from scipy import ndimage

    if piece.shape != skull.shape:
        raise ValueError(f"the piece has shape {piece.shape}, the skull {skull.shape}; bring one onto the other's grid "
                         "with volume.resample(piece, like=skull)")
    contact_mm2 = 0.0
    for axis, face_mm2 in enumerate(_face_areas_mm2(piece)):
        one, other = (piece.mask.swapaxes(0, axis), skull.mask.swapaxes(0, axis))
        faces = np.count_nonzero(one[1:] & other[:-1]) + np.count_nonzero(one[:-1] & other[1:])
        contact_mm2 += int(faces) * face_mm2
    points = piece.voxel_to_mm(np.argwhere(piece.mask & ~ndimage.binary_erosion(piece.mask)))
    box_mm = np.ptp(points, axis=0) if len(points) else np.zeros(3)
    return Measures(piece.volume_mm3 / 1000, _farthest_mm(points), tuple(float(side) for side in box_mm),
                    contact_mm2 / 100, int(ndimage.label(piece.mask)[1]))


def describe(volume: Volume) -> dict[str, str]:
    """What was read: file, size, spacing, orientation, bone."""
    return {
        "file": volume.source.name if volume.source else "made on the spot",
        "size": " × ".join(map(str, volume.shape)) + " voxels",
        "spacing": " × ".join(f"{step:.3g}" for step in volume.spacing_mm) + " mm",
        "orientation": f"axes run to {', '.join(volume.orientation)}",
        "bone": f"{volume.volume_mm3 / 1000:.0f} cm³",
    }


def table(rows: Sequence[Row], *, digits: int = 2) -> str:
    """Rows with the same keys as a Markdown table; numbers with so many digits after the point, aligned right.

    Raises ValueError without a row, and for rows whose keys differ.
    """
    names, cells = _cells(rows, digits)
    right = [isinstance(rows[0][name], int | float | np.number) for name in names]
    lines = [names, ["--:" if number else ":--" for number in right], *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def write_report(folder: Path | str, *, title: str, tables: Mapping[str, Sequence[Row]],
                 pictures: Mapping[str, "Figure"], note: str = "") -> tuple[Path, Path]:
    """Write report.md, with its pictures in figures/, and the same as one file, report.html; returns both paths.

    tables, pictures: under their headings.
    """
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    text, page = [f"# {title}\n"], [f"<h1>{html.escape(title)}</h1>"]
    for heading, rows in tables.items():
        text.append(f"## {heading}\n\n{table(rows)}")
        page.append(f"<h2>{html.escape(heading)}</h2>{_html_table(rows)}")
    for heading, figure in pictures.items():
        name = heading.lower().replace(" ", "_") + ".png"
        part = folder / "figures" / f".{name}.partial"
        figure.savefig(part, format="png", dpi=130)
        png = part.read_bytes()
        os.replace(part, folder / "figures" / name)
        text.append(f"## {heading}\n\n![{heading}](figures/{name})\n")
        data = base64.b64encode(png).decode()
        said = html.escape(heading)
        page.append(f'<h2>{said}</h2><img alt="{said}" src="data:image/png;base64,{data}">')
    if note:
        text.append(f"{note}\n")
        page.append(f"<p>{html.escape(note)}</p>")
    return (_write(folder / "report.md", "\n".join(text)),
            _write(folder / "report.html", _PAGE.format(title=html.escape(title), body="\n".join(page))))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #2b2b2b; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.6rem }} h2 {{ font-size: 1.15rem; margin-top: 2rem }} img {{ max-width: 100% }}
table {{ border-collapse: collapse }}
th, td {{ border-bottom: 1px solid #ddd; padding: .3rem .9rem .3rem 0; text-align: left }}
</style></head><body>
{body}
</body></html>
"""


def _html_table(rows: Sequence[Row]) -> str:
    names, cells = _cells(rows, 2)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in cells)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cells(rows: Sequence[Row], digits: int) -> tuple[list[str], list[list[str]]]:
    if not rows:
        raise ValueError("the table has no row; give at least one")
    names = list(rows[0])
    for number, row in enumerate(rows, 1):
        if list(row) != names:
            raise ValueError(f"row {number} has the keys {', '.join(row)}, row 1 {', '.join(names)}; "
                             "give all rows the same")
    return names, [[_text(row[name], digits) for name in names] for row in rows]


def _text(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, float | np.floating) else str(value)


def _face_areas_mm2(volume: Volume) -> list[float]:
    a, b, c = volume.affine[:3, :3].T
    return [float(np.linalg.norm(np.cross(*pair))) for pair in ((b, c), (c, a), (a, b))]


def _farthest_mm(points: np.ndarray) -> float:
    """Largest distance between two of the points (N, 3); the hull's corners suffice."""
    from scipy.spatial import ConvexHull, QhullError
    from scipy.spatial.distance import pdist

    if len(points) < 2:
        return 0.0
    try:
        points = points[ConvexHull(points).vertices]
    except QhullError:  # flat, or a line: too thin for a hull
        middle = points.mean(axis=0)
        points = points[np.argsort(-np.linalg.norm(points - middle, axis=1))[:4000]]
    return float(pdist(points).max())


def _write(path: Path, text: str) -> Path:
    part = path.with_name(f".{path.name}.partial")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
    return path
