"""How is the atlas made? Skulls bent onto their mean, averaged, and the mean bent back by the mean of the bends.

The first mean is the first skull. Each mean is made symmetric, so that no side of any skull is in it as it was. A skull
without bone nearby counts for nothing in a place: thin bone is what thick slices and averages lose, and its absence
from them would take the face out of the mean.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from scipy import ndimage
from tqdm.auto import tqdm

from .. import volume
from ..checkpoint import save_weights
from ..config import Params
from ..kernels.warp import warp
from ..registration.fields import invert
from ..registration.view import known
from ..rng import generator
from ..skulls.phantom import phantom
from ..volume import Volume
from .atlas import Atlas, fit_atlas, load_atlas
from .grid import lay_grid
from .thin_walls import with_thin_walls

_FIELD_SIDE = 64
_NEAR_MM = 5.0
_DRAWS = 16  # of walls, whose mean a head gets
_SHOWN_BY = 0.3  # least share of the skulls, by weight, whose scans must reach a place


class AtlasRecipe(Params):
    """Which skulls an atlas is the mean of."""

    heads: tuple[Path, ...] = Field(default=(), description="files of complete real skulls")
    phantoms: int = Field(default=0, ge=0)
    phantom_seed: int = Field(default=0, ge=0)
    phantom_spacing_mm: float = Field(default=1.5, gt=0, le=8)
    head_weight: float = Field(default=1.0, gt=0, description="of a real skull; a phantom's is 1")
    thin_walls: tuple[str, ...] = Field(default=(), description="heads, by name, in whose faces such walls are drawn")
    side: int = Field(default=128, ge=32, multiple_of=2, description="voxels along each edge of the atlas")
    rounds: int = Field(default=2, gt=0, description="means; each is what the next skulls are bent onto")


def make_atlas(recipe: AtlasRecipe, *, progress: bool = True) -> Atlas:
    """The mean skull of a recipe.

    Raises ValueError for a recipe without skulls or with walls in a head that it does not name, VolumeError for an
    unreadable head.
    """
    skulls = [volume.read(path) for path in recipe.heads]
    skulls += [phantom(item, seed=recipe.phantom_seed, spacing_mm=recipe.phantom_spacing_mm, mandible=False)
               for item in range(recipe.phantoms)]
    if not skulls:
        raise ValueError("the recipe names no skulls: set phantoms above 0 or list files of complete skulls in heads")
    unknown = set(recipe.thin_walls) - {path.stem for path in recipe.heads}
    if unknown:
        raise ValueError(f"thin_walls names {', '.join(sorted(unknown))}; name heads of the recipe by their file stems")
    weights = [recipe.head_weight] * len(recipe.heads) + [1.0] * recipe.phantoms
    standing = [_standing(skull, recipe.side) for skull in tqdm(skulls, desc="upright", disable=not progress)]
    edge_mm = recipe.side * float(np.mean([head.affine[0, 0] for head in standing]))
    affine = np.diag([*[edge_mm / recipe.side] * 3, 1.0])
    affine[:3, 3] = -0.5 * edge_mm * (1 - 1 / recipe.side)
    for number, path in enumerate(recipe.heads):
        if path.stem in recipe.thin_walls:
            standing[number] = _walled(standing[number])
    names = [path.stem for path in recipe.heads] + [f"{recipe.phantoms} phantoms"] * (recipe.phantoms > 0)
    metadata = {"made_from": names, "recipe": recipe.model_dump(mode="json", exclude={"heads"})}
    first = standing[0]
    mean = Atlas(_symmetric(first.occupancy), affine, metadata, _symmetric(first.fitted))
    for number in range(recipe.rounds):
        pairs = zip(standing, weights, strict=True)
        bar = tqdm(pairs, total=len(standing), desc=f"mean {number + 1}", unit="skull", disable=not progress)
        occupancy, scanned = map(_symmetric, _means(mean, bar))
        mean = Atlas(occupancy, affine, metadata, scanned)
    return mean if recipe.thin_walls else replace(mean, scanned=None)


def without_each(recipe: AtlasRecipe) -> Callable[[str], Atlas]:
    """Name of a head -> the atlas of the recipe's other skulls, made when first asked for.

    A name that is not in the recipe gets the shipped atlas. For training cases: see `suggested`.
    """

    @cache
    def without(head: str) -> Atlas:
        others = tuple(path for path in recipe.heads if path.stem != head)
        if len(others) == len(recipe.heads):
            return load_atlas()
        walls = tuple(name for name in recipe.thin_walls if name != head)
        return make_atlas(recipe.model_copy(update={"heads": others, "thin_walls": walls}), progress=False)

    return without


def save_atlas(atlas: Atlas, path: Path | str) -> Path:
    """Its left half as bytes, with what it is made from; `load_atlas` reads it."""
    holder = torch.nn.Module()
    for name, occupancy in {"left_half": atlas.occupancy, "left_half_scanned": atlas.scanned}.items():
        if occupancy is not None:
            half = np.rint(255 * occupancy[len(occupancy) // 2 :]).astype(np.uint8)
            holder.register_buffer(name, torch.from_numpy(half))
    described = atlas.metadata | {"architecture": "atlas", "affine": atlas.affine.tolist()}
    return save_weights(path, holder, described, storage="float32")


def _standing(skull: Volume, side: int) -> Atlas:
    """A skull in its upright cube, about the origin."""
    grid = lay_grid(skull, side)
    affine = np.diag([*[grid.spacing_mm] * 3, 1.0])
    affine[:3, 3] = -0.5 * (side - 1) * grid.spacing_mm
    return Atlas(grid.occupancy(skull), affine, {})


def _walled(head: Atlas) -> Atlas:
    """With the walls that its scan has lost, where they are most often: the mean of many draws."""
    occupancy = np.rint(255 * np.clip(head.occupancy, 0, 1)).astype(np.uint8)
    drawn = [with_thin_walls(occupancy, generator(0, item)) for item in range(_DRAWS)]
    return replace(head, occupancy=(np.mean(drawn, axis=0) / 255).astype(np.float32), scanned=head.occupancy)


def _means(mean: Atlas, skulls: Iterable[tuple[Atlas, float]]) -> np.ndarray:
    """Weighted means, in the mean of their shapes, of the skulls whose scans show the place and have bone near it.

    (2, I, J, K): of all that the skulls have, and of what was scanned."""
    side = len(mean.occupancy)
    cube = mean.affine.copy()
    cube[:3, :3] *= side / _FIELD_SIDE
    cube[:3, 3] += 0.5 * (cube[0, 0] - mean.affine[0, 0])
    voxels = np.stack(np.indices((side,) * 3), axis=-1).reshape(-1, 3)
    points = voxels @ mean.affine[:3, :3].T + mean.affine[:3, 3]
    total, count = np.zeros((2, 2, side, side, side), np.float32)
    shown = np.zeros((side,) * 3, np.float32)
    bends, weights = np.zeros((3, *[_FIELD_SIDE] * 3), np.float32), 0.0
    for skull, weight in skulls:
        fit = fit_atlas(skull, mean.skull, cube, side=_FIELD_SIDE, rounds=1)
        place = (fit.map_points(points) - skull.affine[:3, 3]) / skull.affine[0, 0]
        seen = known(skull.skull, fit.affine @ np.linalg.inv(cube) @ mean.affine, side)
        for number, occupancy in enumerate((skull.occupancy, skull.fitted)):
            moved = _at(occupancy, place).reshape(seen.shape)
            near = seen & (ndimage.distance_transform_edt(moved < 0.5, mean.affine[0, 0]) <= _NEAR_MM)
            total[number] += weight * near * moved
            count[number] += weight * near
        shown += weight * seen
        bends += weight * fit.field
        weights += weight
    average = np.where(shown > _SHOWN_BY * weights, total / np.maximum(count, 1e-6), 0)
    back = torch.nn.functional.interpolate(torch.from_numpy(invert(bends / weights))[None], size=(side,) * 3,
                                           mode="trilinear", align_corners=False)[0] * (side / _FIELD_SIDE)
    return warp(torch.from_numpy(average.astype(np.float32)), back).numpy()


def _at(occupancy: np.ndarray, place: np.ndarray) -> np.ndarray:
    return ndimage.map_coordinates(occupancy, place.T, order=1)


def _symmetric(occupancy: np.ndarray) -> np.ndarray:
    return 0.5 * (occupancy + occupancy[::-1])
