"""A set of cases is what was written, item by item: whoever wrote it, however often that stopped, whoever reads it."""

import collections
import contextlib
import errno
import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cranial.rng import generator
from cranial.skulls import packed_bits, shard_folder, shards
from cranial.skulls.label_view import Labels
from cranial.skulls.shard_folder import ShardFolder
from cranial.skulls.shards import DamagedError, StoreError
from cranial.skulls.store import CaseStore

SHAPE = (5, 6, 13)
SHAPES = [(1, 1, 1), (8, 8, 8), (7, 63, 65), (1, 64, 63), (65, 7, 1), (3, 64, 64), (2, 16, 65), (4, 63, 64)]


def case(item: int, shape=SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Noise with empty slabs, another for each item; the two masks overlap."""
    masks = generator(7, item).random((2, *shape)) < 0.3
    masks[:, shape[0] // 2 :: 2] = False
    return masks[0], masks[1]


def create(folder: Path, count: int = 6, **settings) -> CaseStore:
    settings = {"shape": SHAPE, "spacing_mm": (1, 1, 2.5), "recipe": {"seed": 7}, "cases_a_shard": 4} | settings
    return CaseStore.create(folder, count=count, **settings)


def write(store: CaseStore, *items: int) -> list[bool]:
    return [store.write(i, *case(i, store.layout.shape), {"item": i, "style": "bilateral"}) for i in items]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_whole(store: CaseStore, items) -> None:
    """Each of these items is what `write` writes."""
    for item in items:
        there = store.read(item)
        np.testing.assert_array_equal((there.defective, there.defect), case(item, store.layout.shape))
        assert there.provenance == store.provenance(item) == {"item": item, "style": "bilateral"}


# what comes out is what went in


@pytest.mark.parametrize("shape", SHAPES)
def test_a_case_comes_back_as_it_was_written_loose_and_packed(tmp_path, shape):
    store = create(tmp_path, shape=shape, cases_a_shard=2, count=3)
    write(store, 1)
    check_whole(store, [1])
    assert (tmp_path / "loose" / "0" / "1.case").exists()
    write(store, 0, 2)
    check_whole(CaseStore.open(tmp_path), [0, 1, 2])
    assert set(contents(tmp_path)) == {"zarr.json", "c.0.0.0.0.0", "c.1.0.0.0.0"}
    there = store.read(2)
    assert there.defective.dtype == there.defect.dtype == bool and there.defect.flags.c_contiguous


@pytest.mark.parametrize("shape", SHAPES)
def test_packed_bits_are_numpys(shape):
    masks = np.stack(case(0, shape))
    packed = packed_bits.pack(*masks)
    assert packed.shape == packed_bits.byte_planes(shape)
    np.testing.assert_array_equal(packed, np.packbits(masks, axis=3).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(packed_bits.unpack(packed, shape), masks)


def test_masks_in_any_order_of_memory_are_the_same_case(tmp_path):
    store = create(tmp_path)
    defective, defect = case(0)
    store.write(0, np.asfortranarray(defective), defect[::-1][::-1], {"item": 0, "style": "bilateral"})
    check_whole(store, [0])


@pytest.mark.parametrize("shape", SHAPES)
def test_zarr_reads_the_bits_and_a_rejected_item_is_empty_to_it(tmp_path, shape):
    import zarr

    store = create(tmp_path, shape=shape, count=7)
    write(store, 0, 2, 3, 4, 6)
    store.reject(1, "folded"), store.reject(5, "empty")
    array = zarr.open_array(tmp_path, mode="r")
    expected = np.zeros((7, 2, *shape), bool)
    expected[[0, 2, 3, 4, 6]] = [case(item, shape) for item in (0, 2, 3, 4, 6)]
    assert array.dtype == np.uint8 and array.shape == (7, *shape_of_bits(shape))
    np.testing.assert_array_equal(np.unpackbits(array[2], axis=-1, count=shape[2]), expected[2])
    np.testing.assert_array_equal(array[:], np.packbits(expected, axis=-1))
    assert array.attrs["spacing_mm"] == [1, 1, 2.5] and array.attrs["recipe"] == {"seed": 7}
    assert array.attrs["shape"] == list(shape)


def shape_of_bits(shape):
    return 2, *shape[:2], -(-shape[2] // 8)


def test_a_loose_case_is_a_zstd_file_whose_decoder_does_not_see_the_provenance(tmp_path):
    from numcodecs.zstd import Zstd

    write(create(tmp_path), 0)
    content = (tmp_path / "loose" / "0" / "0.case").read_bytes()
    assert b'"style":"bilateral"' in content
    assert Zstd().decode(content) == packed_bits.pack(*case(0)).tobytes()


def test_the_checksum_of_an_index_is_castagnolis():
    assert shards.crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4 gives the polynomial; this is its check value


def test_a_provenance_is_any_json_and_its_order_does_not_matter(tmp_path):
    said = {
        "style": "bilatéral",
        "file": "\udcff",
        "pair": (3, 4),
        "loss": 0.1,
        "gate": {"closed": True, "why": None},
        "log": "x" * 9000,
    }
    one, other = create(tmp_path / "one"), create(tmp_path / "other")
    one.write(0, *case(0), said)
    other.write(0, *case(0), dict(reversed(said.items())))
    assert one.provenance(0) == said | {"pair": [3, 4]}
    assert contents(one.folder) == contents(other.folder)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (2, 5, 0, 3, 1, 4)])
def test_equal_cases_are_equal_bytes_in_whatever_order_they_come(tmp_path, order):
    write(create(tmp_path / "sorted"), *range(6))
    write(create(tmp_path / "as they come"), *order)
    assert contents(tmp_path / "sorted") == contents(tmp_path / "as they come")


def test_a_head_at_256_cubed_takes_less_than_120_kilobytes(tmp_path):
    from cranial.skulls.defects import cut
    from cranial.skulls.phantom import phantom

    head = cut(phantom(0), "frontoorbital", seed=0)
    defective, defect = (np.zeros((256, 256, 256), bool) for _ in range(2))
    place = tuple(slice(size) for size in head.complete.shape)
    defective[place], defect[place] = head.defective.mask, head.implant.mask
    store = CaseStore.create(tmp_path, count=1, shape=(256,) * 3, spacing_mm=(1, 1, 1), recipe={})
    store.write(0, defective, defect, {"style": head.style, "seed": 0})
    assert (tmp_path / "c.0.0.0.0.0").stat().st_size < 120_000
    there = store.read(0)
    assert np.array_equal(there.defective, defective) and np.array_equal(there.defect, defect)


# which items are there


def test_missing_present_and_rejected_are_all_items_and_each_is_one_of_them(tmp_path):
    store = create(tmp_path, count=11)
    write(store, 0, 2, 3, 4, 9)
    assert store.reject(1, "folded", {"pair": [3, 8]}) and store.reject(10, "empty") and store.reject(6, "folded")
    assert (tmp_path / "c.0.0.0.0.0").exists()  # shard 0 is whole, 1 and 2 are not
    for each in (store, CaseStore.open(tmp_path), pickle.loads(pickle.dumps(store))):
        assert len(each) == 11
        assert each.missing() == [5, 7, 8]
        assert each.missing(range(4, 8)) == each.missing([7, 5, 4, 7]) == [5, 7]
        assert each.present() == [0, 2, 3, 4, 9] and each.count_present() == 5
        assert each.present(range(1, 4)) == [2, 3]
        assert each.rejections() == {1: "folded", 6: "folded", 10: "empty"}
        assert collections.Counter(each.rejections().values()) == {"folded": 2, "empty": 1}
        assert each.provenance(1) == {"pair": [3, 8]} and each.provenance(10) == {}
        for item in (1, 6):
            with pytest.raises(StoreError, match=rf"item {item} of .* is rejected: folded; see present\(\)"):
                each.read(item)


def test_missing_opens_no_file(tmp_path, monkeypatch):
    store = create(tmp_path, count=11)
    write(store, 0, 1, 2, 3, 5)
    monkeypatch.setattr("builtins.open", None)
    monkeypatch.setattr(Path, "open", None)
    assert store.missing() == [4, 6, 7, 8, 9, 10]


def test_an_item_is_decided_once(tmp_path):
    store = create(tmp_path)
    assert write(store, 0, 0) == [True, False]
    assert store.reject(0, "too late") is False
    assert store.reject(5, "folded") and store.reject(5, "another reason") is False
    assert write(store, 5) == [False]
    assert store.write(0, *case(1), {}) is False
    write(store, 1, 2, 3)
    assert write(store, 0) == [False] and store.reject(1, "too late") is False
    check_whole(store, range(4))
    assert store.rejections() == {5: "folded"}


def test_a_set_of_which_all_is_rejected_is_a_set(tmp_path):
    import zarr

    store = create(tmp_path, count=2)
    store.reject(0, "folded"), store.reject(1, "folded")
    assert contents(tmp_path).keys() == {"zarr.json", "c.0.0.0.0.0"}
    assert store.missing() == store.present() == [] and len(store.rejections()) == 2
    assert not zarr.open_array(tmp_path, mode="r")[:].any()


def test_creating_again_opens_the_same_set(tmp_path):
    write(create(tmp_path), 0)
    before = contents(tmp_path)
    again = create(tmp_path, spacing_mm=[1.0, 1.0, 2.5], shape=np.array(SHAPE))
    assert contents(tmp_path) == before
    assert again.missing() == [1, 2, 3, 4, 5]


# napari's view


def test_labels_are_what_numpy_would_give(tmp_path):
    store = create(tmp_path, count=4, cases_a_shard=2)
    write(store, 0, 1, 3)  # 0 and 1 are packed, 3 is loose
    store.reject(2, "folded")
    labels = store.labels()
    whole = np.zeros((4, *SHAPE), np.uint8)
    for item in (0, 1, 3):
        defective, defect = case(item)
        whole[item] = np.where(defect, 2, defective)
    assert set(np.unique(whole)) == {0, 1, 2}
    assert (labels.shape, labels.dtype, labels.ndim, labels.size) == (whole.shape, whole.dtype, whole.ndim, whole.size)
    assert len(labels) == 4
    keys = [0, -1, np.int64(3), slice(None), slice(3, None, -2), ..., (1, ...), (..., 5), (1, 2, 3, 4), (0, ..., -1)]
    keys += [(slice(None), 2), (3, slice(1, 4), slice(None), 7), (1, slice(None, None, -1), -2), (slice(2, 2),)]
    for key in keys:
        np.testing.assert_array_equal(labels[key], whole[key], strict=True, err_msg=str(key))
    np.testing.assert_array_equal(np.asarray(labels), whole, strict=True)
    assert np.asarray(labels, dtype=np.int32).dtype == np.int32


def test_labels_of_what_is_present_leave_out_the_rejected(tmp_path):
    store = create(tmp_path)
    write(store, 0, 3)
    store.reject(1, "folded")
    labels = store.labels(store.present())
    assert labels.shape == (2, *store.layout.shape) and list(labels.items) == [0, 3]
    np.testing.assert_array_equal(labels[1], store.labels()[3])
    np.testing.assert_array_equal(labels[::-1], store.labels()[3::-3])


def test_labels_read_only_the_items_asked_for():
    read = []
    labels = Labels(lambda item: read.append(item), range(64_000), (256, 256, 256))
    assert labels[31_000, :, :, 128].shape == (256, 256)
    assert labels[5:9:2, 0, 0].shape == (2, 256)
    assert read == [31_000, 5, 7]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (6, "index out of range"),
        ((0, 5), "index 5 is out of bounds"),
        ((slice(1), 5), "index 5 is out of bounds"),
        ((0, 0, 0, 0, 0), "more than one ellipsis or 4 axes; labels have item, i, j, k"),
        ((..., ...), "more than one ellipsis or 4 axes"),
        ([0, 1], r"labels take integers, slices and an ellipsis, not \[0, 1\]; index what comes"),
    ],
)
def test_labels_refuse_other_keys(tmp_path, key, message):
    with pytest.raises(IndexError, match=message):
        create(tmp_path).labels()[key]


# crashes


@contextlib.contextmanager
def killed_at(step: int):
    """The process is killed before its file operation number `step`, with no time to clean up."""
    count = itertools.count()

    def dying(operation):
        def call(*arguments, **choices):
            if next(count) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*arguments, **choices)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for place, name in [(os, "fsync"), (os, "replace"), (os, "mkdir"), (Path, "unlink"), (Path, "rmdir")]:
            patch.setattr(place, name, dying(getattr(place, name)))
        patch.setattr(shard_folder.put, "__kwdefaults__", {"place": os.replace})  # it holds the one from before
        yield


def test_a_process_killed_at_any_step_loses_at_most_the_item_it_was_writing(tmp_path):
    reference = create(tmp_path / "reference", count=3, cases_a_shard=3)
    write(reference, 0, 1), reference.reject(2, "folded")
    outcomes = collections.Counter()
    for step in itertools.count():
        folder = tmp_path / str(step)
        write(create(folder, count=3, cases_a_shard=3), 0)
        child = os.fork()
        if not child:
            with killed_at(step):
                store = CaseStore.open(folder)
                write(store, 1), store.reject(2, "folded")
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        store = CaseStore.open(folder)
        present, missing = store.present(), store.missing()
        outcomes[tuple(missing)] += 1
        check_whole(store, present)
        assert present in ([0], [0, 1]) and missing in ([1, 2], [2], [])
        assert store.rejections() == ({} if 2 in missing else {2: "folded"})
        write(store, 1), store.reject(2, "folded"), store.pack()
        assert contents(folder) == contents(reference.folder), f"killed at step {step}"
        assert not (folder / "loose").exists()
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
    assert step > 12 and min(outcomes[(1, 2)], outcomes[(2,)], outcomes[()]) > 1, outcomes


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from test_store import CaseStore, write
store = CaseStore.open(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for item in map(int, sys.argv[3].split(",")):
    write(store, item)
    print(item, flush=True)
"""


def start_writer(folder: Path, items) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(Path(__file__).parent), str(folder), ",".join(map(str, items))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_run_that_is_killed_is_completed_by_the_same_run(tmp_path):
    count, shape = 200, (16, 16, 16)
    store = create(tmp_path / "killed", count=count, shape=shape)
    for kill_after in (20, 61):
        todo = store.missing()
        with start_writer(store.folder, todo) as writer:
            writer.stdin.write("go\n"), writer.stdin.flush()
            said = [writer.stdout.readline().strip() for _ in range(kill_after)]
            writer.kill()  # at whatever it is doing
            said += writer.stdout.read().split()
        written = [int(item) for item in said if item != "ready"]
        assert len(written) < len(todo)
        left = store.missing()
        assert store.present() == sorted(set(range(count)) - set(left))
        assert set(left) in (set(todo[len(written) :]), set(todo[len(written) + 1 :]))  # named, but not yet said
        check_whole(CaseStore.open(store.folder), store.present())
    write(store, *store.missing())
    store.pack()
    assert store.missing() == [] and not (store.folder / "loose").exists()
    write(create(tmp_path / "undisturbed", count=count, shape=shape), *range(count))
    assert contents(store.folder) == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("damage", ["truncated", "a bit of the masks", "a bit of the note"])
def test_a_damaged_loose_file_is_named_when_read_and_missing_when_packed(tmp_path, damage):
    store = create(tmp_path, count=3, cases_a_shard=3)
    write(store, 0, 1)
    path = tmp_path / "loose" / "0" / "0.case"
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[-20:]
    else:
        content[30 if damage == "a bit of the masks" else content.find(b"bilateral")] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"0\.case cannot be used: .*; delete the file and write again what missing"):
        store.read(0)
    with pytest.warns(UserWarning, match=r"0\.damaged: .*; item 0 counts as missing"):
        write(store, 2)
    assert store.missing() == [0] and store.present() == [1, 2]
    write(store, 0)
    check_whole(store, range(3))
    assert contents(tmp_path).keys() == {"zarr.json", "c.0.0.0.0.0"}


