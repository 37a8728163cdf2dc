"""Synthetic defects: what is cut out of a complete skull, in the styles of SkullBreak, SkullFix and the surgeon.

What is drawn here is a `hole.Defect`, a rule in millimetres and not a mask, so that a style and a seed mean the same
hole at every resolution.
"""

from dataclasses import dataclass

import numpy as np

from ..rng import generator
from ..volume import Volume, to_lps
from .hole import Defect, Piece, Vault, inside

STYLES = (
    "bilateral",
    "frontoorbital",
    "parietotemporal",
    "random_1",
    "random_2",  # SkullBreak
    "skullfix",
    "craniotomy",
    "trephination",
)
SKULLBREAK_STYLES = STYLES[:5]
_TRIES = 40
_LATTICE = 16


@dataclass(frozen=True)
class Case:
    """A complete skull cut in two: defective and implant are disjoint and their union is complete."""

    complete: Volume
    defective: Volume
    implant: Volume
    style: str


def cut(skull: Volume, style: str, *, seed: int, item: int = 0) -> Case:
    """Cut one defect of a style into a complete skull; the draw depends on (seed, item, style) alone.

    The implant has at least 0.7 cm3 and the defect never takes more than 45 % of the bone; draws outside are repeated.
    Raises ValueError for an unknown style, and for a skull into which no such defect can be cut (no vault).
    """
    _, implant = draw_fitting(skull, style, seed=seed, item=item)
    return Case(skull, skull.with_mask(skull.mask & ~implant), skull.with_mask(implant), style)


def draw_fitting(skull: Volume, style: str, *, seed: int, item: int = 0) -> tuple[Defect, np.ndarray]:
    """The defect that `cut` cuts, and the bone in it, bool (I, J, K); drawn, and raising, as `cut` says."""
    if style not in STYLES:
        raise ValueError(f"style is {style!r}; choose one of {', '.join(STYLES)}")
    vault = find_vault(skull)
    bone_mm3 = skull.volume_mm3
    for attempt in range(_TRIES):
        rng = generator(seed, item, STYLES.index(style), attempt)
        defect = draw_defect(style, vault, rng, probe=skull)
        implant = skull.mask & inside(defect, skull)
        volume_mm3 = float(np.count_nonzero(implant)) * skull.voxel_mm3
        if 700 < volume_mm3 < 0.45 * bone_mm3:
            return defect, implant
    raise ValueError(
        f"no {style} defect between 0.7 cm3 and 45 % of the bone in {_TRIES} draws; "
        f"the skull has {bone_mm3 / 1000:.1f} cm3 of bone: is it a complete vault in millimetres?"
    )


def find_vault(skull: Volume) -> Vault:
    """Middle of the head and size of the vault, from the upper part of the bone (the face and neck do not count).

    Raises ValueError for an empty mask.
    """
    lps = to_lps(skull)
    spacing = np.asarray(lps.spacing_mm)
    heights = np.flatnonzero(lps.mask.any(axis=(0, 1)))
    if len(heights) == 0:
        raise ValueError("the skull's mask is empty; a defect needs bone to be cut from")
    top = heights[-1]
    # the widest and longest section within 45-85 mm below the vertex
    low = max(heights[0], int(top - round(85 / spacing[2])))
    high = max(low + 1, int(top - round(35 / spacing[2])))
    flat = lps.mask[:, :, low:high].any(axis=2)
    if not flat.any():  # a scrap of bone, not a head: take all of it
        flat = lps.mask.any(axis=2)
    x, y = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    length, breadth = (y[-1] - y[0] + 1) * spacing[1], (x[-1] - x[0] + 1) * spacing[0]
    middle = lps.voxel_to_mm(np.array([[0.5 * (x[0] + x[-1]), 0.5 * (y[0] + y[-1]), top]], float))[0]
    up = lps.affine[:3, 2] / spacing[2]
    return Vault(tuple(float(v) for v in middle - 0.47 * length * up), float(length), float(breadth))


