"""How long does registration take? One iteration beside grid_sample with autograd and Adam; a pair beside demons.

    python benchmarks/registration.py                                  # phantoms, 128^3 and 256^3, a table
    python benchmarks/registration.py --heads MOVING.nrrd FIXED.nrrd   # a pair of your own
    python benchmarks/registration.py --sides 128 --json               # one object, with "ratios"

An iteration is warp, mean squared difference, diffusive regulariser, their gradient, and Adam's update. Its floor is
the time that its bytes take at the bandwidth of a copy measured here: field and moments read and written, images
read. A pair is everything from two heads to the field, beside SimpleITK's symmetric forces demons from the same
affine part, both scored by the Dice of the warped head with the fixed one over the whole cube.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from cranial import volume
from cranial.kernels.descent import Rates, descend
from cranial.kernels.threads import Team
from cranial.registration import ALPHA, register
from cranial.registration.affine import register_affine
from cranial.registration.view import lay_cube
from cranial.resampling import sample
from cranial.skulls.phantom import phantom
from cranial.volume import Volume

COPY_BYTES = 2**30


def seconds(work, repeats: int) -> float:
    """Median seconds of a call, after one that does not count."""
    time.sleep(0.3)  # until the threads of whoever worked before have gone to sleep
    work()
    measured = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        measured.append(time.perf_counter() - start)
    return statistics.median(measured)


def copy_bandwidth() -> float:
    """Bytes a second, read and written together, of the fastest copy there is here (memcpy by all threads)."""
    source, target = np.ones(COPY_BYTES // 8, np.float32), np.zeros(COPY_BYTES // 8, np.float32)

    def copy(start: int, stop: int) -> None:
        target[start:stop] = source[start:stop]

    with Team() as team:
        return 2 * source.nbytes / seconds(lambda: team.slabs(copy, len(source)), 9)


def laid(moving: Volume, fixed: Volume, affine: np.ndarray, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Occupancies of both heads on the fixed head's cube."""
    cube, shape = lay_cube(fixed, side), (side,) * 3
    return (
        torch.from_numpy(sample(moving.mask, moving.affine, shape, affine @ cube.affine)),
        torch.from_numpy(sample(fixed.mask, fixed.affine, shape, cube.affine)),
    )


class Usual:
    """The same iteration as one writes it in PyTorch."""

    def __init__(self, moving: torch.Tensor, fixed: torch.Tensor, alpha: float) -> None:
        self.moving, self.fixed, self.alpha = moving[None, None], fixed[None, None], alpha
        self.identity = F.affine_grid(torch.eye(3, 4)[None], self.moving.shape, align_corners=False)
        self.field = torch.zeros((1, *fixed.shape, 3), requires_grad=True)
        self.optimizer = torch.optim.Adam([self.field], lr=0.01)

    def step(self) -> float:
        self.optimizer.zero_grad()
        warped = F.grid_sample(self.moving, self.identity + self.field, align_corners=False)
        roughness = sum(self.field.diff(dim=axis).square().mean() for axis in (1, 2, 3)) / 3
        loss = (warped - self.fixed).square().mean() + self.alpha * roughness
        loss.backward()
        self.optimizer.step()
        return loss.item()


def time_iteration(moving: torch.Tensor, fixed: torch.Tensor, bandwidth: float) -> dict:
    """One iteration at one resolution, ours and the usual way by turns, and how far each is from the floor."""
    side = len(fixed)
    half, alpha = side / 2, ALPHA * (side / 256) ** 2
    weights = torch.full((3, 3), alpha / half**2 / 9, dtype=torch.float64)
    usual = Usual(moving, fixed, alpha)
    with Team() as team:
        rates = Rates((0.01 * half,) * 3, (1e-8 / half,) * 3)
        ours = descend(moving, fixed, torch.zeros(3, *fixed.shape), weights, rates, team)
        first = sum(ours.step()), usual.step()
        second = sum(ours.step()), usual.step()
        for mine, theirs in (first, second):
            if abs(mine - theirs) > 2e-3 * theirs:
                raise ValueError(f"the loss is {mine} by cranial and {theirs} by autograd; one is wrong")
        rounds = [(seconds(ours.step, 15), seconds(usual.step, 2)) for _ in range(5)]
    our_seconds, usual_seconds = (statistics.median(each) for each in zip(*rounds, strict=True))
    moved = fixed.numel() * 4 * (2 * 9 + 2)
    return {
        "side": side,
        "seconds": {"cranial": our_seconds, "grid_sample + autograd + Adam": usual_seconds},
        "floor_seconds": moved / bandwidth,
        "times_the_floor": our_seconds * bandwidth / moved,
        "ratio": usual_seconds / our_seconds,
    }


