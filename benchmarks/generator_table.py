"""How good are the seven generators? One table, from trained ones, with pictures of sixteen samples of each.

    for m in vae_rough vae_strong vae vqvae wgan_gp intro_vae soft_intro_vae ldm_vae ldm_vqvae; do
        cranial train params/laptop/generators/$m.yaml --output outputs/generators/laptop/$m --validate-every 500
    done
    python benchmarks/generator_table.py outputs/generators/laptop --count 200

passed: share of samples that a set keeps (cranial.synthesis.gates, no copy, no odd size). skull, defect: Dice of unseen
phantoms, encoded and decoded. diversity: 1 - Dice of two complete skulls, beside that of the training cases. coverage:
share of the training cases that have a sample among their five nearest, beside the share that as many of them would
have. nearest: the highest Dice of a sample with a training case (the lesser of skull and defect). memorised: samples
above the bound of cranial.quality. codes: share of the codebook that unseen cases use. minutes: of its own training;
minutes_in_all: with those of what it starts from and its autoencoder. The sets stay in DIR/METHOD/set.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from cranial import figures
from cranial.generators import GENERATORS, sample
from cranial.quality import assess
from cranial.reconstruction.mix import StoredCases
from cranial.skulls.store import CaseStore
from cranial.synthesis.generated import GeneratedSet, make_generated_set
from cranial.synthesis.latent_walk import sampled_cases
from cranial.synthesis.learning_cases import held_out_cases, training_cases
from cranial.synthesis.trained import load_generator
from cranial.synthesis.training import stage_logs

NOT_A_METHOD = ("vae_strong",)  # what IntroVAE and Soft-IntroVAE start from; in the table all the same


def minutes(folder: Path) -> float:
    """What the stages of one training took."""
    return sum(json.loads(log.read_text().splitlines()[-1])["seconds"] for log in stage_logs(folder).values()) / 60


def stands_on(folder: Path) -> list[Path]:
    """The trainings that this one began with: what it started from, and its autoencoder; theirs too."""
    recipe = load_generator(folder / "generator.safetensors").recipe
    before = [(folder / path).parent for path in (recipe.start_from, recipe.autoencoder) if path]
    return before + [earlier for one in before for earlier in stands_on(one)]


def judge(folder: Path, *, count: int, cache: Path) -> dict:
    """The row of one trained generator."""
    path = folder / "generator.safetensors"
    trained = load_generator(path)
    recipe = GeneratedSet(count=count, generator=path, seed=1)
    make_generated_set(recipe, folder / "set", cache=cache)
    store = CaseStore.open(folder / "set")
    kept, reasons = StoredCases(store), list(store.rejections().values())
    known, unseen = (
        make(trained.recipe, cache=cache, progress=False) for make in (training_cases, held_out_cases)
    )
    row = {
        "method": folder.name,
        "passed": len(kept) / count,
        "refused": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "minutes": minutes(folder),
        "minutes_in_all": minutes(folder) + sum(minutes(before) for before in stands_on(folder)),
    }
    start = time.perf_counter()
    sample(trained.generator, range(8), seed=2)
    row["seconds_a_sample"] = (time.perf_counter() - start) / 8
    if hasattr(trained.generator, "validate"):
        trained.generator.validation = torch.stack([unseen.tensor(number) for number in range(len(unseen))])
        with torch.no_grad():
            found = trained.generator.validate(0)
            row |= {"skull_dice": found["skull_dice"], "defect_dice": found["defect_dice"]}
            if trained.generator.latent == "codes":
                codes = trained.generator.encode(trained.generator.validation)
                row["codes"] = trained.generator.quantizer.use(codes).used
    if len(kept) > 1:
        spacing = (trained.edge_mm / trained.recipe.side,) * 3
        quality = assess(kept, known.masks(), unseen.masks(), spacing_mm=spacing)
        row |= {
            "diversity": float(quality.diversity["synthetic"]["complete"].mean()),
            "diversity_training": float(quality.diversity["training"]["complete"].mean()),
            "coverage": quality.coverage["synthetic"]["lesser"],
            "coverage_expected": quality.expected_coverage["synthetic"],
            "nearest": float(quality.nearest["synthetic"]["lesser"].max()),
            "nearest_unseen": float(quality.nearest["held_out"]["lesser"].max()),
            "memorised": len(quality.memorised()),
            "ks_skull": quality.kolmogorov_smirnov("skull_mm3"),
            "ks_defect": quality.kolmogorov_smirnov("defect_mm3"),
            "ks_thickness": quality.kolmogorov_smirnov("thickness_mm"),
        }
    cases = sampled_cases(trained, range(16), seed=1)
    figure = figures.variants(
        {"0 - 7": cases[:8], "8 - 15": cases[8:]}, span_mm=trained.edge_mm, title=f"{folder.name}: sixteen samples"
    )
    figure.savefig(folder / "samples.png", dpi=80)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trained", type=Path, help="folder with a folder for each method")
    parser.add_argument("--count", type=int, default=200, help="samples of each")
    parser.add_argument("--cache", type=Path, default=Path("outputs/cache"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = [n for n in (*GENERATORS, *NOT_A_METHOD) if (options.trained / n / "generator.safetensors").exists()]
    if not names:
        parser.error(f"{options.trained} holds no trained generator; see --help for how to train them")
    rows = [judge(options.trained / name, count=options.count, cache=options.cache) for name in names]
    if options.json:
        print(json.dumps(rows))
        return
    columns = ["method", "passed", "skull_dice", "defect_dice", "codes", "diversity", "coverage", "nearest",
               "memorised", "seconds_a_sample", "minutes", "minutes_in_all"]  # fmt: skip
    print("  ".join(f"{name:>16}" for name in columns))
    for row in rows:
        print("  ".join(f"{_text(row.get(name)):>16}" for name in columns), row["refused"])


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float | np.floating) else str(value)


if __name__ == "__main__":
    main()
