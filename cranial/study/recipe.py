"""What does a study's YAML say? Which cases, which synthetic sets, and which row of which table trains on what."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ..config import ConfigError, Params, load, unknown_key
from ..quality import COPY_DICE
from ..reconstruction.mix import MixRecipe
from ..skulls.defects import STYLES
from ..synthesis.phantom_cases import EDGE_MM

KINDS = ("prepare", "generator", "sample", "register", "reconstruct", "evaluate", "tables")
Geometric = Literal["none", "basic", "heavy", "extreme"]


class CaseSource(Params):
    """Where real cases come from: phantoms drawn by rule, files of complete heads, or datasets on this disk."""

    phantoms: int = Field(default=0, ge=0, description="so many phantom skulls")
    heads: Path | None = Field(default=None, description="or a folder of complete heads, NRRD or NIfTI")
    dataset: tuple[str, ...] = Field(default=(), description="or skullbreak, skullfix, ...: see skulls.datasets")
    part: str = Field(default="train", description="of the datasets' shipped split")
    cases: int | None = Field(default=None, gt=0, description="cut from all skulls; None: one of each style from each")
    seed: int = Field(default=0, ge=0)
    warped: Literal["gently", "strongly"] = Field(default="gently", description="how far from the skulls as drawn")

    @model_validator(mode="after")
    def _one_of_three(self) -> "CaseSource":
        if (self.phantoms > 0) + (self.heads is not None) + bool(self.dataset) != 1:
            raise ValueError("names none or several of phantoms, heads and dataset; name one of them")
        return self


class SetEntry(Params):
    """A synthetic set: by registration (alphas), or by a generator. What decides its items, and nothing else."""

    count: int = Field(gt=0, description="items drawn; those that fail the gates stay empty")
    alphas: tuple[float, ...] = Field(default=(), description="registration: an item draws one")
    iterations: tuple[int, ...] = (50, 50, 50, 50)
    common: bool = Field(default=True, description="registration: nothing pulls where a scan has ended")
    generator: str | None = Field(default=None, description="name of a recipe in the folder `recipes`")
    strategy: str | None = Field(default=None, description="of the generator: sd, ud or uds")
    choices: dict[str, Any] = Field(default={}, description="of the strategy")
    copy_above: float | None = Field(default=COPY_DICE, gt=0, le=1, description="None: no look at training cases")
    seed: int = Field(default=0, ge=0)
    shards: int = Field(default=1, gt=0, description="jobs that it is shared out to, by index")

    @model_validator(mode="after")
    def _one_of_two(self) -> "SetEntry":
        if bool(self.alphas) == (self.generator is not None):
            raise ValueError("names both or neither of alphas and generator; name one of them")
        return self


class RowEntry(Params):
    """A row of the study's tables: the mix that a network trains on."""

    label: str
    tables: tuple[str, ...] = Field(min_length=1, description="2, 3, 4, 5, figure_5")
    geometric: Geometric = "none"
    sets: dict[str, int] = Field(default={}, description="cases of each set, or as many as there are")
    seeds: tuple[int, ...] | None = Field(default=None, description="None: those of the study")


class Resources(Params):
    """What a job asks a cluster for."""

    gpu: int = Field(default=0, ge=0)
    mem_mb: int = Field(default=4000, gt=0)
    runtime: int = Field(default=60, gt=0, description="minutes")
    threads: int = Field(default=1, gt=0)


class Study(Params):
    """Everything that a study is made from."""

    side: int = Field(ge=16, description="voxels along each edge of a case")
    phantom_spacing_mm: float = Field(default=2.0, gt=0, le=8)
    phantom_floor: float = Field(default=0.0, ge=0, lt=1, description="share of the cube's height without bone")
    styles: tuple[str, ...] = STYLES
    train: CaseSource
    tests: dict[str, CaseSource] = Field(min_length=1, description="seen, unseen: what every row is tried on")
    training: MixRecipe = Field(description="the same for every row; its seed and geometric setting are the row's")
    surface_tolerance_mm: float = Field(default=1.0, ge=0)
    recipes: Path = Field(description="folder of the generators' YAMLs")
    effort: float = Field(default=1.0, gt=0, le=1, description="share of the steps that these YAMLs ask for")
    trained: Path | None = Field(default=None, description="folder of generators that are taken if they are the same")
    seeds: tuple[int, ...] = (0,)
    sets: dict[str, SetEntry] = {}
    rows: dict[str, RowEntry] = Field(min_length=1)
    resources: dict[str, Resources] = Field(default={}, description="by kind of job, where the usual are not enough")

    @property
    def edge_mm(self) -> float:
        """Size of the cube that a case lies in: of a dataset in mm, of phantoms and heads as they are normalised."""
        return 256.0 if self.train.dataset else EDGE_MM

    @model_validator(mode="after")
    def _cubes_are_alike_and_skulls_are_not(self) -> "Study":
        odd = [name for name, source in self.tests.items() if bool(source.dataset) != bool(self.train.dataset)]
        if odd:
            raise ValueError(
                f"tests: {', '.join(odd)} and train lie in different cubes: datasets keep their millimetres, phantoms "
                "and heads are brought to one size; name datasets in both or in neither"
            )
        leak = [name for name, source in self.tests.items() if source.phantoms and source.seed == self.train.seed]
        if leak and self.train.phantoms:
            raise ValueError(
                f"tests: {', '.join(leak)} has phantoms of seed {self.train.seed}, as train has: the same skulls; give "
                "another seed"
            )
        return self

    @model_validator(mode="after")
    def _rows_name_sets(self) -> "Study":
        for row, entry in self.rows.items():
            for name, count in entry.sets.items():
                if name not in self.sets:
                    raise ValueError(f"row '{row}' trains on a set that is not there: {unknown_key(name, self.sets)}")
                if count > self.sets[name].count:
                    raise ValueError(
                        f"row '{row}' wants {count} cases of set '{name}', which has {self.sets[name].count} items; "
                        "raise the set's count"
                    )
        for kind in self.resources:
            if kind not in KINDS:
                raise ValueError(f"resources: {unknown_key(kind, KINDS)}")
        return self


def load_study(scale: str | Path) -> tuple[str, Study]:
    """Name and content of a study: of params/study/SCALE.yaml, or of a YAML given by its path.

    Raises ConfigError as `load`, and for a scale without a file, naming those that there are.
    """
    path = Path(scale)
    if path.suffix != ".yaml":
        path = Path("params/study") / f"{scale}.yaml"
        if not path.exists():
            there = sorted(found.stem for found in path.parent.glob("*.yaml"))
            raise ConfigError(
                f"no study is called {str(scale)!r}; "
                + (f"there are {', '.join(there)}, or give a YAML" if there else "run it in a checkout, or give a YAML")
            )
    return path.stem, load(path, Study)
