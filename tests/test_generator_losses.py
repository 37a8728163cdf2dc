"""What each method learns towards is its formula, in values and gradients; nobody learns in another's turn.

Networks are replaced by stubs of a few numbers, and the formulas are written out again here, in float64.
"""

import pytest
import torch
from torch import nn
from toy_generators import METHODS, PLAYERS, SIDE, batch_for, heads, learn, make, rng

from cranial.diffusion import Schedule
from cranial.generators.latent_diffusion import Scale
from cranial.generators.wgan_gp import gradient_penalty

CLOSE = {"rtol": 2e-5, "atol": 1e-6}  # logits become float32 on their way into a loss
NUMBERS = (3, 1, 1, 1)  # of a stub's embedding


class Embedding(nn.Module):
    """Case -> mu, logvar (B, 3, 1, 1, 1): lines in the mean of each channel."""

    def __init__(self):
        super().__init__()
        self.of_mu = nn.Parameter(torch.tensor([[1.5, -0.7], [0.4, 2.0], [-1.0, 0.6]], dtype=torch.float64))
        self.of_logvar = nn.Parameter(torch.tensor([[-2.0, 0.5], [0.3, -1.0], [0.2, 0.1]], dtype=torch.float64))

    def forward(self, x):
        means = x.double().mean((2, 3, 4))
        return tuple((means @ slope.T).reshape(-1, *NUMBERS) for slope in (self.of_mu, self.of_logvar))


