"""A procedural population of skulls: no patient's data in it, any number of them, each drawn from (seed, item).

A skull is a rule that says of any point in space whether bone is there (`bone.is_bone`), made of the vault (a
superellipsoid with a thickness map), the stepped base with foramen magnum and petrous bones, orbits, nose, maxilla
with sinuses, zygomatic arches, and where the scan reached them mandible and spine. It is not an atlas: it has what a
reconstruction network has to know of skulls (closed, thin at the temple, nearly symmetric, cut anywhere below).
"""

import numpy as np

from ..resampling import bounding_box
from ..rng import generator
from ..volume import Volume
from .anatomy import draw_anatomy
from .bone import fill

_LATTICE = 24  # random numbers along each axis of the periodic noise fields


def phantom(
    item: int,
    *,
    seed: int = 0,
    spacing_mm: float | tuple[float, float, float] = 1.0,
    mandible: bool | None = None,
    cut: bool = True,
    margin_mm: float = 4.0,
) -> Volume:
    """One complete skull as a Volume with LPS axes, cropped to the bone plus a margin.

    Args: item, seed: which skull; the same pair is the same skull at every spacing. spacing_mm: voxel edges, one for
    all or one per axis. mandible: force it in or out; None draws it. cut: let the scan end at a random level.
    Raises ValueError for a spacing that is not positive or coarser than 8 mm (no bone would be left).
    """
    spacing = np.broadcast_to(np.asarray(spacing_mm, float), (3,)).copy()
    if not (np.all(np.isfinite(spacing)) and np.all(spacing > 0) and np.all(spacing <= 8)):
        raise ValueError(f"spacing_mm is {spacing_mm}; give one or three lengths above 0 and at most 8 mm")
    rng = generator(seed, item)
    anatomy = draw_anatomy(rng, mandible=mandible, cut=cut)
    noise = _noise_fields(rng)
    waves = rng.normal(0, 1, (3, 4, 5))  # smooth deformation: 4 waves, each with direction, phase and push
    strength_mm = rng.uniform(0.3, 1.6)
    reach = np.array([anatomy.half_breadth + 22, anatomy.half_length + 30, anatomy.top + 14])
    lower = np.array([-reach[0], -reach[1], max(anatomy.cut_z - 30, -150)])
    shape = np.ceil((reach - lower) / spacing).astype(int)
    mask = fill(tuple(int(n) for n in shape), lower, spacing, anatomy, noise, waves, strength_mm)
    mask = _without_dust(mask)
    box = bounding_box(mask)
    lows = np.array([b.start for b in box])
    padding = np.ceil(margin_mm / spacing).astype(int)
    mask = np.pad(mask[box], [(p, p) for p in padding])
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = lower + (lows - padding) * spacing
    return Volume(mask=mask, affine=affine)


def _noise_fields(rng: np.random.Generator) -> np.ndarray:
    """Four periodic lattices of standard normal numbers: thickness, diploe, roughness, holes."""
    return rng.standard_normal((4, _LATTICE, _LATTICE, _LATTICE)).astype(np.float32)


def _without_dust(mask: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    # mandible and vertebrae are bones of their own: a CT shows them too
    return (sizes > 0.01 * sizes.max())[labels]

