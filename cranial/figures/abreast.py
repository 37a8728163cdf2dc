"""Several cases side by side, whether the truth is known or not: what each method proposes, and what each try does."""

from collections.abc import Mapping, Sequence

from ..volume import Volume
from .render import build_scene, frame, render
from .solids import facing
from .style import Figure, figure, key, show

_SIZE = 250  # pixels of a picture


def abreast(skulls: Mapping[str, Volume], pieces: Mapping[str, Sequence[Volume]], *,
            truths: Sequence[Volume] | None = None, notes: Mapping[str, Sequence[str]] = {}, title: str = "") -> Figure:
    """A row a case: the skull as it came, the truth if it is known, and each column of pieces in it.

    skulls: by name; pieces: under the head of their column, one for each case; truths: likewise, or None;
    notes: words below the pictures of a column. Each case is seen from the side of its hole, at one scale.
    Raises ValueError for a column that has not one piece, or note, for each case.
    """
    columns = ({"truth": truths} if truths is not None else {}) | dict(pieces)
    for name, column in [*columns.items(), *notes.items()]:
        if len(column) != len(skulls):
            raise ValueError(f"{name!r} has {len(column)} entries for {len(skulls)} skulls; give one each")
    rows = []
    for number, skull in enumerate(skulls.values()):
        hints = [column[number] for column in columns.values() if column[number].mask.any()]
        view = facing(hints[0], skull) if hints else "front"
        layers = [{"bone": skull}]
        for name, column in columns.items():
            layers.append({"bone": skull, "implant" if name == "truth" else "proposal": column[number]})
        rows.append([(build_scene(each, detail_vox=150), view) for each in layers])
    span_mm = max(frame(scene, view)[1] for row in rows for scene, view in row)
    width = 2.05 * (len(columns) + 1) + 0.3
    with figure(width, 2.3 * len(rows) + 0.55 + 0.3 * bool(title), title) as drawn:
        grid = drawn.subplots(len(rows), len(columns) + 1, squeeze=False)
        for number, (line, row, name) in enumerate(zip(grid, rows, skulls, strict=True)):
            for axes, (scene, view), head in zip(line, row, ["as it came", *columns], strict=True):
                note = notes[head][number] if head in notes else ""
                show(axes, render(scene, view=view, size=_SIZE, span_mm=span_mm), head if number == 0 else "", note)
            line[0].set_ylabel(name)
        key(drawn, ["bone", *(["implant"] if truths is not None else []), "proposal"])
    return drawn
