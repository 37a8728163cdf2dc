"""What do the generators cost? A training step beside the same model in MONAI's blocks; a sample; memory up to 256^3.

    python benchmarks/generators.py                                   # a table; some ten minutes on two cores
    python benchmarks/generators.py --json --largest 128              # one object; without the 256^3 measurement
    python benchmarks/generators.py --trained outputs/generators/laptop    # and DDIM steps against quality

Speed: encoder and decoder of params/laptop/generators/vqvae.yaml, one forward and backward of four cases at 64^3. The
peer is the same network written with MONAI's Convolution, ResidualUnit and UpSample, in the usual way: channels first,
float32. By turns, medians. Samples: untrained networks of the laptop recipes' sizes, one core, one case at a time.
Memory: the peak of a process of its own, one forward and backward of one case in bfloat16 with checkpointing.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import torch
from torch import nn

from cranial.config import load
from cranial.generators import GENERATORS, as_masks, build, sample
from cranial.nets.autoencoder import AutoencoderShape, Decoder, Encoder
from cranial.nets.blocks import multiply_adds, parameter_count
from cranial.synthesis.gates import refusal
from cranial.synthesis.recipe import GeneratorRecipe
from cranial.synthesis.trained import load_generator

RECIPES = Path(__file__).resolve().parent.parent / "params" / "laptop" / "generators"
SHAPE = AutoencoderShape(2, 8, (16, 32, 64), 1, 2, 2)
ROUNDS, BATCH, SIDE = 7, 4, 64
SIDES = (32, 64, 128, 256)


def monai_autoencoder(shape: AutoencoderShape) -> nn.Module:
    """The same levels, widths and blocks; patches are convolutions of that stride, as one writes them."""
    from monai.networks.blocks import Convolution, ResidualUnit, UpSample

    widths = shape.widths
    norm = {"norm": ("GROUP", {"num_groups": 1}), "act": ("leakyrelu", {"negative_slope": 0.01})}

    def unit(channels: int, out: int, stride: int = 1) -> nn.Module:
        return ResidualUnit(3, channels, out, strides=stride, subunits=2, **norm)

    down = [Convolution(3, shape.channels, widths[0], strides=shape.patch, kernel_size=3, **norm)]
    down += [unit(widths[0], widths[0])]
    down += [unit(finer, width, 2) for finer, width in zip(widths, widths[1:], strict=False)]
    down += [unit(widths[-1], widths[-1]) for _ in range(shape.middle)]
    down += [Convolution(3, widths[-1], shape.latent_channels, kernel_size=1, conv_only=True)]
    up: list[nn.Module] = [Convolution(3, shape.latent_channels, widths[-1], kernel_size=1, conv_only=True)]
    up += [unit(widths[-1], widths[-1]) for _ in range(shape.middle + shape.blocks)]
    for coarser, width in zip(widths[::-1], widths[-2::-1], strict=False):
        up += [UpSample(3, coarser, width, 2, mode="nontrainable", interp_mode="nearest", align_corners=None)]
        up += [unit(width, width)]
    up += [UpSample(3, widths[0], shape.channels, shape.patch, mode="deconv")]
    return nn.Sequential(*down, *up)


def step_seconds() -> dict[str, float]:
    """Seconds of a forward and backward, ours and MONAI's, by turns; and the ratio of their medians."""
    ours = nn.Sequential(Encoder(SHAPE), Decoder(SHAPE)).to(memory_format=torch.channels_last_3d)
    theirs = monai_autoencoder(SHAPE)
    cases = torch.rand(BATCH, SHAPE.channels, *[SIDE] * 3)
    turned = cases.to(memory_format=torch.channels_last_3d)

    def step_ours() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.binary_cross_entropy_with_logits(ours(turned).float(), cases)
        loss.backward()

    def step_theirs() -> None:
        nn.functional.binary_cross_entropy_with_logits(theirs(cases), cases).backward()

    times: dict[str, list[float]] = {"ours": [], "monai": []}
    for _ in range(ROUNDS):
        for name, step in (("ours", step_ours), ("monai", step_theirs)):
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(each[1:]) for name, each in times.items()}
    return {
        "seconds_ours": medians["ours"], "seconds_monai": medians["monai"],
        "ratio": medians["monai"] / medians["ours"],
        "parameters_ours": parameter_count(ours), "parameters_monai": parameter_count(theirs),
        "multiply_adds_ours": multiply_adds(ours, turned[:1]), "multiply_adds_monai": multiply_adds(theirs, cases[:1]),
    }  # fmt: skip


