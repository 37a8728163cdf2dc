"""A set of cases as one lazy array of labels, for napari: 0 nothing, 1 defective skull, 2 defect."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class Labels:
    """uint8 (count, I, J, K), of which only the items asked for are read; a missing or rejected one is all zeros.

    `viewer.add_labels(store.labels())` and dask.array.from_array take it as it is. A voxel that is both is defect.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, masks: Callable[[int], np.ndarray | None], items: Sequence[int], shape: tuple[int, int, int]
    ) -> None:
        """masks: item -> bool (2, I, J, K), or None where there is no case. items: which, one a row of the array."""
        self._masks, self.items = masks, items
        self.shape = (len(items), *shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        """What numpy would give for integers, slices and one ellipsis; IndexError for anything else or outside."""
        items, *place = self._keys(key)
        if not isinstance(items, slice):
            return self._item(self.items[range(len(self))[items]], tuple(place))
        numbers = range(len(self))[items]
        one = np.broadcast_to(np.uint8(0), self.shape[1:])[tuple(place)]  # no memory, but the shape, or the IndexError
        labels = np.zeros((len(numbers), *one.shape), np.uint8)
        for row, item in enumerate(numbers):
            labels[row] = self._item(self.items[item], tuple(place))
        return labels

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it; numpy says so itself if that is more than fits."""
        return self[:] if dtype is None else self[:].astype(dtype)

    def _keys(self, key: Any) -> list[int | slice]:
        """One integer or slice for each axis."""
        keys = list(key) if isinstance(key, tuple) else [key]
        places = [place for place, each in enumerate(keys) if each is Ellipsis]
        if len(places) > 1 or len(keys) - len(places) > self.ndim:
            raise IndexError(f"{key} is more than one ellipsis or {self.ndim} axes; labels have item, i, j, k")
        start = places[0] if places else len(keys)
        keys[start : start + len(places)] = [slice(None)] * (self.ndim + len(places) - len(keys))
        return [each if isinstance(each, slice) else self._integer(each) for each in keys]

    @staticmethod
    def _integer(key: Any) -> int:
        try:
            return operator.index(key)
        except TypeError:
            raise IndexError(f"labels take integers, slices and an ellipsis, not {key!r}; index what comes") from None

    def _item(self, item: int, place: tuple[int | slice, ...]) -> np.ndarray:
        """The labels of one item at a place within it."""
        masks = self._masks(item)
        if masks is None:
            return np.zeros(self.shape[1:], np.uint8)[place]
        defective, defect = (mask.view(np.uint8)[place] for mask in masks)
        return np.maximum(defective, defect * np.uint8(2))
