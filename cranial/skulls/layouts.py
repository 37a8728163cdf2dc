"""Where each public skull dataset keeps its files: the path of a file in, the place it takes out.

Only names are looked at, never a volume. Copies differ in what surrounds the files (train/, training_set/,
trainset2021/, skullbreak_training/nrrd/, ...), so a place is read from the nearest folder that says
something: a role (complete_skull, defective_skull, implant), a style (bilateral, random_1, ...) and an
official part (a folder named like train, or like test or evaluation). Upper and lower case are the same.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

SKULLBREAK_STYLES = ("bilateral", "frontoorbital", "parietotemporal", "random_1", "random_2")
VOLUME_SUFFIXES = (".nrrd", ".seg.nrrd", ".nhdr", ".nii.gz", ".nii")  # in order of preference
MESH_SUFFIXES = (".stl", ".ply", ".obj")
ARCHIVE_SUFFIXES = (".zip", ".7z", ".rar", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, order=True)
class Place:
    """What a file is: a skull of an official part, in a role; style is "" where no folder names one."""

    part: str
    number: int
    role: str
    style: str = ""


@dataclass(frozen=True)
class Part:
    """One official part of a dataset as it was published, which says what a whole copy must contain."""

    name: str
    skulls: int
    ident: str  # the number of a skull as it is written in file names
    numberings: tuple[range, ...]  # the first that contains every number found is the one a copy is held to
    roles: tuple[str, ...]
    style: str  # of every case, unless folders name it (styles)
    styles: tuple[str, ...] = ()
    private: tuple[str, ...] = ()  # ground truth that organisers keep: expected only if some of it is there
    mesh_roles: tuple[str, ...] = ()  # published as meshes
    any_number: bool = False  # the published numbers are not documented, only how many skulls there are
    archives: tuple[range, ...] = ()  # numbers that were published together, if in several archives
    folder: str = ""

    def written(self, number: int) -> str:
        return self.ident.format(number)

    def skull(self, number: int) -> str:
        """The skull within its dataset: train/007, but A0007, which already says its part."""
        return f"{self.name}/{self.written(number)}" if self.ident.startswith("{") else self.written(number)

    def together(self, one: int, other: int) -> bool:
        return all((one in archive) == (other in archive) for archive in self.archives)

    def accepts(self, number: int) -> bool:
        return self.any_number or any(number in numbering for numbering in self.numberings)

    def expected_numbers(self, found: Sequence[int]) -> list[int]:
        for numbering in self.numberings:
            if all(number in numbering for number in found):
                return list(numbering)
        return sorted(set(found))


@dataclass(frozen=True)
class Layout:
    """A dataset as the world knows it: its names, where to get it, its parts and how its paths are read."""

    name: str
    title: str
    folders: tuple[str, ...]  # beginnings of folder names, lower case, letters and digits only
    obtain: str
    shape: str  # the canonical tree, for error messages
    parts: tuple[Part, ...]
    read_place: Callable[["Layout", tuple[str, ...], str], Place | None]

    def part(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)

    def place(self, folders: tuple[str, ...], name: str) -> Place | None:
        """The place of the file `name` in `folders` (outermost first), or None if it has none here."""
        place = self.read_place(self, tuple(plain(folder) for folder in folders), name.lower())
        return place if place and self.part(place.part).accepts(place.number) else None

    def owns_folder(self, name: str) -> bool:
        return plain(name).startswith(self.folders)


@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """Lower case, letters and digits only: SkullBreak, skull_break and Skull-Break are one name."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def suffix_of(name: str, suffixes: Sequence[str]) -> str:
    """The longest of `suffixes` that `name` ends with, whatever its case, or ""."""
    return max((suffix for suffix in suffixes if name.lower().endswith(suffix)), key=len, default="")


_ROLE = re.compile(r"(complete|defect|implant)(?:ive|ed)?(?:skull)?s?")
_OFFICIAL = re.compile(
    r"(?:skullbreak|skullfix|autoimplant|additional|official|task|\d)*"
    r"(train|test|eval)(?:ing|uation)?(?:set|data|cases)?(?:for|give|participants|nrrd|nifti|\d)*"
)
_STYLE = {plain(style): style for style in SKULLBREAK_STYLES}
_ROLE_NAME = {"complete": "complete", "defect": "defective", "implant": "implant"}


def _role(folders: tuple[str, ...]) -> str:
    found = next((match for folder in reversed(folders) if (match := _ROLE.fullmatch(folder))), None)
    return _ROLE_NAME[found[1]] if found else ""


