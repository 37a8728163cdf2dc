"""How fast is this machine at what the whole study does? A few seconds of each kind of work, measured."""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..kernels.descent import Rates, descend
from ..kernels.threads import Team
from ..nets.residual_unet import ResidualUNetShape
from ..reconstruction.learner import ReconstructionLearner
from ..reconstruction.mix import lay_cases
from ..skulls.defects import STYLES, cut
from ..skulls.phantom import phantom
from ..skulls.store import CaseStore
from .cost import DESCENT_BYTES, Part
from .work import step_work

_YEAR_SECONDS = 365.25 * 24 * 3600


@dataclass(frozen=True)
class Here:
    """Measured on all cores of this machine; bytes_a_case: of phantoms' cases in a store, at store_side."""

    operations_a_second: float  # of a reconstruction network's training step
    bytes_a_second: float  # of registration's descent
    bytes_a_case: float
    store_side: int

    def years(self, parts: Sequence[Part]) -> float:
        """How long parts of the study would take here: by their arithmetic, or by their bytes if they have none."""
        seconds = [
            part.times * (part.work.operations / self.operations_a_second if part.work.operations
                          else part.work.bytes / self.bytes_a_second)
            for part in parts
        ]  # fmt: skip
        return sum(seconds) / _YEAR_SECONDS


def measure_here(*, train_side: int, descent_side: int, store_side: int, store_cases: int, repeats: int = 3) -> Here:
    """Measure; the sides say how large the pieces of work are, and so how long it takes."""
    return Here(
        _training(train_side, repeats), _descent(descent_side, repeats), _bytes_a_case(store_side, store_cases),
        store_side,
    )  # fmt: skip


def _training(side: int, repeats: int) -> float:
    shape = ResidualUNetShape(1, 1, (16, 32, 64, 128, 256), 1, 1)
    learner = ReconstructionLearner(shape, steps=1, learning_rate=1e-3, symmetry=False)
    batch = (torch.zeros(1, 1, side, side, side),) * 2
    work = step_work(learner, batch, step=0)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = learner.loss(batch, torch.Generator())
        loss.backward()

    return work.operations / _seconds(step, repeats)


def _descent(side: int, repeats: int) -> float:
    rng = np.random.default_rng(0)
    moving, fixed = (torch.from_numpy(rng.random((side,) * 3, dtype=np.float32)) for _ in range(2))
    half = side / 2
    weights = torch.full((3, 3), 1e-3, dtype=torch.float64)
    with Team() as team:
        rates = Rates((0.01 * half,) * 3, (1e-8 / half,) * 3)
        ours = descend(moving, fixed, torch.zeros(3, *fixed.shape), weights, rates, team)
        return DESCENT_BYTES * side**3 / _seconds(ours.step, 5 * repeats)


def _bytes_a_case(side: int, count: int) -> float:
    cases = [cut(phantom(item, spacing_mm=200 / side), STYLES[item % len(STYLES)], seed=0) for item in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        store = CaseStore.create(folder, count=count, shape=(side,) * 3, spacing_mm=(200 / side,) * 3, recipe={})
        for item, (defective, defect) in enumerate(lay_cases(cases, side).astype(bool)):
            store.write(item, defective, defect, {})
        files = [path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()]
    return sum(files) / count


def _seconds(work: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, after one that does not count."""
    work()
    measured = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        measured.append(time.perf_counter() - start)
    return statistics.median(measured)
