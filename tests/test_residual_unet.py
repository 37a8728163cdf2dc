"""The residual UNet: shapes, sides, and that every voxel can hear every other."""

import pytest
import torch

from cranial.nets.residual_unet import ResidualUNet, ResidualUNetShape, from_patches, to_patches


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("sides", [(16, 16, 16), (32, 16, 24)])
def test_the_output_has_the_grid_of_the_input(patch, sides):
    network = ResidualUNet(ResidualUNetShape(2, 3, (4, 8, 8), 1, patch))
    assert network(torch.rand(2, 2, *sides)).shape == (2, 3, *sides)


def test_the_studys_network_is_one_choice_of_its_shape():
    network = ResidualUNet(ResidualUNetShape())
    assert network.shape.stride == 16 and network(torch.rand(1, 1, 16, 16, 16)).shape == (1, 1, 16, 16, 16)


def test_patches_and_back_are_the_identity():
    x = torch.rand(2, 3, 8, 4, 12)
    assert torch.equal(from_patches(to_patches(x, 2), 2), x)
    assert torch.equal(to_patches(x, 1), x)


def test_a_patch_keeps_neighbours_together():
    x = torch.zeros(1, 1, 4, 4, 4)
    x[0, 0, :2, :2, :2] = 1
    assert to_patches(x, 2)[0, :, 0, 0, 0].sum() == 8


def test_each_block_starts_as_its_shortcut():
    """Without this the single norm of a block would not be enough to keep the signal's size."""
    network = ResidualUNet(ResidualUNetShape(1, 1, (8, 16), 1, 1))
    x = torch.rand(1, 8, 8, 8, 8)
    block = network.decoder[0]
    assert torch.allclose(block(x), torch.nn.functional.leaky_relu(x), atol=0.05)


def test_an_untrained_network_proposes_little():
    torch.manual_seed(0)
    network = ResidualUNet(ResidualUNetShape(1, 1, (8, 16), 1, 2))
    assert torch.sigmoid(network(torch.rand(1, 1, 16, 16, 16))).mean() < 0.2


def test_a_corner_hears_the_opposite_corner():
    torch.manual_seed(0)
    network = ResidualUNet(ResidualUNetShape(1, 1, (4, 8, 8, 8), 1, 2)).double()
    x = torch.rand(1, 1, 32, 32, 32, dtype=torch.float64, requires_grad=True)
    network(x)[0, 0, 0, 0, 0].backward()
    assert x.grad[0, 0, -1, -1, -1].abs() > 0


def test_the_shape_survives_a_round_trip_through_json():
    import json

    shape = ResidualUNetShape(2, 1, (8, 16, 32), 2, 2)
    assert ResidualUNetShape(**json.loads(json.dumps(shape.as_dict()))) == shape


@pytest.mark.parametrize(("wide", "groups"), [(False, [8, 8, 8, 8, 8]), (True, [2, 4, 6, 2, 4])])
def test_norms_are_of_at_most_8_groups_or_of_16_channels_each(wide, groups):
    network = ResidualUNet(ResidualUNetShape(1, 1, (32, 64, 96), wide_groups=wide))
    norms = [module.num_groups for module in network.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert sorted(norms) == sorted(groups)


def test_a_side_that_does_not_divide_is_refused():
    network = ResidualUNet(ResidualUNetShape(1, 1, (4, 8), 1, 2))
    with pytest.raises(ValueError, match="not divisible by the network's stride 4"):
        network(torch.rand(1, 1, 16, 16, 18))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch": 0}, "patch is 0"),
        ({"widths": (8,)}, "at least two levels"),
        ({"widths": (8, 0)}, "at least"),
        ({"blocks": 0}, "at least one block"),
    ],
)
def test_impossible_shapes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ResidualUNetShape(**settings)
