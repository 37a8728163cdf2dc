"""Training cases with suggestions: made once, for fits take seconds; kept; then turned and bent a little at every draw.

A skull of the pools is warped and cut as in `cases`; then everything is found as it will be for a patient: mid-plane,
mirrored skull, atlas. No patient's head is in the atlas; so a head that is in it is suggested an atlas without it. Of
few heads with a face none would see an atlas with one then, so some see the whole atlas, bent to be another's. A draw
moves all four occupancies alike, so that what was found stays as good or bad as it was. Elastic bends belong there: at
the making they bend both sides differently, and teach that the other side is worth less than in a real head. Only
bends that both sides have alike (`even`) do not; they make another head, which the atlas fits as badly as any.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..resampling import sample
from ..rng import generator
from ..symmetry import find_midplane
from ..volume import Volume
from .atlas import Atlas, load_atlas
from .cases import EDGE_MM, SkullPool, Strength, draw_case, kept, resampled
from .grid import HeadGrid, lay_grid
from .learner import SUGGESTIONS
from .suggestions import Suggestions, find_suggestions

CHANNELS = 2 + SUGGESTIONS  # defective skull, implant, mirrored skull, atlas
FACIAL = ("bilateral", "frontoorbital")  # styles that take orbits, nose or cheeks
AGAIN = Strength(pitch_deg=4.0, tilt_deg=2.0, shift=0.01, scale=0.03, stretch=0.02, elastic=0.01, elastic_fine=0.002)
ANOTHERS = Strength(0, 0, 0, 0, 0, elastic=0.004, elastic_fine=0.005, thickness=0)  # not turned or moved, but bent
UNSEEN = 0.05  # how often a suggestion is withheld: there may be none, or a bad one
_MAKING, _DRAWING = 1_000_011, 1_000_012  # end the keys: nobody else's numbers


class SuggestedPool:
    """Items 0 ... count - 1, each uint8 occupancy (4, n, n, n), made when first asked for; item k is of (seed, k).

    cache: folder in which items are kept; a cache is of one version of the package. atlas: the one for a skull made
    from the real head of this name, "" for a phantom; None for the shipped one, whatever the head. faces: the real
    heads that have one, None for all; FACIAL defects are cut into no other, for what was never scanned is not missing,
    and a network that sees it beside such defects learns to leave them open; own_face: how many of the cases from these
    are suggested the shipped atlas, bent as ANOTHERS, though they are in it. Raises ValueError if that leaves no style.
    """

    def __init__(
        self,
        skulls: Sequence[SkullPool],
        shares: Sequence[float],
        *,
        count: int,
        side: int,
        seed: int,
        strength: Strength,
        styles: Sequence[str],
        cache: Path,
        atlas: Callable[[str], Atlas] | None = None,
        faces: Sequence[str] | None = None,
        own_face: float = 0.0,
    ) -> None:
        if faces is not None and set(styles) <= set(FACIAL):
            raise ValueError(f"styles are {', '.join(styles)}, and none is for a head without a face; add one")
        self.atlas = atlas or (lambda head: load_atlas())
        self.skulls, self.chances = skulls, np.asarray(shares, float) / np.sum(shares)
        self.count, self.side, self.seed, self.strength, self.styles = count, side, seed, strength, styles
        self.faces, self.own_face = None if faces is None else tuple(faces), own_face
        cases = (side, seed, strength, tuple(styles), self.chances.round(6).tolist(), self.faces, own_face)
        told = repr(cases + (ANOTHERS,) * (own_face > 0)).encode()
        atlases = [self.atlas(head) for head in sorted({head for pool in skulls for head in pool.heads})]
        shown = [occupancy for atlas in atlases for occupancy in (atlas.occupancy, atlas.fitted)]
        for occupancy in [pool.occupancy for pool in skulls] + shown:
            told = zlib.crc32(occupancy.tobytes(), zlib.crc32(told)).to_bytes(4, "big")
        self.folder = Path(cache) / f"suggested-{zlib.crc32(told):08x}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: int) -> np.ndarray:
        if not 0 <= item < self.count:
            raise IndexError(f"item is {item}; the pool has 0 to {self.count - 1}")
        return kept(self.folder / f"{item:05d}.npz", lambda: self._make(item))

    def _make(self, item: int) -> np.ndarray:
        defective, implant, atlas = self.cut(item)
        return with_suggestions(defective, implant, self.side, atlas=atlas)

    def cut(self, item: int) -> tuple[np.ndarray, np.ndarray, Atlas]:
        """Defective skull and implant, occupancies of one cube, and the atlas that is suggested for this head."""
        rng = generator(self.seed, item, _MAKING)
        pool = self.skulls[rng.choice(len(self.skulls), p=self.chances)]
        number = int(rng.integers(len(pool)))
        skull, head = pool.occupancy[number], pool.heads[number]
        own_face = self.own_face and head in (self.faces or ()) and rng.random() < self.own_face
        atlas, styles = anothers(load_atlas(), rng) if own_face else self.atlas(head), self.styles
        if head and self.faces is not None and head not in self.faces:
            styles = [style for style in styles if style not in FACIAL]
        defective, implant = draw_case(skull, rng, side=len(skull), strength=self.strength, styles=styles)
        return defective, implant, atlas


def with_suggestions(
    defective: np.ndarray, implant: np.ndarray, side: int, *, atlas: Atlas | None = None
) -> np.ndarray:
    """A case as a model will see it, uint8 (4, side, side, side); defective, implant: occupancies of one cube.

    atlas: None for the shipped one. What cannot be found (no mid-plane in the little that a scan shows) is empty.
    """
    n = len(defective)
    spacing = EDGE_MM / n
    affine = np.diag([spacing, spacing, spacing, 1.0])
    skull = Volume(defective > 0.5, affine)
    own = HeadGrid(n, affine)
    found = found_in(skull, side, atlas=atlas)
    if found is None:
        grid, suggested = own.at(side), np.zeros((SUGGESTIONS, side, side, side), np.float32)
    else:
        grid, suggested = found[0], found[1].on(found[0])
    seen = [sample(occupancy, affine, (side,) * 3, grid.affine) for occupancy in (defective, implant)]
    return np.rint(255 * np.clip(np.stack([*seen, *suggested]), 0, 1)).astype(np.uint8)


def anothers(atlas: Atlas, rng: np.random.Generator) -> Atlas:
    """The atlas as if it had been made from other heads, like its own and not the same."""
    both = np.rint(255 * np.clip([atlas.occupancy, atlas.fitted], 0, 1)).astype(np.uint8)
    occupancy, scanned = resampled(both, rng, side=len(atlas.occupancy), strength=ANOTHERS)
    return replace(atlas, occupancy=occupancy, scanned=scanned)


def found_in(skull: Volume, side: int, *, atlas: Atlas | None = None) -> tuple[HeadGrid, Suggestions] | None:
    """The cube around a skull and what is suggested for it; None for one of which too little was scanned."""
    try:
        midplane = find_midplane(skull)
        return lay_grid(skull, side, midplane=midplane), find_suggestions(skull, midplane=midplane, atlas=atlas)
    except ValueError:
        return None


def draw_suggested(
    pool: SuggestedPool, *, seed: int, step: int, batch: int, side: int, moved: Strength = AGAIN
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (batch, 3, n, n, n): skull, mirrored, atlas, and targets (batch, 1, n, n, n), float32, of one step.

    moved: how far, all channels alike.
    """
    inputs, targets = [], []
    for index in range(batch):
        rng = generator(seed, step, index, _DRAWING)
        case = pool[int(rng.integers(len(pool)))]
        case = resampled(case, rng, side=side, strength=moved)
        case[2:] *= rng.random((SUGGESTIONS, 1, 1, 1)) >= UNSEEN
        inputs.append(case[[0, *range(2, CHANNELS)]])
        targets.append(case[1:2])
    return np.stack(inputs), np.stack(targets)
