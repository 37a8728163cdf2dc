"""Every command does what its help says, and what cannot be done is one line."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import cranial
from cranial import volume
from cranial.cli import main
from cranial.skulls.population import write_population

COARSE_MM = 3.0
COMMANDS = ["reconstruct", "implant", "evaluate", "phantom", "register", "synthesize", "train", "app", "run"]


@pytest.fixture(scope="module")
def population(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("population")
    write_population(folder, count=1, styles=["parietotemporal"], spacing_mm=COARSE_MM)
    return folder


@pytest.fixture(scope="module")
def skull(population) -> Path:
    return population / "defective_skull" / "parietotemporal" / "000.nrrd"


@pytest.fixture(scope="module")
def implant(population) -> Path:
    return population / "implant" / "parietotemporal" / "000.nrrd"


@pytest.fixture
def cli(capsys):
    """Run one command: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            code = leaving.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def no_network(monkeypatch, skull):
    """Stands in for the reconstruction; notes how it was called, and finds one voxel missing."""
    from cranial import reconstruction

    calls = []

    def reconstruct(case, **options):
        calls.append(options)
        found = np.zeros(case.shape, bool)
        found[3, 4, 5] = True
        return SimpleNamespace(defect=case.with_mask(found), report={})

    monkeypatch.setattr(reconstruction, "reconstruct", reconstruct)
    return calls


def assert_one_line_error(result: tuple[int, str, str], pattern: str) -> None:
    code, out, err = result
    assert code == 1 and out == ""
    assert re.fullmatch(r"cranial: error: [^\n]*\n", err), err
    assert re.search(pattern, err), err


# reconstruct


def test_mirror_reconstructs_on_the_grid_of_the_case_and_says_what_it_did(cli, skull, tmp_path):
    output, mesh = tmp_path / "new" / "defect.nrrd", tmp_path / "new" / "defect.stl"
    code, out, _ = cli("reconstruct", skull, "--output", output, "--mesh", mesh, "--method", "mirror")
    assert code == 0
    case, defect = volume.read(skull), volume.read(output)
    assert volume.same_grid(case, defect)
    assert not np.any(case.mask & defect.mask)
    summary, *written = out.splitlines()
    assert re.fullmatch(rf"defect   {defect.volume_mm3 / 1000:.1f} cm3, by mirror in \d+ s", summary)
    assert written == [f"written  {output}", f"written  {mesh}"]
    assert mesh.stat().st_size > 84


def test_method_model_and_device_reach_the_reconstruction(cli, skull, tmp_path, no_network):
    output = tmp_path / "defect.nii.gz"
    model = tmp_path / "mine.safetensors"
    assert cli("reconstruct", skull, "--output", output, "--model", model, "--device", "cpu")[0] == 0
    assert cli("reconstruct", skull, "--output", output, "--method", "mirror")[0] == 0
    assert no_network == [
        {"method": "network", "model": model, "device": "cpu"},
        {"method": "mirror", "model": None, "device": "auto"},
    ]
    assert volume.read(output).mask.sum() == 1


def test_a_threshold_makes_a_skull_of_a_ct(cli, tmp_path, no_network):
    import nibabel

    hounsfield = np.full((20, 20, 20), -1000, np.int16)
    hounsfield[4:16, 4:16, 4:16] = 1200
    nibabel.save(nibabel.Nifti1Image(hounsfield, np.eye(4)), tmp_path / "ct.nii.gz")
    output = tmp_path / "defect.nrrd"
    assert cli("reconstruct", tmp_path / "ct.nii.gz", "--output", output, "--threshold-hu", 300)[0] == 0
    assert volume.read(output).shape == (20, 20, 20)


