"""What does a stored case cost? Bytes, writing and reading beside gzipped NRRD at 256^3, then a whole set at 128^3.

    python benchmarks/store.py            # tables
    python benchmarks/store.py --json     # one object, with "ratios": how many times more NRRD takes

First, one case after another: two masks of 256^3 voxels, phantoms with a defect, or with `--skull FILE ...` your own
heads. Ours is CaseStore.write, which waits until the file is on the disk, and CaseStore.read of the packed set, to
two bool arrays; NRRD is pynrrd's default, one gzipped uint8 file (2, I, J, K), and cranial.volume's, two files.
zarr-python reads what we wrote. Then `--count` cases of 128^3 in one set: does the last quarter cost what the first
did, and does reading any one case depend on how many there are?
"""

import argparse
import importlib.util
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np

from cranial import volume
from cranial.reconstruction.grid import lay_grid
from cranial.rng import generator
from cranial.skulls.defects import STYLES, cut
from cranial.skulls.phantom import phantom
from cranial.skulls.store import CaseStore
from cranial.volume import Volume

SIDE, SMALL_SIDE = 256, 128
HEADS, ROUNDS = 5, 4
READS_A_QUARTER = 200

Masks = tuple[np.ndarray, np.ndarray]


def say(what: str) -> None:
    """Progress, not the result."""
    print(what, file=sys.stderr, flush=True)


def build_cases(skulls: list[Path], side: int) -> list[Masks]:
    """Heads with a defect on the cube of the network, bool (side, side, side) defective and defect each."""
    heads = [volume.read(path) for path in skulls] or [phantom(item, spacing_mm=200 / side) for item in range(HEADS)]
    cases = []
    for item, (head, style) in enumerate(zip(heads, itertools.cycle(STYLES), strict=False)):
        case = cut(head, style, seed=0, item=item)
        cube = lay_grid(case.complete, side)
        cases.append((cube.occupancy(case.defective) > 0.5, cube.occupancy(case.implant) > 0.5))
    return cases


def timed(work: Callable, *arguments: object) -> tuple[float, object]:
    """Seconds of one call, and its result."""
    start = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - start, result


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# Each way to keep cases: (write case number n, read it as two bool arrays); what is measured is one call.


def ours(folder: Path, cases: list[Masks]) -> tuple[Callable, Callable]:
    """A set that packs when its last case is written."""
    settings = {"shape": cases[0][0].shape, "spacing_mm": (0.8, 0.8, 0.8), "recipe": {"seed": 0}}
    store = CaseStore.create(folder, count=len(cases) + 1, cases_a_shard=len(cases) + 1, **settings)
    store.write(len(cases), *cases[0], {})  # numba compiles, zstd allocates
    store.read(len(cases))

    def read(item: int) -> Masks:
        case = store.read(item)
        return case.defective, case.defect

    return lambda item: store.write(item, *cases[item], {"pair": [item, item + 1], "style": "bilateral"}), read


def pynrrd(folder: Path, cases: list[Masks]) -> tuple[Callable, Callable]:
    """One file a case with pynrrd, which gzips."""
    import nrrd

    def read(item: int) -> Masks:
        masks, _ = nrrd.read(str(folder / f"{item}.nrrd"), index_order="C")
        return masks[0] != 0, masks[1] != 0

    def write(item: int) -> None:
        nrrd.write(str(folder / f"{item}.nrrd"), np.stack(cases[item]).view(np.uint8), index_order="C")

    return write, read


def cranial_nrrd(folder: Path, cases: list[Masks]) -> tuple[Callable, Callable]:
    """Two files a case, as cranial.skulls.population keeps them."""

    def write(item: int) -> None:
        for name, mask in zip("ab", cases[item], strict=True):
            volume.write(Volume(mask, np.eye(4)), folder / f"{item}{name}.nrrd")

    def read(item: int) -> Masks:
        return tuple(volume.read(folder / f"{item}{name}.nrrd", allow_empty=True).mask for name in "ab")

    return write, read


WAYS = {"cranial": ours, "pynrrd": pynrrd, "cranial_nrrd": cranial_nrrd}


def zarr_reader(folder: Path, side: int) -> Callable[[int], Masks]:
    """The set that `ours` wrote, read by zarr-python."""
    import zarr

    array = zarr.open_array(folder, mode="r")
    return lambda item: tuple(np.unpackbits(array[item], axis=-1, count=side).view(bool))


def measure_cases(folder: Path, cases: list[Masks]) -> dict:
    """Median seconds and bytes a case, each way; by turns, so that whatever else the machine does slows all."""
    writes, reads = ({name: [] for name in [*WAYS, "zarr"]} for _ in range(2))
    size = {}
    for turn in range(ROUNDS):
        ways = {}
        for name, way in WAYS.items():
            (folder / f"{name}{turn}").mkdir()
            ways[name] = way(folder / f"{name}{turn}", cases)
        for item in range(len(cases)):
            for name, (write, _) in ways.items():
                writes[name].append(timed(write, item)[0])
        readers = {name: read for name, (_, read) in ways.items()}
        if importlib.util.find_spec("zarr"):
            readers["zarr"] = zarr_reader(folder / f"cranial{turn}", cases[0][0].shape[2])
        for item in range(len(cases)):
            for name, read in readers.items():
                seconds, masks = timed(read, item)
                reads[name].append(seconds)
                if not all(map(np.array_equal, masks, cases[item])):
                    raise ValueError(f"{name} reads another case {item} than was written; a wrong result is never fast")
        if not turn:
            size = {name: size_of(folder / f"{name}{turn}") / len(cases) for name in WAYS}
            size["cranial"] *= len(cases) / (len(cases) + 1)  # its first case is written twice
    seconds = {
        action: {name: statistics.median(each) for name, each in taken.items() if each}
        for action, taken in (("write", writes), ("read", reads))
    }
    ratios = {
        f"store_{what}_vs_{name}": taken[name] / taken["cranial"]
        for what, taken in (("bytes", size), *seconds.items())
        for name in taken
        if name != "cranial"
    }
    return {"bytes": size, "seconds": seconds, "ratios": ratios}


