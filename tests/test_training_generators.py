"""How a generator becomes trained: cases by number, stages that can be stopped anywhere, one file that has it all."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from toy_generators import EDGE_MM, INNER, METHODS, SETTINGS, SIDE, head, heads, make, store_of_heads

from cranial import checkpoint
from cranial.checkpoint import CheckpointError, save_weights
from cranial.config import ConfigError, load
from cranial.generators import GENERATORS, as_masks, build, sample, volume_level
from cranial.sampling import SD
from cranial.skulls.store import CaseStore, StoreError
from cranial.synthesis import learning_cases, training
from cranial.synthesis.gates import refusal
from cranial.synthesis.learning_cases import Cases, held_out_cases, training_cases
from cranial.synthesis.phantom_cases import EDGE_MM as PHANTOM_EDGE_MM
from cranial.synthesis.phantom_cases import _swollen, phantom_cases
from cranial.synthesis.recipe import HELD_OUT_SEED, GeneratorRecipe
from cranial.synthesis.trained import load_generator, save_generator, untrained
from cranial.synthesis.training import stage_logs, train_generator, train_method
from cranial.train import TrainingInterrupted

pytestmark = pytest.mark.usefixtures("one_thread")  # bits are compared

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPES = sorted((REPOSITORY / "params").glob("*/generators/*.yaml"))
TINY = {"side": SIDE, "steps": 4, "batch": 2, "widths": (8, 16), "latent_channels": 3, "precision": "32-true"}
DRAWN = {"side": SIDE, "seed": 3, "styles": ("bilateral", "skullfix"), "spacing_mm": 6.0, "progress": False}
OF_PHANTOMS = {"phantoms": 2, "phantom_spacing_mm": 6.0, "styles": ("bilateral", "skullfix"), "seed": 3}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Where phantoms are kept between the tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def balls(tmp_path_factory) -> Path:
    """A set of four cases."""
    return store_of_heads(tmp_path_factory.mktemp("balls"), 4).folder


@pytest.fixture(scope="module")
def trained(balls, cache, tmp_path_factory) -> dict[str, Path]:
    """Method -> file, of those that latent diffusion is trained on."""
    files = {}
    for method in INNER.values():
        folder = tmp_path_factory.mktemp(method)
        settings = {"codes": 16, "prior_steps": 0} if method == "vqvae" else {}
        recipe = GeneratorRecipe(method=method, cases=balls, settings=settings, **TINY)
        train_generator(recipe, folder, cache=cache, progress=False)
        files[method] = folder / "generator.safetensors"
    return files


def recipe_for(method, balls, trained, **changes) -> GeneratorRecipe:
    given = {"autoencoder": trained[INNER[method]]} if method in INNER else {}
    return GeneratorRecipe(method=method, cases=balls, settings=SETTINGS[method], **TINY | given | changes)


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


# -- the Gaussian of a VAE's embeddings


def test_a_vae_that_is_fitted_draws_from_the_gaussian_of_its_embeddings(balls, cache, tmp_path):
    recipe = GeneratorRecipe(method="vae", cases=balls, settings={"fitted": 2}, **TINY)
    train_generator(recipe, tmp_path, cache=cache, progress=False)
    fitted = load_generator(tmp_path / "generator.safetensors").generator
    cases = training_cases(recipe, cache=cache, folder=tmp_path, progress=False)
    assert recipe.mirrored
    views = [cases.tensor(number, mirrored=mirrored)[None] for mirrored in (False, True) for number in range(4)]
    with torch.no_grad():
        known = torch.cat([fitted.encode(view) for view in views]).flatten(1)
    torch.testing.assert_close(fitted.gaussian.middle, known.mean(0), atol=1e-5, rtol=1e-4)
    drawn = fitted.draw(range(3), seed=0)
    assert torch.equal(fitted.placed(SD()(fitted.latent_shape, range(3), 0)), drawn)
    torch.testing.assert_close(fitted.placed(torch.zeros_like(drawn[:1])).flatten(), fitted.gaussian.middle)
    off = drawn.flatten(1) - fitted.gaussian.middle
    assert torch.linalg.matrix_rank(off, atol=1e-5) == 2, "along two axes, and nowhere else"
    assert torch.equal(fitted.draw([2], seed=0)[0], drawn[2])
    assert torch.equal(sample(fitted, [1], seed=0)[0], sample(fitted, range(3), seed=0)[1])


def test_the_shipped_generator_draws_skulls_with_a_hole_that_pass_the_gates():
    shipped = load_generator()
    drawn = as_masks(sample(shipped.generator, range(4), seed=1), shipped.level).numpy()
    voxel_mm3 = (shipped.edge_mm / shipped.recipe.side) ** 3
    assert sum(refusal(*masks, voxel_mm3=voxel_mm3) is None for masks in drawn) >= 3


# -- phantom cases


def test_a_case_is_drawn_from_seed_and_number_alone(cache):
    """Five cases are the first five of eight, whether they are cut from all of the phantoms or from some."""
    for phantoms in (2, 7):
        few, more = (phantom_cases(count, phantoms=phantoms, cache=cache, **DRAWN) for count in (5, 8))
        assert few.shape == (5, 2, SIDE, SIDE, SIDE) and few.dtype == np.uint8
        np.testing.assert_array_equal(few, more[:5])
        assert len({case.tobytes() for case in more}) == 8
    other = phantom_cases(5, phantoms=2, cache=cache, **DRAWN | {"seed": 4})
    assert not any(np.array_equal(*pair) for pair in zip(few, other, strict=True))


def test_cases_come_back_from_the_cache_as_they_were_drawn(cache, tmp_path, monkeypatch):
    made = phantom_cases(5, phantoms=2, cache=cache, **DRAWN)
    again = phantom_cases(5, phantoms=2, cache=tmp_path, **DRAWN)
    np.testing.assert_array_equal(made, again)
    monkeypatch.setattr("cranial.synthesis.phantom_cases.draw_case", None)
    np.testing.assert_array_equal(phantom_cases(5, phantoms=2, cache=tmp_path, **DRAWN), again)
    assert not list(tmp_path.glob(".*")), "nothing half written is left"


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"side": 8}, {"styles": ("frontoorbital",)}, {"spacing_mm": 7.0}, {"phantoms": 3}]
)
def test_other_settings_are_other_files(cache, change):
    before = set(cache.glob("cases-*"))
    phantom_cases(2, **{"phantoms": 1, "cache": cache, **DRAWN})
    phantom_cases(2, **{"phantoms": 1, "cache": cache, **DRAWN, **change})
    after = set(cache.glob("cases-*")) - before
    assert len(after) >= 1 and len({path.name for path in cache.glob("cases-*")}) == len(before) + len(after)


def test_a_phantom_case_is_a_skull_with_a_hole_as_occupancies(cache):
    drawn = phantom_cases(5, phantoms=2, cache=cache, **DRAWN)
    assert drawn.max() == 255, "full is full"
    for case in drawn.astype(float) / 255:
        skull, defect = case
        assert skull.max() > 0.9 and defect.max() > 0.5 and (skull + defect).max() <= 1 + 1 / 255
        assert 0 < defect.sum() < 0.5 * skull.sum()
        assert len(np.unique(case)) > 10, "occupancies, not masks"


# -- what a recipe learns from


def test_cases_of_phantoms_are_read_as_occupancies_in_their_cube(cache):
    recipe = GeneratorRecipe(method="vae", phantom_cases=5, **TINY | OF_PHANTOMS)
    cases = training_cases(recipe, cache=cache, progress=False)
    drawn = phantom_cases(5, phantoms=2, cache=cache, **DRAWN)
    assert len(cases) == 5 and cases.edge_mm == PHANTOM_EDGE_MM
    np.testing.assert_allclose(cases.tensor(3).numpy(), drawn[3] / 255, atol=1e-7)


def test_cases_of_a_set_are_those_that_are_there(balls, cache):
    cases = training_cases(GeneratorRecipe(method="vae", cases=balls, **TINY), cache=cache)
    assert len(cases) == 4 and cases.edge_mm == pytest.approx(EDGE_MM)
    for number in range(4):
        np.testing.assert_array_equal(cases.tensor(number).numpy(), head(number))
        np.testing.assert_array_equal(cases.masks()[number], head(number))
    assert cases.tensor(0).dtype == torch.float32 and cases.masks()[0].dtype == bool


def test_a_case_mirrored_twice_is_itself_and_once_has_left_for_right():
    cases = Cases([np.random.default_rng(0).integers(0, 256, (2, 4, 4, 4), np.uint8)], 255, 1.0)
    plain, mirrored = cases.tensor(0), cases.tensor(0, mirrored=True)
    assert torch.equal(mirrored, plain.flip(1)) and not torch.equal(mirrored, plain)
    assert torch.equal(Cases([(255 * mirrored).round().numpy()], 255, 1.0).tensor(0, mirrored=True), plain)


def test_masks_of_cases_are_a_pool_that_ends():
    masks = Cases([255 * head(0).astype(np.uint8)], 255, 1.0).masks()
    assert len(list(masks)) == len(masks) == 1
    with pytest.raises(IndexError, match="1"):
        masks[1]


@pytest.mark.parametrize("given", [{}, {"phantom_cases": 3, "cases": "somewhere"}])
def test_a_recipe_learns_from_a_set_or_from_phantoms_and_not_from_both(cache, given):
    recipe = GeneratorRecipe(method="vae", **TINY | given)
    with pytest.raises(ValueError, match=r"has cases (None|somewhere) and phantom_cases [03]; give one of the two"):
        training_cases(recipe, cache=cache)


def test_a_set_of_another_side_is_refused(balls, cache):
    recipe = GeneratorRecipe(method="vae", cases=balls, **TINY | {"side": 32})
    with pytest.raises(ValueError, match=r"holds 4 cases of \(16, 16, 16\) voxels, the recipe has side 32; give a set"):
        training_cases(recipe, cache=cache)


def test_a_set_without_a_case_or_no_set_is_refused(tmp_path, cache):
    CaseStore.create(tmp_path / "empty", count=2, shape=(SIDE,) * 3, spacing_mm=(10.0,) * 3, recipe={})
    with pytest.raises(ValueError, match="holds 0 cases .* with at least one case"):
        training_cases(GeneratorRecipe(method="vae", cases=tmp_path / "empty", **TINY), cache=cache)
    with pytest.raises(StoreError, match="does not exist"):
        training_cases(GeneratorRecipe(method="vae", cases=tmp_path / "gone", **TINY), cache=cache)


def test_held_out_cases_are_of_phantoms_that_no_training_draws(cache, monkeypatch):
    monkeypatch.setattr(learning_cases, "_HELD_OUT", 2)
    recipes = [GeneratorRecipe(method="vae", phantom_cases=5, **TINY | OF_PHANTOMS | {"seed": seed}) for seed in (3, 4)]
    held_out = [held_out_cases(recipe, cache=cache, progress=False) for recipe in recipes]
    assert len(held_out[0]) == 2 and torch.equal(held_out[0].tensor(1), held_out[1].tensor(1))
    for recipe in recipes:
        cases = training_cases(recipe, cache=cache, progress=False)
        assert not any(torch.equal(cases.tensor(n), held_out[0].tensor(m)) for n in range(5) for m in range(2))
    with pytest.raises(ValidationError, match="less than 990001"):
        GeneratorRecipe(method="vae", **TINY, seed=HELD_OUT_SEED)


# -- batches


def batches_of(recipe, cache, generator=None, stage=0):
    generator = generator or untrained(recipe, Path())
    cases = training_cases(recipe, cache=cache)
    return training._batches(recipe, generator.stages()[stage], cases, torch.device("cpu"), progress=False)


def test_a_batch_is_made_from_seed_and_step_alone(balls, trained, cache):
    recipe = recipe_for("vae", balls, trained, batch=3)
    one, again = (batches_of(recipe, cache) for _ in range(2))
    assert one(5).shape == (3, 2, SIDE, SIDE, SIDE)
    torch.manual_seed(1), one(4)
    assert torch.equal(one(5), again(5)) and not torch.equal(one(5), one(6))
    assert not torch.equal(one(5), batches_of(recipe.model_copy(update={"seed": 1}), cache)(5))


def test_half_of_the_cases_are_seen_in_a_mirror_and_all_are_seen(balls, trained, cache):
    """Four cases, 60 batches of 2."""
    known = {case.numpy().tobytes(): (number, False) for number, case in enumerate(heads(4))}
    known |= {case.flip(1).contiguous().numpy().tobytes(): (number, True) for number, case in enumerate(heads(4))}
    for mirrored in (True, False):
        batches = batches_of(recipe_for("vae", balls, trained, mirrored=mirrored), cache)
        seen = [known[case.numpy().tobytes()] for step in range(60) for case in batches(step)]
        assert {number for number, _ in seen} == {0, 1, 2, 3}
        share = np.mean([mirror for _, mirror in seen])
        assert 0.35 < share < 0.65 if mirrored else share == 0


@pytest.mark.parametrize("mirrored", [True, False])
def test_a_later_stage_sees_what_the_first_makes_of_the_same_cases(balls, trained, cache, mirrored):
    """Row by row: the codes of the cases, and of their mirror images, that an autoencoder would have seen then."""
    recipe = recipe_for("vqvae", balls, trained, mirrored=mirrored)
    generator = untrained(recipe, Path())
    cases, codes = batches_of(recipe, cache, generator), batches_of(recipe, cache, generator, stage=1)
    for step in range(6):
        (found,) = codes(step)
        with torch.no_grad():
            assert torch.equal(found, torch.cat([generator.encode(case[None]) for case in cases(step)]))


def test_diffusion_measures_the_scale_of_all_embeddings_before_it_learns(balls, trained, cache):
    recipe = recipe_for("ldm_vae", balls, trained)
    generator = untrained(recipe, Path())
    assert not generator.scale.width.any()
    mean, spread = batches_of(recipe, cache, generator)(0)
    assert mean.shape == spread.shape == (2, 3, 4, 4, 4)
    both = torch.cat([heads(4), heads(4).flip(2)])
    with torch.no_grad():
        all_means, all_spreads = generator.autoencoder.embed(both)
    found = generator.scale(all_means).transpose(0, 1).flatten(1)
    spreads = (all_spreads / generator.scale.width.reshape(3, 1, 1, 1)).transpose(0, 1).flatten(1)
    variance = found.var(1, correction=0) + spreads.square().mean(1)
    torch.testing.assert_close(found.mean(1), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(variance, torch.ones(3), rtol=1e-3, atol=1e-3)


# -- training


class Stops:
    """Batches during which a signal comes: {stage: step}, once each."""

    def __init__(self, monkeypatch, at: dict[str, int]):
        self.left, self.real = dict(at), training._batches
        monkeypatch.setattr(training, "_batches", self)

    def __call__(self, recipe, stage, *arguments, **choices):
        batches = self.real(recipe, stage, *arguments, **choices)

        def batch(step):
            if self.left.get(stage.name) == step:
                del self.left[stage.name]
                os.kill(os.getpid(), signal.SIGTERM)
            return batches(step)

        return batch


@pytest.mark.parametrize("method", METHODS)
def test_a_training_stopped_in_each_stage_and_resumed_ends_as_if_it_had_not_been(
    balls, trained, cache, tmp_path, monkeypatch, method
):
    recipe = recipe_for(method, balls, trained)
    train_generator(recipe, tmp_path / "whole", cache=cache, progress=False)
    stages = {"vqvae": ("autoencoder", "prior")}.get(method, ("denoiser" if method in INNER else "generator",))
    stops = Stops(monkeypatch, {name: 1 for name in stages})
    for name in stages:
        with pytest.raises(TrainingInterrupted, match="SIGTERM: stopped after step 2 of"):
            train_generator(recipe, tmp_path / "parts", cache=cache, progress=False)
        assert (tmp_path / "parts" / name / "last.safetensors").is_file()
        assert not (tmp_path / "parts" / "generator.safetensors").exists()
    result = train_generator(recipe, tmp_path / "parts", cache=cache, progress=False)
    assert not stops.left and result.steps == (3 if method == "vqvae" else 4)
    assert result.last == tmp_path / "parts" / stages[-1] / "last.safetensors"
    one, other = (load_generator(tmp_path / name / "generator.safetensors") for name in ("whole", "parts"))
    same_weights(one.generator.networks().state_dict(), other.generator.networks().state_dict())
    for name in stages:
        states = [checkpoint.load(tmp_path / folder / name / "last.safetensors") for folder in ("whole", "parts")]
        for key in states[0]["players"]:
            same_weights(*(state["players"][key] for state in states))
            same_weights(*(state["averages"][key] for state in states))
    start = untrained(recipe, Path()).networks().state_dict()
    assert any(not torch.equal(start[key], tensor) for key, tensor in one.generator.networks().state_dict().items())


def test_diffusion_goes_on_with_the_autoencoder_that_it_began_with(balls, trained, cache, tmp_path, monkeypatch):
    """Also where another was trained in its place meanwhile."""
    file = tmp_path / "generator.safetensors"
    file.write_bytes(trained["vae"].read_bytes())
    recipe = recipe_for("ldm_vae", balls, trained, autoencoder=file)
    train_generator(recipe, tmp_path / "whole", cache=cache, progress=False)
    Stops(monkeypatch, {"denoiser": 1})
    with pytest.raises(TrainingInterrupted):
        train_generator(recipe, tmp_path / "parts", cache=cache, progress=False)
    save_generator(file, make("vae", seed=5), load_generator(file).recipe, edge_mm=EDGE_MM)
    train_generator(recipe, tmp_path / "parts", cache=cache, progress=False)
    one, other = (load_generator(tmp_path / name / "generator.safetensors").generator for name in ("whole", "parts"))
    same_weights(one.networks().state_dict(), other.networks().state_dict())


def same_weights(one, other):
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_training_that_is_done_does_nothing_more(balls, trained, cache, tmp_path, monkeypatch):
    recipe = recipe_for("vqvae", balls, trained)
    train_generator(recipe, tmp_path, cache=cache, progress=False)
    before = load_generator(tmp_path / "generator.safetensors").generator.networks().state_dict()
    Stops(monkeypatch, {"autoencoder": 0, "prior": 0})
    train_generator(recipe, tmp_path, cache=cache, progress=False)
    same_weights(load_generator(tmp_path / "generator.safetensors").generator.networks().state_dict(), before)


def test_a_training_with_other_settings_is_refused(balls, trained, cache, tmp_path):
    train_generator(recipe_for("vae", balls, trained), tmp_path, cache=cache, progress=False)
    with pytest.raises(CheckpointError, match="learning_rate = 0.001, this run has 0.01"):
        train_generator(recipe_for("vae", balls, trained, learning_rate=0.01), tmp_path, cache=cache, progress=False)


@pytest.mark.parametrize("ema", [0.9, 0.0])
def test_the_generator_has_the_averaged_weights_if_there_are_any(balls, trained, cache, tmp_path, ema):
    recipe = recipe_for("vae", balls, trained, ema=ema)
    result = train_generator(recipe, tmp_path, cache=cache, progress=False)
    state = checkpoint.load(result.last)
    weights = load_generator(tmp_path / "generator.safetensors").generator.players["vae"].state_dict()
    same_weights(weights, state["averages"]["vae"] if ema else state["players"]["vae"])
    assert not ema or not torch.equal(weights["decoder.head.weight"], state["players"]["vae"]["decoder.head.weight"])


@pytest.mark.parametrize("method", METHODS)
def test_what_can_be_validated_is_with_finite_numbers(balls, trained, cache, tmp_path, monkeypatch, method):
    monkeypatch.setattr(learning_cases, "_HELD_OUT", 2)
    recipe = recipe_for(method, balls, trained, **OF_PHANTOMS | {"steps": 2, "mirrored": False})
    train_generator(recipe, tmp_path, cache=cache, progress=False, validate_every=1)
    expected = {"vqvae": {"autoencoder": "dice", "prior": "nats"}}.get(method, {"generator": "dice"})
    if method in (*INNER, "wgan_gp"):
        expected = {}
    for folder in (path.parent for path in tmp_path.glob("*/log.jsonl")):
        lines = [line for line in log_of(folder) if any(name.startswith("validation/") for name in line)]
        values = [value for line in lines for name, value in line.items() if name.startswith("validation/")]
        assert len(lines) == (0 if folder.name not in expected else 3 if folder.name == "prior" else 2)
        assert all(np.isfinite(values)) and (folder / "best.safetensors").is_file() == (folder.name in expected)
        if lines:
            assert f"validation/{expected[folder.name]}" in lines[0]


@pytest.mark.parametrize("prior_steps", [3, 0])
def test_at_its_level_samples_have_as_much_bone_as_the_cases(balls, trained, cache, tmp_path, prior_steps):
    """A half where nothing can be drawn."""
    settings = SETTINGS["vqvae"] | {"prior_steps": prior_steps}
    recipe = recipe_for("vqvae", balls, trained).model_copy(update={"settings": settings})
    train_generator(recipe, tmp_path, cache=cache, progress=False)
    found = load_generator(tmp_path / "generator.safetensors")
    if prior_steps:
        drawn = sample(found.generator, range(training._LEVEL_SAMPLES), seed=training._LEVEL_SEED)
        assert found.level == volume_level(drawn, heads(4).sum().item() / 4)
    else:
        assert found.level == 0.5


def test_settings_and_sets_that_are_wrong_are_named_before_anything_is_trained(balls, trained, cache, tmp_path):
    wrong = recipe_for("vae", balls, trained).model_copy(update={"settings": {"betta": 1}})
    with pytest.raises(ConfigError, match="settings of vae: unknown key 'betta'; did you mean 'beta'"):
        train_generator(wrong, tmp_path, cache=cache)
    without = recipe_for("vae", balls, trained).model_copy(update={"method": "ldm_vae", "settings": {}})
    with pytest.raises(ValueError, match="autoencoder is none, for ldm_vae give it one of vae"):
        train_generator(without, tmp_path, cache=cache)
    unfit = recipe_for("ldm_vae", balls, trained, autoencoder=trained["vqvae"])
    with pytest.raises(ValueError, match="autoencoder is vqvae, for ldm_vae give it one of vae"):
        train_generator(unfit, tmp_path, cache=cache)
    gone = recipe_for("ldm_vae", balls, trained, autoencoder=tmp_path / "gone.safetensors")
    with pytest.raises(CheckpointError, match="does not exist"):
        train_generator(gone, tmp_path, cache=cache)
    assert not list(tmp_path.iterdir())


def test_a_method_brings_the_autoencoder_that_it_needs(balls, cache, tmp_path):
    common = f"side: {SIDE}\nsteps: 2\nbatch: 2\nwidths: [8, 16]\nlatent_channels: 3\ncases: {balls}\n"
    (tmp_path / "vae.yaml").write_text(f"method: vae\n{common}")
    (tmp_path / "ldm_vae.yaml").write_text(
        f"method: ldm_vae\n{common}autoencoder: ../vae/generator.safetensors\n"
        "settings: {widths: [8, 16], heads: 2, times: 20, ddim_steps: 3}\n"
    )
    choices = {"recipes": tmp_path, "outputs": tmp_path / "out", "cache": cache, "progress": False}
    found = train_method("ldm_vae", **choices)
    assert found.recipe.method == "ldm_vae" and found.edge_mm == pytest.approx(EDGE_MM)
    inner = load_generator(tmp_path / "out" / "vae" / "generator.safetensors").generator
    same_weights(found.generator.autoencoder.networks().state_dict(), inner.networks().state_dict())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/vae/**/*")}
    assert before, "the autoencoder is in a folder of its own"
    again = train_method("ldm_vae", **choices)
    same_weights(found.generator.networks().state_dict(), again.generator.networks().state_dict())
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/vae/**/*")}


def test_logs_come_in_the_order_of_the_stages(balls, trained, cache, tmp_path):
    train_generator(recipe_for("vqvae", balls, trained), tmp_path, cache=cache, progress=False)
    logs = stage_logs(tmp_path)
    assert list(logs) == ["autoencoder", "prior"] and all(path.is_file() for path in logs.values())


# -- a generator in a file


@pytest.mark.parametrize("method", METHODS)
def test_a_generator_saved_and_loaded_samples_the_same_to_the_bit(tmp_path, trained, method):
    """Also where its autoencoder's file is gone."""
    made = make(method)
    recipe = GeneratorRecipe(method=method, settings=SETTINGS[method], **TINY)
    if method in INNER:
        settings = {"codes": 16, "prior_steps": 0} if INNER[method] == "vqvae" else {}
        made = build(method, made.shape, side=SIDE, settings=SETTINGS[method], steps=4, learning_rate=1e-3,
                     autoencoder=load_generator(trained[INNER[method]]).generator)  # fmt: skip
        with torch.no_grad():
            made.scale.measure(*made.autoencoder.embed(heads(4)))
            made.players["denoiser"].head.weight.normal_(0, 0.1)
        recipe = recipe.model_copy(update={"autoencoder": tmp_path / "gone.safetensors"})
        assert made.autoencoder.recipe.settings == settings
    path = save_generator(tmp_path / "generator.safetensors", made, recipe, edge_mm=123.0)
    loaded = load_generator(path)
    assert loaded.recipe == recipe and loaded.edge_mm == 123.0
    assert torch.equal(sample(loaded.generator, [4, 9], seed=1), sample(made, [4, 9], seed=1))
    assert not any(module.training for net in loaded.generator.networks().values() for module in net.modules())


