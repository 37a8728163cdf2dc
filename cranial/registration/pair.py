"""One pair of heads: registered, measured, and what belongs to the one carried onto the other."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from ..kernels.warp import warp
from ..resampling import sample
from ..volume import Volume, VolumeError, same_grid
from .affine import register_affine, turn_of
from .deformable import Level, deform, finer
from .fields import jacobian
from .view import Cube, known, lay_cube

ALPHA = 12500.0  # what the study found best; it tried 6250 to 100000
MIN_DICE, MAX_FOLDED, SCALES, MAX_TURN_DEG = 0.5, 0.02, (0.6, 1.7), 45.0  # a pair beyond these has failed


@dataclass(frozen=True)
class Quality:
    """How well a pair was registered; before: after the affine part alone. Displacement: the deformable part's.

    Dice and mean squared difference are taken where both scans show something, `common_share` of the cube.
    """

    dice_before: float
    dice_after: float
    mse_before: float
    mse_after: float
    folded_share: float  # of all voxels of the cube
    mean_displacement_mm: float
    p95_displacement_mm: float
    max_displacement_mm: float
    scales: tuple[float, float, float]  # of the affine part, largest first
    turn_deg: float  # by how much the affine part turns
    common_share: float

    def as_dict(self) -> dict[str, float | list[float]]:
        """JSON values by name."""
        return asdict(self) | {"scales": list(self.scales)}


@dataclass(frozen=True, eq=False)
class Registration:
    """What brings a moving head onto a fixed one: x -> affine (x + field(x)), patient mm of fixed -> of moving.

    cube: of the fixed head, the grid of the field. affine: (4, 4). field: float32 (3, n, n, n), voxels of the cube.
    problems: why the pair has failed, in words; empty where it has not.
    """

    cube: Cube
    affine: np.ndarray
    field: np.ndarray
    levels: tuple[Level, ...]
    quality: Quality
    problems: tuple[str, ...]

    def carry(self, *parts: Volume) -> tuple[Volume, ...]:
        """Disjoint parts of the moving head, on one grid, brought onto the fixed head's cube.

        Bone is where their union fills at least half a voxel, and it belongs to the part that fills most of it: so
        the results are disjoint, and their union is what the union of the parts is carried to, to the bit.
        Raises VolumeError for parts that overlap or lie on different grids.
        """
        if not parts or not all(same_grid(part, parts[0]) for part in parts):
            raise VolumeError("carry needs parts on one grid; bring them there with volume.resample(part, like=head)")
        count = np.sum([part.mask for part in parts], axis=0, dtype=np.uint8)
        if count.max(initial=0) > 1:
            raise VolumeError(
                f"the parts overlap in {np.count_nonzero(count > 1)} voxels; give disjoint ones, such as "
                "defective skull and defect"
            )
        side = (self.cube.side,) * 3
        onto = self.affine @ self.cube.affine
        masks = [count > 0, *(part.mask for part in parts)] if len(parts) > 1 else [parts[0].mask]
        soft = torch.from_numpy(np.stack([sample(mask, parts[0].affine, side, onto) for mask in masks]))
        moved = warp(soft, torch.from_numpy(self.field)).numpy()
        bone, owner = moved[0] >= 0.5, moved[1:].argmax(axis=0) if len(parts) > 1 else 0
        return tuple(Volume(bone & (owner == index), self.cube.affine) for index in range(len(parts)))

    def map_points(self, points_mm: np.ndarray) -> np.ndarray:
        """Where points (N, 3) of the fixed head, LPS mm, lie in the moving head, (N, 3) LPS mm."""
        from scipy.ndimage import map_coordinates

        index = (points_mm - self.cube.affine[:3, 3]) / self.cube.spacing_mm
        shift = [map_coordinates(component, index.T, order=1, mode="nearest") for component in self.field]
        moved = points_mm + self.cube.spacing_mm * np.stack(shift, axis=1)
        return moved @ self.affine[:3, :3].T + self.affine[:3, 3]

    @property
    def displacement_mm(self) -> np.ndarray:
        """Length of the deformable part's displacement, float32 (n, n, n)."""
        return self.cube.spacing_mm * np.sqrt(np.einsum("cijk,cijk->ijk", self.field, self.field))


