"""What all networks are made of: what a block starts as, what a patch is, what a network costs, and bfloat16's trap."""

import pytest
import torch
from torch import nn

from cranial.nets.blocks import (
    Conv3d,
    ResidualBlock,
    at_least_float32,
    check_counts,
    check_sides,
    check_widths,
    groups_of_16,
    multiply_adds,
    parameter_count,
    run,
)


@pytest.mark.parametrize(("channels", "groups"), [(16, 1), (48, 3), (12, 1), (128, 8), (20, 1)])
def test_a_group_is_16_channels_or_all_of_them(channels, groups):
    assert groups_of_16(channels) == groups


def test_a_block_without_a_norm_has_none():
    block = ResidualBlock(4, 6, groups=0)
    assert not any(isinstance(m, nn.GroupNorm) for m in block.modules())
    x = torch.rand(1, 4, 4, 4, 4)
    assert not torch.allclose(block(3 * x), block(x), atol=1e-3)


def test_a_block_can_be_differentiated_twice():
    """The activations are in place; the gradient penalty needs what they were."""
    torch.manual_seed(0)
    block = ResidualBlock(2, 4, 2, groups=2).double()
    nn.init.normal_(block.conv2.weight)
    x = torch.rand(2, 2, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(block, (x,))


@pytest.mark.parametrize(("size", "stride"), [((2, 2, 2), 1), ((1, 1, 1), 2), ((2, 4, 4), 1), ((4, 4, 1), 2)])
def test_under_bfloat16_the_gradients_of_a_short_input_are_those_of_float32(size, stride):
    """torch 2.13 leaves the gradient of the weights unwritten there; whatever was in the memory is the gradient."""
    torch.manual_seed(0)
    conv, x = Conv3d(16, 16, 3, stride=stride, padding=1), torch.randn(2, 16, *size)
    gradients = []
    for enabled in (False, True):
        conv.zero_grad()
        unwritten = [torch.full((2**n,), float("nan")) for n in range(6, 17)]  # what a fresh allocation may hold
        del unwritten
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            conv(x).float().square().sum().backward()
        gradients.append(conv.weight.grad.clone())
    torch.testing.assert_close(*gradients, rtol=0.02, atol=0.02 * gradients[0].abs().max().item())


def test_under_bfloat16_a_long_input_is_computed_in_bfloat16():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Conv3d(2, 2, 3, padding=1)(torch.rand(1, 2, 3, 3, 3)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("settings", "side"),
    [
        ({"padding": 1}, 8),
        ({"stride": 2, "padding": 1}, 9),
        ({"dilation": 2, "bias": False}, 8),
        ({"padding": (0, 2, 1)}, 6),
    ],
)
@pytest.mark.parametrize("items", [1, 2])
def test_a_convolution_has_torchs_values_and_gradients_twice(settings, side, items):
    torch.manual_seed(0)
    ours, theirs = Conv3d(4, 6, 3, **settings), nn.Conv3d(4, 6, 3, **settings)
    theirs.load_state_dict(ours.state_dict())
    values, results = torch.randn(items, 4, side, side, side), []
    for conv in (ours, theirs):
        x = values.clone().requires_grad_()
        y = conv(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        gradient.square().sum().backward()
        results.append([y, gradient, x.grad, conv.weight.grad])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * b.abs().max().item())


@pytest.mark.parametrize(("given", "wanted"), [("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")])
def test_at_least_float32_never_takes_bits_away(given, wanted):
    assert at_least_float32(torch.zeros(1, dtype=getattr(torch, given))).dtype == getattr(torch, wanted)


def test_parameters_are_those_that_training_changes():
    conv = nn.Conv3d(3, 5, 3)
    assert parameter_count(conv) == 3 * 5 * 27 + 5
    conv.bias.requires_grad_(False)
    assert parameter_count(conv) == 3 * 5 * 27


@pytest.mark.parametrize("conv", [nn.Conv3d, Conv3d])
@pytest.mark.parametrize("items", [1, 2])
def test_multiply_adds_of_a_convolution_are_positions_times_taps(conv, items):
    assert multiply_adds(conv(3, 5, 3, padding=1), torch.rand(items, 3, 4, 6, 8)) == items * 4 * 6 * 8 * 3 * 5 * 27


def test_checkpointing_keeps_less_for_the_backward_pass():
    level, x = nn.Sequential(ResidualBlock(4, 4), ResidualBlock(4, 4)), torch.rand(1, 4, 8, 8, 8)
    kept = []
    for checkpointing in (False, True):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            run(level, x.clone().requires_grad_(), checkpointing=checkpointing).sum().backward()
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 3


def test_without_gradients_nothing_is_checkpointed():
    with torch.no_grad():
        assert not run(nn.Identity(), torch.rand(1, requires_grad=True), checkpointing=True).grad_fn


def test_a_side_that_does_not_divide_is_named():
    with pytest.raises(ValueError, match=r"input sides \(8, 8, 9\) are not divisible by the network's stride 4"):
        check_sides(torch.zeros(1, 1, 8, 8, 9), 4)


@pytest.mark.parametrize("value", [0, 1.0, True])
def test_a_count_is_an_integer_of_at_least(value):
    with pytest.raises(ValueError, match="blocks is .*; give an integer of at least 1"):
        check_counts(1, blocks=value)


@pytest.mark.parametrize("widths", [(), (8, 0), (8, 2.5)])
def test_each_level_has_channels(widths):
    with pytest.raises(ValueError, match="widths is .*; give the channels of each level"):
        check_widths(widths)
