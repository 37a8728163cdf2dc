"""What is a job, and how are all of them handed to the workflow? As a notebook, a YAML, and a list of other jobs.

What a job makes lies in a folder that is named by a digest of all that decides it, the jobs it needs among them: a
changed entry gives its own branch other names, and nothing else.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .rates import Cost
from .recipe import Resources

ROOT, CACHE = "{root}", "{cache}"  # stand for the study's folder and that of kept phantoms in the values of jobs


@dataclass(frozen=True)
class Job:
    """name: KIND/WHAT-DIGEST. values: of the notebook's parameters, ROOT for the study's folder. needs: other jobs."""

    name: str
    notebook: str
    values: Mapping[str, Any]
    needs: tuple[str, ...]
    resources: Resources
    cost: Cost

    @property
    def kind(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Plan:
    """All jobs, each after those that it needs; files: further YAMLs, by path below the study's folder."""

    scale: str
    jobs: tuple[Job, ...]
    files: Mapping[str, Mapping[str, Any]]
    skipped: tuple[str, ...]  # what is left out, and why

    def of_kind(self, kind: str) -> list[Job]:
        """The jobs of one kind."""
        return [job for job in self.jobs if job.kind == kind]


def write_plan(plan: Plan, folder: Path | str, *, cache: Path | str) -> Path:
    """Write every YAML that has changed, and plan.json, which the workflow reads; returns the path of plan.json.

    cache: folder in which phantoms are kept.
    """
    folder, cache = Path(folder).resolve(), Path(cache).resolve()
    wanted = {f"params/{job.name}.yaml": job.values for job in plan.jobs}
    for name, values in {**plan.files, **wanted}.items():
        text = json.dumps(dict(values))
        for sign, place in ((ROOT, folder), (CACHE, cache)):
            text = text.replace(sign, json.dumps(str(place))[1:-1])
        _write(folder / name, yaml.safe_dump(json.loads(text), sort_keys=False))
    jobs = {
        job.name: {"notebook": job.notebook, "needs": list(job.needs), **job.resources.model_dump()}
        for job in plan.jobs
    }
    text = json.dumps({"scale": plan.scale, "folder": str(folder), "skipped": plan.skipped, "jobs": jobs}, indent=1)
    return _write(folder / "plan.json", text + "\n")


def _write(path: Path, text: str) -> Path:
    """Write a file unless that is what it holds: what did not change is not younger than what was made from it."""
    if not (path.exists() and path.read_text(encoding="utf-8") == text):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    return path
