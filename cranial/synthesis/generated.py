"""Synthetic cases by a trained generator: a latent of its strategy, decoded, and kept if it is fit to learn from.

Item i comes from (seed, i) and the generator's weights alone. A case that fails a gate, is a copy of a case that the
generator was trained on, or of a size that none of them comes near, is noted with its reason and not written.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field
from safetensors import safe_open

from .. import __version__
from ..config import Params
from ..generators import as_masks, sample
from ..quality import COPY_DICE, NearestCase
from ..reconstruction.mix import as_case
from ..sampling import Strategy, check_fit, strategy
from ..skulls.store import CaseStore
from .filling import Item, Made, fill
from .gates import refusal
from .learning_cases import training_cases
from .trained import TrainedGenerator, load_generator

COPY = "copy of a training case"
SIZE = "skull of a size that no training case comes near"
_MARGIN = 1.25  # times the volume of the largest, or less than the smallest by as much


class GeneratedSet(Params):
    """What a set of generated cases is made from: everything that decides what item i is."""

    count: int = Field(gt=0, description="items of the set; those that fail stay empty")
    generator: Path = Field(description="a trained generator.safetensors")
    strategy: str | None = Field(default=None, description="sd, ud or uds, of latents that are Gaussian; None: sd")
    choices: dict[str, Any] = Field(default={}, description="of the strategy, such as interval or radius")
    copy_above: float | None = Field(default=COPY_DICE, gt=0, le=1, description="None: no look at training cases")
    seed: int = Field(default=0, ge=0)


def open_set(recipe: GeneratedSet, trained: TrainedGenerator, folder: Path | str) -> CaseStore:
    """The store of a recipe's cases, made if it is not there; StoreError if the folder holds another set."""
    side = trained.recipe.side
    described = recipe.model_dump(mode="json", exclude={"count", "generator"})
    with safe_open(recipe.generator, framework="pt") as file:  # of what is in it: its bytes change with every writing
        weights = file.metadata()["sha256"]
    return CaseStore.create(
        folder,
        count=recipe.count,
        shape=(side,) * 3,
        spacing_mm=(trained.edge_mm / side,) * 3,
        recipe={"method": trained.recipe.method, "generator": weights, **described},
    )


def make_generated_set(
    recipe: GeneratedSet,
    folder: Path | str,
    *,
    cache: Path,
    items: Iterable[int] | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Made:
    """Make the items (None: all) of a set that are still missing; the same call again goes on where one ended.

    Any number of processes and nodes may make one set, or each its part of the items. cache: where the cases that the
    generator was trained on are found, or made again. Raises ValueError for a strategy that does not fit the method,
    and as `load_generator`, `training_cases` and `open_set` do.
    """
    items = None if items is None else set(items)  # it may be an iterator
    trained = load_generator(recipe.generator)
    chosen = _strategy(recipe, trained)
    trained.generator.networks().to(_device(device))
    store = open_set(recipe, trained, folder)
    known = None
    if recipe.copy_above is not None and store.missing(items):
        folder = Path(recipe.generator).parent
        known = NearestCase(training_cases(trained.recipe, cache=cache, folder=folder, progress=progress).masks())

    def make(item: int) -> Item:
        return generated_case(recipe, trained, item, chosen=chosen, known=known)

    return fill(store, make, items=items, name=trained.recipe.method, progress=progress)


def generated_case(
    recipe: GeneratedSet,
    trained: TrainedGenerator,
    item: int,
    *,
    chosen: Strategy | None,
    known: NearestCase | None,
) -> Item:
    """(case, provenance, "") of an item, or (None, provenance, reason) where it is not fit to learn from."""
    probabilities = sample(trained.generator, [item], seed=recipe.seed, strategy=chosen)[0]
    masks = as_masks(probabilities, trained.level).numpy()
    case = as_case(masks, edge_mm=trained.edge_mm, style="generated")
    both = (probabilities >= trained.level).all(0).sum().item()
    provenance = {
        "method": trained.recipe.method, "strategy": recipe.strategy, "seed": recipe.seed, "item": item,
        "level": trained.level, "style": case.style, "affine": case.complete.affine.tolist(), "overlap_voxels": both,
        "cranial": __version__,
    }  # fmt: skip
    reason = refusal(*masks, voxel_mm3=case.complete.voxel_mm3)
    if reason is None and known is not None:
        nearest, score = known.dice(masks)
        provenance |= {"nearest_training_case": int(nearest), "nearest_dice": round(float(score), 4)}
        volumes = known.table.voxels[:, 2]  # of complete skulls
        if score > recipe.copy_above:
            reason = COPY
        elif not volumes.min() / _MARGIN <= masks.any(0).sum() <= _MARGIN * volumes.max():
            reason = SIZE
    if reason:
        return None, provenance, reason
    return case, provenance | {"defect_mm3": case.implant.volume_mm3}, ""


def _strategy(recipe: GeneratedSet, trained: TrainedGenerator) -> Strategy | None:
    if recipe.strategy is None:
        return None
    check_fit(recipe.strategy, method=trained.recipe.method, latent=trained.generator.latent)
    choices = dict(recipe.choices)
    if recipe.strategy == "uds":
        choices.setdefault("count", recipe.count)
    return strategy(recipe.strategy, **choices)


def _device(name: str):
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
