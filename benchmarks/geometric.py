"""How long does the study's extreme geometric augmentation of a pair take? Ours beside MONAI and TorchIO, in one run.

    python benchmarks/geometric.py            # a table
    python benchmarks/geometric.py --json     # one object, with "ratios": how many times longer the others take

The pair: defective skull and defect of a phantom in the network's cube of 256^3 voxels. Every draw has all of
flips, crop, affine and binary noise, in its own random order, nearest neighbour. The others are written as their
manuals have it, with the numbers of our draw in the order of our draw: one transform after the other, in MONAI on
both channels as one tensor (once as it is, once with its lazy resampling), in TorchIO on two label maps.
"""

import argparse
import functools
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata

import numpy as np
import torch

from cranial.augment import SETTINGS, Draw, apply, draw, rotation
from cranial.reconstruction.grid import lay_grid
from cranial.rng import generator
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom
from cranial.symmetry import Midplane

OURS_A_ROUND = 5
LEAST_DICE = 0.99  # with the geometry of the others; rounding at the very middle between two voxels may differ


def build_pair(side: int) -> torch.Tensor:
    """uint8 (2, side, side, side): defective skull and defect."""
    case = cut(phantom(0, spacing_mm=1.0), "random_1", seed=0)
    upright = Midplane(np.zeros(3), np.array([1.0, 0.0, 0.0]), 1.0)
    grid = lay_grid(case.defective, side, midplane=upright)
    defect = grid.occupancy(case.implant)
    complete = grid.occupancy(case.complete) >= 0.5
    return torch.from_numpy(np.stack([complete & (defect < 0.5), complete & (defect >= 0.5)]).astype(np.uint8))


def change_some(first: torch.Tensor, threshold: float) -> torch.Tensor:
    """Binary noise as anyone would write it."""
    return torch.logical_xor(first, torch.randn(first.shape) > threshold).to(first.dtype)


def monai(pair: torch.Tensor, drawn: Draw, *, lazy: bool = False) -> torch.Tensor:
    """MONAI's array transforms on the stacked pair."""
    from monai import transforms as peer

    back = np.diag(1 / np.array(drawn.scale)) @ rotation(drawn.angles_deg).T  # output to input, about the middle
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = back, -back @ np.array(drawn.translation_vox)
    how = {"mode": "nearest", "padding_mode": "zeros"}
    steps = {"affine": [peer.Affine(affine=matrix, **how, image_only=True, lazy=lazy)]}
    steps["flip"] = [peer.Flip(spatial_axis=[axis for axis in range(3) if drawn.flips[axis]], lazy=lazy)]
    starts, stops = zip(*drawn.crop, strict=True)
    lost = [n for start, stop, size in zip(starts, stops, pair.shape[1:], strict=True) for n in (start, size - stop)]
    # never lazy: crop and border would cancel out, and what was cropped come back
    steps["crop"] = [peer.SpatialCrop(roi_start=starts, roi_end=stops), peer.BorderPad(spatial_border=lost)]
    all_steps = [step for name in drawn.order for step in steps[name]]
    moved = peer.Compose(all_steps, lazy=None if lazy else False, overrides=how if lazy else None)(pair)
    if drawn.speckle is not None:
        moved[0] = change_some(moved[0], drawn.speckle)
    return moved


