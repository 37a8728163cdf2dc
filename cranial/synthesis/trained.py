"""A generator in a file: its networks, its recipe, and the size of its cube; a latent diffusion's autoencoder too."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ..checkpoint import CheckpointError, load_into, load_weights, save_weights
from ..generators import GENERATORS, Autoencoder, GaussianAutoencoder, Generator, build
from .recipe import GeneratorRecipe

SHIPPED = Path(__file__).parent.parent / "weights" / "generator.safetensors"


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator, what it was made with, the size of its cube, and from which probability on a sample is bone."""

    generator: Generator
    recipe: GeneratorRecipe
    edge_mm: float
    level: float = 0.5


def untrained(recipe: GeneratorRecipe, folder: Path) -> Generator:
    """The generator of a recipe, with the weights that its seed gives, or those that it starts from.

    Raises as `build` and `load_generator`, and ValueError for a start that does not fit.
    """
    torch.manual_seed(recipe.seed)
    given = None
    if recipe.autoencoder is not None:  # resolved: the way there may lead through a folder that is still to be made
        given = load_generator((folder / recipe.autoencoder).resolve()).generator
    made = _built(recipe, given)
    if recipe.start_from is not None:
        first = load_generator((folder / recipe.start_from).resolve())
        gaussian = all(isinstance(each, GaussianAutoencoder) for each in (made, first.generator))
        if first.recipe.shape != recipe.shape or not gaussian:
            raise ValueError(
                f"{recipe.method} of shape {recipe.shape} cannot start from {recipe.start_from}, a "
                f"{first.recipe.method} of shape {first.recipe.shape}; give a VAE of the same shape, or leave it out"
            )
        made.start_from(first.generator)
    return made


def save_generator(
    path: Path, generator: Generator, recipe: GeneratorRecipe, *, edge_mm: float, level: float = 0.5
) -> Path:
    """Everything that `load_generator` needs, in one file: a latent diffusion's autoencoder too."""
    inner = generator.autoencoder if GENERATORS[recipe.method][1] else None
    described = {
        "recipe": recipe.model_dump(mode="json"),
        "edge_mm": edge_mm,
        "level": level,
        "autoencoder": inner and inner.recipe.model_dump(mode="json"),
    }
    generator.recipe = recipe
    return save_weights(path, generator.networks(), described, storage="float32")


def load_generator(path: Path | str | None = None) -> TrainedGenerator:
    """What `train_generator` left; None: the one that is shipped. Raises CheckpointError for a file that is none."""
    path = SHIPPED if path is None else path
    weights, described = load_weights(path)
    if not {"recipe", "edge_mm", "level", "autoencoder"} <= described.keys():
        raise CheckpointError(f"{path} holds weights, but not of a generator; give a training's generator.safetensors")
    recipe = GeneratorRecipe.model_validate(described["recipe"])
    inner = None
    if described["autoencoder"]:
        inner = _built(GeneratorRecipe.model_validate(described["autoencoder"]), None)
    generator = _built(recipe, inner)
    load_into(generator.networks(), weights, name=recipe.method, path=path)
    generator.networks().eval()
    return TrainedGenerator(generator, recipe, described["edge_mm"], described["level"])


def _built(recipe: GeneratorRecipe, autoencoder: Autoencoder | None) -> Generator:
    made = build(
        recipe.method, recipe.shape, side=recipe.side, settings=recipe.settings, steps=recipe.steps,
        learning_rate=recipe.learning_rate, autoencoder=autoencoder,
    )  # fmt: skip
    made.recipe = recipe
    return made
