"""How long does a user wait for `cranial reconstruct`? A 512^3 case on two cores, from the command to the file.

    python benchmarks/reconstruct_speed.py                          # a phantom, a table
    python benchmarks/reconstruct_speed.py --head HEAD.nrrd --json  # a head of your own; one object, with "ratios"

Three measurements in one run, medians after a run that does not count. The whole: `cranial reconstruct` as a process
(import, load, preprocess, network, postprocess, write) with its wall time, the processor's time and peak memory, and
`cranial evaluate` after it. The plain pipeline: the same steps as whoever has scipy writes them, each on the whole
grid, the networks in eager float32, and the challenge's metrics; a process as well. Its cube and box are laid, and the
mirrored skull and the atlas are bent onto the case, as ours are. The network alone: `infer` and `infer_closer` beside
the same networks in eager float32 and contiguous layout.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from cranial import volume
from cranial.reconstruction.grid import lay_grid
from cranial.skulls.defects import cut
from cranial.volume import Volume

SIDE = 512
CORES = 2
BORDER_MM = 10.0


def main() -> None:
    options = arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = str(options.cores)
    if options.plain:
        plain = {"reconstruct": plain_reconstruct, "evaluate": plain_evaluate}[options.plain]
        return plain(*options.files)
    with tempfile.TemporaryDirectory() as folder:
        result = measured(write_case(Path(folder), options.head), options)
    print(json.dumps(result) if options.json else table(result))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", type=Path, help="a complete skull; default: a phantom")
    parser.add_argument("--repeats", type=int, default=3, help="runs that count; default: 3")
    parser.add_argument("--plain-repeats", type=int, default=1, help="of the plain pipeline; default: 1, 0: none")
    parser.add_argument("--cores", type=int, default=CORES, help=f"default: {CORES}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--plain", choices=("reconstruct", "evaluate"), help=argparse.SUPPRESS)
    parser.add_argument("--files", type=Path, nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


def write_case(folder: Path, head: Path | None) -> tuple[Path, Path]:
    """Files of a defective skull and of what is missing, on a grid of SIDE^3."""
    if head is None:
        from cranial.skulls.phantom import phantom

        skull = phantom(0)
    else:
        skull = volume.to_lps(volume.read(head))
    edges_mm = np.asarray(skull.shape) * skull.spacing_mm
    spacing_mm = edges_mm.max() / SIDE
    affine = np.diag([*[spacing_mm] * 3, 1.0])
    affine[:3, 3] = skull.affine[:3, 3] + 0.5 * edges_mm - 0.5 * SIDE * spacing_mm
    case = cut(volume.resample(skull, like=Volume(np.zeros((SIDE,) * 3, bool), affine)), "random_2", seed=0)
    return volume.write(case.defective, folder / "skull.nrrd"), volume.write(case.implant, folder / "truth.nrrd")


def measured(files: tuple[Path, Path], options: argparse.Namespace) -> dict:
    skull, truth = files
    ours, plain = skull.with_name("ours.nrrd"), skull.with_name("plain.nrrd")
    cranial = [sys.executable, "-m", "cranial.cli"]
    this = [sys.executable, __file__, "--cores", str(options.cores), "--plain"]
    commands = {
        "reconstruct": [*cranial, "reconstruct", skull, "--output", ours],
        "evaluate": [*cranial, "evaluate", ours, truth, "--defective", skull],
    }
    result = {"cores": options.cores, "case": [SIDE] * 3, "seconds": {}, "cpu_seconds": {}, "peak_gb": {},
              "ratios": {}}
    for name, command in commands.items():
        _process(command)
        note(result, name, [_process(command) for _ in range(options.repeats)])
    result["seconds"] |= network_seconds(volume.read(skull), options.repeats)
    seconds, ratios = result["seconds"], result["ratios"]
    ratios["network_over_eager_float32"] = seconds["network, eager float32"] / seconds["network"]
    if options.plain_repeats:
        commands = {
            "plain reconstruct": [*this, "reconstruct", "--files", skull, plain],
            "plain evaluate": [*this, "evaluate", "--files", plain, truth, skull],
        }
        for name, command in commands.items():
            note(result, name, [_process(command) for _ in range(options.plain_repeats)])
        ratios["reconstruct_over_plain"] = seconds["plain reconstruct"] / seconds["reconstruct"]
        both = [seconds[f"{kind}reconstruct"] + seconds[f"{kind}evaluate"] for kind in ("plain ", "")]
        ratios["reconstruct_and_evaluate_over_plain"] = both[0] / both[1]
        result["dice_of_both"] = _dice(volume.read(ours, allow_empty=True).mask, volume.read(plain).mask)
    return result


def note(result: dict, name: str, runs: Sequence[tuple[float, float, float]]) -> None:
    wall, cpu, gigabytes = zip(*runs, strict=True)
    result["seconds"][name], result["cpu_seconds"][name] = statistics.median(wall), statistics.median(cpu)
    result["peak_gb"][name] = max(gigabytes)


def _process(command: Sequence) -> tuple[float, float, float]:
    """Wall seconds, seconds of all cores, and peak memory (GB) of a command; CalledProcessError if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def network_seconds(skull: Volume, repeats: int) -> dict[str, float]:
    """Of both networks on the case's cube and box, both sides: as they are asked, and plainly."""
    from cranial.reconstruction.closer import infer_closer, look_closer
    from cranial.reconstruction.model import load_model
    from cranial.reconstruction.predict import infer, look, suggest

    fast, plain = load_model(), plain_model()
    grid, suggestions = lay_grid(skull, fast.side), suggest(fast, skull)
    seen = look(fast, skull, grid, suggestions)
    near = look_closer(skull, infer(fast, seen, device="cpu"), grid, suggestions, multiple=fast.closer.shape.stride)
    works: dict[str, tuple[Callable, Callable]] = {
        "network": (lambda: infer(fast, seen, device="cpu"), lambda: infer_closer(fast, near.seen, device="cpu")),
        "network, eager float32": (lambda: plain_network(plain, seen), lambda: plain_closer(plain, near.seen)),
    }
    for first, closer in works.values():
        first(), closer()
    return {
        name: statistics.median(_seconds(first) + _seconds(closer) for _ in range(repeats))
        for name, (first, closer) in works.items()
    }


