"""`import cranial` is instant, for every command, notebook and completion waits for it."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "monai", "numpy", "scipy", "skimage", "numba", "nibabel", "nrrd", "trimesh", "pydicom"}
HEAVY |= {"matplotlib", "pydantic", "papermill", "lightning_fabric", "napari"}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_cranial_takes_less_than_a_third_of_a_second():
    code = "from time import perf_counter as now; t = now(); import cranial; print(now() - t)"
    assert min(float(python(code)) for _ in range(3)) < 0.3


@pytest.mark.parametrize(
    "code",
    [
        "import cranial",
        "import cranial.skulls",
        "from cranial.cli import build_parser; build_parser()",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(code):
    loaded = set(python(f"{code}\nimport sys; print(*sys.modules)").split())
    assert "cranial" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("module", ["volume", "rng", "config", "metrics", "skulls.datasets", "skulls.splits"])
def test_torch_is_imported_only_where_it_is_used(module):
    loaded = set(python(f"import cranial.{module}, sys; print(*sys.modules)").split())
    assert not loaded & {"torch", "monai", "lightning_fabric", "matplotlib", "papermill"}


def test_the_map_of_the_package_names_every_module_and_no_other(repository):
    import cranial

    paths = (repository / "cranial").iterdir()
    there = {p.stem for p in paths if p.suffix == ".py" or (p / "__init__.py").exists()} - {"__init__"}
    lines = cranial.__doc__.split("\n\n")[1].splitlines()
    named = {line.split()[0] for line in lines}
    assert named == there
    assert all(line.rstrip().endswith("?") or "?" in line for line in lines), "each module answers a question"
