"""A checkpoint comes back to the bit or not at all."""

import json
import math
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from cranial import checkpoint
from cranial.checkpoint import CheckpointError


def equal(a, b) -> bool:
    """The same tree, to the bit: dtypes, shapes, tuples that stay tuples, and nan equal to nan."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and (a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Conv3d(4, 1, 1))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return checkpoint.save(tmp_path / "last.safetensors", {"step": 3, "weights": torch.arange(1000.0)})


def test_a_tree_of_every_kind_comes_back_to_the_bit(tmp_path):
    weight = torch.randn(2, 3, 4, 5, 6)
    tree = {
        "last": weight.contiguous(memory_format=torch.channels_last_3d),
        "transposed": weight.transpose(1, 4),
        "half": weight.half(),
        "bfloat16": weight.bfloat16(),
        "double": weight.double(),
        "integer": torch.tensor(2**60),
        "mask": weight > 0,
        "empty": torch.zeros(0, 3),
        "nan": torch.tensor([float("inf"), 1.5]),
        "tied": [weight, weight, weight[0]],
        "betas": (0.9, (0.999, None)),
        "values": [True, 3, 0.1, math.inf, math.nan, "tête", None, {}, [], ()],
        7: {"0": torch.ones(1), 0: torch.zeros(1)},
        "a/b": torch.ones(2),
        "a": {"b": torch.zeros(2)},
    }
    assert equal(checkpoint.load(checkpoint.save(tmp_path / "x.safetensors", tree)), tree)


def test_an_optimiser_comes_back_to_the_bit(tmp_path):
    net = network()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, betas=(0.5, 0.9))
    net(torch.randn(2, 1, 6, 6, 6)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    assert equal(checkpoint.load(checkpoint.save(tmp_path / "x.safetensors", state)), state)


def test_the_file_is_plain_safetensors_with_json_and_no_pickle(saved):
    with safe_open(saved, framework="pt") as file:
        assert json.loads(file.metadata()["cranial"])["kind"] == "checkpoint"
        assert len(file.keys()) == 1


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(saved, monkeypatch):
    def power_cut(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", power_cut)
    with pytest.raises(OSError, match="no space left"):
        checkpoint.save(saved, {"step": 4})
    assert checkpoint.load(saved)["step"] == 3
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused_with_a_remedy(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        CheckpointError, match="truncated or not safetensors .* delete it to train from the start"
    ):
        checkpoint.load(saved)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.9999])
def test_one_flipped_bit_in_the_weights_is_found(saved, share):
    content = bytearray(saved.read_bytes())
    content[len(content) - 4000 + int(3999 * share)] ^= 4
    saved.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged: its contents do not match its SHA-256"):
        checkpoint.load(saved)


def test_a_changed_step_is_found(saved):
    content = saved.read_bytes()
    changed = content.replace(rb"[\"step\", 3]", rb"[\"step\", 9]")
    assert changed != content
    saved.write_bytes(changed)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(saved)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nothing.safetensors does not exist; check the folder"):
        checkpoint.load(tmp_path / "nothing.safetensors")


def test_safetensors_of_somebody_else_are_refused(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="was not written by cranial"):
        checkpoint.load(tmp_path / "x.safetensors")


def test_a_file_of_a_later_version_asks_for_an_update(saved, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 0)
    with pytest.raises(CheckpointError, match="has format version 1, this cranial reads 0; update cranial"):
        checkpoint.load(saved)


def test_weights_are_not_a_checkpoint_nor_a_checkpoint_weights(saved, tmp_path):
    with pytest.raises(
        CheckpointError, match="holds checkpoint, not weights; make weights from a checkpoint"
    ):
        checkpoint.load_weights(saved)
    shipped = checkpoint.save_weights(tmp_path / "w.safetensors", network(), {}, storage="float16")
    with pytest.raises(CheckpointError, match="holds weights, not checkpoint; weights alone cannot resume"):
        checkpoint.load(shipped)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), {(1, 2): 3}, {"a": [Path("x")]}])
def test_what_a_checkpoint_cannot_keep_is_named(tmp_path, value):
    with pytest.raises(CheckpointError, match="state/odd.* which a checkpoint cannot keep"):
        checkpoint.save(tmp_path / "x.safetensors", {"state": {"odd": value}})
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize(
    ("storage", "bytes_each", "error"), [("float32", 4, 0), ("float16", 2, 2**-11), ("bfloat16", 2, 2**-8)]
)
def test_shipped_weights_take_their_bytes_and_keep_their_precision(tmp_path, storage, bytes_each, error):
    net, card = nn.Conv3d(8, 32, 5), {"architecture": {"channels": [8, 32]}, "card": {"dice": 0.71}}
    path = checkpoint.save_weights(tmp_path / "w.safetensors", net, card, storage=storage)
    weights, metadata = checkpoint.load_weights(path)
    assert metadata == card
    assert path.stat().st_size < bytes_each * sum(p.numel() for p in net.parameters()) + 2000
    for name, tensor in net.state_dict().items():
        assert weights[name].dtype == torch.float32
        assert ((weights[name] - tensor).abs() <= error * tensor.abs() + 1e-7).all()
    checkpoint.load_into(nn.Conv3d(8, 32, 5), weights, name="net", path=path)


def test_counters_of_a_shipped_network_stay_integers(tmp_path):
    path = checkpoint.save_weights(tmp_path / "w.safetensors", network(), {}, storage="bfloat16")
    assert checkpoint.load_weights(path)[0]["1.num_batches_tracked"].dtype == torch.int64


def test_weights_too_large_for_float16_are_refused(tmp_path):
    net = nn.Linear(2, 2)
    net.weight.data[0, 0] = 1e6
    with pytest.raises(
        CheckpointError, match="weight has values up to 1e.06, .* store as bfloat16 or float32"
    ):
        checkpoint.save_weights(tmp_path / "w.safetensors", net, {}, storage="float16")
    net.weight.data[0, 0] = math.nan
    with pytest.raises(CheckpointError, match="weight .* not finite in bfloat16; the network has diverged"):
        checkpoint.save_weights(tmp_path / "w.safetensors", net, {}, storage="bfloat16")


def test_an_unknown_storage_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="storage is 'int8'; choose one of float32, float16, bfloat16"):
        checkpoint.save_weights(tmp_path / "w.safetensors", network(), {}, storage="int8")


def test_a_damaged_shipped_file_asks_to_fetch_it_again(tmp_path):
    path = checkpoint.save_weights(tmp_path / "w.safetensors", network(), {}, storage="float32")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated .* fetch or install the file again"):
        checkpoint.load_weights(path)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (nn.Linear(3, 2), r"weight is float32 \(2, 4\) in the file and float32 \(2, 3\) in the network"),
        (nn.Linear(4, 2, bias=False), r"bias is float32 \(2,\) in the file and absent in the network"),
        (nn.Linear(4, 2).double(), r"bias is float32 \(2,\) in the file and float64 \(2,\) in the network"),
        (nn.Bilinear(4, 4, 2), r"weight is float32 \(2, 4\) in the file and float32 \(2, 4, 4\)"),
    ],
)
def test_weights_of_another_architecture_name_the_first_difference(other, difference):
    with pytest.raises(CheckpointError, match=f"a.file does not fit critic: {difference}"):
        checkpoint.load_into(other, nn.Linear(4, 2).state_dict(), name="critic", path="a.file")


def test_weights_may_be_read_by_whom_the_umask_lets(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    path = checkpoint.save_weights(tmp_path / "w.safetensors", torch.nn.Linear(2, 2), {}, storage="float32")
    assert path.stat().st_mode == plain.stat().st_mode
