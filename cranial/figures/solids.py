"""Skulls in 3-D: from four sides, side by side, with holes in them, with proposals in the holes."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..skulls.defects import Case
from ..volume import Volume
from .render import VIEWS, build_scene, frame, render
from .style import Figure, figure, key, letters, scale_bar, show

_SIDES = {"front": "RL", "left": "AP", "back": "LR", "right": "PA", "top": "LR"}  # letters at the left and right
_LARGE, _SMALL = 360, 250  # pixels of a picture
_NOTHING = np.ones((_SMALL, _SMALL, 3))


def views(layers: Mapping[str, Volume], *, title: str = "", size: int = _LARGE) -> Figure:
    """One head from all four sides and from above, at one scale; layers named as in COLOURS."""
    scene = build_scene(layers)
    span_mm = 1.03 * float(scene.extent_mm.max())
    with figure(14, 3.0 + 0.3 * bool(title) + 0.3 * (len(layers) > 1), title) as drawn:
        for axes, (side, (left, right)) in zip(drawn.subplots(1, 5), _SIDES.items(), strict=True):
            show(axes, render(scene, view=side, size=size, span_mm=span_mm), side)
            letters(axes, left, right, height=0.93)
        scale_bar(axes, size / span_mm)
        if len(layers) > 1:
            key(drawn, layers)
    return drawn


def population(skulls: Mapping[str, Volume], *, columns: int = 6, view: tuple[float, float] | str = (35.0, 12.0),
               title: str = "") -> Figure:
    """Many skulls under their names, at one scale, from one side."""
    rows = -(-len(skulls) // columns)
    pictures, span_mm = _gallery([({"bone": skull}, view) for skull in skulls.values()])
    with figure(13, 2.35 * rows + 0.4 * bool(title), title) as drawn:
        grid = drawn.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(skulls):]:
            axes.axis("off")
        for axes, name, picture in zip(grid, skulls, pictures, strict=False):
            show(axes, picture, name)
        scale_bar(axes, _SMALL / span_mm)
    return drawn


def cases(drawn_cases: Sequence[Case], *, titles: Sequence[str] | None = None, title: str = "") -> Figure:
    """A column a case: the skull with its hole, and the same with the missing piece, seen from the hole's side.

    titles: one a case; None: its style.
    """
    sides = [facing(case.implant, case.defective) for case in drawn_cases]
    hollow = [({"bone": case.defective}, view) for case, view in zip(drawn_cases, sides, strict=True)]
    filled = [({**layers, "implant": case.implant}, view)
              for case, (layers, view) in zip(drawn_cases, hollow, strict=True)]
    pictures, span_mm = _gallery(hollow + filled)
    titles = titles or [case.style.replace("_", " ") for case in drawn_cases]
    width = max(1.7 * len(drawn_cases), 5)
    with figure(width, 2 * width / len(drawn_cases) + 0.85 + 0.3 * bool(title), title) as drawn:
        above, below = drawn.subplots(2, len(drawn_cases), squeeze=False)
        for axes, picture, name in zip(above, pictures, titles, strict=False):
            show(axes, picture, name)
        for axes, picture, case in zip(below, pictures[len(drawn_cases):], drawn_cases, strict=True):
            show(axes, picture, note=f"{case.implant.volume_mm3 / 1000:.0f} cm³")
        scale_bar(below[-1], _SMALL / span_mm)
        key(drawn, ["bone", "implant"])
    return drawn


def variants(rows: Mapping[str, Sequence[Case]], *, titles: Sequence[str] = (), span_mm: float,
             view: tuple[float, float] = (35.0, 12.0), title: str = "") -> Figure:
    """Cases in their cubes, a row a name, about the origin of the patient's coordinates, so that a shift is seen.

    titles: of the columns. span_mm: width of a picture.
    """
    columns = max(map(len, rows.values()))
    with figure(max(1.9 * columns, 3), 1.95 * len(rows) + 0.45 + 0.3 * bool(title), title) as drawn:
        grid = drawn.subplots(len(rows), columns, squeeze=False)
        for line, (name, row) in zip(grid, rows.items(), strict=True):
            for axes in line:
                axes.axis("off")
            for axes, case in zip(line, row, strict=False):
                axes.axis("on")
                layers = {"bone": case.defective, "implant": case.implant}
                picture = _NOTHING
                if _is_something(layers):
                    scene = build_scene(layers, detail_vox=150)
                    picture = render(scene, view=view, size=_SMALL, span_mm=span_mm, about_mm=np.zeros(3))
                show(axes, picture)
                axes.spines[:].set(visible=True, color="#e8e8e8")  # the cube's edge: what leaves it is lost
            line[0].set_ylabel(name)
        for axes, name in zip(grid[0], titles, strict=False):
            axes.set_title(name)
        scale_bar(grid[-1, 0], _SMALL / span_mm)
        key(drawn, ["bone", "implant"])
    return drawn


def proposals(drawn_cases: Sequence[Case], proposed: Mapping[str, Sequence[Volume]],
              scores: Mapping[str, Sequence[float]], *, score: str = "DSC", title: str = "") -> Figure:
    """A row a case: the truth, then what each method proposes, with its score below."""
    names = list(proposed)
    wanted = []
    for row, case in enumerate(drawn_cases):
        pieces = [{}, {"implant": case.implant}, *({"proposal": proposed[name][row]} for name in names)]
        view = facing(case.implant, case.defective)
        wanted += [({"bone": case.defective, **piece}, view) for piece in pieces]
    pictures, _ = _gallery(wanted)
    columns = 2 + len(names)
    with figure(2.2 * columns + 0.3, 2.45 * len(drawn_cases) + 0.6 + 0.3 * bool(title), title) as drawn:
        grid = drawn.subplots(len(drawn_cases), columns, squeeze=False)
        for axes, picture in zip(grid.ravel(), pictures, strict=True):
            show(axes, picture)
        for axes, name in zip(grid[0], ["defective skull", "truth", *names], strict=True):
            axes.set_title(name)
        for row, (line, case) in enumerate(zip(grid, drawn_cases, strict=True)):
            line[0].set_ylabel(case.style.replace("_", " "))
            for axes, name in zip(line[2:], names, strict=True):
                axes.set_xlabel(f"{score} {scores[name][row]:.2f}", labelpad=1)
        key(drawn, ["bone", "implant", "proposal"])
    return drawn


def facing(part: Volume, skull: Volume) -> tuple[float, float]:
    """The view (azimuth, elevation) that looks at a part from outside the head, between its pieces if it has several.

    From ahead if the part is empty.
    """
    from scipy.ndimage import label

    bone = skull.voxel_to_mm(np.argwhere(skull.mask[::4, ::4, ::4]) * 4)
    pieces, _ = label(part.mask[::2, ::2, ::2])
    place = part.voxel_to_mm(np.argwhere(pieces) * 2)
    if not len(place) or not len(bone):
        return VIEWS["front"]
    low, high = bone.min(axis=0), bone.max(axis=0)
    middle = np.array([*(low + high)[:2] / 2, high[2] - 0.45 * (high - low)[1]])
    rays = place - middle
    rays /= np.linalg.norm(rays, axis=1)[:, None]
    sizes = np.bincount(pieces[pieces > 0])
    weights = np.where(sizes > 0.1 * sizes.max(), 1 / np.maximum(sizes, 1), 0)[pieces[pieces > 0]]
    x, y, z = np.average(rays, axis=0, weights=weights)  # a small piece counts as much as a large one
    azimuth, level = float(np.degrees(np.arctan2(x, -y))), np.hypot(x, y)
    if level < 0.5 * np.hypot(rays[:, 0], rays[:, 1]).mean():  # on both sides, or around the vertex
        azimuth, level = (0.0 if y <= 0 else 180.0), level + 0.3
    return azimuth, float(np.clip(np.degrees(np.arctan2(z, level)), -10, 60))


def _gallery(wanted: Sequence[tuple[Mapping[str, Volume], tuple[float, float] | str]]) -> tuple[list, float]:
    """Small pictures of (layers, view), all at one scale, and the mm across each."""
    scenes = [(build_scene(layers, detail_vox=150) if _is_something(layers) else None, view) for layers, view in wanted]
    span_mm = max((frame(scene, view)[1] for scene, view in scenes if scene), default=200.0)
    return [render(scene, view=view, size=_SMALL, span_mm=span_mm) if scene else _NOTHING
            for scene, view in scenes], span_mm


def _is_something(layers: Mapping[str, Volume]) -> bool:
    """A generator's case may be empty: then its place in a picture is."""
    return any(layer.mask.any() for layer in layers.values())
