"""Noise comes and goes exactly: the schedule is the paper's, and a sampler that knows the noise finds the latent."""

import numpy as np
import pytest
import torch

from cranial.diffusion import Schedule, ddim

LIKE_OURS = {
    "num_train_timesteps": 1000, "schedule": "scaled_linear_beta", "beta_start": 0.0015, "beta_end": 0.0195,
}  # fmt: skip


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def oracle(latents, schedule):
    """Knows which latents are under the noise: e = (z_t - sqrt(a) z) / sqrt(1 - a)."""

    def predict(noisy, time):
        kept = schedule.alphas_bar[time].reshape(-1, 1, 1, 1, 1)
        return (noisy - kept.sqrt() * latents) / (1 - kept).sqrt()

    return predict


# -- schedule


def test_the_schedule_is_the_scaled_linear_one_of_latent_diffusion():
    monai = pytest.importorskip("monai.networks.schedulers")
    theirs = monai.DDPMScheduler(**LIKE_OURS).alphas_cumprod
    np.testing.assert_allclose(Schedule().alphas_bar.numpy(), theirs.numpy(), rtol=2e-5)


def test_betas_grow_as_the_square_of_a_line():
    schedule = Schedule(times=5, first=0.01, last=0.09)
    betas = [0.01, 0.0225, 0.04, 0.0625, 0.09]  # 0.1, 0.15, 0.2, 0.25, 0.3 squared
    np.testing.assert_allclose(schedule.alphas_bar.numpy(), np.cumprod(1 - np.array(betas)), rtol=1e-12)


def test_what_is_left_of_a_latent_falls_from_nearly_all_to_nearly_nothing():
    alphas = Schedule().alphas_bar
    assert alphas.shape == (1000,) and alphas.dtype == torch.float64
    assert (alphas.diff() < 0).all() and alphas[0] > 0.998 and alphas[-1] < 0.01


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"times": 0}, "times is 0; give an integer of at least 1"),
        ({"times": 10.0}, "times is 10.0; give an integer"),
        ({"first": 0.0}, "betas go from 0.0 to 0.0195; give 0 < first <= last < 1"),
        ({"first": 0.5, "last": 0.1}, "betas go from 0.5 to 0.1"),
        ({"last": 1.0}, "betas go from 0.0015 to 1.0"),
    ],
)
def test_a_schedule_that_is_none_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**settings)


def test_noisy_latents_have_the_mean_and_the_variance_of_their_time():
    schedule, times = Schedule(), [0, 200, 999]
    latents = torch.full((3, 1, 40, 40, 40), 5.0)
    noisy = schedule.noisy(latents, normal(3, 1, 40, 40, 40, dtype=torch.float32), torch.tensor(times))
    assert noisy.dtype == torch.float32
    for found, kept in zip(noisy, schedule.alphas_bar[times].tolist(), strict=True):
        assert found.mean().item() == pytest.approx(5 * kept**0.5, abs=0.02)
        assert found.var().item() == pytest.approx(1 - kept, rel=0.02)


def test_latents_of_unit_variance_keep_it_at_every_time():
    latents, noise = normal(4, 1, 32, 32, 32), normal(4, 1, 32, 32, 32, seed=1)
    noisy = Schedule().noisy(latents, noise, torch.tensor([0, 100, 300, 999]))
    np.testing.assert_allclose(noisy.flatten(1).var(1).numpy(), 1, rtol=0.03)


# -- which times are visited


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 25, 50, 250, 999, 1000])
def test_the_times_fall_evenly_from_the_last_to_one_share_of_all(steps):
    times = Schedule().visited(steps)
    assert len(times) == steps and times[0] == 999
    assert all(type(time) is int for time in times)
    assert times[-1] == round(1000 / steps) - 1
    gaps = -np.diff([*times, -1])
    assert np.all(np.abs(gaps - 1000 / steps) <= 1) and gaps.min() >= 1, "one after the other, to before the first"


def test_as_many_steps_as_times_visit_each_time_once():
    assert Schedule(times=30).visited(30) == list(range(29, -1, -1))


def test_no_time_is_visited_twice():
    schedule = Schedule(times=61)
    for steps in range(1, 62):
        times = schedule.visited(steps)
        assert len(set(times)) == steps and 0 <= min(times) and max(times) == 60


