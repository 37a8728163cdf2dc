"""How long do DSC, bDSC, HD95, surface Dice and MSD take? Ours beside three others, on one case, in one run.

    python benchmarks/metrics.py            # a table
    python benchmarks/metrics.py --json     # one object, with "ratios": how many times longer the others take

The case: 512 x 512 x 360 voxels of 0.4 x 0.4 x 0.5 mm, a skull with a hole 80 mm across, and a prediction
up to a millimetre off. `--skull FILE` cuts the hole into a head of your own instead, on its own grid. Ours
are all five; surface-distance does its own three (HD95, surface Dice, average surface distance), MONAI the
same three, and the AutoImplant challenge's three (DSC, bDSC, HD95) are written out below from their
definitions with scipy, on the whole grid, as its code has them.
"""

import argparse
import functools
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cranial import volume
from cranial.metrics import Scores, evaluate
from cranial.volume import Volume

SHAPE, SPACING_MM = (512, 512, 360), (0.4, 0.4, 0.5)
HOLE_RADIUS_MM = 40.0
TOLERANCE_MM = 1.0


class Case(NamedTuple):
    """Three masks on one grid."""

    predicted: Volume
    reference: Volume
    defective: Volume


def shell(wobble_mm: float) -> np.ndarray:
    """A closed bumpy skull 6.5 mm thick, bool SHAPE; `wobble_mm` moves its surfaces about."""
    semiaxes_mm, thickness_mm = (72.0, 90.0, 80.0), 6.5
    x, y, z = (np.float32((np.arange(size) - size / 2) * side) for size, side in zip(SHAPE, SPACING_MM, strict=True))
    y, z = y[:, None], z[None, :]
    mask = np.zeros(SHAPE, dtype=bool)
    for plane, at in enumerate(x):  # plane by plane: the whole grid in floats would be a gigabyte
        radius = np.sqrt((at / semiaxes_mm[0]) ** 2 + (y / semiaxes_mm[1]) ** 2 + (z / semiaxes_mm[2]) ** 2)
        from_middle_mm = (radius - 1) * 80
        from_middle_mm += np.sin(at / 9) * np.cos(y / 11) * np.sin(z / 8 + 1)
        from_middle_mm += wobble_mm * (0.7 * np.sin(at / 14 + y / 20) + 0.3 * np.cos(y / 3) * np.cos(z / 3))
        mask[plane] = np.abs(from_middle_mm) < thickness_mm / 2
    return mask


def ball(shape: tuple[int, ...], spacing_mm: tuple[float, ...], centre_mm: np.ndarray, radius_mm: float) -> np.ndarray:
    """bool (I, J, K) ball around a point given in mm from voxel 0, 0, 0."""
    squared = [
        ((np.arange(size) * side - at) ** 2).astype(np.float32)
        for size, side, at in zip(shape, spacing_mm, centre_mm, strict=True)
    ]
    return (squared[0][:, None, None] + squared[1][:, None] + squared[2]) < radius_mm**2


def build_case(skull: Path | None) -> Case:
    """A hole in the left of the vault, the piece that was there, and one that does not fit perfectly."""
    if skull is None:
        head = Volume(shell(0.0), np.diag([*SPACING_MM, 1.0]))
        other = shell(1.0)
    else:
        head = volume.read(skull)
        other = np.roll(head.mask, (1, -1, 1), axis=(0, 1, 2))
    lps = volume.to_lps(head)
    top = np.flatnonzero(lps.mask.any(axis=(0, 1)))[-1]
    vertex = np.append(np.argwhere(lps.mask[:, :, top]).mean(axis=0), top)
    place_mm = lps.voxel_to_mm(vertex[None]) + (40, 0, -13)
    centre_mm = head.mm_to_voxel(place_mm)[0] * head.spacing_mm
    hole = ball(head.shape, head.spacing_mm, centre_mm, HOLE_RADIUS_MM)
    around = ball(head.shape, head.spacing_mm, centre_mm + (0.5, -0.4, 0.3), HOLE_RADIUS_MM + 0.4)
    defective = head.mask & ~hole
    return Case(*map(head.with_mask, (other & around & ~defective, head.mask & hole, defective)))


def challenge(case: Case) -> dict[str, float]:
    """DSC, bDSC and HD95 as the AutoImplant challenge defines them, each step on the whole grid."""
    from scipy.ndimage import binary_erosion, distance_transform_edt

    found, truth, spacing_mm = case.predicted.mask, case.reference.mask, case.reference.spacing_mm

    def dsc(first, second):
        return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))

    def directed_mm(first, second):
        edges = [mask ^ binary_erosion(mask) for mask in (first, second)]
        return distance_transform_edt(~edges[1], sampling=spacing_mm)[edges[0]]

    near = distance_transform_edt(~case.defective.mask, sampling=spacing_mm) <= 10
    pooled_mm = np.concatenate([directed_mm(found, truth), directed_mm(truth, found)])
    return {
        "dsc": dsc(found, truth),
        "bdsc": dsc(found & near, truth & near),
        "hd95_mm": float(np.percentile(pooled_mm, 95)),
    }