@pytest.mark.parametrize("at", ["bits", "note", "index", "rejections", "end"])
def test_a_damaged_shard_is_named_and_written_again_once_deleted(tmp_path, at):
    store = create(tmp_path, count=3, cases_a_shard=3)
    write(store, 0, 1), store.reject(2, "folded")
    path = tmp_path / "c.0.0.0.0.0"
    good = path.read_bytes()
    bad = bytearray(good)
    if at == "end":
        del bad[-9:]
    else:
        places = {"bits": 30, "note": b"bilateral", "index": len(good) - 20, "rejections": b"folded"}
        place = places[at]
        bad[place if isinstance(place, int) else good.find(place)] ^= 1
    path.write_bytes(bad)
    with pytest.raises(DamagedError, match=r"c\.0\.0\.0\.0\.0 cannot be used: .*damaged.*; delete the file and write"):
        store.read(0)
    path.unlink()
    assert store.missing() == [0, 1, 2]
    write(store, 0, 1), store.reject(2, "folded")
    assert path.read_bytes() == good
    check_whole(store, [0, 1])  # the same store: what it knew of the damaged file is forgotten


def test_the_name_of_a_shard_is_on_the_disk_before_the_loose_files_are_not(tmp_path, monkeypatch):
    store, seen = create(tmp_path, count=3, cases_a_shard=3), []
    write(store, 0, 1)
    sync = os.fsync

    def look(descriptor):
        if os.path.sameopenfile(descriptor, folder):
            seen.append(contents(tmp_path).keys())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    folder = os.open(tmp_path, os.O_RDONLY)
    write(store, 2)
    os.close(folder)
    assert seen == [{"zarr.json", "c.0.0.0.0.0", "loose/0/0.case", "loose/0/1.case", "loose/0/2.case"}]


