"""A recipe is a YAML: everything that decides what a reconstruction network becomes, and the call that trains it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from ..checkpoint import load_into, load_weights, save_weights
from ..config import Params, load
from ..nets.residual_unet import ResidualUNetShape
from ..rng import generator
from ..skulls.defects import STYLES
from ..train import TrainResult, load_players, train
from .atlas_making import AtlasRecipe, without_each
from .bent import bend
from .box import boxed
from .cases import SkullPool, Strength, draw_batch
from .closer_cases import CloserPool, draw_closer
from .dry import as_dry_skull
from .learner import SUGGESTIONS, ReconstructionLearner
from .model import Model, load_model, read_networks, save_closer
from .suggested import AGAIN, SuggestedPool, draw_suggested
from .thin_walls import with_thin_walls

_FILES = {"heads", "start_from", "atlas", "closer_to"}  # names of somebody's files, which tell others nothing
_VALIDATION_SEED, _VALIDATION_SKULLS, _VALIDATION_CASES = 990_001, 8, 16  # phantoms that no training draws


class Recipe(Params):
    """What a reconstruction network is trained on, how long, and how large it is."""

    side: int = Field(ge=16, description="voxels along each edge of the cube")
    steps: int = Field(gt=0)
    batch: int = Field(default=2, gt=0)
    seed: int = Field(default=0, ge=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    cross_entropy: float = Field(default=0.5, ge=0)
    ema: float = Field(default=0.998, ge=0, lt=1)
    widths: tuple[int, ...] = (24, 64, 128, 192)
    blocks: int = Field(default=1, gt=0)
    patch: int = Field(default=2, gt=0)
    wide_groups: bool = Field(default=False, description="norms in groups of 16 channels: quicker on a CPU")
    symmetry: bool = True
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    phantoms: int = Field(default=100, ge=0)
    phantom_seed: int = Field(default=0, ge=0)
    phantom_spacing_mm: float = Field(default=1.2, gt=0, le=8, description="voxels the phantoms are made with")
    heads: tuple[Path, ...] = Field(default=(), description="files of complete real skulls")
    head_share: float = Field(default=0.5, ge=0, le=1, description="share of the cases cut from real skulls")
    bent: int = Field(default=0, ge=0, description="heads bent onto the phantoms and onto each other")
    bent_share: float = Field(default=0.8, ge=0, le=1, description="share of the cases from real skulls that are bent")
    dry: tuple[str, ...] = Field(default=(), description="heads, by name, shown as dry skulls too: no jaw, no neck")
    dry_share: float = Field(default=0.25, ge=0, le=1, description="share of the cases from real skulls that are dry")
    thin_walls: int = Field(
        default=0, ge=0, description="times that each dry head is there, with other thin walls in its face; 0: as it is"
    )
    pool_side: int = Field(default=128, ge=16)
    suggested: int = Field(default=0, ge=0, description="cases with suggestions, made once; 0: none, and none shown")
    atlas: Path | None = Field(default=None, description="recipe of the atlas, for one without each head that is in it")
    faces: tuple[str, ...] | None = Field(
        default=None, description="heads with a face, by name: only these and phantoms get facial defects; None: all"
    )
    boxed: bool = Field(default=False, description="of each cube only the box around its bone; needs suggestions")
    strength: Strength = Strength()
    moved: Strength = Field(default=AGAIN, description="how far a case with suggestions is moved at each draw")
    styles: tuple[str, ...] = STYLES
    start_from: Path | None = Field(default=None, description="weights of an earlier recipe")
    closer_to: Path | None = Field(
        default=None, description="weights of a network, at whose answers this one looks closer: see closer"
    )

    @model_validator(mode="after")
    def _box_knows_the_vertex(self) -> "Recipe":
        if self.boxed and not self.suggested:
            raise ValueError("boxed is true, but suggested is 0; without an atlas a box would cut off a missing vertex")
        return self

    @model_validator(mode="after")
    def _closer_look_is_at_a_box(self) -> "Recipe":
        if self.closer_to and (self.symmetry or self.boxed or not self.suggested):
            raise ValueError(
                f"closer_to is {self.closer_to}, with symmetry {self.symmetry}, boxed {self.boxed} and suggested "
                f"{self.suggested}; a closer look needs suggestions and no mirror image: set suggested above 0, "
                "symmetry and boxed to false"
            )
        return self

    @property
    def shape(self) -> ResidualUNetShape:
        channels = 1 + self.symmetry + SUGGESTIONS * (self.suggested > 0) + (self.closer_to is not None)
        return ResidualUNetShape(channels, 1, self.widths, self.blocks, self.patch, self.wide_groups)


def pools(recipe: Recipe, *, cache: Path | None = None) -> tuple[list[SkullPool], list[float]]:
    """The skulls a recipe trains on, and how often each pool is drawn from.

    Raises ValueError when the recipe names neither phantoms nor heads, bends heads and names none, or dries one or says
    that one has a face that is not among its heads; VolumeError for a head that can't be read.
    """
    from .. import volume

    if not recipe.phantoms and not recipe.heads:
        raise ValueError("the recipe names no skulls: set phantoms above 0 or list files of complete skulls in heads")
    if recipe.bent and not recipe.heads:
        raise ValueError(f"bent is {recipe.bent}, but heads is empty; list files of complete skulls to be bent")
    for key, named in (("dry", recipe.dry), ("faces", recipe.faces or ())):
        unknown = set(named) - {path.stem for path in recipe.heads}
        if unknown:
            raise ValueError(f"{key} names {', '.join(sorted(unknown))}; name heads of the recipe by their file stems")
    found, shares = [], []
    if recipe.phantoms:
        found.append(_phantom_pool(recipe, recipe.phantoms, recipe.phantom_seed, cache))
        shares.append(1 - recipe.head_share if recipe.heads else 1.0)
    if recipe.heads:
        all_real = recipe.head_share if recipe.phantoms else 1.0
        real = all_real * (1 - recipe.dry_share) if recipe.dry else all_real
        names = [path.stem for path in recipe.heads]
        found.append(SkullPool.of([volume.read(path) for path in recipe.heads], recipe.pool_side, heads=names))
        heads = found[-1].occupancy
        shares.append(real * (1 - recipe.bent_share) if recipe.bent else real)
    if recipe.bent:
        onto = np.concatenate([pool.occupancy for pool in found])
        bent = bend(heads, onto, recipe.bent, seed=recipe.phantom_seed, cache=cache)
        found.append(SkullPool(bent, [names[item % len(names)] for item in range(recipe.bent)]))
        shares.append(real * recipe.bent_share)
    if recipe.dry:
        found.append(_dry_pool(recipe, {name: heads[names.index(name)] for name in recipe.dry}))
        shares.append(all_real - real)
    return found, shares


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
        held_out = _phantom_pool(recipe, _VALIDATION_SKULLS, _VALIDATION_SEED, cache)
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
        load_into(unet, shown_more(weights, unet.state_dict()), name="unet", path=recipe.start_from)
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


def shown_more(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of a network that was shown fewer channels, for one with the state `own`: what is new counts 0 at first.

    The new channels are the last ones. What differs otherwise stays as it is, for `load_into` to say.
    """
    widened = dict(weights)
    for name, kernel in weights.items():
        wanted = own[name].shape if name in own else kernel.shape
        if kernel.ndim == len(wanted) > 1 and kernel.shape[1] < wanted[1]:
            missing = kernel.new_zeros(kernel.shape[0], wanted[1] - kernel.shape[1], *kernel.shape[2:])
            widened[name] = torch.cat([kernel, missing], dim=1)
    return widened


