"""Who may import whom, as pyproject.toml says, and that saying it has teeth."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FLOORS = "Each floor imports only the floors below it"
QT = "Qt and napari are imported in the plugin only"
LINT = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()"]


def lint(folder: Path) -> tuple[int, str]:
    environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    command = [*LINT, "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(repository, tmp_path) -> Path:
    """The package and its contracts, to break them."""
    ignore = shutil.ignore_patterns("__pycache__", "weights")
    shutil.copytree(repository / "cranial", tmp_path / "cranial", ignore=ignore)
    shutil.copy(repository / "pyproject.toml", tmp_path)
    return tmp_path


def write(module: Path, text: str) -> None:
    module.parent.mkdir(exist_ok=True)
    (module.parent / "__init__.py").touch()
    module.write_text(text + "\n")


def test_every_import_obeys_the_contracts(repository):
    code, said = lint(repository)
    assert code == 0, said


@pytest.mark.parametrize(
    ("files", "contract"),
    [
        ({"generators/vae.py": "", "train/extra.py": "import cranial.generators.vae"}, FLOORS),
        ({"kernels/cpu.py": "from cranial import rng"}, FLOORS),
        ({"plugin/view.py": "", "skulls/extra.py": "def show():\n    import cranial.plugin.view"}, FLOORS),
        ({"nets/extra.py": "import cranial.metrics"}, FLOORS),
        ({"volume_io/extra.py": "import cranial.cli"}, FLOORS),
        (
            {"generators/vae.py": "", "generators/wgan_gp.py": "from cranial.generators import vae"},
            "Generators do not import each other",
        ),
        ({"skulls/extra.py": "from qtpy import QtCore"}, QT),
        ({"nets/extra.py": "def view():\n    import napari"}, QT),
    ],
)
def test_an_import_against_the_contracts_is_found(copy, files, contract):
    for name, text in files.items():
        write(copy / "cranial" / name, text)
    code, said = lint(copy)
    assert code == 1 and f"{contract} BROKEN" in said, said


def test_the_plugin_may_import_qt_and_everything_public(copy):
    write(copy / "cranial" / "plugin" / "view.py", "import napari\nimport qtpy\nfrom cranial import volume")
    code, said = lint(copy)
    assert code == 0, said