def _challenge_place(layout: Layout, folders: tuple[str, ...], name: str) -> Place | None:
    """SkullBreak, SkullFix: [part/]role[/style]/NNN.nrrd; a test folder without roles holds defective skulls.

    The numbers of the two parts overlap (000 of train and 000 of test are two skulls), so the part is read
    from the folders; where none says, numbers of the training set are taken for it, higher ones for the test.
    """
    stem = name[: len(name) - len(suffix_of(name, VOLUME_SUFFIXES))]
    if stem == name or not re.fullmatch(r"\d{1,3}", stem):
        return None
    number, role = int(stem), _role(folders)
    official = next((match[1] for folder in reversed(folders) if (match := _OFFICIAL.fullmatch(folder))), "")
    part = {"train": "train", "test": "test", "eval": "test"}.get(official)
    if part is None:
        part = "train" if layout.part("train").accepts(number) else "test"
    if not role and not (official and part == "test"):
        return None
    role = role or "defective"
    styles = layout.part(part).styles
    style = next((_STYLE[folder] for folder in reversed(folders) if folder in _STYLE), "") if styles else ""
    if styles and not style and role != "complete":
        return None
    return Place(part, number, role, style)


def _mug500_place(layout: Layout, folders: tuple[str, ...], name: str) -> Place | None:
    """MUG500+: A0001..A0500 in any folder; B0001..B0029 with the scan, its mesh and an expert's implant."""
    match = re.fullmatch(r"([ab])(\d{4})(_clear|_implant)?", name[: len(name) - len(_any_suffix(name))])
    if not match or not _any_suffix(name):
        return None
    if match[1] == "a":
        return None if match[3] == "_implant" else Place("healthy", int(match[2]), "complete")
    return Place("craniotomy", int(match[2]), "implant" if match[3] == "_implant" else "defective")


def _clinical_place(layout: Layout, folders: tuple[str, ...], name: str) -> Place | None:
    """AutoImplant clinical: subNN.nrrd, the defective skull; nobody published what was missing."""
    suffix = suffix_of(name, VOLUME_SUFFIXES)
    match = re.fullmatch(r"sub[-_]?(\d{1,3})", name[: len(name) - len(suffix)]) if suffix else None
    return Place("clinical", int(match[1]), _role(folders) or "defective") if match else None


def _any_suffix(name: str) -> str:
    return suffix_of(name, VOLUME_SUFFIXES + MESH_SUFFIXES)


_ALL_ROLES = ("complete", "defective", "implant")
_KODYM = "Kodym et al. 2021, Data in Brief 35:106902, doi:10.1016/j.dib.2021.106902"

LAYOUTS = (
    Layout(
        "skullbreak", "SkullBreak", ("skullbreak",),
        f"{_KODYM} (its links have moved: autoimplant2021.grand-challenge.org says whom to ask), licence "
        "CC BY-NC-SA 4.0",
        "{train,test}/{complete_skull,defective_skull/STYLE,implant/STYLE}/NNN.nrrd",
        (Part("train", 114, "{:03d}", (range(114),), _ALL_ROLES, "", SKULLBREAK_STYLES, folder="train"),
         Part("test", 20, "{:03d}", (range(20), range(114, 134)), _ALL_ROLES, "", SKULLBREAK_STYLES,
              any_number=True, folder="test")),
        _challenge_place,
    ),
    Layout(
        "skullfix", "SkullFix", ("skullfix", "14161307"),
        f"figshare article 14161307 ({_KODYM}), licence CC BY-NC-SA 4.0",
        "training_set/{complete_skull,defective_skull,implant}/NNN.nrrd, test_set_for_participants/NNN.nrrd",
        (Part("train", 100, "{:03d}", (range(100),), _ALL_ROLES, "skullfix", folder="training_set"),
         Part("test", 110, "{:03d}", (range(110),), ("defective",), "skullfix",
              private=("complete", "implant"), archives=(range(100), range(100, 110)),
              folder="test_set_for_participants")),
        _challenge_place,
    ),
    Layout(
        "mug500", "MUG500+", ("mug500", "9616319"),
        "figshare article 9616319 (Li et al. 2021, Data in Brief 39:107524, doi:10.1016/j.dib.2021.107524), "
        "licence as on its figshare page",
        "A0001/A0001.nrrd to A0500, and craniotomy_skull.zip unpacked: B0001/{B0001.nrrd,B0001_implant.stl}",
        (Part("healthy", 500, "A{:04d}", (range(1, 501),), ("complete",), "intact"),
         Part("craniotomy", 29, "B{:04d}", (range(1, 30),), ("defective", "implant"), "craniotomy",
              mesh_roles=("implant",))),
        _mug500_place,
    ),
    Layout(
        "autoimplant", "AutoImplant clinical", ("autoimplant", "clinical"),
        "AutoImplant 2021 challenge, task 2 (autoimplant2021.grand-challenge.org, on request), "
        "under the terms of the challenge",
        "subNN.nrrd",
        (Part("clinical", 11, "sub{:02d}", (range(1, 12), range(11)), ("defective",), "clinical",
              private=("complete", "implant"), any_number=True),),
        _clinical_place,
    ),
)
