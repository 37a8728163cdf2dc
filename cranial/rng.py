"""All randomness: a generator made from (seed, item) or (seed, step), never a global state."""

import numpy as np


def generator(seed: int, *item: int) -> np.random.Generator:
    """The random stream of one item of one seed; the same on every machine, in any order, in any process.

    Args: seed >= 0; item: any number of integers >= 0 that name the item, for example (skull, defect).
    Raises ValueError for a negative number: two streams must never be one by accident.
    """
    key = [int(seed), *map(int, item)]
    if min(key) < 0:
        raise ValueError(f"seed and item must be >= 0, got {tuple(key)}; number the items from 0")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
