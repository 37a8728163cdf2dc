"""What a new machine is told: pyproject, the conda environment, the Makefile, CI and the README agree."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec

import cranial
from cranial.cli import build_parser
from cranial.config import read_yaml
from cranial.notebook_run import declared_parameters

# Where conda-forge's name is another than PyPI's.
CONDA_NAME = {"torch": "pytorch", "matplotlib": "matplotlib-base", "playwright": "playwright-python"}
# What conda-forge has not; snakemake is in bioconda, which would be a channel for two packages.
NOT_ON_CONDA_FORGE = {
    "ipyniivue",
    "lightning-fabric",
    "snakemake",
    "snakemake-executor-plugin-slurm",
    "surface-distance",
    "torchio",
}

CODE = ("cranial", "tests", "benchmarks")
# Which files may import what an extra brings, by the beginning of their path; the base is everybody's.
EXTRAS = {
    "cranial/notebook_run.py": ["lab"],
    "cranial/notebook_engine.py": ["lab"],
    "cranial/widgets": ["lab"],
    "cranial/plugin/": ["app"],
    "cranial/kernels/": ["gpu"],
    "tests/": ["lab", "app", "bench", "gpu", "dev"],
    "benchmarks/": ["bench", "dev"],
}


@pytest.fixture(scope="module")
def project(repository) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def environment(repository) -> dict:
    return read_yaml(repository / "environment.yml")


def requirements(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def wanted_by_environment(project: dict) -> dict[str, Requirement]:
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name != "gpu"}
    return requirements([*project["dependencies"], *(line for lines in extras.values() for line in lines)])


# pyproject


def test_the_extras_are_those_that_the_readme_names(project, repository):
    named = re.search(r"^Extras: (.*)$", (repository / "README.md").read_text(), re.MULTILINE)
    assert set(project["optional-dependencies"]) == set(re.findall(r"`(\w+)`", named[1]))


def test_torch_has_an_upper_bound(project):
    torch = requirements(project["dependencies"])["torch"].specifier
    assert "2.6" in torch and "2.13" in torch and "2.14" not in torch


def foreign_imports(path: Path) -> set[str]:
    """The top-level modules that a file imports, less Python's own and the project's."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    root = Path(__file__).parent.parent
    ours = {"cranial"} | {p.stem for folder in (path.parent, root / "benchmarks") for p in folder.glob("*.py")}
    return names - set(sys.stdlib_module_names) - ours


def test_everything_that_the_package_imports_is_declared_and_nothing_else_is_in_the_base(project, repository):
    extras = {name: set(requirements(lines)) for name, lines in project["optional-dependencies"].items()}
    base = set(requirements(project["dependencies"]))
    distributions = packages_distributions()
    used = set()
    for path in sorted(p for folder in CODE for p in (repository / folder).rglob("*.py")):
        place = path.relative_to(repository).as_posix()
        own = [extra for prefix, names in EXTRAS.items() if place.startswith(prefix) for extra in names]
        allowed = base.union(*(extras[name] for name in own))
        for module in foreign_imports(path):
            homes = {canonicalize_name(name) for name in [module, *distributions.get(module, [])]}
            assert homes & allowed, f"{place} imports {module}, which pyproject does not declare for it"
            used |= homes if place.startswith("cranial/") else set()
    assert base - used == set(), "declared in the base but imported nowhere"


