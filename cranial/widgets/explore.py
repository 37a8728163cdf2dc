"""Any picture under any choices: one control a choice, and what is drawn below them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ipywidgets


def explore(draw: Callable[..., Any], **choices: Any) -> "ipywidgets.interactive":
    """What `draw` returns, under controls: (low, high[, step[, start]]) a slider, names a menu, a bool a box.

    It is drawn anew when a slider is let go, not on its way.
    """
    view = interactive(draw, choices, auto_display=True)
    for control in view.children[:-1]:
        if hasattr(control, "continuous_update"):
            control.continuous_update = False
    return view


def interactive(draw: Callable[..., Any], choices: dict[str, Any], *, auto_display: bool) -> "ipywidgets.interactive":
    """One control a choice, as `explore` says, and below them what `draw` says when they are moved."""
    import ipywidgets

    def control(choice: Any) -> Any:
        if isinstance(choice, tuple) and isinstance(choice[0], str):
            return list(choice)
        if isinstance(choice, tuple) and len(choice) == 4:
            low, high, step, start = choice
            kind = ipywidgets.IntSlider if all(isinstance(each, int) for each in choice) else ipywidgets.FloatSlider
            return kind(start, min=low, max=high, step=step)
        return choice

    return ipywidgets.interactive(
        draw, {"auto_display": auto_display}, **{name: control(choice) for name, choice in choices.items()}
    )
