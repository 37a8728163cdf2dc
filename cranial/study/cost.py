"""What would the whole study cost at its own resolution? Operations and bytes, counted; a GPU, assumed.

A part takes the longer of two times: its operations at the GPU's rate of arithmetic, its bytes at that of its memory
(a roofline), of which a share is assumed to be reached. What no count shows: launches of small kernels, data that do
not arrive in time, memory that does not suffice, runs that had to be repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm.auto import tqdm

from ..config import load
from ..generators import Generator, Stage, build
from ..nets.blocks import parameter_count
from ..nets.residual_unet import ResidualUNetShape
from ..reconstruction.learner import ReconstructionLearner
from ..synthesis.recipe import GeneratorRecipe
from .recipe import Study
from .work import Work, at_side, counted, step_work

_CASE_SIDES, _LATENT_SIDES = (16, 32), (4, 8)  # small, and fit for every network: the rest follows
DESCENT_BYTES = 4 * (2 * 9 + 2)  # a voxel and iteration: field and two moments read and written, two images read
_KEPT = 4  # a checkpoint: weights, their average, two moments


@dataclass(frozen=True)
class Machine:
    """What a GPU can do at best."""

    name: str
    operations_a_second: float
    bytes_a_second: float


A100 = Machine("A100 (40 GB), bfloat16", 312e12, 1.555e12)


@dataclass(frozen=True)
class Part:
    """Something that is done so many times, each time with this work, and the files that are left, of all times."""

    name: str
    times: float
    work: Work
    disk_bytes: float = 0.0

    def hours(self, machine: Machine, *, utilisation: float) -> float:
        """Of one GPU that reaches this share of its roofline. Raises ValueError for a share not in (0, 1]."""
        if not 0 < utilisation <= 1:
            raise ValueError(f"utilisation is {utilisation}; give the share of the roofline, above 0 and at most 1")
        arithmetic = self.work.operations / machine.operations_a_second
        return self.times * max(arithmetic, self.work.bytes / machine.bytes_a_second) / utilisation / 3600

    def is_arithmetic(self, machine: Machine) -> bool:
        """Whether arithmetic takes longer than memory."""
        return self.work.operations / machine.operations_a_second >= self.work.bytes / machine.bytes_a_second


def study_parts(study: Study, recipes: Path, *, bytes_a_case: float, progress: bool = True) -> list[Part]:
    """Every part of a study, in order. recipes: folder of the generators' YAMLs; bytes_a_case: of a stored case.

    Raises ConfigError for a generator without a recipe.
    """
    parts = [_registration(study, bytes_a_case)] if any(entry.alphas for entry in study.sets.values()) else []
    asked = [entry for entry in study.sets.values() if entry.generator]
    for name in tqdm(_trained(recipes, [entry.generator for entry in asked]), desc="counting", disable=not progress):
        recipe = _recipe(study, recipes, name)
        inner = _recipe(study, recipes, recipe.autoencoder.parent.name) if recipe.autoencoder else None
        samples = sum(entry.count for entry in asked if entry.generator == name)
        parts += _generator_parts(name, recipe, inner, samples, bytes_a_case)
    return [*parts, _rows(study)]


def total_hours(parts: Sequence[Part], machine: Machine, *, utilisation: float) -> float:
    """GPU-hours of all parts."""
    return sum(part.hours(machine, utilisation=utilisation) for part in parts)


def _registration(study: Study, bytes_a_case: float) -> Part:
    """The descent of all pairs: memory is all that counts, for hardly anything is computed a voxel."""
    pairs, voxels = 0, 0.0
    for entry in study.sets.values():
        if entry.alphas:
            sides = [study.side / 2**level for level in reversed(range(len(entry.iterations)))]
            each = sum(count * side**3 for count, side in zip(entry.iterations, sides, strict=True))
            pairs, voxels = pairs + entry.count, voxels + entry.count * each
    return Part("registration", pairs, Work(0.0, DESCENT_BYTES * voxels / pairs), pairs * bytes_a_case)


def _rows(study: Study) -> Part:
    training = study.training
    shape = ResidualUNetShape(1, 1, training.widths, training.blocks, training.patch)
    learner = ReconstructionLearner(shape, steps=1, learning_rate=1e-3, symmetry=False)
    runs = sum(len(study.seeds if entry.seeds is None else entry.seeds) for entry in study.rows.values())

    def step(side: int) -> Work:
        return step_work(learner, (torch.zeros(1, 1, *[side] * 3),) * 2, step=0)

    files = runs * _KEPT * 4 * parameter_count(learner.players["unet"])
    each = at_side(step, study.side, small=_CASE_SIDES)
    return Part("reconstruction, training", runs * training.steps * training.batch, each, files)


def _trained(recipes: Path, names: Sequence[str]) -> list[str]:
    """These generators and those that they stand on, each once, what is needed first."""
    found: list[str] = []
    for name in names:
        recipe = load(recipes / f"{name}.yaml", GeneratorRecipe)
        before = [path.parent.name for path in (recipe.autoencoder, recipe.start_from) if path]
        found += [each for each in [*_trained(recipes, before), name] if each not in found]
    return found


def _recipe(study: Study, recipes: Path, name: str) -> GeneratorRecipe:
    recipe = load(recipes / f"{name}.yaml", GeneratorRecipe)
    return recipe.model_copy(update={"side": study.side, "steps": max(1, round(study.effort * recipe.steps))})


def _generator_parts(
    name: str, recipe: GeneratorRecipe, inner: GeneratorRecipe | None, samples: int, bytes_a_case: float
) -> list[Part]:
    """Its trainings, then its samples."""
    full = _built(recipe, recipe.side, inner)
    stages = [stage for stage in full.stages() if stage.steps]  # one without steps only looks at the embeddings
    parts = []
    for stage in stages:
        if stage.embed is None:
            turns = 1 + recipe.settings.get("critic_turns", 0)
            each = at_side(lambda side, turns=turns: _case_step(recipe, side, turns), recipe.side, small=_CASE_SIDES)
        else:
            each = at_side(lambda side, of=stage: _latent_step(of, full, side), full.latent_shape[-1],
                           small=_LATENT_SIDES)  # fmt: skip
        what = f"{name}, training" + (f" of the {stage.name}" if len(stages) > 1 else "")
        weights = sum(parameter_count(network) for network in stage.learner.players.values())
        parts.append(Part(what, stage.steps * (stage.batch or recipe.batch), each, _KEPT * 4 * weights))
    if not samples:
        return parts
    decode = at_side(lambda side: _decoding(inner or recipe, side), recipe.side, small=_CASE_SIDES)
    return [*parts, Part(f"{name}, sampling", samples, decode + _drawing(full), samples * bytes_a_case)]


def _built(recipe: GeneratorRecipe, side: int, inner: GeneratorRecipe | None = None) -> Generator:
    given = None if inner is None else _built(inner, side)
    settings = {name: value for name, value in recipe.settings.items() if name != "fitted"}  # needs large embeddings
    torch.manual_seed(0)
    return build(recipe.method, recipe.shape, side=side, settings=settings, steps=recipe.steps,
                 learning_rate=recipe.learning_rate, autoencoder=given)  # fmt: skip


def _case_step(recipe: GeneratorRecipe, side: int, turns: int) -> Work:
    """One case, one step, late in the training, when every loss is on; the mean of a critic's turns and the other."""
    generator = _built(recipe, side)
    late = (recipe.steps - 1) // turns * turns
    return step_work(generator, torch.full((1, 2, side, side, side), 0.5), step=late, steps=turns)


