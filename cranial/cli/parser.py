"""What can be asked, and how: every command with its arguments, help and examples."""

import argparse
from pathlib import Path

from cranial import __version__

from .batch import batch
from .commands import app, evaluate, implant, phantom, reconstruct, register, run, synthesize, train

CACHE = Path("outputs/cache")


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
        "  cranial reconstruct skull.nii.gz --method mirror --output defect.nii.gz\n"
        "  cranial reconstruct skull.nrrd --output defect.nrrd --proposals 8",
    )
    sub.add_argument("case", type=Path, help="skull: NRRD, NIfTI, STL, PLY, OBJ, or a folder of DICOM slices")
    sub.add_argument("--output", type=Path, required=True, help="missing piece: .nrrd, .nhdr, .nii, .nii.gz")
    sub.add_argument("--mesh", type=Path, help="its surface too, in patient mm: .stl, .ply or .obj")
    sub.add_argument("--method", choices=("network", "mirror", "atlas"), default="network", help="default: network")
    sub.add_argument("--model", type=Path, help="weights other than the shipped ones, .safetensors")
    sub.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")
    sub.add_argument("--threshold-hu", type=float, help="bone is above this, in a CT with Hounsfield units")
    sub.add_argument("--proposals", type=_positive(int), metavar="N", help="reconstruct N times, write what most have "
                     "and, beside it, a map of where they disagree: 0 nowhere to 255 evenly split")
    sub.add_argument("--seed", type=int, default=0, help="of the proposals; default: 0")
    sub.add_argument("--generator", type=Path, help="a trained latent diffusion, .safetensors, to fill the hole with, "
                     "instead of the network asked again")

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
        batch,
        "Run a whole study: every set, training, table and figure, or what is still missing of it.",
        "  cranial batch demo --dry-run\n"
        "  cranial batch demo\n"
        "  cranial batch paper --slurm\n"
        "The same command again goes on where an interrupted one stopped; a changed YAML renews its branch only.",
    )
    sub.add_argument("scale", help="demo, laptop, paper: params/study/SCALE.yaml, or the path of such a YAML")
    sub.add_argument("--dry-run", action="store_true", help="print the plan, its cost, and what is missing")
    sub.add_argument("--slurm", action="store_true", help="hand the jobs to Slurm; see workflow/profiles/slurm")
    sub.add_argument("--output", type=Path, metavar="DIR", help="folder of the study; default outputs/study/SCALE")
    sub.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help=f"kept phantoms; default {CACHE}")

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