@pytest.mark.parametrize("steps", [0, -1, 1001, 10.0])
def test_more_steps_than_times_or_fewer_than_one_are_refused(steps):
    with pytest.raises(ValueError, match=f"steps is {steps}; give 1 to 1000, the times the denoiser was trained for"):
        Schedule().visited(steps)


# -- the sampler


@pytest.mark.parametrize("steps", [1, 2, 7, 50, 1000])
def test_whoever_knows_the_noise_finds_the_latent_in_any_number_of_steps(steps):
    latents, schedule = normal(2, 3, 2, 2, 2), Schedule()
    found = ddim(oracle(latents, schedule), normal(2, 3, 2, 2, 2, seed=1), schedule, steps=steps)
    torch.testing.assert_close(found, latents, rtol=1e-9, atol=1e-9)


def test_latents_far_outside_minus_one_to_one_are_not_clipped():
    latents, schedule = 300 * normal(1, 3, 2, 2, 2), Schedule()
    found = ddim(oracle(latents, schedule), normal(1, 3, 2, 2, 2, seed=1), schedule, steps=20)
    torch.testing.assert_close(found, latents)


def test_every_prediction_is_asked_at_the_noise_that_is_there():
    """On the way down, what the predictor gets has exactly the noise of the time that it is told."""
    schedule, latents, noise = Schedule(), normal(1, 1, 2, 2, 2), normal(1, 1, 2, 2, 2, seed=1)
    seen = []

    def predict(noisy, time):
        if seen:  # at first it is all noise
            torch.testing.assert_close(noisy, schedule.noisy(latents, guess, time))
        seen.append(time.item())
        return oracle(latents, schedule)(noisy, time)

    kept = schedule.alphas_bar[999]
    guess = (noise - kept.sqrt() * latents) / (1 - kept).sqrt()  # the noise that pure noise is taken for
    ddim(predict, noise, schedule, steps=7)
    assert seen == schedule.visited(7)


def test_the_sampler_is_deterministic():
    noise = normal(2, 3, 2, 2, 2, dtype=torch.float32)

    def predict(noisy, time):
        return (noisy * 0.9).tanh()

    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = ddim(predict, noise, Schedule(), steps=10)
    assert torch.equal(one, ddim(predict, noise, Schedule(), steps=10))
    assert torch.equal(before, torch.get_rng_state()) and one.dtype == torch.float32


def test_noise_that_follows_the_normal_law_becomes_latents_that_follow_theirs():
    """z ~ N(m, s^2) has the closed predictor E[e | z_t] = sqrt(1 - a) (z_t - sqrt(a) m) / (a s^2 + 1 - a)."""
    schedule, mean, deviation = Schedule(), 2.0, 0.5

    def predict(noisy, time):
        kept = schedule.alphas_bar[time].reshape(-1, 1, 1, 1, 1)
        return (1 - kept).sqrt() * (noisy - kept.sqrt() * mean) / (kept * deviation**2 + 1 - kept)

    found = ddim(predict, normal(1, 1, 30, 30, 30), schedule, steps=200)
    assert found.mean().item() == pytest.approx(mean, abs=0.05)
    assert found.std().item() == pytest.approx(deviation, rel=0.05)


def test_the_ddim_of_monai_leaves_another_noise_than_that_of_the_time_it_visits_next():
    """Why the sampler is ours: with 7 steps it goes from 999 to 857 = 999 - 1000 // 7, and calls it 832."""
    monai = pytest.importorskip("monai.networks.schedulers")
    theirs = monai.DDIMScheduler(**LIKE_OURS, clip_sample=False)
    theirs.set_timesteps(7)
    first, second = theirs.timesteps[:2].tolist()
    schedule, latents, noise = Schedule(), normal(1, 1, 2, 2, 2), normal(1, 1, 2, 2, 2, seed=1)
    there = schedule.noisy(latents, noise, torch.tensor([first]))
    then, _ = theirs.step(noise, first, there)
    torch.testing.assert_close(then, schedule.noisy(latents, noise, torch.tensor([857])), rtol=1e-3, atol=1e-3)
    assert second == 832 and not torch.allclose(then, schedule.noisy(latents, noise, torch.tensor([832])), atol=0.01)
