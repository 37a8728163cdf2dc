"""A generator's recipe is a YAML: which method, how large, on which cases, how long."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ..config import Params
from ..nets.autoencoder import AutoencoderShape
from ..skulls.defects import STYLES

HELD_OUT_SEED = 990_001  # of phantoms that no training draws


class GeneratorRecipe(Params):
    """What a generator is, and what it learns from."""

    method: str
    side: int = Field(ge=8, description="voxels along each edge of a case")
    steps: int = Field(gt=0)
    batch: int = Field(default=4, gt=0)
    seed: int = Field(default=0, ge=0, lt=HELD_OUT_SEED)
    learning_rate: float = Field(default=1e-3, gt=0)
    latent_channels: int = Field(default=8, gt=0)
    widths: tuple[int, ...] = (16, 32, 64, 128)
    blocks: int = Field(default=1, gt=0)
    middle: int = Field(default=1, ge=0)
    patch: int = Field(default=2, gt=0)
    settings: dict[str, Any] = Field(default={}, description="of the method: see its file in cranial/generators")
    autoencoder: Path | None = Field(default=None, description="a file, from the training folder")
    start_from: Path | None = Field(default=None, description="likewise: a VAE whose weights are the first")
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    ema: float = Field(default=0.99, ge=0, lt=1)
    clip_norm: float | None = Field(default=5.0, gt=0)
    cases: Path | None = Field(default=None, description="likewise: a set of cases (a CaseStore) to learn from")
    phantom_cases: int = Field(default=0, ge=0, description="or so many cases of phantoms, drawn once")
    phantoms: int = Field(default=300, gt=0, description="skulls that these are cut from")
    phantom_spacing_mm: float = Field(default=2.0, gt=0, le=8)
    phantom_floor: float = Field(default=0.0, ge=0, lt=1, description="share of the cube's height without bone")
    styles: tuple[str, ...] = STYLES
    mirrored: bool = Field(default=True, description="half of the cases are seen in a mirror")

    @property
    def shape(self) -> AutoencoderShape:
        return AutoencoderShape(2, self.latent_channels, self.widths, self.blocks, self.middle, self.patch)
