"""A training can be stopped anywhere and goes on as if it had not been; nobody's weights move out of turn."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_checkpoint import equal
from torch import nn
from toy_learners import ARGUMENTS, Adversaries, Inpainter, digest, heads

from cranial import checkpoint
from cranial.checkpoint import CheckpointError
from cranial.train import TrainingInterrupted, load_players, train, warmup_cosine
from cranial.train.processes import seeded

pytestmark = pytest.mark.usefixtures("one_thread")  # bits are compared

SCRIPT = Path(__file__).with_name("toy_learners.py")


def run(learner, folder, steps=7, batches=heads, **changes):
    return train(learner, batches, steps=steps, folder=folder, **ARGUMENTS | changes)


def with_signal(number: int, at: int):
    """Batches during one of which the process gets a signal."""

    def batches(index: int):
        if index == at:
            os.kill(os.getpid(), number)
        return heads(index)

    return batches


def log_of(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def assert_same_run(a: Path, b: Path) -> None:
    """The same weights, averages, optimisers and best weights, to the bit, and the same log but the time."""
    for name in ("last.safetensors", "best.safetensors"):
        states = [checkpoint.load(folder / name) for folder in (a, b)]
        for state in states:
            for clock in ("seconds", "log_bytes", "sums"):
                del state["progress"][clock]
        assert equal(*states), name
    assert log_of(a) == log_of(b)


@pytest.mark.parametrize("learner", [Inpainter, Adversaries])
@pytest.mark.parametrize("stop", [1, 3, 4, 7])
def test_a_run_stopped_by_slurm_and_resumed_equals_the_run_never_stopped(tmp_path, learner, stop):
    run(learner(), tmp_path / "whole")
    with pytest.raises(
        TrainingInterrupted, match=f"SIGTERM: stopped after step {stop} of 7, .* to go on from there"
    ):
        run(learner(), tmp_path / "parts", batches=with_signal(signal.SIGTERM, stop - 1))
    assert checkpoint.load(tmp_path / "parts" / "last.safetensors")["progress"]["step"] == stop
    resumed = learner()
    for player in resumed.players.values():  # what a new process starts from must not matter
        for parameter in player.parameters():
            parameter.data.add_(1)
    result = run(resumed, tmp_path / "parts")
    assert result.steps == 7
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("changes", [{"precision": "bf16-mixed"}, {"accumulate": 2}, {"clip_norm": 0.1}])
def test_exact_resume_holds_for_every_setting(tmp_path, changes):
    run(Inpainter(), tmp_path / "whole", **changes)
    with pytest.raises(TrainingInterrupted, match="SIGUSR1: stopped after step 4"):
        at = 3 * changes.get("accumulate", 1)
        run(Inpainter(), tmp_path / "parts", batches=with_signal(signal.SIGUSR1, at), **changes)
    run(Inpainter(), tmp_path / "parts", **changes)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_run_killed_between_checkpoints_and_resumed_equals_the_run_never_killed(tmp_path):
    arguments = {"steps": 9, "checkpoint_every": 2}
    killed = script(tmp_path / "parts", 9, "SIGKILL", 0, 7, checkpoint_every=2)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint.load(tmp_path / "parts" / "last.safetensors")["progress"]["step"] == 6
    run(Adversaries(), tmp_path / "parts", **arguments)
    run(Adversaries(), tmp_path / "whole", **arguments)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def script(folder, steps, *signal_rank_at, **arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), str(folder), str(steps), json.dumps(arguments)]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parent.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *map(str, signal_rank_at)], capture_output=True, text=True, timeout=200, env=environment
    )


def test_two_processes_take_the_steps_of_one_that_accumulates_two_batches(tmp_path):
    """Also when the second process alone gets a signal: both stop after the same step, and resume."""
    together = script(tmp_path / "two", 7, "SIGTERM", 1, 5, devices=2, strategy="ddp")
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("interrupted SIGTERM: stopped after step 3 of 7") == 1
    assert together.stdout.count("interrupted a signal to another process: stopped after step 3 of 7") == 1
    digests = [line for line in together.stdout.splitlines() if line.startswith("digest")]
    assert len(digests) == 2 and digests[0] == digests[1]
    run(Adversaries(), tmp_path / "one", accumulate=2)
    one, two = (checkpoint.load(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    for player in ("critic", "generator"):
        weights = [k for k in one["players"][player] if "running" not in k and "tracked" not in k]
        for key in weights:  # statistics of batch norm: the mean of two processes is not two updates of one
            torch.testing.assert_close(
                two["players"][player][key], one["players"][player][key], msg=f"{player} {key}"
            )
    losses = [
        [v for k, v in line.items() if "loss" in k]
        for name in ("one", "two")
        for line in log_of(tmp_path / name)
    ]
    half = len(losses) // 2
    np.testing.assert_allclose(sum(losses[:half], []), sum(losses[half:], []), rtol=1e-5)


def test_a_notebook_trains_in_two_processes_and_has_the_weights_after(tmp_path):
    done = script(tmp_path / "two", 3, "SIGTERM", 0, 99, devices=2, strategy="ddp_notebook")
    assert done.returncode == 0, done.stderr
    run(Adversaries(), tmp_path / "one", steps=3, accumulate=2)
    saved, one = Adversaries(), Adversaries()
    assert load_players(tmp_path / "two" / "last.safetensors", saved, averaged=False) == 3
    assert f"digest {digest(saved)}" in done.stdout
    load_players(tmp_path / "one" / "last.safetensors", one, averaged=False)
    torch.testing.assert_close(saved.critic[0].weight, one.critic[0].weight)


def test_a_signal_ends_a_long_validation_at_once_and_the_resumed_run_validates_again(tmp_path):
    class Slow(Inpainter):
        def validate(self, step):
            if step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            return super().validate(step)

    run(Inpainter(), tmp_path / "whole")
    started, slow = time.monotonic(), Slow()
    with pytest.raises(TrainingInterrupted, match="SIGTERM: stopped after step 3"):
        run(slow, tmp_path / "parts")
    assert time.monotonic() - started < 30
    assert slow.net.training, "back in training mode"
    run(Inpainter(), tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_the_second_control_c_does_not_wait_for_the_step(tmp_path):
    def twice(index):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return heads(index)

    with pytest.raises(KeyboardInterrupt):
        run(Inpainter(), tmp_path, batches=twice)


def test_signals_are_given_back_after_the_run(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    run(Inpainter(), tmp_path, steps=1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_plugin_may_train_in_a_thread(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(run(Inpainter(), tmp_path, steps=2)))
    thread.start()
    thread.join()
    assert results[0].steps == 2


def test_an_extended_run_goes_on_and_a_finished_one_returns_at_once(tmp_path):
    first = run(Inpainter(), tmp_path, steps=3)
    assert run(Inpainter(), tmp_path, steps=5).steps == 5
    before = (tmp_path / "last.safetensors").read_bytes()

    def never(index):
        raise AssertionError("there is nothing left to do")

    again = run(Inpainter(), tmp_path, steps=5, batches=never)
    assert again.steps == 5 and again.seconds > first.seconds
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_one_process_is_not_told_to_use_srun(tmp_path, monkeypatch, recwarn):
    srun = tmp_path / "srun"
    srun.touch(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    run(Inpainter(), tmp_path / "run", steps=1)
    assert not [warning for warning in recwarn if "srun" in str(warning.message)]


def test_nobody_elses_gradient_is_touched(tmp_path):
    class OnlyGenerator(Adversaries):
        def turns(self, step):
            yield "generator", self.generator_loss  # differentiates through the critic

    learner = OnlyGenerator()
    before = [p.clone() for p in learner.critic.parameters()]
    run(learner, tmp_path)
    assert all(p.grad is None for p in learner.critic.parameters())
    assert all(map(torch.equal, learner.critic.parameters(), before))
    assert all(p.grad is not None for p in learner.generator.parameters())


class Point:
    """One number that is pulled to each batch's value: small enough to do the loop's sums by hand."""

    def __init__(self, rate=1.0):
        self.module, self.rate, self.seen = nn.Linear(1, 1, bias=False), rate, []
        nn.init.constant_(self.module.weight, 10.0)
        self.validations = iter([0.3, 0.9, math.nan, 0.5])

    @property
    def players(self):
        return {"point": self.module}

    @property
    def value(self):
        return self.module.weight.item()

    def optimizers(self):
        return {"point": torch.optim.SGD(self.module.parameters(), self.rate)}

    def turns(self, step):
        yield "point", lambda batch, rng: ((self.module.weight * batch).sum(), {"batch": batch})

    def validate(self, step):
        self.seen.append((self.value, self.module.training, torch.is_grad_enabled()))
        return {"score": next(self.validations)}


def plain(learner, folder, steps, batches, **changes):
    return train(
        learner, batches, steps=steps, folder=folder, seed=0, accelerator="cpu", progress=False, **changes
    )


def test_accumulation_is_the_mean_over_consecutive_batches(tmp_path):
    point = Point()  # the gradient is the batch itself
    plain(point, tmp_path, 2, lambda index: torch.tensor(float(index)), accumulate=2, log_every=1)
    assert point.value == 10 - (0 + 1) / 2 - (2 + 3) / 2
    assert [line["point/batch"] for line in log_of(tmp_path)] == [0.5, 2.5]


def test_the_log_has_means_since_the_last_line(tmp_path):
    plain(Point(), tmp_path, 5, lambda index: torch.tensor(float(index)), log_every=2)
    lines = log_of(tmp_path)
    assert [line["step"] for line in lines] == [2, 4, 5]
    assert [line["point/batch"] for line in lines] == [0.5, 2.5, 4]
    assert lines[0]["point/gradient_norm"] == 0.5


def test_clipping_bounds_the_step_and_not_its_direction(tmp_path):
    point = Point()
    plain(point, tmp_path, 1, lambda index: torch.tensor(-50.0), clip_norm=2.0)
    assert point.value == pytest.approx(12)


def test_the_learning_rate_is_that_of_the_step(tmp_path):
    point = Point()
    point.learning_rate = lambda step: [4.0, 0.0, 1.0][step]
    plain(point, tmp_path, 3, lambda index: torch.tensor(1.0))
    assert point.value == 5


def test_warmup_cosine_rises_to_its_peak_and_falls_to_its_floor():
    rates = [warmup_cosine(step, steps=100, peak=1.0, warmup=10, floor=0.1) for step in range(120)]
    assert rates[9] == rates[10] == 1 and rates[0] == pytest.approx(0.1)
    assert all(np.diff(rates[:10]) > 0) and all(np.diff(rates[10:100]) < 0)
    assert rates[55] == pytest.approx(0.55)
    assert rates[100:] == [pytest.approx(0.1)] * 20


def test_averaged_weights_are_validated_kept_as_best_and_loaded_but_do_not_train(tmp_path):
    point = Point()
    result = plain(point, tmp_path, 2, lambda index: torch.tensor(4.0), ema_decay=0.5, validate_every=1,
                   target="score", goal="highest")  # fmt: skip
    # weights 6, 2; decay 1/10 then 2/11 at first: averages 0.1 10 + 0.9 6 = 6.4, then 2/11 6.4 + 9/11 2 = 2.8
    assert [seen[0] for seen in point.seen] == pytest.approx([6.4, 2.8])
    assert point.value == 2
    for path, averaged, value in [
        (result.best, True, 2.8),
        (result.last, True, 2.8),
        (result.last, False, 2),
    ]:
        loaded = Point()
        assert load_players(path, loaded, averaged=averaged) == 2
        assert loaded.value == pytest.approx(value)


def test_validation_is_in_eval_mode_without_gradients_and_leaves_the_modes_as_they_were(tmp_path):
    class Frozen(Inpainter):
        def validate(self, step):
            modes.append([m.training for m in self.net.modules()] + [torch.is_grad_enabled()])
            return super().validate(step)

    modes, learner = [], Frozen()
    learner.net[1].eval()
    run(learner, tmp_path, steps=3)
    assert modes and not any(modes[0])
    assert learner.net.training and learner.net[0].training and not learner.net[1].training


@pytest.mark.parametrize(("goal", "step", "value"), [("highest", 2, 0.9), ("lowest", 1, 0.3)])
def test_the_best_weights_are_those_of_the_best_validation_and_nan_is_never_best(tmp_path, goal, step, value):
    result = plain(
        Point(), tmp_path, 4, lambda index: torch.tensor(1.0), validate_every=1, target="score", goal=goal
    )
    assert (result.best_step, result.best_value) == (step, value)
    best = Point()
    assert load_players(result.best, best) == step
    assert best.value == 10 - step
    assert [line["validation/score"] for line in log_of(tmp_path) if "validation/score" in line] == [
        0.3,
        0.9,
        None,
        0.5,
    ]


def test_the_checkpoint_knows_of_best_weights_as_soon_as_they_are_written(tmp_path):
    """Else a run killed before its next checkpoint would come back with a best that its file is not."""
    known = []

    def batches(index):
        if index == 3:
            known.append(checkpoint.load(tmp_path / "last.safetensors")["progress"])
        return heads(index)

    run(Inpainter(), tmp_path, steps=4, batches=batches, checkpoint_minutes=None)
    assert (known[0]["step"], known[0]["best_step"], known[0]["validated"]) == (3, 3, 3)


def test_a_run_without_validation_has_no_best(tmp_path):
    result = plain(Point(), tmp_path, 1, lambda index: torch.tensor(1.0))
    assert result.best is None and result.best_value is None and result.last.is_file()


def test_checkpoints_come_by_steps_and_by_minutes(tmp_path):
    steps = {"by_step": [], "by_time": []}

    def batches_of(name):
        def batches(index):
            path = tmp_path / name / "last.safetensors"
            steps[name].append(checkpoint.load(path)["progress"]["step"] if path.is_file() else 0)
            return torch.tensor(1.0)

        return batches

    plain(
        Point(), tmp_path / "by_step", 6, batches_of("by_step"), checkpoint_every=2, checkpoint_minutes=None
    )
    plain(Point(), tmp_path / "by_time", 3, batches_of("by_time"), checkpoint_minutes=1e-9)
    assert steps == {"by_step": [0, 0, 2, 2, 4, 4], "by_time": [0, 1, 2]}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_player_step_and_last_good_checkpoint(tmp_path, bad):
    point = Point()
    with pytest.raises(
        FloatingPointError,
        match=rf"\('point'\) of step 4, batch 3: the loss is {bad}.*checkpoint is .*last.safetensors; lower",
    ):
        plain(point, tmp_path, 9, lambda index: torch.tensor(bad if index == 3 else 1.0), checkpoint_every=2)
    assert point.value == 7, "the bad step was not taken"
    assert checkpoint.load(tmp_path / "last.safetensors")["progress"]["step"] == 2


def test_a_gradient_that_is_not_finite_is_caught_before_it_reaches_the_weights(tmp_path):
    class Cusp(Point):
        def turns(self, step):  # sqrt(0 w) = 0, with the gradient inf 0 = nan
            yield "point", lambda batch, rng: ((self.module.weight * 0).sqrt().sum(), {})

    cusp = Cusp()
    with pytest.raises(
        FloatingPointError, match="the loss is 0.0, the norm of its gradient nan; nothing was saved"
    ):
        plain(cusp, tmp_path, 2, lambda index: torch.tensor(1.0))
    assert cusp.value == 10


def test_training_leaves_the_global_random_state_alone(tmp_path):
    before = torch.get_rng_state()
    learner = Inpainter()
    torch.set_rng_state(before)
    run(learner, tmp_path, steps=4, workers=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_gives_both_generators_the_same_stream_and_each_turn_another():
    def draw(*item):
        with seeded(torch.device("cpu"), 5, *item) as rng:
            return torch.randn(4, generator=rng), torch.randn(4)

    assert torch.equal(*draw(1, 2))
    assert torch.equal(draw(1, 2)[0], draw(1, 2)[0])
    assert not torch.equal(draw(1, 2)[0], draw(1, 3)[0])


def test_workers_make_the_same_batches_in_the_same_order(tmp_path):
    run(Inpainter(), tmp_path / "none")
    run(Inpainter(), tmp_path / "two", workers=2)
    assert_same_run(tmp_path / "none", tmp_path / "two")


def test_a_signal_ends_the_run_while_batches_are_made_ahead(tmp_path):
    def batches(index):
        if index == 2:  # in a worker's thread; the signal reaches the loop all the same
            os.kill(os.getpid(), signal.SIGTERM)
        return heads(index)

    with pytest.raises(TrainingInterrupted, match="SIGTERM"):
        run(Inpainter(), tmp_path / "parts", batches=batches, workers=1, steps=200, checkpoint_minutes=None)
    done = checkpoint.load(tmp_path / "parts" / "last.safetensors")["progress"]["step"]
    assert done < 200
    run(Inpainter(), tmp_path / "parts", steps=done + 2)
    run(Inpainter(), tmp_path / "whole", steps=done + 2)
    a, b = (checkpoint.load(tmp_path / name / "last.safetensors")["players"] for name in ("parts", "whole"))
    assert equal(a, b)


def test_an_error_in_a_worker_reaches_the_user(tmp_path):
    def batches(index):
        raise FileNotFoundError(f"skull {index} is missing")

    with pytest.raises(FileNotFoundError, match="skull 0 is missing"):
        run(Inpainter(), tmp_path, batches=batches, workers=1)


def test_arrays_become_tensors_and_kernels_and_volumes_become_channels_last(tmp_path):
    class Looks(Inpainter):
        def loss(self, batch, rng):
            looks.append((batch["defective"], self.net[4].weight, self.net[0].weight))
            return super().loss(batch, rng)

    def batches(index):
        return {name: np.repeat(tensor.numpy(), 1, axis=0) for name, tensor in heads(index).items()}

    looks, learner = [], Looks()
    learner.net[0] = nn.Conv3d(1, 4, 3, padding=1)
    run(learner, tmp_path, steps=1, batches=batches)
    for tensor in looks[0]:
        assert tensor.is_contiguous(memory_format=torch.channels_last_3d)
    run(learner, tmp_path / "not", steps=1, batches=batches, channels_last=False)
    assert looks[1][0].is_contiguous()


def test_the_optimiser_comes_back_in_the_memory_format_of_the_weights(tmp_path):
    class Deep(Inpainter):
        def __init__(self):
            super().__init__()
            self.net[4] = nn.Conv3d(4, 1, 3, padding=1)
            self.optimizer = torch.optim.AdamW(self.net.parameters(), 1.0)

        def optimizers(self):
            return {"net": self.optimizer}

    run(Deep(), tmp_path, steps=1)
    resumed = Deep()
    run(resumed, tmp_path, steps=1)
    moments = resumed.optimizer.state[resumed.net[4].weight]
    for name in ("exp_avg", "exp_avg_sq"):
        assert moments[name].stride() == resumed.net[4].weight.stride() != (108, 27, 9, 3, 1)


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    (tmp_path / ".last.safetensors.node7.123.tmp").write_bytes(b"half")
    (tmp_path / "log.jsonl").write_text('{"step": 1, "sec')
    run(Inpainter(), tmp_path, steps=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "log.jsonl",
    ]
    assert [line["step"] for line in log_of(tmp_path)] == [2, 2]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 4}, "made with seed = 3, this run has 4; resume with the settings it was made with"),
        ({"accumulate": 2}, "made with batches_per_step = 1, this run has 2"),
        ({"precision": "bf16-mixed"}, "made with precision = 32-true, this run has bf16-mixed"),
        ({"ema_decay": None}, "made with ema_decay = 0.9, this run has None"),
        ({"config": {"net": {"width": 8}, "loss": "dice"}}, "made with config net width = 4, this run has 8"),
        ({"config": {"net": {"width": 4}}}, "made with config loss = dice, this run has absent"),
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_experiment_is_refused_by_the_name_of_the_difference(
    tmp_path, changes, difference
):
    experiment = {"config": {"net": {"width": 4}, "loss": "dice"}}
    run(Inpainter(), tmp_path, steps=1, **experiment)
    with pytest.raises(CheckpointError, match=difference):
        run(Inpainter(), tmp_path, steps=2, **experiment | changes)


def test_a_checkpoint_of_another_learner_is_refused(tmp_path):
    class Wider(Inpainter):
        def __init__(self):
            super().__init__()
            self.net[4] = nn.Conv3d(4, 1, 3, padding=1)

    class Sgd(Inpainter):
        def optimizers(self):
            return {"net": torch.optim.SGD(self.net.parameters(), 1.0)}

    class Decayed(Inpainter):
        def optimizers(self):
            return {"net": torch.optim.AdamW(self.net.parameters(), 1.0, weight_decay=0.5)}

    class Groups(Inpainter):
        def optimizers(self):
            first, *others = self.net.parameters()
            return {"net": torch.optim.AdamW([{"params": [first]}, {"params": others}], 1.0)}

    run(Inpainter(), tmp_path, steps=1)
    for learner, difference in [
        (
            Wider(),
            r"does not fit net: 4.weight is float32 \(1, 4, 1, 1, 1\) in .* and float32 \(1, 4, 3, 3, 3\)",
        ),
        (Sgd(), "made with net's optimiser = AdamW, this run has SGD"),
        (Decayed(), "made with net's optimiser weight_decay = 0.01, this run has 0.5"),
        (Groups(), "made with net's optimiser, number of parameter groups = 1, this run has 2"),
        (Adversaries(), r"has players \['net'\], the learner has \['critic', 'generator'\]; use the learner"),
    ]:
        with pytest.raises(CheckpointError, match=difference):
            run(learner, tmp_path, steps=2)


def test_best_weights_cannot_be_resumed(tmp_path):
    run(Inpainter(), tmp_path, steps=1)
    os.replace(tmp_path / "best.safetensors", tmp_path / "last.safetensors")
    with pytest.raises(
        CheckpointError, match="has no optimisers, so it cannot be resumed; give a last.safetensors"
    ):
        run(Inpainter(), tmp_path, steps=2)


def test_a_damaged_checkpoint_is_not_trained_over(tmp_path):
    run(Inpainter(), tmp_path, steps=1)
    path = tmp_path / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="truncated .* delete it to train from the start"):
        run(Inpainter(), tmp_path, steps=2)
    assert log_of(tmp_path), "nor its log"


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    run(Inpainter(), tmp_path, steps=1)
    with pytest.raises(
        CheckpointError, match="last.safetensors exists; pass resume=True to go on, or choose another"
    ):
        run(Inpainter(), tmp_path, steps=1, resume=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0; give an integer of at least 1"),
        ({"accumulate": 1.5}, "accumulate is 1.5; give an integer of at least 1"),
        ({"workers": -1}, "workers is -1; give an integer of at least 0"),
        ({"log_every": None}, "log_every is None; give an integer"),
        ({"precision": "16-mixed"}, "precision is '16-mixed'; choose '32-true' or 'bf16-mixed'"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0; give a number between 0 and 1"),
        ({"clip_norm": 0}, "clip_norm is 0; give a number above 0, or None"),
        ({"target": None}, "target is None and goal 'lowest'; say which value of validate"),
        ({"goal": "best"}, "target is 'error' and goal 'best'; say which value of validate"),
        ({"target": "dice"}, r"target is 'dice', but validate\(\) returned \['error'\]; choose one of them"),
        ({"strategy": "fsdp"}, "strategy is 'fsdp'; choose 'auto', 'ddp', or in a notebook 'ddp_notebook'"),
        ({"config": {"folder": Path("x")}}, "config cannot be kept as JSON .*Path.*; give numbers, strings"),
    ],
)  # fmt: skip
def test_a_choice_that_could_only_fail_later_is_refused_now(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(Inpainter(), tmp_path, **{"steps": 1} | changes)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"turns": lambda step: [("critic", None)]}, r"turn 0 .'critic'. of step 1 is nobody's; the"),
        ({"optimizers": dict}, r"players are \['net'\], optimizers are for \[\]; give each player"),
        ({"loss": lambda b, r: (torch.zeros(()), {})}, r"shape \(\), requires_grad=False and 6 parameters"),
        ({"loss": lambda b, r: (torch.ones(2, requires_grad=True), {})}, r"the loss has shape \(2,\)"),
        ({"loss": lambda b, r: (torch.ones((), requires_grad=True) + 0, {})}, "depends on none of the"),
        ({"validate": None}, r"validate_every is set, but the learner has no validate\(step\)"),
    ],
)  # fmt: skip
def test_a_learner_that_breaks_the_rules_is_told_which(tmp_path, member, message):
    learner = Inpainter()
    for name, value in member.items():
        setattr(learner, name, value)
    with pytest.raises(ValueError, match=message):
        run(learner, tmp_path, steps=1)