def draw_defect(style: str, vault: Vault, rng: np.random.Generator, *, probe: Volume | None = None) -> Defect:
    """Draw a defect of a style for a vault. probe: the skull itself, to measure how far out its bone lies."""
    u = rng.uniform
    side = rng.choice([-1.0, 1.0])
    scale = vault.length_mm / 180.0
    pieces: list[Piece] = []

    def add(azimuth: float, elevation: float, radius_mm: float, **shape: float) -> None:
        """azimuth: degrees from the front (-y) to the patient's left; elevation: degrees above the horizon."""
        a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
        direction = np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
        pieces.append(_piece(direction, radius_mm * scale, vault, rng, probe, **shape))

    if style == "bilateral":
        azimuth, elevation, radius = u(25, 125), u(15, 50), u(22, 42)
        for s in (side, -side):
            add(s * (azimuth + u(-12, 12)), elevation + u(-8, 8), radius * u(0.75, 1.25))
    elif style == "frontoorbital":
        add(side * u(8, 48), u(-8, 24), u(24, 46))
    elif style == "parietotemporal":
        add(side * u(75, 120), u(5, 42), u(28, 52))
    elif style in ("random_1", "random_2"):
        low, high = (20, 38) if style == "random_1" else (32, 56)
        add(u(-180, 180), np.rad2deg(np.arcsin(u(np.sin(np.deg2rad(0)), 1))), u(low, high))
    elif style == "skullfix":
        add(u(110, 250), u(20, 75), u(30, 48), squareness=u(4, 9), ragged_mm=u(0, 0.6), burrs=4)
    elif style == "craniotomy":
        add(
            side * u(30, 140),
            u(8, 60),
            u(26, 50),
            squareness=u(2.2, 3.5),
            ragged_mm=u(0, 0.8),
            burrs=int(rng.integers(3, 7)),
        )
    elif style == "trephination":
        add(u(-180, 180), u(5, 85), u(9, 18), elongation=1.0, wobble=0.04, ragged_mm=u(0, 0.5))
    else:
        raise ValueError(f"style is {style!r}; choose one of {', '.join(STYLES)}")
    noise = rng.standard_normal((_LATTICE,) * 3).astype(np.float32)
    return Defect(style, vault, tuple(pieces), noise)


def _piece(
    direction: np.ndarray,
    radius_mm: float,
    vault: Vault,
    rng: np.random.Generator,
    probe: Volume | None,
    *,
    squareness: float = 2.0,
    elongation: float | None = None,
    wobble: float | None = None,
    ragged_mm: float | None = None,
    burrs: int = 0,
) -> Piece:
    u = rng.uniform
    turn = np.cross(direction, [0.3, 0.5, 0.81])
    turn /= np.linalg.norm(turn)
    spin = u(0, 2 * np.pi)
    turn = np.cos(spin) * turn + np.sin(spin) * np.cross(direction, turn)
    angle = np.deg2rad(np.arange(360))
    stretch = u(1.0, 1.55) if elongation is None else elongation
    p = squareness  # superellipse: 2 = ellipse, more = square with rounded corners
    outline = radius_mm * (
        np.abs(np.cos(angle) / np.sqrt(stretch)) ** p + np.abs(np.sin(angle) * np.sqrt(stretch)) ** p
    ) ** (-1 / p)
    amount = u(0.05, 0.3) if wobble is None else wobble
    if squareness > 2:
        amount *= 0.3
    for k in range(2, 8):
        outline *= 1 + amount / (k - 0.5) * rng.normal() * np.cos(k * angle + u(0, 2 * np.pi))
    outline = np.clip(outline, 0.35 * radius_mm, 1.9 * radius_mm)
    holes = np.zeros((0, 3))
    if burrs:
        first = np.pi / 4 if squareness > 3.6 else u(0, 2 * np.pi)
        angles = first + np.arange(burrs) * 2 * np.pi / burrs + rng.normal(0, 0.08, burrs)
        where = outline[np.rad2deg(angles).astype(int) % 360]
        holes = np.stack([angles, where, np.full(burrs, u(5.5, 8.0))], axis=1)
    return Piece(
        direction,
        turn,
        reach_mm(direction, vault, probe),
        outline,
        holes,
        float(u(0.3, 2.8) if ragged_mm is None else ragged_mm),
        float(u(4, 12)),
    )


def reach_mm(direction: np.ndarray, vault: Vault, probe: Volume | None) -> float:
    """Distance from the middle of the head to the outermost bone in a direction, mm."""
    typical = 0.5 * np.sqrt(
        (direction[0] * vault.breadth_mm) ** 2
        + (direction[1] * vault.length_mm) ** 2
        + (direction[2] * 0.94 * vault.length_mm) ** 2
    )
    if probe is None:
        return float(typical)
    steps = np.arange(0.55, 1.35, 0.005) * typical
    index = np.rint(probe.mm_to_voxel(np.asarray(vault.centre_mm) + steps[:, None] * direction)).astype(int)
    ok = np.all((index >= 0) & (index < probe.mask.shape), axis=1)
    bone = steps[ok][probe.mask[tuple(index[ok].T)]]
    return float(bone[-1]) if len(bone) else float(typical)