# many at once


def test_processes_that_write_the_same_items_at_once_make_the_set_one_would_have_made(tmp_path):
    count = 48
    store = create(tmp_path / "many", count=count)
    orders = [range(count), range(count - 1, -1, -1), [*range(count // 2, count), *range(count // 2)]]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(start_writer(store.folder, order)) for order in orders]
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            writer.stdin.write("go\n"), writer.stdin.flush()
        for writer in writers:
            assert len(writer.communicate()[0].split()) == count
            assert writer.returncode == 0
    write(create(tmp_path / "one", count=count), *range(count))
    assert contents(store.folder) == contents(tmp_path / "one")
    assert not (store.folder / "loose").exists()


def test_threads_read_each_item_whole_from_the_moment_it_is_there(tmp_path):
    store, seen, done = create(tmp_path, count=40, cases_a_shard=2), set(), threading.Event()

    def look():
        own = CaseStore.open(tmp_path)
        while not done.is_set():
            there = own.present()
            assert seen <= set(there), "an item that was there has gone"
            assert not seen & set(own.missing())
            check_whole(own, there[-5:])
            seen.update(there)

    with ThreadPoolExecutor(4) as pool:
        looking = pool.submit(look)
        writing = [pool.submit(write, store, *order) for order in (range(40), range(39, -1, -1), range(0, 40, 2))]
        for each in writing:
            each.result()
        done.set()
        looking.result()
    check_whole(store, range(40))
    assert not (tmp_path / "loose").exists()


def test_a_reader_finds_an_item_that_a_packer_moves_under_its_hands(tmp_path, monkeypatch):
    store, other = create(tmp_path, count=2), create(tmp_path, count=2)
    write(store, 0)
    find_loose, packed_shards = ShardFolder._find_loose, ShardFolder._packed_shards

    def after_packing(look):
        def call(self, *arguments):
            if self is store._files:
                write(other, 1)
            return look(self, *arguments)

        return call

    monkeypatch.setattr(ShardFolder, "_find_loose", after_packing(find_loose))
    check_whole(store, [0])
    assert (tmp_path / "c.0.0.0.0.0").exists()
    shutil.rmtree(tmp_path)
    create(tmp_path, count=2), write(other, 0)
    monkeypatch.setattr(ShardFolder, "_packed_shards", after_packing(packed_shards))
    assert store.missing() == []


def test_a_writer_whose_item_another_packs_first_changes_nothing(tmp_path, monkeypatch):
    store, other = create(tmp_path, count=2), create(tmp_path, count=2)
    put, before = shard_folder.put, []

    def put_late(*arguments, **choices):
        if not before:
            before.append(None)
            write(other, 0, 1)  # packs, and takes the folder away
            before.append(contents(tmp_path))
        put(*arguments, **choices)

    monkeypatch.setattr(shard_folder, "put", put_late)
    assert write(store, 0) == [False]
    assert contents(tmp_path) == before[1] and before[1].keys() == {"zarr.json", "c.0.0.0.0.0"}


def test_a_reader_sees_that_a_shard_was_deleted_and_made_again(tmp_path):
    store, other = create(tmp_path, count=2), create(tmp_path, count=2)
    write(other, 0, 1)
    check_whole(store, [0, 1])
    (tmp_path / "c.0.0.0.0.0").unlink()
    for item in range(2):
        other.write(item, *case(5 - item), {"again": "and longer than it was" * 9})
    np.testing.assert_array_equal(store.read(1).defect, case(4)[1])


def test_an_item_that_one_run_rejects_and_another_makes_is_a_case(tmp_path):
    store, other = create(tmp_path, count=2), create(tmp_path / "other", count=2)
    store.reject(0, "folded"), write(other, 0)
    shutil.copy(other.folder / "loose" / "0" / "0.case", tmp_path / "loose" / "0")
    for _ in ("loose", "packed"):
        assert store.present([0]) == [0] and store.rejections() == {}
        check_whole(store, [0])
        write(store, 1)


def test_what_killed_writers_left_goes_with_the_last_pack(tmp_path):
    store = create(tmp_path, count=5)
    write(store, 0, 1, 2, 3)
    left = tmp_path / "loose" / "0"
    left.mkdir(parents=True)
    (left / ".2.case.0123.partial").write_bytes(b"half")
    (left / "3.case").write_bytes(b"a late writer's")
    stray = tmp_path / "loose" / "99"
    stray.mkdir()
    assert store.pack() == 0
    assert not left.exists() and not (tmp_path / "c.99.0.0.0.0").exists()
    check_whole(store, range(4))


def test_pack_packs_what_its_last_writer_had_no_time_to(tmp_path, monkeypatch):
    store = create(tmp_path, count=6)
    with monkeypatch.context() as patch:
        patch.setattr(ShardFolder, "_pack_if_complete", lambda *_: False)
        write(store, 0, 1, 2, 3, 4)
    assert len(contents(tmp_path)) == 6
    assert store.pack() == 1 and store.pack() == 0
    assert contents(tmp_path).keys() == {"zarr.json", "c.0.0.0.0.0", "loose/1/4.case"}
    check_whole(store, range(5))


def test_of_two_who_start_a_set_at_once_with_two_recipes_one_is_refused(tmp_path, monkeypatch):
    link = os.link

    def link_late(partial, path):
        monkeypatch.setattr(os, "link", link)
        create(tmp_path, recipe={"seed": 8})
        link(partial, path)

    monkeypatch.setattr(os, "link", link_late)
    with pytest.raises(StoreError, match=r"holds a set with recipe\.seed 8, not 7"):
        create(tmp_path, recipe={"seed": 7})


def test_a_set_is_started_where_there_are_no_hard_links(tmp_path, monkeypatch):
    def refuse(partial, path):
        raise OSError(errno.ENOTSUP, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    assert create(tmp_path).missing() == list(range(6))
    assert contents(tmp_path).keys() == {"zarr.json"}


# what is refused


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"count": 7}, "count 6, not 7"),
        ({"shape": (5, 6, 14)}, r"shape \(5, 6, 13\), not \(5, 6, 14\)"),
        ({"spacing_mm": (1, 1, 2)}, r"spacing_mm \(1\.0, 1\.0, 2\.5\), not \(1\.0, 1\.0, 2\.0\)"),
        ({"cases_a_shard": 8}, "cases_a_shard 4, not 8"),
        ({"recipe": {"seed": 8}}, r"recipe\.seed 7, not 8"),
        ({"recipe": {"seed": 7, "vae": {"beta": 2}}}, r"recipe\.vae absent, not \{'beta': 2\}"),
        ({"recipe": {}}, r"recipe\.seed 7, not absent"),
    ],
)
def test_another_set_in_the_same_folder_is_refused_by_the_name_of_the_difference(tmp_path, settings, difference):
    create(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(StoreError, match=f"holds a set with {difference}; choose another folder or the same settings"):
        create(tmp_path, **settings)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count is 0; give a whole number of at least 1"),
        ({"cases_a_shard": 1.5}, "cases_a_shard is 1.5; give a whole number"),
        ({"shape": (5, 6)}, r"shape is \(5, 6\); give the voxels along I, J and K"),
        ({"shape": (5, 6, 0)}, r"shape is \(5, 6, 0\); give"),
        ({"spacing_mm": 1.0}, r"spacing_mm is 1\.0; give the voxel's three sides in millimetres"),
        ({"spacing_mm": (1, 1, float("nan"))}, r"spacing_mm is \(1, 1, nan\); give"),
        ({"recipe": [7]}, r"recipe is \[7\]; give a dict of JSON values whose keys are str"),
        ({"recipe": {"seed": np.int64(7)}}, r"recipe seed is np.int64\(7\): .*; use str, bool, None, finite numbers"),
    ],
)
def test_a_set_that_cannot_be_is_refused_before_anything_is_written(tmp_path, settings, message):
    with pytest.raises(StoreError, match=message):
        create(tmp_path / "set", **settings)
    assert not (tmp_path / "set").exists()