def plain_model():
    """The shipped model in float32, its convolutions torch's own: ours ask oneDNN by name, see `nets.blocks`."""
    from cranial.reconstruction.model import load_model

    model = load_model()
    for network in (model.network, model.closer):
        with_torchs_convolutions(network.float())
    return model


def with_torchs_convolutions(network) -> None:
    """Change a network so."""
    from torch import nn

    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.forward = partial(nn.Conv3d.forward, module)


def plain_network(model, seen: np.ndarray) -> np.ndarray:
    """Probability in each voxel of the cube, float32, mean over both sides; seen: (C, n, n, n), as of `look`."""
    import torch

    from cranial.reconstruction.learner import network_input

    x = torch.from_numpy(seen)[None]
    with torch.no_grad():
        sides = [model.network(network_input(each, symmetry=model.symmetry)) for each in (x, x.flip(2))]
    return 0.5 * (torch.sigmoid(sides[0]) + torch.sigmoid(sides[1]).flip(2))[0, 0].numpy()


def plain_closer(model, seen: np.ndarray) -> np.ndarray:
    """The same of the network that looks closer, in its box; seen: of a CloserLook."""
    import torch

    x = torch.from_numpy(np.ascontiguousarray(seen))[None]
    with torch.no_grad():
        sides = torch.sigmoid(model.closer(x)) + torch.sigmoid(model.closer(x.flip(2))).flip(2)
    return (0.5 * sides)[0, 0].numpy()


def plain_reconstruct(skull: Path, output: Path) -> None:
    """Every step on the whole grid, with nrrd, scipy and torch alone, but for the cube and the closer look's box."""
    import nrrd
    from scipy import ndimage

    from cranial.reconstruction.closer import look_closer
    from cranial.reconstruction.predict import SMALLEST_MM3
    from cranial.reconstruction.suggestions import find_suggestions

    data, header = nrrd.read(str(skull))
    bone = data > 0
    affine = np.eye(4)  # write_case's files are in LPS
    affine[:3, :3], affine[:3, 3] = np.asarray(header["space directions"]).T, header["space origin"]
    case = Volume(bone, affine)
    model = plain_model()
    grid = lay_grid(case, model.side)
    to_voxel = np.linalg.inv(case.affine) @ grid.affine
    width = np.linalg.norm(to_voxel[:3, :3], axis=0)
    averaged = ndimage.uniform_filter(bone.astype(np.float32), np.maximum(1, np.rint(width)).astype(int))
    occupancy = ndimage.affine_transform(averaged, to_voxel, output_shape=(grid.side,) * 3, order=1)
    suggestions = find_suggestions(case)
    probability = plain_network(model, np.concatenate([occupancy[None], suggestions.on(grid)]))
    near = look_closer(case, probability, grid, suggestions, multiple=model.closer.shape.stride)
    probability, occupancy = plain_closer(model, near.seen), near.seen[0]
    back = np.linalg.inv(near.affine) @ case.affine
    p, s = (ndimage.affine_transform(field, back, output_shape=bone.shape, order=1)
            for field in (probability, occupancy))
    proposal = (p > 0.02) & (p >= 0.5 * (1 - np.minimum(s, 0.98))) & ~bone
    parts, count = ndimage.label(proposal)
    sizes = ndimage.sum_labels(proposal, parts, np.arange(count + 1)) * case.voxel_mm3
    nrrd.write(str(output), (proposal & (sizes >= SMALLEST_MM3)[parts]).astype(np.uint8), header)


def plain_evaluate(predicted: Path, reference: Path, defective: Path) -> None:
    """DSC, bDSC and HD95 as the AutoImplant challenge computes them, each step on the whole grid."""
    import nrrd
    from scipy.ndimage import binary_erosion, distance_transform_edt

    found, truth, skull = (nrrd.read(str(path))[0] > 0 for path in (predicted, reference, defective))
    spacing_mm = volume.read(defective).spacing_mm
    near = distance_transform_edt(~skull, sampling=spacing_mm) <= BORDER_MM
    edges = [mask ^ binary_erosion(mask) for mask in (found, truth)]
    directed = [distance_transform_edt(~edges[1 - side], sampling=spacing_mm)[edges[side]] for side in (0, 1)]
    print(_dice(found, truth), _dice(found & near, truth & near), np.percentile(np.concatenate(directed), 95))


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / max(1, np.count_nonzero(one) + np.count_nonzero(other))


def _seconds(work: Callable) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def table(result: dict) -> str:
    columns = ("seconds", "cpu_seconds", "peak_gb")
    lines = [" " * 24 + "".join(f"{column:>13s}" for column in columns)]
    for name in result["seconds"]:
        values = (result[column].get(name) for column in columns)
        lines.append(f"{name:24s}" + "".join(" " * 13 if value is None else f"{value:13.2f}" for value in values))
    lines += [f"{name:36s} {ratio:6.1f}" for name, ratio in result["ratios"].items()]
    if "dice_of_both" in result:
        lines.append(f"Dice between both proposals {result['dice_of_both']:.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