def many(cases: list[Masks], count: int) -> Iterator[Masks]:
    """`count` cases from a few: mirrored and moved, so that no two are equal and all are heads."""
    for item in range(count):
        rng = generator(0, item)
        shift = tuple(int(step) for step in rng.integers(-6, 7, 3))
        flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
        yield tuple(np.roll(mask[flip], shift, axis=(0, 1, 2)) for mask in cases[item % len(cases)])


def measure_set(folder: Path, cases: list[Masks], count: int) -> list[dict]:
    """For each quarter of a growing set: seconds and bytes a case, and what it costs to open it and read any case."""
    side = cases[0][0].shape[0]
    store = CaseStore.create(folder, count=count, shape=(side,) * 3, spacing_mm=(1.6,) * 3, recipe={"seed": 0})
    quarters, bytes_before, source = [], 0, many(cases, count)
    for quarter in range(4):
        start, stop = quarter * count // 4, (quarter + 1) * count // 4
        say(f"writing cases {start} ... {stop - 1} of {side}^3")
        writes, processor = [], 0.0
        for item in range(start, stop):
            masks = next(source)
            provenance = {"pair": [item, item + 1], "style": "bilateral", "seed": 0}
            processor -= time.process_time()
            writes.append(timed(store.write, item, *masks, provenance)[0])
            processor += time.process_time()
        opening, there = timed(CaseStore.open, folder)
        listing, missing = timed(there.missing)
        assert missing == list(range(stop, count))
        items = [int(item) for item in generator(1, quarter).integers(0, stop, READS_A_QUARTER)]
        reads = [timed(there.read, item)[0] for item in items]
        quarters.append(
            {
                "cases": stop,
                "bytes_a_case": (size_of(folder) - bytes_before) / (stop - start),
                "write_seconds_mean": statistics.mean(writes),  # packing, which falls to the last of 64, counted
                "write_seconds_median": statistics.median(writes),
                "write_processor_seconds_mean": processor / len(writes),  # without waiting for a disk others use too
                "read_seconds_median": statistics.median(reads),
                "open_seconds": opening,
                "missing_seconds": listing,
            }
        )
        bytes_before = size_of(folder)
    return quarters


def measure(options: argparse.Namespace) -> dict:
    """Both parts, in a folder that is removed."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        say(f"drawing heads of {SIDE}^3")
        cases = build_cases(options.skull, SIDE)
        say("writing and reading each way")
        result = measure_cases(folder, cases)
        small = [tuple(np.ascontiguousarray(mask[::2, ::2, ::2]) for mask in case) for case in cases]
        result["set"] = measure_set(folder / "set", small, options.count) if options.count else []
    return {
        "benchmark": "store",
        "cases": {"skulls": [str(path) for path in options.skull] or f"{HEADS} phantoms", "side": SIDE},
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "python": platform.python_version(),
            "numpy": metadata.version("numpy"),
            "zstandard": metadata.version("zstandard"),
        },
        **result,
    }


def show(result: dict) -> None:
    """The same for people."""
    seconds = result["seconds"]
    print(f"one case, {SIDE}^3, {result['cases']['skulls']}\n\n{'':14}{'kB':>8}{'write ms':>10}{'read ms':>9}")
    for name in seconds["read"]:
        numbers = result["bytes"].get(name), seconds["write"].get(name), seconds["read"][name]
        columns = zip(numbers, (1e-3, 1e3, 1e3), (8, 10, 9), strict=True)
        cells = (f"{number * factor:{width}.1f}" if number else " " * width for number, factor, width in columns)
        print(f"{name:14}{''.join(cells)}")
    if result["set"]:
        print(f"\na growing set, {SMALL_SIDE}^3; the cases of each quarter, then the whole set so far\n")
        print(f"{'cases':>8}{'kB':>8}{'write ms':>10}{'median':>8}{'cpu':>6}", end="")
        print(f"{'read ms':>9}{'open ms':>9}{'missing ms':>12}")
    for each in result["set"]:
        print(f"{each['cases']:8}{each['bytes_a_case'] / 1e3:8.2f}", end="")
        print(f"{each['write_seconds_mean'] * 1e3:10.2f}{each['write_seconds_median'] * 1e3:8.2f}", end="")
        print(f"{each['write_processor_seconds_mean'] * 1e3:6.2f}{each['read_seconds_median'] * 1e3:9.2f}", end="")
        print(f"{each['open_seconds'] * 1e3:9.2f}{each['missing_seconds'] * 1e3:12.2f}")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--skull", type=Path, nargs="+", default=[], help="cut the defects into these complete heads")
    parser.add_argument("--count", type=int, default=2000, help="cases in the growing set, 0 for none; default: 2000")
    parser.add_argument("--folder", type=Path, help="write here, on the disk that is meant; default: the system's")
    options = parser.parse_args()
    if not importlib.util.find_spec("nrrd"):
        parser.error("pynrrd is not installed: pip install -e .[dev]")
    result = measure(options)
    print(json.dumps(result, indent=2)) if options.json else show(result)


if __name__ == "__main__":
    main()
