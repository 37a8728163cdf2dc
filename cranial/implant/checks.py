"""Does the mesh keep what was asked? Every line has a figure, a limit, and whether it passes.

Clearances are measured from the mesh's own points (vertices and middles of faces) to the bone's surface and to the
centres of its voxels, at rest and all the way out, not by the fields that the solid was made of.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import trimesh

from cranial.surface import surface as boundary
from cranial.volume import Volume

from .bone import FAR_MM, seen_from, tree
from .design import ImplantDesign
from .solid import Solid

TOLERANCE_MM = 0.1  # of clearance and wall
MAX_DRIFT = 0.05  # by which blur, opening and mesh may change the volume
LEAST_FILLED = 0.5  # of the defect's outline, seen along the way in: less means that most of it is an undercut
_WAY_STEP_MM = 0.5
_CREASE_RAD = 0.4
_WAY_POINTS = 40_000


@dataclass(frozen=True)
class Check:
    """One line of a report. at_least: whether the limit is a lower one."""

    name: str
    figure: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def passed(self) -> bool:
        """Whether the figure keeps the limit; one that is no number does not."""
        return bool(self.figure >= self.limit if self.at_least else self.figure <= self.limit)

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{self.name:22} {self.figure:8.3g} {sign} {self.limit:.3g} {self.unit}".ljust(48) + (
            "pass" if self.passed else "FAIL"
        )


@dataclass(frozen=True)
class ImplantReport:
    """Of several pieces, the worst figure of each kind."""

    checks: tuple[Check, ...]
    volume_mm3: float  # of the mesh
    left_out: int  # parts of the defect that were crumbs or touched no bone

    @property
    def passed(self) -> bool:
        """Whether every line passes."""
        return all(check.passed for check in self.checks)

    def as_dict(self) -> dict:
        """For JSON: {"passed": ..., "checks": {name: {"figure", "limit", "unit", "at_least", "passed"}}, ...}."""
        lines = {check.name: {**asdict(check), "passed": check.passed} for check in self.checks}
        for line in lines.values():
            del line["name"]
        return {"passed": self.passed, "volume_mm3": self.volume_mm3, "left_out": self.left_out, "checks": lines}

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks))


@dataclass(frozen=True)
class Findings:
    """What was measured on one piece."""

    drift: float
    filled: float
    wall_mm: float
    clearance_mm: float
    way_mm: float


def examine(solid: Solid, mesh: trimesh.Trimesh, skull: Volume, design: ImplantDesign) -> Findings:
    """Measure one piece. skull: cropped around it."""
    spacing_mm = solid.grid.spacing_mm[0]
    points_mm = np.concatenate([mesh.vertices, mesh.triangles_center])
    here = seen_from(skull, solid.grid)
    centres_mm = here.voxel_to_mm(np.argwhere(boundary(here.mask)))
    surface_mm = solid.grid.voxel_to_mm(solid.bone.surface)
    bone = tree(np.concatenate([surface_mm, centres_mm]))
    near_mm = nearest(bone, points_mm, design)
    outline = solid.grid.mask.any(axis=2)
    planned_mm3 = np.count_nonzero(solid.planned) * spacing_mm**3
    return Findings(
        drift=abs(mesh.volume - planned_mm3) / max(planned_mm3, 1e-9),
        filled=float(np.count_nonzero((solid.field_mm < 0).any(axis=2) & outline) / max(np.count_nonzero(outline), 1)),
        wall_mm=thinnest_mm(solid, mesh),
        clearance_mm=float(near_mm.min()),
        way_mm=way_clearance_mm(solid, points_mm, bone, near_mm, design),
    )


def nearest(bone, points_mm: np.ndarray, design: ImplantDesign) -> np.ndarray:
    """Distance (N,) from points to bone, at most a little more than matters."""
    enough_mm = design.clearance_mm + 4.0
    return np.minimum(bone.query(points_mm, distance_upper_bound=enough_mm, workers=-1)[0], enough_mm)


def way_clearance_mm(solid: Solid, points_mm: np.ndarray, bone, near_mm: np.ndarray, design: ImplantDesign) -> float:
    """How near the implant's points come to bone while it is drawn out, from where it sits to clear of the skull.

    Each point goes on by what is surely free before it is asked again, but at least by _WAY_STEP_MM.
    """
    step = max(1, len(points_mm) // _WAY_POINTS)
    places, travelled = points_mm[::step], np.zeros(len(points_mm[::step]))
    distance_mm = near_mm[::step].copy()
    worst = float(near_mm.min())
    way_mm = solid.grid.shape[2] * solid.grid.spacing_mm[0]  # above its top the grid's columns hold no bone
    while len(places):
        travelled += np.maximum(distance_mm - design.clearance_mm, _WAY_STEP_MM)
        on = travelled < way_mm
        places, travelled = places[on], travelled[on]
        if len(places):
            distance_mm = nearest(bone, places + travelled[:, None] * solid.direction, design)
            worst = min(worst, float(distance_mm.min()))
    return worst


def thinnest_mm(solid: Solid, mesh: trimesh.Trimesh) -> float:
    """The shortest way through the solid from a point of its surface, straight inward, mm.

    In a crease there is no straight inward; triangles that meet others at one are left out.
    """
    from scipy.ndimage import map_coordinates

    spacing_mm = solid.grid.spacing_mm[0]
    fair = mesh.area_faces > 1e-3 * spacing_mm**2  # triangles of no size have no normal
    creased = (mesh.face_adjacency_angles > _CREASE_RAD) & ~mesh.face_adjacency_convex
    fair[mesh.face_adjacency[creased]] = False
    start = solid.grid.mm_to_voxel(mesh.triangles_center[fair])
    inward = -mesh.face_normals[fair] @ (solid.grid.affine[:3, :3] / spacing_mm)
    thinnest, step = FAR_MM, 0.25
    before = None
    for travelled in np.arange(step, 40.0 / spacing_mm, step):
        field = map_coordinates(solid.field_mm, (start + travelled * inward).T, order=1, mode="nearest")
        if before is not None:
            out = (field >= 0) & (before < 0)
            if out.any():
                share = before[out] / (before[out] - field[out])
                return float((travelled - step + step * share.min()) * spacing_mm)
        before = field
    return float(thinnest)


def report(
    found: Sequence[Findings], meshes: Sequence[trimesh.Trimesh], design: ImplantDesign, left_out: int
) -> ImplantReport:
    """One report of all pieces."""
    wall_mm, clearance_mm = design.minimum_wall_mm - TOLERANCE_MM, design.clearance_mm - TOLERANCE_MM
    edges = [unmatched(mesh) for mesh in meshes]
    lines = (
        Check("open edges", sum(opened for opened, _ in edges), 0),
        Check("edges wound both ways", sum(mixed for _, mixed in edges), 0),
        Check("shells beyond pieces", sum(shells(mesh) for mesh in meshes) - len(meshes), 0),
        Check("volume drift", max(piece.drift for piece in found), MAX_DRIFT),
        Check("outline filled", min(piece.filled for piece in found), LEAST_FILLED, at_least=True),
        Check("minimum wall", min(piece.wall_mm for piece in found), wall_mm, "mm", at_least=True),
        Check("clearance to bone", min(piece.clearance_mm for piece in found), clearance_mm, "mm", at_least=True),
        Check("clearance on way in", min(piece.way_mm for piece in found), clearance_mm, "mm", at_least=True),
    )
    return ImplantReport(lines, float(sum(mesh.volume for mesh in meshes)), left_out)


def unmatched(mesh: trimesh.Trimesh) -> tuple[int, int]:
    """Edges that are not shared by exactly two faces, and those that both faces run along the same way."""
    edges = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
    count = len(mesh.vertices)
    _, shared = np.unique(edges.min(axis=1) * count + edges.max(axis=1), return_counts=True)
    _, directed = np.unique(edges[:, 0] * count + edges[:, 1], return_counts=True)
    return int(np.count_nonzero(shared != 2)), int(np.count_nonzero(directed != 1))


def shells(mesh: trimesh.Trimesh) -> int:
    """How many surfaces that share no vertex."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = mesh.faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    links = coo_array((np.ones(len(edges), bool), tuple(edges.T)), shape=(len(mesh.vertices),) * 2)
    return int(connected_components(links, directed=False)[0])
