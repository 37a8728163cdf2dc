"""How is a whole study run, and run again? Planned, written down, and handed to Snakemake, which does what is missing.

The same call goes on where a killed one stopped. Two of them at once would be in each other's way: the second is told.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ..skulls.datasets import open_dataset
from . import rates
from .orphans import cancel_orphans, job_prefix
from .plan import ROOT, Plan, write_plan
from .recipe import KINDS, Study

WORKFLOW = Path("workflow")


class BatchError(ValueError):
    """A study that cannot be run as asked, or that did not end; the message says what to do."""


def summary(plan: Plan) -> list[dict[str, str]]:
    """Jobs, hours and disk by kind and in all, as rows of a table; see rates for what the hours are guessed from."""
    found = [_line(kind, plan.of_kind(kind)) for kind in KINDS if plan.of_kind(kind)]
    return [*found, _line("in all", plan.jobs)]


def run_study(
    plan: Plan,
    study: Study,
    folder: Path | str,
    *,
    cache: Path | str,
    slurm: bool = False,
    dry_run: bool = False,
) -> None:
    """Run everything that is still missing in `folder`; dry_run: say what that is. Needs a checkout as working folder.

    Raises BatchError without Snakemake, outside a checkout, where another run has the folder, and where jobs failed;
    DatasetError, which says how to set the folder, for a dataset that is not there.
    """
    if find_spec("snakemake") is None:
        raise BatchError("snakemake is not installed; pip install 'cranial[batch]', or pip install -e '.[batch]'")
    profile = WORKFLOW / "profiles" / ("slurm" if slurm else "default")
    if not (WORKFLOW / "Snakefile").exists():
        raise BatchError(f"{WORKFLOW / 'Snakefile'} is not here; run it in a checkout of cranial")
    if not dry_run:
        for name in sorted({each for source in (study.train, *study.tests.values()) for each in source.dataset}):
            open_dataset(name)
    folder = Path(folder)
    with _alone(folder) as lock:
        if slurm and not dry_run and (left := cancel_orphans(job_prefix(folder))):
            print(f"ended    {left} jobs that a killed run had left in Slurm", flush=True)
        written = write_plan(plan, folder, cache=cache)
        if not dry_run:
            set_aside(folder, plan)
        command = [
            sys.executable, "-m", "snakemake", "--snakefile", str(WORKFLOW / "Snakefile"),
            "--workflow-profile", str(profile), "--config", f"plan={written}", "--nolock",
            *(["--slurm-jobname-prefix", job_prefix(folder)] if slurm else []),
            *(["--dry-run", "--quiet", "rules"] if dry_run else []),
        ]  # fmt: skip
        # the lock goes with snakemake: if only this process is killed, the folder is still taken
        done = subprocess.run(command, pass_fds=[lock])
    if done.returncode:
        raise BatchError(f"not all jobs ended; their logs are in {folder / 'logs'}, and the same command goes on")


def set_aside(folder: Path, plan: Plan) -> list[Path]:
    """Move results of rows and seeds that the plan does not have to folder/left_out; returns where they are now."""
    wanted = {Path(job.values["results"]).relative_to(ROOT) for job in plan.of_kind("evaluate")}
    moved = []
    for there in sorted((folder / "rows").glob("*/seed_*")):
        if there.relative_to(folder) not in wanted:
            place = folder / "left_out" / there.relative_to(folder / "rows")
            place = next(p for n in range(10**6) if not (p := place.with_name(f"{place.name}.{n}")).exists())
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(there, place)
            (folder / "done" / "evaluate" / f"{there.parent.name}-{there.name}").unlink(missing_ok=True)
            moved.append(place)
    return moved


def _line(name: str, jobs) -> dict[str, str]:
    seconds = [job.cost.core_seconds for job in jobs if not job.resources.gpu]
    on_gpu = [job.cost.core_seconds for job in jobs if job.resources.gpu]
    return {
        "jobs of kind": name,
        "jobs": f"{len(jobs):,}",
        "CPU core-hours": f"{sum(seconds) / 3600:,.2f}",
        "GPU-hours": f"{sum(on_gpu) / 3600 / rates.GPU_TIMES:,.1f}",
        "disk, GB": f"{sum(job.cost.disk_mb for job in jobs) / 1000:,.2f}",
    }


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """A lock on the folder that ends with whoever holds it, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BatchError(f"{folder} is being worked on by another run; wait for it, or end it first") from None
        yield file.fileno()
