"""What every test may ask for: real heads where they are, a seeded generator, one thread."""

import os
from pathlib import Path

# Before numpy, torch or a kernel start: two processes with two threads each can block two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser, pluginmanager):
    """Where Qt lacks a system library, pytest-qt would end the session; without it only its own tests are skipped."""
    try:
        from qtpy import QtWidgets  # noqa: F401
    except ImportError:
        if pluginmanager.has_plugin("pytest-qt"):
            pluginmanager.unregister(name="pytest-qt")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder with pyproject.toml."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_skulls() -> dict[str, Path]:
    """Name -> NRRD file of every real head at hand; skips the test where there are none.

    They are not part of the project. CRANIAL_SHARED_SKULLS names their folder, else ../shared/data/skulls.
    """
    folder = Path(os.environ.get("CRANIAL_SHARED_SKULLS", REPOSITORY.parent / "shared" / "data" / "skulls"))
    skulls = {path.stem: path for path in sorted(folder.glob("*.nrrd"))}
    if not skulls:
        pytest.skip(f"no real skulls in {folder}; set CRANIAL_SHARED_SKULLS to a folder that has them")
    return skulls


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that is the same at every run; nothing in the project uses a global seed."""
    return np.random.default_rng(20240611)


@pytest.fixture
def one_thread():
    """Sums of two threads are not, to the bit, those of one; and other tests' kernels change their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
