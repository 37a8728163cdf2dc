"""What does a job cost? From times that were measured once, each with its source; a guess to plan with, no promise."""

from dataclasses import dataclass

from ..synthesis.recipe import GeneratorRecipe
from .recipe import CaseSource, SetEntry, Study

# Assumed, not measured: an A100 against one core of the machine that the times are from, in 3-D convolutions.
GPU_TIMES = 150.0
START_SECONDS = 7.0  # of a core, for a notebook that has next to nothing to do: Snakemake's cpu_time of such jobs
MB_A_CASE = 0.065  # of a stored case at 256^3, as cranial/skulls/store.py packs it


@dataclass(frozen=True)
class Rate:
    """Core-seconds of one unit of work at one side of the cube; more voxels take more in proportion.

    widths, patch: of the network that was timed, where there is one: another takes more as its convolutions do.
    """

    seconds: float
    side: int
    unit: str
    source: str
    widths: tuple[int, ...] = ()
    patch: int = 1

    def core_seconds(self, units: float, side: int, *, widths: tuple[int, ...] = (), patch: int = 1) -> float:
        """What so many units take at another side, with another network."""
        network = _work(widths, patch) / _work(self.widths, self.patch) if widths else 1.0
        return units * self.seconds * (side / self.side) ** 3 * network


def _work(widths: tuple[int, ...], patch: int) -> float:
    """Multiplications of a network's convolutions for each voxel of the cube, but for a factor."""
    return sum(width**2 / 8**level for level, width in enumerate(widths)) / patch**3


_TRAINED = "log.jsonl of the trainings of params/laptop/generators, two cores"
_TIMED = "process time on one core, November 2026"
_SAMPLED = "case sampled, looked for among 2000, and tried at the gates"
_LIKE = {"intro_vae": "vae", "soft_intro_vae": "vae"}  # which samples as another does
_DEEP, _SHORT = (16, 32, 64, 128), (16, 32, 64)
RATES = {
    "vae": Rate(0.20, 64, "case and step", _TRAINED, _SHORT, 2),
    "vqvae": Rate(0.21, 64, "case and step", _TRAINED, _SHORT, 2),
    "intro_vae": Rate(0.63, 64, "case and step", _TRAINED, _DEEP, 2),
    "soft_intro_vae": Rate(0.71, 64, "case and step", _TRAINED, _DEEP, 2),
    "wgan_gp": Rate(0.26, 64, "case and step, critic turns included", _TRAINED, (32, 64, 128), 4),
    "ldm_vae": Rate(0.036, 64, "case and step", _TRAINED),
    "ldm_vqvae": Rate(0.07, 64, "case and step", _TRAINED),
    "phantom": Rate(0.64, 64, "phantom skull", _TIMED),
    "case": Rate(0.035, 64, "case drawn, laid and stored", _TIMED),
    "register": Rate(0.53, 64, "pair, 4 x 50 iterations", _TIMED),
    "sample of vae": Rate(0.05, 64, _SAMPLED, _TIMED),
    "sample of wgan_gp": Rate(0.02, 64, _SAMPLED, _TIMED),
    "sample of ldm_vae": Rate(0.60, 64, _SAMPLED + ", 50 steps", _TIMED),
    "sample of ldm_vqvae": Rate(0.60, 64, _SAMPLED + ", 50 steps", _TIMED),
    "sample of vqvae": Rate(0.47, 64, _SAMPLED, _TIMED),
    "reconstruct": Rate(0.076, 64, "case and step", _TIMED, _SHORT, 2),
    "evaluate": Rate(0.09, 64, "test case", _TIMED),
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
    cases = recipe.steps * recipe.batch
    shape = {} if recipe.autoencoder else {"widths": recipe.widths, "patch": recipe.patch}
    seconds = RATES[recipe.method].core_seconds(cases, recipe.side, **shape)
    prior = recipe.settings.get("prior_steps", 0) * recipe.settings.get("prior_batch", recipe.batch)
    return Cost(START_SECONDS + seconds + _core_seconds("ldm_vqvae", prior, recipe.side), 40.0)


def registered(study: Study, entry: SetEntry) -> Cost:
    """Of a set by registration."""
    seconds = _core_seconds("register", entry.count * sum(entry.iterations) / 200, study.side)
    return Cost(START_SECONDS + seconds, _disk_mb(entry.count, study.side))


def sampled(study: Study, entry: SetEntry, method: str) -> Cost:
    """Of a set by a generator of this method."""
    seconds = _core_seconds(f"sample of {_LIKE.get(method, method)}", entry.count, study.side)
    return Cost(START_SECONDS + seconds, _disk_mb(entry.count, study.side))


def trained(study: Study) -> Cost:
    """Of a row's training with one seed."""
    recipe = study.training
    shape = {"widths": recipe.widths, "patch": recipe.patch}
    seconds = RATES["reconstruct"].core_seconds(recipe.steps * recipe.batch, study.side, **shape)
    return Cost(START_SECONDS + seconds, 15.0)


def evaluated(study: Study) -> Cost:
    """Of a row's scores with one seed."""
    cases = sum(source.cases or (source.phantoms or 20) * len(study.styles) for source in study.tests.values())
    return Cost(START_SECONDS + _core_seconds("evaluate", cases, study.side), 1.0)


def _core_seconds(rate: str, units: float, side: int) -> float:
    return RATES[rate].core_seconds(units, side)


def _disk_mb(cases: int, side: int) -> float:
    return cases * MB_A_CASE * (side / 256) ** 3
