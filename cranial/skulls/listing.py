"""What lies on the disk: the folders of a dataset, every file in them put in its place, and what has none."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cranial.skulls.layouts import (
    ARCHIVE_SUFFIXES,
    MESH_SUFFIXES,
    VOLUME_SUFFIXES,
    Layout,
    Place,
    plain,
    suffix_of,
)

ENVIRONMENT = "CRANIAL_DATA"
_READABLE = VOLUME_SUFFIXES + MESH_SUFFIXES
_JUNK = ("__macosx", "thumbs.db", "desktop.ini")
_NRRD, _GZIP = b"NRRD", b"\x1f\x8b"
_BEGINS = {".nrrd": _NRRD, ".seg.nrrd": _NRRD, ".nhdr": _NRRD, ".nii.gz": _GZIP}


class DatasetError(ValueError):
    """A dataset, or a case of it, that is not where or what it should be."""


@dataclass(frozen=True)
class Listing:
    """The files under `base`; paths relative to it, with forward slashes."""

    base: Path
    files: dict[Place, str]  # the one file used for each place
    duplicates: tuple[tuple[str, str], ...]  # (kept, left aside)
    unreadable: tuple[tuple[str, str], ...]  # (path, why)
    unexpected: tuple[str, ...]
    packed: tuple[str, ...]
    unused_meshes: int
    seen: tuple[str, ...]  # every visible file

    def is_mesh(self, place: Place) -> bool:
        return bool(suffix_of(self.files[place], MESH_SUFFIXES))

    def folders(self, place: Place) -> list[str]:
        return self.files[place].split("/")[:-1]


def find_and_list(layout: Layout, root: Path | str | None) -> Listing:
    """The files of the dataset under `root`, or under the folder CRANIAL_DATA names; DatasetError if none."""
    base, folders = find_folders(layout, root)
    listing = list_files(layout, base, folders)
    if not listing.files:
        raise DatasetError(_nothing_usable(layout, listing))
    return listing


def find_folders(layout: Layout, root: Path | str | None) -> tuple[Path, list[Path]]:
    """The folder that paths are relative to, and the folders to walk (two may lie side by side in it)."""
    given = root if root is not None else os.environ.get(ENVIRONMENT)
    if not given:
        raise DatasetError(f"where {layout.title} lies is not said: {_how_to(layout)}")
    base = Path(given).expanduser().absolute()
    if base.is_file() and suffix_of(base.name, ARCHIVE_SUFFIXES):
        raise DatasetError(f"{base} is an archive; unpack it and give the folder it unpacks to")
    if not base.is_dir():
        source = "root" if root is not None else ENVIRONMENT
        raise DatasetError(f"{source} is {base}, which is not a folder: {_how_to(layout)}")
    if layout.owns_folder(base.name):
        return base, [base]
    children = sorted(child for child in base.iterdir() if child.is_dir() and _visible(child.name))
    owned = [child for child in children if layout.owns_folder(child.name)]
    if owned:
        return (owned[0], owned) if len(owned) == 1 else (base, owned)
    if root is not None:  # whoever names a folder means it, whatever it is called
        return base, [base]
    packed = [name for name in sorted(os.listdir(base))
              if suffix_of(name, ARCHIVE_SUFFIXES) and layout.owns_folder(name)]
    if packed:
        raise DatasetError(_still_packed(layout, base, packed))
    seen = ", ".join(child.name for child in children[:8]) or "none"
    raise DatasetError(
        f"no folder in {base} is called like {layout.title} (folders there: {seen}): {_how_to(layout)}"
    )


def _how_to(layout: Layout) -> str:
    folder = layout.title.replace(" clinical", "Clinical").rstrip("+")
    return (
        f"set {ENVIRONMENT} to the folder that contains {folder}/ (export {ENVIRONMENT}=/path/to/data) "
        f"or pass root=; the data: {layout.obtain}"
    )


def _still_packed(layout: Layout, base: Path, packed: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(packed) - 3} more" if len(packed) > 3 else ""
    return f"{layout.title} is still packed: unpack {', '.join(packed[:3])}{more} in {base}"


def _nothing_usable(layout: Layout, listing: Listing) -> str:
    if listing.packed:
        return _still_packed(layout, listing.base, listing.packed)
    if listing.unreadable:
        path, why = listing.unreadable[0]
        return (
            f"no file of {layout.title} in {listing.base} can be read, {len(listing.unreadable)} are damaged "
            f"({path}: {why}); copy them again"
        )
    seen = f"{len(listing.seen)} other files, such as {listing.seen[0]}" if listing.seen else "no file at all"
    return (
        f"no file in {listing.base} is laid out like {layout.title}, which is {layout.shape} "
        f"(found: {seen}): {_how_to(layout)}"
    )


def list_files(layout: Layout, base: Path, folders: list[Path]) -> Listing:
    """Walk `folders`, all in `base`; links are followed, hidden files and __MACOSX are not looked at."""
    unreadable: list[tuple[str, str]] = []
    seen = tuple(sorted(path for folder in folders for path in _walk(base, folder, unreadable)))
    candidates: dict[Place, list[str]] = defaultdict(list)
    unexpected, unused_meshes = [], 0
    uses_meshes = any(part.mesh_roles for part in layout.parts)
    for path in seen:
        *parents, name = path.split("/")
        suffix = suffix_of(name, _READABLE)
        if not suffix:
            continue
        place = layout.place((base.name, *parents), name)
        if place is None and suffix in MESH_SUFFIXES and not uses_meshes:
            unused_meshes += 1
        elif place is None:
            unexpected.append(path)
        elif why := _why_unreadable(base / path, suffix):
            unreadable.append((path, why))
        else:
            candidates[place].append(path)
    files, duplicates = {}, []
    for place, paths in candidates.items():
        kept, *others = sorted(paths, key=_preference)
        files[place] = kept
        duplicates += [(kept, other) for other in others if _same_kind(kept, other)]
    packed = tuple(path for path in seen if _is_packed(base, path))
    return Listing(base, dict(sorted(files.items())), tuple(sorted(duplicates)), tuple(sorted(unreadable)),
                   tuple(unexpected), packed, unused_meshes, seen)


def _walk(base: Path, folder: Path, unreadable: list[tuple[str, str]]) -> Iterator[str]:
    def cannot_list(error: OSError) -> None:
        path = Path(error.filename).relative_to(base).as_posix()
        unreadable.append((path, f"folder cannot be listed ({error.strerror})"))

    been: set[str] = set()  # a link to a folder above ends there
    for top, subfolders, names in os.walk(folder, followlinks=True, onerror=cannot_list):
        real = os.path.realpath(top)
        if real in been:
            subfolders.clear()
            continue
        been.add(real)
        subfolders[:] = sorted(filter(_visible, subfolders))
        relative = Path(top).relative_to(base)
        yield from ((relative / name).as_posix() for name in names if _visible(name))


def _visible(name: str) -> bool:
    return not name.startswith(".") and plain(name) not in map(plain, _JUNK)


def _why_unreadable(path: Path, suffix: str) -> str:
    """Why `path` cannot be what its suffix says, by size and first bytes; "" if nothing is against it."""
    try:
        if path.stat().st_size == 0:
            return "zero bytes"
        with path.open("rb") as file:
            start = file.read(20)
    except OSError as error:
        broken = path.is_symlink() and not path.exists()
        return "link to a file that is not there" if broken else f"cannot be opened ({error.strerror})"
    if start.startswith(b"version https://git"):
        return "a Git LFS pointer, not the data: fetch it with git lfs pull"
    return "" if start.startswith(_BEGINS.get(suffix, b"")) else f"does not begin like a {suffix} file"


def _preference(path: str) -> tuple:
    """Volumes before meshes, cleaned meshes before raw ones, NRRD before NIfTI, then the shortest path."""
    suffix = suffix_of(path, _READABLE)
    raw = "_clear" not in path.lower()
    return suffix in MESH_SUFFIXES, raw, _READABLE.index(suffix), len(path), path


def _same_kind(kept: str, other: str) -> bool:
    """Twice the same: two volumes, or a mesh in two folders; a raw and a cleaned mesh are two things."""
    if suffix_of(kept, VOLUME_SUFFIXES) and suffix_of(other, VOLUME_SUFFIXES):
        return True
    return kept.lower().rsplit("/", 1)[-1] == other.lower().rsplit("/", 1)[-1]


def _is_packed(base: Path, path: str) -> bool:
    """An archive with no folder of its name beside it, so probably not unpacked."""
    suffix = suffix_of(path, ARCHIVE_SUFFIXES)
    return bool(suffix) and not (base / path[: -len(suffix)]).is_dir()
