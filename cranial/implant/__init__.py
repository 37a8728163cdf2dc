"""From a reconstructed defect to something a printer takes. A map, by question:

design     what may be asked of an implant? (clearance, thickness, taper, perforations)
direction  from where can it be pushed into the hole?
bone       where is the bone, to a fraction of a voxel, and what may be reached past it?
solid      which solid fills the hole, and how is it made printable? (signed distances, opening)
make       all of it, piece by piece
checks     does the mesh keep what was asked? (figure, limit, pass or fail)
files      how is it written? (STL, 3MF)

A piece is worked on in a grid of its own, whose third axis is its insertion direction: what bone hides from
above is then a running minimum along that axis, and undercuts need no search.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checks import Check, ImplantReport
    from .design import ImplantDesign
    from .files import write_implant
    from .make import Implant, make_implant

__all__ = ["Check", "Implant", "ImplantDesign", "ImplantReport", "make_implant", "write_implant"]
_HOME = {"Check": "checks", "ImplantReport": "checks", "ImplantDesign": "design", "write_implant": "files"}


def __getattr__(name: str) -> Any:  # so that whoever only fills in a design does not wait for scipy
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOME.get(name, 'make')}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name!r}")
