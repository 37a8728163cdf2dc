"""The noise predictor: any latents, a time for each, and a known embedding beside them."""

import json

import pytest
import torch

from cranial.checkpoint import load_into, load_weights, save_weights
from cranial.nets.denoiser import Denoiser, DenoiserShape, sinusoids


def trained(shape, **settings):
    """As after some training: layers that start at zero no longer are."""
    torch.manual_seed(0)
    network = Denoiser(shape, **settings)
    for p in network.parameters():
        if p.abs().max() == 0:
            torch.nn.init.normal_(p, std=0.05)
    return network


@pytest.mark.parametrize("side", [8, 16, 32])
@pytest.mark.parametrize(
    "shape",
    [
        DenoiserShape(3, 0, (8, 16), 1, 2),
        DenoiserShape(4, 2, (6, 10, 12), 2, 3),
        DenoiserShape(5, 0, (12,), 1, 0),
        DenoiserShape(2, 0, (16, 16, 32), 1, 0),
    ],
    ids=lambda s: f"widths{s.widths}",
)
def test_the_noise_has_the_shape_of_the_latents(shape, side):
    latents, known = torch.randn(1, shape.channels, side, side, side), torch.randn(1, shape.condition, side, side, side)
    noise = Denoiser(shape)(latents, torch.tensor([500]), known if shape.condition else None)
    assert noise.shape == latents.shape


def test_sides_may_differ():
    network, x = Denoiser(DenoiserShape(2, 0, (4, 8))), torch.randn(2, 2, 4, 6, 8)
    assert network(x, torch.tensor([0, 9])).shape == x.shape


def test_untrained_it_predicts_no_noise():
    assert not Denoiser(DenoiserShape(2, 0, (4, 8)))(torch.randn(1, 2, 4, 4, 4), torch.tensor([3])).any()


def test_time_and_the_known_embedding_both_count():
    network = trained(DenoiserShape(2, 3, (8, 8)))
    x, known = torch.randn(1, 2, 4, 4, 4), torch.randn(1, 3, 4, 4, 4)
    noise = network(x, torch.tensor([10]), known)
    assert not torch.allclose(noise, network(x, torch.tensor([11]), known), atol=1e-5)
    assert not torch.allclose(noise, network(x, torch.tensor([10]), known + 1), atol=1e-5)


def test_each_item_has_its_own_time():
    network = trained(DenoiserShape(2, 0, (8, 8))).double()
    x = torch.randn(2, 2, 4, 4, 4, dtype=torch.float64)
    both = network(x, torch.tensor([10, 700]))
    alone = [network(x[k : k + 1], torch.tensor([t])) for k, t in enumerate((10, 700))]
    torch.testing.assert_close(both, torch.cat(alone))


def test_with_attention_a_corner_hears_the_opposite_corner():
    def gradient(heads):
        network = trained(DenoiserShape(1, 0, (4, 4), 1, heads)).double()
        for module in network.modules():  # a group norm reaches everywhere as well
            for name, child in module.named_children():
                if isinstance(child, torch.nn.GroupNorm):
                    setattr(module, name, torch.nn.Identity())
        x = torch.randn(1, 1, 32, 32, 32, dtype=torch.float64, requires_grad=True)
        network(x, torch.tensor([5]))[0, 0, 0, 0, 0].backward()
        return x.grad[0, 0, -1, -1, -1].abs()

    assert gradient(heads=2) > 0 and gradient(heads=0) == 0


def test_all_times_of_a_schedule_look_different():
    for features in (8, 65):
        f = sinusoids(torch.arange(1000), features)
        assert f.shape == (1000, features) and torch.cdist(f, f).fill_diagonal_(1).min() > 1e-3
    assert torch.equal(sinusoids(torch.tensor([0]), 4), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))


def test_checkpointing_changes_neither_values_nor_gradients():
    shape = DenoiserShape(2, 1, (4, 8), 2)
    x, time, known = torch.randn(2, 2, 4, 4, 4), torch.tensor([1, 2]), torch.randn(2, 1, 4, 4, 4)
    results = []
    for checkpointing in (False, True):
        network = trained(shape, checkpointing=checkpointing)
        noise = network(x, time, known)
        noise.square().sum().backward()
        results.append([noise, *(p.grad for p in network.parameters())])
    assert all(torch.equal(a, b) and a.abs().max() > 0 for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("side", [2, 4, 8])
def test_under_bfloat16_noise_is_float32_and_gradients_close(side):
    network, gradients = trained(DenoiserShape(2, 0, (16, 32))), []
    x = torch.randn(2, 2, side, side, side)
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            noise = network(x, torch.tensor([3, 300]))
        loss = (noise - x).square().sum()
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()))]))
    assert noise.dtype == torch.float32
    assert 0 < (gradients[0] - gradients[1]).norm() / gradients[0].norm() < 0.05


def test_saved_and_loaded_a_denoiser_is_the_same_to_the_bit(tmp_path):
    shape, path = DenoiserShape(2, 0, (6, 10), 1, 2), tmp_path / "w.safetensors"
    network = trained(shape)
    save_weights(path, network, {"shape": shape.as_dict()}, storage="float32")
    weights, metadata = load_weights(path)
    again = Denoiser(DenoiserShape(**json.loads(json.dumps(metadata["shape"]))))
    load_into(again, weights, name="denoiser", path=path)
    x, time = torch.randn(1, 2, 4, 4, 4), torch.tensor([7])
    assert again.shape == shape and torch.equal(network(x, time), again(x, time))


def test_mistakes_are_named():
    network = Denoiser(DenoiserShape(2, 0, (4, 8)))
    x, time = torch.randn(2, 2, 4, 4, 4), torch.tensor([1, 2])
    with pytest.raises(ValueError, match="not divisible by the network's stride 2"):
        network(torch.randn(2, 2, 4, 4, 5), time)
    with pytest.raises(ValueError, match=r"time is \(1,\) for 2 latents"):
        network(x, time[:1])
    with pytest.raises(ValueError, match="known has 2 channels, this denoiser's shape has condition 0"):
        network(x, time, x)
    with pytest.raises(ValueError, match="known has 0 channels, this denoiser's shape has condition 1"):
        Denoiser(DenoiserShape(2, 1, (4, 8)))(x, time)
    with pytest.raises(ValueError, match="heads is 3, which does not divide the coarsest level's 8 channels"):
        DenoiserShape(2, widths=(4, 8), heads=3)
    with pytest.raises(ValueError, match="condition is -1; give an integer of at least 0"):
        DenoiserShape(2, condition=-1)
    with pytest.raises(ValueError, match="widths is .*; give the channels"):
        DenoiserShape(2, widths=())
