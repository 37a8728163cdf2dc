"""One row, one seed: a network trained on the row's mix, then scored on every test case; a metrics.json is left.

All rows have the same steps, batches and network: a row differs from another in what it is shown, and in nothing else.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from tqdm.auto import tqdm

from ..config import Params
from ..metrics import evaluate
from ..nets.residual_unet import ResidualUNetShape
from ..reconstruction.learner import ReconstructionLearner, network_input
from ..reconstruction.mix import MixRecipe, StoredCases, as_case, train_mix
from ..reconstruction.predict import postprocess
from ..skulls.defects import Case
from ..skulls.store import CaseStore
from ..train import TrainResult, load_players
from ..volume import Volume

_SHOWN = "shown.json"  # beside a training's checkpoint: how long it took, and how many cases of each pool it was shown


class Mix(Params):
    """What a row trains on, and how."""

    training: MixRecipe
    real: Path = Field(description="folder of the real cases")
    sets: dict[str, Path] = Field(default={}, description="folders of the synthetic sets")
    counts: dict[str, int] = Field(default={}, description="cases of each, at most")


@dataclass(frozen=True)
class Trained:
    """A trained row: what came of the training, and how many cases of each pool it was shown."""

    result: TrainResult
    real_cases: int
    sets: Mapping[str, int]


@dataclass(frozen=True)
class Reconstructed:
    """A test case, what was proposed for it, and how near that came: the entry of metrics.json."""

    case: Case
    proposed: Volume
    scores: Mapping[str, Any]


def pools(mix: Mix) -> dict[str, StoredCases]:
    """The cases of a mix by set, the real ones first; of a set that the gates left nothing of, none.

    Raises ValueError where there is no real case.
    """
    found = {"real": StoredCases(CaseStore.open(mix.real))}
    if not len(found["real"]):
        raise ValueError(f"{mix.real} holds no case to train on; make it first, with other cases or a finer cube")
    for name, folder in mix.sets.items():
        store = CaseStore.open(folder)
        found[name] = StoredCases(store, store.present()[: mix.counts[name]])
    return found


def train_row(mix: Mix, folder: Path | str, *, accelerator: str = "auto", progress: bool = True) -> Trained:
    """Train, or go on from the last checkpoint. Each pool is drawn from in proportion to its cases.

    A set without a case adds nothing, and metrics.json says 0 of it: that too is something found out about who made it.
    Raises as `pools` and `train_mix`.
    """
    shown = pools(mix)
    given = [pool for pool in shown.values() if len(pool)]
    result = train_mix(mix.training, given, folder, accelerator=accelerator, progress=progress)
    sets = {name: len(pool) for name, pool in shown.items()}
    trained = Trained(result, sets.pop("real"), sets)
    _write(Path(folder) / _SHOWN, {"seconds": result.seconds, "real_cases": trained.real_cases, "sets": sets})
    return trained


def trained_network(training: MixRecipe, folder: Path | str) -> Callable[[np.ndarray], np.ndarray]:
    """What a training left, as a function: defective skull, bool (n, n, n) -> what it takes for missing, the same."""
    shape = ResidualUNetShape(1, 1, training.widths, training.blocks, training.patch)
    learner = ReconstructionLearner(
        shape, steps=training.steps, learning_rate=training.learning_rate, symmetry=False
    )
    load_players(Path(folder) / "last.safetensors", learner, averaged=training.ema > 0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unet = learner.players["unet"].to(device).eval()

    @torch.no_grad()
    def propose(defective: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(defective.astype(np.float32))[None, None].to(device)
        return unet(network_input(given, symmetry=False))[0, 0].float().cpu().numpy() > 0

    return propose


def score_row(
    propose: Callable[[np.ndarray], np.ndarray],
    tests: Mapping[str, Path],
    *,
    tolerance_mm: float = 1.0,
    progress: bool = True,
) -> list[Reconstructed]:
    """Every case of the test sets, by name of the distribution, on the grid of its cube.

    Scores and distances of empty proposals are those of cranial.metrics: 0, and the cube's diagonal.
    """
    todo = [(name, store, item) for name, store in _opened(tests) for item in store.present()]
    done = []
    for name, store, item in tqdm(todo, desc="test cases", unit="case", disable=not progress):
        stored = store.read(item)
        edge_mm = store.layout.spacing_mm[0] * store.layout.shape[0]
        case = as_case(np.stack([stored.defective, stored.defect]), edge_mm=edge_mm, style=stored.provenance["style"])
        proposed = case.defective.with_mask(postprocess(propose(stored.defective), case.defective))
        found = evaluate(proposed, case.implant, defective=case.defective, tolerance_mm=tolerance_mm)
        scores = {
            "distribution": name, "skull": stored.provenance["skull"], "case": item, "style": case.style,
            "dice": found.dsc, "border_dice": found.bdsc, "surface_dice": found.surface_dice,
            "hd95_mm": found.hd95_mm, "msd_mm": found.msd_mm, "empty": found.empty,
        }  # fmt: skip
        done.append(Reconstructed(case, proposed, scores))
    return done


def facts_of(mix: Mix, training: Path | str) -> dict[str, Any]:
    """What metrics.json says of a training in its folder: with which seed, on how many cases, how long."""
    shown = json.loads((Path(training) / _SHOWN).read_text(encoding="utf-8"))
    recipe = mix.training
    return {
        "seed": recipe.seed, "geometric": recipe.geometric, "sets": shown["sets"], "real_cases": shown["real_cases"],
        "steps": recipe.steps, "batch": recipe.batch, "seconds": shown["seconds"],
    }  # fmt: skip


def write_metrics(path: Path | str, facts: Mapping[str, Any], scored: Sequence[Reconstructed]) -> Path:
    """metrics.json, whole or not at all. facts: row, label, tables, scale, and `facts_of` its training."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return _write(path, {**facts, "cases": [each.scores for each in scored]})


def best_to_worst(scored: Sequence[Reconstructed], count: int = 4) -> list[Reconstructed]:
    """So many cases, evenly from the best Dice to the worst."""
    ordered = sorted(scored, key=lambda each: -each.scores["dice"])
    return [ordered[place] for place in np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)]


def _write(path: Path, values: Mapping[str, Any]) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def _opened(tests: Mapping[str, Path]) -> list[tuple[str, CaseStore]]:
    return [(name, CaseStore.open(folder)) for name, folder in tests.items()]