def test_the_wheel_carries_the_data_and_the_licence_and_no_tests(repository, tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    (wheel,) = tmp_path.glob(f"cranial-{cranial.__version__}-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    files = {
        str(path.relative_to(repository))
        for path in (repository / "cranial").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert any(name.endswith(".json") for name in files)  # the splits
    assert {name for name in packed if ".dist-info/" not in name} == files
    assert any(name.endswith("licenses/LICENSE") for name in packed)


def test_the_licence_is_apache_2(repository):
    text = (repository / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


# environment.yml


def test_the_environment_uses_conda_forge_alone(environment):
    assert environment["name"] == "cranial"
    assert environment["channels"] == ["conda-forge"]


def test_every_line_of_the_environment_is_a_valid_match_spec_with_a_version(environment):
    *lines, pip = environment["dependencies"]
    for line in lines:
        spec = MatchSpec(line, strict=True)
        assert spec.version is not None or line == "pip", f"{line} has no version"
    assert list(pip) == ["pip"]
    names = [MatchSpec(line, strict=True).name.normalized for line in lines]
    assert len(names) == len(set(names))


def test_the_environment_asks_for_the_versions_of_pyproject(environment, project):
    *lines, _ = environment["dependencies"]
    conda = {spec.name.normalized: spec.version for spec in (MatchSpec(line, strict=True) for line in lines)}
    for name, requirement in wanted_by_environment(project).items():
        if name not in NOT_ON_CONDA_FORGE:
            version = conda.pop(CONDA_NAME.get(name, name))
            assert SpecifierSet(str(version)) == requirement.specifier, name
    # napari's Qt, an extra of napari on PyPI, is a package of its own on conda-forge
    assert set(conda) == {"python", "pip", "pyqt6"}


def test_the_environment_leaves_to_pip_what_conda_forge_has_not(environment, project):
    *_, last = environment["dependencies"]
    *lines, itself = last["pip"]
    assert itself == "-e ."
    wanted = wanted_by_environment(project)
    assert {n: r.specifier for n, r in requirements(lines).items()} == {
        name: wanted[name].specifier for name in NOT_ON_CONDA_FORGE
    }


def test_the_environment_has_a_python_that_pyproject_accepts(environment, project):
    (python,) = (MatchSpec(line, strict=True) for line in environment["dependencies"][:1])
    assert python.name.normalized == "python"
    conda, pip = SpecifierSet(str(python.version)), SpecifierSet(project["requires-python"])
    versions = [f"3.{minor}" for minor in range(8, 20)]
    assert [v for v in versions if v in conda] == ["3.11", "3.12", "3.13"]
    assert all(v in pip for v in versions if v in conda)
    assert "3.10" not in pip


# Makefile and CI


@pytest.fixture
def machine(repository, tmp_path) -> Path:
    """A copy of the set-up whose python, ruff and cranial only note how they were called."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(repository / name, tmp_path)
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    for name in ("python", "ruff", "cranial"):
        (bin_folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >>calls\n')
        (bin_folder / name).chmod(0o755)
    for folder in ("params/demo", "notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("01_skulls", "06_reconstruction"):
        (tmp_path / "params" / "demo" / f"{name}.yaml").write_text(f"# What of {name}?\n")
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def calls(folder: Path) -> list[str]:
    text = (folder / "calls").read_text()
    (folder / "calls").unlink()
    return text.splitlines()


def test_make_test_installs_once_then_only_tests(machine):
    done = make(machine, "test")
    assert done.returncode == 0
    install = "python -m pip install --editable .[lab,app,batch,bench,gpu,dev]"
    assert calls(machine) == [install, "ruff check .", "python -m pytest"]
    assert "installing .[lab,app,batch,bench,gpu,dev]" in done.stdout and "tests (pytest)" in done.stdout
    assert make(machine, "test").returncode == 0
    assert calls(machine) == ["ruff check .", "python -m pytest"]
    assert make(machine, "demo").returncode == 0
    assert all(call.startswith("cranial run") for call in calls(machine))
    stamp = machine / ".venv" / ".with-dev"
    earlier = (machine / "pyproject.toml").stat().st_mtime - 5
    os.utime(stamp, (earlier, earlier))  # as if pyproject.toml had changed since
    assert make(machine, "test").returncode == 0
    assert calls(machine)[0] == install


def test_make_demo_runs_every_notebook_and_ends_by_saying_where_to_look(machine):
    done = make(machine, "demo")
    assert done.returncode == 0
    run = "cranial run notebooks/{0}.ipynb params/demo/{0}.yaml --output outputs/demo/{0}"
    assert calls(machine) == [
        "python -m pip install --editable .[lab]",
        run.format("01_skulls"),
        run.format("06_reconstruction"),
    ]
    assert "notebook 2 of 2, 06_reconstruction: What of 06_reconstruction?" in done.stdout
    *_, look, first, second, how = done.stdout.splitlines()
    assert look.endswith("Where to look:") and how.endswith("make lab")
    assert "outputs/demo/01_skulls/notebook.ipynb" in first and "06_reconstruction/figures/" in second


def test_a_notebook_that_fails_ends_the_demo(machine):
    (machine / ".venv" / "bin" / "cranial").write_text('#!/bin/sh\necho "cranial $*" >>calls\nexit 1\n')
    done = make(machine, "demo")
    assert done.returncode != 0 and "Where to look" not in done.stdout
    assert len(calls(machine)) == 2


def test_a_failed_installation_shows_its_end_and_is_tried_again(machine):
    python = machine / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "python $*" >>calls\necho ERROR: no such wheel >&2\nexit 1\n')
    for _ in range(2):
        done = make(machine, "test")
        assert done.returncode != 0
        assert "ERROR: no such wheel" in done.stdout and ".venv/install.log" in done.stderr
        assert calls(machine) == ["python -m pip install --editable .[lab,app,batch,bench,gpu,dev]"]


def test_without_a_python_the_makefile_says_what_to_install(machine):
    shutil.rmtree(machine / ".venv")
    done = make(machine, "test", "PYTHON=/no/such/python")
    assert done.returncode != 0 and not (machine / ".venv").exists()
    assert "no Python of version 3.11 or newer with venv was found" in done.stderr
    assert "apt install python3-venv" in done.stderr


def test_the_makefile_makes_its_environment_with_the_python_it_is_given(machine):
    shutil.rmtree(machine / ".venv")
    (machine / "some-python").write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo Python 3.99\n[ $2 = venv ] && mkdir -p $3/bin"
        " && printf '#!/bin/sh\\nexit 1\\n' >$3/bin/python && chmod +x $3/bin/python\nexit 0\n"
    )
    (machine / "some-python").chmod(0o755)
    done = make(machine, "test", "PYTHON=./some-python")
    assert "making the environment .venv with Python 3.99 (./some-python)" in done.stdout


def test_ci_runs_the_test_command_of_the_readme(repository, tmp_path):
    (tmp_path / ".ci").mkdir()
    shutil.copy(repository / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "make").write_text('#!/bin/sh\necho "make $* in $PWD"\nexit $MAKE_EXIT\n')
    (tmp_path / "make").chmod(0o755)
    for code in (0, 3):
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MAKE_EXIT": str(code)}
        command = ["bash", str(tmp_path / ".ci" / "run")]
        done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)
        assert done.returncode == code
        assert f"make test in {tmp_path}" in done.stdout
    assert os.access(repository / ".ci" / "run", os.X_OK)
    assert "make test" in (repository / "README.md").read_text()


def test_without_the_libraries_of_qt_only_naparis_tests_are_skipped(repository, tmp_path):
    (tmp_path / "PyQt6").mkdir()
    (tmp_path / "PyQt6" / "__init__.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_plugin.py", "-rs"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    assert "1 skipped" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]
    assert "libGL.so.1" in done.stdout and ".ci/run has the Debian packages" in done.stdout


# README, demo, git


def test_every_command_in_the_readme_is_one_that_the_parser_accepts(repository):
    text = (repository / "README.md").read_text()
    lines = [line for line in text.splitlines() if re.match(r"cranial [a-z]+ [^|]*--", line)]
    parsed = [build_parser().parse_args(shlex.split(line, comments=True)[1:]) for line in lines]
    assert {options.command.__name__ for options in parsed} == {
        "reconstruct", "implant", "evaluate", "phantom", "register", "synthesize", "train", "batch", "run"
    }


def test_every_notebook_has_its_demo_parameters_and_declares_them(repository):
    notebooks = {path.stem: path for path in (repository / "notebooks").glob("*.ipynb")}
    params = {path.stem: path for path in (repository / "params" / "demo").glob("*.yaml")}
    assert notebooks and set(notebooks) == set(params)
    for name, path in params.items():
        assert path.read_text().startswith("# "), f"{path.name} does not say what it asks"
        assert set(read_yaml(path)) <= set(declared_parameters(notebooks[name]))


def test_git_keeps_the_outputs_folder_and_the_weights_but_no_results(repository, tmp_path):
    shutil.copy(repository / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    paths = ["outputs/.gitkeep", "outputs/demo/a.ipynb", "cranial/weights/model.safetensors", ".venv/x"]
    command = ["git", "-C", str(tmp_path), "check-ignore", *paths]
    ignored = subprocess.run(command, capture_output=True, text=True).stdout.split()
    assert ignored == ["outputs/demo/a.ipynb", ".venv/x"]
    assert (repository / "outputs" / ".gitkeep").exists()
