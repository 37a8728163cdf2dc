"""An implant as a file in patient LPS mm: STL, one surface; 3MF, one object a piece and the unit said."""

import io
import zipfile
from pathlib import Path

import numpy as np
import trimesh

from cranial.volume_io.stream import atomic

from .make import Implant

SUFFIXES = (".stl", ".3mf")
_TYPES = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>'
)
_RELATIONS = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Target="/3D/3dmodel.model" Id="rel0" '
    'Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>'
)
_VERTEX = '<vertex x="%.5f" y="%.5f" z="%.5f"/>\n'
_TRIANGLE = '<triangle v1="%d" v2="%d" v3="%d"/>\n'
_MODEL = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<model unit="millimeter" xml:lang="en-US" '
    'xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02">\n'
    '<metadata name="Title">implant</metadata>\n<metadata name="Description">SPACE=LPS</metadata>\n'
    "<resources>\n{objects}</resources>\n<build>\n{items}</build>\n</model>\n"
)


def write_implant(implant: Implant, path: Path | str) -> Path:
    """Write .stl or .3mf, whole or not at all; return the path. Raises ValueError for another suffix."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".stl":
        data = stl(implant.mesh)
    elif suffix == ".3mf":
        data = three_mf(implant.pieces)
    else:
        raise ValueError(f"{path}: format {path.suffix!r} is not written; name it {' or '.join(SUFFIXES)}")
    with atomic(path) as file:
        file.write(data)
    return path


def stl(mesh: trimesh.Trimesh) -> bytes:
    """Binary STL whose header says which space it is in, where 3D Slicer looks for it."""
    return b"cranial SPACE=LPS".ljust(80) + mesh.export(file_type="stl")[80:]


def three_mf(pieces: tuple[trimesh.Trimesh, ...]) -> bytes:
    """The 3MF package: a zip of three XML parts (3MF core specification 1.3, sections 2 to 4)."""
    objects = "".join(
        f'<object id="{number}" type="model"><mesh>\n<vertices>\n{_rows(_VERTEX, piece.vertices)}</vertices>\n'
        f"<triangles>\n{_rows(_TRIANGLE, piece.faces)}</triangles>\n</mesh></object>\n"
        for number, piece in enumerate(pieces, 1)
    )
    items = "".join(f'<item objectid="{number}"/>\n' for number in range(1, len(pieces) + 1))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, text in (
            ("[Content_Types].xml", _TYPES),
            ("_rels/.rels", _RELATIONS),
            ("3D/3dmodel.model", _MODEL.format(objects=objects, items=items)),
        ):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)  # same bytes
    return packed.getvalue()


def _rows(form: str, rows: np.ndarray) -> str:
    return (form * len(rows)) % tuple(np.asarray(rows).ravel().tolist())
