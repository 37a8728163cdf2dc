"""How every figure looks: one type size, one set of colours, nothing drawn that says nothing."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import matplotlib
import matplotlib.figure
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from .render import COLOURS

INK, FAINT = "#2b2b2b", "#8a8a8a"
PAPER = (0.10, 0.11, 0.13)  # of sections: dark, as radiologists have it
NAMES = {
    "bone": "bone",
    "implant": "missing piece",
    "proposal": "proposed piece",
    "agreed": "in both",
    "missed": "in the truth only",
    "extra": "in the proposal only",
}
_RC = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.titlesize": 13,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


class Figure(matplotlib.figure.Figure):
    """A matplotlib Figure that a notebook shows as it is, whatever backend is chosen."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=110)
        return picture.getvalue()


@contextmanager
def figure(width: float, height: float, title: str = "") -> Iterator[Figure]:
    """A figure of so many inches; what is drawn within the block has the house's style."""
    with matplotlib.rc_context(_RC):
        drawn = Figure(figsize=(width, height), layout="constrained")
        if title:
            drawn.suptitle(title, x=0.01, ha="left", fontweight="bold")
        yield drawn


def show(axes: Axes, picture, title: str = "", note: str = "") -> None:
    """One picture (n, m, 3) without frame; title above, note below."""
    axes.imshow(picture, interpolation="antialiased")
    bare(axes)
    axes.set_title(title, pad=3)
    if note:
        axes.set_xlabel(note, labelpad=2)


def bare(axes: Axes) -> None:
    """No ticks and no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def letters(axes: Axes, left: str, right: str, *, top: str = "", bottom: str = "", height: float = 0.5) -> None:
    """Which way the patient lies, at the edges of a picture; height: of the left and right letters, 0 to 1."""
    places = ((0.03, height, left), (0.97, height, right), (0.5, 0.97, top), (0.5, 0.03, bottom))
    for x, y, letter in places:
        axes.text(x, y, letter, transform=axes.transAxes, ha="center", va="center", color=FAINT, fontsize=9)


def scale_bar(axes: Axes, pixels_a_mm: float, *, length_mm: float = 50.0, colour: str = INK,
              paper: str | tuple[float, float, float] = "white") -> None:
    """A bar at the lower right of a picture, with its length, legible over whatever is there."""
    halo = [patheffects.withStroke(linewidth=4, foreground=paper)]
    right, bottom = max(axes.get_xlim()), max(axes.get_ylim())
    size = right - min(axes.get_xlim())
    end, y = right - 0.03 * size, bottom - 0.03 * size
    axes.plot([end - length_mm * pixels_a_mm, end], [y, y], color=colour, lw=2,
              solid_capstyle="butt", path_effects=halo)
    axes.text(end, y - 0.02 * size, f"{length_mm:g} mm", ha="right", va="bottom",
              fontsize=8.5, color=colour, path_effects=halo)


def key(drawn: Figure, layers: Iterable[str]) -> None:
    """What the colours mean, below the pictures. A missing piece is the truth where something is proposed beside it."""
    layers = tuple(layers)
    names = NAMES | ({"implant": "missing piece (truth)"} if "proposal" in layers else {})
    patches = [Patch(facecolor=COLOURS[name], edgecolor=FAINT, lw=0.5, label=names[name]) for name in layers]
    drawn.legend(handles=patches, loc="outside lower left", ncols=len(patches), fontsize=9.5, handlelength=1,
                 handleheight=1)
