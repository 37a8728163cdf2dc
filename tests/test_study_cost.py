"""Work is counted as it is done, and the cost of the study follows from it by laws."""

import pytest
import torch
from tiny_notebooks import write_recipes
from torch import nn

from cranial.config import ConfigError, read_yaml
from cranial.generators import GENERATORS
from cranial.nets.residual_unet import ResidualUNetShape
from cranial.reconstruction.learner import ReconstructionLearner
from cranial.reconstruction.mix import MixRecipe
from cranial.study.cost import A100, DESCENT_BYTES, Machine, Part, study_parts, total_hours
from cranial.study.here import Here, measure_here
from cranial.study.recipe import CaseSource, RowEntry, SetEntry, Study
from cranial.study.work import BYTES_A_NUMBER, Work, at_side, counted, step_work
from cranial.synthesis.recipe import GeneratorRecipe


class Two:
    """A learner of two players: a convolution in each of two turns, or in the first alone on odd steps."""

    def __init__(self):
        self.players = {name: nn.Conv3d(1, 2, 3, padding=1, bias=False) for name in ("one", "other")}

    def turns(self, step):
        for name in self.players if step % 2 == 0 else ("one",):
            yield name, lambda batch, rng, name=name: (self.players[name](batch).sum(), {})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    recipes = write_recipes(tmp_path_factory.mktemp("recipes"))
    sets = {name: SetEntry(count=100, generator=name) for name in GENERATORS}
    sets |= {"vae_uds": SetEntry(count=200, generator="vae", strategy="uds")}
    sets |= {f"ir_{alpha}": SetEntry(count=100, alphas=(alpha,)) for alpha in (6250, 12500)}
    rows = {"no_aug": RowEntry(label="No Aug", tables=("5",)), "ir": RowEntry(label="IR", tables=("5",), seeds=(0,))}
    return Study(
        side=16, train=CaseSource(phantoms=2), tests={"seen": CaseSource(phantoms=2, seed=1)}, recipes=recipes,
        training=MixRecipe(steps=10, batch=2, widths=(4, 8), patch=1), seeds=(0, 1, 2), sets=sets, rows=rows,
    )  # fmt: skip


@pytest.fixture(scope="module")
def parts(study):
    return {part.name: part for part in study_parts(study, study.recipes, bytes_a_case=1000, progress=False)}


def test_a_convolution_multiplies_and_adds_each_weight_at_each_place_and_a_sum_moves_three_arrays():
    network = nn.Conv3d(2, 4, 3, padding=1, bias=False)
    with torch.no_grad():
        assert counted(lambda: network(torch.zeros(1, 2, 5, 5, 5))).operations == 2 * (2 * 4 * 27) * 125
    x = torch.zeros(10, 10)
    assert counted(lambda: x + x) == Work(0, 3 * 100 * BYTES_A_NUMBER)
    assert counted(lambda: x.view(100).view(10, 10).transpose(0, 1)) == Work()
    assert counted(lambda: x @ x).operations == 2 * 10**3


def test_a_step_counts_its_turns_forward_and_backward_and_several_steps_their_mean():
    batch = torch.zeros(1, 1, 4, 4, 4)
    forward = 2 * 2 * 27 * 64
    assert step_work(Two(), batch, step=1).operations == 2 * forward, "the weights' gradient is as much as the output"
    assert step_work(Two(), batch, step=0).operations == 4 * forward
    assert step_work(Two(), batch, step=0, steps=2).operations == 3 * forward


def test_the_work_of_a_large_network_follows_from_two_small_ones():
    shape = ResidualUNetShape(1, 1, (4, 8), 1, 1)
    learner = ReconstructionLearner(shape, steps=1, learning_rate=1e-3, symmetry=False)

    def step(side):
        return step_work(learner, (torch.zeros(1, 1, side, side, side),) * 2, step=0)

    guessed, real = at_side(step, 32, small=(8, 16)), step(32)
    assert guessed.operations == real.operations > 0
    assert guessed.bytes == pytest.approx(real.bytes, rel=1e-3)


def test_works_add_up_and_multiply():
    assert 2 * (Work(1, 2) + Work(3, 4)) == Work(8, 12)


