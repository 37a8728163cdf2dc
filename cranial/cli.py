"""`cranial`: one command a question, each a thin call into the package.

Exit codes: 0 done, 1 it could not be done (one line says why; CRANIAL_DEBUG=1 shows where), 2 wrong usage.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cranial import __version__

CACHE = Path("outputs/cache")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        options.command(options)
    except KeyboardInterrupt:
        print("cranial: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("CRANIAL_DEBUG"):
            raise
        print(f"cranial: error: {_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def reconstruct(options: argparse.Namespace) -> None:
    """CASE -> the missing piece, on the case's own grid."""
    from cranial import volume

    _check_output(options.output, volume.WRITABLE, "--output", forbidden=options.case)
    if options.mesh:
        _check_output(options.mesh, volume.MESHES, "--mesh", forbidden=options.case)
    if options.model and options.method != "network":
        raise ValueError(f"--model is for --method network; leave it out with --method {options.method}")

    started = time.perf_counter()
    case = volume.read(options.case, threshold_hu=options.threshold_hu)
    from cranial.reconstruction import reconstruct as reconstruct_case  # seconds: after a bad file is known

    result = reconstruct_case(case, method=options.method, model=options.model, device=options.device)
    if not result.defect.mask.any():
        print("cranial: warning: nothing is missing in this skull as far as was found", file=sys.stderr)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    written = [volume.write(result.defect, options.output)]
    if options.mesh:
        options.mesh.parent.mkdir(parents=True, exist_ok=True)
        written.append(volume.write_mesh(result.defect, options.mesh))
    centimetres = result.defect.volume_mm3 / 1000
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
    from inspect import signature

    from cranial.config import load, read_yaml
    from cranial.synthesis.kinds import kind_of

    kind, make = kind_of(read_yaml(options.recipe))
    recipe = load(options.recipe, kind)
    # a prepared set has as many items as its dataset has cases
    items = None if options.items is None else range(*slice(*options.items).indices(getattr(recipe, "count", 10**9)))
    choices = {"device": options.device, "cache": options.cache}
    taken = {name: value for name, value in choices.items() if name in signature(make).parameters}
    done = make(recipe, options.output, items=items, **taken)
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


