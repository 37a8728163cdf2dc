"""How does a generator become trained? Stage by stage, by the one loop, on cases that come from (seed, step) alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..config import load
from ..generators import Generator, Stage, sample, volume_level
from ..rng import generator as stream
from ..train import TrainResult, load_players, train
from .learning_cases import Cases, held_out_cases, training_cases
from .recipe import GeneratorRecipe
from .trained import TrainedGenerator, load_generator, save_generator, untrained

_STREAM = 1_000_007  # ends the key of a step's numbers
_LEVEL_SAMPLES, _LEVEL_CASES, _LEVEL_SEED = 32, 100, 990_002
_TARGETS = {"generator": ("dice", "highest"), "autoencoder": ("dice", "highest"), "prior": ("nats", "lowest")}


def train_generator(
    recipe: GeneratorRecipe,
    folder: Path | str,
    *,
    cache: Path,
    accelerator: str = "auto",
    validate_every: int | None = None,
    workers: int = 0,
    checkpoint_minutes: float = 5.0,
    progress: bool = True,
) -> TrainResult:
    """Train (or resume) every stage, each in a folder of its own; ends with folder/generator.safetensors.

    cache: folder in which phantoms and their cases are kept between runs. Returns the last stage's result. Raises as
    `build`, `training_cases`, `load_generator` and `train` do.
    """
    folder = Path(folder)
    generator = untrained(recipe, folder)
    cases = training_cases(recipe, cache=cache, folder=folder, progress=progress)
    held_out = held_out_cases(recipe, cache=cache, progress=progress) if validate_every else None
    device = torch.device("cuda" if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu")
    for stage in generator.stages():
        validated = held_out is not None and hasattr(stage.learner, "validation")
        if validated:
            stage.learner.validation = torch.stack([held_out.tensor(n) for n in range(len(held_out))])
        generator.networks().to(device)
        if not stage.steps:
            _embedded(recipe, stage, cases, device, progress=progress)
            continue
        batches = _batches(recipe, stage, cases, device, progress=progress)
        result = train(
            stage.learner,
            batches,
            steps=stage.steps,
            folder=folder / stage.name,
            seed=recipe.seed,
            config=recipe.model_dump(mode="json") | {"stage": stage.name},
            accelerator=accelerator,
            precision=recipe.precision,
            clip_norm=recipe.clip_norm,
            ema_decay=recipe.ema or None,
            workers=workers,
            log_every=20,
            validate_every=validate_every if validated else None,
            target=_TARGETS[stage.name][0] if validated else None,
            goal=_TARGETS[stage.name][1] if validated else None,
            checkpoint_minutes=checkpoint_minutes,
            progress=progress,
        )
        load_players(result.last, stage.learner, averaged=recipe.ema > 0)
    level = _level(generator, cases)
    save_generator(folder / "generator.safetensors", generator, recipe, edge_mm=cases.edge_mm, level=level)
    return result


def train_method(
    method: str, *, recipes: Path | str, outputs: Path | str, cache: Path, **choices: Any
) -> TrainedGenerator:
    """Train recipes/METHOD.yaml in outputs/METHOD, and before it the generators that it begins with, if not there.

    A training that is done is only loaded. choices: of `train_generator`. Raises as it does; ConfigError for a recipe.
    """
    recipe, folder = load(Path(recipes) / f"{method}.yaml", GeneratorRecipe), Path(outputs) / method
    done = folder / "generator.safetensors"
    if done.exists() and load_generator(done).recipe == recipe:
        return load_generator(done)
    for needed in (recipe.autoencoder, recipe.start_from):
        there = None if needed is None else (folder / needed).resolve()
        if there and not there.exists():
            train_method(there.parent.name, recipes=recipes, outputs=outputs, cache=cache, **choices)
    train_generator(recipe, folder, cache=cache, **choices)
    return load_generator(done)


def stage_logs(folder: Path | str) -> dict[str, Path]:
    """The log.jsonl of each stage that was trained in a folder, by the stage's name, in the order of training."""
    logs = sorted(Path(folder).glob("*/log.jsonl"), key=lambda path: path.parent.name)
    return {path.parent.name: path for path in logs}


def _batches(
    recipe: GeneratorRecipe, stage: Stage, cases: Cases, device: torch.device, *, progress: bool
) -> Callable[[int], Any]:
    """Batch number -> cases (B, 2, n, n, n), or what the stage's networks make of them."""
    size, lock, kept = stage.batch or recipe.batch, Lock(), []

    def embedded() -> tuple[Tensor, ...]:
        with lock:  # batches may be made by several threads
            if not kept:
                kept.append(_embedded(recipe, stage, cases, device, progress=progress))
        return kept[0]

    def batch(step: int) -> Any:
        rng = stream(recipe.seed, step, _STREAM)
        numbers = rng.integers(len(cases), size=size).tolist()
        mirrored = (rng.random(size) < 0.5) & recipe.mirrored
        if stage.embed is not None:
            rows = [number + len(cases) * int(mirror) for number, mirror in zip(numbers, mirrored, strict=True)]
            return tuple(part[rows] for part in embedded())
        return torch.stack([cases.tensor(n, mirrored=m) for n, m in zip(numbers, mirrored, strict=True)])

    return batch


def _level(generator: Generator, cases: Cases) -> float:
    """The level at which samples have as much bone as the cases that it learnt from."""
    if not generator.can_draw:
        return 0.5
    numbers = torch.linspace(0, len(cases) - 1, min(_LEVEL_CASES, len(cases))).long().tolist()
    masks = cases.masks()
    voxels = sum(int(masks[number].sum()) for number in numbers) / len(numbers)
    return volume_level(sample(generator, range(_LEVEL_SAMPLES), seed=_LEVEL_SEED), voxels)


@torch.no_grad()
def _embedded(
    recipe: GeneratorRecipe, stage: Stage, cases: Cases, device: torch.device, *, progress: bool
) -> tuple[Tensor, ...]:
    """What the networks trained so far make of the stage's cases, and of their mirror images after them."""
    views: Sequence[bool] = (False, True) if recipe.mirrored else (False,)
    picked = torch.linspace(0, len(cases) - 1, min(stage.of or len(cases), len(cases))).round().long().tolist()
    todo = [(number, mirrored) for mirrored in views for number in picked]
    made = []
    for number, mirrored in tqdm(todo, desc=f"embeddings for the {stage.name}", unit="case", disable=not progress):
        made.append(stage.embed(cases.tensor(number, mirrored=mirrored)[None].to(device)))
    whole = tuple(torch.cat(parts) for parts in zip(*made, strict=True))
    if stage.embedded:
        stage.embedded(*whole)
    return tuple(part.cpu() for part in whole)
