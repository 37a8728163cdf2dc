"""The notebooks with values so small that each runs in seconds: what is tested is that they run, not what they find."""

from pathlib import Path
from typing import Any

import nbformat
import yaml

from cranial.config import read_yaml

REPOSITORY = Path(__file__).resolve().parent.parent
TINY: dict[str, dict[str, Any]] = {
    "01_skulls": {"count": 2, "spacing_mm": 4.0, "fine_spacing_mm": 3.0, "styles": ["bilateral", "skullfix"]},
    "02_geometric_augmentation": {
        "side": 24, "columns": 2, "settings": ["none", "heavy"], "train_skulls": 2, "train_side": 16, "train_steps": 4,
        "unseen_skulls": 1,
    },
    "03_registration": {
        "spacing_mm": 3.0, "side": 32, "alphas": [6250, 12500, 50000], "iterations": [5, 5, 5], "set_count": 3,
        "set_phantoms": 3,
    },
    "04_generators": {"validate_every": 2, "samples": 8},
    "05_sampling_strategies": {"count": 20, "spread_count": 20, "shown": 2, "gated": 3},
    "06_reconstruction": {
        "side": 16, "steps": 3, "batch": 1, "widths": [4, 8], "phantoms": 1, "pool_side": 24, "validate_every": 3,
        "unseen_styles": ["skullfix", "bilateral"], "unseen_spacing_mm": 3.0,
    },
    "07_clinical_cases": {
        "methods": ["network", "mirror"], "proposals": 2, "phantom_styles": ["skullfix", "craniotomy"],
        "phantom_spacing_mm": 3.0,
    },
    "08_clinical_case": {"method": "mirror", "phantom_spacing_mm": 3.0},
    "09_evaluation": {
        "example_steps": 2, "example_seeds": [0], "example_phantoms": 3, "example_unseen": 2,
        "example_spacing_mm": 5.0, "example_registered": 12,
    },
    "10_cost": {
        "study": str(REPOSITORY / "params" / "study" / "demo.yaml"), "train_side": 16, "descent_side": 16,
        "store_side": 32, "store_cases": 1,
    },
}  # fmt: skip


def write_recipes(folder: Path) -> Path:
    """The demo's recipes of generators, so small that a second is enough; returns the folder."""
    tiny = {"side": 16, "steps": 4, "batch": 2, "widths": [8, 16], "latent_channels": 2, "phantom_cases": 12,
            "phantoms": 6, "phantom_spacing_mm": 5.0}  # fmt: skip
    small = {"vae": {"fitted": 4},
             "vqvae": {"codes": 8, "prior_steps": 2, "prior_batch": 2, "prior_channels": 8, "prior_layers": 2},
             "ldm_vqvae": {"widths": [8, 16], "heads": 2, "ddim_steps": 2}}  # fmt: skip
    for path in (REPOSITORY / "params" / "demo" / "generators").glob("*.yaml"):
        values = read_yaml(path) | tiny
        values["settings"] = small.get(path.stem, values.get("settings", {}))
        if path.stem == "vae":
            values["steps"] = 40  # a slider through its latent space is to change what is seen
        (folder / path.name).write_text(yaml.safe_dump(values), encoding="utf-8")
    return folder


def write_notebooks(folder: Path, values: dict[str, dict[str, Any]]) -> None:
    """The notebooks of these names in a folder, with these values; what they write goes below it."""
    recipes = folder / "recipes"
    recipes.mkdir()
    places = {"recipes": str(write_recipes(recipes)), "generators": str(folder / "generators"),
              "cache": str(folder / "cache")}  # fmt: skip
    for name, chosen in values.items():
        notebook = nbformat.read(REPOSITORY / "notebooks" / f"{name}.ipynb", as_version=4)
        cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
        given = chosen | {"output_dir": str(folder / name)}
        given |= {key: place for key, place in places.items() if f"\n{key} = " in cell.source}
        cell.source += "".join(f"\n{key} = {value!r}" for key, value in given.items())
        nbformat.write(notebook, folder / f"{name}.ipynb")