def build_parser() -> argparse.ArgumentParser:
    """Every command with its arguments, help and examples."""
    from cranial.implant.design import ImplantDesign

    parser = argparse.ArgumentParser(
        prog="cranial",
        description="From a skull with a hole to the missing piece of bone.",
        epilog="cranial COMMAND --help tells more, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"cranial {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(function, help: str, examples: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            function.__name__,
            help=help,
            description=help,
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=function)
        return added

    sub = command(
        reconstruct,
        "Reconstruct the missing piece of a defective skull, on the skull's own grid.",
        "  cranial reconstruct skull.nrrd --output defect.nrrd --mesh defect.stl\n"
        "  cranial reconstruct ct_folder/ --threshold-hu 250 --output defect.nii.gz\n"
        "  cranial reconstruct skull.nii.gz --method mirror --output defect.nii.gz",
    )
    sub.add_argument("case", type=Path, help="skull: NRRD, NIfTI, STL, PLY, OBJ, or a folder of DICOM slices")
    sub.add_argument("--output", type=Path, required=True, help="missing piece: .nrrd, .nhdr, .nii, .nii.gz")
    sub.add_argument("--mesh", type=Path, help="its surface too, in patient mm: .stl, .ply or .obj")
    sub.add_argument("--method", choices=("network", "mirror"), default="network", help="default: network")
    sub.add_argument("--model", type=Path, help="weights other than the shipped ones, .safetensors")
    sub.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")
    sub.add_argument("--threshold-hu", type=float, help="bone is above this, in a CT with Hounsfield units")

    sub = command(
        implant,
        "Make a printable implant of a skull and its missing piece, and check it.",
        "  cranial implant skull.nrrd defect.nrrd --output implant.stl\n"
        "  cranial implant skull.nrrd defect.nrrd --output implant.3mf --thickness-mm 4 --taper-deg 3\n"
        "  cranial implant skull.nrrd defect.nrrd --output implant.stl --perforation-mm 2.5 --json\n"
        "Every line of the report has a figure, its limit, and pass or FAIL.",
    )
    sub.add_argument("skull", type=Path, help="skull with the hole: NRRD, NIfTI or mesh")
    sub.add_argument("defect", type=Path, help="its missing piece, from `cranial reconstruct`, on the same grid")
    sub.add_argument("--output", type=Path, required=True, help="implant in patient mm: .stl or .3mf")
    usual = ImplantDesign()
    sub.add_argument("--thickness-mm", type=float, help="from the outer surface inward; default: the defect's own")
    for name, what in (
        ("clearance_mm", "gap to bone all around"),
        ("taper_deg", "draft of the rim, narrower inward"),
        ("perforation_mm", "diameter of drilled holes, 0 for none"),
        ("perforation_spacing_mm", "distance between their axes"),
        ("minimum_wall_mm", "nothing is thinner"),
        ("detail_mm", "working voxel"),
    ):
        value = getattr(usual, name)
        option = "--" + name.replace("_", "-")
        sub.add_argument(option, type=float, default=value, help=f"{what}; default: {value:g}")
    sub.add_argument("--json", action="store_true", help="print the report as one JSON object, and no bar")

    sub = command(
        evaluate,
        "Score a predicted piece against the true one.",
        "  cranial evaluate predicted.nrrd true.nrrd --defective skull.nrrd\n"
        "  cranial evaluate predicted.nrrd true.nrrd --defective skull.nrrd --tolerance-mm 2 --json",
    )
    sub.add_argument("predicted", type=Path, help="the reconstructed piece")
    sub.add_argument("reference", type=Path, help="the true piece, on the same grid")
    sub.add_argument("--defective", type=Path, required=True, help="the skull with the hole; bDSC needs it")
    sub.add_argument("--tolerance-mm", type=float, default=1.0, help="of the surface Dice; default: 1")
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = command(
        phantom,
        "Write phantom skulls, and the defects cut into them, in SkullBreak's layout.",
        "  cranial phantom --count 10 --output phantoms\n"
        "  cranial phantom --count 100 --output phantoms --defects bilateral random_1 --spacing-mm 2\n"
        "The same command again goes on where an interrupted one stopped.",
    )
    sub.add_argument("--count", type=_positive(int), required=True, help="how many skulls")
    sub.add_argument("--output", type=Path, required=True, help="folder to write to")
    sub.add_argument("--defects", nargs="+", default=[], metavar="STYLE", help="holes to cut into each skull")
    sub.add_argument("--seed", type=int, default=0, help="another seed, other skulls; default: 0")
    sub.add_argument("--spacing-mm", type=_positive(float), default=1.0, help="voxel side; default: 1")

    sub = command(
        register,
        "Bring one head onto another, and write it on the other's cube.",
        "  cranial register moving.nrrd fixed.nrrd --output moved.nrrd\n"
        "  cranial register moving.nrrd fixed.nrrd --output moved.nrrd --alpha 50000 --side 256",
    )
    sub.add_argument("moving", type=Path, help="head to bend")
    sub.add_argument("fixed", type=Path, help="head to bend it to")
    sub.add_argument("--output", type=Path, required=True, help="bent head: .nrrd, .nhdr, .nii, .nii.gz")
    sub.add_argument("--alpha", type=_positive(float), default=12500.0, help="stiffness; default: 12500")
    sub.add_argument("--side", type=_positive(int), default=128, help="voxels along the cube's edge; default: 128")
    sub.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")

    sub = command(
        synthesize,
        "Make cases by registration, by a generator, or from a dataset, as many processes at once as you like.",
        "  cranial synthesize params/sets/registered_demo.yaml --output outputs/registered\n"
        "  cranial synthesize params/sets/generated_demo.yaml --output outputs/generated\n"
        "  cranial synthesize params/sets/registered_paper.yaml --output /data/registered --items 0:1000\n"
        "The same command again goes on where an interrupted one stopped; two at once share the work.",
    )
    sub.add_argument("recipe", type=Path, help="YAML of a set, as in params/sets")
    sub.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the set")
    sub.add_argument("--items", type=_items, metavar="A:B", help="only items A ... B - 1; default: all")
    sub.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")
    sub.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help=f"kept phantoms; default {CACHE}")

    sub = command(
        train,
        "Train a generator: a VAE, a WGAN-GP, a VQVAE, an IntroVAE, a Soft-IntroVAE or latent diffusion.",
        "  cranial train params/demo/generators/vae.yaml --output outputs/generators/demo/vae\n"
        "The same command again goes on where an interrupted one stopped.",
    )
    sub.add_argument("recipe", type=Path, help="YAML of a generator, as in params/*/generators")
    sub.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the training")
    sub.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help=f"kept phantoms; default {CACHE}")
    sub.add_argument("--accelerator", default="auto", choices=["auto", "cpu", "gpu"])
    sub.add_argument("--validate-every", type=int, metavar="STEPS", help="score it on unseen phantoms so often")

    sub = command(
        app,
        "Open napari with all of it by hand: place defects, reconstruct, measure, register, make implants.",
        "  cranial app skull.nrrd\n"
        "  cranial app",
    )
    sub.add_argument("case", type=Path, nargs="?", help="skull to begin with: NRRD, NIfTI, mesh, or a DICOM folder")

    sub = command(
        run,
        "Run a notebook with parameters, keeping notebook, parameters, versions and pictures.",
        "  cranial run notebooks/01_skulls.ipynb params/demo/01_skulls.yaml --output outputs/skulls",
    )
    sub.add_argument("notebook", type=Path, help="a notebook with a cell tagged 'parameters'")
    sub.add_argument("params", type=Path, help="YAML whose keys are names in that cell")
    sub.add_argument("--output", type=Path, required=True, metavar="RUN_DIR", help="folder to keep it in")
    return parser


def _positive(kind: type):
    def parse(text: str):
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
        return value

    parse.__name__ = kind.__name__  # argparse names it: "invalid int value: 'many'"
    return parse


def _items(text: str) -> tuple[int | None, int | None]:
    """"3:10" -> (3, 10), ":10" -> (None, 10)."""
    first, colon, last = text.partition(":")
    if not colon or not all(part.isdecimal() or not part for part in (first, last)):
        raise argparse.ArgumentTypeError(f"must be like 0:1000, not {text}")
    return (int(first) if first else None), (int(last) if last else None)


def _check_output(path: Path, suffixes: tuple[str, ...], option: str, *, forbidden: Path) -> None:
    """Find out before the work, not after it, that its result could not be written."""
    if not path.name.lower().endswith(suffixes):
        raise ValueError(f"{option} {path} has an unknown suffix; use one of {', '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"{option} {path} is a folder; give the name of a file")
    if path.resolve() == forbidden.resolve():
        raise ValueError(f"{option} {path} is the case itself; give another name, so that nothing is lost")


def _one_line(error: Exception) -> str:
    """The error as one line; what is nobody's mistake but ours says so."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"not enough memory ({text or 'MemoryError'}); close other programs, or use larger voxels"
    if isinstance(error, (ValueError, OSError, ModuleNotFoundError)):
        return text
    return f"{type(error).__name__}: {text} (this looks like a bug; CRANIAL_DEBUG=1 shows where)"


if __name__ == "__main__":
    sys.exit(main())
