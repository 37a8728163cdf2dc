"""How evenly do SD, UD and UDS fill a latent space, and what does a latent cost? Beside random points, in one run.

    python benchmarks/sampling.py            # a table; some five minutes on two cores, nearly all at N = 32768
    python benchmarks/sampling.py --json     # one object, with "ratios": of the distance to that of random points

Latents of N = 512, 4096 and 32768 numbers. Random points are normal ones put on the sphere of UDS. Distances between
the nearest two are of the first 2048 latents (1024 at N = 512, which is a block of UDS there); mean and covariance
are of 2N, a block of UDS, whose N x N covariance is never built: ||C - t I|| is estimated from 16 random probes,
E ||(C - t I) v||^2 = ||C - t I||^2 for v of random signs. Seconds are of one latent among its neighbours, and of one
alone, in a block that nobody has asked for yet.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata

import torch

from cranial.rng import generator
from cranial.sampling import SD, UD, UDS
from cranial.sphere import spread

SHAPES = {512: (8, 4, 4, 4), 4096: (8, 8, 8, 8), 32768: (8, 16, 16, 16)}
PAIRED, PROBES = 2048, 16
BATCH, ROUNDS, ALONE = 32, 15, 25

Draw = Callable[[tuple[int, ...], range | list[int], int], torch.Tensor]


def on_the_sphere(shape: tuple[int, ...], indices: range | list[int], seed: int) -> torch.Tensor:
    """Random points on the sphere of UDS: z R / ||z||, z ~ N(0, I)."""
    latents = SD()(shape, indices, seed).flatten(1)
    radius = UDS().length(latents.shape[1])
    return (latents * (radius / latents.norm(dim=1, keepdim=True))).view(-1, *shape)


DRAWS: dict[str, Draw] = {"sd": SD(), "ud": UD(interval="unit_variance"), "uds": UDS(), "random": on_the_sphere}


def block_moments(draw: Draw, shape: tuple[int, ...], seed: int) -> dict[str, float]:
    """||mean|| and covariance error (see cranial.sphere.Spread) of the latents 0 to 2N, batch by batch."""
    size = math.prod(shape)
    count, rows = 2 * size, max(1, 2**22 // size)
    probes = torch.from_numpy(1.0 - 2.0 * generator(seed, 1).integers(0, 2, (size, PROBES)))
    squares, sums = 0.0, torch.zeros(1 + PROBES, size, dtype=torch.float64)  # of ||z||^2; of z and of z (z . v)
    for start in range(0, count, rows):
        latents = draw(shape, range(start, min(start + rows, count)), seed).flatten(1).double()
        squares += float(torch.dot(latents.flatten(), latents.flatten()))
        ones = torch.ones(1, len(latents), dtype=torch.float64)
        sums += torch.cat([ones, (latents @ probes).T]) @ latents
    mean, probed = sums[0] / count, sums[1:] / count
    # C v = E z (z . v) - mean (mean . v), t = tr C / N
    per_axis = (squares / count - float(mean @ mean)) / size
    off = probed - torch.outer(mean @ probes, mean) - per_axis * probes.T
    error = math.sqrt(float((off**2).sum()) / PROBES) / (per_axis * math.sqrt(size))
    return {"length_of_mean": float(mean.norm()), "covariance_error": error}


def seconds_a_latent(draws: dict[str, Draw], shape: tuple[int, ...], seed: int) -> dict[str, dict[str, float]]:
    """Of a latent among its neighbours, and alone; by turns, so that whatever else the machine does slows all."""
    among, alone = {name: [] for name in draws}, {name: [] for name in draws}
    block, threads = 2 * math.prod(shape), torch.get_num_threads()
    torch.set_num_threads(1)  # idle threads of one would slow the next
    for again in range(ROUNDS):
        for name, draw in draws.items():
            draw(shape, [0], seed)
            start = time.perf_counter()
            draw(shape, range(again * BATCH, (again + 1) * BATCH), seed)
            among[name].append((time.perf_counter() - start) / BATCH)
    for far in range(1, ALONE + 1):
        for name, draw in draws.items():
            start = time.perf_counter()
            draw(shape, [far * block], seed)
            alone[name].append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return {
        name: {
            "seconds_a_latent": statistics.median(among[name]),
            "seconds_alone": statistics.median(alone[name]),
        }
        for name in draws
    }


def measure(sizes: list[int], seed: int) -> dict:
    """Every strategy at every size."""
    results, ratios = {}, {}
    for size in sizes:
        shape = SHAPES[size]
        timed = seconds_a_latent(DRAWS, shape, seed)
        paired = min(2 * size, PAIRED)
        rows = {}
        for name, draw in DRAWS.items():
            print(f"N = {size}: {name}", file=sys.stderr, flush=True)
            near = spread(draw(shape, range(paired), seed))
            rows[name] = {
                "radius": near.radius,
                "minimum_distance": near.minimum_distance,
                **block_moments(draw, shape, seed),
                **timed[name],
            }
        results[str(size)] = {"paired": paired, "block": 2 * size, "strategies": rows}
        random = rows["random"]["minimum_distance"]
        ratios |= {f"distance_{name}_{size}": row["minimum_distance"] / random for name, row in rows.items()}
    return {
        "benchmark": "sampling",
        "seed": seed,
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "numpy": metadata.version("numpy"),
            "scipy": metadata.version("scipy"),
        },
        "sizes": results,
        "ratios": ratios,
    }


def show(result: dict) -> None:
    """The same for people."""
    columns = ("radius", "minimum_distance", "length_of_mean", "covariance_error")
    print(f"{'N':>6} {'':8}" + "".join(f"{name:>18}" for name in columns) + f"{'us a latent':>14}{'us alone':>10}")
    for size, case in result["sizes"].items():
        for name, row in case["strategies"].items():
            cells = "".join(f"{row[column]:18.3g}" for column in columns)
            print(f"{size:>6} {name:8}{cells}{1e6 * row['seconds_a_latent']:14.0f}{1e6 * row['seconds_alone']:10.0f}")
    print("\nminimum distance of the first 2048 (1024 at N = 512); mean and covariance of 2N latents, a block of UDS")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--sizes", nargs="+", type=int, choices=SHAPES, default=list(SHAPES), help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    result = measure(options.sizes, options.seed)
    print(json.dumps(result, indent=2)) if options.json else show(result)


if __name__ == "__main__":
    main()