def test_a_folder_without_a_set_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"zarr\.json does not exist; check the folder, or make the set with create"):
        CaseStore.open(tmp_path)
    document = tmp_path / "zarr.json"
    document.write_text('{"zarr_format": 3, "node_type": "array", "attributes": {}}')
    with pytest.raises(StoreError, match=r"is not a set of cases of cranial; give a folder that CaseStore\.create"):
        CaseStore.open(tmp_path)
    document.write_text('{"attributes": {"cranial_cases": 2}}')
    with pytest.raises(StoreError, match="has format version 2, this cranial reads 1; update cranial"):
        CaseStore.open(tmp_path)
    document.write_text('{"attributes": {')
    with pytest.raises(StoreError, match=r"zarr\.json is damaged \(.*\); delete it and create the set with its settin"):
        CaseStore.open(tmp_path)
    document.unlink()
    assert json.loads((create(tmp_path).folder / "zarr.json").read_text())["attributes"]["cranial_cases"] == 1


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ((np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, bool)), r"defective of item 3 is uint8 \(5, 6, 13\); give a bool"),
        ((np.zeros(SHAPE, bool), np.zeros((5, 6, 12), bool)), r"defect of item 3 is bool \(5, 6, 12\); give a bool"),
        ((np.zeros(SHAPE, bool), [[[True]]]), r"defect of item 3 is a list; give a bool array of shape \(5, 6, 13\)"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tmp_path, masks, message):
    store = create(tmp_path)
    with pytest.raises(StoreError, match=message):
        store.write(3, *masks, {})
    assert store.missing() == list(range(6))