class Shaping(nn.Module):
    """Embedding -> logits (B, 2, 4, 4, 4): a pattern, larger or smaller as the embedding says."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([[0.8, -0.5, 0.3], [-0.2, 0.6, 0.9]], dtype=torch.float64))
        self.pattern = torch.randn(2, 4, 4, 4, generator=rng(9), dtype=torch.float64)

    def forward(self, z):
        sizes = z.double().mean((2, 3, 4)) @ self.slope.T
        return sizes[:, :, None, None, None] * self.pattern - 0.5


class Scripted(nn.Module):
    """Gives the embeddings of these KLs, one after the other, whatever it is shown: KL(N(sqrt(2 k), 1)) = k."""

    def __init__(self, *divergences):
        super().__init__()
        self.left, self.one = list(divergences), nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x):
        mu = self.one * torch.full((len(x), *NUMBERS), (2 * self.left.pop(0)) ** 0.5, dtype=torch.float64)
        return mu, torch.zeros_like(mu)


def cases():
    """Three cases of 4^3 voxels, occupancies."""
    return torch.rand(3, 2, 4, 4, 4, generator=rng(11), dtype=torch.float64).square()


# The formulas once more, straight from the papers, (B,) each.


def rec(logits, target, cross_entropy):
    p = logits.sigmoid()
    total = p.sum((2, 3, 4)) + target.sum((2, 3, 4))
    overlap = (total - (p - target).abs().sum((2, 3, 4))) / 2
    entropy = -(target * p.log() + (1 - target) * (1 - p).log()).mean((1, 2, 3, 4))
    return (1 - (2 * overlap + 1) / (total + 1)).mean(1) + cross_entropy * entropy


def apart(logits):
    p, q = logits.sigmoid().unbind(1)
    return 1 - (2 * (p * q).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + q.sum((1, 2, 3)) + 1)


def kl(mu, logvar):
    return ((mu**2 + logvar.exp() - 1 - logvar) / 2).mean((1, 2, 3, 4))


def latent(mu, logvar, noise):
    return mu + logvar.exp().sqrt() * noise


def noises(seed, *dtypes):
    """What a loss function draws from rng(seed), in its order."""
    stream = rng(seed)
    return [torch.randn(3, *NUMBERS, generator=stream, dtype=dtype) for dtype in dtypes]


def same(loss, expected, parameters):
    """The same value, and the same gradient for these parameters."""
    torch.testing.assert_close(loss.double(), expected, **CLOSE)
    found, wanted = (torch.autograd.grad(x, parameters, allow_unused=True) for x in (loss, expected))
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, **CLOSE)
            assert one.abs().max() > 0.001


def stubbed(method, **settings):
    """A generator whose encoder and decoder are stubs."""
    made = make(method, **settings)
    parts = {"encoder": Embedding(), "decoder": Shaping()}
    made.players = {"vae": nn.ModuleDict(parts)} if method == "vae" else parts
    if method == "vae":
        made.players["vae"].encoder, made.players["vae"].decoder = parts["encoder"], parts["decoder"]
    return made


def turn(generator, player, step):
    """The loss function of a player in a step."""
    return dict(generator.turns(step))[player]


# -- VAE


def test_a_vae_pays_for_its_reconstruction_and_its_embedding_and_is_paid_for_separation():
    made = stubbed("vae", beta=0.7, gamma=0.3, cross_entropy=2.0, warmup=0.0)
    (noise,) = noises(5, torch.float64)
    mu, logvar = made.encoder(cases())
    logits = made.decoder(latent(mu, logvar, noise))
    expected = (rec(logits, cases(), 2.0) + 0.7 * kl(mu, logvar) - 0.3 * apart(logits)).mean()
    loss, logged = turn(made, "vae", 0)(cases(), rng(5))
    same(loss, expected, list(made.players["vae"].parameters()))
    torch.testing.assert_close(logged["kl"], kl(mu, logvar).mean())


@pytest.mark.parametrize(("step", "share"), [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0), (7, 1.0)])
def test_beta_grows_in_a_line_to_its_whole_in_the_warm_up(step, share):
    """Half of 8 steps."""
    made = stubbed("vae", steps=8, beta=2.0, warmup=0.5)
    without = stubbed("vae", steps=8, beta=0.0, warmup=0.5)
    difference = turn(made, "vae", step)(cases(), rng())[0] - turn(without, "vae", step)(cases(), rng())[0]
    torch.testing.assert_close(difference, 2.0 * share * kl(*made.encoder(cases())).mean(), **CLOSE)


def test_without_a_warm_up_beta_is_whole_from_the_first_step():
    losses = [turn(stubbed("vae", beta=2.0, warmup=0.0), "vae", step)(cases(), rng())[0] for step in (0, 7)]
    assert losses[0] == losses[1]


# -- IntroVAE


INTRO = {"beta": 0.6, "theta": 0.4, "margin": 2.0, "gamma": 0.3, "cross_entropy": 2.0}


def test_the_encoder_of_an_introvae_wants_reconstructions_and_samples_beyond_the_margin():
    """E: Dice + beta KL(E(x)) + theta ([m - KL(E(sg x_r))]+ + [m - KL(E(sg x_f))]+) - gamma Dice(F1, F2)."""
    made = stubbed("intro_vae", **INTRO)
    noise, normal = noises(5, torch.float64, torch.float32)
    mu, logvar = made.encoder(cases())
    logits = made.decoder(latent(mu, logvar, noise))
    of_rec, of_fake = (kl(*made.encoder(x.sigmoid().detach())) for x in (logits, made.decoder(normal)))
    assert (of_rec < 2).all() and (of_fake < 2).all(), "both within the margin"
    hinges = (2.0 - of_rec) + (2.0 - of_fake)
    expected = (rec(logits, cases(), 2.0) + 0.6 * kl(mu, logvar) + 0.4 * hinges - 0.3 * apart(logits)).mean()
    loss, _ = made.encoder_loss(cases(), rng(5), against=True)
    same(loss, expected, list(made.encoder.parameters()))


def test_the_decoder_of_an_introvae_wants_what_it_makes_to_be_embedded_near_the_prior():
    """D: Dice + beta (KL(E(x_r)) + KL(E(x_f))) - gamma Dice(F1, F2)."""
    made = stubbed("intro_vae", **INTRO)
    noise, normal = noises(5, torch.float64, torch.float32)
    mu, logvar = (x.detach() for x in made.encoder(cases()))
    logits = made.decoder(latent(mu, logvar, noise))
    of_rec, of_fake = (kl(*made.encoder(x.sigmoid())) for x in (logits, made.decoder(normal)))
    expected = (rec(logits, cases(), 2.0) + 0.6 * (of_rec + of_fake) - 0.3 * apart(logits)).mean()
    loss, _ = made.decoder_loss(cases(), rng(5), against=True)
    same(loss, expected, list(made.decoder.parameters()))


def encoder_loss(made, *divergences):
    made.players["encoder"] = Scripted(*divergences)
    return made.encoder_loss(cases(), rng(5), against=True)[0].item()


def test_the_margin_pays_for_each_fake_by_itself_and_for_nothing_beyond_it():
    """theta 0.4, margin 2: each unit of KL that a reconstruction or a sample lacks costs 0.4."""
    made = stubbed("intro_vae", **INTRO)
    beyond = encoder_loss(made, 1.0, 2.5, 9.0)
    assert encoder_loss(made, 1.0, 2.0, 2.0) == pytest.approx(beyond)
    assert encoder_loss(made, 1.0, 0.5, 9.0) == pytest.approx(beyond + 0.4 * 1.5)
    assert encoder_loss(made, 1.0, 9.0, 0.5) == pytest.approx(beyond + 0.4 * 1.5)
    assert encoder_loss(made, 1.0, 0.0, 0.0) == pytest.approx(beyond + 0.4 * 4.0)


def test_the_margin_never_acts_on_real_cases():
    """The KL of real cases costs beta 0.6 a unit, below the margin of 2 and above it."""
    made = stubbed("intro_vae", **INTRO | {"cross_entropy": 0.0})
    made.players["decoder"] = Constant()
    losses = [encoder_loss(made, real, 1.0, 1.0) for real in (0.0, 1.0, 2.0, 3.0)]
    assert losses == pytest.approx([losses[0] + 0.6 * real for real in (0.0, 1.0, 2.0, 3.0)])


class Constant(Shaping):
    """Logits that do not depend on the embedding."""

    def forward(self, z):
        return super().forward(torch.ones_like(z))


@pytest.mark.parametrize("method", ["intro_vae", "soft_intro_vae"])
def test_the_first_steps_are_a_plain_vaes_and_then_the_game_begins(method):
    """Half of 8 steps; the losses alone are the VAE's, shared between the two players."""
    changes = {"gamma": 0.3, "cross_entropy": 2.0, "alone": 0.5, **({"beta": 0.6} if method == "intro_vae" else {})}
    made = stubbed(method, **changes | ({"b_kl": 0.6} if method == "soft_intro_vae" else {}))
    (noise,) = noises(5, torch.float64)
    mu, logvar = made.encoder(cases())
    logits = made.decoder(latent(mu, logvar, noise))
    vae = (rec(logits, cases(), 2.0) + 0.6 * kl(mu, logvar) - 0.3 * apart(logits)).mean()
    for step in range(8):
        of_encoder = turn(made, "encoder", step)(cases(), rng(5))
        of_decoder = turn(made, "decoder", step)(cases(), rng(5))
        alone = step < 4
        assert ("kl_fake" in of_encoder[1]) != alone
        assert torch.isclose(of_encoder[0], vae, **CLOSE) == alone
        assert torch.isclose(of_decoder[0], vae - 0.6 * kl(mu, logvar).mean(), **CLOSE) == alone
    same(turn(made, "encoder", 3)(cases(), rng(5))[0], vae, list(made.encoder.parameters()))


