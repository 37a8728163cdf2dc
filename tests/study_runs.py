"""Runs of a study that nobody trained: metrics.json files with scores drawn from a seed, for tests of tables."""

import json
from pathlib import Path
from typing import Any

import numpy as np

STYLES = ("bilateral", "parietotemporal")


def metrics(row: str, seed: int, *, gain: float = 0.0, skulls: int = 12, **changes: Any) -> dict[str, Any]:
    """A metrics.json as a run writes it; gain: how much better its Dice is than that of the same case without."""
    cases = []
    for distribution, base in (("seen", 0.7), ("unseen", 0.5)):
        for skull in range(skulls):
            for number, style in enumerate(STYLES):
                case = np.random.default_rng([len(distribution), skull, number])  # the same whatever the row
                noise = np.random.default_rng([sum(map(ord, row)), seed, skull, number]).normal(0, 0.002)
                dice = float(np.clip(base + case.normal(0, 0.05) + gain + noise, 0, 1))
                cases.append({
                    "distribution": distribution, "skull": f"{distribution}_{skull}", "case": f"{skull}-{number}",
                    "style": style, "dice": dice, "border_dice": dice - 0.01, "surface_dice": dice / 2,
                    "hd95_mm": 10 * (1 - dice), "msd_mm": 2 * (1 - dice),
                })  # fmt: skip
    return {
        "row": row, "label": row.replace("_", " "), "tables": ["5"], "scale": "demo", "seed": seed,
        "geometric": "none", "sets": {}, "real_cases": 40, "steps": 100, "batch": 2, "seconds": 3.5, "cases": cases,
    } | changes  # fmt: skip


def write_run(folder: Path, row: str, seed: int, **changes: Any) -> Path:
    """Write it where a run does; returns the file."""
    path = folder / row / f"seed_{seed}" / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(metrics(row, seed, **changes)), encoding="utf-8")
    return path


def write_study(folder: Path) -> Path:
    """A study of five rows with two seeds each: better with more synthetic cases, plainly so with registration."""
    for seed in (0, 1):
        write_run(folder, "no_aug", seed, tables=["2", "5"])
        write_run(folder, "geo", seed, gain=0.0001, geometric="extreme", tables=["2", "5"])
        write_run(folder, "ir_100", seed, gain=0.02, sets={"ir": 100}, tables=["figure_5"])
        write_run(folder, "ir_1000", seed, gain=0.05, sets={"ir": 1000}, tables=["3", "5", "figure_5"])
    return folder
