"""A defect put where somebody wants it: the style's own shape, turned about the middle of the head, and scaled."""

from dataclasses import replace

import numpy as np

from ..volume import Volume
from .defects import Case, draw_fitting, reach_mm
from .hole import Defect, Piece, inside

_MIRROR = np.diag([-1.0, 1.0, 1.0])
_LARGEST = 0.45  # share of the bone that a defect may take, as in defects.cut


def place(
    skull: Volume, style: str, *, seed: int, at_mm: np.ndarray | None = None, size: float = 1.0
) -> Case:
    """Cut a defect of a style into a complete skull, around a place and at a size of one's choice.

    at_mm: (3,) LPS mm, the middle of its first piece; None: where `defects.cut` would have it, and with size 1 what
    comes is what `cut` cuts. A second piece on the other side follows as a mirror image would. size: 2 is twice as
    wide. Raises ValueError as `cut` does, for a size that is not from 0.1 to 4, and where the defect takes no bone or
    more than 45 % of it.
    """
    if not 0.1 <= size <= 4:
        raise ValueError(f"size is {size}; give a factor from 0.1 to 4, 1 for the style's own size")
    defect, implant = draw_fitting(skull, style, seed=seed)
    if at_mm is not None or size != 1:
        implant = skull.mask & inside(moved(defect, skull, at_mm=at_mm, size=size), skull)
    taken = np.count_nonzero(implant) / np.count_nonzero(skull.mask)
    if taken == 0:
        raise ValueError("there is no bone to cut at this place; choose one on the vault")
    if taken > _LARGEST:
        raise ValueError(f"the defect would take {taken:.0%} of the bone, more than {_LARGEST:.0%}; make it smaller")
    return Case(skull, skull.with_mask(skull.mask & ~implant), skull.with_mask(implant), style)


def moved(defect: Defect, skull: Volume, *, at_mm: np.ndarray | None, size: float) -> Defect:
    """The same pieces around another place, and scaled; at_mm and size as in `place`."""
    first = defect.pieces[0].direction
    turn = np.eye(3)
    if at_mm is not None:
        towards = np.asarray(at_mm, float) - defect.vault.centre_mm
        turn = _turn(first, towards / max(float(np.linalg.norm(towards)), 1e-9))

    def one(piece: Piece) -> Piece:
        own = turn if piece.direction[0] * first[0] >= 0 else _MIRROR @ turn @ _MIRROR
        direction = own @ piece.direction
        holes = piece.burr_holes * (1, size, 1)  # a burr hole is the drill's size, whatever the flap's
        return piece._replace(
            direction=direction,
            turn=own @ piece.turn,
            reach_mm=reach_mm(direction, defect.vault, skull),
            outline_mm=piece.outline_mm * size,
            burr_holes=holes,
        )

    return replace(defect, pieces=tuple(map(one, defect.pieces)))


def first_bone(skull: Volume, from_mm: np.ndarray, along: np.ndarray) -> np.ndarray | None:
    """Where a ray first meets bone, (3,) LPS mm; None where it misses. from_mm: outside; along: (3,) of any length."""
    along = np.asarray(along, float) / np.linalg.norm(along)
    corners = skull.voxel_to_mm(np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
                                * (np.array(skull.shape) - 1))
    ahead = (corners - from_mm) @ along
    steps = np.arange(min(ahead), max(ahead), 0.5 * min(skull.spacing_mm))
    points = from_mm + steps[:, None] * along
    index = np.rint(skull.mm_to_voxel(points)).astype(int)
    within = np.all((index >= 0) & (index < skull.shape), axis=1)
    hit = skull.mask[tuple(index[within].T)]
    return points[within][hit.argmax()] if hit.any() else None


def _turn(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The least rotation (3, 3) that brings one unit vector onto another."""
    axis, cosine = np.cross(one, other), float(one @ other)
    if cosine < -1 + 1e-9:  # half a turn, about any axis across
        across = np.cross(one, np.eye(3)[np.abs(one).argmin()])
        across /= np.linalg.norm(across)
        return 2 * np.outer(across, across) - np.eye(3)
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)