def test_several_proposals_are_a_vote_a_map_beside_it_and_what_they_warn_of(cli, skull, tmp_path, monkeypatch):
    from cranial import reconstruction

    asked = []

    def propose(case, **options):
        asked.append(options)
        masks = np.zeros((2, *case.shape), bool)
        masks[:, 3, 4, 5] = masks[0, 3, 4, 6] = True
        return gather(case, [case.with_mask(mask) for mask in masks], warnings=["look twice"], smallest_mm3=0)

    from cranial.reconstruction.proposals import gather
    from cranial.synthesis import conditioned

    monkeypatch.setattr(reconstruction, "propose", propose)
    monkeypatch.setattr(conditioned, "propose_conditioned", lambda case, path, **o: propose(case, **o, generator=path))
    for suffix, beside in ((".nrrd", ".nrrd"), (".nii.gz", ".nii.gz"), (".seg.nrrd", ".nrrd")):
        output = tmp_path / suffix[1:] / f"defect{suffix}"
        code, out, err = cli("reconstruct", skull, "--output", output, "--proposals", 2, "--seed", 3)
        doubt = output.with_name(f"defect_disagreement{beside}")
        assert code == 0 and "cranial: warning: look twice" in err
        assert out.startswith("agreed   0.67, mean Dice between two of 2 proposals\ndefect   ")
        assert out.endswith(f"written  {output}\nwritten  {doubt}\n") and doubt.exists()
        assert volume.read(doubt).mask.sum() == 1, "only one of the two has this voxel"
    led = cli("reconstruct", skull, "--output", output, "--proposals", 2, "--generator", "ldm.safetensors")
    assert led[0] == 0
    expected = {"count": 2, "seed": 3, "model": None, "device": "auto"}
    assert asked[0] == expected and asked[-1] == expected | {"seed": 0, "generator": Path("ldm.safetensors")}


def test_a_skull_with_nothing_missing_is_said_to_be_so(cli, skull, tmp_path, monkeypatch, no_network):
    from cranial import reconstruction

    monkeypatch.setattr(
        reconstruction,
        "reconstruct",
        lambda case, **_: SimpleNamespace(defect=case.with_mask(np.zeros(case.shape, bool)), report={}),
    )
    code, out, err = cli("reconstruct", skull, "--output", tmp_path / "defect.nrrd")
    assert code == 0 and "defect   0.0 cm3" in out
    assert "cranial: warning: nothing is missing in this skull" in err


def test_an_output_that_cannot_be_written_is_refused_before_the_work(cli, skull, tmp_path, no_network):
    before = skull.read_bytes()
    for arguments, pattern in [
        (["--output", tmp_path / "d.stl"], r"--output .*d\.stl has an unknown suffix; use one of \.nrrd"),
        (["--output", skull], r"--output .*000\.nrrd is the case itself; give another name"),
        (["--output", tmp_path / "d.nrrd", "--mesh", tmp_path / "d.nrrd"], r"--mesh .* suffix; .*\.stl"),
        (
            ["--output", tmp_path / "d.nrrd", "--method", "mirror", "--model", "m.safetensors"],
            "--model is for --method network; leave it out with --method mirror",
        ),
        (
            ["--output", tmp_path / "d.nrrd", "--method", "mirror", "--proposals", 3],
            "--proposals is for --method network; leave it out with --method mirror",
        ),
        (
            ["--output", tmp_path / "d.nrrd", "--generator", "ldm.safetensors"],
            "--generator fills the hole in several ways; say in how many with --proposals N",
        ),
    ]:
        assert_one_line_error(cli("reconstruct", skull, *arguments), pattern)
    (tmp_path / "folder.nrrd").mkdir()
    result = cli("reconstruct", skull, "--output", tmp_path / "folder.nrrd")
    assert_one_line_error(result, r"folder\.nrrd is a folder; give the name of a file")
    assert no_network == [] and skull.read_bytes() == before


def test_a_case_that_cannot_be_read_is_one_line(cli, tmp_path):
    (tmp_path / "broken.nrrd").write_bytes(b"not a skull")
    result = cli("reconstruct", tmp_path / "broken.nrrd", "--output", tmp_path / "defect.nrrd")
    assert_one_line_error(result, r"broken\.nrrd")
    result = cli("reconstruct", tmp_path / "absent.nrrd", "--output", tmp_path / "defect.nrrd")
    assert_one_line_error(result, r"absent\.nrrd: does not exist; check the path")
    assert not (tmp_path / "defect.nrrd").exists()


# implant


def test_implant_writes_a_printable_mesh_and_says_what_was_checked(cli, skull, implant, tmp_path):
    import trimesh

    output = tmp_path / "new" / "implant.stl"
    code, out, err = cli("implant", skull, implant, "--output", output, "--clearance-mm", 1, "--detail-mm", 0.5)
    assert code == 0 and "implant: 100%" in err
    summary, way, *checks, written = out.splitlines()
    assert re.fullmatch(r"implant  \d+\.\d cm3 in 1 piece, in \d+ s", summary)
    assert re.fullmatch(r"way out  L -?\d\.\d\d  P -?\d\.\d\d  S -?\d\.\d\d", way)
    assert len(checks) == 8 and all(re.search(r" (pass|FAIL)$", line) for line in checks)
    assert written == f"written  {output}"
    mesh = trimesh.load_mesh(output)
    assert mesh.is_watertight and mesh.volume / 1000 == pytest.approx(float(summary.split()[1]), abs=0.06)


