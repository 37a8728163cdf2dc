"""Which jobs does a study come down to, and which needs which? Each once, however many rows use what it makes."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ..config import ConfigError, load, read_yaml
from ..synthesis.recipe import GeneratorRecipe
from ..synthesis.trained import load_generator
from . import rates
from .cases import head_files
from .plan import CACHE, ROOT, Job, Plan
from .recipe import CaseSource, Resources, RowEntry, SetEntry, Study

_BATCH = "notebooks/batch"
_USUAL = {"generator": Resources(mem_mb=6000, runtime=240), "reconstruct": Resources(mem_mb=6000, runtime=240)}


def make_plan(scale: str, study: Study) -> Plan:
    """The jobs of a study, each after those that it needs.

    Raises ConfigError for a generator without a recipe, and where nothing is left to try the rows on.
    """
    planner = _Planner(scale, study)
    for row, entry in study.rows.items():
        for seed in study.seeds if entry.seeds is None else entry.seeds:
            planner.run(row, entry, seed)
    planner.tables()
    return Plan(scale, tuple(planner.jobs.values()), planner.files, tuple(planner.skipped))


class _Planner:
    """Jobs by name; each method adds what is not there yet and says where its result will be."""

    def __init__(self, scale: str, study: Study) -> None:
        self.scale, self.study = scale, study
        self.jobs: dict[str, Job] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.skipped: list[str] = []
        self.real = self.cases("train", study.train)
        self.tests = {name: self.cases(name, test) for name, test in study.tests.items() if self.there(name, test)}
        if not self.tests:
            raise ConfigError(f"study {scale} has nothing to try its rows on: {'; '.join(self.skipped)}")

    def there(self, name: str, source: CaseSource) -> bool:
        """Whether a test set can be made; if not, it is noted."""
        try:
            return source.heads is None or bool(head_files(source.heads))
        except ConfigError as error:
            self.skipped.append(f"tests: {name} is left out: {error}")
            return False

    def cases(self, name: str, source: CaseSource) -> tuple[str, str]:
        """(job, folder) of a set of real cases."""
        study = self.study
        described = source.model_dump(mode="json")
        if source.heads is not None:
            described["heads"] = str(source.heads.resolve())
        recipe = {
            "source": described, "side": study.side, "phantom_spacing_mm": study.phantom_spacing_mm,
            "floor": study.phantom_floor, "styles": list(study.styles),
        }
        key = _digest(recipe, [path.name for path in head_files(source.heads)] if source.heads else None)
        folder = f"{ROOT}/cases/{name}-{key}"
        values = {"recipe": recipe, "folder": folder, "cache": CACHE}
        job = self.add(f"prepare/{name}-{key}", "prepare", values, (), rates.prepare(study, source))
        return job, folder

    def generator(self, name: str) -> tuple[tuple[str, ...], str, str]:
        """(jobs, file, digest of what it is) of a trained generator."""
        study = self.study
        path = study.recipes / f"{name}.yaml"
        if not path.exists():
            there = ", ".join(sorted(found.stem for found in study.recipes.glob("*.yaml"))) or "none"
            raise ConfigError(f"generator '{name}' has no recipe {path}; those there are: {there}")
        recipe = self.recipe(load(path, GeneratorRecipe))
        ready = None if study.trained is None else study.trained / name / "generator.safetensors"
        if ready is not None and ready.exists() and load_generator(ready).recipe == recipe:
            with safe_open(ready, framework="pt") as file:  # trained again, it would make another set
                return (), str(ready.resolve()), _digest(file.metadata()["sha256"])
        needs: list[str] = [] if recipe.cases is None else [self.real[0]]
        changes: dict[str, Path] = {}
        for field in ("autoencoder", "start_from"):
            first = getattr(recipe, field)
            if first is not None:
                jobs, file, _ = self.generator(first.parent.name)
                needs += jobs
                changes[field] = Path(file.replace(f"{ROOT}/generators", ".."))
        values = recipe.model_copy(update=changes).model_dump(mode="json", exclude_defaults=True)
        key = f"{name}-{_digest(values, needs)}"
        self.files[f"params/generators/{key}.yaml"] = values
        folder = f"{ROOT}/generators"
        asked = {"method": key, "recipes": f"{ROOT}/params/generators", "generators": folder, "cache": CACHE}
        job = self.add(f"generator/{key}", "generator", asked, tuple(needs), rates.generator(recipe))
        return (job,), f"{folder}/{key}/generator.safetensors", key

    def recipe(self, recipe: GeneratorRecipe) -> GeneratorRecipe:
        """A generator's recipe with the study's own cases, and its share of the steps."""
        study, train = self.study, self.study.train
        settings = dict(recipe.settings)
        for name in settings:
            if name.endswith("_steps") and name != "ddim_steps":
                settings[name] = max(1, round(study.effort * settings[name]))
        changes: dict[str, Any] = {
            "side": study.side, "steps": max(1, round(study.effort * recipe.steps)), "settings": settings,
            "styles": study.styles, "seed": train.seed,
        }
        if train.phantoms:
            changes |= {
                "cases": None, "phantoms": train.phantoms, "phantom_spacing_mm": study.phantom_spacing_mm,
                "phantom_cases": train.cases or train.phantoms, "phantom_floor": study.phantom_floor,
            }
        else:
            changes |= {"cases": Path(self.real[1].replace(ROOT, "../..")), "phantom_cases": 0}
        return recipe.model_copy(update=changes)

    def synthetic(self, name: str, entry: SetEntry) -> tuple[tuple[str, ...], str]:
        """(jobs, folder) of a synthetic set; a job is a part of its items."""
        study = self.study
        if entry.generator is None:
            kind, needs = "register", (self.real[0],)
            recipe = {
                "count": entry.count, "side": study.side, "edge_mm": study.edge_mm, "alphas": list(entry.alphas),
                "iterations": list(entry.iterations), "common": entry.common, "cases": self.real[1],
                "seed": entry.seed,
            }
            key, cost = _digest(recipe), rates.registered(study, entry)
        else:
            kind = "sample"
            needs, file, what = self.generator(entry.generator)
            recipe = {
                "generator": file, "count": entry.count, "strategy": entry.strategy, "choices": entry.choices,
                "copy_above": entry.copy_above, "seed": entry.seed,
            }
            method = read_yaml(study.recipes / f"{entry.generator}.yaml")["method"]
            key, cost = _digest(recipe | {"generator": what}), rates.sampled(study, entry, method)
        folder = f"{ROOT}/sets/{name}-{key}"
        jobs = []
        for part in range(entry.shards):
            items = [entry.count * place // entry.shards for place in (part, part + 1)]
            values = {"recipe": recipe, "folder": folder, "items": items, "cache": CACHE}
            shard = f".{part + 1}-of-{entry.shards}" if entry.shards > 1 else ""
            job = f"{kind}/{name}-{key}{shard}"
            jobs.append(self.add(job, "synthetic_set", values, needs, cost.shared(entry.shards)))
        return tuple(jobs), folder

    def run(self, row: str, entry: RowEntry, seed: int) -> None:
        """Training and evaluation of a row with a seed."""
        study = self.study
        needs, sets = [self.real[0]], {}
        for name in entry.sets:
            jobs, sets[name] = self.synthetic(name, study.sets[name])
            needs += jobs
        training = study.training.model_copy(update={"seed": seed, "geometric": entry.geometric})
        mix = {
            "training": training.model_dump(mode="json"), "real": self.real[1], "sets": sets,
            "counts": dict(entry.sets),
        }
        name = f"{row}-seed_{seed}-{_digest(mix)}"
        folder = f"{ROOT}/trainings/{name}"
        job = self.add(
            f"reconstruct/{name}", "reconstruct", {"mix": mix, "folder": folder}, tuple(needs), rates.trained(study)
        )
        values = {
            "row": row, "label": entry.label, "tables": list(entry.tables), "scale": self.scale, "mix": mix,
            "training": folder, "tests": {test: folder for test, (_, folder) in self.tests.items()},
            "tolerance_mm": study.surface_tolerance_mm, "results": f"{ROOT}/rows/{row}/seed_{seed}",
        }
        # Named without a digest: its result has one place, whatever it was made from, and a changed YAML renews it.
        needs = (job, *(made for made, _ in self.tests.values()))
        self.add(f"evaluate/{row}-seed_{seed}", "evaluate", values, needs, rates.evaluated(study))

    def tables(self) -> None:
        """What is told from all rows, by the lesson on evaluation."""
        needs = tuple(name for name in self.jobs if name.startswith("evaluate/"))
        self.files["study.yaml"] = self.study.model_dump(mode="json", exclude_defaults=True)
        values = {"folder": f"{ROOT}/rows", "study": f"{ROOT}/study.yaml", "output_dir": ROOT}
        self.add("tables/all", "09_evaluation", values, needs, rates.Cost(30.0))

    def add(self, name: str, notebook: str, values: dict[str, Any], needs: tuple[str, ...], cost: rates.Cost) -> str:
        kind = name.partition("/")[0]
        resources = self.study.resources.get(kind) or _USUAL.get(kind, Resources())
        book = f"{'notebooks' if kind == 'tables' else _BATCH}/{notebook}.ipynb"
        self.jobs.setdefault(name, Job(name, book, values, needs, resources, cost))
        return name


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
