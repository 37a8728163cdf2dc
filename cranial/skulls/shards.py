"""The bytes of a set of cases: a record for each item, S records to a shard, and the zarr.json that describes them.

    record = [bits: a zstd frame] [note: JSON in a zstd frame that decoders skip]      a rejected item has no bits
    shard  = record 0, record 1, ..., [note: which items are rejected and why] [index: Zarr's, of the bits]

To any reader of Zarr v3 a shard is the codec sharding_indexed, https://zarr-specs.readthedocs.io; the notes lie
between the chunks its index names, so no reader meets them that does not look. Equal cases make equal bytes (under
one version of zstd), so it does not matter which of two writers comes last.
"""

import functools
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import zstandard

from .packed_bits import byte_planes

VERSION = 1  # of this layout; raise it when an older reader could no longer understand it
LEVEL = 1  # heads at 256^3, one core: level 1 takes 1.6 ms and 63 kB, 3: 1.9 and 64, 6: 7 and 58, 9: 10 and 56
SKIPPABLE = 0x184D2A50  # the first of zstd's magic numbers for frames without data, RFC 8878
_HEAD, _TAIL = struct.Struct("<II"), struct.Struct("<II")  # magic, size of the rest; CRC-32, size of all
_NOWHERE = 2**64 - 1  # Zarr's offset and length of a chunk that is not there


class StoreError(ValueError):
    """A set of cases that cannot be made, written or read as asked; the message says what to do."""


class DamagedError(StoreError):
    """Bytes that are not what was written."""


class Record(NamedTuple):
    """One item as it lies in a file. bits: zstd frame, empty if the item is rejected; note: skippable frame."""

    bits: bytes
    note: bytes