def dice(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of the halves above 1/2."""
    a, b = one >= 0.5, other >= 0.5
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def time_pair(moving: Volume, fixed: Volume, side: int) -> dict:
    """A whole pair, affine part included; `stiff` at the study's alpha, `soft` at a sixteenth of it."""
    result = {"side": side, "seconds": {}, "dice": {}, "folded_share": {}}
    for name, alpha in (("stiff", ALPHA), ("soft", ALPHA / 16)):
        start = time.perf_counter()
        found = register(moving, fixed, side=side, alpha=alpha, common=False)
        result["seconds"][name] = time.perf_counter() - start
        result["dice"][name], result["folded_share"][name] = found.quality.dice_after, found.quality.folded_share
        result["dice"]["affine"] = found.quality.dice_before
    return result


def time_demons(moving: Volume, fixed: Volume, affine: np.ndarray, side: int) -> dict:
    """SimpleITK's symmetric forces demons on three levels, from the same affine part, its time not counted."""
    import SimpleITK as sitk

    images = [sitk.GetImageFromArray(image.numpy()) for image in laid(moving, fixed, affine, side)]
    start = time.perf_counter()
    field = None
    for shrink, iterations in ((4, 60), (2, 60), (1, 40)):
        small = [sitk.Shrink(sitk.DiscreteGaussian(image, shrink / 2), [shrink] * 3) for image in images]
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfIterations(iterations)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations(1.0)
        if field is None:
            field = demons.Execute(small[1], small[0])
        else:
            field = demons.Execute(small[1], small[0], sitk.Resample(field, small[1]))
    transform = sitk.DisplacementFieldTransform(sitk.Cast(sitk.Resample(field, images[1]), sitk.sitkVectorFloat64))
    warped = sitk.Resample(images[0], images[1], transform, sitk.sitkLinear, 0.0)
    elapsed = time.perf_counter() - start
    score = dice(*(torch.from_numpy(sitk.GetArrayFromImage(image)) for image in (warped, images[1])))
    return {"side": side, "seconds": elapsed, "dice": score}


def measure(options: argparse.Namespace) -> dict:
    """Everything that was asked for, in one run."""

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    if options.heads:
        moving, fixed = map(volume.read, options.heads)
    else:
        moving, fixed = phantom(2, spacing_mm=1.2), phantom(3, spacing_mm=1.2)
    affine = register_affine(moving, fixed)
    register(moving, fixed, side=32)  # compiles what is not cached
    bandwidth = copy_bandwidth()
    result = {
        "benchmark": "registration",
        "heads": [str(path) for path in options.heads] if options.heads else ["phantom 2", "phantom 3"],
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "torch": torch.__version__},
        "copy_bytes_a_second": bandwidth,
        "iterations": [], "pairs": [], "demons": [], "ratios": {},
    }
    for side in options.sides:
        say(f"one iteration at {side}^3")
        one = time_iteration(*laid(moving, fixed, affine, side), bandwidth)
        result["iterations"].append(one)
        result["ratios"][f"iteration_{side}"] = one["ratio"]
    for side in options.pairs:
        say(f"a pair at {side}^3")
        result["pairs"].append(time_pair(moving, fixed, side))
        if side <= options.demons_up_to:
            say(f"the same by demons at {side}^3")
            result["demons"].append(time_demons(moving, fixed, affine, side))
            ratio = result["demons"][-1]["seconds"] / result["pairs"][-1]["seconds"]["soft"]
            result["ratios"][f"pair_{side}_vs_demons"] = ratio
    return result


def show(result: dict) -> None:
    """The same for people."""
    print(f"{' -> '.join(result['heads'])}; a copy moves {result['copy_bytes_a_second'] / 1e9:.0f} GB/s\n")
    for one in result["iterations"]:
        mine, usual = one["seconds"].values()
        print(f"iteration {one['side']}^3: {1000 * mine:8.1f} ms, {one['times_the_floor']:.1f} x the floor; "
              f"usual way {1000 * usual:8.1f} ms, {one['ratio']:.0f} x ours")
    for pair in result["pairs"]:
        for name in ("stiff", "soft"):
            scores = f"Dice {pair['dice']['affine']:.3f} -> {pair['dice'][name]:.3f}"
            folded = f"{100 * pair['folded_share'][name]:.2f} % folded"
            print(f"pair {pair['side']}^3, {name}: {pair['seconds'][name]:6.2f} s, {scores}, {folded}")
    for pair in result["demons"]:
        print(f"pair {pair['side']}^3, demons: {pair['seconds']:6.2f} s, Dice {pair['dice']:.3f}")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--heads", type=Path, nargs=2, metavar=("MOVING", "FIXED"), help="files of two complete heads")
    parser.add_argument("--sides", type=int, nargs="*", default=[128, 256], help="of the iterations; default: 128 256")
    parser.add_argument("--pairs", type=int, nargs="*", default=[64, 128, 256], help="default: 64 128 256")
    parser.add_argument("--demons-up-to", type=int, default=128, help="largest side for the peer; default: 128")
    options = parser.parse_args()
    result = measure(options)
    print(json.dumps(result, indent=2)) if options.json else show(result)


if __name__ == "__main__":
    main()