def torchio(pair: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """TorchIO's transforms on a subject with two label maps."""
    import torchio as peer
    from scipy.spatial.transform import Rotation

    # SimpleITK turns by Z X Y, and TorchIO moves before it scales
    third, first, second = Rotation.from_matrix(rotation(drawn.angles_deg)).as_euler("ZXY", degrees=True)
    shift = tuple(np.array(drawn.translation_vox) / drawn.scale)
    steps = {"affine": [peer.Affine(scales=drawn.scale, degrees=(first, second, third), translation=shift)]}
    steps["flip"] = [peer.Flip(axes=[axis for axis in range(3) if drawn.flips[axis]])]
    ends = zip(drawn.crop, pair.shape[1:], strict=True)
    lost = tuple(n for (start, stop), size in ends for n in (start, size - stop))
    steps["crop"] = [peer.Crop(lost), peer.Pad(lost)]
    all_steps = [step for name in drawn.order for step in steps[name]]
    if drawn.speckle is not None:
        all_steps.append(peer.Lambda(lambda first: change_some(first, drawn.speckle), include=["defective"]))
    subject = peer.Subject(defective=peer.LabelMap(tensor=pair[:1]), defect=peer.LabelMap(tensor=pair[1:]))
    moved = peer.Compose(all_steps)(subject)
    return torch.cat([moved.defective.data, moved.defect.data])


PEERS = {"torchio": torchio, "monai": monai, "monai_lazy": functools.partial(monai, lazy=True)}


def timed(work: Callable[[], object]) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def dice(first: torch.Tensor, second: torch.Tensor) -> float:
    """Of two binary volumes; 1 where both are empty."""
    first, second = first != 0, second != 0
    sizes = int(first.sum() + second.sum())
    return 2 * int((first & second).sum()) / sizes if sizes else 1.0


def check_agreement(pair: torch.Tensor, peer: str, drawn: Draw) -> float:
    """The lower Dice of both channels, without noise; raise where it is low: a wrong result is never fast."""
    still = replace(drawn, speckle=None)
    agreement = min(map(dice, apply(still, pair), PEERS[peer](pair, still)))
    if agreement < LEAST_DICE:
        raise ValueError(f"{peer} agrees with cranial to a Dice of {agreement:.4f} only, for {drawn}; one is wrong")
    return agreement


def measure(options: argparse.Namespace) -> dict:
    """Time everybody on every draw."""

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    warnings.simplefilter("ignore")  # the peers' own
    say("building the pair")
    pair = build_pair(options.side)
    always = SETTINGS["extreme"].model_copy(update={"probability": 1.0})
    draws = [draw(always, tuple(pair.shape[1:]), generator(0, item)) for item in range(options.draws)]
    first_call_seconds = timed(lambda: apply(draws[0], pair))
    for name in options.peers:
        PEERS[name](pair[:, ::4, ::4, ::4].contiguous(), Draw(crop=((0, 9),) * 3, speckle=1.8))  # imports and such
    seconds, ratios, agreement = {"cranial": []}, {}, {}
    for name in options.peers:
        say(f"timing cranial and {name}")
        seconds[name], ours, agreement[name] = [], [], 1.0
        for drawn in draws:  # by turns, so that whatever else the machine does slows both
            for _ in range(OURS_A_ROUND):
                ours.append(timed(functools.partial(apply, drawn, pair)))
            seconds[name].append(timed(functools.partial(PEERS[name], pair, drawn)))
            agreement[name] = min(agreement[name], check_agreement(pair, name, drawn))
        seconds["cranial"] += ours
        ratios[f"geometric_vs_{name}"] = statistics.median(seconds[name]) / statistics.median(ours)
    linear = [timed(functools.partial(apply, drawn, pair, mode="linear")) for drawn in draws for _ in range(2)]
    return {
        "benchmark": "geometric",
        "case": {"shape": list(pair.shape), "bone": float(pair.float().mean() * 2), "draws": len(draws)},
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load": os.getloadavg()[0],
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", *(set(options.peers) & {"torchio", "monai"}))},
        },
        "seconds": {name: statistics.median(each) for name, each in seconds.items()},
        "fastest_seconds": {name: min(each) for name, each in seconds.items()},
        "linear_seconds": statistics.median(linear),
        "first_call_seconds": first_call_seconds,
        "least_dice": agreement,
        "ratios": ratios,
    }


def show(result: dict) -> None:
    """The same for people."""
    size, machine = " x ".join(map(str, result["case"]["shape"])), result["machine"]
    print(f"{size} voxels, {result['case']['draws']} extreme draws, {machine['threads']} threads\n")
    print(f"{'':12}{'median s':>10}{'fastest s':>11}{'ratio':>8}{'Dice with ours':>16}")
    for name, seconds in result["seconds"].items():
        ratio = result["ratios"].get(f"geometric_vs_{name}", 1.0)
        agreement = result["least_dice"].get(name, 1.0)
        print(f"{name:12}{seconds:10.4f}{result['fastest_seconds'][name]:11.4f}{ratio:8.1f}{agreement:16.4f}")
    print(f"\ncranial with mode='linear': {result['linear_seconds']:.4f} s")
    print(f"first call of cranial in this process: {result['first_call_seconds']:.2f} s")
    print(f"load of the machine besides: {machine['load']:.1f}")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--side", type=int, default=256, help="voxels along each axis of the cube")
    parser.add_argument("--draws", type=int, default=5, help="how many draws")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="default: all")
    options = parser.parse_args()
    result = measure(options)
    print(json.dumps(result, indent=2)) if options.json else show(result)


if __name__ == "__main__":
    main()