def surface_distance(case: Case) -> dict[str, float]:
    """google-deepmind/surface-distance's three, from one pass of its own."""
    import surface_distance as peer

    distances = peer.compute_surface_distances(case.reference.mask, case.predicted.mask, case.reference.spacing_mm)
    return {
        "hd95_monai_mm": float(peer.compute_robust_hausdorff(distances, 95)),
        "surface_dice": float(peer.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM)),
        "msd_of_means_mm": float(np.mean(peer.compute_average_surface_distance(distances))),
    }


def monai(case: Case) -> dict[str, float]:
    """MONAI's three."""
    import torch
    from monai import metrics as peer

    masks = [torch.from_numpy(each.mask)[None, None] for each in (case.predicted, case.reference)]
    choices = {"include_background": True, "spacing": case.reference.spacing_mm}
    return {
        "hd95_monai_mm": peer.compute_hausdorff_distance(*masks, percentile=95, **choices).item(),
        "surface_dice": peer.compute_surface_dice(*masks, class_thresholds=[TOLERANCE_MM], **choices).item(),
        "msd_mm": peer.compute_average_surface_distance(*masks, symmetric=True, **choices).item(),
    }


# name: (what it does, the module to import before the clock starts, how many times)
PEERS = {
    "surface_distance": (surface_distance, "surface_distance", 5),
    "monai": (monai, "monai.metrics", 2),
    "challenge": (challenge, "scipy.ndimage", 1),
}
OURS_A_ROUND = 5


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds of one run, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def check_agreement(ours: dict, theirs: dict[str, dict[str, float]]) -> None:
    """Raise where a peer with our definition has another number: a wrong result is never fast."""
    for peer in theirs.keys() & {"monai", "challenge"}:
        for name, value in theirs[peer].items():
            if abs(ours[name] - value) > 1e-4:
                raise ValueError(f"{name} is {ours[name]} by cranial and {value} by {peer}; one is wrong")


def measure(options: argparse.Namespace) -> dict:
    """Build the case and time everybody on it."""

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    def run() -> Scores:
        return evaluate(case.predicted, case.reference, defective=case.defective, tolerance_mm=TOLERANCE_MM)

    say("building the case")
    case = build_case(options.skull)
    first_call_seconds, scores = timed(run)
    results, seconds, ratios = {"cranial": scores.as_dict()}, {"cranial": []}, {}
    warnings.simplefilter("ignore")  # the peers' own, about their use of scipy and torch
    for name in options.peers:
        work, module, rounds = PEERS[name]
        say(f"timing cranial and {name}" + (" (a minute or more)" if name == "challenge" else ""))
        importlib.import_module(module)
        seconds[name], ours = [], []
        for _ in range(rounds):  # by turns, so that whatever else the machine does slows both
            ours += [timed(run)[0] for _ in range(OURS_A_ROUND)]
            elapsed, results[name] = timed(functools.partial(work, case))
            seconds[name].append(elapsed)
        ours += [timed(run)[0] for _ in range(OURS_A_ROUND)]
        seconds["cranial"] += ours
        ratios[f"metrics_vs_{name}"] = statistics.median(seconds[name]) / statistics.median(ours)
    check_agreement(results["cranial"], {name: results[name] for name in options.peers})
    return {
        "benchmark": "metrics",
        "case": {
            "skull": str(options.skull or "synthetic"),
            "shape": list(case.reference.shape),
            "spacing_mm": list(case.reference.spacing_mm),
            "implant_mm3": case.reference.volume_mm3,
        },
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "numpy": metadata.version("numpy"),
            "scipy": metadata.version("scipy"),
        },
        "seconds": {name: statistics.median(each) for name, each in seconds.items()},
        "first_call_seconds": first_call_seconds,
        "scores": results,
        "ratios": ratios,
    }


def show(result: dict) -> None:
    """The same for people."""
    case, seconds = result["case"], result["seconds"]
    size = " x ".join(map(str, case["shape"]))
    print(f"{case['skull']}, {size} voxels, implant of {case['implant_mm3'] / 1000:.0f} ml\n")
    columns = ("dsc", "bdsc", "hd95_mm", "hd95_monai_mm", "surface_dice", "msd_mm", "msd_of_means_mm")
    print(f"{'':17}{'seconds':>9}{'ratio':>7}  " + "".join(f"{name:>16}" for name in columns))
    for name, scores in result["scores"].items():
        ratio = result["ratios"].get(f"metrics_vs_{name}", 1.0)
        cells = "".join(f"{scores[column]:16.4f}" if column in scores else f"{'':16}" for column in columns)
        print(f"{name:17}{seconds[name]:9.3f}{ratio:7.1f}  {cells}")
    print(f"\nfirst call of cranial in this process: {result['first_call_seconds']:.2f} s")
    print("surface-distance has another convention, see cranial/surface.py")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--skull", type=Path, help="cut the hole into this complete head")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="default: all")
    options = parser.parse_args()
    if "surface_distance" in options.peers and not importlib.util.find_spec("surface_distance"):
        parser.error("surface-distance is not installed: pip install -e .[bench]")
    result = measure(options)
    print(json.dumps(result, indent=2)) if options.json else show(result)


if __name__ == "__main__":
    main()
