"""Encoder and decoder: any side, any width, and the same case whichever way memory is saved."""

import json

import pytest
import torch

from cranial.checkpoint import load_into, load_weights, save_weights
from cranial.nets.autoencoder import LOGVAR_LIMIT, AutoencoderShape, Decoder, Encoder, VariationalEncoder
from cranial.nets.blocks import parameter_count

SHAPES = [
    AutoencoderShape(2, 4, (8, 16), 1, 1, 2),  # stride 4
    AutoencoderShape(2, 3, (4, 6, 8), 2, 0, 2),  # stride 8
    AutoencoderShape(2, 5, (12, 20), 1, 2, 4),  # stride 8, no power of two
    AutoencoderShape(1, 2, (6,), 1, 0, 3),  # stride 3, one level
    AutoencoderShape(3, 4, (4, 4, 4, 4, 4), 1, 0, 1),  # stride 16, every voxel
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"stride{s.stride}-widths{s.widths}")
@pytest.mark.parametrize("sides", [(32, 32, 32), (48, 48, 48), (64, 64, 64), (32, 48, 64)])
def test_a_case_becomes_a_small_volume_and_a_case_again(shape, sides):
    sides = tuple(n // shape.stride * shape.stride for n in sides)
    case = torch.rand(1, shape.channels, *sides)
    with torch.no_grad():
        embedding = Encoder(shape)(case)
        mu, logvar = VariationalEncoder(shape)(case)
        logits = Decoder(shape)(embedding)
    assert embedding.shape[1:] == mu.shape[1:] == logvar.shape[1:] == shape.latent_shape(*sides)
    assert logits.shape == case.shape


def test_the_embedding_can_have_other_channels_than_the_shape():
    assert Encoder(SHAPES[0], outputs=7)(torch.rand(1, 2, 8, 8, 8)).shape == (1, 7, 2, 2, 2)


def test_each_setting_changes_what_there_is_to_learn():
    def size(**settings):
        shape = AutoencoderShape(**{"widths": (8, 16), **settings})
        return parameter_count(Encoder(shape)) + parameter_count(Decoder(shape))

    settings = ({}, {"blocks": 2}, {"middle": 2}, {"patch": 4}, {"latent_channels": 9}, {"channels": 1})
    assert len({size(**s) for s in settings}) == len(settings)


def test_blocks_in_the_middle_are_cheap_per_parameter_and_let_the_decoder_see_further():
    """One position of the embedding changes a larger part of the case."""

    def reached(middle):
        torch.manual_seed(0)
        decoder = Decoder(AutoencoderShape(1, 1, (4, 4), 1, middle, 1)).double()
        z = torch.rand(1, 1, 8, 8, 8, dtype=torch.float64)
        changed = z.clone()
        changed[..., 0, 0, 0] += 1
        blocks = [m for m in decoder.modules() if hasattr(m, "norm")]
        for block in blocks:
            block.norm = torch.nn.Identity()  # a norm reaches everywhere at once
        return int((decoder(z) != decoder(changed)).sum())

    assert reached(2) > reached(0)


def test_mu_and_logvar_are_two_different_answers():
    mu, logvar = VariationalEncoder(SHAPES[0])(torch.rand(1, 2, 16, 16, 16))
    assert not torch.allclose(mu, logvar)


def test_logvar_stays_within_its_limit_and_can_still_come_back():
    encoder = VariationalEncoder(SHAPES[0])
    torch.nn.init.constant_(encoder.encoder.head.bias, 25.0)
    logvar = encoder(torch.rand(1, 2, 16, 16, 16))[1]
    assert 9 < logvar.max() <= LOGVAR_LIMIT
    logvar.sum().backward()
    assert encoder.encoder.head.bias.grad.abs().max() > 0


def test_an_untrained_decoder_proposes_little():
    torch.manual_seed(0)
    shape = AutoencoderShape(widths=(8, 16))
    assert torch.sigmoid(Decoder(shape)(torch.randn(1, *shape.latent_shape(32)))).mean() < 0.2


@pytest.mark.parametrize(("module", "size"), [(VariationalEncoder, (2, 2, 16, 16, 16)), (Decoder, (2, 4, 4, 4, 4))])
def test_checkpointing_changes_neither_values_nor_gradients(module, size):
    torch.manual_seed(0)
    shape = AutoencoderShape(2, 4, (4, 8), 1, 1, 2)
    plain, saving = module(shape), module(shape, checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    values, results = torch.rand(size), []
    for network in (plain, saving):
        x = values.clone().requires_grad_()
        y = network(x)
        y = torch.cat(y, 1) if isinstance(y, tuple) else y
        y.square().mean().backward()
        results.append([y.detach(), x.grad, *(p.grad for p in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("side", [8, 16, 32])  # the embedding has 1, 2 and 4 positions along a side
def test_under_bfloat16_the_gradients_are_those_of_float32_but_for_rounding(side):
    torch.manual_seed(0)
    shape = AutoencoderShape(2, 4, (16, 16, 32), 1, 1, 2)
    encoder, decoder = VariationalEncoder(shape), Decoder(shape)
    case = (torch.rand(2, 2, side, side, side) < 0.1).float()
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            mu, logvar = encoder(case)
            logits = decoder(mu)
        loss = (torch.sigmoid(logits.float()) - case).square().sum() + mu.square().sum() + logvar.exp().sum()
        parameters = [*encoder.parameters(), *decoder.parameters()]
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    assert mu.dtype == logvar.dtype == torch.float32 and logits.dtype == torch.bfloat16
    error = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    assert 0 < error < 0.05


@pytest.mark.parametrize("module", [Encoder, VariationalEncoder, Decoder])
def test_saved_and_loaded_a_network_is_the_same_to_the_bit(module, tmp_path):
    network = module(SHAPES[2])
    save_weights(tmp_path / "w.safetensors", network, {"shape": SHAPES[2].as_dict()}, storage="float32")
    weights, metadata = load_weights(tmp_path / "w.safetensors")
    again = module(AutoencoderShape(**metadata["shape"]))
    load_into(again, weights, name=module.__name__, path=tmp_path / "w.safetensors")
    x = torch.rand(1, 5 if module is Decoder else 2, 16, 16, 16)
    first, second = (torch.cat(y, 1) if isinstance(y, tuple) else y for y in (network(x), again(x)))
    assert torch.equal(first, second)


def test_the_shape_survives_a_round_trip_through_json():
    assert AutoencoderShape(**json.loads(json.dumps(SHAPES[2].as_dict()))) == SHAPES[2]


def test_one_side_means_a_cube():
    assert SHAPES[0].latent_shape(64) == SHAPES[0].latent_shape(64, 64, 64) == (4, 16, 16, 16)


@pytest.mark.parametrize("sides", [(30,), (32, 32), (32, 32, 30), (0,)])
def test_sides_that_have_no_embedding_are_refused(sides):
    with pytest.raises(ValueError, match="not one or three multiples of the network's stride 4"):
        SHAPES[0].latent_shape(*sides)


def test_a_side_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="not divisible by the network's stride 4"):
        Encoder(SHAPES[0])(torch.rand(1, 2, 8, 8, 10))


def test_another_encoders_embedding_is_refused():
    with pytest.raises(ValueError, match="embedding has 5 channels, this decoder's shape has latent_channels 4"):
        Decoder(SHAPES[0])(torch.rand(1, 5, 2, 2, 2))


@pytest.mark.parametrize("name", ["channels", "latent_channels", "blocks", "patch"])
def test_impossible_shapes_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 0; give an integer of at least 1"):
        AutoencoderShape(**{name: 0})
    with pytest.raises(ValueError, match="middle is -1; give an integer of at least 0"):
        AutoencoderShape(middle=-1)
    with pytest.raises(ValueError, match=r"widths is \(\); give the channels"):
        AutoencoderShape(widths=())