def test_items_outside_the_set_and_unusable_words_are_refused(tmp_path):
    store = create(tmp_path)

    def write_any(item):
        return store.write(item, *case(0), {})

    for ask in (store.read, store.provenance, write_any, lambda item: store.reject(item, "folded")):
        with pytest.raises(StoreError, match=r"item is 6; the set in .* has items 0 \.\.\. 5"):
            ask(6)
        with pytest.raises(StoreError, match=r"item is -1; the set in .* has items 0 \.\.\. 5"):
            ask(-1)
        with pytest.raises(StoreError, match="item is '3'; give an integer"):
            ask("3")
    with pytest.raises(StoreError, match="item is 6; the set in"):
        store.missing(range(7))
    for ask in (store.read, store.provenance):
        with pytest.raises(StoreError, match=r"item 3 of .* is missing; write it, or choose from present\(\)"):
            ask(3)
    with pytest.raises(StoreError, match="reason is ' '; say in a few words why item 3 gives no case"):
        store.reject(3, " ")
    with pytest.raises(StoreError, match="provenance is 'bilateral'; give a dict of JSON values"):
        store.write(3, *case(3), "bilateral")
    with pytest.raises(
        StoreError, match=r"provenance is \{3: 'folded'\}; give a dict of JSON values whose keys are str"
    ):
        store.write(3, *case(3), {3: "folded"})
    with pytest.raises(StoreError, match="provenance loss is nan: .*; use str, bool, None, finite numbers"):
        store.reject(3, "folded", {"loss": float("nan")})
    assert store.missing() == list(range(6))


def test_bytes_that_are_not_a_case_of_the_set_are_refused():
    packed = packed_bits.pack(*case(0))
    frame, note = shards.write_bits(packed), shards.write_note("{}")
    np.testing.assert_array_equal(shards.read_bits(frame, SHAPE), packed)
    with pytest.raises(DamagedError, match="the bits are not those of a case of 5 x 6 x 17 voxels"):
        shards.read_bits(frame, (5, 6, 17))
    for damaged in (frame[:-1], frame + note, b"", frame[:-1] + bytes([frame[-1] ^ 1])):
        with pytest.raises(DamagedError, match="the bits are damaged: "):
            shards.read_bits(damaged, SHAPE)
    for damaged in (b"", note[:-1], frame):
        with pytest.raises(DamagedError, match="the note with its provenance is damaged"):
            shards.read_note(damaged)
    for damaged in (b"", note[:3], note[4:]):
        with pytest.raises(DamagedError, match="the file is truncated"):
            shards.split_record(damaged)


def test_writing_into_a_set_that_was_deleted_does_not_make_half_of_one(tmp_path):
    store = create(tmp_path / "set")
    shutil.rmtree(store.folder)
    with pytest.raises(FileNotFoundError):
        write(store, 0)
    assert not store.folder.exists()
