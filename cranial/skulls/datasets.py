"""The public skull datasets on this disk: which cases are there, what is missing, and a case as volumes.

    dataset = open_dataset("skullbreak")            # looks in the folder that CRANIAL_DATA names
    print(dataset.report)                           # what is missing, there twice, empty or still zipped
    volumes = dataset.load(dataset.cases[0])        # only now is a volume read

Opening lists names and looks at the first bytes of each file; it never reads a volume. SkullBreak, SkullFix,
MUG500+ and the AutoImplant clinical cases are known, in every folder layout seen in the wild (layouts.py).
"""

import difflib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cranial.skulls.completeness import CompletenessReport, check
from cranial.skulls.layouts import LAYOUTS, MESH_SUFFIXES, Layout, Part, Place, plain, suffix_of
from cranial.skulls.listing import ENVIRONMENT, DatasetError, Listing, find_and_list

if TYPE_CHECKING:
    from cranial.volume import Volume

__all__ = ["DATASETS", "ENVIRONMENT", "CasePaths", "CaseVolumes", "Dataset", "DatasetError", "open_dataset"]
DATASETS: dict[str, Layout] = {layout.name: layout for layout in LAYOUTS}
_MESH_INSIDE = 0.9  # share of a mesh that must lie inside the scan, or its frame is not the scan's


@dataclass(frozen=True)
class CasePaths:
    """One defect in one skull, as files. Cases that share `skull_id` share a head and belong together."""

    case_id: str  # "skullbreak/train/007/random_1"; unique over all datasets
    skull_id: str  # "skullbreak/train/007"
    part: str  # the official part: train, test, healthy, craniotomy or clinical
    style: str
    complete: Path | None
    defective: Path | None
    implant: Path | None


@dataclass(frozen=True, eq=False)
class CaseVolumes:
    """The volumes of a case, all on the grid of the defective skull (of the complete one if that is all)."""

    paths: CasePaths
    complete: "Volume | None"
    defective: "Volume | None"
    implant: "Volume | None"

    @property
    def style(self) -> str:
        return self.paths.style


@dataclass(frozen=True, eq=False)
class Dataset:
    """One copy of a dataset: its cases in order of part, skull and style, and how complete it is."""

    name: str
    root: Path
    cases: tuple[CasePaths, ...]
    report: CompletenessReport

    def case(self, case_id: str) -> CasePaths:
        """The case with this id; the name of the dataset in front may be left out."""
        known = {case.case_id: case for case in self.cases}
        wanted = case_id if case_id in known else f"{self.name}/{case_id}"
        if wanted not in known:
            near = "".join(difflib.get_close_matches(wanted, known, n=1, cutoff=0))
            raise DatasetError(
                f"{self.name} in {self.root} has no case {case_id!r} among its {len(known)}; "
                f"the nearest is {near!r}"
            )
        return known[wanted]

    def load(self, case: CasePaths, *, threshold_hu: float | None = None) -> CaseVolumes:
        """Read the files of `case`; a mesh (MUG500+ implants) is put on the grid of the skull.

        threshold_hu is for copies that hold grey CT values instead of masks. Raises DatasetError where the
        files of the case do not lie on one grid, VolumeError where one cannot be read.
        """
        from cranial import volume

        volumes: dict[str, Volume | None] = {}
        like = None
        for role in ("defective", "complete", "implant"):
            path = getattr(case, role)
            found = None if path is None else volume.read(path, threshold_hu=threshold_hu)
            if found is not None and like is not None:
                found = _on_grid(found, like, case)
            volumes[role] = found
            like = like or found
        return CaseVolumes(case, **volumes)

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[CasePaths]:
        return iter(self.cases)


def open_dataset(name: str, root: Path | str | None = None) -> Dataset:
    """List the copy of dataset `name` (see DATASETS) under `root`, or under the folder CRANIAL_DATA names.

    `root` may be the folder of the dataset or one that contains it. Raises DatasetError, saying how to set
    the folder and where the data are to be had, where nothing of the dataset is found.
    """
    layout = _layout(name)
    listing = find_and_list(layout, root)
    return Dataset(layout.name, listing.base, tuple(_cases(layout, listing)), check(layout, listing))


def _layout(name: str) -> Layout:
    for layout in LAYOUTS:
        if plain(name) in (layout.name, plain(layout.title)):
            return layout
    near = difflib.get_close_matches(plain(name), DATASETS, n=1, cutoff=0)
    raise DatasetError(f"no dataset is called {name!r}; the nearest of {', '.join(DATASETS)} is {near[0]!r}")


def _cases(layout: Layout, listing: Listing) -> Iterator[CasePaths]:
    for part in layout.parts:
        main = "defective" if "defective" in part.roles else "complete"
        numbers = sorted({place.number for place in listing.files if place.part == part.name})
        for number in numbers:
            for style in part.styles or ("",):
                if Place(part.name, number, main, style) in listing.files:
                    yield _case(layout, part, number, style, listing)


def _case(layout: Layout, part: Part, number: int, style: str, listing: Listing) -> CasePaths:
    def path(role: str, *styles: str) -> Path | None:
        places = (Place(part.name, number, role, each) for each in styles)
        return next((listing.base / listing.files[place] for place in places if place in listing.files), None)

    skull_id = f"{layout.name}/{part.skull(number)}"
    return CasePaths(
        case_id=f"{skull_id}/{style}" if style else skull_id,
        skull_id=skull_id,
        part=part.name,
        style=style or part.style,
        complete=path("complete", "", style, *part.styles),  # one skull, so any copy of it will do
        defective=path("defective", style),
        implant=path("implant", style),
    )


def _on_grid(found: "Volume", like: "Volume", case: CasePaths) -> "Volume":
    """`found` on the grid of `like`: a mesh is voxelised again, on it; a volume has to lie on it already."""
    from cranial import volume

    path = found.source
    if suffix_of(path.name, MESH_SUFFIXES):
        place_vox = like.mm_to_voxel(found.voxel_to_mm(np.argwhere(found.mask)))
        inside = float(((place_vox > -0.5) & (place_vox < np.array(like.shape) - 0.5)).all(axis=1).mean())
        if inside < _MESH_INSIDE:
            raise DatasetError(
                f"{case.case_id}: only {inside:.0%} of the mesh {path} lies inside the scan {like.source}; "
                "its points are not in the patient LPS mm of the scan, transform the mesh to them"
            )
        return volume.read(path, like=like)
    if found.shape != like.shape:
        raise DatasetError(
            f"{case.case_id}: {path} has {found.shape} voxels, {like.source} has {like.shape}; they are not "
            "of one case, copy both again from one archive"
        )
    if not np.allclose(found.affine[:3, :3], like.affine[:3, :3], atol=1e-3):
        raise DatasetError(
            f"{case.case_id}: the axes of {path} are not those of {like.source} (spacing or direction "
            "differ); resample one with volume.resample(moving, like=fixed)"
        )
    shift_mm = float(np.linalg.norm(found.affine[:3, 3] - like.affine[:3, 3]))
    if shift_mm > 1e-2:
        warnings.warn(
            f"{case.case_id}: the origin of {path} is {shift_mm:.2f} mm from that of {like.source}; the two "
            "are taken voxel for voxel, as both challenges do",
            stacklevel=3,
        )
    return like.with_mask(found.mask)
