"""Would another runtime ask the shipped network faster? torch.compile, OpenVINO and ONNX Runtime beside ours.

    python benchmarks/runtimes.py                               # a table; --json for one object, with "ratios"
    pip install openvino onnx onnxruntime                       # for theirs; what is not installed is left out

One pass of the shipped network on the cube of a phantom with a hole, medians; how long each takes before the first
answer, and how far its probabilities are from eager float32's. Ours is what `infer` does: bfloat16, channels last.
"""

import argparse
import copy
import io
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from unittest import mock

import numpy as np
import torch
from reconstruct_speed import with_torchs_convolutions
from torch import Tensor, nn

from cranial import report
from cranial.nets import residual_unet
from cranial.reconstruction import Model, load_model
from cranial.reconstruction.grid import lay_grid
from cranial.reconstruction.learner import network_input
from cranial.reconstruction.predict import look, suggest
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom

Ask = Callable[[], np.ndarray]


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    model = load_model()
    network, x = model.network, phantom_input(model)
    rows, truth = [], None
    for name, ready in ways(network, x, options.threads):
        started = time.perf_counter()
        ask = ready()
        logits = ask()
        first = time.perf_counter() - started
        probability = 1 / (1 + np.exp(-logits.astype(np.float32)))
        truth = probability if truth is None else truth
        rows.append({"runtime": name, "seconds": statistics.median(timed(ask) for _ in range(options.repeats)),
                     "seconds before the first answer": first,
                     "largest difference": float(np.abs(probability - truth).max())})  # fmt: skip
    ours = next(row["seconds"] for row in rows if row["runtime"] == "ours")
    ratios = {f"{row['runtime']} over ours": row["seconds"] / ours for row in rows}
    result = {"threads": options.threads, "runtimes": rows, "ratios": ratios}
    print(json.dumps(result) if options.json else report.table(rows, digits=3))


def phantom_input(model: Model) -> Tensor:
    """What the network sees of a phantom with a hole, (1, C, n, n, n)."""
    skull = cut(phantom(0, spacing_mm=3.0), "parietotemporal", seed=0).defective
    seen = look(model, skull, lay_grid(skull, model.side), suggest(model, skull))
    return network_input(torch.from_numpy(seen)[None], symmetry=model.symmetry)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def ways(network: nn.Module, x: Tensor, threads: int) -> Iterator[tuple[str, Callable[[], Ask]]]:
    """Name -> what makes it ready; the first is what the others are compared with."""
    plain = portable(network)
    yield "eager float32", lambda: torch_ask(plain, x)
    fast = copy.deepcopy(network).to(memory_format=torch.channels_last_3d)
    yield "ours", lambda: torch_ask(fast, x)
    yield "torch.compile, bfloat16", lambda: torch_ask(torch.compile(fast), x)
    if find_spec("openvino"):
        for precision in ("f32", "bf16"):
            yield f"OpenVINO, {precision}", partial(openvino_ask, plain, x, threads, precision)
    if find_spec("onnxruntime") and find_spec("onnx"):
        yield "ONNX Runtime, float32", lambda: onnx_ask(plain, x, threads)


def portable(network: nn.Module) -> nn.Module:
    """The network in operations that every runtime knows, in contiguous layout; what was loaded stays as it is."""
    plain = copy.deepcopy(network).float()
    with_torchs_convolutions(plain)

    def forward(x: Tensor) -> Tensor:
        with mock.patch.object(residual_unet, "to_patches", patches):
            return type(plain).forward(plain, x)

    plain.forward = forward
    return plain


def patches(x: Tensor, patch: int) -> Tensor:
    """`nets.blocks.to_patches` without a word on the layout, of which ONNX knows none."""
    b, c, *sides = x.shape
    d, h, w = (side // patch for side in sides)
    x = x.reshape(b, c, d, patch, h, patch, w, patch).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, c * patch**3, d, h, w)


def torch_ask(network: nn.Module, x: Tensor) -> Ask:
    def ask() -> np.ndarray:
        with torch.inference_mode():
            return network(x.to(next(network.parameters()).dtype)).float().numpy()

    return ask


def openvino_ask(network: nn.Module, x: Tensor, threads: int, precision: str) -> Ask:
    openvino = import_module("openvino")
    with torch.no_grad():
        converted = openvino.convert_model(network, example_input=x)
    converted.reshape(list(x.shape))
    asked = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    request = openvino.Core().compile_model(converted, "CPU", asked).create_infer_request()
    return lambda: next(iter(request.infer([x.numpy()]).values())).copy()


def onnx_ask(network: nn.Module, x: Tensor, threads: int) -> Ask:
    onnxruntime = import_module("onnxruntime")
    file = io.BytesIO()
    torch.onnx.export(network, (x,), file, dynamo=False, opset_version=18)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file.getvalue(), options)
    return lambda: session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


def timed(ask: Ask) -> float:
    started = time.perf_counter()
    ask()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
