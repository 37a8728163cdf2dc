"""GPU kernels without a GPU: run in Triton's interpreter, and compiled ahead for the GPUs of the study's time."""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed; pip install 'cranial[gpu]'"
)


def run_interpreted(code: str) -> None:
    """Run Python code in a process in which kernels are interpreted: triton must be told before it is imported."""
    here = Path(__file__).resolve().parent
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def compile_report(kernel, signature: dict, constexprs: dict, arch: int) -> dict[str, int]:
    """Registers a thread and bytes spilled, as ptxas counts them, of a kernel compiled for sm_80, sm_90, ..."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    full = {name: signature.get(name, "constexpr") for name in kernel.arg_names}
    source = ASTSource(kernel, signature=full, constexprs=constexprs)
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32))
    assert compiled.asm["cubin"]
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    architecture = re.search(r"\.target (\w+)", compiled.asm["ptx"])[1]
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "kernel.ptx")
        text.write_text(compiled.asm["ptx"])
        for ptxas in sorted(tools.glob("ptxas*")):  # one of them knows the version of PTX that was written
            command = [ptxas, "-v", f"--gpu-name={architecture}", text, "-o", Path(folder, "kernel.cubin")]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                break
    assert done.returncode == 0, done.stderr
    said = done.stderr
    registers = int(re.search(r"Used (\d+) registers", said)[1])
    spills = sum(int(each) for each in re.findall(r"(\d+) bytes spill (?:stores|loads)", said))
    return {"registers": registers, "spills_bytes": spills}
