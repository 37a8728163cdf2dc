"""A display for napari's tests where the machine has none: Xvfb with GL, for as long as it is needed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


def why_no_window() -> str:
    """Why napari cannot open a window here, "" where it can."""
    try:
        import napari.qt  # noqa: F401
        from qtpy import QtWidgets  # noqa: F401
    except ImportError as error:
        return f"napari, or a library that Qt needs, is not installed ({error}); .ci/run has the Debian packages"
    if not os.environ.get("DISPLAY") and not shutil.which("Xvfb"):
        return "there is no display, and no Xvfb to make one; on Debian: apt install xvfb"
    return ""


@contextmanager
def a_display(size: str = "1600x1000") -> Iterator[None]:
    """DISPLAY is set within the block: as it is, or to an Xvfb of this size that ends with the block."""
    if os.environ.get("DISPLAY"):
        yield
        return
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{size}x24", "+extension", "GLX"]
    with subprocess.Popen([*command, "-nolisten", "tcp"], pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with os.fdopen(reading) as number:
            os.environ["DISPLAY"] = f":{number.readline().strip()}"
        try:
            yield
        finally:
            del os.environ["DISPLAY"]
            server.terminate()
