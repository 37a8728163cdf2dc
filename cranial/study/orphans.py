"""Which jobs has a killed run left in Slurm? They go on without it, and are cancelled before the study does."""

import getpass
import hashlib
import subprocess
import time
from pathlib import Path


class SlurmError(ValueError):
    """Slurm is not here, does not answer, or does not do as it is told; the message says what to do."""


def job_prefix(folder: Path | str) -> str:
    """How the names of a study's jobs begin in Slurm: each folder's otherwise, the same folder's always alike."""
    return f"cranial-{hashlib.sha256(str(Path(folder).resolve()).encode()).hexdigest()[:12]}"


def cancel_orphans(prefix: str, *, patience_s: float = 180.0) -> int:
    """Cancel this user's jobs whose names begin so, and wait until none of them writes any more; how many there were.

    Raises SlurmError where Slurm does not answer, and for jobs that are still there after patience_s.
    """
    found = _jobs(prefix)
    if not found:
        return 0
    _ask("scancel", "--quiet", *found)  # quiet: the one that ended meanwhile is no error
    until = time.monotonic() + patience_s
    while remaining := _jobs(prefix):
        if time.monotonic() > until:
            raise SlurmError(
                f"Slurm has not ended {', '.join(remaining)} of a killed run within {patience_s:g} s; see squeue, end "
                "them with scancel, then start again"
            )
        time.sleep(0.5)
    return len(found)


def _jobs(prefix: str) -> list[str]:
    """Numbers of the jobs that wait, run or are ending."""
    lines = _ask("squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i %j").splitlines()
    return [number for number, _, name in (line.strip().partition(" ") for line in lines) if name.startswith(prefix)]


def _ask(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise SlurmError(f"there is no {command[0]} here; start it where sbatch works, or without --slurm") from None
    except subprocess.CalledProcessError as error:
        raise SlurmError(f"{command[0]} failed: {error.stderr.strip()}; start again when Slurm answers") from error