def test_every_figure_of_a_design_reaches_the_implant(cli, skull, implant, tmp_path, monkeypatch):
    from cranial.implant import checks, make

    seen = []

    def make_implant(bone, defect, design, progress):
        seen.append((design, progress))
        report = checks.ImplantReport((checks.Check("minimum wall", 0.5, 1.0, "mm", at_least=True),), 900.0, 2)
        return SimpleNamespace(report=report, pieces=(), directions=(), mesh=None)

    monkeypatch.setattr(make, "make_implant", make_implant)
    monkeypatch.setattr("cranial.implant.files.write_implant", lambda made, path: path)
    figures = {"clearance_mm": 0.4, "thickness_mm": 4.0, "taper_deg": 3.0, "perforation_mm": 2.0}
    figures |= {"perforation_spacing_mm": 9.0, "minimum_wall_mm": 1.5, "detail_mm": 0.6}
    options = [part for name, value in figures.items() for part in ("--" + name.replace("_", "-"), value)]
    code, out, err = cli("implant", skull, implant, "--output", tmp_path / "i.3mf", *options, "--json")
    assert code == 0 and json.loads(out)["checks"]["minimum wall"]["passed"] is False
    assert "cranial: warning: the implant fails on minimum wall; do not print it as it is\n" in err
    assert "cranial: warning: 2 parts of the defect were left out" in err
    ((design, progress),) = seen
    assert {name: getattr(design, name) for name in figures} == figures and progress is False


def test_an_implant_that_cannot_be_made_is_one_line(cli, skull, implant, tmp_path):
    for arguments, pattern in [
        (["--output", tmp_path / "i.obj"], r"--output .*i\.obj has an unknown suffix; use one of \.stl, \.3mf"),
        (["--output", tmp_path / "i.stl", "--clearance-mm", -1], "clearance_mm is -1; give a gap to bone"),
        (["--output", tmp_path / "i.stl", "--thickness-mm", 0.2], "thickness_mm is 0.2; give a thickness"),
    ]:
        assert_one_line_error(cli("implant", skull, implant, *arguments), pattern)
    assert not list(tmp_path.iterdir())


# evaluate


def test_a_perfect_prediction_scores_one_and_no_distance(cli, implant, skull):
    code, out, _ = cli("evaluate", implant, implant, "--defective", skull, "--json")
    scores = json.loads(out)
    assert code == 0
    assert scores["dsc"] == 1.0 and scores["hd95_mm"] == 0.0


def test_scores_are_printed_one_a_line_and_as_json_alike(cli, implant, skull, tmp_path):
    shifted = volume.read(implant)
    volume.write(shifted.with_mask(np.roll(shifted.mask, 1, axis=2)), tmp_path / "shifted.nrrd")
    arguments = ("evaluate", tmp_path / "shifted.nrrd", implant, "--defective", skull, "--tolerance-mm", 2)
    table = dict(line.split(maxsplit=1) for line in cli(*arguments)[1].splitlines())
    scores = json.loads(cli(*arguments, "--json")[1])
    assert list(table) == list(scores)
    assert 0 < scores["dsc"] < 1
    assert float(table["dsc"]) == pytest.approx(scores["dsc"], rel=1e-3)


def test_a_prediction_that_found_nothing_is_scored_and_not_an_error(cli, implant, skull, tmp_path):
    reference = volume.read(implant)
    volume.write(reference.with_mask(np.zeros(reference.shape, bool)), tmp_path / "nothing.nrrd")
    code, out, _ = cli("evaluate", tmp_path / "nothing.nrrd", implant, "--defective", skull, "--json")
    assert code == 0 and json.loads(out)["dsc"] == 0.0


# phantom


