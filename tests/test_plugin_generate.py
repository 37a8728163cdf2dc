"""napari's Generate dock: what a trained generator makes is seen, walked through, judged and kept."""

import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from test_plugin import display, docked, manifest, press, told, viewer  # noqa: F401
from toy_generators import EDGE_MM, SIDE

from cranial import sampling
from cranial.plugin import layers
from cranial.plugin.docks import generate
from cranial.plugin.docks.generate import PIECE, SKULL, GenerateDock
from cranial.reconstruction.mix import as_case
from cranial.skulls.store import CaseStore
from cranial.synthesis import explorer, trained


@pytest.fixture(scope="module")
def trainings(tmp_path_factory) -> Path:
    """outputs/generators with a VAE and a latent diffusion."""
    from test_explorer import saved

    folder = tmp_path_factory.mktemp("generators")
    for method in ("ldm_vae", "vae"):
        (folder / "demo" / method).mkdir(parents=True)
        saved(folder / "demo" / method, method, steps=30)  # as many as give samples with bone and a piece
    return folder


@pytest.fixture
def dock(viewer, trainings, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setattr(generate, "GENERATORS", trainings)
    monkeypatch.setattr(generate, "CACHE", tmp_path)
    return docked(viewer, GenerateDock)


@pytest.fixture
def fit(monkeypatch):
    """Untrained noise becomes heads of balls, whose samples pass the gates: sample n is ball n."""
    from toy_generators import head

    def case(self, place):
        return as_case(head(place.index + 10 * (place.share > 0.5)), edge_mm=EDGE_MM, style=self.verdict)

    monkeypatch.setattr(explorer.LatentExplorer, "verdict", "", raising=False)
    monkeypatch.setattr(explorer.LatentExplorer, "case", case)


def settled(dock, qtbot):
    qtbot.waitUntil(lambda: not dock.busy, timeout=120_000)


def shown(viewer, name=SKULL):  # noqa: F811
    return layers.volume_of(viewer.layers[name])


def test_what_the_dock_offers_is_what_sampling_has():
    assert generate._STRATEGIES[1:] == tuple(sampling.STRATEGIES)
    assert generate._CHOICES == {"ud": tuple(sampling.INTERVALS), "uds": get_args(sampling.Radius)}
    assert generate._LAST + 1 == explorer.SET_SIZE and generate.SHIPPED == trained.SHIPPED


def test_the_trained_generators_are_offered_newest_first_and_then_that_of_the_package(dock, trainings):
    own = [trainings / "demo" / method / "generator.safetensors" for method in ("vae", "ldm_vae")]
    assert list(dock.generator.choices) == [*own, generate.SHIPPED] and "Only" not in dock.said
    assert dock.generator.native.findText(str(Path("demo/vae"))) == 0


def test_without_a_trained_generator_there_is_that_of_the_package_and_how_to_train_one(
    viewer, press, told, monkeypatch, tmp_path,  # noqa: F811
):
    monkeypatch.setattr(generate, "GENERATORS", tmp_path)
    dock = docked(viewer, GenerateDock)
    assert "cranial train params/demo/generators/vae.yaml --output outputs/generators/demo/vae" in dock.said
    press(dock, "Keep")
    assert told()[-1] == "there is no sample yet; press Show first"
    press(dock, "Show")
    assert shown(viewer).spacing_mm[0] == pytest.approx(215 / 64) and shown(viewer).mask.any()
    dock.file.line_edit.value = str(tmp_path / "absent.safetensors")
    press(dock, "Show")
    assert "absent.safetensors" in told()[-1] and "Traceback" not in told()[-1]


def test_a_sample_of_a_trained_generator_is_shown_in_millimetres_and_judged(dock, viewer, press):  # noqa: F811
    press(dock, "Show")
    explored = explorer.LatentExplorer(dock.generator.value, cache=Path())
    wanted = explored.case(explorer.Place())
    assert np.array_equal(shown(viewer).mask, wanted.defective.mask)
    assert np.array_equal(shown(viewer, PIECE).mask, wanted.implant.mask)
    assert shown(viewer).spacing_mm == (EDGE_MM / SIDE,) * 3
    assert (f"no: {wanted.style}" if wanted.style else ">yes<") in dock.results


def test_the_next_sample_and_the_way_to_another_are_seen_at_once(dock, viewer, press, qtbot, fit):  # noqa: F811
    press(dock, "Next")
    assert dock.index.value == 1 and ">yes<" in dock.results
    first, layer = shown(viewer).mask, viewer.layers[SKULL]
    press(dock, "Next")
    settled(dock, qtbot)
    second = shown(viewer).mask
    assert dock.index.value == 2 and not np.array_equal(first, second)
    dock.share.value = 0.8
    settled(dock, qtbot)
    assert not np.array_equal(shown(viewer).mask, second) and viewer.layers[SKULL] is layer
    press(dock, "Reset")
    settled(dock, qtbot)
    assert np.array_equal(shown(viewer).mask, second) and dock.share.value == 0


def test_along_a_direction_the_sample_changes_and_the_dock_says_how_much_it_holds(dock, viewer, press, qtbot):  # noqa: F811
    press(dock, "Show")
    dock.amounts[0].value = 3.0
    settled(dock, qtbot)
    place = explorer.Place(amounts=(3.0, 0.0, 0.0))
    assert np.array_equal(shown(viewer).mask, dock._explorer.case(place).defective.mask)
    share = 100 * dock._explorer.walk.shares[0]
    assert dock._form.labelForField(dock.amounts[0].native).text() == f"direction 1, {share:.0f} %"


def test_a_strategy_that_does_not_fit_is_refused_and_one_that_fits_has_its_choices(dock, press, told, trainings):  # noqa: F811
    assert not dock.choice.enabled
    dock.strategy.value = "uds"
    assert dock.choice.enabled and dock.choice.value == "quantile"
    press(dock, "Show")
    assert "skull" in dock.results and not told()
    dock.generator.value = trainings / "demo" / "ldm_vae" / "generator.safetensors"
    press(dock, "Show")
    assert "uds does not fit ldm_vae: its latents are denoised" in told()[-1] and told()[-1].endswith("what fits: sd")


def test_what_is_kept_becomes_layers_and_a_case_of_a_set(dock, viewer, press, fit, tmp_path):  # noqa: F811
    press(dock, "Show")
    press(dock, "Keep")
    assert dock.said == "kept as layers"
    assert {"vae, sample 0", "vae, sample 0, piece"} <= {layer.name for layer in viewer.layers}
    assert not viewer.layers["vae, sample 0"].visible and viewer.layers[SKULL].visible
    dock.folder.line_edit.value = str(tmp_path / "kept")
    press(dock, "Keep")
    assert dock.said == f"kept as layers, and as case 0 of {tmp_path / 'kept'}"
    store = CaseStore.open(tmp_path / "kept")
    assert np.array_equal(store.read(0).defective, shown(viewer).mask) and store.provenance(0)["method"] == "vae"


def test_what_fails_a_gate_is_shown_with_the_reason_and_not_kept(dock, viewer, press, fit, told, monkeypatch):  # noqa: F811
    monkeypatch.setattr(explorer.LatentExplorer, "verdict", "skull in pieces")
    press(dock, "Show")
    assert "no: skull in pieces" in dock.results
    count = len(viewer.layers)
    press(dock, "Keep")
    assert told()[-1].startswith("this case is not kept: skull in pieces") and len(viewer.layers) == count


def test_a_sample_without_a_piece_leaves_none_on_the_screen(dock, viewer, press, fit, monkeypatch, qtbot):  # noqa: F811
    press(dock, "Show")
    assert PIECE in viewer.layers and f"{PIECE} (3-D)" in viewer.layers
    case = explorer.LatentExplorer.case

    def bare(self, place):
        made = case(self, place)
        return as_case(np.stack([made.complete.mask, 0 * made.complete.mask]), edge_mm=EDGE_MM, style="empty defect")

    monkeypatch.setattr(explorer.LatentExplorer, "case", bare)
    press(dock, "Next")
    settled(dock, qtbot)
    assert PIECE not in viewer.layers and f"{PIECE} (3-D)" not in viewer.layers and SKULL in viewer.layers
    assert "no: empty defect" in dock.results


def test_a_generator_that_is_gone_meanwhile_is_no_crash(dock, press, told, trainings, tmp_path):  # noqa: F811
    shutil.copytree(trainings / "demo" / "vae", tmp_path / "gone")
    dock.file.line_edit.value = str(tmp_path / "gone" / "generator.safetensors")
    press(dock, "Show")
    shutil.rmtree(tmp_path / "gone")
    dock.index.value = 5
    press(dock, "Show")
    assert not told()
