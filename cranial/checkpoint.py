"""A checkpoint is one file: a tree of tensors and plain values in safetensors, hashed, replaced atomically.

`save` and `load` keep any nested dict, list or tuple, so a module's and an optimiser's state_dict() go in and
come out to the bit, without pickle. `save_weights` and `load_weights` do the same for one shipped network.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

VERSION = 1  # of the layout below; raise it when an older reader could no longer understand the file
STORAGE = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, read, or used with this network; the message says what to do."""


def save(path: Path | str, state: Any) -> Path:
    """Write a tree of dicts, lists, tuples, tensors and JSON values; the old file stays until it is whole."""
    return _write(Path(path), "checkpoint", state)


def load(path: Path | str) -> Any:
    """Read what `save` wrote, on the CPU. CheckpointError if it is absent, damaged or something else."""
    return _read(Path(path), "checkpoint")


def save_weights(path: Path | str, module: nn.Module, metadata: Mapping[str, Any], *, storage: str) -> Path:
    """Write a network to ship: weights, floats kept as `storage` (float32, float16, bfloat16), and metadata.

    metadata: JSON values, by convention {"architecture": what builds it, "card": data, licences, scores}.
    """
    if storage not in STORAGE:
        raise CheckpointError(f"storage is {storage!r}; choose one of {', '.join(STORAGE)}")
    weights = {}
    for name, tensor in module.state_dict().items():
        stored = tensor.detach().to(STORAGE[storage]) if tensor.is_floating_point() else tensor.detach()
        if not stored.isfinite().all():
            raise CheckpointError(
                f"{name} has values up to {tensor.abs().max():.3g}, which are not finite in {storage}; "
                f"{'store as bfloat16 or float32' if tensor.isfinite().all() else 'the network has diverged'}"
            )
        weights[name] = stored
    return _write(Path(path), "weights", {"weights": weights, "storage": storage, "metadata": dict(metadata)})


def load_weights(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state_dict in float32, metadata) of a shipped network, for the network its architecture describes."""
    state = _read(Path(path), "weights")
    weights = {n: t.float() if t.is_floating_point() else t for n, t in state["weights"].items()}
    return weights, state["metadata"]


def load_into(module: nn.Module, weights: Mapping[str, Tensor], *, name: str, path: Path | str) -> None:
    """Copy weights into a module of the same architecture; the first difference is an error that names it."""
    own = module.state_dict()
    for key in sorted(own.keys() | weights.keys()):
        ours, theirs = (_describe(side[key]) if key in side else "absent" for side in (own, weights))
        if ours != theirs:
            raise CheckpointError(
                f"{path} does not fit {name}: {key} is {theirs} in the file and {ours} in the network; "
                f"build the network with the settings the file was trained with, or use another file"
            )
    module.load_state_dict(dict(weights))


def _describe(value: Any) -> str:
    return (
        f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
        if isinstance(value, Tensor)
        else "a value"
    )


def _write(path: Path, kind: str, state: Any) -> Path:
    tensors: dict[str, Tensor] = {}
    document = {"version": VERSION, "kind": kind, "tree": _flatten(state, kind, tensors)}
    facts = json.dumps(document)
    header = {"cranial": facts, "sha256": _digest(facts, tensors)}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # what the user's umask gives; safetensors would make it theirs alone
        save_file(tensors, temporary, metadata=header)
        temporary.chmod(mode)
        with open(temporary, "rb+") as file:  # on the disk before it gets its name: power may fail in between
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _read(path: Path, kind: str) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; check the folder, or train first")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise CheckpointError(f"{path} is truncated or not safetensors ({error}); {_remedy(kind)}") from error
    if "cranial" not in header:
        raise CheckpointError(
            f"{path} was not written by cranial; give a file from cranial's training or weights"
        )
    facts = header["cranial"]
    if header.get("sha256") != _digest(facts, tensors):
        raise CheckpointError(f"{path} is damaged: its contents do not match its SHA-256; {_remedy(kind)}")
    document = json.loads(facts)
    if document["version"] != VERSION:
        raise CheckpointError(
            f"{path} has format version {document['version']}, this cranial reads {VERSION}; update cranial"
        )
    if document["kind"] != kind:
        raise CheckpointError(f"{path} holds {document['kind']}, not {kind}; {_OTHER_KIND[kind]}")
    return _unflatten(document["tree"], tensors)


_OTHER_KIND = {
    "checkpoint": "weights alone cannot resume a training; give the last.safetensors of a training folder",
    "weights": "make weights from a checkpoint with checkpoint.save_weights",
}


def _remedy(kind: str) -> str:
    if kind == "weights":
        return "fetch or install the file again"
    return "delete it to train from the start, or put a copy of an older checkpoint in its place"


def _digest(facts: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {_describe(tensors[name])}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The tree in JSON, its tensors moved to `tensors` under the name of their place in the tree."""
    if isinstance(value, Tensor):
        while name in tensors:  # {"a/b": x} and {"a": {"b": x}} would share a name
            name += "'"
        # clone: safetensors wants every tensor contiguous and in memory of its own (tied weights share it)
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, Mapping) and all(type(key) in (int, str) for key in value):
        return {"dict": [[key, _flatten(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_flatten(item, f"{name}/{index}", tensors) for index, item in enumerate(value)]
        return {type(value).__name__: items} if type(value) in (list, tuple) else {"tuple": items}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise CheckpointError(
        f"{name} is a {type(value).__name__}, which a checkpoint cannot keep; use tensors, numbers, strings, "
        "None, lists and tuples of them, and dicts whose keys are strings or integers"
    )


def _unflatten(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unflatten(item, tensors) for key, item in content}
    items = [_unflatten(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
