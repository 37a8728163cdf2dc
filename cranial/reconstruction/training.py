"""How is a network trained by its recipe? One call, which resumes, and the weights file that it ends with."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from ..checkpoint import load_into, load_weights, save_weights
from ..config import load
from ..train import TrainResult, load_players, train
from .atlas_making import AtlasRecipe, without_each
from .box import boxed
from .cases import SkullPool, draw_batch
from .closer_cases import CloserPool, draw_closer
from .grown import grown
from .learner import ReconstructionLearner
from .model import Model, load_model, read_networks, save_closer
from .recipe import Recipe, phantom_pool, pools
from .suggested import SuggestedPool, draw_suggested

_FILES = {"heads", "start_from", "atlas", "closer_to"}  # names of somebody's files, which tell others nothing
_VALIDATION_SEED, _VALIDATION_SKULLS, _VALIDATION_CASES = 990_001, 8, 16  # phantoms that no training draws


def train_reconstruction(
    recipe: Recipe,
    folder: Path | str,
    *,
    cache: Path | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
    workers: int = 0,
    validate_every: int | None = 500,
    checkpoint_minutes: float = 5.0,
    progress: bool = True,
) -> TrainResult:
    """Train (or resume) in `folder`; ends with folder/model.safetensors, ready for `reconstruct(model=...)`.

    cache: folder in which phantoms are kept between runs. Raises as `train` and `pools` do.
    """
    folder = Path(folder)
    skulls, shares = pools(recipe, cache=cache)
    kept_in = cache or folder
    validation = []
    if validate_every is not None:
        held_out = phantom_pool(recipe, _VALIDATION_SKULLS, _VALIDATION_SEED, cache)
        few = {"seed": _VALIDATION_SEED, "batch": 1, "suggested": min(recipe.suggested, _VALIDATION_CASES)}
        draw = _batches(recipe.model_copy(update=few), [held_out], [1.0], kept_in)
        validation = [draw(index) for index in range(_VALIDATION_CASES)]
    torch.manual_seed(recipe.seed)
    learner = ReconstructionLearner(
        recipe.shape,
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        symmetry=recipe.symmetry,
        suggested=recipe.suggested > 0,
        answered=recipe.closer_to is not None,
        cross_entropy=recipe.cross_entropy,
        validation=validation,
    )
    if recipe.start_from is not None:
        unet, weights = learner.players["unet"], _earlier(recipe.start_from, closer=recipe.closer_to is not None)
        load_into(unet, grown(weights, unet.state_dict()), name="unet", path=recipe.start_from)
    result = train(
        learner,
        _batches(recipe, skulls, shares, kept_in),
        steps=recipe.steps,
        folder=folder,
        seed=recipe.seed,
        config=recipe.model_dump(mode="json"),
        accelerator=accelerator,
        devices=devices,
        precision=recipe.precision,
        clip_norm=1.0,
        ema_decay=recipe.ema or None,
        workers=workers,
        log_every=20,
        validate_every=validate_every,
        target="dsc" if validation else None,
        goal="highest" if validation else None,
        checkpoint_minutes=checkpoint_minutes,
        progress=progress,
    )
    load_players(result.last, learner, averaged=recipe.ema > 0)
    save_model(folder / "model.safetensors", learner, recipe)
    return result


def save_model(path: Path, learner: ReconstructionLearner, recipe: Recipe) -> None:
    """Weights in half precision with what is needed to use them; of a closer look, with those it looks closer at."""
    unet = learner.players["unet"]
    if recipe.closer_to is not None:
        described = {"shape": recipe.shape.as_dict(), "recipe": recipe.model_dump(mode="json", exclude=_FILES)}
        return save_closer(path, unet, described, first=recipe.closer_to)
    described = {
        "architecture": "residual_unet",
        "shape": recipe.shape.as_dict(),
        "side": recipe.side,
        "symmetry": recipe.symmetry,
        "suggested": recipe.suggested > 0,
        "boxed": recipe.boxed,
        "recipe": recipe.model_dump(mode="json", exclude=_FILES),
        "trained_on": [f"{recipe.phantoms} phantoms"]
        + list(dict.fromkeys(path.stem for path in recipe.heads))
        + [f"{recipe.bent} bent heads"] * (recipe.bent > 0),
    }
    save_weights(path, unet, described, storage="float16")


def _batches(
    recipe: Recipe, skulls: list[SkullPool], shares: list[float], cache: Path
) -> Callable[[int], tuple]:
    if recipe.suggested:
        settings = {
            "count": recipe.suggested, "side": recipe.pool_side, "seed": recipe.seed, "strength": recipe.strength,
            "styles": recipe.styles, "cache": cache, "faces": recipe.faces, "own_face": recipe.own_face,
            "atlas": None if recipe.atlas is None else without_each(load(recipe.atlas, AtlasRecipe)),
        }  # fmt: skip
        if recipe.closer_to:
            near = CloserPool(skulls, shares, **settings, model=_first(recipe), multiple=recipe.shape.stride)
            return lambda index: _tensors(draw_closer(near, seed=recipe.seed, step=index, batch=recipe.batch))
        pool = SuggestedPool(skulls, shares, **settings)

        def suggested(index: int) -> tuple[torch.Tensor, torch.Tensor]:
            drawn = draw_suggested(
                pool, seed=recipe.seed, step=index, batch=recipe.batch, side=recipe.side, moved=recipe.moved
            )
            return _tensors(boxed(*drawn, recipe.shape.stride) if recipe.boxed else drawn)

        return suggested

    def batch(index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return _tensors(
            draw_batch(
                skulls,
                shares,
                seed=recipe.seed,
                step=index,
                batch=recipe.batch,
                side=recipe.side,
                strength=recipe.strength,
                styles=recipe.styles,
            )
        )

    return batch


def _earlier(path: Path, *, closer: bool) -> Mapping[str, torch.Tensor]:
    """Weights to start from; closer: those of the one that looks closer. Raises ValueError where the file has none."""
    if not closer:
        return load_weights(path)[0]
    near = read_networks(path)[1]
    if near is None:
        raise ValueError(f"start_from is {path}, and no network in it looks closer; name weights of such a recipe")
    return near.state_dict()


def _first(recipe: Recipe) -> Model:
    """The network at whose answers a recipe looks closer; ValueError where it is not one for the recipe's cases."""
    model = load_model(recipe.closer_to)
    if not model.suggested or model.side != recipe.side:
        raise ValueError(
            f"closer_to is {recipe.closer_to}, side is {recipe.side}; that network has side {model.side} and is shown "
            f"{'suggestions' if model.suggested else 'no suggestions'}: name one with suggestions, and its side"
        )
    return model


def _tensors(pair: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(np.ascontiguousarray(pair[0])), torch.from_numpy(np.ascontiguousarray(pair[1]))
