"""Why does triton come before OpenGL, or not at all? Mesa's driver and triton each bring an LLVM of their own, and
importing triton once Mesa has loaded its own ends the process (seen with triton 3.8 and LLVM 15). torch imports triton
wherever it finds it.
"""

import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path


def triton_first() -> None:
    """Import triton, if it is installed, before a window is opened: then both live side by side."""
    with suppress(ImportError):
        import_module("triton")


def keep_triton_out(maps: Path = Path("/proc/self/maps")) -> None:
    """Where a window came first, let triton count as not installed, as torch allows; nothing where it is no danger."""
    if "triton" not in sys.modules and maps.exists() and "libLLVM" in maps.read_text():
        sys.modules["triton"] = None  # import triton now raises ModuleNotFoundError
