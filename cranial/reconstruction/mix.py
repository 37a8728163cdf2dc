"""Training on given cases, real or synthetic, with geometric augmentation as the last step: the study's experiment.

A mix is several pools of cases, each drawn from with its share. What step s sees comes from (seed, s) alone. Inputs
and targets are binary, and nothing is told to the network but the defective skull, as in the study.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from pydantic import Field

from ..augment import SETTINGS, apply, draw
from ..config import Params
from ..nets.residual_unet import ResidualUNetShape
from ..registration.view import lay_cube
from ..resampling import sample
from ..rng import generator
from ..skulls.defects import Case
from ..skulls.store import CaseStore
from ..train import TrainResult, train
from ..volume import Volume
from .learner import ReconstructionLearner

_STREAM = 1_000_004  # ends the key: the numbers of a step are nobody else's


class CasePool(Protocol):
    """Cases of one kind: uint8 (2, n, n, n), defective skull and defect, by number."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> np.ndarray: ...


class StoredCases:
    """The cases of a store (these items; None: all that are there), read when they are drawn."""

    def __init__(self, store: CaseStore, items: Sequence[int] | None = None) -> None:
        self.store, self.items = store, store.present(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> np.ndarray:
        case = self.store.read(self.items[index])
        return np.stack([case.defective, case.defect]).view(np.uint8)


def lay_cases(cases: Sequence[Case], side: int, *, edge_mm: float | None = None) -> np.ndarray:
    """Cases on the cubes of their complete skulls, uint8 (N, 2, n, n, n); edge_mm: of the cubes, None: each its own."""
    laid = np.empty((len(cases), 2, side, side, side), np.uint8)
    for row, case in zip(laid, cases, strict=True):
        cube = lay_cube(case.complete, side, edge_mm=edge_mm)
        complete, defect = (
            sample(part.mask, part.affine, (side,) * 3, cube.affine) for part in (case.complete, case.implant)
        )
        row[0] = (complete >= 0.5) & (defect < 0.5 * complete)  # a voxel is of the part that fills more of it
        row[1] = (complete >= 0.5) & (defect >= 0.5 * complete)
    return laid


def as_case(channels: np.ndarray, *, edge_mm: float, style: str = "") -> Case:
    """Channels (2, n, n, n), not 0 = bone, as a case in a cube of this size, axes along L, P, S, about the origin."""
    side = channels.shape[-1]
    affine = np.diag([*[edge_mm / side] * 3, 1.0])
    affine[:3, 3] = -0.5 * edge_mm * (1 - 1 / side)
    defective, defect = (Volume(channel != 0, affine) for channel in channels)
    return Case(defective.with_mask(defective.mask | defect.mask), defective, defect, style)


class MixRecipe(Params):
    """What a network is trained with, but for its cases."""

    steps: int = Field(gt=0)
    batch: int = Field(default=2, gt=0)
    seed: int = Field(default=0, ge=0)
    geometric: Literal["none", "basic", "heavy", "extreme"] = "none"
    learning_rate: float = Field(default=1e-3, gt=0)
    cross_entropy: float = Field(default=0.5, ge=0)
    ema: float = Field(default=0.99, ge=0, lt=1)
    widths: tuple[int, ...] = (16, 32, 64)
    blocks: int = Field(default=1, gt=0)
    patch: int = Field(default=2, gt=0)
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"


def draw_mix(
    pools: Sequence[CasePool], shares: Sequence[float], *, geometric: str, seed: int, step: int, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of one step, float32 (batch, 1, n, n, n), 0 or 1; shares: how often each pool is drawn."""
    chances = np.asarray(shares, float) / np.sum(shares)
    drawn = []
    for index in range(batch):
        rng = generator(seed, step, index, _STREAM)
        pool = pools[rng.choice(len(pools), p=chances)]
        case = pool[int(rng.integers(len(pool)))]
        drawn.append(apply(draw(SETTINGS[geometric], case.shape[1:], rng), case))
    inputs, targets = np.stack(drawn, axis=1)[:, :, None].astype(np.float32)
    return inputs, targets


def train_mix(
    recipe: MixRecipe,
    pools: Sequence[CasePool],
    folder: Path | str,
    *,
    shares: Sequence[float] | None = None,
    validation: CasePool = (),
    validate_every: int | None = None,
    accelerator: str = "auto",
    workers: int = 0,
    progress: bool = True,
) -> TrainResult:
    """Train (or resume) a residual UNet on a mix of cases in `folder`; shares: None for as many as each pool has.

    validation: cases to score (mean Dice) every validate_every steps, as they are. Raises ValueError for pools that
    are empty; otherwise as `train` does.
    """
    empty = [number for number, pool in enumerate(pools) if not len(pool)]
    if empty or not pools:
        raise ValueError(f"pools is {'empty' if not pools else f'without a case at {empty}'}; give pools of cases")
    shares = [len(pool) for pool in pools] if shares is None else list(shares)
    shape = ResidualUNetShape(1, 1, recipe.widths, recipe.blocks, recipe.patch)
    torch.manual_seed(recipe.seed)
    learner = ReconstructionLearner(
        shape, steps=recipe.steps, learning_rate=recipe.learning_rate, symmetry=False,
        cross_entropy=recipe.cross_entropy, validation=[_tensors(validation[n]) for n in range(len(validation))],
    )
    config = recipe.model_dump(mode="json") | {"pools": [len(pool) for pool in pools], "shares": shares}
    return train(
        learner, _batches(recipe, pools, shares), steps=recipe.steps, folder=folder, seed=recipe.seed, config=config,
        accelerator=accelerator, precision=recipe.precision, clip_norm=1.0, ema_decay=recipe.ema or None,
        workers=workers, log_every=10, validate_every=validate_every, target="dsc" if validate_every else None,
        goal="highest" if validate_every else None, progress=progress,
    )


def _batches(recipe: MixRecipe, pools: Sequence[CasePool], shares: Sequence[float]) -> Callable[[int], tuple]:
    def batch(index: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = draw_mix(
            pools, shares, geometric=recipe.geometric, seed=recipe.seed, step=index, batch=recipe.batch
        )
        return torch.from_numpy(drawn[0]), torch.from_numpy(drawn[1])

    return batch


def _tensors(case: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    defective, defect = torch.from_numpy(case.astype(np.float32))[:, None, None]
    return defective, defect