def _batches(
    recipe: Recipe, skulls: list[SkullPool], shares: list[float], cache: Path
) -> Callable[[int], tuple]:
    if recipe.suggested:
        settings = {
            "count": recipe.suggested, "side": recipe.pool_side, "seed": recipe.seed, "strength": recipe.strength,
            "styles": recipe.styles, "cache": cache, "faces": recipe.faces,
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


def _dry_pool(recipe: Recipe, heads: Mapping[str, np.ndarray]) -> SkullPool:
    dry = {name: as_dry_skull(head) for name, head in heads.items()}
    if not recipe.thin_walls:
        return SkullPool(np.stack(list(dry.values())), tuple(dry))
    drawn = [(name, item) for name in dry for item in range(recipe.thin_walls)]
    walled = [with_thin_walls(dry[name], generator(recipe.seed, item)) for name, item in drawn]
    return SkullPool(np.stack(walled), [name for name, _ in drawn])


def _phantom_pool(recipe: Recipe, count: int, seed: int, cache: Path | None) -> SkullPool:
    return SkullPool.of_phantoms(
        count, seed=seed, side=recipe.pool_side, spacing_mm=recipe.phantom_spacing_mm, cache=cache
    )


def _tensors(pair: tuple[np.ndarray, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(np.ascontiguousarray(pair[0])), torch.from_numpy(np.ascontiguousarray(pair[1]))
