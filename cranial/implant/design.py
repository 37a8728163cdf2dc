"""What may be asked of an implant, in millimetres and degrees."""

from dataclasses import dataclass
from math import isfinite

MAX_TAPER_DEG = 30.0
LEAST_PERFORATION_MM = 1.0


@dataclass(frozen=True)
class ImplantDesign:
    """How the missing piece becomes an implant.

    clearance_mm: gap to bone all around. thickness_mm: from the outer surface inward; None keeps the defect's
    own. taper_deg: draft of the rim along the insertion direction, narrower inward. perforation_mm,
    perforation_spacing_mm: diameter of drilled holes, 0 for none, and how far apart their axes are.
    minimum_wall_mm: nothing is thinner; thinner bone is thickened inward. detail_mm: side of the working
    voxels; large pieces may take larger ones.
    Raises ValueError for a figure that makes no sense.
    """

    clearance_mm: float = 0.5
    thickness_mm: float | None = None
    taper_deg: float = 0.0
    perforation_mm: float = 0.0
    perforation_spacing_mm: float = 12.0
    minimum_wall_mm: float = 1.0
    detail_mm: float = 0.4

    def __post_init__(self) -> None:
        _within("clearance_mm", self.clearance_mm, 0, 5, "a gap to bone, for example 0.5")
        _within("minimum_wall_mm", self.minimum_wall_mm, 0.5, 10, "the thinnest printable wall, for example 1")
        _within("detail_mm", self.detail_mm, 0.1, 1, "a working voxel, for example 0.4")
        _within("taper_deg", self.taper_deg, 0, MAX_TAPER_DEG, "a draft of the rim, for example 3")
        if self.detail_mm > self.minimum_wall_mm / 2:
            raise ValueError(
                f"detail_mm is {self.detail_mm:g}, too coarse for a minimum_wall_mm of {self.minimum_wall_mm:g}; "
                f"give at most half the wall, {self.minimum_wall_mm / 2:g}"
            )
        if self.thickness_mm is not None:
            _within("thickness_mm", self.thickness_mm, 0.5, 30, "a thickness, for example 4, or none")
            if self.thickness_mm < self.minimum_wall_mm:
                raise ValueError(
                    f"thickness_mm is {self.thickness_mm:g}, below minimum_wall_mm {self.minimum_wall_mm:g}; "
                    "raise the thickness or lower the minimum wall"
                )
        if self.perforation_mm != 0:
            diameter = "a diameter, for example 2.5, or 0 for none"
            _within("perforation_mm", self.perforation_mm, LEAST_PERFORATION_MM, 20, diameter)
            _within("perforation_spacing_mm", self.perforation_spacing_mm, 0.5, 100, "a distance, for example 12")
            bridge_mm = self.perforation_spacing_mm - self.perforation_mm
            if bridge_mm < 2 * self.minimum_wall_mm:
                raise ValueError(
                    f"perforations of {self.perforation_mm:g} mm every {self.perforation_spacing_mm:g} mm leave "
                    f"{bridge_mm:g} mm between them; leave at least two minimum walls, {2 * self.minimum_wall_mm:g} mm"
                )


def _within(name: str, value: float, low: float, high: float, what: str) -> None:
    if not (isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} is {value:g}; give {what} (from {low:g} to {high:g})")