def test_a_part_takes_the_longer_of_arithmetic_and_memory():
    machine = Machine("a toy", 100.0, 10.0)
    arithmetic, memory = Part("a", 3600, Work(200, 5)), Part("m", 3600, Work(100, 50))
    assert arithmetic.hours(machine, utilisation=1) == 2 and arithmetic.is_arithmetic(machine)
    assert memory.hours(machine, utilisation=1) == 5 and not memory.is_arithmetic(machine)


@pytest.mark.parametrize("utilisation", [0, 1.5, -0.1])
def test_a_share_that_is_none_is_refused(utilisation):
    with pytest.raises(ValueError, match="give the share of the roofline, above 0 and at most 1"):
        Part("a", 1, Work(1, 1)).hours(A100, utilisation=utilisation)


def test_half_the_utilisation_takes_twice_the_hours_and_the_whole_is_the_sum_of_its_parts(parts):
    each = list(parts.values())
    hours = total_hours(each, A100, utilisation=0.4)
    assert hours == pytest.approx(sum(part.hours(A100, utilisation=0.4) for part in each)) and hours > 0
    assert total_hours(each, A100, utilisation=0.2) == pytest.approx(2 * hours)


def test_every_method_is_trained_and_sampled_and_every_row_trained(parts, study):
    for method in GENERATORS:
        assert any(name.startswith(f"{method}, training") for name in parts), method
        assert parts[f"{method}, sampling"].times == (300 if method == "vae" else 100)
    assert {"vqvae, training of the prior", "registration", "reconstruction, training"} <= parts.keys()
    assert parts["reconstruction, training"].times == (3 + 1) * 10 * 2
    assert parts["registration"].times == 2 * 100
    assert all(part.work.bytes > 0 for part in parts.values())
    assert all(part.work.operations > 0 for name, part in parts.items() if name != "registration")


def test_registration_moves_its_bytes_at_every_level(parts):
    voxels = 50 * sum(side**3 for side in (2, 4, 8, 16))
    assert parts["registration"].work == Work(0, DESCENT_BYTES * voxels)


def test_twice_the_cases_take_twice_the_disk_and_change_no_training(parts, study):
    names = ("vae", "vae_uds", "ir_6250", "ir_12500")
    sets = {name: study.sets[name].model_copy(update={"count": 2 * study.sets[name].count}) for name in names}
    doubled = study.model_copy(update={"sets": sets})
    more = {part.name: part for part in study_parts(doubled, study.recipes, bytes_a_case=1000, progress=False)}
    assert list(more) == ["registration", "vae, training", "vae, sampling", "reconstruction, training"]
    for name, part in more.items():
        factor = 2 if name in ("registration", "vae, sampling") else 1
        assert (part.times, part.disk_bytes) == (factor * parts[name].times, factor * parts[name].disk_bytes)
        assert part.disk_bytes > 0 and part.work == parts[name].work


def test_what_a_generator_stands_on_is_trained_once_and_not_sampled_unless_asked(study):
    alone = study.model_copy(update={"sets": {"ldm": SetEntry(count=5, generator="ldm_vae")}})
    names = [part.name for part in study_parts(alone, study.recipes, bytes_a_case=1, progress=False)]
    before = GeneratorRecipe.model_validate(read_yaml(study.recipes / "ldm_vae.yaml")).autoencoder.parent.name
    assert names == [f"{before}, training", "ldm_vae, training", "ldm_vae, sampling", "reconstruction, training"]


def test_a_method_without_a_recipe_is_refused(study, tmp_path):
    with pytest.raises(ConfigError, match="vae.yaml does not exist"):
        study_parts(study, tmp_path, bytes_a_case=1, progress=False)


def test_here_a_part_takes_as_long_as_its_arithmetic_or_without_any_its_bytes():
    here = Here(100.0, 10.0, 1.0, 256)
    year = 365.25 * 24 * 3600
    assert here.years([Part("a", year, Work(200, 1e9))]) == pytest.approx(2)
    assert here.years([Part("a", year, Work(200, 0)), Part("m", 2 * year, Work(0, 30))]) == pytest.approx(8)


def test_this_machine_is_measured():
    here = measure_here(train_side=16, descent_side=16, store_side=32, store_cases=1, repeats=1)
    assert here.operations_a_second > 1e6 and here.bytes_a_second > 1e5
    assert 100 < here.bytes_a_case < 2 * 32**3, "less than a byte a voxel"
