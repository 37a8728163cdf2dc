"""What does a job cost? From times that were measured once, each with its source; a guess to plan with, no promise."""

from dataclasses import dataclass

from ..synthesis.recipe import GeneratorRecipe
from .recipe import CaseSource, SetEntry, Study

# Assumed, not measured: an A100 against one core of the machine that the times are from, in 3-D convolutions.
GPU_TIMES = 150.0
START_SECONDS = 12.0  # of a notebook: kernel, torch, figures (papermill, two cores)
MB_A_CASE = 0.065  # of a stored case at 256^3, as cranial/skulls/store.py packs it


@dataclass(frozen=True)
class Rate:
    """Core-seconds of one unit of work at one side of the cube; more voxels take more in proportion."""

    seconds: float
    side: int
    unit: str
    source: str

    def core_seconds(self, units: float, side: int) -> float:
        """What so many units take at another side."""
        return units * self.seconds * (side / self.side) ** 3


_TRAINED = "log.jsonl of the training of params/laptop/generators, two cores"
_MEASURED = "cranial batch demo, one core"
RATES = {
    "vae": Rate(0.20, 64, "case and step", _TRAINED),
    "vqvae": Rate(0.21, 64, "case and step", _TRAINED),
    "intro_vae": Rate(0.63, 64, "case and step", _TRAINED),
    "soft_intro_vae": Rate(0.71, 64, "case and step", _TRAINED),
    "wgan_gp": Rate(0.26, 64, "case and step, critic turns included", _TRAINED),
    "ldm_vae": Rate(0.036, 64, "case and step", _TRAINED),
    "ldm_vqvae": Rate(0.07, 64, "case and step", _TRAINED),
    "phantom": Rate(1.0, 64, "phantom skull", _MEASURED),
    "case": Rate(0.1, 64, "case drawn, laid and stored", _MEASURED),
    "register": Rate(1.0, 32, "pair, 200 iterations", _MEASURED),
    "sample": Rate(0.1, 32, "case sampled, compared and stored", _MEASURED),
    "reconstruct": Rate(0.1, 32, "case and step", _MEASURED),
    "evaluate": Rate(0.1, 32, "test case", _MEASURED),
}


@dataclass(frozen=True)
class Cost:
    """What a job is expected to take; core_seconds: without a GPU, even where it is to have one."""

    core_seconds: float
    disk_mb: float = 0.0

    def shared(self, parts: int) -> "Cost":
        """What one of so many jobs takes."""
        return Cost((self.core_seconds - START_SECONDS) / parts + START_SECONDS, self.disk_mb / parts)


def prepare(study: Study, source: CaseSource) -> Cost:
    """Of a set of real cases; of a dataset's as if it were of 100 skulls with five holes."""
    skulls = source.phantoms or 100
    cases = source.cases or skulls * (5 if source.dataset else len(study.styles))
    seconds = _core_seconds("phantom", skulls, study.side) + _core_seconds("case", cases, study.side)
    return Cost(START_SECONDS + seconds, _disk_mb(cases, study.side))


def generator(recipe: GeneratorRecipe) -> Cost:
    """Of a generator's training; a VQVAE's prior counted as steps of latent diffusion, which has an embedding too."""
    seconds = _core_seconds(recipe.method, recipe.steps * recipe.batch, recipe.side)
    prior = recipe.settings.get("prior_steps", 0) * recipe.settings.get("prior_batch", recipe.batch)
    return Cost(START_SECONDS + seconds + _core_seconds("ldm_vqvae", prior, recipe.side), 40.0)


def registered(study: Study, entry: SetEntry) -> Cost:
    """Of a set by registration."""
    seconds = _core_seconds("register", entry.count * sum(entry.iterations) / 200, study.side)
    return Cost(START_SECONDS + seconds, _disk_mb(entry.count, study.side))


def sampled(study: Study, entry: SetEntry) -> Cost:
    """Of a set by a generator."""
    seconds = _core_seconds("sample", entry.count, study.side)
    return Cost(START_SECONDS + seconds, _disk_mb(entry.count, study.side))


def trained(study: Study) -> Cost:
    """Of a row's training with one seed."""
    seconds = _core_seconds("reconstruct", study.training.steps * study.training.batch, study.side)
    return Cost(START_SECONDS + seconds, 15.0)


def evaluated(study: Study) -> Cost:
    """Of a row's scores with one seed."""
    cases = sum(source.cases or (source.phantoms or 20) * len(study.styles) for source in study.tests.values())
    return Cost(START_SECONDS + _core_seconds("evaluate", cases, study.side), 1.0)


def _core_seconds(rate: str, units: float, side: int) -> float:
    return RATES[rate].core_seconds(units, side)


def _disk_mb(cases: int, side: int) -> float:
    return cases * MB_A_CASE * (side / 256) ** 3
