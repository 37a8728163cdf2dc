"""What is there to try it on? Phantom skulls with holes of a few styles: no patient's data, made on the spot."""

from ..skulls.defects import cut
from ..skulls.phantom import phantom
from .layers import LayerData, labels_data, with_surfaces

SPACING_MM = 1.5


def parietotemporal() -> list[LayerData]:
    """A skull with a hole in its side, and what is missing; of both the mask and its surface."""
    return _case("parietotemporal", 0)


def bilateral() -> list[LayerData]:
    """A skull with a hole on either side."""
    return _case("bilateral", 1)


def frontoorbital() -> list[LayerData]:
    """A skull with a hole in forehead and orbit."""
    return _case("frontoorbital", 2)


def craniotomy() -> list[LayerData]:
    """A skull from which a flap was sawn, with its burr holes."""
    return _case("craniotomy", 3)


def complete() -> list[LayerData]:
    """A skull without a hole."""
    return with_surfaces([labels_data(phantom(4, spacing_mm=SPACING_MM), "complete skull")])


def _case(style: str, item: int) -> list[LayerData]:
    case = cut(phantom(item, spacing_mm=SPACING_MM), style, seed=0, item=item)
    return with_surfaces([
        labels_data(case.defective, style),
        labels_data(case.implant, f"{style}, piece", "implant"),
    ])
