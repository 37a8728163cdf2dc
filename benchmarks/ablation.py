"""What does each part of the training mix add, on a real head that no training saw? Small networks, one budget.

    python benchmarks/ablation.py HEAD.nrrd --recipe params/model/ablation.yaml --output outputs/ablation
    python benchmarks/ablation.py HEAD.nrrd --parts "phantoms alone" "all" --json

Every variant is the recipe with something left out or, once, added, trained with the same steps, batches and network,
then asked for the twenty defects of reconstruction_quality.py. A training that was stopped goes on; one that has ended
is only scored.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, median

from perturbations import unperturbed
from reconstruction_quality import SEED, scored
from tqdm.auto import tqdm

from cranial import report, volume
from cranial.config import load
from cranial.reconstruction import load_model
from cranial.reconstruction.cases import Strength
from cranial.reconstruction.recipe import Recipe
from cranial.reconstruction.training import train_reconstruction
from cranial.rng import generator
from cranial.skulls.defects import STYLES, cut

STILL = Strength(
    pitch_deg=0, tilt_deg=0, shift=0, scale=0, stretch=0, elastic=0, elastic_fine=0, thickness=0, speckle=0,
    cut_chance=0, second_chance=0,
)  # fmt: skip
PARTS = {
    "phantoms alone": {"heads": (), "bent": 0, "suggested": 0},
    "and real heads": {"bent": 0, "suggested": 0},
    "and bent heads": {"suggested": 0},
    "all: and suggestions": {},
    "all, and faces with thin walls, shown a face": {
        "dry": ("mricrogl_ct",), "dry_share": 0.5, "thin_walls": 16, "faces": ("mricrogl_ct",), "own_face": 0.8,
    },  # fmt: skip
    "bent heads, no mirror image": {"suggested": 0, "symmetry": False},
    "bent heads, no augmentation": {"suggested": 0, "strength": STILL},
    "bent heads, no elastic": {"suggested": 0, "strength": {"elastic": 0.0, "elastic_fine": 0.0}},
}


def main() -> None:
    options = arguments()
    recipe, head = load(options.recipe, Recipe), volume.read(options.head)
    cases = [cut(head, STYLES[item % len(STYLES)], seed=SEED, item=item) for item in range(options.count)]
    cases = [unperturbed(case, generator(SEED, item)) for item, case in enumerate(cases)]
    lines = []
    for part in options.parts:
        folder = options.output / part.replace(":", "").replace(",", "").replace(" ", "_")
        train_reconstruction(variant(recipe, part), folder, cache=options.cache, validate_every=None)
        model = load_model(folder / "model.safetensors")
        rows = [scored(case, "network", model)[0] for case in tqdm(cases, desc=part, unit="case")]
        dsc = [row["dsc"] for row in rows]
        lines.append({"trained on": part, "DSC": mean(dsc), "median DSC": median(dsc), "worst DSC": min(dsc),
                      "HD95 (mm)": mean(row["hd95_mm"] for row in rows)})  # fmt: skip
    print(json.dumps({"head": options.head.stem, "variants": lines}) if options.json else report.table(lines, digits=3))


def variant(recipe: Recipe, part: str) -> Recipe:
    """The recipe as the part changes it; a strength of some numbers changes only these."""
    changes = dict(PARTS[part])
    if isinstance(changes.get("strength"), dict):
        changes["strength"] = {**vars(recipe.strength), **changes["strength"]}
    return Recipe(**recipe.model_dump() | changes)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("head", type=Path, help="a complete skull that no training saw")
    parser.add_argument("--recipe", type=Path, default=Path("params/model/ablation.yaml"))
    parser.add_argument("--output", type=Path, default=Path("outputs/ablation"))
    parser.add_argument("--cache", type=Path, default=Path("outputs/phantoms"))
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), help="default: all")
    parser.add_argument("--count", type=int, default=20, help="defects; default: 20")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    main()