def test_phantom_writes_skulls_with_their_defects_and_goes_on_where_it_stopped(cli, tmp_path):
    folder = tmp_path / "phantoms"
    arguments = ("phantom", "--count", 1, "--output", folder, "--defects", "random_1", "--spacing-mm", 4)
    assert cli(*arguments)[:2] == (0, f"written  3 files to {folder}, 0 were there already\n")
    assert volume.read(folder / "implant" / "random_1" / "000.nrrd").volume_mm3 > 0
    assert cli(*arguments)[:2] == (0, f"written  0 files to {folder}, 3 were there already\n")
    assert_one_line_error(cli(*arguments, "--seed", 1), "choose another folder")


@pytest.mark.parametrize(("count", "spacing_mm"), [(0, 1), ("many", 1), (1, -1), (1, "nan")])
def test_a_number_that_makes_no_sense_is_wrong_usage(cli, tmp_path, count, spacing_mm):
    code, _, err = cli("phantom", "--count", count, "--spacing-mm", spacing_mm, "--output", tmp_path / "p")
    assert code == 2 and "usage: cranial phantom" in err and not (tmp_path / "p").exists()


# register and synthesize


def test_register_writes_the_bent_head_and_says_how_well_it_fits(cli, population, tmp_path):
    head = population / "complete_skull" / "000.nrrd"
    code, out, _ = cli("register", head, head, "--output", tmp_path / "new" / "moved.nrrd", "--side", 32)
    assert code == 0
    assert re.search(r"Dice +(0\.9\d+|1\.000) -> (0\.9\d+|1\.000) in \d+ s\n", out), out
    assert re.search(r"field +0\.\d mm on average, 0\.000 % folded\n", out), out
    assert volume.read(tmp_path / "new" / "moved.nrrd").shape == (32, 32, 32)


def test_register_warns_of_a_pair_that_does_not_fit(cli, population, tmp_path):
    head = population / "complete_skull" / "000.nrrd"
    small = volume.read(head)
    small = volume.Volume(small.mask, small.affine @ np.diag([0.3, 0.3, 0.3, 1]))
    other = volume.write(small, tmp_path / "small.nrrd")
    code, _, err = cli("register", head, other, "--output", tmp_path / "moved.nrrd", "--side", 32)
    assert code == 0 and "cranial: warning: the affine part stretches by 3" in err


def test_register_does_not_write_over_what_it_reads(cli, population, tmp_path):
    head = population / "complete_skull" / "000.nrrd"
    assert_one_line_error(cli("register", tmp_path / "a.nrrd", head, "--output", head), "is the case itself")


def test_synthesize_makes_what_is_missing_and_says_so(cli, tmp_path):
    recipe = tmp_path / "set.yaml"
    recipe.write_text("count: 3\nside: 16\niterations: [5, 5]\nphantoms: 3\nphantom_spacing_mm: 4.0\n")
    for items, line in (("0:2", r"written +[012] cases to .*, 0 items were decided already"), (":", "2 items were")):
        code, out, _ = cli("synthesize", recipe, "--output", tmp_path / "set", "--items", items)
        assert code == 0 and re.search(line, out), out


def test_train_makes_a_generator_and_synthesize_its_cases(cli, tmp_path):
    recipe = tmp_path / "vae.yaml"
    recipe.write_text("method: vae\nside: 16\nsteps: 2\nbatch: 2\nwidths: [8, 16]\nlatent_channels: 2\n"
                      "phantom_cases: 8\nphantoms: 2\nphantom_spacing_mm: 6.0\n")
    places = ("--cache", tmp_path / "cache")
    code, out, _ = cli("train", recipe, "--output", tmp_path / "vae", *places, "--validate-every", 1)
    assert code == 0 and re.search(r"trained +2 steps in 0 min, 0\.\d+ at best, at step [12]\n", out), out
    recipe = tmp_path / "set.yaml"
    recipe.write_text(f"generator: {tmp_path / 'vae' / 'generator.safetensors'}\ncount: 3\nstrategy: uds\n")
    code, out, _ = cli("synthesize", recipe, "--output", tmp_path / "set", *places, "--items", ":2")
    assert code == 0 and re.search(r"written +[012] cases to .*, 0 items were decided already", out), out


@pytest.mark.parametrize("items", ["3", "a:b", "-1:2"])
def test_items_that_are_no_range_are_wrong_usage(cli, tmp_path, items):
    code, _, err = cli("synthesize", tmp_path / "a.yaml", "--output", tmp_path, f"--items={items}")
    assert code == 2 and "must be like 0:1000" in err