def register(
    moving: Volume,
    fixed: Volume,
    *,
    alpha: float = ALPHA,
    side: int = 128,
    edge_mm: float | None = None,
    cube: Cube | None = None,
    iterations: Sequence[int] = (50, 50, 50, 50),
    learning_rate: float = 0.01,
    stop_below: float | None = None,
    affine: np.ndarray | None = None,
    common: bool = True,
    device: str = "auto",
    threads: int | None = None,
    watch: Callable[[Registration], None] | None = None,
) -> Registration:
    """Bring one head onto another: affine, then the field of `deformable.deform` on the fixed head's cube.

    Heads may lie in any pose, on any grids. side: voxels along each edge of the cube; edge_mm: its size, None: what
    holds the fixed head. cube: to be taken instead, whatever side and edge_mm are. affine: (4, 4), patient mm of fixed
    -> of moving, for instance from an earlier registration of the pair; None: searched for. common: nothing pulls where
    one of the scans has ended and the other has not (`view.known`); False: what a scan does not show counts as empty,
    as in the study. device: auto, cpu, cuda, ...
    watch: called with the registration as it stands after the affine part and after each level but the last, whose is
    returned; what it raises ends the work.
    Other arguments as in `deformable.deform`.
    Raises VolumeError for an empty mask; RegistrationError and ValueError as deform does. A pair that does not fit is
    no error: see Registration.problems.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    laid_cube = lay_cube(fixed, side, edge_mm=edge_mm)
    lay_cube(moving, side)  # an empty mask is found before the work
    cube = laid_cube if cube is None else cube
    side = cube.side
    affine = register_affine(moving, fixed) if affine is None else np.asarray(affine, float)
    shape, onto = (side,) * 3, affine @ cube.affine
    target = torch.from_numpy(sample(fixed.mask, fixed.affine, shape, cube.affine)).to(device)
    laid = torch.from_numpy(sample(moving.mask, moving.affine, shape, onto)).to(device)
    view = torch.ones(shape, dtype=torch.bool)
    if common:
        view = torch.from_numpy(known(fixed, cube.affine, side) & known(moving, onto, side)).to(device)

    def measured(field: torch.Tensor | None, levels: Sequence[Level]) -> Registration:
        field = finer(field, target)
        warped = warp(laid[None], field, threads=threads)[0]
        field = field.cpu().numpy()
        length_mm = cube.spacing_mm * np.sqrt(np.einsum("cijk,cijk->ijk", field, field))
        quality = Quality(
            dice_before=_dice(laid[view], target[view]),
            dice_after=_dice(warped[view], target[view]),
            mse_before=float((laid - target)[view].square().mean()),
            mse_after=float((warped - target)[view].square().mean()),
            folded_share=float(np.mean(jacobian(field, threads=threads) <= 0)),
            mean_displacement_mm=float(length_mm.mean()),
            p95_displacement_mm=float(np.percentile(length_mm, 95)),
            max_displacement_mm=float(length_mm.max()),
            scales=tuple(float(s) for s in np.linalg.svd(affine[:3, :3], compute_uv=False)),
            turn_deg=float(np.rad2deg(turn_of(affine))),
            common_share=float(view.float().mean()),
        )
        return Registration(cube, affine, field, tuple(levels), quality, _problems(quality))

    if watch is not None:
        watch(measured(None, ()))
    field, levels = deform(
        laid, torch.where(view, target, laid), alpha=alpha, iterations=iterations, learning_rate=learning_rate,
        stop_below=stop_below, threads=threads,
        watch=None if watch is None else lambda field, levels: watch(measured(field, levels)),
    )
    return measured(field, levels)


def _dice(one: torch.Tensor, other: torch.Tensor) -> float:
    a, b = one >= 0.5, other >= 0.5
    return float(2 * (a & b).sum() / max(1, int(a.sum() + b.sum())))


def _problems(quality: Quality) -> tuple[str, ...]:
    found = []
    if min(quality.scales) < SCALES[0] or max(quality.scales) > SCALES[1]:
        found.append("the affine part stretches by " + ", ".join(f"{s:.2f}" for s in quality.scales))
    if quality.turn_deg > MAX_TURN_DEG:
        found.append(f"the head would be turned by {quality.turn_deg:.0f} degrees: does its file say how it lies?")
    if quality.mse_after >= quality.mse_before > 0:
        found.append(f"the mean squared difference rose from {quality.mse_before:.4f} to {quality.mse_after:.4f}")
    if quality.dice_after < MIN_DICE:
        found.append(f"Dice is {quality.dice_after:.2f}, less than {MIN_DICE}")
    if quality.folded_share > MAX_FOLDED:
        found.append(f"{100 * quality.folded_share:.1f} % of the voxels are folded, more than {100 * MAX_FOLDED:g} %")
    return tuple(found)