def _latent_step(stage: Stage, generator: Generator, side: int) -> Work:
    """One embedding, one step of what is trained on embeddings."""
    if stage.name == "prior":
        return step_work(stage.learner, (torch.zeros(1, side, side, side, dtype=torch.int64),), step=0)
    generator.scale.width.fill_(1.0)
    latents = torch.zeros(1, generator.latent_shape[0], side, side, side)
    return step_work(stage.learner, (latents, torch.ones_like(latents)), step=0)


def _drawing(generator: Generator) -> Work:
    """One latent: nothing for a normal one; DDIM's steps; each code of a prior, once."""
    side = generator.latent_shape[-1]
    if hasattr(generator, "ddim_steps"):
        net, channels = generator.players["denoiser"], generator.latent_shape[0]

        def denoise(side: int) -> Work:
            return counted(torch.no_grad()(lambda: net(torch.zeros(1, channels, side, side, side), torch.zeros(1))))

        return generator.ddim_steps * at_side(denoise, side, small=_LATENT_SIDES)
    if getattr(generator, "prior", None) is not None:
        net = generator.prior.players["prior"]

        def predict(side: int) -> Work:
            return counted(torch.no_grad()(lambda: net(torch.zeros(1, side, side, side, dtype=torch.int64))))

        return at_side(predict, side, small=_LATENT_SIDES)
    return Work()


def _decoding(recipe: GeneratorRecipe, side: int) -> Work:
    generator = _built(recipe, side)
    return counted(torch.no_grad()(lambda: generator.decode(torch.zeros(1, *generator.latent_shape))))