@pytest.mark.parametrize("method", ["intro_vae", "soft_intro_vae"])
def test_the_encoder_plays_before_the_decoder(method):
    assert [player for player, _ in make(method).turns(0)] == ["encoder", "decoder"]


# -- Soft-IntroVAE


SOFT = {"scale": 0.8, "b_rec": 0.9, "b_kl": 0.6, "b_neg": 0.5, "g_r": 0.7, "gamma": 0.3, "cross_entropy": 0.5}


def test_the_encoder_of_a_soft_introvae_lowers_the_bound_of_what_the_decoder_makes():
    """E: s (b_rec L(x) + b_kl KL(x)) + 1/4 mean exp(-2 s (b_rec L(x_r) + b_neg KL(x_r))) + the same of x_f."""
    made = stubbed("soft_intro_vae", **SOFT)
    noise, normal, of_r, of_f = noises(5, torch.float64, torch.float32, torch.float64, torch.float64)
    mu, logvar = made.encoder(cases())
    logits = made.decoder(latent(mu, logvar, noise))
    expected = (0.8 * (0.9 * rec(logits, cases(), 0.5) + 0.6 * kl(mu, logvar)) - 0.3 * apart(logits)).mean()
    for made_up, again in ((logits, of_r), (made.decoder(normal), of_f)):
        fake = made_up.sigmoid().detach()
        mean, spread = made.encoder(fake)
        cost = rec(made.decoder(latent(mean, spread, again)), fake, 0.5)
        expected = expected + torch.exp(-2 * 0.8 * (0.9 * cost + 0.5 * kl(mean, spread))).mean() / 4
    loss, logged = made.encoder_loss(cases(), rng(5), against=True)
    same(loss, expected, list(made.encoder.parameters()))
    torch.testing.assert_close(logged["kl_fake"], kl(mean, spread).mean(), **CLOSE)


