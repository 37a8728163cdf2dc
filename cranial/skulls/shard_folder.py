"""How files of items appear, become shards and are found, with many writers and readers and no lock.

    DIR/loose/SHARD/ITEM.case or ITEM.rejected       items whose shard still lacks some
    DIR/c.SHARD.0.0.0.0                              shards, which never change

Four rules make it safe. A file gets its name when it is whole, by a rename. A shard gets its name when all its items
are decided, and its loose files go after that. Who finds no folder to write into, or no file to move, looks whether
the shard is there. Who looks for an item looks into the shard, then among the loose, then into the shard again.
"""

import contextlib
import operator
import os
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from .shards import (
    DamagedError,
    Layout,
    Record,
    ShardIndex,
    StoreError,
    read_at,
    read_bits,
    read_index,
    read_note,
    split_record,
    write_shard,
)

CASE, REJECTED, PACKED = "case", "rejected", "packed"
LOOSE = "loose"


class Found(NamedTuple):
    """An item in a file. bits: zstd frame, empty if the item is rejected or they were not asked for; said: its note."""

    path: Path
    bits: bytes
    said: dict[str, Any]
    rejected: bool


class ShardFolder:
    """The files of a set of items."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder, self.layout = folder, layout
        self._indices: dict[int, tuple[tuple[int, ...], ShardIndex]] = {}  # shard -> what file it is of, index

    def in_set(self, item: int) -> int:
        """`item` as an int; StoreError if the set has no such item."""
        try:
            number = operator.index(item)
        except TypeError:
            raise StoreError(f"item is {item!r}; give an integer") from None
        if not 0 <= number < self.layout.count:
            raise StoreError(f"item is {number}; the set in {self.folder} has items 0 ... {self.layout.count - 1}")
        return number

    def is_decided(self, item: int) -> bool:
        """Is the item a case, or rejected?"""
        shard = self._shard_path(item // self.layout.cases_a_shard)
        paths = (shard, self._loose_path(item, CASE), self._loose_path(item, REJECTED), shard)
        return any(path.exists() for path in paths)

    def decide(self, item: int, kind: str, record: bytes) -> bool:
        """Put the record of a CASE or a REJECTED item in its place; False if its shard is there already."""
        number = item // self.layout.cases_a_shard
        path = self._loose_path(item, kind)
        while not self._shard_path(number).exists():
            try:
                for folder in (path.parent.parent, path.parent):
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(folder)
                put(path, record, via=path.parent)
                break
            except FileNotFoundError:  # a packer was taking the folder away just then
                if not (self.folder / "zarr.json").exists():  # no: it is the whole set that is gone
                    raise
        else:
            return False
        self._pack_if_complete(number)
        return True

    def pack(self) -> int:
        """Pack every shard whose items are all decided, and clear away what killed writers left of packed ones."""
        packed = sum(self._pack_if_complete(number) for number in self._loose_shards())
        with contextlib.suppress(OSError):
            (self.folder / LOOSE).rmdir()  # a finished set has none, wherever its writers were killed
        return packed

    def find(self, item: int, *, with_bits: bool = True) -> Found | None:
        """The item, or None if it is missing. Raises DamagedError, which names the file."""
        for look in (self._find_packed, self._find_loose, self._find_packed):
            found = look(item, with_bits)
            if found:
                return found
        return None

    def states(self, items: Iterable[int] | None) -> dict[int, str | None]:
        """Of these items (None: of all), ascending: CASE, REJECTED, PACKED (either of the two), None. Opens no file."""
        layout = self.layout
        wanted = range(layout.count) if items is None else sorted({self.in_set(item) for item in items})
        loose = {}
        for number in self._loose_shards() & {item // layout.cases_a_shard for item in wanted}:
            loose |= self._loose_items(number)
        packed = self._packed_shards()  # after the loose: what moves in between is seen twice, and not never
        return {item: PACKED if item // layout.cases_a_shard in packed else loose.get(item) for item in wanted}

    def rejected_in(self, number: int) -> dict[int, dict[str, Any]]:
        """Item -> what its note says, of the rejected items of a shard that is packed."""
        path = self._shard_path(number)
        with path.open("rb", buffering=0) as file, _naming(path):
            first = number * self.layout.cases_a_shard
            return {first + place: said for place, said in self._index(number, file).rejected.items()}

    def _shard_path(self, number: int) -> Path:
        return self.folder / f"c.{number}.0.0.0.0"

    def _loose_path(self, item: int, kind: str) -> Path:
        return self.folder / LOOSE / str(item // self.layout.cases_a_shard) / f"{item}.{kind}"

    def _packed_shards(self) -> set[int]:
        names = (name.split(".") for name in os.listdir(self.folder))
        return {int(parts[1]) for parts in names if len(parts) == 6 and parts[0] == "c" and parts[1].isdecimal()}

    def _loose_shards(self) -> set[int]:
        shards = range(-(-self.layout.count // self.layout.cases_a_shard))
        return {int(name) for name in _listed(self.folder / LOOSE) if name.isdecimal() and int(name) in shards}

    def _loose_items(self, number: int) -> dict[int, str]:
        """Item -> CASE or REJECTED of the loose files of a shard; CASE where a muddled recipe has made both."""
        names = (name.rpartition(".") for name in sorted(_listed(self.folder / LOOSE / str(number)), reverse=True))
        return {int(item): kind for item, _, kind in names if kind in (CASE, REJECTED) and item.isdecimal()}

    def _find_packed(self, item: int, with_bits: bool) -> Found | None:
        number, place = divmod(item, self.layout.cases_a_shard)
        path = self._shard_path(number)
        with contextlib.suppress(FileNotFoundError), path.open("rb", buffering=0) as file, _naming(path):
            index = self._index(number, file)
            if place in index.rejected:
                return Found(path, b"", index.rejected[place], True)
            start, middle, end = (int(each[place]) for each in (index.starts, index.middles, index.ends))
            content = read_at(file, start if with_bits else middle, end - (start if with_bits else middle))
            size = middle - start if with_bits else 0
            return Found(path, content[:size], read_note(content[size:]), False)
        return None

    def _find_loose(self, item: int, with_bits: bool) -> Found | None:
        for kind in (CASE, REJECTED):
            path = self._loose_path(item, kind)
            with contextlib.suppress(FileNotFoundError):
                content = path.read_bytes()
                with _naming(path):
                    record = split_record(content)
                    return Found(path, record.bits if with_bits else b"", read_note(record.note), kind == REJECTED)
        return None

    def _index(self, number: int, file: BinaryIO) -> ShardIndex:
        """The index of an open shard, read once for each file that ever had the name."""
        stat = os.fstat(file.fileno())
        identity = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = self._indices.get(number)
        if known and known[0] == identity:
            return known[1]
        index = read_index(file, stat.st_size, self.layout.cases_a_shard)
        self._indices[number] = identity, index
        return index

    def _pack_if_complete(self, number: int) -> bool:
        """Make a shard of the loose files and remove them, if nobody has and they are all there and whole."""
        path, loose = self._shard_path(number), self.folder / LOOSE / str(number)
        first, after = (min(each * self.layout.cases_a_shard, self.layout.count) for each in (number, number + 1))
        packed = False
        if not path.exists():
            if len(self._loose_items(number)) < after - first:
                return False
            records = [self._whole_record(item) for item in range(first, after)]
            if None in records:  # damaged, or packed and removed by another just now
                return False
            with contextlib.suppress(FileNotFoundError):  # another has packed it and removed our partial file
                put(path, write_shard(records, self.layout.cases_a_shard), via=loose)
                packed = True
            _sync(self.folder)  # the shard's name is on the disk before the loose files are not
        with contextlib.suppress(OSError):  # who sweeps at the same time finds this or that gone already
            for name in _listed(loose):
                (loose / name).unlink(missing_ok=True)
            loose.rmdir()
            loose.parent.rmdir()
        return packed

    def _whole_record(self, item: int) -> Record | None:
        """The loose record of an item, checked to the last bit; if it is damaged it is set aside, and None."""
        for kind in (CASE, REJECTED):
            path = self._loose_path(item, kind)
            with contextlib.suppress(FileNotFoundError):
                content = path.read_bytes()
                try:
                    record = split_record(content)
                    read_note(record.note)
                    if kind == CASE:
                        read_bits(record.bits, self.layout.shape)
                    return record
                except DamagedError as error:
                    aside = path.with_suffix(".damaged")
                    os.replace(path, aside)
                    warnings.warn(f"{aside}: {error}; item {item} counts as missing", stacklevel=2)
        return None


def put(path: Path, content: bytes, *, via: Path, place: Callable[[Path, Path], None] = os.replace) -> None:
    """Write a file in the folder `via` and, when it is whole and on the disk, `place` it under its name."""
    partial = via / f".{path.name}.{uuid.uuid4().hex}.partial"  # nobody else's, on any node
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # power may fail: no name without its contents
        place(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def place_once(partial: Path, path: Path) -> None:
    """Give a file its name unless another has it: of two who start a set at once with two recipes, one must lose."""
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        os.replace(partial, path)


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Damage found inside is told with the file it is in, and what to do."""
    try:
        yield
    except DamagedError as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: DamagedError) -> DamagedError:
    """The same error, with the file it is in and what to do."""
    return DamagedError(f"{path} cannot be used: {error}; delete the file and write again what missing() then names")
