"""Segmentations of 3D Slicer (.seg.nrrd): which of their segments is the skull."""

import re
from pathlib import Path

import numpy as np

from cranial.volume_io.checks import VolumeError

BONE_NAMES = {"bone", "bones", "skull", "cranium", "calvaria", "calvarium"}


def segments_of(fields: dict, path: Path) -> dict[str, tuple[int, int]]:
    """Name -> (layer, label) of each segment; empty for a plain volume."""
    segments = {}
    for number in [match[1] for key in fields if (match := re.fullmatch(r"Segment(\d+)_ID", key))]:
        place = fields.get(f"Segment{number}_Layer", "0"), fields.get(f"Segment{number}_LabelValue", "1")
        if not all(text.strip().isdecimal() for text in place):
            raise VolumeError(
                f"{path}: segment {number} has layer {place[0]!r} and label {place[1]!r}; both must be whole "
                "numbers: export the segmentation again"
            )
        name = f"{fields.get(f'Segment{number}_Name', 'Segment')} [{number}]"
        segments[name] = (int(place[0]), int(place[1]))
    return segments


def chosen(segments: dict[str, tuple[int, int]], path: Path) -> list[tuple[int, int]]:
    if len(segments) == 1:
        return list(segments.values())
    bone = [place for name, place in segments.items() if BONE_NAMES & set(re.findall(r"[a-z]+", name.lower()))]
    if not bone:
        raise VolumeError(
            f"{path}: has {len(segments)} segments ({', '.join(segments)}) and none is named bone, skull, "
            "cranium or calvaria; rename the one that is meant, or save it alone"
        )
    return bone


class ChosenSegments:
    """Occupied where a chosen (layer, label) stands; layers vary fastest."""

    def __init__(self, places: list[tuple[int, int]], *, layers: int) -> None:
        self.places, self.layers, self.seen = places, layers, 0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        mask = np.zeros(values.shape, dtype=bool)
        for layer, label in self.places:
            start = (layer - self.seen) % self.layers
            mask[start :: self.layers] |= values[start :: self.layers] == label
        self.seen += len(values)
        return mask

    def finish(self, path: Path) -> None:
        """Every labelmap is acceptable."""


def segment_keys(mask: np.ndarray) -> list[str]:
    """What 3D Slicer needs to open the mask as a segmentation of one segment."""
    extent = " ".join(f"0 {size - 1}" for size in mask.shape)
    return [
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
        "Segment0_ID:=Segment_1",
        "Segment0_Name:=bone",
        "Segment0_Color:=0.945098 0.839216 0.568627",
        f"Segment0_Extent:={extent}",
        "Segment0_LabelValue:=1",
        "Segment0_Layer:=0",
    ]
