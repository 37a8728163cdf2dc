"""Filling a set, item by item, by any number of processes at once: what all methods of making cases share."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tqdm.auto import tqdm

from ..skulls.defects import Case
from ..skulls.store import CaseStore

Item = tuple[Case | None, dict, str]  # a case, its provenance, ""; or None, provenance, why there is none


@dataclass(frozen=True)
class Made:
    """What a call did: cases written, and items rejected, by reason; and what had been decided before."""

    written: int
    rejected: Counter
    before: int


def fill(
    store: CaseStore, make: Callable[[int], Item], *, items: Iterable[int] | None, name: str, progress: bool
) -> Made:
    """Make the items (None: all) that are still missing, make(item) each, and pack what is complete.

    Each process begins at a place of its own, and who finds an item decided goes on to the next.
    """
    items = None if items is None else set(items)  # it may be an iterator
    missing = store.missing(items)
    start = int.from_bytes(os.urandom(4)) % max(1, len(missing))  # of the work's order only: results know nothing of it
    written, rejected = 0, Counter()
    for item in tqdm(missing[start:] + missing[:start], desc=f"{name} cases", unit="case", disable=not progress):
        if not store.missing([item]):
            continue
        case, provenance, reason = make(item)
        if case is None:
            if store.reject(item, reason, provenance):
                rejected[reason] += 1
        else:
            written += store.write(item, case.defective.mask, case.implant.mask, provenance)
    store.pack()
    return Made(written, rejected, (len(store) if items is None else len(items)) - len(missing))
