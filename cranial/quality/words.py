"""A case in few bytes, and exact Dice with many: 4 x 4 x 4 voxels are the 64 bits of a word; empty words are left out.

Of a head nearly all words are empty: a case is a tenth of its packed bits, and what two cases share is an `and` and a
count of bits a word. So nothing is approximate: bounds on Dice from voxels counted in coarse blocks (sum of the lesser
counts) were tried to choose candidates, and rule out too few heads to be worth their own time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

MEASURES = ("complete", "defect", "both", "lesser")
_EDGE = 4  # voxels of a word, along each axis
_BLOCK = 1 << 14  # words compared at once: what is made in between stays in the cache, and asks for no new memory


class CasePool(Protocol):
    """Cases by number: uint8 or bool (2, I, J, K), defective skull and defect, not 0 = bone."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Words:
    """A case: the words in which there is anything, ascending, and their bits of defective skull and of defect."""

    shape: tuple[int, int, int]
    places: np.ndarray  # int32 (m,)
    bits: np.ndarray  # uint64 (2, m)
    voxels: np.ndarray  # int64 (3,): of defective skull, defect and complete skull


class WordsTable:
    """Many cases of one shape, their words one after the other."""

    def __init__(self, cases: Sequence[Words]) -> None:
        self.shape = cases[0].shape
        self.places = np.concatenate([case.places for case in cases])
        self.bits = np.concatenate([case.bits for case in cases], axis=1)
        self.voxels = np.stack([case.voxels for case in cases])
        self.starts = np.cumsum([0, *(len(case.places) for case in cases)])
        changes = np.flatnonzero(np.diff(self.starts[1:] // _BLOCK)) + 1
        self.blocks = np.array([0, *changes, len(cases)])  # cases first to last, each about _BLOCK words

    def __len__(self) -> int:
        return len(self.voxels)

    def __getitem__(self, index: int) -> Words:
        here = slice(*self.starts[index : index + 2])
        return Words(self.shape, self.places[here], self.bits[:, here], self.voxels[index])


def read_case(pool: CasePool, index: int, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Case `index` of a pool, bool (2, I, J, K). Raises ValueError, calling it `name`, for what is none.

    shape: the (I, J, K) that it must have; None: any.
    """
    case = np.asarray(pool[index])
    if case.ndim != 4 or len(case) != 2 or case.dtype not in (np.uint8, np.bool_):
        raise ValueError(
            f"{name} {index} is {case.dtype} {case.shape}; give uint8 or bool (2, I, J, K), defective skull and defect"
        )
    if shape and case.shape[1:] != tuple(shape):
        raise ValueError(
            f"{name} {index} has {case.shape[1:]} voxels, the cases to compare with {tuple(shape)}; lay all on one "
            "grid, as reconstruction.mix.lay_cases does"
        )
    return case if case.dtype == bool else case != 0


def pack(case: np.ndarray) -> Words:
    """The words of a case, bool (2, I, J, K)."""
    margins = [-size % _EDGE for size in case.shape[1:]]
    padded = np.pad(case, [(0, 0), *((0, margin) for margin in margins)]) if any(margins) else case
    fours = np.ascontiguousarray(padded).view(np.uint32)  # voxels along K: one to move, not four
    size_i, size_j, size_k = (size // _EDGE for size in padded.shape[1:])
    fours = fours.reshape(2, size_i, _EDGE, size_j, _EDGE, size_k).transpose(0, 1, 3, 5, 2, 4)
    bits = np.packbits(np.ascontiguousarray(fours).view(np.uint8).ravel()).view(np.uint64).reshape(2, -1)
    places = np.flatnonzero(bits[0] | bits[1])
    bits = bits[:, places]
    voxels = [int(np.bitwise_count(each).sum(dtype=np.int64)) for each in (*bits, bits[0] | bits[1])]
    return Words(case.shape[1:], places.astype(np.int32), bits, np.array(voxels, np.int64))


def dice_to_all(case: Words, table: WordsTable) -> np.ndarray:
    """Dice of a case with each of a table, float64 (N, 4), exact: a column each of MEASURES.

    complete: of the skulls without hole. defect: of the defects. both: of the voxels of both channels together, most of
    them skull. lesser: the lesser of complete and defect, so that it is near 1 only where skull and defect both agree.
    Two empty masks agree: 1.
    """
    dense = np.zeros((2, int(np.prod([-(-size // _EDGE) for size in case.shape]))), np.uint64)
    dense[:, case.places] = case.bits
    common = np.empty((len(table), 3), np.int64)
    for first, last in zip(table.blocks, table.blocks[1:], strict=False):
        starts = table.starts[first : last + 1]
        here = slice(starts[0], starts[-1])
        places, theirs = table.places[here].astype(np.intp), table.bits[:, here]
        ours = [bits.take(places) for bits in dense]
        shared = ours[0] & theirs[0], ours[1] & theirs[1], (ours[0] | ours[1]) & (theirs[0] | theirs[1])
        for part, bits in enumerate(shared):
            running = np.zeros(len(places) + 1, np.int64)
            np.cumsum(np.bitwise_count(bits), out=running[1:])
            common[first:last, part] = np.diff(running[starts - starts[0]])
    sizes = table.voxels + case.voxels
    complete, defect = _dice(common[:, 2], sizes[:, 2]), _dice(common[:, 1], sizes[:, 1])
    both = _dice(common[:, :2].sum(axis=1), sizes[:, :2].sum(axis=1))
    return np.stack([complete, defect, both, np.minimum(complete, defect)], axis=1)


def _dice(common: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.where(sizes > 0, 2 * common / np.maximum(sizes, 1), 1.0)  # 2 |A and B| / (|A| + |B|)