# app


def test_app_opens_napari_with_the_case(cli, skull, monkeypatch):
    opened = []
    monkeypatch.setitem(sys.modules, "cranial.plugin.app", SimpleNamespace(run=opened.append))
    assert cli("app", skull)[0] == 0 and cli("app")[0] == 0
    assert opened == [skull, None]


def test_app_without_napari_names_the_extra(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "cranial.plugin.app", None)
    assert_one_line_error(cli("app"), r"the app needs napari and Qt, .* with pip install 'cranial\[app\]'")


def test_app_with_a_case_that_is_not_there_opens_nothing(cli, tmp_path):
    assert_one_line_error(cli("app", tmp_path / "absent.nrrd"), r"absent\.nrrd: does not exist; check the path")


# run


def test_run_executes_a_notebook_and_says_where_it_is(cli, tmp_path):
    import nbformat

    cells = [nbformat.v4.new_code_cell("steps = 1", metadata={"tags": ["parameters"]})]
    cells.append(nbformat.v4.new_code_cell("assert steps == 2"))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "lesson.ipynb")
    (tmp_path / "two.yaml").write_text("steps: 2\n")
    (tmp_path / "three.yaml").write_text("steps: 3\n")
    (tmp_path / "typo.yaml").write_text("step: 2\n")
    run_dir = tmp_path / "run"
    code, out, err = cli("run", tmp_path / "lesson.ipynb", tmp_path / "two.yaml", "--output", run_dir)
    assert code == 0 and "lesson" in err  # the progress bar
    assert f"written  {run_dir / 'notebook.ipynb'} and 0 pictures in {run_dir / 'figures'}" in out

    code, _, err = cli("run", tmp_path / "lesson.ipynb", tmp_path / "three.yaml", "--output", run_dir)
    assert code == 1
    assert re.search(r"cranial: error: lesson\.ipynb: In \[3\] failed: AssertionError.*\.ipynb\n$", err)
    assert (run_dir / "notebook.ipynb").exists()

    result = cli("run", tmp_path / "lesson.ipynb", tmp_path / "typo.yaml", "--output", run_dir)
    assert_one_line_error(result, r"typo\.yaml: unknown key 'step'; did you mean 'steps'\?")


# all of them


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(cli, command):
    code, out, _ = cli(command, "--help")
    assert code == 0 and f"examples:\n  cranial {command} " in out


@pytest.mark.parametrize("arguments", ["", "reconstuct", "reconstruct", "evaluate a b", "run a"])
def test_wrong_usage_exits_with_two(cli, arguments):
    code, out, err = cli(*arguments.split())
    assert code == 2 and out == "" and err.startswith("usage: cranial")


def test_the_version_is_that_of_the_package(cli):
    assert cli("--version")[:2] == (0, f"cranial {cranial.__version__}\n")


def test_the_command_works_from_any_folder(tmp_path):
    command = [sys.executable, "-m", "cranial.cli", "evaluate", "a.nrrd", "b.nrrd", "--defective", "c.nrrd"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "cranial: error: b.nrrd: does not exist; check the path\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a skull\nof two lines"), "a skull of two lines"),
        (PermissionError(13, "Permission denied", "outputs/a"), "outputs/a: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (MemoryError(), "not enough memory (MemoryError); close other programs, or use larger voxels"),
        (ModuleNotFoundError("No module named 'papermill'"), "No module named 'papermill'"),
        (KeyError("side"), "KeyError: 'side' (this looks like a bug; CRANIAL_DEBUG=1 shows where)"),
    ],
)
def test_any_failure_is_one_line_and_a_traceback_only_on_request(cli, monkeypatch, error, line):
    from cranial.skulls import population

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(population, "write_population", fail)
    monkeypatch.delenv("CRANIAL_DEBUG", raising=False)
    assert cli("phantom", "--count", 1, "--output", "p") == (1, "", f"cranial: error: {line}\n")
    monkeypatch.setenv("CRANIAL_DEBUG", "1")
    with pytest.raises(type(error)):
        main(["phantom", "--count", "1", "--output", "p"])


def test_control_c_is_not_a_traceback(cli, monkeypatch):
    from cranial.skulls import population

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(population, "write_population", interrupt)
    assert cli("phantom", "--count", 1, "--output", "p") == (130, "", "cranial: interrupted\n")
