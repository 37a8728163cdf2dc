"""The study on a cluster: jobs are cancelled, Snakemake is killed, and in the end every result is there and whole."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from slurm import Slurm, a_slurm, why_no_slurm

from cranial.study.orphans import cancel_orphans, job_prefix

REPOSITORY = Path(__file__).resolve().parent.parent
PATIENCE_S = 1200  # of a busy machine; alone, all of this takes two minutes

pytestmark = pytest.mark.skipif(why_no_slurm() is not None, reason=str(why_no_slurm()))

# Two jobs with a GPU each that wait for one another; a job that waits, half written, as long as there is a file `hold`.
WORKFLOW = """
rule all:
    input: "gpu/0", "gpu/1", "slow"

rule gpu:
    output: "gpu/{number}"
    resources: gpu=1
    shell: "touch met.{wildcards.number}; until [ -e met.0 -a -e met.1 ]; do sleep 0.2; done;"
           " echo $CUDA_VISIBLE_DEVICES >{output}"

rule slow:
    output: "slow"
    resources: attempt=lambda wildcards, attempt: attempt
    shell: "echo first of try {resources.attempt} >slow.part; while [ -e hold ]; do sleep 0.2; done;"
           " echo second >>slow.part; mv slow.part {output}"
"""

# Two rows, and a set in two parts; a GPU for what learns and registers. No generator: in seconds none draws a skull.
STUDY = {
    "side": 16, "phantom_spacing_mm": 5.0, "phantom_floor": 0.38, "styles": ["bilateral", "parietotemporal"],
    "train": {"phantoms": 4, "cases": 8, "seed": 0},
    "tests": {"unseen": {"phantoms": 1, "seed": 1, "warped": "strongly"}},
    "training": {"steps": 4, "batch": 2, "ema": 0.9, "widths": [4, 8]},
    "recipes": "params/demo/generators",
    "sets": {"ir": {"alphas": [12500], "iterations": [5, 5], "count": 6, "shards": 2}},
    "rows": {
        "no_aug": {"label": "No Aug", "tables": ["2", "5"]},
        "geo_ir": {"label": "Geo + IR", "tables": ["5"], "geometric": "heavy", "sets": {"ir": 4}},
    },
    "resources": {kind: {"gpu": 1, "mem_mb": 64_000} for kind in ("register", "reconstruct")},
}  # fmt: skip


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with a_slurm() as found:
        yield found


@contextmanager
def at_work(command: list[str], folder: Path, slurm: Slurm) -> Iterator[subprocess.Popen]:
    """A command in a folder that has `log`, looking after its jobs every other second; killed with the block."""
    (folder / "eager").mkdir(exist_ok=True)
    (folder / "eager" / "config.yaml").write_text("slurm-init-seconds-before-status-checks: 1\n")
    environment = slurm.environment | {"SNAKEMAKE_PROFILE": str(folder / "eager")}
    with (
        (folder / "log").open("a") as log,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        ) as running,
    ):
        try:
            yield running
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)


def ends_well(running: subprocess.Popen, folder: Path) -> bool:
    code = running.wait(timeout=PATIENCE_S)
    return code == 0 or pytest.fail(f"ended with {code}:\n{(folder / 'log').read_text()[-5000:]}")


def wait_for_text(path: Path, text: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not (path.exists() and path.read_text() == text):
        assert time.monotonic() < until, f"{path.name} did not become {text!r} in {PATIENCE_S} s"
        time.sleep(0.1)


def test_jobs_have_a_gpu_each_and_outlive_a_cancellation_and_a_killed_snakemake(slurm, tmp_path, monkeypatch):
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    (tmp_path / "hold").touch()
    profile = REPOSITORY / "workflow" / "profiles" / "slurm"
    prefix = job_prefix(tmp_path)
    command = [sys.executable, "-m", "snakemake", f"--workflow-profile={profile}", f"--slurm-jobname-prefix={prefix}"]
    with at_work(command, tmp_path, slurm):
        wait_for_text(tmp_path / "slow.part", "first of try 1\n")
        slurm.wait("rule_gpu_wildcards_0", "COMPLETED", timeout_s=PATIENCE_S)
        slurm.wait("rule_gpu_wildcards_1", "COMPLETED", timeout_s=PATIENCE_S)
        slurm.ask("scancel", slurm.wait("rule_slow", "RUNNING").number)
        wait_for_text(tmp_path / "slow.part", "first of try 2\n")
        retried = slurm.wait("rule_slow", "RUNNING")
    assert {(tmp_path / "gpu" / number).read_text() for number in "01"} == {"0\n", "1\n"}
    assert not (tmp_path / "slow").exists()

    assert retried in slurm.jobs("RUNNING"), "nobody has told it that Snakemake is dead"
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, slurm.environment[name])
    slurm.ask("sbatch", "--job-name=another", "--output=/dev/null", "--wrap=sleep 600")
    assert cancel_orphans(prefix) == 1
    slurm.ask("scancel", slurm.wait("", "RUNNING", name="another").number)

    with at_work([*command, "--unlock"], tmp_path, slurm) as running:
        assert ends_well(running, tmp_path)
    (tmp_path / "hold").unlink()
    with at_work(command, tmp_path, slurm) as running:
        assert ends_well(running, tmp_path)
    assert (tmp_path / "slow").read_text() == "first of try 1\nsecond\n"
    assert sorted((job.comment, job.state) for job in slurm.jobs() if job.name.startswith(prefix)) == [
        ("rule_gpu_wildcards_0", "COMPLETED"),
        ("rule_gpu_wildcards_1", "COMPLETED"),
        ("rule_slow", "CANCELLED"),
        ("rule_slow", "CANCELLED"),
        ("rule_slow", "COMPLETED"),
    ]


def test_a_study_outlives_a_cancelled_job_and_its_own_end_and_leaves_every_table(slurm, tmp_path):
    for name in ("workflow", "notebooks", "params"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    command = [sys.executable, "-m", "cranial.cli", "batch", "tiny.yaml", "--slurm", "--output=out", "--cache=cache"]
    of_others = {job.number for job in slurm.jobs()}
    with at_work(command, tmp_path, slurm):
        cancelled = slurm.wait("rule_prepare_wildcards_unseen", "RUNNING", timeout_s=PATIENCE_S)
        slurm.ask("scancel", cancelled.number)
        orphan = slurm.wait("rule_reconstruct", "RUNNING", timeout_s=PATIENCE_S)
    assert orphan in slurm.jobs("RUNNING"), "nobody has told it that its study is dead"
    with at_work(command, tmp_path, slurm) as running:
        assert ends_well(running, tmp_path)

    columns = "--Format=JobID:20,tres-per-job:20,Comment:200"
    lines = slurm.ask("squeue", "--states=all", "--noheader", columns).splitlines()
    own = [(wanted, comment) for number, wanted, comment in map(str.split, lines) if number not in of_others]
    asked = {comment.split("_")[1] for wanted, comment in own if "gpu:1" in wanted}
    assert asked == set(STUDY["resources"])
    assert slurm.job(orphan.number).state == slurm.job(cancelled.number).state == "CANCELLED"
    jobs = json.loads((tmp_path / "out" / "plan.json").read_text())["jobs"]
    done = {mark.relative_to(tmp_path / "out" / "done").as_posix() for mark in tmp_path.glob("out/done/*/*")}
    ended = Counter(job.comment.removeprefix("rule_").replace("_wildcards_", "/") for job in slurm.jobs("COMPLETED"))
    assert done == set(jobs) == {name for name in ended if name in jobs}
    # what Snakemake had seen ending is not made again: without the training cases no training had begun
    (train,) = (name for name in jobs if name.startswith("prepare/train"))
    assert ended[train] == 1

    for row in STUDY["rows"]:
        found = json.loads((tmp_path / "out" / "rows" / row / "seed_0" / "metrics.json").read_text())
        assert len(found["cases"]) == 2
    tables = {path.name: path.read_text() for path in (tmp_path / "out" / "tables").glob("*.*")}
    assert set(tables) >= {f"table_{number}.{kind}" for number in "256" for kind in ("csv", "md", "tex")}
    assert "Geo + IR" in tables["table_5.md"] and "Missing" not in tables["table_5.md"]


def test_a_slurm_ends_with_its_block_jobs_and_all_even_when_the_block_fails(tmp_path):
    pids = tmp_path / "pids"
    with pytest.raises(ZeroDivisionError), a_slurm() as slurm:
        # one that is Slurm's, and one that has left its job's group
        slurm.ask("sbatch", "--output=/dev/null", f"--wrap=setsid sleep 600 & echo $$ $! >{pids}; exec sleep 600")
        while not pids.exists() or not pids.read_text().endswith("\n"):
            time.sleep(0.1)
        assert [job.name for job in slurm.jobs("RUNNING")] == ["wrap"]
        raise ZeroDivisionError
    folder = Path(slurm.environment["SLURM_CONF"]).parent
    assert not folder.exists()
    running = subprocess.run(["ps", "-A", "-o", "pid,stat,args"], capture_output=True, text=True, check=True).stdout
    living = {line.split()[0] for line in running.splitlines() if line.split()[1][0] != "Z"}
    assert str(folder) not in running and living.isdisjoint(pids.read_text().split())