def test_a_file_of_something_else_is_no_generator(tmp_path):
    path = save_weights(tmp_path / "model.safetensors", torch.nn.Linear(1, 1), {"recipe": {}}, storage="float32")
    with pytest.raises(CheckpointError, match="holds weights, but not of a generator; give a training's generator"):
        load_generator(path)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_generator(tmp_path / "gone.safetensors")


def test_weights_are_those_of_the_seed(balls, trained):
    recipe = recipe_for("vae", balls, trained)
    one, again, other = (untrained(r, Path()).networks().state_dict() for r in (recipe, recipe, reseeded(recipe)))
    same_weights(one, again)
    assert not torch.equal(one["vae.decoder.stem.weight"], other["vae.decoder.stem.weight"])


def reseeded(recipe):
    return recipe.model_copy(update={"seed": 1})


# -- recipes


def test_a_recipe_comes_back_as_it_was_written(tmp_path):
    given = {"settings": {"codes": 8}, "autoencoder": Path("a/b"), "styles": ("skullfix",)}
    recipe = GeneratorRecipe(method="vqvae", **given, **TINY)
    assert GeneratorRecipe.model_validate(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe
    (tmp_path / "recipe.yaml").write_text("method: vae\nside: 64\nsteps: 10\nwidths: [8, 16]\nsettings: {beta: 0.1}\n")
    read = load(tmp_path / "recipe.yaml", GeneratorRecipe)
    assert read.widths == (8, 16) and read.settings == {"beta": 0.1} and read.shape.stride == 4


def test_a_misspelt_key_of_a_recipe_names_the_nearest(tmp_path):
    (tmp_path / "recipe.yaml").write_text("method: vae\nside: 64\nsteps: 10\nphantom_case: 3\n")
    with pytest.raises(ConfigError, match="unknown key 'phantom_case'; did you mean 'phantom_cases'"):
        load(tmp_path / "recipe.yaml", GeneratorRecipe)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_the_recipes_that_are_shipped_can_be_built(path):
    """Latent diffusion on the autoencoder of the recipe beside it, untrained."""
    recipe = load(path, GeneratorRecipe)
    assert path.read_text().startswith("# ") and path.read_text().splitlines()[0].endswith("?")
    assert path.stem in (recipe.method, "vae_strong", "vae_rough")
    assert (recipe.cases is None) != (recipe.phantom_cases == 0)
    fitting = GENERATORS[recipe.method][1]
    inner = None
    if fitting:
        inner = load(path.parent / f"{recipe.autoencoder.parent.name}.yaml", GeneratorRecipe)
        assert inner.method in fitting and inner.side == recipe.side
        inner = build_from(inner)
    generator = build_from(recipe, inner)
    assert generator.latent_shape[-1] >= 4 and all(stage.steps > 0 or stage.embedded for stage in generator.stages())


def build_from(recipe, inner=None):
    return build(recipe.method, recipe.shape, side=recipe.side, settings=recipe.settings, steps=recipe.steps,
                 learning_rate=recipe.learning_rate, autoencoder=inner)  # fmt: skip


def test_a_soft_intro_vae_starts_from_the_vae_it_is_given_and_from_no_other(balls, tmp_path, cache):
    choices = TINY | {"cases": balls.resolve()}
    train_generator(GeneratorRecipe(method="vae", **choices), tmp_path / "vae", cache=cache, progress=False)
    start = Path("../vae/generator.safetensors")
    recipe = GeneratorRecipe(method="soft_intro_vae", start_from=start, **choices)
    first, given = untrained(recipe, tmp_path / "soft"), load_generator(tmp_path / "vae" / "generator.safetensors")
    for ours, theirs in ((first.encoder, given.generator.encoder), (first.decoder, given.generator.decoder)):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    other = recipe.model_copy(update={"latent_channels": recipe.latent_channels + 1})
    with pytest.raises(ValueError, match="cannot start from .* a vae of shape .*; give a VAE of the same shape"):
        untrained(other, tmp_path / "soft")
    with pytest.raises(ValueError, match="wgan_gp of shape .* cannot start from"):
        untrained(recipe.model_copy(update={"method": "wgan_gp"}), tmp_path / "soft")


def test_a_method_without_gaussian_embeddings_is_no_start(balls, trained):
    with pytest.raises(ValueError, match="intro_vae of shape .* cannot start from .*, a vqvae of shape"):
        untrained(recipe_for("intro_vae", balls, trained, start_from=trained["vqvae"]), Path())


def test_a_method_brings_the_vae_that_it_starts_from(balls, cache, tmp_path):
    common = f"side: {SIDE}\nsteps: 2\nbatch: 2\nwidths: [8, 16]\nlatent_channels: 3\ncases: {balls}\n"
    (tmp_path / "vae.yaml").write_text(f"method: vae\n{common}seed: 7\n")
    (tmp_path / "intro_vae.yaml").write_text(f"method: intro_vae\n{common}start_from: ../vae/generator.safetensors\n")
    choices = {"recipes": tmp_path, "outputs": tmp_path / "out", "cache": cache, "progress": False}
    found = train_method("intro_vae", **choices)
    vae = load_generator(tmp_path / "out" / "vae" / "generator.safetensors").generator
    moved = found.generator.decoder.stem.weight - vae.decoder.stem.weight
    assert 0 < moved.abs().max() < 0.01, "it is two steps from where it started"


def test_a_training_that_is_done_with_another_recipe_is_not_taken_for_this_one(balls, cache, tmp_path):
    common = f"method: vae\nside: {SIDE}\nbatch: 2\nwidths: [8, 16]\nlatent_channels: 3\ncases: {balls}\n"
    choices = {"recipes": tmp_path, "outputs": tmp_path / "out", "cache": cache, "progress": False}
    (tmp_path / "vae.yaml").write_text(f"{common}steps: 2\n")
    train_method("vae", **choices)
    (tmp_path / "vae.yaml").write_text(f"{common}steps: 3\n")
    with pytest.raises(CheckpointError, match="steps = 2, this run has 3"):
        train_method("vae", **choices)


def test_a_set_of_cases_is_found_from_the_training_folder(trained, cache, tmp_path):
    """Also before that folder is made."""
    store_of_heads(tmp_path / "set", 2)
    recipe = recipe_for("vae", Path("../set"), trained)
    assert len(training_cases(recipe, cache=cache, folder=tmp_path / "run")) == 2
    train_generator(recipe, tmp_path / "run", cache=cache, progress=False)
    assert load_generator(tmp_path / "run" / "generator.safetensors").recipe.cases == Path("../set")


def test_bone_is_swollen_in_coarse_cubes_only_and_its_parts_keep_their_shares():
    case = np.zeros((2, 2, 1, 1), np.float32)
    case[:, 0, 0, 0] = 0.1, 0.3
    case[:, 1, 0, 0] = 0.2, 0.6
    twice = _swollen(case, 2.0)
    np.testing.assert_allclose(twice[:, 0, 0, 0], [0.2, 0.6], rtol=1e-6)
    np.testing.assert_allclose(twice[:, 1, 0, 0], [0.25, 0.75], rtol=1e-6)
    np.testing.assert_array_equal(_swollen(case, 1.0), case)


def test_below_the_floor_there_is_no_bone_and_above_it_nothing_has_changed(cache):
    choices = dict(side=16, phantoms=2, seed=0, styles=("skullfix",), spacing_mm=6.0, cache=cache, progress=False)
    whole, vault = phantom_cases(2, **choices), phantom_cases(2, **choices, floor=0.5)
    assert not vault[..., :8].any() and whole[..., :8].any()
    np.testing.assert_array_equal(vault[..., 8:], whole[..., 8:])
