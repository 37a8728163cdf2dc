"""The study on a cluster: jobs are cancelled, Snakemake is killed, and in the end every result is there and whole."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from slurm import Slurm, a_slurm, why_no_slurm

REPOSITORY = Path(__file__).resolve().parent.parent
PATIENCE_S = 120

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


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with a_slurm() as found:
        yield found


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    return tmp_path


@contextmanager
def snakemake(folder: Path, slurm: Slurm, *options: str) -> Iterator[subprocess.Popen]:
    """Snakemake at work through the project's profile, less its patience; killed if it outlives the block."""
    profile = REPOSITORY / "workflow" / "profiles" / "slurm"
    command = [sys.executable, "-m", "snakemake", f"--workflow-profile={profile}", "--latency-wait=5", *options]
    with (
        (folder / "log").open("a") as log,
        subprocess.Popen(
            [*command, "--slurm-init-seconds-before-status-checks=1"],
            cwd=folder, env=slurm.environment, stdout=log, stderr=log,
        ) as running,
    ):  # fmt: skip
        try:
            yield running
        finally:
            running.kill()


def ends_well(running: subprocess.Popen, folder: Path) -> bool:
    code = running.wait(timeout=PATIENCE_S)
    return code == 0 or pytest.fail(f"snakemake ended with {code}:\n{(folder / 'log').read_text()[-5000:]}")


def wait_for_text(path: Path, text: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not (path.exists() and path.read_text() == text):
        assert time.monotonic() < until, f"{path.name} did not become {text!r} in {PATIENCE_S} s"
        time.sleep(0.1)


def test_jobs_have_a_gpu_each_and_outlive_a_cancellation_and_a_killed_snakemake(slurm, folder):
    (folder / "hold").touch()
    with snakemake(folder, slurm) as running:
        wait_for_text(folder / "slow.part", "first of try 1\n")
        slurm.wait("rule_gpu_wildcards_0", "COMPLETED")
        slurm.wait("rule_gpu_wildcards_1", "COMPLETED")
        cancelled = slurm.wait("rule_slow", "RUNNING")
        slurm.ask("scancel", cancelled.number)
        wait_for_text(folder / "slow.part", "first of try 2\n")
        retried = slurm.wait("rule_slow", "RUNNING")
        running.send_signal(signal.SIGKILL)
    assert {(folder / "gpu" / number).read_text() for number in "01"} == {"0\n", "1\n"}
    assert not (folder / "slow").exists()

    assert retried in slurm.jobs("RUNNING"), "nobody has told it that Snakemake is dead"
    assert retried.name.startswith("cranial_")
    slurm.ask("scancel", f"--name={retried.name}")
    slurm.wait("rule_slow", "CANCELLED", number=retried.number)
    with snakemake(folder, slurm, "--unlock") as running:
        assert ends_well(running, folder)

    (folder / "hold").unlink()
    with snakemake(folder, slurm) as running:
        assert ends_well(running, folder)
    assert (folder / "slow").read_text() == "first of try 1\nsecond\n"
    assert sorted((job.comment, job.state) for job in slurm.jobs()) == [
        ("rule_gpu_wildcards_0", "COMPLETED"),
        ("rule_gpu_wildcards_1", "COMPLETED"),
        ("rule_slow", "CANCELLED"),
        ("rule_slow", "CANCELLED"),
        ("rule_slow", "COMPLETED"),
    ]


def test_a_slurm_ends_with_its_block_jobs_and_all_even_when_the_block_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), a_slurm() as slurm:
        slurm.ask("sbatch", f"--output={tmp_path}/pid", "--wrap=echo $$; exec sleep 600")
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().endswith("\n"):
            time.sleep(0.1)
        (working,) = slurm.jobs("RUNNING")
        raise ZeroDivisionError
    assert working.name == "wrap"
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    folder = Path(slurm.environment["SLURM_CONF"]).parent
    assert not folder.exists()
    running = subprocess.run(["ps", "-A", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert str(folder) not in running
