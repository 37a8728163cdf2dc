"""Copies of the public datasets as people have them on disk: their names and folders, around tiny volumes."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from cranial import volume

STYLES = ("bilateral", "frontoorbital", "parietotemporal", "random_1", "random_2")
ROLES = ("complete_skull", "defective_skull", "implant")


def ball(
    radius_vox: float = 3.0, *, side: int = 9, origin_mm: tuple[float, float, float] = (0, 0, 0)
) -> volume.Volume:
    """A skull as far as names and grids are concerned."""
    grid = np.indices((side, side, side)) - (side - 1) / 2
    affine = np.eye(4)
    affine[:3, 3] = origin_mm
    return volume.Volume((grid**2).sum(axis=0) <= radius_vox**2, affine)


def fill(root: Path, paths: Iterable[str]) -> list[str]:
    """Put the same tiny volume at each path (a mesh at .stl); returns the paths, sorted."""
    paths = sorted(paths)
    originals: dict[str, Path] = {}
    root.mkdir(parents=True, exist_ok=True)
    for path in paths:
        target = root / path
        suffix = ".nii.gz" if path.lower().endswith(".nii.gz") else target.suffix.lower()
        if suffix not in originals:
            original = root / f".original{suffix}"  # hidden, so not part of the copy
            if suffix == ".stl":
                volume.write_mesh(ball(6, side=17), original)
            else:
                volume.write(ball(), original)
            originals[suffix] = original
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[suffix], target)
    return paths


def skullbreak(
    train: str = "train",
    test: str = "test",
    *,
    suffix: str = ".nrrd",
    repeated: bool = False,
    train_numbers: Iterable[int] = range(114),
    test_numbers: Iterable[int] = range(20),
) -> Iterator[str]:
    for part, numbers in ((train, train_numbers), (test, test_numbers)):
        for number in numbers:
            for role in ROLES:
                for style in STYLES if repeated or role != "complete_skull" else ("",):
                    yield "/".join(filter(None, (part, role, style, f"{number:03d}{suffix}")))


def skullfix(
    train: str = "training_set",
    test: str = "test_set_for_participants",
    additional: str = "additional_test_set_for_participants",
    *,
    suffix: str = ".nrrd",
) -> Iterator[str]:
    for number in range(100):
        yield from (f"{train}/{role}/{number:03d}{suffix}".lstrip("/") for role in ROLES)
        yield f"{test}/{number:03d}{suffix}"
    yield from (f"{additional}/{number:03d}{suffix}" for number in range(100, 110))


def mug500(
    arrangement: str = "one folder",
    *,
    healthy: Iterable[int] = range(1, 501),
    craniotomies: Iterable[int] = range(1, 30),
) -> Iterator[str]:
    for number in healthy:
        skull, first = f"A{number:04d}", (number - 1) // 5 * 5 + 1
        if arrangement == "figshare":
            folder = f"A{first:04d}-A{first + 4:04d}/{skull}"
            yield from (f"{folder}/{skull}.nrrd", f"{folder}/{skull}.stl", f"{folder}/{skull}_clear.stl")
        elif arrangement == "by format":
            yield from (f"nrrd/{skull}.nrrd", f"stl/{skull}.stl")
        else:
            yield f"{skull}.nrrd"
    for number in craniotomies:
        skull = f"B{number:04d}"
        prefix = "" if arrangement == "one folder" else f"craniotomy_skull/{skull}/"
        yield from (f"{prefix}{skull}.nrrd", f"{prefix}{skull}.stl", f"{prefix}{skull}_implant.stl")


def clinical(numbers: Iterable[int] = range(1, 12)) -> Iterator[str]:
    return (f"sub{number:02d}.nrrd" for number in numbers)
