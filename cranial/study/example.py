"""What does a study look like that takes a minute? Phantoms in coarse cubes, five rows, small networks, real trainings.

It is run with the parts that the whole study is made of, and leaves what that leaves. What it finds is about phantoms
of a few voxels and networks that have hardly begun to learn: it shows how to read the tables, and nothing else.
"""

from pathlib import Path

from pydantic import Field
from tqdm.auto import tqdm

from ..config import Params
from ..reconstruction.mix import MixRecipe
from ..synthesis.phantom_cases import EDGE_MM
from ..synthesis.registered import RegisteredSet, make_registered_set
from .cases import RealSet, make_real_set
from .experiment import Mix, facts_of, score_row, train_row, trained_network, write_metrics
from .kept import keep_cases
from .recipe import CaseSource
from .scores import Scores, metrics_files, read_scores

SCALE = "example"


class Example(Params):
    """How large it is."""

    side: int = Field(default=24, ge=16)
    phantoms: int = Field(default=6, ge=2, description="skulls to train on")
    unseen_phantoms: int = Field(default=8, gt=0, description="skulls to try on; below 8 no difference can be proven")
    spacing_mm: float = Field(default=4.0, gt=0, le=8)
    styles: tuple[str, ...] = ("parietotemporal", "bilateral", "craniotomy")
    registered: int = Field(default=32, gt=1, description="synthetic cases drawn; some fail the gates")
    steps: int = Field(default=120, gt=0)
    batch: int = Field(default=2, gt=0)
    widths: tuple[int, ...] = (8, 16, 32)
    seeds: tuple[int, ...] = Field(default=(0, 1), min_length=1)


def scores_or_example(
    folder: Path | str, example_folder: Path | str, recipe: Example, *, progress: bool = True
) -> Scores:
    """The scores of the study in `folder`; if none of its runs is finished, of an example made in example_folder.

    Raises ScoresError as `read_scores`.
    """
    if metrics_files(folder):
        return read_scores(folder)
    return read_scores(make_example(recipe, example_folder, progress=progress))


def make_example(recipe: Example, folder: Path | str, *, progress: bool = True) -> Path:
    """Train and score the rows that are not there yet; returns the folder of their metrics.json files."""
    folder = Path(folder)
    cache, rows = folder / "cache", folder / "rows"
    sources = {
        "train": CaseSource(phantoms=recipe.phantoms, seed=0),
        "seen": CaseSource(phantoms=recipe.unseen_phantoms, seed=1),
        "unseen": CaseSource(phantoms=recipe.unseen_phantoms, seed=1, warped="strongly"),
    }
    for name, source in sources.items():
        cases = RealSet(source=source, side=recipe.side, phantom_spacing_mm=recipe.spacing_mm, styles=recipe.styles)
        make_real_set(cases, folder / name, cache=cache, progress=False)  # seconds
    bent = RegisteredSet(
        count=recipe.registered, side=recipe.side, edge_mm=EDGE_MM, cases=folder / "train", iterations=(20, 20)
    )
    make_registered_set(bent, folder / "registered", progress=progress)
    tests = {name: folder / name for name in ("seen", "unseen")}
    todo = [(row, seed) for seed in recipe.seeds for row in _ROWS]
    for row, seed in tqdm(todo, desc="rows", unit="training", disable=not progress):
        label, tables, geometric, share = _ROWS[row]
        place = rows / row / f"seed_{seed}"
        if (place / "metrics.json").exists():
            continue
        training = MixRecipe(
            steps=recipe.steps, batch=recipe.batch, seed=seed, geometric=geometric, learning_rate=3e-3,
            widths=recipe.widths, patch=1, precision="32-true", ema=0.9,
        )  # fmt: skip
        sets = {"registered": folder / "registered"} if share else {}
        counts = {name: max(1, round(share * recipe.registered)) for name in sets}
        mix = Mix(training=training, real=folder / "train", sets=sets, counts=counts)
        train_row(mix, place / "training", accelerator="cpu", progress=False)
        scored = score_row(trained_network(training, place / "training"), tests, progress=False)
        facts = {"row": row, "label": label, "tables": tables, "scale": SCALE, **facts_of(mix, place / "training")}
        keep_cases(place, scored)
        write_metrics(place / "metrics.json", facts, scored)
    return rows


_ROWS = {  # row -> label, tables, geometric setting, share of the registered cases
    "no_aug": ("No Aug", ["2", "3", "5"], "none", 0.0),
    "geo": ("Geo", ["2", "5"], "basic", 0.0),
    "ir_few": ("IR, few", ["figure_5"], "none", 0.25),
    "ir": ("IR", ["3", "5", "figure_5"], "none", 1.0),
    "geo_ir": ("Geo + IR", ["5"], "basic", 1.0),
}
