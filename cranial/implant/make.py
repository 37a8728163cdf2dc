"""From the reconstructed defect to an implant: split, find the way in, fill, mesh, check; piece by piece."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np
import trimesh

from cranial.volume import Volume, same_grid

from . import checks
from .bone import crop, isosurface, working_grid
from .design import ImplantDesign
from .direction import PATH_MM, SPACING_MM, insertion_direction
from .solid import Solid, fill_hole, reach_mm, wall_mm

_CRUMB_MM3 = 50.0  # smaller pieces of a reconstruction are left out
_TOUCH_MM = 1.5  # a piece farther from bone than this has nothing to be fixed to
_LEAST = 0.02  # of a working voxel: nearer vertices would fall together in single precision
_STEPS = ("way in", "bone", "faces", "opening", "mesh", "checks")  # of a piece
Progress = Callable[[float, str], None]  # the share that is done, and what comes next; what it raises ends the work


@dataclass(frozen=True, eq=False)
class Implant:
    """mesh: patient LPS mm, wound outward, pieces in order of size. directions: unit vectors out of the skull."""

    mesh: trimesh.Trimesh
    pieces: tuple[trimesh.Trimesh, ...]
    directions: tuple[np.ndarray, ...]
    report: checks.ImplantReport
    design: ImplantDesign


def make_implant(
    skull: Volume, defect: Volume, design: ImplantDesign | None = None, *, progress: bool | Progress = True
) -> Implant:
    """Make the implant for a defect, both on the skull's grid; each of several pieces goes in its own way.

    design: None takes ImplantDesign(). progress: show a bar, or what to call between the steps.
    Raises ValueError where the grids differ, the skull or defect is empty, the defect lies in the bone or apart
    from it, or nothing of a piece is left.
    """
    from tqdm import tqdm

    design = design or ImplantDesign()
    pieces, left_out = split(skull, defect)
    middle_mm = head_middle(skull)
    directions, meshes, found = [], [], []
    with tqdm(total=len(pieces) * len(_STEPS), disable=progress is not True, desc="implant") as bar:
        done = count()

        def begin(step: str) -> None:
            taken = next(done)
            if callable(progress):
                progress(taken / bar.total, step)
            bar.set_postfix_str(step)
            bar.update(taken - bar.n)

        for piece in pieces:
            begin("way in")
            here = crop(skull, piece.box, PATH_MM + 15.0)
            this = crop(piece.volume, piece.box, PATH_MM + 15.0)
            direction = insertion_direction(here, this, middle_mm)
            solid = solid_of(here, this, direction, design, begin)
            begin("mesh")
            mesh = surface(solid)
            begin("checks")
            found.append(checks.examine(solid, mesh, here, design))
            directions.append(direction)
            meshes.append(mesh)
        bar.update(bar.total - bar.n)
    whole = trimesh.util.concatenate(meshes) if len(meshes) > 1 else meshes[0]
    return Implant(whole, tuple(meshes), tuple(directions), checks.report(found, meshes, design, left_out), design)


@dataclass(frozen=True, eq=False)
class Piece:
    """One connected part of a defect, on the skull's grid, and the box of voxels around it."""

    volume: Volume
    box: tuple[slice, slice, slice]


def split(skull: Volume, defect: Volume) -> tuple[list[Piece], int]:
    """The pieces of a defect, largest first, and how many were left out: crumbs, and what touches no bone."""
    from scipy.ndimage import binary_dilation, find_objects, label

    if not same_grid(skull, defect):
        raise ValueError(
            f"the defect has {defect.shape} voxels of {_sides(defect)} mm, the skull {skull.shape} of {_sides(skull)} "
            "mm, or they lie elsewhere; bring the defect onto the skull's grid with volume.resample(defect, like=skull)"
        )
    if not skull.mask.any():
        raise ValueError("the skull is empty, not one voxel is set; an implant needs bone around it")
    if not defect.mask.any():
        raise ValueError("the defect is empty, not one voxel is set; there is nothing to make an implant of")
    missing = defect.mask & ~skull.mask
    if not missing.any():
        raise ValueError(
            "every voxel of the defect is bone of the skull; give the skull with the hole, not the complete one"
        )
    labels, count = label(missing, np.ones((3, 3, 3)))
    boxes = find_objects(labels)
    pieces = [Piece(skull.with_mask(labels == k + 1), boxes[k]) for k in range(count)
              if np.count_nonzero(labels[boxes[k]] == k + 1) * skull.voxel_mm3 >= _CRUMB_MM3]
    pieces.sort(key=lambda piece: -np.count_nonzero(piece.volume.mask[piece.box]))
    rounds = max(1, round(_TOUCH_MM / max(skull.spacing_mm)))
    touching = []
    for piece in pieces:
        part, bone = crop(piece.volume, piece.box, 3 * _TOUCH_MM), crop(skull, piece.box, 3 * _TOUCH_MM)
        if (binary_dilation(part.mask, np.ones((3, 3, 3)), iterations=rounds) & bone.mask).any():
            touching.append(piece)
    if not pieces:
        raise ValueError(
            f"the largest piece of the defect has less than {_CRUMB_MM3:g} mm3; that is noise and no defect"
        )
    if not touching:
        raise ValueError(
            f"the defect does not touch the skull: no bone within {_TOUCH_MM:g} mm of it; "
            "are both from the same patient?"
        )
    return touching, count - len(touching)


def head_middle(skull: Volume) -> np.ndarray:
    """Middle (3,) of the bone, LPS mm."""
    step = [max(1, round(3.0 / side)) for side in skull.spacing_mm]
    thinned = skull.mask[:: step[0], :: step[1], :: step[2]]
    if not thinned.any():
        step, thinned = [1, 1, 1], skull.mask
    return skull.voxel_to_mm((np.argwhere(thinned) * step).mean(axis=0)[None])[0]


def solid_of(
    skull: Volume, piece: Volume, direction: np.ndarray, design: ImplantDesign, begin: Callable[[str], None]
) -> Solid:
    """The implant of a piece along a direction; skull and piece on one grid, cropped. begin: see fill_hole."""
    step = [max(1, int(SPACING_MM / side)) for side in skull.spacing_mm]
    bone_mm = skull.voxel_to_mm(np.argwhere(skull.mask[:: step[0], :: step[1], :: step[2]]) * step)
    grid = working_grid(
        piece,
        direction,
        bone_mm,
        reach_mm=reach_mm(design) + 2.0,
        below_mm=wall_mm(design, design.detail_mm),
        spacing_mm=design.detail_mm,
    )
    return fill_hole(skull, piece, grid, direction, design, begin)


def surface(solid: Solid) -> trimesh.Trimesh:
    """The surface of a solid in LPS mm."""
    spacing_mm = solid.grid.spacing_mm[0]
    least = np.float32(_LEAST * spacing_mm)
    field_mm = np.where(np.abs(solid.field_mm) < least, np.where(solid.field_mm < 0, -least, least), solid.field_mm)
    vertices, faces = isosurface(-field_mm, 0.0)
    return trimesh.Trimesh(solid.grid.voxel_to_mm(vertices), faces, process=False)


def _sides(volume: Volume) -> str:
    return " x ".join(f"{side:.3g}" for side in volume.spacing_mm)