@pytest.mark.parametrize("g_r", [0.7, 0.0])
def test_the_decoder_of_a_soft_introvae_raises_the_bound_of_what_it_makes(g_r):
    """D: s (b_rec L(x) + b_kl / 2 (KL(x_r) + KL(x_f)) + g_r b_rec / 2 (L(sg x_r) + L(sg x_f))); sg the embeddings."""
    made = stubbed("soft_intro_vae", **SOFT | {"g_r": g_r})
    noise, normal, of_r, of_f = noises(5, torch.float64, torch.float32, torch.float64, torch.float64)
    mu, logvar = (x.detach() for x in made.encoder(cases()))
    logits = made.decoder(latent(mu, logvar, noise))
    expected = 0.9 * rec(logits, cases(), 0.5).mean()
    for made_up, again in ((logits, of_r), (made.decoder(normal), of_f)):
        mean, spread = made.encoder(made_up.sigmoid())
        again = made.decoder(latent(mean, spread, again).detach())
        cost = rec(again, made_up.sigmoid().detach(), 0.5)
        expected = expected + (0.6 / 2 * kl(mean, spread) + g_r * 0.9 / 2 * cost).mean()
    loss, _ = made.decoder_loss(cases(), rng(5), against=True)
    same(loss, 0.8 * expected - 0.3 * apart(logits).mean(), list(made.decoder.parameters()))


def test_a_fake_that_is_far_from_the_prior_has_no_weight_for_the_encoder():
    made = make("soft_intro_vae", b_neg=2.0, scale=1.0, b_rec=1.0)
    near, far = made.evidence(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 5.0])).tolist()
    assert near == 1 and far == pytest.approx(2.061e-9, rel=1e-3)  # exp(-2 * 2 * 5)


# -- WGAN-GP


class Linear(nn.Module):
    """D(x) = <w, x>, a critic whose slope is w everywhere; keeps what it was shown."""

    def __init__(self, size=2 * 4**3):
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(size, generator=rng(4)))
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return x.flatten(1).to(self.weight) @ self.weight


def wgan(**settings):
    made = make("wgan_gp", **{"penalty": 3.0, "gamma": 0.3, **settings})
    made.players = {"critic": Linear(), "decoder": Shaping()}
    made.latent_shape = NUMBERS
    return made


def test_the_penalty_of_a_linear_critic_is_its_slope_minus_one_squared_whatever_the_points():
    critic = Linear()
    for seed in range(3):
        real, fake = (torch.randn(3, 2, 4, 4, 4, generator=rng(10 * seed + k)) for k in range(2))
        expected = (critic.weight.norm() - 1).square().double()
        same(gradient_penalty(critic, real, fake, rng(seed)), expected, [critic.weight])


def test_each_case_has_one_point_of_its_own_between_it_and_its_fake():
    critic = Linear()
    real, fake = torch.rand(64, 2, 4, 4, 4, generator=rng(1)) + 2, torch.rand(64, 2, 4, 4, 4, generator=rng(2))
    gradient_penalty(critic, real, fake, rng(3))
    shares = (critic.seen[0] - fake) / (real - fake)
    alone = shares.flatten(1).mean(1)
    torch.testing.assert_close(shares, alone[:, None, None, None, None].expand_as(shares))
    assert 0 <= alone.min() < 0.1 and 0.9 < alone.max() <= 1 and len(alone.unique()) == 64


def test_the_penalty_is_the_mean_over_the_cases_of_a_curved_critic():
    """D(x) = |x|^2 / 2 has the slope x: the penalty is mean (|x^| - 1)^2."""

    class Bowl(Linear):
        def forward(self, x):
            self.seen.append(x)
            return 0.5 * x.flatten(1).square().sum(1)

    critic = Bowl()
    penalty = gradient_penalty(critic, torch.rand(3, 2, 4, 4, 4), torch.zeros(3, 2, 4, 4, 4), rng())
    torch.testing.assert_close(penalty, (critic.seen[0].flatten(1).norm(dim=1) - 1).square().mean())


