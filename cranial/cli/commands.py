"""What each command does: options in, a call into the package, what came of it on the terminal.

The package is imported when a command runs, so that help is instant and a wrong file is known before torch is loaded.
"""

import argparse
import json
import sys
import time
from pathlib import Path


def reconstruct(options: argparse.Namespace) -> None:
    """CASE -> the missing piece, on the case's own grid."""
    from cranial import volume

    _check_output(options.output, volume.WRITABLE, "--output", forbidden=options.case)
    if options.mesh:
        _check_output(options.mesh, volume.MESHES, "--mesh", forbidden=options.case)
    if options.model and options.method != "network":
        raise ValueError(f"--model is for --method network; leave it out with --method {options.method}")
    if options.proposals and options.method != "network":
        raise ValueError(f"--proposals is for --method network; leave it out with --method {options.method}")
    if options.generator and not options.proposals:
        raise ValueError("--generator fills the hole in several ways; say in how many with --proposals N")
    if options.proposals:
        _check_output(_beside(options.output, "disagreement"), volume.WRITABLE, "--output", forbidden=options.case)

    started = time.perf_counter()
    case = volume.read(options.case, threshold_hu=options.threshold_hu)
    from cranial import reconstruction  # seconds: after a bad file is known

    several = None
    if options.proposals:
        asked = {"count": options.proposals, "seed": options.seed, "model": options.model, "device": options.device}
        if options.generator:
            from cranial.synthesis.conditioned import propose_conditioned

            several = propose_conditioned(case, options.generator, **asked)
        else:
            several = reconstruction.propose(case, **asked)
        defect = several.vote
        for problem in several.warnings:
            print(f"cranial: warning: {problem}", file=sys.stderr)
    else:
        defect = reconstruction.reconstruct(
            case, method=options.method, model=options.model, device=options.device
        ).defect
    if not defect.mask.any():
        print("cranial: warning: nothing is missing in this skull as far as was found", file=sys.stderr)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    written = [volume.write(defect, options.output)]
    if several:
        written.append(volume.write_map(several.disagreement, _beside(options.output, "disagreement"), like=case))
    if options.mesh:
        options.mesh.parent.mkdir(parents=True, exist_ok=True)
        written.append(volume.write_mesh(defect, options.mesh))
    centimetres = defect.volume_mm3 / 1000
    if several:
        print(f"agreed   {several.agreement:.2f}, mean Dice between two of {options.proposals} proposals")
    print(f"defect   {centimetres:.1f} cm3, by {options.method} in {time.perf_counter() - started:.0f} s")
    print("\n".join(f"written  {path}" for path in written))


def implant(options: argparse.Namespace) -> None:
    """The missing piece as a solid that a printer takes, checked."""
    from cranial import volume
    from cranial.implant import ImplantDesign, make_implant, write_implant
    from cranial.implant.files import SUFFIXES

    _check_output(options.output, SUFFIXES, "--output", forbidden=options.skull)
    design = ImplantDesign(
        clearance_mm=options.clearance_mm,
        thickness_mm=options.thickness_mm,
        taper_deg=options.taper_deg,
        perforation_mm=options.perforation_mm,
        perforation_spacing_mm=options.perforation_spacing_mm,
        minimum_wall_mm=options.minimum_wall_mm,
        detail_mm=options.detail_mm,
    )
    started = time.perf_counter()
    skull = volume.read(options.skull)
    made = make_implant(skull, volume.read(options.defect, like=skull), design, progress=not options.json)
    if not made.report.passed:
        failed = ", ".join(check.name for check in made.report.checks if not check.passed)
        print(f"cranial: warning: the implant fails on {failed}; do not print it as it is", file=sys.stderr)
    if made.report.left_out:
        left_out = f"{made.report.left_out} parts of the defect were left out: crumbs, or touching no bone"
        print(f"cranial: warning: {left_out}", file=sys.stderr)
    write_implant(made, options.output)
    if options.json:
        print(json.dumps(made.report.as_dict()))
        return
    pieces = "1 piece" if len(made.pieces) == 1 else f"{len(made.pieces)} pieces"
    centimetres = made.report.volume_mm3 / 1000
    print(f"implant  {centimetres:.1f} cm3 in {pieces}, in {time.perf_counter() - started:.0f} s")
    for direction in made.directions:
        print("way out  L {:.2f}  P {:.2f}  S {:.2f}".format(*direction))
    print(f"{made.report}\nwritten  {options.output}")


def evaluate(options: argparse.Namespace) -> None:
    """How near PREDICTED comes to REFERENCE."""
    from cranial import metrics, volume

    reference = volume.read(options.reference)
    scores = metrics.evaluate(
        volume.read(options.predicted, like=reference, allow_empty=True),
        reference,
        defective=volume.read(options.defective, like=reference),
        tolerance_mm=options.tolerance_mm,
    )
    values = scores.as_dict()
    if options.json:
        print(json.dumps(values))
        return
    width = max(map(len, values))
    for name, value in values.items():
        print(f"{name:{width}}  {f'{value:.4g}' if isinstance(value, float) else value}")


