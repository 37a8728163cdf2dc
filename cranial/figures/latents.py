"""Latents that one can see: points in the plane and on their circle, and how far apart they lie."""

from collections.abc import Mapping

import numpy as np

from .style import FAINT, INK, Figure, figure

_COLOURS = ("#2f7fc1", "#e2802b", "#4f9d5d", "#8d6cab")


def plane(points: Mapping[str, np.ndarray], *, radius: float | None = None, title: str = "") -> Figure:
    """Latents of two numbers, (n, 2) by name, those drawn first dark; radius: of the circle around 0 to show."""
    reach = 1.12 * max(float(np.abs(each).max()) for each in points.values())
    with figure(3.4 * len(points), 3.6 + 0.3 * bool(title), title) as drawn:
        panels = drawn.subplots(1, len(points), squeeze=False)[0]
        for axes, (name, each) in zip(panels, points.items(), strict=True):
            if radius is not None:
                turn = np.linspace(0, 2 * np.pi, 181)
                axes.plot(radius * np.cos(turn), radius * np.sin(turn), color=FAINT, lw=0.8)
            axes.scatter(*each.T, c=np.arange(len(each)), cmap="viridis", s=16, linewidths=0, zorder=2)
            axes.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach), title=name)
            axes.tick_params(color=FAINT)
    return drawn


def lengths_and_distances(
    latents: Mapping[str, np.ndarray], *, nearest: Mapping[str, np.ndarray], title: str = ""
) -> Figure:
    """Left, how long latents are, (n, N) by name; right, how far each is from its nearest neighbour, (n,) by name."""
    with figure(11, 3.2, title) as drawn:
        left, right = drawn.subplots(1, 2)
        long = {name: np.linalg.norm(each, axis=1) for name, each in latents.items()}
        for axes, values, label in ((left, long, "length of a latent"), (right, nearest, "to the nearest neighbour")):
            low, high = min(map(np.min, values.values())), max(map(np.max, values.values()))
            bins = np.linspace(low - 0.03 * (high - low) - 1e-6, high + 0.03 * (high - low) + 1e-6, 60)
            tallest = [axes.hist(each, bins, color=colour, alpha=0.75, label=name)[0].max()
                       for colour, (name, each) in zip(_COLOURS, values.items(), strict=False)]
            # latents that all lie at one length would make the others invisible: their bar leaves the picture
            axes.set_ylim(0, min(1.05 * max(tallest), 3 * min(tallest)))
            axes.set(xlabel=label, yticks=[])
            axes.tick_params(color=FAINT, labelcolor=INK)
        left.set_ylabel("latents")
        left.legend()
    return drawn