def test_the_penalty_is_in_float32_under_autocast_and_moves_the_critic():
    made = make("wgan_gp")
    critic, real, fake = made.players["critic"], heads(3), heads(3).flip(0)
    plain = gradient_penalty(critic, real, fake, rng(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = gradient_penalty(critic, real.bfloat16(), fake, rng(1))
        exact = gradient_penalty(critic, real, fake, rng(1))
    assert mixed.dtype == exact.dtype == torch.float32 and torch.equal(exact, plain)
    grads = torch.autograd.grad(plain, list(critic.parameters()), allow_unused=True)
    assert sum(g is not None and bool(g.abs().max() > 0) for g in grads) > 2, "it is differentiated twice"


def test_the_critic_scores_real_cases_high_and_fakes_low():
    """O_D = -mean D(R) + mean D(F) + lambda GP."""
    made = wgan()
    (normal,) = noises(5, torch.float32)
    critic, fake = made.players["critic"], made.players["decoder"](normal).sigmoid().detach().float()
    expected = critic(fake).mean() - critic(cases()).mean() + 3 * (critic.weight.norm() - 1) ** 2
    loss, logged = made.critic_loss(cases(), rng(5))
    same(loss, expected.double(), [critic.weight])
    torch.testing.assert_close(logged["distance"], critic(cases()).mean() - critic(fake).mean())
    assert torch.autograd.grad(loss_of(made), list(made.players["decoder"].parameters()), allow_unused=True) == (None,)


def loss_of(made):
    return made.critic_loss(cases(), rng(5))[0]


def test_the_decoder_wants_a_high_score_and_separation():
    """O_G = -mean D(F) - gamma Dice(F1, F2)."""
    made = wgan()
    (normal,) = noises(5, torch.float32)
    logits = made.players["decoder"](normal)
    expected = -made.players["critic"](logits.sigmoid()).mean().double() - 0.3 * apart(logits).mean()
    loss, _ = made.decoder_loss(cases(), rng(5))
    same(loss, expected, list(made.players["decoder"].parameters()))


@pytest.mark.parametrize("turns", [1, 2, 5])
def test_the_critic_plays_its_turns_and_then_the_decoder_one(turns):
    made = make("wgan_gp", critic_turns=turns)
    order = [[player for player, _ in made.turns(step)] for step in range(2 * (turns + 1))]
    assert order == ([["critic"]] * turns + [["decoder"]]) * 2


def test_the_decoder_stands_still_until_the_critic_has_had_its_turns():
    made = make("wgan_gp", critic_turns=2)
    moved = []
    for step in range(6):
        before = weights(made)
        learn(made, 1, first=step)
        moved.append({name for name in made.players if not equal(before[name], weights(made)[name])})
    assert moved == [{"critic"}, {"critic"}, {"decoder"}] * 2


def test_adam_is_that_of_the_paper_and_the_rate_stays():
    made = make("wgan_gp")
    assert made.settings.penalty == 10 and make("wgan_gp", critic_turns=5).settings.critic_turns == 5
    for optimizer in made.optimizers().values():
        assert [group["betas"] for group in optimizer.param_groups] == [(0.0, 0.9)]
    assert {made.learning_rate(step) for step in range(8)} == {1e-3}


@pytest.mark.parametrize("norm", ["none", "layer", "instance"])
def test_the_critic_judges_each_case_alone(norm):
    """No batch norm: the penalty is a property of each case."""
    critic = make("wgan_gp", norm=norm).players["critic"]
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in critic.modules())
    together = critic(heads(3))
    torch.testing.assert_close(together, torch.cat([critic(case[None]) for case in heads(3)]), rtol=1e-4, atol=1e-5)


# -- VQVAE


class Given(nn.Module):
    """Embeddings that are themselves what is learned."""

    def __init__(self):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(3, *NUMBERS, generator=rng(6)))

    def forward(self, x):
        return self.latents