def phantom(options: argparse.Namespace) -> None:
    """Phantom skulls, complete and with defects, in SkullBreak's layout."""
    from cranial.skulls.population import write_population

    done = write_population(
        options.output,
        count=options.count,
        styles=options.defects,
        seed=options.seed,
        spacing_mm=options.spacing_mm,
        progress=True,
    )
    print(f"written  {done.written} files to {options.output}, {done.skipped} were there already")


def register(options: argparse.Namespace) -> None:
    """MOVING brought onto FIXED."""
    from cranial import volume

    _check_output(options.output, volume.WRITABLE, "--output", forbidden=options.moving)
    _check_output(options.output, volume.WRITABLE, "--output", forbidden=options.fixed)
    started = time.perf_counter()
    moving, fixed = volume.read(options.moving), volume.read(options.fixed)
    from cranial.registration import register as register_pair

    found = register_pair(moving, fixed, alpha=options.alpha, side=options.side, device=options.device)
    for problem in found.problems:
        print(f"cranial: warning: {problem}", file=sys.stderr)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    quality = found.quality
    print(f"Dice     {quality.dice_before:.3f} -> {quality.dice_after:.3f} in {time.perf_counter() - started:.0f} s")
    print(f"field    {quality.mean_displacement_mm:.1f} mm on average, {100 * quality.folded_share:.3f} % folded")
    print(f"written  {volume.write(found.carry(moving)[0], options.output)}")


def synthesize(options: argparse.Namespace) -> None:
    """The items of a set of cases that are still missing; what the recipe names says of which kind."""
    from cranial.config import read_yaml
    from cranial.synthesis.kinds import make_set

    values = read_yaml(options.recipe)
    # a prepared set has as many items as its dataset has cases
    count = values["count"] if isinstance(values.get("count"), int) else 10**9
    items = None if options.items is None else range(*slice(*options.items).indices(count))
    choices = {"device": options.device, "cache": options.cache}
    done = make_set(values, options.output, items=items, where=options.recipe, **choices)
    print(f"written  {done.written} cases to {options.output}, {done.before} items were decided already")
    for reason, count in done.rejected.most_common():
        print(f"rejected {count}: {reason}")


def train(options: argparse.Namespace) -> None:
    """A generator, or what is still missing of its training."""
    from cranial.config import load
    from cranial.synthesis.recipe import GeneratorRecipe
    from cranial.synthesis.training import train_generator

    done = train_generator(
        load(options.recipe, GeneratorRecipe),
        options.output,
        cache=options.cache,
        accelerator=options.accelerator,
        validate_every=options.validate_every,
    )
    best = "" if done.best_value is None else f", {done.best_value:.3f} at best, at step {done.best_step}"
    print(f"trained  {done.steps} steps in {done.seconds / 60:.0f} min{best}")
    print(f"written  {options.output / 'generator.safetensors'}")


def run(options: argparse.Namespace) -> None:
    """One notebook with the parameters of one YAML."""
    from cranial.notebook_run import run_notebook

    done = run_notebook(options.notebook, options.params, options.output)
    print(f"done     {options.notebook.name} in {done.seconds:.0f} s")
    print(f"written  {done.notebook} and {len(done.figures)} pictures in {options.output / 'figures'}")


def app(options: argparse.Namespace) -> None:
    """All of it by hand, in napari."""
    if options.case is not None and not options.case.exists():
        raise ValueError(f"{options.case}: does not exist; check the path")
    try:
        from cranial.plugin.app import run as open_app
    except ImportError as error:
        raise ModuleNotFoundError(
            f"the app needs napari and Qt, which are not installed ({error}); install them with "
            "pip install 'cranial[app]', or from a checkout pip install -e '.[app]'"
        ) from error
    open_app(options.case)


def _beside(path: Path, word: str) -> Path:
    """defect.nii.gz -> defect_WORD.nii.gz; of a segmentation a plain volume."""
    from cranial import volume

    suffix = max((each for each in volume.WRITABLE if path.name.lower().endswith(each)), key=len)
    plain = path.name[-len(suffix) :].replace(".seg", "")
    return path.with_name(f"{path.name[: -len(suffix)]}_{word}{plain}")


def _check_output(path: Path, suffixes: tuple[str, ...], option: str, *, forbidden: Path) -> None:
    """Find out before the work, not after it, that its result could not be written."""
    if not path.name.lower().endswith(suffixes):
        raise ValueError(f"{option} {path} has an unknown suffix; use one of {', '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"{option} {path} is a folder; give the name of a file")
    if path.resolve() == forbidden.resolve():
        raise ValueError(f"{option} {path} is the case itself; give another name, so that nothing is lost")
