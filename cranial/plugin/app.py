"""How does the app open? napari, with the docks beside it and the head upright; `cranial app` calls this."""

import os
import sys
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QTabWidget

from .drivers import triton_first

DOCKS = ("Defect", "Reconstruct", "Implant", "Measure", "Register", "Generate", "Browse", "Convert")


def run(case: Path | None = None) -> None:
    """Open napari with a case, or without, and return when its window is closed.

    Raises ValueError where there is no display, ModuleNotFoundError where napari is not installed.
    """
    check_display(os.environ)
    triton_first()
    import napari

    viewer = napari.Viewer(title="Cranial")
    open_docks(viewer)
    if case is not None:
        open_case(viewer, case)
    napari.run()


def open_docks(viewer: Any) -> dict[str, Any]:
    """All docks as tabs, Reconstruct in front; name -> dock."""
    docks = {}
    for name in DOCKS:
        window_dock, docks[name] = viewer.window.add_plugin_dock_widget("cranial", name, tabify=bool(docks))
        if name == "Reconstruct":
            front = window_dock
    front.window().setTabPosition(Qt.DockWidgetArea.RightDockWidgetArea, QTabWidget.TabPosition.East)
    viewer.dims.ndisplay = 3
    front.raise_()
    return docks


def open_case(viewer: Any, case: Path) -> None:
    """Read a file or a folder of DICOM slices in a thread, and show it; an error becomes a notification."""
    from .files import read
    from .layers import with_surfaces
    from .stage import put
    from .work import Work

    Work().start(lambda report: with_surfaces(read(str(case))), lambda layers: put(viewer, *layers))


def check_display(environment: Any) -> None:
    """Raise ValueError where Qt would find no display, for it would end the process without a word to us."""
    named = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(environment.get(name) for name in named):
        raise ValueError("there is no display for a window; on a server use ssh -X, or xvfb-run cranial app")
