"""A real Slurm on this one machine, for tests: a node with two GPUs that are none, gone when the test is over."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sinfo", "sbatch", "srun", "squeue", "scancel", "setpriv")
_PATIENCE_S = 30

_MUNGED = """munged --foreground --force --key-file={folder}/munge.key --socket={folder}/munge.socket
 --pid-file={folder}/munge.pid --log-file={folder}/munge.log --seed-file={folder}/munge.seed"""
_SLURM = """
ClusterName=tests
SlurmctldHost=localhost
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
MinJobAge=7200
KillWait=5
SlurmdParameters=config_overrides
NodeName=localhost NodeAddr=127.0.0.1 CPUs=8 RealMemory=1000000 Gres=gpu:fake:2
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE
"""
# A count alone makes the node invalid, and so does a plain file: a GPU is a device.
_GPUS = """
NodeName=localhost Name=gpu Type=fake File=/dev/null Flags=nvidia_gpu_env
NodeName=localhost Name=gpu Type=fake File=/dev/zero Flags=nvidia_gpu_env
"""
# Snakemake's jobs start their steps without the variables of Slurm, and so without the way to its configuration.
_SRUN = """#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {srun} "$@"
"""


@dataclass(frozen=True)
class Job:
    """A line of Slurm's queue; the state is in Slurm's words: PENDING, RUNNING, COMPLETED, CANCELLED, ..."""

    number: str
    name: str
    state: str
    comment: str


@dataclass(frozen=True)
class Slurm:
    """The environment in which sbatch, squeue and scancel speak to this Slurm, and to no other."""

    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        """What a command of Slurm's answers."""
        done = subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True, timeout=60)
        return done.stdout

    def jobs(self, state: str = "all") -> list[Job]:
        """Every job of these ten minutes, the ended ones too, or those in one state."""
        lines = self.ask("squeue", "--noheader", f"--states={state}", "--format=%i|%j|%T|%k").splitlines()
        return [Job(*line.split("|", 3)) for line in lines]

    def job(self, number: str) -> Job:
        """One job."""
        (found,) = (job for job in self.jobs() if job.number == number)
        return found

    def wait(self, comment: str, state: str, *, name: str = "", timeout_s: float = 60) -> Job:
        """A job in this state whose comment (Snakemake's rule and wildcards) begins so, as soon as there is one."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            for job in self.jobs():
                if job.state == state and job.comment.startswith(comment) and job.name.startswith(name):
                    return job
            time.sleep(0.2)
        raise TimeoutError(f"no job {comment or name} became {state} in {timeout_s} s; there are {self.jobs()}")


def why_no_slurm() -> str | None:
    """Why there can be no Slurm here, None where there can."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=path)]:
        return f"{', '.join(missing)} not installed; on Debian: apt install slurm-wlm munge"
    if os.geteuid() != 0:
        return "munged and slurmd want root"
    return None


@contextmanager
def a_slurm() -> Iterator[Slurm]:
    """munged, slurmctld and slurmd on loopback, as long as the block lasts; all that they write is in one folder."""
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        environment = _write(folder)
        try:
            with ExitStack() as daemons:
                daemons.enter_context(_running(_MUNGED.format(folder=folder), environment, folder))
                _wait_for((folder / "munge.socket").exists, folder)
                daemons.enter_context(_running("slurmctld -D -i", environment, folder))
                daemons.enter_context(_running("slurmd -D -N localhost", environment, folder))
                slurm = Slurm(environment)
                _wait_for(lambda: "idle" in slurm.ask("sinfo", "--noheader", "--format=%T"), folder)
                try:
                    yield slurm
                finally:
                    slurm.ask("scancel", "--user=root")
                    _wait_for(lambda: not slurm.ask("squeue", "--noheader"), folder)
        finally:
            _end_what_is_left(folder)


def _write(folder: Path) -> dict[str, str]:
    """Keys, configuration and devices; returns the environment that leads to them."""
    folder.chmod(0o755)
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = {"controller_port": first.getsockname()[1], "node_port": second.getsockname()[1]}
    (folder / "slurm.conf").write_text(_SLURM.format(folder=folder, **ports))
    (folder / "gres.conf").write_text(_GPUS)
    (folder / "cgroup.conf").write_text("CgroupPlugin=autodetect\n")
    srun = folder / "bin" / "srun"
    srun.write_text(_SRUN.format(folder=folder, srun=shutil.which("srun")))
    srun.chmod(0o755)
    without = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    path = os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return without | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}


@contextmanager
def _running(command: str, environment: dict[str, str], folder: Path) -> Iterator[None]:
    """A daemon that ends with the block, and with this process too, however that ends."""
    words = ["setpriv", "--pdeathsig=TERM", *command.split()]
    with (
        (folder / f"{words[2]}.out").open("w") as said,
        subprocess.Popen(words, env=environment, stdout=said, stderr=said) as daemon,
    ):
        try:
            yield
        finally:
            daemon.terminate()
            try:
                daemon.wait(timeout=_PATIENCE_S)
            except subprocess.TimeoutExpired:
                daemon.kill()


def _end_what_is_left(folder: Path) -> None:
    """A process that has left its job's group is Slurm's no more; its environment still names the folder."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{folder}/bin:".encode() in environment.read_bytes():
                os.kill(int(environment.parent.name), signal.SIGKILL)
        except OSError:
            pass  # it has ended, or nobody may look


def _wait_for(ready: Callable[[], bool], folder: Path) -> None:
    """Until it is so; in the end, with what the daemons have said."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        try:
            if ready():
                return
        except subprocess.CalledProcessError:
            pass  # the controller doesn't listen yet
        time.sleep(0.1)
    said = "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in sorted(folder.glob("*.out")))
    raise RuntimeError(f"Slurm is not ready after {_PATIENCE_S} s:\n{said}")