@dataclass(frozen=True)
class Layout:
    """What is the same for all items of a set. shape: voxels (I, J, K); recipe: JSON values, whatever made the set."""

    count: int
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    cases_a_shard: int
    recipe: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The zarr.json: uint8 (count, 2, I, J, ceil(K / 8)), a chunk a case, bits along K in numpy's order."""
        case = [2, *self.shape[:2], -(-self.shape[2] // 8)]
        bits = [
            {"name": "transpose", "configuration": {"order": [0, 1, 4, 2, 3]}},  # packed_bits says why
            {"name": "bytes"},
            {"name": "zstd", "configuration": {"level": LEVEL, "checksum": True}},
        ]
        sharding = {
            "chunk_shape": [1, *case],
            "codecs": bits,
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
            "index_location": "end",
        }
        facts = {"shape": list(self.shape), "spacing_mm": list(self.spacing_mm), "recipe": self.recipe}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [self.count, *case],
            "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [self.cases_a_shard, *case]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": 0,
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "dimension_names": ["item", "defective_defect", "i", "j", "k_by_8"],
            "attributes": {"cranial_cases": VERSION, **facts},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Layout":
        """The layout a zarr.json tells of; StoreError if it is another array, or of another version."""
        attributes = document.get("attributes", {})
        version = attributes.get("cranial_cases")
        if version is None:
            raise StoreError("is not a set of cases of cranial; give a folder that CaseStore.create has made")
        if version != VERSION:
            raise StoreError(f"has format version {version}, this cranial reads {VERSION}; update cranial")
        return cls(
            document["shape"][0],
            tuple(attributes["shape"]),
            tuple(attributes["spacing_mm"]),
            document["chunk_grid"]["configuration"]["chunk_shape"][0],
            attributes["recipe"],
        )


def plain_json(value: Mapping[str, Any], name: str) -> str:
    """`value` as JSON, keys sorted so that equal dicts are equal bytes; StoreError names what is not JSON."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise StoreError(f"{name} is {value!r}; give a dict of JSON values whose keys are str")
    dumps = functools.partial(json.dumps, sort_keys=True, allow_nan=False, separators=(",", ":"))
    for key, each in value.items():
        try:
            dumps(each)
        except (TypeError, ValueError) as error:
            raise StoreError(
                f"{name} {key} is {each!r}: {error}; use str, bool, None, finite numbers, and lists and dicts of them"
            ) from error
    return dumps(dict(value))


def write_note(text: str) -> bytes:
    """JSON as a zstd frame that decoders skip; its size stands at both ends, so it is found from either."""
    content = text.encode()
    size = _HEAD.size + len(content) + _TAIL.size
    return _HEAD.pack(SKIPPABLE, size - _HEAD.size) + content + _TAIL.pack(zlib.crc32(content), size)


def read_note(note: bytes) -> dict[str, Any]:
    """The JSON of a note; DamagedError if it is not the one that was written."""
    content = note[_HEAD.size : -_TAIL.size]
    if note != write_note(content.decode(errors="replace")):
        raise DamagedError("the note with its provenance is damaged")
    return json.loads(content)


def write_bits(packed: np.ndarray) -> bytes:
    """uint8 (2, ceil(K / 8), I, J) of packed_bits.pack as a zstd frame with its size and a checksum."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(packed)


def read_bits(frame: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """What write_bits wrote, for masks of shape (I, J, K); DamagedError if it is not."""
    planes = byte_planes(shape)
    try:
        # no bytes are decoded for a frame that claims another size
        if zstandard.frame_content_size(frame) != np.prod(planes):
            raise DamagedError(f"the bits are not those of a case of {' x '.join(map(str, shape))} voxels")
        content = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DamagedError(f"the bits are damaged: {error}") from error
    return np.frombuffer(content, np.uint8).reshape(planes)


def split_record(content: bytes) -> Record:
    """A record that is a file of its own, cut in its two parts; DamagedError if it is truncated."""
    size = _TAIL.unpack(content[-_TAIL.size :])[1] if len(content) >= _TAIL.size else 0
    if not _HEAD.size + _TAIL.size <= size <= len(content):
        raise DamagedError("the file is truncated")
    return Record(content[:-size], content[-size:])


def write_shard(records: Sequence[Record], cases_a_shard: int) -> bytes:
    """The shard of these records, first to last; the last shard of a set may have fewer than cases_a_shard."""
    index = np.full((cases_a_shard, 2), _NOWHERE, "<u8")
    parts, end, rejected = [], 0, {}
    for place, record in enumerate(records):
        if record.bits:
            index[place] = end, len(record.bits)
            parts += record
            end += len(record.bits) + len(record.note)
        else:
            rejected[str(place)] = read_note(record.note)
    entries = index.tobytes()
    parts += [write_note(plain_json(rejected, "rejected")), entries, crc32c(entries).to_bytes(4, "little")]
    return b"".join(parts)


@dataclass(frozen=True)
class ShardIndex:
    """Where the records of a shard lie: int64 (S,) first byte, end of the bits, end of the note, of cases only.

    rejected: place in the shard -> what the note of a rejected item says.
    """

    starts: np.ndarray
    middles: np.ndarray
    ends: np.ndarray
    rejected: dict[int, dict[str, Any]]


def read_index(file: BinaryIO, size: int, cases_a_shard: int) -> ShardIndex:
    """The index of an open shard of `size` bytes; DamagedError if it is truncated or not as it was written."""
    entries = 16 * cases_a_shard
    footer = entries + 4 + _TAIL.size
    tail = read_at(file, size - footer, footer)
    if crc32c(tail[-entries - 4 : -4]) != int.from_bytes(tail[-4:], "little"):
        raise DamagedError("its index is damaged")
    records_end = size - entries - 4 - _TAIL.unpack(tail[: _TAIL.size])[1]
    note = read_note(read_at(file, records_end, size - entries - 4 - records_end))
    offsets, lengths = np.frombuffer(tail[-entries - 4 : -4], "<u8").reshape(-1, 2).T.astype(np.int64)  # nowhere: -1
    ends = np.full_like(offsets, -1)
    there = np.flatnonzero(offsets >= 0)
    ends[there] = [*offsets[there[1:]], records_end]
    return ShardIndex(offsets, offsets + lengths, ends, {int(place): said for place, said in note.items()})


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Exactly `size` bytes of a file from `offset`; DamagedError if they are not there."""
    if offset >= 0:
        file.seek(offset)
        content = file.read(size)
        if len(content) == size:
            return content
    raise DamagedError("the file is truncated")


def _crc32c_table() -> tuple[int, ...]:
    table = list(range(256))
    for _ in range(8):
        table = [value >> 1 ^ (0x82F63B78 if value & 1 else 0) for value in table]
    return tuple(table)


_CRC32C = _crc32c_table()


def crc32c(content: bytes) -> int:
    """Castagnoli's checksum, which Zarr puts after an index; a kilobyte of it needs no compiled code."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
