"""The contract of a generator, for every row of GENERATORS: item k is itself in any company, and strategies fit."""

import pytest
import torch
from toy_generators import (
    DRAWN_BY_A_STRATEGY,
    INNER,
    METHODS,
    PLAYERS,
    SETTINGS,
    SHAPE,
    SIDE,
    heads,
    learn,
    make,
    rng,
)

from cranial.config import ConfigError
from cranial.generators import GENERATORS, Autoencoder, Generator, as_masks, build, dice, sample, volume_level
from cranial.sampling import LATENT_KINDS, SD, STRATEGIES, strategy

pytestmark = pytest.mark.usefixtures("one_thread")  # bits are compared

CHOICES = {"sd": {}, "ud": {"interval": "three"}, "uds": {}}
AUTOENCODERS = tuple(method for method in METHODS if method in {*DRAWN_BY_A_STRATEGY, "vqvae"} - {"wgan_gp"})
FITTING = {method: {"sd", "ud", "uds"} if method in DRAWN_BY_A_STRATEGY else {"sd"} for method in METHODS}
FITTING["vqvae"] = set()


@pytest.fixture(scope="module")
def made() -> dict[str, Generator]:
    """One of each method, after a step, to look at."""
    generators = {method: make(method) for method in METHODS}
    learn(generators["vqvae"], 2)
    return generators


def names(generator):
    return {name for name, _ in generator.networks().named_parameters()}


def test_these_tests_know_every_method():
    assert GENERATORS.keys() == SETTINGS.keys() == PLAYERS.keys()


# -- every method


@pytest.mark.parametrize("method", METHODS)
def test_a_method_says_what_its_latents_are_and_who_plays(made, method):
    generator = made[method]
    assert isinstance(generator, Generator) and generator.method == method
    assert generator.latent in LATENT_KINDS and set(LATENT_KINDS[generator.latent].strategies) == FITTING[method]
    assert generator.optimizers().keys() == generator.players.keys() == PLAYERS[method]
    assert isinstance(generator, Autoencoder) == (method in AUTOENCODERS)
    assert generator.device.type == "cpu" and generator.latent_shape == (3, 4, 4, 4)


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_latents_decode_to_logits_of_cases(made, method):
    latents = made[method].draw([0, 3], seed=0)
    logits = made[method].decode(latents)
    assert logits.shape == (2, 2, SIDE, SIDE, SIDE) and logits.isfinite().all()
    assert latents.shape[0] == 2 and latents.shape[-3:] == (4, 4, 4)
    assert logits.min() < 0, "a probability would not be"


@pytest.mark.parametrize("method", METHODS)
def test_an_item_is_the_same_to_the_bit_alone_and_in_any_company(made, method):
    indices = [7, 0, 3, 1000]
    together = sample(made[method], indices, seed=5)
    assert together.shape == (4, 2, SIDE, SIDE, SIDE) and together.dtype == torch.float32
    assert 0 <= together.min() and together.max() <= 1
    for case, index in zip(together, indices, strict=True):
        assert torch.equal(sample(made[method], [index], seed=5)[0], case)
    assert torch.equal(sample(made[method], (i for i in reversed(indices)), seed=5), together.flip(0))
    assert len(together.flatten(1).unique(dim=0)) == 4
    assert not torch.equal(sample(made[method], indices, seed=6), together)


@pytest.mark.parametrize("method", METHODS)
def test_no_items_are_no_cases(made, method):
    assert sample(made[method], [], seed=0).shape == (0, 2, SIDE, SIDE, SIDE)


