"""What a copy of a dataset has and what it lacks, file by file, in words a person can act on."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cranial.skulls.layouts import Layout, Part, Place
from cranial.skulls.listing import Listing

SHOWN = 10  # lines of each list in the printed report; the fields hold everything
_ROLE_FOLDER = {"complete": "complete_skull", "defective": "defective_skull", "implant": "implant"}


@dataclass(frozen=True)
class PartCount:
    """Skulls and files of one official part: as published, and found."""

    name: str
    skulls_expected: int
    skulls_found: int
    files_expected: int
    files_found: int

    @property
    def absent(self) -> bool:
        return self.skulls_found == 0


@dataclass(frozen=True)
class CompletenessReport:
    """The state of one copy. Paths are relative to `root`, with forward slashes; print it to read it."""

    title: str
    root: Path
    parts: tuple[PartCount, ...]
    missing: tuple[str, ...]  # files of the parts that are there; an absent part is not listed file by file
    gaps: tuple[str, ...]  # skulls of which nothing is there
    duplicates: tuple[tuple[str, str], ...]  # (kept, left aside): the same volume twice
    unreadable: tuple[tuple[str, str], ...]  # (path, why); missing too, unless a readable double is there
    unexpected: tuple[str, ...]  # volumes that have no place in this dataset
    packed: tuple[str, ...]  # archives that nobody unpacked
    notes: tuple[str, ...]

    @property
    def absent(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts if part.absent)

    @property
    def complete(self) -> bool:
        """Every published skull and file is there; doubles and strangers do not make a copy incomplete."""
        return not self.missing and all(part.skulls_found >= part.skulls_expected for part in self.parts)

    def __str__(self) -> str:
        lines = [f"{self.title} in {self.root}: {'complete' if self.complete else 'incomplete'}"]
        for part in self.parts:
            skulls = f"{part.skulls_found} of {part.skulls_expected} skulls"
            files = f"{part.files_found} of {part.files_expected} files"
            lines.append(f"  {part.name}: {'absent, ' if part.absent else ''}{skulls}, {files}")
        if self.gaps:
            lines.append(f"  skulls of which nothing is there: {', '.join(runs(self.gaps))}")
        lines += _section("missing", self.missing)
        lines += _section("unreadable", (f"{path}: {why}" for path, why in self.unreadable))
        lines += _section("there twice", (f"{aside} (used: {kept})" for kept, aside in self.duplicates))
        lines += _section("unexpected", self.unexpected)
        lines += _section("still packed, to be unpacked here", self.packed)
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def _section(name: str, entries: Iterable[str]) -> list[str]:
    entries = list(entries)
    if not entries:
        return []
    rest = [f"    ... and {len(entries) - SHOWN} more"] if len(entries) > SHOWN else []
    return [f"  {name} ({len(entries)}):", *(f"    {entry}" for entry in entries[:SHOWN]), *rest]


def runs(idents: Iterable[str]) -> list[str]:
    """Consecutive numbers joined: train/003, train/004, train/005 -> train/003-005."""
    joined: list[list[str]] = []
    for ident in idents:
        if joined and _follows(joined[-1][-1], ident):
            joined[-1].append(ident)
        else:
            joined.append([ident])
    return [run[0] if len(run) == 1 else f"{run[0]}-{run[-1].split('/')[-1]}" for run in joined]


def _follows(before: str, after: str) -> bool:
    first, second = (re.fullmatch(r"(.*?)(\d+)", ident) for ident in (before, after))
    return first[1] == second[1] and int(second[2]) == int(first[2]) + 1


def check(layout: Layout, listing: Listing) -> CompletenessReport:
    """Hold what was found against what was published."""
    counts, missing, gaps, notes = [], [], [], []
    for part in layout.parts:
        mine = {place for place in listing.files if place.part == part.name}
        numbers = sorted({place.number for place in mine})
        expected, slots = part.expected_numbers(numbers), _slots(part, mine)
        lost = [place for number in expected for role, style in slots
                if not _is_there(listing, part, place := Place(part.name, number, role, style))]
        files_expected = len(slots) * max(part.skulls, len(expected))
        counts.append(PartCount(part.name, part.skulls, len(numbers), files_expected,
                                len(slots) * len(expected) - len(lost) if mine else 0))
        if not mine:
            notes.append(f"{part.name}: nothing found; it would lie in {part.folder or layout.shape}/")
            continue
        missing += [expected_path(part, place, listing) for place in lost]
        span = range(expected[0], expected[-1] + 1)
        gaps += [part.skull(number) for number in span if number not in numbers]
        notes += _notes(part, mine, expected, listing)
    if listing.unused_meshes:
        notes.append(f"{listing.unused_meshes} meshes lie beside the volumes and are not used")
    return CompletenessReport(
        layout.title, listing.base, tuple(counts), tuple(sorted(missing)), tuple(gaps), listing.duplicates,
        listing.unreadable, listing.unexpected, listing.packed, tuple(notes),
    )


def _slots(part: Part, mine: set[Place]) -> list[tuple[str, str]]:
    """The files that each skull of this copy must have, as (role, style)."""
    styles = part.styles or ("",)
    completes = [place for place in mine if place.role == "complete"]
    repeated = bool(completes) and all(place.style for place in completes)  # one complete skull per style
    roles = part.roles + tuple(role for role in part.private if any(place.role == role for place in mine))
    return [(role, style) for role in roles
            for style in (styles if role != "complete" or repeated else ("",))]


def _is_there(listing: Listing, part: Part, place: Place) -> bool:
    return place in listing.files and (place.role in part.mesh_roles or not listing.is_mesh(place))


def _notes(part: Part, mine: set[Place], expected: list[int], listing: Listing) -> list[str]:
    notes = []
    if not any(place.role in part.private for place in mine) and part.private:
        kept = " and ".join(part.private)
        notes.append(f"{part.name}: its {kept} volumes were not published, none is expected")
    if part.any_number and len(expected) != part.skulls:
        notes.append(f"{part.name}: {len(expected)} skulls found, {part.skulls} published; how those are "
                     "numbered is not documented, so what is missing cannot be named")
    as_mesh = [place for place in mine if place.role not in part.mesh_roles and listing.is_mesh(place)]
    if as_mesh:
        notes.append(f"{part.name}: {len(as_mesh)} skulls are here as meshes only, voxelised when loaded")
    return notes


def expected_path(part: Part, place: Place, listing: Listing) -> str:
    """Where the missing file of `place` belongs: named like its nearest neighbour in this copy, if any."""
    written = part.written(place.number)
    kin = [other for other in listing.files if (other.part, other.role, other.style)
           == (place.part, place.role, place.style) and _is_there(listing, part, other)]

    def strangeness(other: Place) -> tuple[bool, int]:
        elsewhere = any(_is_range_without(folder, place.number) for folder in listing.folders(other))
        return elsewhere or not part.together(other.number, place.number), abs(other.number - place.number)

    if kin:
        other = min(kin, key=strangeness)
        theirs = part.written(other.number).lower()
        folders = [written if folder.lower() == theirs else folder for folder in listing.folders(other)
                   if not _is_range_without(folder, place.number)]
        name = listing.files[other].rsplit("/", 1)[-1]
        return "/".join([*folders, written + re.sub(r"^[A-Za-z]*[-_]?\d+", "", name)])
    if not part.folder:
        ending = "_implant.stl" if place.role in part.mesh_roles else ".nrrd"
        return f"{written}/{written}{ending}"
    return "/".join(filter(None, (part.folder, _ROLE_FOLDER[place.role], place.style, f"{written}.nrrd")))


def _is_range_without(folder: str, number: int) -> bool:
    """A folder like A0021-A0030 that does not cover this number."""
    ends = re.fullmatch(r"[A-Za-z]*(\d+)-[A-Za-z]*(\d+)", folder)
    return bool(ends) and not int(ends[1]) <= number <= int(ends[2])
