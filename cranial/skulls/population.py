"""A folder of phantoms in SkullBreak's layout: complete skulls, and the defects cut into each.

    DIR/complete_skull/000.nrrd   DIR/defective_skull/STYLE/000.nrrd   DIR/implant/STYLE/000.nrrd
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RECIPE = "population.json"


@dataclass(frozen=True)
class Population:
    """What a call of write_population did: files written now, files that were there already."""

    written: int
    skipped: int


def write_population(
    folder: str | Path,
    *,
    count: int,
    styles: Sequence[str] = (),
    seed: int = 0,
    spacing_mm: float = 1.0,
    progress: bool = False,
) -> Population:
    """Write phantoms 0 ... count-1 and, for each style, the skull with the hole and the missing piece.

    Files that are there already are kept, so an interrupted call is resumed by the same call, and a larger
    `count` or another style adds to the folder. Seed and spacing are those of the folder, once for all.
    Raises ValueError for a count below 1, an unknown style, or a folder made with another seed or spacing.
    """
    from tqdm import tqdm

    from cranial import volume
    from cranial.skulls.defects import STYLES, cut
    from cranial.skulls.phantom import phantom

    folder = Path(folder)
    if count < 1:
        raise ValueError(f"count is {count}; ask for at least one phantom")
    for style in styles:
        if style not in STYLES:
            raise ValueError(f"'{style}' is not a style of defect; choose from {', '.join(STYLES)}")
    recipe = {"seed": seed, "spacing_mm": spacing_mm}
    _refuse_another_recipe(folder, recipe)

    written = skipped = 0
    for item in tqdm(range(count), desc="phantoms", unit="skull", disable=not progress):
        name = f"{item:03d}.nrrd"
        complete = folder / "complete_skull" / name
        cases = {s: (folder / "defective_skull" / s / name, folder / "implant" / s / name) for s in styles}
        wanted = [complete, *(path for pair in cases.values() for path in pair)]
        missing = [path for path in wanted if not path.exists()]
        written, skipped = written + len(missing), skipped + len(wanted) - len(missing)
        if not missing:
            continue
        skull = phantom(item, seed=seed, spacing_mm=spacing_mm)
        if not (folder / RECIPE).exists():
            _note_recipe(folder, recipe)
        if complete in missing:
            complete.parent.mkdir(parents=True, exist_ok=True)
            volume.write(skull, complete)
        for style, paths in cases.items():
            if any(path in missing for path in paths):
                case = cut(skull, style, seed=seed, item=item)
                for part, path in zip((case.defective, case.implant), paths, strict=True):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    volume.write(part, path)
    return Population(written, skipped)


def _refuse_another_recipe(folder: Path, recipe: dict[str, float]) -> None:
    """Two populations in one folder would be told apart by nobody."""
    if not (folder / RECIPE).exists():
        return
    there = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    if there != recipe:
        raise ValueError(
            f"{folder} holds phantoms of seed {there['seed']} at {there['spacing_mm']} mm, not of "
            f"seed {recipe['seed']} at {recipe['spacing_mm']} mm; choose another folder or the same two"
        )


def _note_recipe(folder: Path, recipe: dict[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{RECIPE}.partial"
    partial.write_text(json.dumps(recipe) + "\n", encoding="utf-8")
    os.replace(partial, folder / RECIPE)
