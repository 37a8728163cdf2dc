"""How long does what follows a convolution take? Ours in one pass beside torch's own operations, in one run.

    python benchmarks/epilogue.py            # a table
    python benchmarks/epilogue.py --json     # one object, with "ratios": how many times longer torch's take

The outputs of the shipped networks' levels in a cube of 128^3: norm and leaky ReLU, sum and leaky ReLU, in bfloat16 and
channels last. Medians of rounds in which both are measured one after the other.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from cranial.kernels.epilogue import add_leaky, norm_leaky, reference

LEVELS = {  # channels, groups, positions along each edge
    "24 channels in 8 groups, 64^3": (24, 8, 64),
    "64 channels in 8 groups, 32^3": (64, 8, 32),
    "128 channels in 8 groups, 16^3": (128, 8, 16),
    "32 channels in 2 groups, 64^3": (32, 2, 64),
    "64 channels in 4 groups, 32^3": (64, 4, 32),
}
SLOPE = 0.01


def pairs(channels: int, groups: int, edge: int) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Ours and torch's, ready to be called, on memory of their own."""
    torch.manual_seed(0)
    weight, bias = torch.rand(channels).bfloat16() + 0.5, torch.rand(channels).bfloat16()

    def fresh() -> torch.Tensor:
        return torch.randn(1, channels, edge, edge, edge).bfloat16().contiguous(memory_format=torch.channels_last_3d)

    x, theirs, y = fresh(), fresh(), fresh()
    return {
        "norm": (
            lambda: norm_leaky(x, groups, weight, bias, slope=SLOPE),
            lambda: reference.norm_leaky(theirs, groups, weight, bias, slope=SLOPE),
        ),
        "sum": (lambda: add_leaky(x, y, slope=SLOPE), lambda: reference.add_leaky(theirs, y, slope=SLOPE)),
    }


def milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="that count, after one that does not; default: 30")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = {"threads": torch.get_num_threads(), "milliseconds": {}, "ratios": {}}
    with torch.inference_mode():
        for level, described in LEVELS.items():
            for name, both in pairs(*described).items():
                rounds = [[milliseconds(work) for work in both] for _ in range(options.rounds + 1)][1:]
                ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
                result["milliseconds"][f"{name}, {level}"] = {"ours": round(ours, 3), "torch": round(theirs, 3)}
                result["ratios"][f"{name}, {level}"] = round(theirs / ours, 2)
    if options.json:
        return print(json.dumps(result))
    print(f"{result['threads']} threads\n\n| | ours (ms) | torch (ms) | ratio |\n|---|---|---|---|")
    for name, took in result["milliseconds"].items():
        print(f"| {name} | {took['ours']:.2f} | {took['torch']:.2f} | {result['ratios'][name]:.1f} |")


if __name__ == "__main__":
    main()
