"""How long do DSC, bDSC, HD95, surface Dice and MSD take? Ours beside three others, on one case, in one run.

    python benchmarks/metrics.py            # a table
    python benchmarks/metrics.py --json     # one object, with "ratios": how many times longer the others take

The case: 512 x 512 x 360 voxels of 0.4 x 0.4 x 0.5 mm, a skull with a hole 80 mm across, and a prediction that is a
millimetre off here and there. `--skull FILE` cuts the hole into a head of your own instead, on its own grid.
surface-distance does its own three (HD95, surface Dice, average surface distance), MONAI the same three, and the
challenge's definitions (DSC, bDSC, HD95) are written out below as scipy gives them, on the whole grid.
"""

import argparse
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

import numpy as np

from cranial import volume
from cranial.metrics import Scores, evaluate
from cranial.volume import Volume

SHAPE, SPACING_MM = (512, 512, 360), (0.4, 0.4, 0.5)
HOLE_RADIUS_MM = 40.0
TOLERANCE_MM = 1.0
PEERS = ("surface_distance", "monai", "challenge")


def shell(wobble_mm: float) -> np.ndarray:
    """A closed skull 6 to 7 mm thick, bool SHAPE, bumpy as skulls are; `wobble_mm` moves its surfaces about."""
    semiaxes_mm, thickness_mm = (72.0, 90.0, 80.0), 6.5
    x, y, z = (
        np.float32((np.arange(size) - size / 2) * side) for size, side in zip(SHAPE, SPACING_MM, strict=True)
    )
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


def build_case(skull: Path | None) -> tuple[Volume, Volume, Volume]:
    """(predicted, reference, defective): a hole in the vault, and a piece for it that does not fit perfectly."""
    if skull is None:
        head = Volume(shell(0.0), np.diag([*SPACING_MM, 1.0]))
        other = shell(1.0)
    else:
        head = volume.read(skull)
        other = np.roll(head.mask, (1, -1, 1), axis=(0, 1, 2))
    spacing_mm = np.array(head.spacing_mm)
    lps = volume.to_lps(head)
    top = np.argwhere(lps.mask[:, :, ::-1].transpose(2, 0, 1))[0]  # the vertex, then 45 degrees down to the left
    vertex_mm = lps.voxel_to_mm(np.array([[top[1], top[2], lps.shape[2] - 1 - top[0]]]))[0]
    centre_mm = head.mm_to_voxel((vertex_mm + (40, 0, -20))[None])[0] * spacing_mm
    hole = ball(head.shape, head.spacing_mm, centre_mm, HOLE_RADIUS_MM)
    defective = head.mask & ~hole
    around = ball(head.shape, head.spacing_mm, centre_mm + (0.5, -0.4, 0.3), HOLE_RADIUS_MM + 0.4)
    return tuple(head.with_mask(mask) for mask in (other & around & ~defective, head.mask & hole, defective))


def challenge(predicted: Volume, reference: Volume, defective: Volume) -> dict[str, float]:
    """DSC, bDSC and HD95 as the AutoImplant challenge defines them, each step on the whole grid."""
    from scipy.ndimage import binary_erosion, distance_transform_edt

    found, truth, spacing_mm = predicted.mask, reference.mask, reference.spacing_mm

    def dsc(first, second):
        return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))

    def directed_mm(first, second):
        edges = [mask ^ binary_erosion(mask) for mask in (first, second)]
        return distance_transform_edt(~edges[1], sampling=spacing_mm)[edges[0]]

    near = distance_transform_edt(~defective.mask, sampling=spacing_mm) <= 10
    pooled_mm = np.concatenate([directed_mm(found, truth), directed_mm(truth, found)])
    return {
        "dsc": dsc(found, truth),
        "bdsc": dsc(found & near, truth & near),
        "hd95_mm": float(np.percentile(pooled_mm, 95)),
    }


def surface_distance(predicted: Volume, reference: Volume, defective: Volume) -> dict[str, float]:
    """google-deepmind/surface-distance's three, from one pass of its own."""
    import surface_distance as peer

    distances = peer.compute_surface_distances(reference.mask, predicted.mask, reference.spacing_mm)
    return {
        "hd95_mm": float(peer.compute_robust_hausdorff(distances, 95)),
        "surface_dice": float(peer.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM)),
        "msd_of_means_mm": float(np.mean(peer.compute_average_surface_distance(distances))),
    }


def monai(predicted: Volume, reference: Volume, defective: Volume) -> dict[str, float]:
    """MONAI's three."""
    import torch
    from monai import metrics as peer

    masks = [torch.from_numpy(each.mask)[None, None] for each in (predicted, reference)]
    choices = {"include_background": True, "spacing": reference.spacing_mm}
    return {
        "hd95_monai_mm": peer.compute_hausdorff_distance(*masks, percentile=95, **choices).item(),
        "surface_dice": peer.compute_surface_dice(*masks, class_thresholds=[TOLERANCE_MM], **choices).item(),
        "msd_mm": peer.compute_average_surface_distance(*masks, symmetric=True, **choices).item(),
    }


def timed(work: Callable[[], object], times: int) -> tuple[list[float], object]:
    """Seconds of each run, and the last result."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return seconds, result


def check_agreement(ours: Scores, theirs: dict[str, dict[str, float]]) -> None:
    """Raise where a peer with our definition gives another number: a wrong result is never fast."""
    for peer in ("monai", "challenge"):
        for name, value in theirs.get(peer, {}).items():
            if abs(getattr(ours, name) - value) > 1e-4:
                raise ValueError(f"{name} is {getattr(ours, name)} with us and {value} with {peer}; one of us is wrong")


def measure(options: argparse.Namespace) -> dict:
    """Build the case and time everybody on it."""
    say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    say("building the case ...")
    case = build_case(options.skull)
    run = lambda: evaluate(case[0], case[1], defective=case[2], tolerance_mm=TOLERANCE_MM)  # noqa: E731
    say("timing cranial ...")
    first, _ = timed(run, 1)
    seconds, ours = timed(run, options.repeat)
    found = {"cranial": {"seconds": statistics.median(seconds), "first_call_seconds": first[0]}}
    scores = {"cranial": ours.as_dict()}
    for name in options.peers:
        say(f"timing {name} ...")
        work = globals()[name]
        times = 1 if name == "challenge" else options.peer_repeat
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name != "challenge":
                work(*(each.with_mask(each.mask[:64].copy()) if False else each for each in case))
            seconds, scores[name] = timed(lambda work=work: work(*case), times)
        found[name] = {"seconds": statistics.median(seconds)}
    check_agreement(ours, {name: scores[name] for name in options.peers})
    return {
        "benchmark": "metrics",
        "case": {
            "skull": str(options.skull or "synthetic"),
            "shape": list(case[1].shape),
            "spacing_mm": list(case[1].spacing_mm),
            "implant_mm3": case[1].volume_mm3,
        },
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("numpy", "scipy", "numba")},
        },
        "figures": found,
        "scores": scores,
        "ratios": {
            f"metrics_vs_{name}": found[name]["seconds"] / found["cranial"]["seconds"] for name in options.peers
        },
    }
