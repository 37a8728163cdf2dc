"""A notebook and a YAML make a run: a folder with the executed notebook, its parameters and its pictures.

    RUN_DIR/notebook.ipynb   the notebook as executed: the lab book; after a failed cell, as far as it got
    RUN_DIR/params.yaml      the parameters, word for word
    RUN_DIR/versions.json    python, packages, git commit, platform
    RUN_DIR/figures/         every picture that the notebook shows, cell_05.png for its cell In [5]

A notebook runs in its own folder, as it does in JupyterLab, so relative paths mean the same in both. If it
declares `output_dir`, it is told RUN_DIR. Its kernel is the Python that runs this, whatever else there is.
"""

import ast
import base64
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from cranial.config import read_yaml, unknown_key

NOTEBOOK = "notebook.ipynb"


class NotebookError(ValueError):
    """A notebook that cannot be run as asked, or that failed; the message says where and what is kept."""


@dataclass(frozen=True)
class Run:
    """A finished run: the executed notebook, the pictures it showed, and how long it took."""

    notebook: Path
    figures: tuple[Path, ...]
    seconds: float


def run_notebook(
    notebook: str | Path, params: str | Path, run_dir: str | Path, *, progress: bool = True
) -> Run:
    """Run `notebook` with the values of the YAML `params`, keeping everything in `run_dir`.

    Raises NotebookError for a parameter that the notebook does not declare (naming the nearest one), for a
    failed cell or a kernel that died: then RUN_DIR/notebook.ipynb is the notebook as far as it got.
    """
    notebook, params, run_dir = (Path(p).resolve() for p in (notebook, params, run_dir))
    values = read_yaml(params)
    declared = declared_parameters(notebook)
    for key in values:
        if key not in declared:
            raise NotebookError(f"{params}: {unknown_key(key, declared)} (parameters of {notebook.name})")
    if "output_dir" in declared:
        values.setdefault("output_dir", str(run_dir))
    try:
        import ipykernel  # noqa: F401
        import papermill
        from nbclient.exceptions import DeadKernelError
        from traitlets.config import Config

        from . import notebook_engine
    except ModuleNotFoundError as error:
        raise NotebookError(f"{error.name} is not installed; pip install 'cranial[lab]'") from None

    figures_dir = run_dir / "figures"
    figures_dir.mkdir(parents=True, exist_ok=True)
    for stale in [run_dir / NOTEBOOK, *figures_dir.glob("cell_*.png")]:
        stale.unlink(missing_ok=True)
    _write(run_dir / "params.yaml", params.read_bytes())
    _write(run_dir / "versions.json", json.dumps(versions(notebook.parent), indent=2).encode() + b"\n")

    running = run_dir / "running.ipynb"  # written after every cell, and renamed when the run is over
    figures: tuple[Path, ...] = ()
    started = time.perf_counter()
    try:
        with _kernel_of_this_python() as kernel_name:
            papermill.execute_notebook(
                notebook,
                running,
                values,
                engine_name=notebook_engine.NAME,
                kernel_name=kernel_name,
                language="python",
                cwd=notebook.parent,
                progress_bar={"desc": notebook.stem} if progress else False,
                stderr_file=sys.stderr if progress else None,
                # Others on this machine can read a loopback port: encrypt where the kernel can.
                config=Config(KernelManager={"transport_encryption": "auto"}),
            )
    except (papermill.PapermillExecutionError, DeadKernelError) as error:
        if isinstance(error, DeadKernelError):
            what = "the kernel died, mostly for want of memory"
        else:
            what = f"In [{error.exec_count}] failed: {error.ename}: {error.evalue}"
        raise NotebookError(
            f"{notebook.name}: {what}; the notebook as far as it got is {run_dir / NOTEBOOK}"
        ) from error
    finally:
        if running.exists():
            os.replace(running, run_dir / NOTEBOOK)
            figures = _save_figures(run_dir / NOTEBOOK, figures_dir)
    return Run(run_dir / NOTEBOOK, figures, time.perf_counter() - started)


def declared_parameters(notebook: str | Path) -> list[str]:
    """The names that the notebook's cell tagged `parameters` assigns, in order; none without such a cell.

    The cell is parsed as Python: papermill's own inspection, by regular expression, skips lines with two `=`.
    """
    notebook = Path(notebook)
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        raise NotebookError(f"{notebook} does not exist; give the path of a notebook") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise NotebookError(f"{notebook} is not a notebook; give the path of an .ipynb file") from None
    for number, cell in enumerate(cells, 1):
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
            try:
                statements = ast.parse(source).body
            except SyntaxError as error:
                raise NotebookError(
                    f"{notebook}, cell {number}: the parameters cell is not plain Python ({error.msg}, "
                    f"line {error.lineno}); keep to lines like 'steps = 200'"
                ) from None
            return [name for statement in statements for name in _assigned(statement)]
    return []


def versions(folder: Path) -> dict[str, Any]:
    """What the run ran on: Python, every package, the git commit of `folder` (or None), the machine."""
    packages = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "git": _git_commit(folder),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def _assigned(statement: ast.stmt) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [node.id for t in targets if t is not None for node in ast.walk(t) if isinstance(node, ast.Name)]


def _git_commit(folder: Path) -> dict[str, Any] | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


@contextlib.contextmanager
def _kernel_of_this_python() -> Iterator[str]:
    """The name of a kernel that is this interpreter, for as long as it is needed.

    A user may have registered a python3 kernel of another environment; JUPYTER_PATH is searched before it.
    """
    from ipykernel.kernelspec import get_kernel_dict

    # Quiet: it would report the shutdown of every good run as an interrupt. Whatever backend the shell chose,
    # pictures belong into the notebook.
    spec = get_kernel_dict(extra_arguments=["--log-level=CRITICAL"])
    spec["env"] = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    before = os.environ.get("JUPYTER_PATH")
    with tempfile.TemporaryDirectory(prefix="cranial-kernel-") as folder:
        kernel = Path(folder, "kernels", "python3")
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
        os.environ["JUPYTER_PATH"] = folder if before is None else os.pathsep.join([folder, before])
        try:
            yield "python3"
        finally:
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before


def _save_figures(executed: Path, folder: Path) -> tuple[Path, ...]:
    """Write every PNG that the notebook shows: In [5]'s first to cell_05.png, its second to cell_05_2.png."""
    saved = []
    for cell in json.loads(executed.read_text(encoding="utf-8"))["cells"]:
        outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
        pictures = [data["image/png"] for data in outputs if "image/png" in data]
        for index, picture in enumerate(pictures, 1):
            name = f"cell_{cell['execution_count']:02d}" + (f"_{index}" if index > 1 else "")
            saved.append(folder / f"{name}.png")
            _write(saved[-1], base64.b64decode("".join(picture)))
    return tuple(saved)


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
