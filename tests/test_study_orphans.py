"""Jobs that a killed run left in Slurm: found by their names, cancelled, and nobody else's with them."""

from pathlib import Path

import pytest

from cranial.study.orphans import SlurmError, cancel_orphans, job_prefix


@pytest.fixture
def commands(tmp_path, monkeypatch) -> Path:
    """A folder that is all of PATH: squeue and scancel are what a test writes there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_jobs_of_this_prefix_are_cancelled_and_no_others(commands):
    (commands / "queue").write_text("7 cranial-ab_1\n8 cranial-ac_1\n9_[2-4] cranial-ab_2\n10 other cranial-ab\n")
    write(
        commands / "squeue", f"[ -e {commands}/cancelled ] || while read -r job; do echo $job; done <{commands}/queue"
    )
    write(commands / "scancel", f"echo $* >{commands}/cancelled")
    assert cancel_orphans("cranial-ab") == 2
    assert (commands / "cancelled").read_text() == "--quiet 7 9_[2-4]\n"


def test_nothing_is_cancelled_where_nothing_was_left(commands):
    write(commands / "squeue", "echo 10 other")
    write(commands / "scancel", f"echo $* >{commands}/cancelled")
    assert cancel_orphans("cranial-ab") == 0
    assert not (commands / "cancelled").exists()


def test_it_waits_until_the_last_of_them_has_ended(commands):
    once, twice = commands / "once", commands / "twice"
    script = f"if [ -e {twice} ]; then exit; elif [ -e {once} ]; then : >{twice}; else : >{once}; fi; echo 7 cranial-ab"
    write(commands / "squeue", script)
    write(commands / "scancel", "exit 0")
    assert cancel_orphans("cranial-ab") == 1
    assert twice.exists()


def test_a_job_that_does_not_end_is_named(commands):
    write(commands / "squeue", "echo 7 cranial-ab")
    write(commands / "scancel", "exit 0")
    with pytest.raises(SlurmError, match="has not ended 7 of a killed run within 0 s; see squeue, end them"):
        cancel_orphans("cranial-ab", patience_s=0.0)


def test_without_slurm_it_says_where_to_start(commands):
    with pytest.raises(SlurmError, match="there is no squeue here; start it where sbatch works, or without --slurm"):
        cancel_orphans("cranial-ab")


def test_a_slurm_that_does_not_answer_is_quoted(commands):
    write(commands / "squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SlurmError, match="squeue failed: Unable to contact slurm controller; start again"):
        cancel_orphans("cranial-ab")


def test_every_folder_has_a_prefix_of_its_own_however_it_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prefixes = {job_prefix(tmp_path / name) for name in ("demo", "paper", "more/demo")}
    assert len(prefixes) == 3
    assert job_prefix("demo") == job_prefix(tmp_path / "demo") == job_prefix("more/../demo")
    # what Snakemake's plugin allows
    assert all(len(prefix) <= 50 and prefix.replace("-", "").isalnum() for prefix in prefixes)