@pytest.mark.parametrize("method", METHODS)
def test_sampling_neither_hears_nor_moves_the_global_generator_and_is_in_eval_mode(made, method):
    made[method].networks().train()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = sample(made[method], [2], seed=0)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(sample(made[method], [2], seed=0), one)
    networks = made[method].networks().values()
    assert not any(module.training for network in networks for module in network.modules())


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_a_sample_is_the_probability_of_what_is_decoded_from_what_is_drawn(made, method):
    generator = made[method]
    expected = torch.sigmoid(generator.decode(generator.draw([4], seed=1)))
    assert torch.equal(sample(generator, [4], seed=1), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_that_fit_draw_and_the_others_are_told_which_do(made, method, name):
    chosen = strategy(name, **CHOICES[name])
    if name in FITTING[method]:
        found = sample(made[method], [5], seed=2, strategy=chosen)
        if method in DRAWN_BY_A_STRATEGY:
            latents = made[method].draw([5], seed=2, strategy=chosen)
            assert torch.equal(latents, chosen((3, 4, 4, 4), [5], 2)) and found.isfinite().all()
        if name == "sd":
            assert torch.equal(found, sample(made[method], [5], seed=2)), "what is drawn without a strategy"
        return
    fits = "sd$" if FITTING[method] else "no strategy, leave it out"
    with pytest.raises(ValueError, match=f"{name} does not fit {method}: .*; what fits: {fits}"):
        sample(made[method], [5], seed=2, strategy=chosen)


@pytest.mark.parametrize("method", METHODS)
def test_networks_are_all_that_sampling_needs(made, method):
    """What another seed made is the same generator once it has these weights."""
    other = make(method, seed=1)
    before = sample(other, [0], seed=0)
    other.networks().load_state_dict(made[method].networks().state_dict())
    assert not torch.equal(before, sample(other, [0], seed=0))
    assert torch.equal(sample(other, [0], seed=0), sample(made[method], [0], seed=0))


@pytest.mark.parametrize("method", METHODS)
def test_the_critic_is_not_kept_and_a_frozen_autoencoder_is(made, method):
    assert any("critic" in name for name in names(made[method])) is False
    assert any(name.startswith(f"autoencoder_{INNER.get(method)}") for name in names(made[method])) == (method in INNER)


@pytest.mark.parametrize("method", METHODS)
def test_a_stage_has_a_learner_and_steps(made, method):
    stages = made[method].stages()
    assert [stage.name for stage in stages] == {
        "vqvae": ["autoencoder", "prior"], "ldm_vae": ["denoiser"], "ldm_vqvae": ["denoiser"]
    }.get(method, ["generator"])  # fmt: skip
    assert all(stage.steps > 0 and stage.learner.players for stage in stages)
    assert stages[0].steps == 8


# -- latent diffusion and codes


def test_a_denoiser_that_finds_no_noise_gives_the_noise_itself_stretched_to_time_zero():
    """z = noise / sqrt(alpha_bar of the last time), whatever the steps in between."""
    made = make("ldm_vae")
    with torch.no_grad():
        made.players["denoiser"].head.weight.zero_()
        drawn = made.draw([3, 8], seed=4)
    noise = SD()((3, 4, 4, 4), [3, 8], 4) / made.schedule.alphas_bar[-1].sqrt().float()
    torch.testing.assert_close(drawn, made.scale.inverse(noise))


def test_diffusion_takes_as_many_steps_as_its_settings_say():
    made, calls = make("ldm_vae", ddim_steps=5), []
    made.players["denoiser"].register_forward_hook(lambda *_: calls.append(1))
    sample(made, [0, 1], seed=0)
    assert len(calls) == 2 * 5
    with pytest.raises(ValueError, match="steps is 21; give 1 to 20, the times the denoiser was trained for"):
        sample(make("ldm_vae", ddim_steps=21), [0], seed=0)


def test_codes_are_drawn_by_the_prior_and_never_beyond_the_codebook(made):
    codes = made["vqvae"].draw(range(3), seed=0)
    assert codes.dtype == torch.int64 and codes.shape == (3, 4, 4, 4) and 0 <= codes.min() and codes.max() < 16
    assert made["vqvae"].draw([], seed=0).shape == (0, 4, 4, 4)


def test_a_vqvae_without_a_prior_says_so_and_can_still_be_diffused_on():
    without = make("vqvae", prior_steps=0)
    assert [stage.name for stage in without.stages()] == ["autoencoder"]
    with pytest.raises(ValueError, match=r"trained without a prior \(prior_steps: 0\), so it cannot draw codes"):
        sample(without, [0], seed=0)
    assert sample(make("ldm_vqvae"), [0], seed=0).shape[1] == 2


def test_a_cold_prior_draws_its_likeliest_codes():
    cold = [make("vqvae", temperature=1e-6).draw([index], seed=0) for index in range(2)]
    warm = [make("vqvae").draw([index], seed=0) for index in range(2)]
    assert torch.equal(*cold) and not torch.equal(*warm)


# -- what cannot be built




@pytest.mark.parametrize(
    ("method", "inner", "message"),
    [
        ("ldm_vae", None, "autoencoder is none, for ldm_vae give it one of vae, intro_vae, soft_intro_vae"),
        ("ldm_vae", "wgan_gp", "autoencoder is wgan_gp, for ldm_vae give it one of vae, intro_vae, soft_intro_vae"),
        ("ldm_vae", "vqvae", "autoencoder is vqvae, for ldm_vae give"),
        ("ldm_vqvae", "vae", "autoencoder is vae, for ldm_vqvae give it one of vqvae"),
        ("vae", "vae", "autoencoder is vae, for vae leave it out"),
        ("wgan_gp", "vqvae", "autoencoder is vqvae, for wgan_gp leave it out"),
    ],
)
def test_an_autoencoder_that_is_missing_unfit_or_unwanted_is_an_error_that_names_those_that_fit(method, inner, message):
    autoencoder = make(inner) if inner else None
    choices = {"side": SIDE, "settings": {}, "steps": 1, "learning_rate": 1e-3}
    with pytest.raises(ValueError, match=message):
        build(method, SHAPE, autoencoder=autoencoder, **choices)


@pytest.mark.parametrize("inner", ["vae", "intro_vae", "soft_intro_vae"])
def test_diffusion_works_in_the_embedding_of_every_gaussian_autoencoder(inner):
    autoencoder = make(inner)
    made = build("ldm_vae", SHAPE, side=SIDE, settings=SETTINGS["ldm_vae"], steps=1, learning_rate=1e-3,
                 autoencoder=autoencoder)  # fmt: skip
    with torch.no_grad():
        made.scale.measure(*autoencoder.embed(heads(3)))
    assert sample(made, [0], seed=0).shape == (1, 2, SIDE, SIDE, SIDE)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("vea", {}, "unknown method 'vea'; did you mean 'vae'"),
        ("monkey", {}, "unknown method 'monkey'; the known ones are: vae, wgan_gp, vqvae"),
        ("vae", {"betta": 1}, "settings of vae: unknown key 'betta'; did you mean 'beta'"),
        ("vae", {"beta": -1}, "settings of vae: beta = -1 should be greater than or equal to 0"),
        ("wgan_gp", {"norm": "batch"}, "settings of wgan_gp: norm = "),
    ],
)
def test_an_unknown_method_or_setting_is_named_with_the_nearest(method, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(method, SHAPE, side=SIDE, settings=settings, steps=1, learning_rate=1e-3)
    assert isinstance(caught.value, ConfigError) == ("settings" in message)


def test_a_side_that_is_no_multiple_of_the_stride_is_refused():
    with pytest.raises(ValueError, match="multiples of the network's stride 4"):
        build("vae", SHAPE, side=18, settings={}, steps=1, learning_rate=1e-3)


# -- autoencoders


@pytest.mark.parametrize(("method", "steps"), [("vae", 40), ("vqvae", 40), ("intro_vae", 30), ("soft_intro_vae", 30)])
def test_a_trained_autoencoder_reconstructs_better_and_its_loss_has_fallen(method, steps):
    made = make(method, steps=steps, **({"prior_steps": 0} if method == "vqvae" else {}))
    made.rate, players = 1e-2, len(made.players)
    made.validation = heads(2)
    with torch.no_grad():
        before = made.validate(0)
    losses = learn(made, steps, batches=lambda step: heads(2))
    with torch.no_grad():
        after = made.validate(steps)
    assert sum(losses[-4 * players :]) < 0.75 * sum(losses[: 4 * players])
    assert all(0 <= value <= 1 for value in (*before.values(), *after.values()))
    assert after["skull_dice"] > before["skull_dice"] + 0.2


@pytest.mark.parametrize("method", AUTOENCODERS)
@torch.no_grad()
def test_an_autoencoder_embeds_what_its_decoder_turns_into_cases_again(made, method):
    latents = made[method].encode(heads(2))
    assert made[method].decode(latents).shape == (2, 2, SIDE, SIDE, SIDE)
    torch.testing.assert_close(latents[1:], made[method].encode(heads(2)[1:]), rtol=1e-4, atol=1e-4)


def test_validation_is_the_mean_dice_of_each_part():
    """One perfect case, and one whose defect is not found: 1 and 0 of the defect. A voxel is bone from a half on."""
    made = make("vae")
    found = [torch.tensor([1.0, sign]).reshape(2, 1, 1, 1) for sign in (1.0, -1.0)]
    made.encode = lambda cases: cases
    made.decode = lambda cases: torch.where(cases > 0.5, 1.0, -1.0) * found.pop(0)
    made.validation = torch.full((2, 2, 4, 4, 4), 0.4)
    made.validation[:, 0, :2], made.validation[:, 1, 2:] = 0.6, 0.6
    assert made.validate(0) == {"skull_dice": 1.0, "defect_dice": 0.5, "dice": 0.75}


def test_validation_without_cases_is_not_a_number():
    assert torch.tensor(list(make("vae").validate(0).values())).isnan().all()


def test_dice_of_two_empty_masks_is_one_and_of_halves_that_overlap_by_half_a_half():
    nothing = torch.zeros(1, 1, 4, 1, 1, dtype=torch.bool)
    one, other = nothing.clone(), nothing.clone()
    one[:, :, :2], other[:, :, 1:3] = True, True
    assert dice(nothing, nothing).item() == 1 and dice(one, nothing).item() == 0
    assert dice(one, other).item() == 0.5 and dice(one, one).shape == (1, 1)


def test_masks_are_disjoint_and_bone_is_where_skull_and_defect_together_are_at_least_a_half():
    """A voxel belongs to the likelier part; a tie to the skull."""
    skull = torch.tensor([0.9, 0.25, 0.2, 0.6, 0.1, 0.7]).reshape(1, 6, 1, 1)
    defect = torch.tensor([0.1, 0.25, 0.2, 0.8, 0.45, 0.6]).reshape(1, 6, 1, 1)
    masks = as_masks(torch.cat([skull, defect]))
    assert masks.dtype == torch.bool and masks.shape == (2, 6, 1, 1)
    assert masks[0].flatten().tolist() == [True, True, False, False, False, True]
    assert masks[1].flatten().tolist() == [False, False, False, True, True, False]
    many = as_masks(torch.rand(3, 2, 4, 4, 4, generator=rng()))
    assert many.shape == (3, 2, 4, 4, 4) and not (many[:, 0] & many[:, 1]).any()
    assert torch.equal(as_masks(heads(3)), heads(3).bool())


def test_at_the_level_of_a_volume_samples_have_that_volume():
    p = 0.5 * torch.rand(4, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    level = volume_level(p, 200.0)
    assert as_masks(p, level).sum() == 4 * 200
    sharp = heads(3)
    assert as_masks(sharp, volume_level(sharp, float((sharp > 0.5).sum() / 3))).equal(sharp > 0.5)
    assert volume_level(p, 0.0) == 0.9 and volume_level(p, 1e9) == 0.1, "a level that keeps nothing, or all, is none"