def sample_seconds() -> dict[str, float]:
    """Seconds a case of each method of the laptop recipes: median of five, one at a time, after one to warm up."""
    found, built = {}, {}
    for method in GENERATORS:
        recipe = load(RECIPES / f"{method}.yaml", GeneratorRecipe)
        inner = recipe.autoencoder and built[recipe.autoencoder.parent.name]
        generator = build(
            method, recipe.shape, side=recipe.side, settings=recipe.settings, steps=1, learning_rate=1e-3,
            autoencoder=inner,
        )  # fmt: skip
        if getattr(generator, "gaussian", None) is not None:  # any will do, what it costs is the same
            generator.gaussian.spread.fill_(1.0)
        built[method] = generator
        if hasattr(generator, "scale"):
            generator.scale.width.fill_(1.0)
        times = []
        for index in range(6):
            start = time.perf_counter()
            sample(generator, [index], seed=0)
            times.append(time.perf_counter() - start)
        found[method] = statistics.median(times[1:])
    return found


def memory(side: int) -> dict[str, float]:
    """Peak memory and time of one forward and backward of one case, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", str(side)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def one(side: int) -> dict[str, float]:
    """What `memory` asks of its process: the autoencoder whose embedding of this side is 8 times coarser."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    encoder, decoder = Encoder(SHAPE, checkpointing=True), Decoder(SHAPE, checkpointing=True)
    network = nn.Sequential(encoder, decoder).to(memory_format=torch.channels_last_3d)
    case = torch.rand(1, SHAPE.channels, *[side] * 3).to(memory_format=torch.channels_last_3d)
    times = []
    for _ in range(1 if side >= 256 else 3):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.binary_cross_entropy_with_logits(network(case).float(), case)
        loss.backward()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "side": side, "seconds": min(times), "peak_gb": peak, "of_it_imports_gb": before,
        "parameters": parameter_count(network), "multiply_adds": _multiply_adds(side),
    }  # fmt: skip


def _multiply_adds(side: int) -> int:
    """Multiply-adds of one forward pass at this side: those at 32^3, times the voxels."""
    network = nn.Sequential(Encoder(SHAPE), Decoder(SHAPE))
    return multiply_adds(network, torch.zeros(1, SHAPE.channels, 32, 32, 32)) * (side // 32) ** 3


def ddim_quality(trained: Path, steps: tuple[int, ...], count: int) -> list[dict[str, float]]:
    """Of both latent diffusions in a folder: gates passed and seconds a case at so many DDIM steps, one seed."""
    rows = []
    for method in ("ldm_vae", "ldm_vqvae"):
        path = trained / method / "generator.safetensors"
        if not path.exists():
            continue
        found = load_generator(path)
        for number in steps:
            found.generator.ddim_steps = number
            start = time.perf_counter()
            masks = as_masks(sample(found.generator, range(count), seed=1), found.level).numpy()
            seconds = (time.perf_counter() - start) / count
            voxel = (found.edge_mm / found.recipe.side) ** 3
            passed = sum(refusal(*case, voxel_mm3=voxel) is None for case in masks)
            rows.append({"method": method, "steps": number, "seconds": seconds, "passed": passed / count})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--largest", type=int, default=256, choices=SIDES, help="side up to which memory is measured")
    parser.add_argument("--trained", type=Path, metavar="DIR", help="trained generators, a folder a method")
    parser.add_argument("--count", type=int, default=24, help="samples for each number of DDIM steps")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one)))
        return
    result = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
                    "torch": torch.__version__, "monai": metadata.version("monai"), "threads": torch.get_num_threads()},
        "training_step": step_seconds(),
        "seconds_a_sample": sample_seconds(),
        "memory": [memory(side) for side in SIDES if side <= options.largest],
        "ddim": ddim_quality(options.trained, (5, 10, 25, 50, 100, 250), options.count) if options.trained else [],
    }  # fmt: skip
    if options.json:
        print(json.dumps(result))
        return
    step = result["training_step"]
    print(f"training step, {BATCH} cases at {SIDE}^3: {step['seconds_ours']:.3f} s, MONAI's blocks "
          f"{step['seconds_monai']:.3f} s, {step['ratio']:.1f} x")
    print("\nseconds a sample: " + ", ".join(f"{name} {s:.3f}" for name, s in result["seconds_a_sample"].items()))
    print("\nside  parameters  multiply-adds  seconds  peak GB  (imports)")
    for row in result["memory"]:
        print(f"{row['side']:4}  {row['parameters']:10,}  {row['multiply_adds']:13.3g}  {row['seconds']:7.2f}  "
              f"{row['peak_gb']:7.2f}  {row['of_it_imports_gb']:9.2f}")
    for row in result["ddim"]:
        print(f"{row['method']:10} {row['steps']:4} steps  {row['seconds']:.3f} s  {100 * row['passed']:.0f} % pass")


if __name__ == "__main__":
    main()
