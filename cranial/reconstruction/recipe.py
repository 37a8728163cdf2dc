"""A recipe is a YAML: everything that decides what a reconstruction network becomes, and the skulls that it names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from ..config import Params
from ..nets.residual_unet import ResidualUNetShape
from ..rng import generator
from ..skulls.defects import STYLES
from .bent import bend
from .cases import SkullPool, Strength
from .dry import as_dry_skull
from .learner import SUGGESTIONS
from .suggested import AGAIN
from .thin_walls import with_thin_walls


class Recipe(Params):
    """What a reconstruction network is trained on, how long, and how large it is."""

    side: int = Field(ge=16, description="voxels along each edge of the cube")
    steps: int = Field(gt=0)
    batch: int = Field(default=2, gt=0)
    seed: int = Field(default=0, ge=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    cross_entropy: float = Field(default=0.5, ge=0)
    ema: float = Field(default=0.998, ge=0, lt=1)
    widths: tuple[int, ...] = (24, 64, 128, 192)
    blocks: int = Field(default=1, gt=0)
    patch: int = Field(default=2, gt=0)
    wide_groups: bool = Field(default=False, description="norms in groups of 16 channels: quicker on a CPU")
    project: bool = Field(default=False, description="the first shortcut is a convolution, whatever its width")
    symmetry: bool = True
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    phantoms: int = Field(default=100, ge=0)
    phantom_seed: int = Field(default=0, ge=0)
    phantom_spacing_mm: float = Field(default=1.2, gt=0, le=8, description="voxels the phantoms are made with")
    heads: tuple[Path, ...] = Field(default=(), description="files of complete real skulls")
    head_share: float = Field(default=0.5, ge=0, le=1, description="share of the cases cut from real skulls")
    bent: int = Field(default=0, ge=0, description="heads bent onto the phantoms and onto each other")
    bent_share: float = Field(default=0.8, ge=0, le=1, description="share of the cases from real skulls that are bent")
    dry: tuple[str, ...] = Field(default=(), description="heads, by name, shown as dry skulls too: no jaw, no neck")
    dry_share: float = Field(default=0.25, ge=0, le=1, description="share of the cases from real skulls that are dry")
    thin_walls: int = Field(
        default=0, ge=0, description="times that each dry head is there, with other thin walls in its face; 0: as it is"
    )
    pool_side: int = Field(default=128, ge=16)
    suggested: int = Field(default=0, ge=0, description="cases with suggestions, made once; 0: none, and none shown")
    atlas: Path | None = Field(default=None, description="recipe of the atlas, for one without each head that is in it")
    faces: tuple[str, ...] | None = Field(
        default=None, description="heads with a face, by name: only these and phantoms get facial defects; None: all"
    )
    own_face: float = Field(
        default=0, ge=0, le=1, description="of the cases from heads in faces, how many see the shipped atlas, bent"
    )
    boxed: bool = Field(default=False, description="of each cube only the box around its bone; needs suggestions")
    strength: Strength = Strength()
    moved: Strength = Field(default=AGAIN, description="how far a case with suggestions is moved at each draw")
    styles: tuple[str, ...] = STYLES
    start_from: Path | None = Field(default=None, description="weights of an earlier recipe")
    closer_to: Path | None = Field(
        default=None, description="weights of a network, at whose answers this one looks closer: see closer"
    )

    @model_validator(mode="after")
    def _box_knows_the_vertex(self) -> "Recipe":
        if self.boxed and not self.suggested:
            raise ValueError("boxed is true, but suggested is 0; without an atlas a box would cut off a missing vertex")
        return self

    @model_validator(mode="after")
    def _own_face_is_of_named_heads(self) -> "Recipe":
        if self.own_face and not self.faces:
            raise ValueError(f"own_face is {self.own_face}, but faces names no head; name those that have a face")
        return self

    @model_validator(mode="after")
    def _closer_look_is_at_a_box(self) -> "Recipe":
        if self.closer_to and (self.symmetry or self.boxed or not self.suggested):
            raise ValueError(
                f"closer_to is {self.closer_to}, with symmetry {self.symmetry}, boxed {self.boxed} and suggested "
                f"{self.suggested}; a closer look needs suggestions and no mirror image: set suggested above 0, "
                "symmetry and boxed to false"
            )
        return self

    @property
    def shape(self) -> ResidualUNetShape:
        channels = 1 + self.symmetry + SUGGESTIONS * (self.suggested > 0) + (self.closer_to is not None)
        return ResidualUNetShape(
            channels, 1, self.widths, self.blocks, self.patch, self.wide_groups, self.project
        )


def pools(recipe: Recipe, *, cache: Path | None = None) -> tuple[list[SkullPool], list[float]]:
    """The skulls a recipe trains on, and how often each pool is drawn from.

    Raises ValueError when the recipe names neither phantoms nor heads, bends heads and names none, or dries one or says
    that one has a face that is not among its heads; VolumeError for a head that can't be read.
    """
    from .. import volume

    if not recipe.phantoms and not recipe.heads:
        raise ValueError("the recipe names no skulls: set phantoms above 0 or list files of complete skulls in heads")
    if recipe.bent and not recipe.heads:
        raise ValueError(f"bent is {recipe.bent}, but heads is empty; list files of complete skulls to be bent")
    for key, named in (("dry", recipe.dry), ("faces", recipe.faces or ())):
        unknown = set(named) - {path.stem for path in recipe.heads}
        if unknown:
            raise ValueError(f"{key} names {', '.join(sorted(unknown))}; name heads of the recipe by their file stems")
    found, shares = [], []
    if recipe.phantoms:
        found.append(phantom_pool(recipe, recipe.phantoms, recipe.phantom_seed, cache))
        shares.append(1 - recipe.head_share if recipe.heads else 1.0)
    if recipe.heads:
        all_real = recipe.head_share if recipe.phantoms else 1.0
        real = all_real * (1 - recipe.dry_share) if recipe.dry else all_real
        names = [path.stem for path in recipe.heads]
        found.append(SkullPool.of([volume.read(path) for path in recipe.heads], recipe.pool_side, heads=names))
        heads = found[-1].occupancy
        shares.append(real * (1 - recipe.bent_share) if recipe.bent else real)
    if recipe.bent:
        onto = np.concatenate([pool.occupancy for pool in found])
        bent = bend(heads, onto, recipe.bent, seed=recipe.phantom_seed, cache=cache)
        found.append(SkullPool(bent, [names[item % len(names)] for item in range(recipe.bent)]))
        shares.append(real * recipe.bent_share)
    if recipe.dry:
        found.append(_dry_pool(recipe, {name: heads[names.index(name)] for name in recipe.dry}))
        shares.append(all_real - real)
    return found, shares


def _dry_pool(recipe: Recipe, heads: Mapping[str, np.ndarray]) -> SkullPool:
    dry = {name: as_dry_skull(head) for name, head in heads.items()}
    if not recipe.thin_walls:
        return SkullPool(np.stack(list(dry.values())), tuple(dry))
    drawn = [(name, item) for name in dry for item in range(recipe.thin_walls)]
    walled = [with_thin_walls(dry[name], generator(recipe.seed, item)) for name, item in drawn]
    return SkullPool(np.stack(walled), [name for name, _ in drawn])


def phantom_pool(recipe: Recipe, count: int, seed: int, cache: Path | None) -> SkullPool:
    """Phantoms 0 ... count - 1 of a seed, in the cube and from the voxels that a recipe names."""
    return SkullPool.of_phantoms(
        count, seed=seed, side=recipe.pool_side, spacing_mm=recipe.phantom_spacing_mm, cache=cache
    )