def test_a_vqvae_pays_for_the_way_to_its_codes_and_only_the_encoder_pays():
    """Dice(F, R) + beta mean((E - sg Q(E))^2) - gamma Dice(F1, F2), with straight-through gradients."""
    made = make("vqvae", beta=0.7, gamma=0.3, cross_entropy=2.0)
    given, shaping = Given(), Shaping()
    made.players["vqvae"]["encoder"], made.players["vqvae"]["decoder"] = given, shaping
    made.quantizer.updates += 1  # its codes have a place
    codes = made.quantizer.decode(made.quantizer.encode(given.latents)).double()
    logits = shaping(codes + given.latents - given.latents.detach())
    commitment = (given.latents - codes).square().mean()
    expected = rec(logits, cases(), 2.0).mean() + 0.7 * commitment - 0.3 * apart(logits).mean()
    loss, logged = made.loss(cases(), rng())
    same(loss, expected, [given.latents, shaping.slope])
    torch.testing.assert_close(logged["commitment"].double(), commitment, **CLOSE)
    (of_decoder,) = torch.autograd.grad(logged["commitment"], [shaping.slope], allow_unused=True)
    assert of_decoder is None and not list(made.quantizer.parameters())
    (slope,) = torch.autograd.grad(made.loss(cases(), rng())[1]["commitment"], [given.latents])
    found = made.quantizer(given.latents, update=False)
    assert slope.shape == found.continuous.shape and slope.abs().max() > 0


def test_only_training_moves_the_codebook():
    made = make("vqvae")
    made.validation = heads(2)
    before = weights(made)["vqvae"]
    with torch.no_grad():
        codes = made.encode(heads(2))
        made.decode(codes), made.decode(made.embed(heads(2))[0]), made.validate(0)
    made.draw([0], seed=0)
    assert equal(before, weights(made)["vqvae"])
    learn(made, 1)
    moved = weights(made)["vqvae"]
    assert moved["quantizer.updates"] == 1 and not torch.equal(before["quantizer.sums"], moved["quantizer.sums"])


@torch.no_grad()
def test_an_embedding_becomes_its_nearest_codes_before_it_is_decoded():
    made = make("vqvae")
    learned(made)
    latents, spread = made.embed(heads(2))
    codes = made.encode(heads(2))
    assert torch.equal(made.decode(latents), made.decode(codes))
    assert torch.equal(made.decode(latents + 1e-4), made.decode(codes)), "near the codes is at the codes"
    assert codes.dtype == torch.int64 and codes.shape == (2, 4, 4, 4)
    assert torch.equal(latents, made.encoder(heads(2))) and not spread.any()
    assert not torch.equal(latents, made.quantizer.decode(codes)), "before quantisation"


def learned(made):
    with torch.enable_grad():
        learn(made, 2)


def test_the_prior_learns_codes_and_never_changes_the_autoencoder():
    made = make("vqvae")
    learn(made, 2)
    autoencoder, prior = made.stages()
    assert (autoencoder.name, prior.name, prior.steps, prior.batch) == ("autoencoder", "prior", 3, 2)
    assert autoencoder.learner is made and autoencoder.embed is None
    before = weights(made)["vqvae"]
    (codes,) = batch_for(prior)
    assert torch.equal(codes, made.encode(heads(3)))
    learn(prior.learner, 2, batches=lambda step: (codes,))
    assert equal(before, weights(made)["vqvae"])


def test_the_prior_pays_minus_the_log_of_the_chance_of_each_code():
    made = make("vqvae")
    prior, codes = made.prior, torch.randint(16, (3, 4, 4, 4), generator=rng())
    logits = prior.players["prior"](codes)
    chances = logits.softmax(1).gather(1, codes[:, None])
    loss, logged = prior.loss((codes,), rng())
    torch.testing.assert_close(loss, -chances.log().mean())
    assert logged["nats"] is loss


def test_the_prior_is_validated_on_codes_of_held_out_cases():
    made = make("vqvae")
    assert torch.tensor(made.prior.validate(0)["nats"]).isnan()
    made.prior.validation = heads(2)
    with torch.no_grad():
        expected = made.prior.loss((made.encode(heads(2)),), rng())[0]
        assert made.prior.validate(0)["nats"] == pytest.approx(expected.item())


# -- latent diffusion


