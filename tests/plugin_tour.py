"""Pictures of napari's window with each dock in use; it tests nothing. python tests/plugin_tour.py FOLDER [PART ...]

The README's: python tests/plugin_tour.py docs/pictures napari
"""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from display import a_display, why_no_window

if why := why_no_window():
    sys.exit(why)

from PIL import Image  # noqa: E402

from cranial.plugin import samples, stage  # noqa: E402
from cranial.plugin.docks.generate import SHIPPED  # noqa: E402
from cranial.plugin.drivers import triton_first  # noqa: E402
from cranial.plugin.layers import labels_data, surface_of  # noqa: E402
from cranial.skulls.defects import STYLES, cut  # noqa: E402
from cranial.skulls.phantom import phantom  # noqa: E402
from cranial.skulls.store import CaseStore  # noqa: E402
from cranial.volume import Volume, resample  # noqa: E402

SIZE = (1600, 1000)
SPACING_MM = 1.0
FROM_THE_RIGHT = (-40.0, 25.0)  # where the hole of the generated sample is


class Tour:
    """A window with all docks, a hand that presses their buttons, and a camera."""

    def __init__(self, folder: Path) -> None:
        import napari
        from npe2 import PluginManager, PluginManifest

        from cranial.plugin.app import open_docks

        manager = PluginManager.instance()
        manager.discover()
        if "cranial" not in manager:
            manager.register(PluginManifest.from_file(Path(__file__).parent.parent / "cranial/plugin/napari.yaml"))
        self.folder = folder
        self.viewer = napari.Viewer(title="Cranial")
        self.viewer.window.resize(*SIZE)
        self.docks = open_docks(self.viewer)
        self.longest_s = 0.0  # that the window did not answer
        self.wait(1.0)

    def wait(self, seconds: float = 0.3, until: Callable[[], bool] = lambda: True) -> None:
        """Let napari live for a while, and until something is so; note for how long it stood still."""
        from qtpy.QtWidgets import QApplication

        end, last = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end or not until():
            QApplication.processEvents()
            time.sleep(0.002)
            now = time.monotonic()
            self.longest_s, last = max(self.longest_s, now - last), now

    def press(self, name: str, button: str) -> None:
        """Bring a dock to the front, press one of its buttons and wait for what comes."""
        dock = self.show(name)
        self.longest_s, started = 0.0, time.monotonic()
        dock.button(button).click()
        self.wait(0.1, until=lambda: not dock.busy)
        print(f"{name}, {button}: {time.monotonic() - started:.1f} s, window still for {self.longest_s:.2f} s at most")
        self.wait()

    def show(self, name: str):
        """Bring a dock to the front."""
        dock = self.docks[name]
        with suppress(AttributeError):
            dock.parent().raise_()
        self.wait()
        return dock

    def picture(self, name: str, view: tuple[float, float] = (60.0, 15.0)) -> None:
        """The whole window, the head turned."""
        from cranial.plugin.stage import look

        look(self.viewer, view)
        self.wait(0.6)
        self.viewer.screenshot(str(self.folder / f"{name}.png"), canvas_only=False, flash=False)

    def set(self, name: str, **values) -> None:
        """Move fields of a dock, and wait for what follows."""
        dock = self.show(name)
        for field, value in values.items():
            getattr(dock, field).value = value
        self.wait(0.1, until=lambda: not dock.busy)

    def clear(self) -> None:
        """No layers, 3-D."""
        self.viewer.layers.clear()
        self.viewer.dims.ndisplay = 3
        self.wait()


def defect(tour: Tour) -> None:
    """A hole seen, then cut."""
    complete = (phantom(4, spacing_mm=SPACING_MM), "complete skull")
    stage.put(tour.viewer, labels_data(*complete), surface_of(*complete))
    tour.docks["Defect"].style.value = "craniotomy"
    tour.press("Defect", "Preview")
    tour.picture("defect_preview")
    tour.press("Defect", "Cut")
    tour.picture("defect_cut")


