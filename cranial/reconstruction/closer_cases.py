"""Training cases of the closer look: what a trained network answers to a case, and the truth, from near.

Skulls are drawn and cut as for that network, in a cube twice as fine, and it is asked as it will be for a patient. What
was found is kept; a draw takes a block of it, flips it, and makes the first answer surer or less sure than it was.
"""

import zlib
from pathlib import Path

import numpy as np

from ..resampling import sample
from ..rng import generator
from ..volume import Volume
from .cases import EDGE_MM
from .closer import CHANNELS, look_closer
from .model import Model
from .predict import infer, look
from .suggested import UNSEEN, SuggestedPool, found_in

BLOCK = 96  # voxels of a block that is learnt from, at most, along each axis
_UNSURE = (0.2, 0.3)  # standard deviations: of the log of what log-odds of the first answer are multiplied with; added
_DRAWING = 1_000_013  # ends the key: nobody else's numbers


class CloserPool(SuggestedPool):
    """Items of a SuggestedPool, seen as `model` answers them: uint8 (CHANNELS + 1, i, j, k), the truth last.

    multiple: what the sides are divisible by. Other arguments and errors as of SuggestedPool.
    """

    def __init__(self, *args, model: Model, multiple: int, cache: Path, **settings) -> None:
        super().__init__(*args, cache=cache, **settings)
        self.model, self.multiple = model, multiple
        told = f"{self.folder.name} {multiple}".encode()
        for weight in model.network.state_dict().values():
            told = zlib.crc32(weight.float().numpy().tobytes(), zlib.crc32(told)).to_bytes(4, "big")
        self.folder = Path(cache) / f"closer-{zlib.crc32(told):08x}"

    def _make(self, item: int) -> np.ndarray:
        defective, implant, atlas = self.cut(item)
        n = len(defective)
        affine = np.diag([*[EDGE_MM / n] * 3, 1.0])
        skull, nothing = Volume(defective > 0.5, affine), np.zeros((CHANNELS + 1, *[4 * self.multiple] * 3), np.uint8)
        found = found_in(skull, self.model.side, atlas=atlas)
        if found is None:
            return nothing
        grid, suggestions = found
        probability = infer(self.model, look(self.model, skull, grid, suggestions), device="cpu")
        near = look_closer(skull, probability, grid, suggestions, multiple=self.multiple)
        if near is None:
            return nothing
        truth = sample(implant >= 0.5, affine, near.seen.shape[1:], near.affine)
        return np.rint(255 * np.clip(np.concatenate([near.seen, truth[None]]), 0, 1)).astype(np.uint8)


def draw_closer(pool: CloserPool, *, seed: int, step: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (batch, CHANNELS, i, j, k) and targets (batch, 1, i, j, k), float32, of one step."""
    drawn = []
    for index in range(batch):
        rng = generator(seed, step, index, _DRAWING)
        case = pool[int(rng.integers(len(pool)))]
        case = case[:, *(_block(n, rng) for n in case.shape[1:])].astype(np.float32) / 255
        if rng.random() < 0.5:
            case = case[:, ::-1]
        case[2:CHANNELS] *= rng.random((CHANNELS - 2, 1, 1, 1)) >= UNSEEN
        case[1] = less_sure(case[1], np.exp(rng.normal(0, _UNSURE[0])), rng.normal(0, _UNSURE[1]))
        drawn.append(case)
    smallest = [min(case.shape[axis] for case in drawn) for axis in (1, 2, 3)]
    cases = np.stack([case[:, *(slice(0, n) for n in smallest)] for case in drawn])
    return cases[:, :CHANNELS], cases[:, CHANNELS:]


def less_sure(probability: np.ndarray, times: float, more: float) -> np.ndarray:
    """Probabilities whose log-odds are multiplied and added to; 0 and 1 stay."""
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    odds = (p / (1 - p)) ** times * np.exp(more)
    return np.where((probability > 0) & (probability < 1), odds / (1 + odds), probability).astype(np.float32)


def _block(n: int, rng: np.random.Generator) -> slice:
    low = int(rng.integers(max(0, n - BLOCK) + 1))
    return slice(low, low + min(n, BLOCK))
