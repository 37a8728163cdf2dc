"""What a network is shown, and how its training went."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..volume import Volume
from .render import build_scene, render, rgb
from .solids import facing
from .style import FAINT, INK, PAPER, Figure, figure, key, show

_EDGE_MM = 215.0  # of the network's cube, about
_COLOURS = ("#2f7fc1", "#e2802b", "#7fb685", "#8d6cab")


def training_cases(inputs: np.ndarray, targets: np.ndarray, seen: np.ndarray, wanted: np.ndarray, *,
                   title: str = "") -> Figure:
    """A column a case: in 3-D, and in section as occupancies of the network's own voxels.

    inputs, targets: (B, 1, n, n, n) in [0, 1], fine enough for the eye. seen, wanted: the same cases (B, 1, m, m, m)
    at the network's resolution.
    """
    with figure(max(1.75 * len(inputs), 5), 4.3 + 0.3 * bool(title), title) as drawn:
        grid = drawn.subplots(2, len(inputs), squeeze=False)
        for (above, below), fine, piece, coarse, target in zip(grid.T, inputs, targets, seen, wanted, strict=True):
            affine = np.diag([*[_EDGE_MM / fine.shape[-1]] * 3, 1.0])
            layers = {"bone": Volume(fine[0] > 0.5, affine), "implant": Volume(piece[0] > 0.5, affine)}
            view = facing(layers["implant"], layers["bone"])
            show(above, render(build_scene(layers), view=view, size=260, span_mm=_EDGE_MM))
            show(below, _section(coarse[0], target[0]))
            below.images[0].set_interpolation("nearest")
        grid[0, 0].set_ylabel("what is cut")
        grid[1, 0].set_ylabel(f"what is seen, {seen.shape[-1]}³")
        key(drawn, ["bone", "implant"])
    return drawn


def training_curves(log: str | Path | Sequence[Mapping[str, float]], *, title: str = "") -> Figure:
    """Losses and validation scores over the steps; log: the log.jsonl of a training, or its lines.

    Raises ValueError for a log without a line.
    """
    lines = _lines(log)
    losses = _series(lines, lambda name: "/" in name and name.rsplit("/")[-1] in ("dice", "cross_entropy", "loss"))
    scores = _series(lines, lambda name: name.startswith("validation/"))
    with figure(11, 3.4, title) as drawn:
        left, right = drawn.subplots(1, 2)
        for colour, (name, (steps, values)) in zip(_COLOURS, losses.items(), strict=False):
            left.plot(steps, values, color=colour, label=name.split("/")[-1].replace("_", " "))
        left.set(xlabel="step", ylabel="training loss", ylim=(0, None))
        left.legend()
        for colour, (name, (steps, values)) in zip(_COLOURS, scores.items(), strict=False):
            label = name.split("/")[-1].replace("dsc", "DSC")
            right.plot(steps, values, color=colour, marker="o", ms=4)
            best = int(np.argmax(values))
            right.annotate(f"best {values[best]:.2f}", (steps[best], values[best]), (0, 7), ha="right",
                           textcoords="offset points", color=INK)
            right.set(ylabel=f"validation {label}")
        right.set(xlabel="step", ylim=(0, 1), xlim=left.get_xlim())
        for axes in (left, right):
            axes.tick_params(color=FAINT)
    return drawn


def training_comparison(logs: Mapping[str, str | Path | Sequence[Mapping[str, float]]], *, loss: str = "dice",
                        title: str = "") -> Figure:
    """Several trainings in one picture: left the loss on what each was shown, right the score on unseen cases."""
    with figure(11, 3.8, title) as drawn:
        left, right = drawn.subplots(1, 2)
        for colour, (name, log) in zip(_COLOURS, logs.items(), strict=False):
            lines = _lines(log)
            for steps, values in _series(lines, lambda key: key.endswith(f"/{loss}")).values():
                left.plot(steps, values, color=colour, label=name)
            for steps, values in _series(lines, lambda key: key.startswith("validation/")).values():
                right.plot(steps, values, color=colour, marker="o", ms=4)
                right.annotate(f"{values[-1]:.2f}", (steps[-1], values[-1]), (6, 0), va="center",
                               textcoords="offset points", color=colour)
        left.set(xlabel="step", ylabel=f"training loss ({loss})", ylim=(0, None))
        right.set(xlabel="step", ylabel="validation DSC", ylim=(0, None), xlim=left.get_xlim())
        for axes in (left, right):
            axes.tick_params(color=FAINT)
        drawn.legend(loc="outside lower left", ncols=4)
    return drawn


def loss_panels(logs: Mapping[str, str | Path | Sequence[Mapping[str, float]]], *, columns: int = 4,
                title: str = "") -> Figure:
    """Everything that trainings have logged, a panel a quantity; logs: log.jsonl or its lines, by the stage's name.

    Several players may log a quantity of one name: then they share its panel. Points are validation.
    """
    panels: dict[tuple[str, str], dict[str, tuple]] = {}
    for stage, log in logs.items():
        for name, series in _series(_lines(log), lambda key: "/" in key and "gradient" not in key).items():
            player, quantity = name.split("/", 1)
            panels.setdefault((stage, quantity), {})[player] = series
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with figure(max(2.9 * columns, 6), 2.3 * rows + 0.3 * bool(title), title) as drawn:
        grid = drawn.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(panels):]:
            axes.axis("off")
        for axes, ((stage, quantity), players) in zip(grid, panels.items(), strict=False):
            for colour, (player, (steps, values)) in zip(_COLOURS, sorted(players.items()), strict=False):
                dots = dict(marker="o", ms=3.5) if player == "validation" else {}
                axes.plot(steps, values, color=colour, label=player, **dots)
            axes.set_title(quantity.replace("_", " ") + (f", {stage}" if len(logs) > 1 else ""))
            axes.tick_params(color=FAINT)
            if len(players) > 1 or "validation" in players:
                axes.legend(fontsize=8)
    return drawn


def _lines(log: str | Path | Sequence[Mapping[str, float]]) -> Sequence[Mapping[str, float]]:
    """The lines of a log.jsonl, or those that are given; ValueError if there are none."""
    lines = log
    if isinstance(log, str | Path):
        lines = [json.loads(line) for line in Path(log).read_text(encoding="utf-8").splitlines()]
    if not lines:
        raise ValueError(f"{log if isinstance(log, str | Path) else 'the log'} has no line; train for some steps first")
    return lines


def _series(lines: Sequence[Mapping[str, float]], wanted) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    names = sorted({name for line in lines for name in line if wanted(name)})
    return {
        name: tuple(np.array([(line["step"], line[name]) for line in lines if line.get(name) is not None]).T)
        for name in names
    }


def _section(bone: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """The section in which the hole is seen best, (n, n, 3); without a piece the axial one in the middle."""
    axis, level = 2, piece.shape[2] // 2
    if piece.any():
        away = np.abs(np.argwhere(piece > 0) - 0.5 * (np.array(piece.shape) - 1)).mean(axis=0)
        axis = int(np.argmin(away))  # the plane holds the direction in which the hole lies
        level = int(np.argmax(piece.sum(axis=tuple({0, 1, 2} - {axis}))))
    bone, piece = (field.take(level, axis=axis).T for field in (bone, piece))
    if axis != 2:
        bone, piece = bone[::-1], piece[::-1]  # the top is up
    empty = np.clip(1 - bone - piece, 0, 1)[..., None]
    return np.clip(empty * np.array(PAPER) + bone[..., None] * rgb("bone") + piece[..., None] * rgb("implant"), 0, 1)
