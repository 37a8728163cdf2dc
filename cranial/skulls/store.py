"""A set of synthetic cases in a folder: up to 64,000, written by many at once, read in any order, whole or not at all.

A case is packed bits in a zstd frame, with its provenance beside it; shards.py says in which bytes. It is a file of
its own until all 64 of its shard are there, as git has loose objects and packs; shard_folder.py says when and how.
What comes of it is a Zarr v3 array, uint8 (count, 2, I, J, ceil(K / 8)), that other programs read too:

    numpy.unpackbits(zarr.open_array(DIR, mode="r")[item], axis=-1, count=K)      bool (2, I, J, K) as uint8
"""

import json
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import packed_bits, shards
from .label_view import Labels
from .shard_folder import CASE, PACKED, REJECTED, Found, ShardFolder, damaged, place_once, put
from .shards import DamagedError, Layout, StoreError


@dataclass(frozen=True)
class StoredCase:
    """One case: bool (I, J, K) defective skull and defect, and the dict that tells where they are from."""

    defective: np.ndarray
    defect: np.ndarray
    provenance: dict[str, Any]


class CaseStore:
    """A set of numbered items, each a case, or rejected with a reason, or missing; decided once, never changed.

    A run that can be stopped and started again is `for item in store.missing(): store.write(item, ...)`.
    Any number of threads, processes and nodes may write and read; a store can be pickled.
    """

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        count: int,
        shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        recipe: Mapping[str, Any],
        cases_a_shard: int = 64,
    ) -> "CaseStore":
        """Make the set, or open the one that is there if it is the same.

        count: an upper bound, it costs nothing. shape: voxels (I, J, K). recipe: JSON values, all that the cases
        depend on. Raises StoreError for what is no such set, and if the folder holds another one.
        """
        layout = _checked(count, shape, spacing_mm, recipe, cases_a_shard)
        path = Path(folder) / "zarr.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            document = json.dumps(layout.to_json(), indent=2) + "\n"
            put(path, document.encode(), via=path.parent, place=place_once)
        store = cls.open(folder)
        difference = _difference(vars(store.layout), vars(layout))
        if difference:
            name, there, asked = difference
            raise StoreError(
                f"{folder} holds a set with {name} {there}, not {asked}; choose another folder or the same settings"
            )
        return store

    @classmethod
    def open(cls, folder: str | Path) -> "CaseStore":
        """The set in a folder, to read or to go on writing. Raises StoreError if there is none."""
        path = Path(folder) / "zarr.json"
        try:
            return cls(Path(folder), Layout.from_json(json.loads(path.read_bytes())))
        except FileNotFoundError:
            raise StoreError(f"{path} does not exist; check the folder, or make the set with create") from None
        except json.JSONDecodeError as error:
            raise StoreError(f"{path} is damaged ({error}); delete it and create the set with its settings") from error
        except StoreError as error:
            raise StoreError(f"{folder} {error}") from error

    def __init__(self, folder: Path, layout: Layout) -> None:
        """For `create` and `open`, which know the layout."""
        self.folder, self.layout = folder, layout
        self._files = ShardFolder(folder, layout)

    def __len__(self) -> int:
        """How many items the set has room for."""
        return self.layout.count

    def write(self, item: int, defective: np.ndarray, defect: np.ndarray, provenance: Mapping[str, Any]) -> bool:
        """Write one case, two bool masks (I, J, K); False, and nothing is changed, if the item is decided already.

        provenance: JSON values; it comes back as JSON has it, tuples as lists. Raises StoreError for masks of another
        shape or type, an item that is not in the set, and a provenance that is not JSON.
        """
        item, shape = self._files.in_set(item), self.layout.shape
        for name, mask in (("defective", defective), ("defect", defect)):
            if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != shape:
                what = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else f"a {type(mask).__name__}"
                raise StoreError(f"{name} of item {item} is {what}; give a bool array of shape {shape}")
        note = shards.plain_json(provenance, "provenance")
        if self._files.is_decided(item):
            return False
        record = shards.write_bits(packed_bits.pack(defective, defect)) + shards.write_note(note)
        return self._files.decide(item, CASE, record)

    def reject(self, item: int, reason: str, provenance: Mapping[str, Any] | None = None) -> bool:
        """Note that an item gives no case, and why, so that no run tries it again; False if it is decided already.

        provenance: as for `write`. Raises StoreError as `write` does, and for an empty reason.
        """
        item = self._files.in_set(item)
        if not isinstance(reason, str) or not reason.strip():
            raise StoreError(f"reason is {reason!r}; say in a few words why item {item} gives no case")
        said = {"reason": reason, "provenance": json.loads(shards.plain_json(provenance or {}, "provenance"))}
        if self._files.is_decided(item):
            return False
        return self._files.decide(item, REJECTED, shards.write_note(shards.plain_json(said, "rejection")))

    def read(self, item: int) -> StoredCase:
        """One case. Raises StoreError if it is missing, rejected or not in the set, DamagedError if it is damaged."""
        found = self._found(item)
        if found.rejected:
            raise StoreError(f"item {item} of {self.folder} is rejected: {found.said['reason']}; see present()")
        defective, defect = self._unpacked(found)
        return StoredCase(defective, defect, found.said)

    def provenance(self, item: int) -> dict[str, Any]:
        """Where a case or a rejection is from, without reading its masks. Raises as `read`, but not if rejected."""
        found = self._found(item, with_bits=False)
        return found.said["provenance"] if found.rejected else found.said

    def missing(self, items: Iterable[int] | None = None) -> list[int]:
        """Which items (of these; None: of all) are still to be made, ascending. Lists folders, opens no file."""
        return [item for item, state in self._files.states(items).items() if state is None]

    def present(self, items: Iterable[int] | None = None) -> list[int]:
        """Which items (of these; None: of all) can be read, ascending."""
        states = self._files.states(items)
        rejected = self._rejected(states)
        return [item for item, state in states.items() if state and item not in rejected]

    def count_present(self) -> int:
        """How many items can be read."""
        return len(self.present())

    def rejections(self) -> dict[int, str]:
        """Item -> reason of all that are rejected; collections.Counter(....values()) counts by reason."""
        return {item: said["reason"] for item, said in sorted(self._rejected(self._files.states(None)).items())}

    def pack(self) -> int:
        """Pack every shard whose items are all decided; how many were. A last call for writers that were killed.

        `write` and `reject` do it with the last item of a shard. A shard that lacks items stays loose: it reads as
        well, but not for other readers of Zarr. A damaged loose file is set aside with a warning, and missing.
        """
        return self._files.pack()

    def labels(self, items: Sequence[int] | None = None) -> Labels:
        """Cases as one lazy array, uint8 (count, I, J, K), for napari; see label_view.

        items: which, in this order, for instance present(); None: all, and what is missing or rejected is zeros.
        """
        return Labels(self._masks, range(len(self)) if items is None else items, self.layout.shape)

    def _found(self, item: int, *, with_bits: bool = True) -> Found:
        found = self._files.find(self._files.in_set(item), with_bits=with_bits)
        if found is None:
            raise StoreError(f"item {item} of {self.folder} is missing; write it, or choose from present()")
        return found

    def _masks(self, item: int) -> np.ndarray | None:
        found = self._files.find(item)
        return self._unpacked(found) if found and not found.rejected else None

    def _unpacked(self, found: Found) -> np.ndarray:
        try:
            return packed_bits.unpack(shards.read_bits(found.bits, self.layout.shape), self.layout.shape)
        except DamagedError as error:
            raise damaged(found.path, error) from error

    def _rejected(self, states: Mapping[int, str | None]) -> dict[int, dict[str, Any]]:
        """Item -> what its note says, of all that are rejected among these."""
        said = {item: self._found(item, with_bits=False).said for item, state in states.items() if state == REJECTED}
        for number in {item // self.layout.cases_a_shard for item, state in states.items() if state == PACKED}:
            said |= {item: note for item, note in self._files.rejected_in(number).items() if item in states}
        return said


def _checked(
    count: int,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    recipe: Mapping[str, Any],
    cases_a_shard: int,
) -> Layout:
    """The layout of a set that can be; StoreError otherwise."""
    for name, value in (("count", count), ("cases_a_shard", cases_a_shard)):
        if not _is_whole(value):
            raise StoreError(f"{name} is {value!r}; give a whole number of at least 1")
    if np.shape(shape) != (3,) or not all(map(_is_whole, shape)):
        raise StoreError(f"shape is {shape!r}; give the voxels along I, J and K, three whole numbers of at least 1")
    if np.shape(spacing_mm) != (3,) or not all(math.isfinite(side) and side > 0 for side in spacing_mm):
        raise StoreError(f"spacing_mm is {spacing_mm!r}; give the voxel's three sides in millimetres, all above 0")
    return Layout(
        int(count),
        tuple(int(size) for size in shape),
        tuple(float(side) for side in spacing_mm),
        int(cases_a_shard),
        json.loads(shards.plain_json(recipe, "recipe")),
    )


def _is_whole(value: Any) -> bool:
    try:
        return operator.index(value) >= 1
    except TypeError:
        return False


def _difference(there: Any, asked: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """Name, value there and value asked for, of the first thing in which two nested dicts differ."""
    if not (isinstance(there, Mapping) and isinstance(asked, Mapping)):
        return None if there == asked else (name, there, asked)
    for key in [*there, *(key for key in asked if key not in there)]:
        path = f"{name}.{key}".lstrip(".")
        difference = _difference(there.get(key, "absent"), asked.get(key, "absent"), path)
        if difference:
            return difference
    return None
