"""Which thread works on which planes? Compiled kernels let go of the GIL, so plain Python threads do.

numba's own threads are one team for the whole process, and not every kind of them may be called from two threads at
once, as data loaders do. Here every caller has a team of its own, which ends with it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import torch

T = TypeVar("T")


class Team:
    """Threads for as long as a `with` block lasts; threads: how many, None: as many as torch computes with."""

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}; give at least 1, or None for as many as torch has")
        self.threads = torch.get_num_threads() if threads is None else threads
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool:
            self._pool.shutdown()

    def slabs(self, work: Callable[[int, int], T], size: int) -> list[T]:
        """work(start, stop) for contiguous parts of range(size), one a thread, the caller's included; in order."""
        ends = self.ends(size)
        others = [self._pool.submit(work, *part) for part in zip(ends[1:-1], ends[2:], strict=True)]
        return [work(*ends[:2]), *(each.result() for each in others)]

    def ends(self, size: int) -> list[int]:
        """Where the slabs of range(size) begin, and where the last one ends."""
        count = max(1, min(self.threads, size))
        return [size * part // count for part in range(count + 1)]
