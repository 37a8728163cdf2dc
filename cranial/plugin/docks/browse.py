"""Browse: what is in this set of synthetic cases? Tens of thousands under one slider, read when they are looked at."""

import html
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from ...figures import COLOURS
from ...skulls.store import CaseStore
from ...volume import Volume
from ..layers import labels_data, surface_of
from .dock import Dock, chosen, file_field

_BONE = "#a8a294"  # under napari's light on labels it looks as bone does elsewhere
_COLOURS = {0: "transparent", 1: _BONE, 2: COLOURS["implant"], None: "transparent"}


class BrowseDock(Dock):
    """skulls.store.CaseStore: its cases as one lazy layer, their provenance beside them; rejected ones left out."""

    def __init__(self, napari_viewer: Any) -> None:
        self.folder = file_field("folder", "d", tooltip="of a set, as `cranial synthesize` makes it")
        buttons = {"Open": self.open, "Previous": self.previous, "Next": self.next, "Take out": self.take_out}
        super().__init__(napari_viewer, [self.folder], buttons)
        self._store: CaseStore | None = None
        self._layer: Any = None
        self.viewer.dims.events.current_step.connect(self._moved)

    def open(self) -> None:
        """Open a set. Raises ValueError where no folder is given."""
        folder = chosen(self.folder)
        if folder is None:
            raise ValueError("no folder to open; choose that of a set, with its zarr.json")

        def work(report):
            store = CaseStore.open(folder)
            report(0.0, "looking which cases are there")
            present, rejections = store.present(), store.rejections()
            if not present:
                raise ValueError(
                    f"{folder} has no case yet, and {len(rejections)} of {len(store)} items are rejected; make some "
                    "first, for example with cranial synthesize"
                )
            return store, store.labels(present), rejections

        self.run(work, self._opened)

    def previous(self) -> None:
        """Go to the case before."""
        self._go(self.row - 1)

    def next(self) -> None:
        """Go to the case after."""
        self._go(self.row + 1)

    @property
    def row(self) -> int:
        """Which of the cases that are there is looked at."""
        self._check()
        return int(self.viewer.dims.current_step[self.viewer.dims.ndim - 4])

    @property
    def item(self) -> int:
        """Its number in the set."""
        return int(self._layer.data.items[self.row])

    def take_out(self) -> None:
        """The case that is looked at as layers of its own, for the other docks."""
        self._check()
        store, item = self._store, self.item

        def work(report):
            case = store.read(item)
            layers = []
            for mask, name, role in ((case.defective, "skull", "bone"), (case.defect, "missing piece", "implant")):
                part = (Volume(mask, _affine(store)), f"{name} of case {item}", role)
                layers += [labels_data(*part), surface_of(*part)]
            return layers

        def done(layers):
            self._layer.visible = False
            self.put(*layers)

        self.run(work, done)

    def _opened(self, result: Any) -> None:
        store, labels, rejections = result
        self._store = store
        name = f"cases of {store.folder.name}"
        look = {"colormap": DirectLabelColormap(color_dict=_COLOURS), "opacity": 1.0, "iso_gradient_mode": "smooth"}
        place = {"scale": (1.0, *store.layout.spacing_mm), "units": ("pixel", "mm", "mm", "mm")}
        self.put((labels, {"name": name, "axis_labels": ("case", "L", "P", "S"), **look, **place}, "labels"))
        self._layer = self.viewer.layers[name]
        self._layer.editable = False
        reasons = ", ".join(f"{reason}: {count}" for reason, count in Counter(rejections.values()).most_common(4))
        missing = len(store) - len(labels) - len(rejections)
        self._head = [("cases", str(len(labels))), ("still missing", str(missing)), ("rejected", str(len(rejections)))]
        self._head += [("why", html.escape(reasons))] if reasons else []
        self._go(0)
        self._moved()

    def _go(self, row: int) -> None:
        self._check()
        row = min(max(row, 0), len(self._layer.data) - 1)
        self.viewer.dims.set_current_step(self.viewer.dims.ndim - 4, row)

    def _moved(self) -> None:
        if self._layer is None or self._layer not in self.viewer.layers or self.viewer.dims.ndim < 4:
            return
        told = [tuple(map(html.escape, row)) for row in _flat(self._store.provenance(self.item))]
        self.show_results([*self._head, ("<b>case</b>", f"<b>{self.item}</b>"), *told])

    def _check(self) -> None:
        if self._layer is None or self._layer not in self.viewer.layers:
            raise ValueError("no set is open; choose its folder and press Open")


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested JSON values as rows: "skull.phantom", "3"."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _flat(one, f"{name}.{key}".lstrip("."))
    else:
        yield name, str(value)


def _affine(store: CaseStore) -> np.ndarray:
    return np.diag([*store.layout.spacing_mm, 1.0])
