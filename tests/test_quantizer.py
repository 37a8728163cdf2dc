"""The codebook: looking never moves it, updates do, the dead come back, and all of it can be repeated to the bit."""

import pytest
import torch

from cranial.checkpoint import load_into, load_weights, save_weights
from cranial.nets.quantizer import VectorQuantizer


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def latents(seed=0, channels=3, size=(2, 4, 4, 4)):
    return torch.randn(size[0], channels, *size[1:], generator=rng(seed))


def state(quantizer):
    return {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def quantizer():
    torch.manual_seed(0)
    return VectorQuantizer(8, 3)


@pytest.mark.parametrize("training", [True, False])
def test_looking_leaves_the_codebook_bit_identical(quantizer, training):
    before = state(quantizer.train(training))
    quantizer(latents(), update=False)
    quantizer.decode(quantizer.encode(latents()))
    assert same(before, state(quantizer))


@pytest.mark.parametrize("training", [True, False])
def test_an_update_moves_the_codebook_in_either_mode(quantizer, training):
    before = state(quantizer.train(training))
    quantizer(latents(), update=True, generator=rng())
    assert not torch.equal(before["sums"], quantizer.sums) and quantizer.updates == 1


def test_each_position_gets_its_nearest_code(quantizer):
    x = latents()
    codes = quantizer.encode(x)
    distance = (x.movedim(1, -1)[..., None, :] - quantizer.codebook).norm(dim=-1)
    assert codes.shape == (2, 4, 4, 4) and torch.equal(codes, distance.argmin(-1))


def test_more_positions_than_are_compared_at_once_get_the_same_codes(quantizer, monkeypatch):
    whole = quantizer.encode(latents())
    monkeypatch.setattr("cranial.nets.quantizer.AT_ONCE", 7)
    assert torch.equal(quantizer.encode(latents()), whole)


def test_quantized_latents_are_vectors_of_the_codebook_to_the_bit(quantizer):
    x = latents()
    found = quantizer(x, update=False)
    assert torch.equal(found.quantized, quantizer.decode(found.codes))
    assert torch.equal(found.codes, quantizer.encode(x))
    assert torch.equal(found.quantized[1, :, 0, 2, 3], quantizer.codebook[found.codes[1, 0, 2, 3]])
    assert torch.equal(found.continuous, x)


def test_the_gradient_passes_straight_through(quantizer):
    x, weight = latents().requires_grad_(), latents(seed=1)
    (quantizer(x, update=False).quantized * weight).sum().backward()
    assert torch.equal(x.grad, weight)


def test_the_commitment_loss_pulls_the_encoder_and_not_the_codebook(quantizer):
    x = latents().requires_grad_()
    found = quantizer(x, update=False)
    (found.continuous - found.quantized.detach()).square().sum().backward()
    assert torch.allclose(x.grad, 2 * (x - found.quantized).detach())
    assert not any(p.requires_grad for p in quantizer.buffers()) and not list(quantizer.parameters())


def test_the_first_update_places_the_codes_among_the_latents(quantizer):
    """With nothing learned yet each code is one of the latents, and they are as far apart as those are."""
    x = torch.zeros(1, 3, 4, 4, 4)
    x[0, :, 0, 0, :4] = 10 * torch.eye(3, 4)
    x[0, :, 1, 0, :4] = -10 * torch.eye(3, 4)  # 6 rare vectors in a sea of zeros
    found = quantizer(x, update=True, generator=rng())
    assert torch.equal(found.quantized, x)
    assert len(found.codes.unique()) == 7


def test_a_code_becomes_the_moving_average_of_what_it_stood_for():
    quantizer = VectorQuantizer(2, 1, decay=0.5, dead_below=0.0)
    quantizer.updates += 100
    quantizer.sums.copy_(torch.tensor([[0.0], [10.0]]))
    x = torch.tensor([1.0, 3.0, 9.0, 9.0]).reshape(1, 1, 1, 1, 4)
    quantizer(x, update=True, generator=rng())
    # counts 1/2 (1 + 2), sums 1/2 (0 + 4) and 1/2 (10 + 18)
    torch.testing.assert_close(quantizer.codebook, torch.tensor([[4 / 3], [28 / 3]]))


def test_repeated_updates_find_the_centres_of_clusters():
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    quantizer = VectorQuantizer(4, 2, decay=0.9)
    for step in range(60):
        g = rng(step)
        chosen = centres[torch.randint(4, (512,), generator=g)] + 0.1 * torch.randn(512, 2, generator=g)
        quantizer(chosen.T.reshape(1, 2, 8, 8, 8), update=True, generator=g)
    assert torch.cdist(centres, quantizer.codebook).amin(1).max() < 0.05


def test_dead_codes_are_revived_where_the_others_are_far():
    quantizer = VectorQuantizer(4, 1, decay=0.9, dead_below=0.1)
    quantizer.updates += 1
    quantizer.sums.copy_(torch.tensor([[0.0], [1.0], [500.0], [-500.0]]))  # two that nothing is near to
    x = torch.cat([torch.zeros(40), torch.ones(23), torch.full((1,), 30.0)]).reshape(1, 1, 4, 4, 4)
    for step in range(40):
        quantizer(x, update=True, generator=rng(step))
    assert 30.0 in quantizer.codebook.round() and quantizer.codebook.abs().max() < 31
    assert quantizer.use(quantizer.encode(x)).used >= 0.75


def test_a_young_codebook_follows_latents_that_move():
    """At decay 0.99 from the first update on, codes left behind at 0 would take 300 updates to be noticed."""
    quantizer = VectorQuantizer(8, 3, decay=0.99)
    quantizer(latents(), update=True, generator=rng())
    for step in range(20):
        quantizer(latents(step) + 100, update=True, generator=rng(step))
    assert quantizer.use(quantizer.encode(latents(99) + 100)).used == 1


def test_a_code_in_use_is_not_revived(quantizer):
    quantizer(latents(), update=True, generator=rng())
    twin = VectorQuantizer(8, 3, dead_below=0.0)
    twin.load_state_dict(quantizer.state_dict())
    for step in range(5):
        quantizer(latents(step), update=True, generator=rng(step))
        twin(latents(step), update=True, generator=rng(step))
    assert torch.equal(quantizer.codebook, twin.codebook)


def test_without_memory_no_code_is_lost():
    """decay 0: a code that one batch does not use would be 0 / 0."""
    quantizer = VectorQuantizer(8, 3, decay=0.0, dead_below=0.0)
    for step in range(3):
        quantizer(torch.full((1, 3, 2, 2, 2), float(step)), update=True, generator=rng(step))
    assert quantizer.codebook.isfinite().all()


def test_latents_that_are_all_equal_still_revive():
    quantizer = VectorQuantizer(4, 2)
    for step in range(3):
        quantizer(torch.ones(1, 2, 2, 2, 2), update=True, generator=rng(step))
    assert torch.allclose(quantizer.codebook, torch.ones(4, 2))


def test_a_resumed_codebook_equals_the_uninterrupted_one_to_the_bit(tmp_path):
    """With a revival at nearly every step, and the global generator in another state."""

    def steps(network, first, last):
        for step in range(first, last):
            network(latents(step) + 3 * step, update=True, generator=rng(step))  # latents that leave their codes

    quantizer, resumed = (VectorQuantizer(8, 3, decay=0.5, dead_below=0.3) for _ in range(2))
    path = tmp_path / "w.safetensors"
    steps(quantizer, 0, 3)
    save_weights(path, quantizer, {}, storage="float32")
    steps(quantizer, 3, 8)
    load_into(resumed, load_weights(path)[0], name="codebook", path=path)
    torch.manual_seed(1)
    steps(resumed, 3, 8)
    assert same(state(quantizer), state(resumed))


def test_where_codes_are_placed_is_drawn_from_the_generator():
    placed = []
    for seed in (1, 1, 2):
        quantizer = VectorQuantizer(8, 3)
        quantizer(latents(), update=True, generator=rng(seed))
        placed.append(quantizer.codebook)
    assert torch.equal(placed[0], placed[1]) and not torch.equal(placed[0], placed[2])


def test_use_of_the_codebook_on_hand_made_codes(quantizer):
    use = quantizer.use(torch.tensor([[0, 0, 3, 3], [5, 5, 7, 7]]))
    assert use.used == 0.5 and use.perplexity == pytest.approx(4)
    use = quantizer.use(torch.tensor([2, 2, 2]))
    assert use.used == 1 / 8 and use.perplexity == pytest.approx(1)
    use = quantizer.use(torch.tensor([0, 1, 1, 1]))
    assert use.perplexity == pytest.approx(4 / 3**0.75)  # exp(-1/4 log 1/4 - 3/4 log 3/4)


def test_autocast_does_not_round_the_distances(quantizer):
    x = latents(size=(2, 8, 8, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = quantizer(x, update=False)
    assert found.quantized.dtype == torch.float32 and torch.equal(found.codes, quantizer.encode(x))


def test_16_bit_latents_are_quantised_in_32(quantizer):
    x = latents().bfloat16()
    assert torch.equal(quantizer(x, update=False).quantized, quantizer(x.float(), update=False).quantized)


def test_mistakes_are_named(quantizer):
    with pytest.raises(ValueError, match="pass the loss function's rng as generator"):
        quantizer(latents(), update=True)
    with pytest.raises(ValueError, match=r"latents are \(2, 4, 4, 4, 4\), the codebook's vectors have 3 channels"):
        quantizer.encode(latents(channels=4))
    with pytest.raises(ValueError, match="decay is 1.0; give a share"):
        VectorQuantizer(8, 3, decay=1.0)
    with pytest.raises(ValueError, match="dead_below is -0.1; give a share"):
        VectorQuantizer(8, 3, dead_below=-0.1)
    with pytest.raises(ValueError, match="codes is 0; give an integer"):
        VectorQuantizer(0, 3)
