"""What follows a convolution, in one pass: as exact as one rounding allows, and nobody's gradients are lost."""

import pytest
import torch
from torch.nn import functional as F

from cranial.kernels import epilogue as kernels
from cranial.kernels.epilogue import add_leaky, norm_leaky, reference
from cranial.nets.blocks import ResidualBlock
from cranial.nets.residual_unet import ResidualUNet, ResidualUNetShape

SHAPES = [(1, 24, 5, 7, 9), (2, 32, 4, 4, 4), (1, 3, 1, 1, 2), (1, 64, 40, 33, 3)]  # the last for several threads
GROUPS = {24: 8, 32: 2, 3: 1, 64: 8}


def random(shape, seed=0, dtype=torch.bfloat16):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3 + 1
    return values.to(dtype).contiguous(memory_format=torch.channels_last_3d)


def parameters(channels):
    return random((1, channels, 1, 1, 1), 1).flatten(), random((1, channels, 1, 1, 1), 2).flatten()


def is_one_rounding_off(found, exact):
    """Every number of `found`, bfloat16, is as near to `exact` as its 8 bits allow, and a little of the arithmetic."""
    return ((found.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-4).all()


@pytest.fixture
def without_reference(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("the compiled kernel was not used")

    monkeypatch.setattr(kernels.reference, "norm_leaky", fail)
    monkeypatch.setattr(kernels.reference, "add_leaky", fail)


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", SHAPES)
def test_norm_and_activation_are_one_rounding_off(shape, threads, without_reference):
    x, (weight, bias) = random(shape), parameters(shape[1])
    exact = F.group_norm(x.double(), GROUPS[shape[1]], weight.double(), bias.double(), 1e-5)
    with torch.inference_mode():
        found = norm_leaky(x.clone(), GROUPS[shape[1]], weight, bias, slope=0.01)
    assert is_one_rounding_off(found, F.leaky_relu(exact, 0.01))


@pytest.mark.parametrize("shape", SHAPES)
def test_sum_and_activation_are_torchs_own_but_for_one_rounding(shape, threads, without_reference):
    x, y = random(shape), random(shape, 3)
    with torch.no_grad():
        found = add_leaky(x.clone(), y, slope=0.25)
    assert is_one_rounding_off(found, F.leaky_relu(x.double() + y.double(), 0.25))


def test_rounding_is_half_to_even_as_torch_does_it(without_reference):
    x = torch.tensor([1.0, 1 + 2**-7, -1.0, 3.0, 0.0]).bfloat16().reshape(1, 1, 1, 1, 5)
    half = torch.tensor([2**-8, 2**-8, -(2**-8), 2**-30, 0.0]).bfloat16().reshape(x.shape)
    with torch.no_grad():
        found = add_leaky(x.clone(), half, slope=1.0)
    assert torch.equal(found, (x.float() + half.float()).bfloat16())


def test_what_came_in_is_overwritten_and_the_other_summand_is_not(without_reference):
    x, y = random((1, 8, 4, 4, 4)), random((1, 8, 4, 4, 4), 3)
    before = y.clone()
    with torch.no_grad():
        assert norm_leaky(x, 2, *parameters(8), slope=0.01).data_ptr() == x.data_ptr()
        assert add_leaky(x, y, slope=0.01).data_ptr() == x.data_ptr()
    assert torch.equal(y, before)


@pytest.mark.parametrize(
    "as_it_comes", [lambda x: x.float(), lambda x: x.contiguous(), lambda x: x[..., 0]], ids=["float32", "laid", "flat"]
)
def test_anything_else_is_torchs_own(as_it_comes):
    x, y = as_it_comes(random((1, 8, 4, 4, 4))), as_it_comes(random((1, 8, 4, 4, 4), 3))
    weight, bias = (p.to(x.dtype) for p in parameters(8))
    with torch.no_grad():
        assert torch.equal(
            norm_leaky(x.clone(), 4, weight, bias, slope=0.1), F.leaky_relu(F.group_norm(x, 4, weight, bias), 0.1)
        )
        assert torch.equal(add_leaky(x.clone(), y, slope=0.1), F.leaky_relu(x + y, 0.1))


def test_gradients_flow_where_they_are_asked_for():
    x, y = (random((1, 8, 4, 4, 4), seed, torch.float64).requires_grad_() for seed in (0, 3))
    weight, bias = (p.double().requires_grad_() for p in parameters(8))
    assert torch.autograd.gradcheck(
        lambda *all: add_leaky(norm_leaky(all[0], 4, *all[2:], slope=0.1), all[1], slope=0.1), (x, y, weight, bias),
        fast_mode=True,
    )  # fmt: skip
    block = ResidualBlock(8, 8).bfloat16().to(memory_format=torch.channels_last_3d)
    block(random((1, 8, 4, 4, 4))).sum().backward()
    assert all(p.grad is not None for p in block.parameters())


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="8 channels cannot be divided into 3 groups; give a divisor"):
        norm_leaky(random((1, 8, 4, 4, 4)), 3, *parameters(8), slope=0.01)


def test_a_network_says_the_same_with_them_and_without(monkeypatch):
    torch.manual_seed(0)
    network = ResidualUNet(ResidualUNetShape(2, 1, (24, 32), patch=2)).eval()
    for block in network.modules():
        if isinstance(block, ResidualBlock):
            torch.nn.init.normal_(block.conv2.weight, std=0.05)
    x = random((1, 2, 16, 16, 16))
    with torch.inference_mode():
        exact = network(x.float())
        network = network.bfloat16().to(memory_format=torch.channels_last_3d)
        with_them = network(x).float()
        monkeypatch.setattr("cranial.nets.blocks.norm_leaky", reference.norm_leaky)
        monkeypatch.setattr("cranial.nets.blocks.add_leaky", reference.add_leaky)
        without = network(x).float()
    error = (with_them - exact).abs().mean()
    assert 0 < error <= 1.05 * (without - exact).abs().mean(), "rounded less often, it is no further off"
    assert not torch.equal(with_them, without)