def reconstruct(tour: Tour) -> None:
    """A sample, its proposal, how near it comes, and the implant."""
    tour.viewer.open_sample("cranial", "parietotemporal")
    tour.picture("sample")
    tour.press("Reconstruct", "Reconstruct")
    tour.picture("reconstruct")
    tour.viewer.dims.ndisplay = 2
    tour.picture("reconstruct_2d")
    tour.viewer.dims.ndisplay = 3
    tour.press("Measure", "Measure")
    tour.press("Measure", "Paint distances")
    tour.picture("measure")
    tour.viewer.layers["parietotemporal, network: deviation, mm"].visible = False
    tour.docks["Implant"].perforation.value, tour.docks["Implant"].taper.value = 2.5, 5.0
    tour.press("Implant", "Make")
    tour.picture("implant")


def napari(tour: Tour) -> None:
    """The window in one picture, of few kilobytes."""
    tour.viewer.open_sample("cranial", "parietotemporal")
    tour.press("Reconstruct", "Reconstruct")
    tour.press("Measure", "Measure")
    tour.picture("napari", view=(55.0, 20.0))
    path = tour.folder / "napari.png"
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)


def generate(tour: Tour) -> None:
    """A sample, the way to another, and along a direction; one is kept."""
    tour.docks["Generate"].generator.value = SHIPPED
    tour.press("Generate", "Show")
    tour.picture("generate", FROM_THE_RIGHT)
    tour.set("Generate", share=0.5)
    tour.picture("generate_between", FROM_THE_RIGHT)
    tour.docks["Generate"].amounts[0].value = 2.0
    tour.wait(0.1, until=lambda: not tour.docks["Generate"].busy)
    tour.press("Generate", "Keep")
    tour.picture("generate_kept", FROM_THE_RIGHT)


def register(tour: Tour) -> None:
    """One head bent onto another."""
    for name, item in (("fixed", 5), ("moving", 0)):
        stage.put(tour.viewer, labels_data(phantom(item, spacing_mm=2 * SPACING_MM), name))
    tour.press("Register", "Register")
    tour.picture("register")


def browse(tour: Tour) -> None:
    """A set of cases, and one of them taken out."""
    store = a_set(tour.folder / "set")
    tour.docks["Browse"].folder.line_edit.value = str(store.folder)
    tour.press("Browse", "Open")
    tour.press("Browse", "Next")
    tour.picture("browse")
    tour.press("Browse", "Take out")
    tour.picture("browse_taken_out")
    tour.show("Convert")
    tour.picture("convert")


PARTS = (napari, generate, reconstruct, register, browse, defect)


def main(folder: Path, names: list[str]) -> None:
    """The parts of these names, or all, one after the other."""
    samples.SPACING_MM = SPACING_MM
    folder.mkdir(parents=True, exist_ok=True)
    tour = Tour(folder)
    for part in PARTS:
        if not names or part.__name__ in names:
            tour.clear()
            part(tour)
    tour.viewer.close()


def a_set(folder: Path) -> CaseStore:
    """A few cases and a rejection in a store with room for tens of thousands."""
    shape, affine = (96, 112, 96), np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-96, -112, -96)
    grid = Volume(np.zeros(shape, bool), affine)
    store = CaseStore.create(folder, count=64_000, shape=shape, spacing_mm=(2.0, 2.0, 2.0), recipe={"seed": 0})
    for item, style in zip((0, 2, 5, 63_999), STYLES, strict=False):
        case = cut(phantom(item, spacing_mm=2.0), style, seed=0)
        parts = (resample(part, like=grid).mask for part in (case.defective, case.implant))
        store.write(item, *parts, {"skull": {"phantom": item, "seed": 0}, "defect": {"style": style, "seed": 0}})
    store.reject(1, "folded")
    return store


if __name__ == "__main__":
    triton_first()
    with a_display(f"{SIZE[0]}x{SIZE[1]}"):
        main(Path(sys.argv[1]), sys.argv[2:])
