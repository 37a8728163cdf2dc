"""The prior: each code hears all before it and none after; drawing one by one is the same as one pass."""

import copy
import json

import pytest
import torch
from torch.nn import functional as F

from cranial.checkpoint import load_into, load_weights, save_weights
from cranial.nets.masked_prior import MaskedPrior, PriorShape, positions


def prior(shape, *, scale=2.0):
    """Weights large enough that what is far is heard in float64."""
    torch.manual_seed(0)
    network = MaskedPrior(shape).double()
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(scale)
    return network


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def heard(network, sides):
    """(n, n) boolean: does output i change when code j does?"""
    size = sides[0] * sides[1] * sides[2]
    codes = torch.randint(network.shape.codes, (1, size), generator=torch.Generator().manual_seed(1))
    changed = codes.repeat(size, 1)
    changed += torch.eye(size, dtype=torch.int64)
    changed %= network.shape.codes
    with torch.no_grad():
        # the unchanged one last, and not alone: the same arithmetic for all
        logits = network(torch.cat([changed, codes]).reshape(-1, *sides)).flatten(2)
    return (logits[:-1] != logits[-1:]).any(1).T


@pytest.mark.parametrize(
    ("sides", "kernel", "layers"),
    [((3, 4, 5), 3, 5), ((4, 4, 4), 3, 4), ((5, 3, 2), 5, 3), ((1, 1, 6), 3, 6), ((2, 6, 1), 3, 6)],
)
def test_every_position_hears_all_before_it_and_none_from_itself_on(sides, kernel, layers):
    found = heard(prior(PriorShape(5, 8, layers, kernel)), sides)
    expected = torch.ones_like(found).tril(-1)
    assert torch.equal(found, expected)


def test_with_few_layers_it_hears_less_but_never_what_comes_after():
    found = heard(prior(PriorShape(5, 8, 1)), (4, 4, 4))
    assert not found.triu().any() and 0 < found.sum() < torch.ones_like(found).tril(-1).sum()


def test_the_first_code_hears_nothing_and_still_has_a_distribution():
    network = prior(PriorShape(5, 8, 2))
    first = [network(torch.randint(5, (1, 2, 2, 2), generator=g))[0, :, 0, 0, 0] for g in generators(0, 1)]
    assert torch.equal(*first) and first[0].std() > 0


def test_a_position_knows_where_it_is():
    """The same code everywhere: what differs in the middle of the volume is the place."""
    network = prior(PriorShape(5, 8, 1))
    logits = network(torch.zeros(1, 8, 8, 8, dtype=torch.int64))[0]
    assert (logits[:, 4, 4, 4] - logits[:, 3, 3, 3]).abs().max() > 1e-3
    places = positions((3, 4, 5), like=torch.zeros(1, dtype=torch.float64))
    flat = places[0].flatten(1).T
    assert torch.cdist(flat, flat).fill_diagonal_(1).min() > 0.1


@pytest.mark.parametrize("sides", [(3, 4, 5), (1, 3, 1)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_drawing_one_by_one_uses_the_probabilities_of_one_pass(sides, kernel):
    network = prior(PriorShape(7, 6, 3, kernel))
    codes = network.sample(sides, generators(1, 2, 3))
    size = sides[0] * sides[1] * sides[2]
    uniform = torch.stack([torch.rand(size, generator=g, dtype=torch.float64) for g in generators(1, 2, 3)])
    cumulative = network(codes).softmax(1).cumsum(1).flatten(2)  # (B, codes, n)
    below = (cumulative <= uniform[:, None]).sum(1)
    assert torch.equal(codes.flatten(1), below) and len(codes.unique()) > 1


def test_item_k_of_many_is_item_k_alone():
    torch.manual_seed(0)
    network = MaskedPrior(PriorShape(16, 8, 3))
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(2.0)
    together = network.sample((4, 4, 4), generators(*range(9)))
    alone = [network.sample((4, 4, 4), generators(k)) for k in range(9)]
    assert torch.equal(together, torch.cat(alone))
    assert not torch.equal(together[0], together[1])


def test_sampling_leaves_the_network_as_it_was():
    network = MaskedPrior(PriorShape(5, 4, 2))
    before = copy.deepcopy(network.state_dict())
    network.sample((2, 2, 2), generators(0))
    after = network.state_dict()
    assert all(torch.equal(before[n], after[n]) and before[n].dtype == after[n].dtype for n in before)


def test_a_low_temperature_draws_the_most_likely_code():
    network = prior(PriorShape(5, 8, 2))
    codes = network.sample((2, 3, 2), generators(0, 1), temperature=1e-6)
    assert torch.equal(codes, network(codes).argmax(1)) and torch.equal(codes[0], codes[1])


def test_it_learns_two_volumes_and_draws_nothing_else():
    torch.manual_seed(0)
    volumes = torch.randint(6, (2, 3, 3, 3), generator=torch.Generator().manual_seed(5))
    network = MaskedPrior(PriorShape(6, 16, 3))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(network(volumes), volumes).backward()
        optimizer.step()
    drawn = network.sample((3, 3, 3), generators(*range(24)))
    matches = [sum(torch.equal(d, v) for d in drawn) for v in volumes]
    assert sum(matches) >= 22 and min(matches) >= 4


def test_every_weight_has_a_part_in_the_prediction():
    network = MaskedPrior(PriorShape(5, 4, 3))
    codes = torch.randint(5, (2, 3, 3, 3))
    F.cross_entropy(network(codes), codes).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


@pytest.mark.parametrize("sides", [(2, 2, 2), (4, 6, 5), (8, 8, 8)])
def test_under_bfloat16_logits_are_float32_and_gradients_close(sides):
    torch.manual_seed(0)
    network = MaskedPrior(PriorShape(12, 16, 2))
    codes, gradients = torch.randint(12, (2, *sides)), []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            logits = network(codes)
            loss = F.cross_entropy(logits, codes)
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()))]))
    assert logits.shape == (2, 12, *sides) and logits.dtype == torch.float32
    assert 0 < (gradients[0] - gradients[1]).norm() / gradients[0].norm() < 0.05


def test_saved_and_loaded_a_prior_draws_the_same(tmp_path):
    shape, path = PriorShape(5, 6, 2), tmp_path / "w.safetensors"
    network = MaskedPrior(shape)
    save_weights(path, network, {"shape": shape.as_dict()}, storage="float32")
    weights, metadata = load_weights(path)
    again = MaskedPrior(PriorShape(**json.loads(json.dumps(metadata["shape"]))))
    load_into(again, weights, name="prior", path=path)
    codes = torch.randint(5, (1, 3, 3, 3))
    assert torch.equal(network(codes), again(codes))
    assert torch.equal(*(n.sample((3, 3, 3), generators(4)) for n in (network, again)))


def test_mistakes_are_named():
    network = MaskedPrior(PriorShape(5, 4, 1))
    with pytest.raises(ValueError, match="give integers"):
        network(torch.rand(1, 2, 2, 2))
    with pytest.raises(ValueError, match=r"shape is \(2, 2\); give three sides"):
        network.sample((2, 2), generators(0))
    with pytest.raises(ValueError, match="temperature is 0; give a number above 0"):
        network.sample((2, 2, 2), generators(0), temperature=0)
    with pytest.raises(ValueError, match="generators is empty"):
        network.sample((2, 2, 2), [])
    with pytest.raises(ValueError, match="kernel is 4; give an odd integer"):
        PriorShape(5, kernel=4)
    with pytest.raises(ValueError, match="layers is 0; give an integer"):
        PriorShape(5, layers=0)