class Oracle(nn.Module):
    """Knows the latent: e = (z_t - sqrt(a) z) / sqrt(1 - a). Keeps what it was asked."""

    def __init__(self, latents, schedule, error=0.0):
        super().__init__()
        self.latents, self.schedule, self.error, self.asked = latents, schedule, error, []

    def forward(self, noisy, time):
        self.asked.append((noisy, time))
        kept = self.schedule.alphas_bar[time].reshape(-1, 1, 1, 1, 1)
        return ((noisy - kept.sqrt() * self.latents) / (1 - kept).sqrt() + self.error).float()


def diffusion(count=500, **settings):
    """(latent diffusion, (mean, spread) of a batch): its scale is that of the batch."""
    made = make("ldm_vae", **settings)
    mean = 5 + 3 * torch.randn(count, 3, 2, 2, 2, generator=rng(1))
    made.scale.measure(mean, torch.zeros_like(mean))
    return made, mean


def test_whoever_knows_the_scaled_latent_predicts_the_noise_without_error():
    made, mean = diffusion()
    made.players["denoiser"] = Oracle(made.scale(mean).double(), made.schedule)
    loss, logged = made.loss((mean, torch.zeros_like(mean)), rng(3))
    assert loss.item() == pytest.approx(0, abs=1e-6) and logged["noise_error"] is loss
    times = made.players["denoiser"].asked[0][1]
    assert set(times.tolist()) == set(range(20)), "each time, from the first to the last"


def test_the_loss_is_the_mean_square_of_what_is_wrong_with_the_noise():
    made, mean = diffusion()
    made.players["denoiser"] = Oracle(made.scale(mean).double(), made.schedule, error=0.5)
    assert made.loss((mean, torch.zeros_like(mean)), rng(3))[0].item() == pytest.approx(0.25, abs=1e-5)


def test_the_noise_is_normal():
    """A denoiser that finds no noise is wrong by its variance."""
    made, mean = diffusion()
    made.players["denoiser"] = Oracle(mean, made.schedule)
    made.players["denoiser"].forward = lambda noisy, time: torch.zeros_like(noisy)
    assert made.loss((mean, torch.zeros_like(mean)), rng(3))[0].item() == pytest.approx(1, abs=0.05)


def test_embeddings_are_drawn_from_their_spread_and_scaled():
    made, mean = diffusion()
    made.schedule = Schedule(times=1, first=1e-9, last=1e-9)  # all latent, no noise
    made.scale.middle.fill_(2.0), made.scale.width.fill_(4.0)
    made.players["denoiser"] = Oracle(mean, made.schedule)
    made.loss((torch.full_like(mean, 10.0), torch.full_like(mean, 8.0)), rng(3))
    seen = made.players["denoiser"].asked[0][0]
    assert seen.mean().item() == pytest.approx(2, abs=0.08) and seen.std().item() == pytest.approx(2, rel=0.03)


def test_the_scale_brings_each_channel_to_mean_zero_and_deviation_one():
    scale = Scale(3)
    offsets, widths = (torch.tensor(x).reshape(1, 3, 1, 1, 1) for x in ([5.0, -2.0, 0.0], [1.0, 3.0, 0.1]))
    latents = offsets + widths * torch.randn(50, 3, 2, 2, 2, generator=rng())
    scale.measure(latents, torch.zeros_like(latents))
    scaled = scale(latents).transpose(0, 1).flatten(1)
    torch.testing.assert_close(scaled.mean(1), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(scaled.std(1, correction=0), torch.ones(3))
    torch.testing.assert_close(scale.inverse(scale(latents)), latents)


def test_the_scale_counts_the_spread_of_each_embedding():
    """N(m, 4^2) with m spread by 3 has the deviation 5."""
    scale, mean = Scale(1), 3 * torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1)
    scale.measure(mean, torch.full_like(mean, 4.0))
    torch.testing.assert_close(scale.inverse(torch.ones(1, 1, 1, 1, 1)), torch.full((1, 1, 1, 1, 1), 5.0))


def test_a_channel_that_is_always_the_same_is_scaled_without_a_division_by_zero():
    scale = Scale(1)
    scale.measure(torch.full((4, 1, 2, 2, 2), 7.0), torch.zeros(4, 1, 2, 2, 2))
    assert scale(torch.full((4, 1, 2, 2, 2), 7.0)).abs().max() == 0


