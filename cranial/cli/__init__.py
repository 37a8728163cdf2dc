"""`cranial`: one command a question, each a thin call into the package.

parser    what can be asked, and how?
commands  what does each command do?
batch     and the one that runs a whole study?

Exit codes: 0 done, 1 it could not be done (one line says why; CRANIAL_DEBUG=1 shows where), 2 wrong usage.
"""

import os
import sys
from collections.abc import Sequence

from .parser import build_parser

__all__ = ["build_parser", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        options.command(options)
    except KeyboardInterrupt:
        print("cranial: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("CRANIAL_DEBUG"):
            raise
        print(f"cranial: error: {_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _one_line(error: Exception) -> str:
    """The error as one line; what is nobody's mistake but ours says so."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"not enough memory ({text or 'MemoryError'}); close other programs, or use larger voxels"
    if isinstance(error, (ValueError, OSError, ModuleNotFoundError)):
        return text
    return f"{type(error).__name__}: {text} (this looks like a bug; CRANIAL_DEBUG=1 shows where)"
