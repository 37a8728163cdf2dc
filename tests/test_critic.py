"""The critic judges each case alone, and its gradient, which the penalty is made of, can be differentiated."""

import json

import pytest
import torch

from cranial.checkpoint import load_into, load_weights, save_weights
from cranial.nets.critic import Critic, CriticShape

NORMS = ["none", "layer", "instance"]


def penalty(critic, x):
    """The gradient penalty of WGAN-GP at x."""
    x = x.clone().requires_grad_()
    gradient = torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0]
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sides", [(32, 32, 32), (48, 48, 48), (32, 48, 64)])
@pytest.mark.parametrize(("widths", "patch"), [((8, 16), 2), ((6, 10, 12), 1), ((8,), 4)])
def test_a_case_gets_one_number(norm, sides, widths, patch):
    assert Critic(CriticShape(2, widths, 1, patch, norm))(torch.rand(2, 2, *sides)).shape == (2,)


@pytest.mark.parametrize(("norm", "groups"), [("none", []), ("layer", [1, 1]), ("instance", [6, 10])])
def test_a_norm_is_over_a_sample_or_over_each_of_its_channels(norm, groups):
    critic = Critic(CriticShape(2, (6, 10), 1, 2, norm))
    assert [m.num_groups for m in critic.modules() if isinstance(m, torch.nn.GroupNorm)] == groups


@pytest.mark.parametrize("norm", NORMS)
def test_a_case_is_judged_alone(norm):
    torch.manual_seed(0)
    critic = Critic(CriticShape(2, (4, 8), 1, 2, norm)).double()
    x = torch.rand(3, 2, 16, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(critic(x)[1:2], critic(x[1:2]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_the_penalty_has_the_gradient_of_finite_differences(norm):
    torch.manual_seed(0)
    critic = Critic(CriticShape(2, (2, 4), 2, 2, norm)).double()
    for p in critic.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x = torch.rand(2, 2, 8, 8, 8, dtype=torch.float64)
    parameters = list(critic.parameters())[:-1]  # the bias of the score has no part in the gradient by the case
    gradients = torch.autograd.grad(penalty(critic, x), parameters)
    generator = torch.Generator().manual_seed(0)
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
    expected = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True)).item()
    values = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.add_(d, alpha=step)
        values.append(penalty(critic, x).item())
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_penalty_in_float32_reaches_every_weight_with_finite_numbers(norm, checkpointing):
    torch.manual_seed(0)
    critic = Critic(CriticShape(2, (8, 16), 1, 2, norm), checkpointing=checkpointing)
    critic = critic.to(memory_format=torch.channels_last_3d)
    penalty(critic, (torch.rand(2, 2, 16, 16, 16) < 0.1).float()).backward()
    # biases move a piecewise linear critic up and down, which the gradient by the case does not see
    gradients = [p.grad for p in critic.parameters() if p.ndim > 1]
    assert all(g.isfinite().all() and g.abs().max() > 0 for g in gradients)


@pytest.mark.parametrize("side", [32, 48, 64])
def test_the_gradients_norm_starts_near_one_whatever_the_side(side):
    """So the penalty does not have to spend the first thousand steps on scaling the critic."""
    torch.manual_seed(0)
    critic = Critic(CriticShape(2, (8, 16, 32), 1, 2))
    x = (torch.rand(2, 2, side, side, side) < 0.1).float().requires_grad_()
    gradient = torch.autograd.grad(critic(x).sum(), x)[0]
    assert ((0.5 < gradient.flatten(1).norm(dim=1)) & (gradient.flatten(1).norm(dim=1) < 2)).all()


def test_checkpointing_changes_neither_scores_nor_gradients():
    plain, saving = (Critic(CriticShape(2, (4, 8), 1, 2), checkpointing=c) for c in (False, True))
    saving.load_state_dict(plain.state_dict())
    x, results = torch.rand(2, 2, 16, 16, 16), []
    for critic in (plain, saving):
        scores = critic(x)
        scores.sum().backward()
        results.append([scores, *(p.grad for p in critic.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_under_bfloat16_scores_are_float32_and_close():
    critic, x = Critic(CriticShape(2, (16, 16, 16), 1, 2)), (torch.rand(2, 2, 16, 16, 16) < 0.1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = critic(x)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, critic(x), rtol=0.05, atol=0.05)


def test_saved_and_loaded_a_critic_is_the_same_to_the_bit(tmp_path):
    shape, path = CriticShape(2, (6, 10), 2, 2, "instance"), tmp_path / "w.safetensors"
    critic = Critic(shape)
    save_weights(path, critic, {"shape": shape.as_dict()}, storage="float32")
    weights, metadata = load_weights(path)
    again = Critic(CriticShape(**json.loads(json.dumps(metadata["shape"]))))
    load_into(again, weights, name="critic", path=path)
    x = torch.rand(1, 2, 16, 16, 16)
    assert again.shape == shape and torch.equal(critic(x), again(x))


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="norm is 'batch'; choose 'none', 'layer' or 'instance'"):
        CriticShape(norm="batch")
    with pytest.raises(ValueError, match="blocks is 0; give an integer of at least 1"):
        CriticShape(blocks=0)
    with pytest.raises(ValueError, match="widths is .*; give the channels"):
        CriticShape(widths=(0,))
    with pytest.raises(ValueError, match="not divisible by the network's stride 4"):
        Critic(CriticShape(2, (4, 8), 1, 2))(torch.rand(1, 2, 8, 8, 6))
