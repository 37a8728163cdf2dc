"""Generate: what does a trained generator dream up, and what lies between its samples? Walked by hand, kept if fit."""

from pathlib import Path
from typing import Any

from magicgui.widgets import ComboBox, FloatSlider, SpinBox

from ...figures import COLOURS
from ...skulls.defects import Case
from ..layers import LayerData, labels_data, surface_name, surface_of
from .dock import Dock, chosen, file_field

GENERATORS, CACHE = Path("outputs/generators"), Path("outputs/cache")  # where `cranial train` is told to leave them
SHIPPED = Path(__file__).parents[2] / "weights" / "generator.safetensors"
SKULL, PIECE = "sample", "sample, piece"
_NONE_ELSE = (
    "Only the generator that comes with cranial is here; cranial train params/demo/generators/vae.yaml "
    "--output outputs/generators/demo/vae trains another one in minutes."
)
_OWN = "the method's own"
# as sampling.STRATEGIES has them, and explorer.SET_SIZE: importing these is importing torch, and the window would wait
_CHOICES = {"ud": ("unit_variance", "three"), "uds": ("quantile", "literal", "per_axis", "typical")}
_STRATEGIES = (_OWN, "sd", *_CHOICES)
_LAST = 63_999


class GenerateDock(Dock):
    """synthesis.explorer.LatentExplorer: samples, the way between two, and along principal directions; live."""

    def __init__(self, napari_viewer: Any) -> None:
        self.generator = ComboBox(label="generator", choices=_found, tooltip="under outputs/generators, newest first")
        self.file = file_field("other file", "r", "*.safetensors", "a generator.safetensors; empty: the one above")
        self.strategy = ComboBox(label="strategy", choices=_STRATEGIES)
        self.choice = ComboBox(label="its choice", choices=(), tooltip="interval of ud, radius of uds")
        self.seed = SpinBox(label="seed", max=10**6)
        self.index = SpinBox(label="sample", max=_LAST)
        self.other = SpinBox(label="towards sample", value=1, max=_LAST)
        self.share = FloatSlider(label="how far", max=1.0, step=0.02, tooltip="0: the sample itself, 1: the other one")
        self.amounts = [_direction(number) for number in (1, 2, 3)]
        self.folder = file_field("keep in", "d", tooltip="a set of cases; empty: as layers only")
        place = [self.strategy, self.choice, self.seed, self.index, self.other, self.share, *self.amounts]
        buttons = {"Show": self.show_sample, "Next": self.next, "Reset": self.reset, "Keep": self.keep}
        super().__init__(napari_viewer, [self.generator, self.file, *place, self.folder], buttons)
        self._explorer: Any = None
        self._shown: tuple[Any, Any, Case] | None = None  # explorer, place and case of what is seen
        self.choice.enabled = False
        self.strategy.changed.connect(self._strategy_changed)
        for field in (self.generator, *place):
            field.changed.connect(self._follow)
        if len(self.generator.choices) == 1:
            self.say(_NONE_ELSE)

    def show_sample(self) -> None:
        """Show what is at the chosen place; from now on it follows what is chosen."""
        file, place = chosen(self.file) or self.generator.value, self._place()

        def work(report):
            from ...synthesis.explorer import LatentExplorer, Place  # torch: seconds, the first time

            known = self._explorer
            if known is None or known.file != file:
                report(0.0, "loading the generator")
                known = LatentExplorer(file, cache=CACHE)
            here = Place(**place)
            if any(here.amounts):
                report(0.0, "embedding heads for the directions; phantoms that are not kept yet take a minute, once")
            case = known.case(here)
            shares = known.walk.shares if any(here.amounts) else ()
            return (known, here, case), shares, _layers(case)

        self.run(work, lambda result: self._show(*result))

    def next(self) -> None:
        """The next sample."""
        self.index.value = min(self.index.value + 1, _LAST)
        if not self._seen():
            self.show_sample()

    def reset(self) -> None:
        """Back to the sample itself: no way towards the other, and none along the directions."""
        for slider in (self.share, *self.amounts):
            slider.value = 0

    def keep(self) -> None:
        """Keep what is seen, as layers of its own, and in a set if a folder is chosen.

        Raises ValueError before there is a sample, and for one that fails a gate.
        """
        if self._shown is None:
            raise ValueError("there is no sample yet; press Show first")
        (explorer, place, case), folder = self._shown, chosen(self.folder)

        def work(report):
            from ...synthesis.explorer import check_fit_to_learn_from, keep

            check_fit_to_learn_from(case)
            item = None if folder is None else keep(case, folder, explorer.provenance(place))
            return item, _layers(case, f"{explorer.trained.recipe.method}, {_where(place)}")

        def done(result):
            item, layers = result
            self.put(*layers)
            self.hide_layers(*(attributes["name"] for _, attributes, _ in layers))  # what is seen goes on changing
            self.say("kept as layers" if item is None else f"kept as layers, and as case {item} of {folder}")

        self.run(work, done)

    def _place(self) -> dict[str, Any]:
        name = None if self.strategy.value == _OWN else self.strategy.value
        amounts = tuple(float(slider.value) for slider in self.amounts)
        return {"index": self.index.value, "seed": self.seed.value, "strategy": name, "choice": self.choice.value,
                "other": self.other.value, "share": float(self.share.value), "amounts": amounts}

    def _show(self, shown: tuple[Any, Any, Case], shares: tuple[float, ...], layers: list[LayerData]) -> None:
        self._shown, (self._explorer, _, case) = shown, shown
        names = {attributes["name"] for _, attributes, _ in layers}
        for name in (SKULL, PIECE, surface_name(SKULL), surface_name(PIECE)):
            if name in self.viewer.layers and name not in names:
                self.viewer.layers.remove(name)
        self.refresh(*layers)
        for slider, share in zip(self.amounts, shares, strict=False):
            self.relabel(slider, f"{slider.label}, {100 * share:.0f} %")
        colour, verdict = ("agreed", "yes") if not case.style else ("extra", f"no: {case.style}")
        self.show_results([
            ("fit to learn from", f"<font color='{COLOURS[colour]}'>{verdict}</font>"),
            ("skull", f"{case.defective.volume_mm3 / 1000:.0f} cm³"),
            ("missing piece", f"{case.implant.volume_mm3 / 1000:.1f} cm³"),
        ])

    def _follow(self) -> None:
        if self._seen():
            self.attempt(self.show_sample)

    def _seen(self) -> bool:
        """Whether there is a sample on the screen, if only an empty one."""
        return self._shown is not None and (SKULL in self.viewer.layers or not self._shown[2].defective.mask.any())

    def _strategy_changed(self, name: str) -> None:
        with self.choice.changed.blocked():
            self.choice.choices = _CHOICES.get(name, ())
        self.choice.enabled = name in _CHOICES


def _found(_: ComboBox) -> list[tuple[str, Path]]:
    files = GENERATORS.glob("*/*/generator.safetensors")
    newest_first = sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)
    own = [(str(file.parent.relative_to(GENERATORS)), file) for file in newest_first]
    return [*own, ("comes with cranial", SHIPPED)]


def _direction(number: int) -> FloatSlider:
    return FloatSlider(label=f"direction {number}", min=-3.0, max=3.0, value=0.0, step=0.1,
                       tooltip="in standard deviations of real cases; %: how much of what they vary in")


def _layers(case: Case, name: str = SKULL) -> list[LayerData]:
    """Both parts of a case as labels and as surfaces, as far as there is anything."""
    parts = ((case.defective, name, "bone"), (case.implant, f"{name}, piece", "implant"))
    return [layer for part in parts if part[0].mask.any() for layer in (labels_data(*part), surface_of(*part))]


def _where(place: Any) -> str:
    moved = [f"{place.share:.0%} to {place.other}"] if place.share else []
    moved += [" ".join(f"{amount:+.1f}" for amount in place.amounts)] if any(place.amounts) else []
    return ", ".join([f"sample {place.index}", *moved])
