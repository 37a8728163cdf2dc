"""Losses that several methods share: each equals its formula, one number a case, the same at every size."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from cranial.objectives import kl, reconstruction, reparametrised, separation, soft_dice

CASES = (3, 2, 4, 5, 6)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(shape=CASES, seed=0):
    return torch.randn(shape, generator=rng(seed), dtype=torch.float64)


def uniform(shape=CASES, seed=0):
    return torch.rand(shape, generator=rng(seed), dtype=torch.float64)


def plain_dice(p, t):
    """1 - (2 sum(p t) + 1) / (sum p + sum t + 1), as the study writes it."""
    axes = tuple(range(2, p.ndim))
    return 1 - (2 * (p * t).sum(axes) + 1) / (p.sum(axes) + t.sum(axes) + 1)


def logits_of(probabilities):
    """Logits that are exactly 0 and 1 once they are probabilities."""
    return torch.where(probabilities > 0.5, 1000.0, -1000.0)


def halves():
    """(1, 2, 4, 4, 4): a skull on the left, a defect on the right."""
    case = torch.zeros(1, 2, 4, 4, 4)
    case[:, 0, :2], case[:, 1, 2:] = 1, 1
    return case


# -- one number a case


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (lambda: soft_dice(uniform(), uniform(seed=1)), (3, 2)),
        (lambda: reconstruction(normal(), uniform(), cross_entropy=0.0), (3,)),
        (lambda: reconstruction(normal(), uniform(), cross_entropy=5.0), (3,)),
        (lambda: separation(normal()), (3,)),
        (lambda: kl(normal(), normal(seed=1)), (3,)),
    ],
)
def test_a_loss_is_one_number_a_case(loss, shape):
    assert loss().shape == shape


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: soft_dice(a.sigmoid(), b.sigmoid()),
        lambda a, b: reconstruction(a, b.sigmoid(), cross_entropy=5.0),
        lambda a, b: separation(a),
        kl,
    ],
)
def test_a_case_has_the_loss_that_it_has_alone(loss):
    a, b = normal(), normal(seed=1)
    alone = torch.cat([loss(a[k : k + 1], b[k : k + 1]) for k in range(len(a))])
    torch.testing.assert_close(loss(a, b), alone)


# -- soft Dice


def test_on_binary_targets_soft_dice_is_the_plain_formula():
    p, t = uniform(), (uniform(seed=1) > 0.5).double()
    torch.testing.assert_close(soft_dice(p, t), plain_dice(p, t))


def test_on_binary_proposals_soft_dice_is_the_plain_formula():
    p, t = (uniform() > 0.5).double(), uniform(seed=1)
    torch.testing.assert_close(soft_dice(p, t), plain_dice(p, t))


def test_soft_dice_is_least_where_the_proposal_is_the_occupancy():
    """The plain formula would push a voxel that is 0.4 full to 0 or 1."""
    t = uniform(seed=1)
    assert torch.equal(soft_dice(t, t), torch.zeros(3, 2).double())
    for seed in range(20):
        near = (t + 0.1 * normal(seed=seed)).clamp(0, 1)
        assert (soft_dice(near, t) > 0).all()
    assert (plain_dice(t.round(), t) < plain_dice(t, t)).all()


def test_soft_dice_does_not_know_which_is_the_target():
    p, t = uniform(), uniform(seed=1)
    torch.testing.assert_close(soft_dice(p, t), soft_dice(t, p))


def test_soft_dice_of_nothing_and_nothing_is_zero_and_of_disjoint_parts_nearly_one():
    nothing, case = torch.zeros(1, 2, 4, 4, 4), halves()
    assert torch.equal(soft_dice(nothing, nothing), torch.zeros(1, 2))
    torch.testing.assert_close(soft_dice(case, case.flip(1)), torch.full((1, 2), 1 - 1 / 65))


# -- reconstruction


def test_reconstruction_is_the_mean_dice_of_the_channels_plus_the_mean_cross_entropy_of_a_voxel():
    logits, target = normal().float(), uniform(seed=1).float()
    p = logits.sigmoid()
    entropy = -(target * p.log() + (1 - target) * (1 - p).log()).mean((1, 2, 3, 4))
    dice = 0.5 * (soft_dice(p, target)[:, 0] + soft_dice(p, target)[:, 1])
    torch.testing.assert_close(reconstruction(logits, target, cross_entropy=0.0), dice)
    torch.testing.assert_close(reconstruction(logits, target, cross_entropy=3.0), dice + 3 * entropy)


def test_a_perfect_reconstruction_costs_nothing():
    case = halves()
    assert reconstruction(logits_of(case), case, cross_entropy=5.0).item() == 0


def test_reconstruction_is_in_float32_whatever_the_network_made():
    logits, target = normal().bfloat16(), uniform(seed=1).float()
    found = reconstruction(logits, target, cross_entropy=1.0)
    assert found.dtype == torch.float32
    assert torch.equal(found, reconstruction(logits.float(), target, cross_entropy=1.0))
    assert separation(logits).dtype == torch.float32


# -- separation


def test_separation_is_one_for_disjoint_parts_and_nearly_zero_for_equal_ones():
    case = halves()
    assert separation(logits_of(case)).item() == pytest.approx(1 - 1 / 65)
    equal = case[:, :1].expand(-1, 2, -1, -1, -1)
    assert separation(logits_of(equal)).item() == pytest.approx(0)
    assert separation(torch.full(CASES, -1000.0)).abs().max() == 0, "of nothing and nothing"


def test_separation_is_one_minus_the_plain_soft_dice_of_skull_and_defect():
    p = normal().sigmoid()
    expected = plain_dice(p[:, :1], p[:, 1:]).squeeze(1).float()
    torch.testing.assert_close(separation(normal()), expected)


def test_more_separation_pushes_the_channels_away_from_each_other_and_not_to_zero_or_one():
    """A voxel that both channels claim equally is given up by both; one that only the skull claims is left to it."""
    logits = torch.tensor([[2.0, 2.0], [2.0, -8.0]]).T.reshape(1, 2, 2, 1, 1).requires_grad_()
    separation(logits).sum().backward()
    shared, claimed = logits.grad[0, :, 0].flatten(), logits.grad[0, :, 1].flatten()
    assert (shared < 0).all() and claimed[0] > 0 > claimed[1]


# -- KL


def test_kl_is_that_of_torch_distributions_per_number():
    mu, logvar = normal(), normal(seed=1)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).flatten(1).mean(1)
    torch.testing.assert_close(kl(mu, logvar), expected)


def test_kl_per_number_is_the_same_at_every_size():
    mu, logvar = normal((2, 3, 2, 2, 2)), normal((2, 3, 2, 2, 2), seed=1)
    larger = (x.repeat(1, 2, 3, 4, 5) for x in (mu, logvar))
    torch.testing.assert_close(kl(*larger), kl(mu, logvar))


def test_kl_is_zero_for_the_prior_alone():
    nothing = torch.zeros(CASES)
    assert torch.equal(kl(nothing, nothing), torch.zeros(3))
    for mu, logvar in ((0.1, 0.0), (-0.1, 0.0), (0.0, 0.1), (0.0, -0.1)):
        assert (kl(nothing + mu, nothing + logvar) > 0).all()


# -- reparametrised


def test_a_reparametrised_latent_has_the_mean_and_the_deviation_it_was_asked_for():
    mu, logvar = torch.full((100_000,), 3.0), torch.full((100_000,), math.log(0.25))
    z = reparametrised(mu, logvar, rng())
    assert z.mean().item() == pytest.approx(3, abs=0.01) and z.std().item() == pytest.approx(0.5, abs=0.01)


def test_the_gradient_of_a_latent_is_one_for_its_mean_and_half_its_noise_for_its_log_variance():
    """z = mu + exp(logvar / 2) e: dz/dmu = 1, dz/dlogvar = 1/2 exp(logvar / 2) e = (z - mu) / 2."""
    mu, logvar = normal().requires_grad_(), normal(seed=1).requires_grad_()
    z = reparametrised(mu, logvar, rng(3))
    z.sum().backward()
    assert torch.equal(mu.grad, torch.ones_like(mu))
    torch.testing.assert_close(logvar.grad, 0.5 * (z - mu).detach())


def test_the_noise_of_a_latent_comes_from_the_generator_that_is_passed():
    mu, logvar = normal(), normal(seed=1)
    torch.manual_seed(1)
    one = reparametrised(mu, logvar, rng(5))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(one, reparametrised(mu, logvar, rng(5)))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(one, reparametrised(mu, logvar, rng(6)))


def test_the_cross_entropy_has_a_gradient_where_dice_has_nearly_none():
    """A network that proposes nothing: why reconstruction has both."""
    slopes = []
    for weight in (0.0, 5.0):
        logits = torch.full((1, 2, 4, 4, 4), -12.0, requires_grad=True)
        reconstruction(logits, halves(), cross_entropy=weight).sum().backward()
        slopes.append(logits.grad.norm().item())
    assert slopes[1] > 1000 * slopes[0]
    assert F.binary_cross_entropy_with_logits(torch.tensor(-12.0), torch.tensor(1.0)) > 11