def test_a_scale_that_was_not_measured_is_an_error():
    made, latents = make("ldm_vae"), torch.zeros(1, 3, 4, 4, 4)
    made.scale = Scale(3)
    for use in (made.scale, made.scale.inverse):
        with pytest.raises(ValueError, match="scale of the embeddings is not known yet; measure it"):
            use(latents)
    with pytest.raises(ValueError, match="not known yet"):
        made.draw([0], seed=0)


def test_what_is_drawn_is_brought_back_to_the_scale_of_the_embeddings():
    made, _ = diffusion()
    scaled = torch.randn(1, 3, 4, 4, 4, generator=rng())
    made.players["denoiser"] = Oracle(scaled.double(), made.schedule)
    made.players["denoiser"].one = nn.Parameter(torch.ones(()))  # a network is where its parameters are
    drawn = made.draw([4, 5], seed=0)
    torch.testing.assert_close(drawn, made.scale.inverse(scaled).expand(2, -1, -1, -1, -1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["ldm_vae", "ldm_vqvae"])
def test_diffusion_learns_embeddings_and_never_changes_its_autoencoder(method):
    made = make(method)
    (stage,) = made.stages()
    assert (stage.name, stage.steps, stage.batch) == ("denoiser", 8, None)
    assert stage.learner is made
    before = made.autoencoder.networks().state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    batch = batch_for(stage)
    made.scale.width.zero_()
    stage.embedded(*batch)
    assert made.scale.width.all(), "the stage measures the scale"
    learn(made, 3, batches=lambda step: batch)
    assert equal(before, made.autoencoder.networks().state_dict())
    assert made.state_modules().keys() == {f"autoencoder_{made.autoencoder.method}", "scale"}


def test_the_embedding_of_a_vae_is_its_mean_and_its_deviation():
    made = make("vae")
    mean, spread = made.embed(heads(2))
    mu, logvar = made.encoder(heads(2))
    assert torch.equal(mean, mu) and torch.equal(made.encode(heads(2)), mu)
    torch.testing.assert_close(spread.square(), logvar.exp())


# -- nobody learns in another's turn


def weights(generator):
    """Name of each player -> its weights and buffers, copied."""
    return {n: {k: t.clone() for k, t in p.state_dict().items()} for n, p in generator.players.items()}


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", METHODS)
def test_a_turn_gives_gradients_to_its_player_and_moves_nobody_else(method):
    made = make(method)
    assert made.players.keys() == PLAYERS[method]
    stage = made.stages()[0]
    batch, optimizers = batch_for(stage), made.optimizers()
    others = dict(made.networks().named_parameters()) | {
        f"{name} {key}": p for name, player in made.players.items() for key, p in player.named_parameters()
    }
    turns = [(step, *turn) for step in (0, 2, 7) for turn in made.turns(step)]
    assert {player for _, player, _ in turns} == PLAYERS[method]
    for step, player, loss_fn in turns:
        own = set(map(id, made.players[player].parameters()))
        before, outside = weights(made), {k: p.clone() for k, p in others.items() if id(p) not in own}
        loss, logged = loss_fn(batch, rng(step))
        assert loss.shape == () and loss.isfinite() and all(torch.as_tensor(v).isfinite() for v in logged.values())
        loss.backward(inputs=list(made.players[player].parameters()))
        assert all(p.grad is None for p in others.values() if id(p) not in own)
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in made.players[player].parameters())
        optimizers[player].step()
        optimizers[player].zero_grad(set_to_none=True)
        assert not equal(before[player], weights(made)[player])
        assert all(torch.equal(others[k], p) for k, p in outside.items())
        assert all(equal(before[name], weights(made)[name]) for name in made.players if name != player)


@pytest.mark.parametrize("method", ["vae", "vqvae", "intro_vae", "soft_intro_vae", "ldm_vae"])
def test_the_learning_rate_warms_up_and_falls_to_a_fiftieth(method):
    made = make(method, steps=1000)
    rates = [made.learning_rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-5) and max(rates) == rates[99] == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(2e-5, rel=0.01) and rates[100:] == sorted(rates[100:], reverse=True)
    assert SIDE % made.shape.stride == 0
