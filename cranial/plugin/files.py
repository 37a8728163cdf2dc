"""How do files become layers, and layers files? A thin coat over cranial.volume; geometry comes and goes unchanged."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari.layers import Layer
from napari.utils.notifications import show_info

from .. import volume
from ..volume_io import mesh
from ..volume_io.checks import NotAMaskError
from ..volume_io.dicom import BONE_HU
from .layers import LayerData, labels_data, surface_data, triangles_of, volume_of

Reader = Callable[[str | Sequence[str]], list[LayerData]]
AIR_HU = -500.0  # a file that goes lower than this is a CT
_SUFFIXES = tuple(sorted({*volume.WRITABLE, *volume.MESHES}, key=len, reverse=True))


def get_reader(path: str | Sequence[str]) -> Reader | None:
    """Masks and CTs as labels, meshes as surfaces; None for a folder without DICOM slices."""
    return read if all(map(_is_ours, _paths(path))) else None


def read(path: str | Sequence[str]) -> list[LayerData]:
    """The layers of some files; of a surface, the Convert dock makes voxels.

    A CT is read as bone from BONE_HU on. Raises VolumeError as volume.read does.
    """
    return [_surface(one) if _is_mesh(one) else _labels(one) for one in _paths(path)]


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a labels layer as a mask, or as its surface, by suffix; the path, in a list. Raises VolumeError."""
    mask = volume_of(Layer.create(data, attributes, "labels"))
    write = volume.write_mesh if _is_mesh(Path(path)) else volume.write
    return [str(write(mask, path))]


def write_surface(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a surface layer as .stl, .ply or .obj in patient LPS mm; the path, in a list. Raises VolumeError."""
    mesh.write_surface(Path(path), *triangles_of(Layer.create(data, attributes, "surface")))
    return [path]


def stem(path: Path) -> str:
    """A file's name without any of its suffixes."""
    suffix = next((suffix for suffix in (".seg.nrrd", *_SUFFIXES) if path.name.lower().endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)] or path.name


def role(path: Path) -> str:
    """A layer's role, as datasets name their files and folders: implant/bilateral/007.nrrd is an implant."""
    return "implant" if any("implant" in part.lower() for part in path.parts[-3:]) else "bone"


def _labels(path: Path) -> LayerData:
    try:
        read = volume.read(path)
    except NotAMaskError as error:
        if not error.low < AIR_HU < BONE_HU < error.high:
            raise
        read = volume.read(path, threshold_hu=BONE_HU)
        show_info(f"{path.name} is a CT; its largest part of at least {BONE_HU:g} HU is taken for bone")
    return labels_data(read, stem(path), role(path))


def _surface(path: Path) -> LayerData:
    return surface_data(*mesh.read_surface(path), stem(path), role(path))


def _paths(path: str | Sequence[str]) -> list[Path]:
    return [Path(one) for one in ([path] if isinstance(path, str) else path)]


def _is_mesh(path: Path) -> bool:
    return path.name.lower().endswith(volume.MESHES)


def _is_ours(path: Path) -> bool:
    """Whether a file has one of our suffixes, or the first files of a folder are DICOM."""
    if not path.is_dir():
        return path.name.lower().endswith((*volume.WRITABLE, *volume.MESHES))
    from pydicom.misc import is_dicom

    files = (file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    return any(is_dicom(file) for _, file in zip(range(10), files, strict=False))
