"""Which layer is meant? A menu of the layers of one kind, in which the newest of the expected role is chosen."""

from collections.abc import Iterable
from typing import Any

from magicgui.widgets import ComboBox
from napari.layers import Labels, Layer, Surface

from ..layers import note_of


class LayerChoice(ComboBox):
    """A menu of 3-D layers. Until somebody chooses, it follows the layers: the newest of its role is chosen.

    roles: as in figures.COLOURS; the first that is there counts. optional: none may be chosen. place: 1 chooses the
    second newest.
    """

    def __init__(
        self,
        viewer: Any,
        *roles: str,
        label: str,
        kind: type[Labels] | type[Surface] = Labels,
        optional: bool = False,
        place: int = 0,
        tooltip: str = "",
    ) -> None:
        self._viewer, self._roles, self._kind, self._place, self._by_hand = viewer, roles, kind, place, False
        super().__init__(label=label, choices=self._layers, nullable=optional, tooltip=tooltip)
        self.native.activated.connect(lambda _: self.keep())

    @property
    def layer(self) -> Layer:
        """The chosen layer. Raises ValueError where there is none."""
        if self.value is None:
            kind = self._kind.__name__.lower()
            raise ValueError(f"there is no {kind} layer to take as {self.label}; open a file, or File > Open Sample")
        return self.value

    def reset_choices(self, *_: Any) -> None:
        """Look which layers there are; called by napari whenever that changes."""
        super().reset_choices()
        fit = list(filter(self._is_fit, self._layers(self)))
        best = fit[min(self._place, len(fit) - 1)] if fit else None
        if not self._by_hand and best is not None and self.value is not best:
            self.value = best

    def keep(self) -> None:
        """From now on the present choice stays, whatever comes."""
        self._by_hand = True

    def _layers(self, _: ComboBox) -> Iterable[Layer]:
        """The best first."""
        layers = [layer for layer in self._viewer.layers if isinstance(layer, self._kind) and layer.ndim == 3]
        return sorted(reversed(layers), key=self._rank)

    def _is_fit(self, layer: Layer) -> bool:
        """Whether a layer is chosen of itself: where the menu is optional, only one of an expected role."""
        return not self._nullable or self._rank(layer) < len(self._roles)

    def _rank(self, layer: Layer) -> int:
        role = note_of(layer).role
        return self._roles.index(role) if role in self._roles else len(self._roles)


