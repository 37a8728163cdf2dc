"""What do all docks share? Fields above, buttons below them, and a foot that tells how the work goes."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from magicgui.widgets import FileEdit
from magicgui.widgets.bases import Widget
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from ..layers import LayerData, note_of, surface_name
from ..stage import arrange, put, refresh
from ..work import Report, Work, tell

_WIDTH = 330  # pixels, so that no label is cut off


class Dock(QWidget):
    """A view in napari's window. A subclass gives its fields and buttons, and reads and shows; it computes nothing."""

    def __init__(self, viewer: Any, fields: Sequence[Widget], buttons: dict[str, Callable[[], None]]) -> None:
        """buttons: text -> what a click does; they share a row."""
        super().__init__()
        self.viewer = getattr(viewer, "__wrapped__", viewer)  # napari hands docks a proxy
        arrange(self.viewer)
        self._fields, self._work = fields, Work()
        self._buttons = {text: QPushButton(text) for text in buttons}
        for text, act in buttons.items():
            self._buttons[text].clicked.connect(lambda _, act=act: self.attempt(act))
        self._bar, self._cancel = QProgressBar(), QPushButton("Cancel")
        self._cancel.clicked.connect(self._work.stop)
        self._said, self._results = _text(), _text()
        self._form = QFormLayout()
        for field in fields:
            self._form.addRow(field.label, field.native)
        body = QVBoxLayout(self)
        body.addLayout(self._form)
        body.addLayout(_row(self._buttons.values()))
        body.addWidget(self._said)
        body.addWidget(self._results)
        body.addLayout(_row((self._bar, self._cancel)))  # below, so that nothing moves with every short call
        body.addStretch()
        self.setMinimumWidth(_WIDTH)
        self._show_work()
        self._work.said.connect(self._hear)
        self._work.shown.connect(self.watch)
        self._work.changed.connect(self._show_work)
        self._work.failed.connect(self.say)
        self.destroyed.connect(self._work.leave)

    def reset_choices(self, *_: Any) -> None:
        """Called by napari whenever layers come, go or change their names."""
        for field in self._fields:
            if hasattr(field, "reset_choices"):
                field.reset_choices()

    def button(self, text: str) -> QPushButton:
        """A button, by its text; "Cancel" too."""
        return self._cancel if text == "Cancel" else self._buttons[text]

    @property
    def busy(self) -> bool:
        """Whether a function runs for this dock."""
        return self._work.busy

    @property
    def said(self) -> str:
        """The line below the buttons."""
        return self._said.text()

    @property
    def results(self) -> str:
        """What stands below that line, as rich text."""
        return self._results.text()

    def run(self, call: Callable[[Report], Any], done: Callable[[Any], None]) -> None:
        """Run call(report) in a thread, then done(result) here; a call before it is stopped."""
        self._work.start(call, done)

    def attempt(self, act: Callable[[], None]) -> None:
        """Do something now; an error becomes a notification."""
        try:
            act()
        except Exception as error:
            self.say(tell(error))

    def watch(self, something: Any) -> None:
        """What report.show() was given, in the middle of the work; for subclasses that have something to see."""

    def say(self, text: str) -> None:
        """One line below the buttons."""
        self._said.setText(text)

    def show_results(self, rows: Sequence[Sequence[str]]) -> None:
        """A table below that line; cells are rich text, the first column to the left, the others to the right."""
        self._results.setText(_table(rows))

    def relabel(self, field: Widget, text: str) -> None:
        """Another label for a field."""
        self._form.labelForField(field.native).setText(text)

    def put(self, *layers: LayerData) -> None:
        """Add layers, in place of those of the same name."""
        put(self.viewer, *layers)

    def refresh(self, *layers: LayerData) -> None:
        """Show layers that change while one looks, in those that are there."""
        refresh(self.viewer, *layers)

    def hide_layers(self, *names: str) -> None:
        """Hide layers, and their surfaces."""
        for layer in self.viewer.layers:
            if layer.name in names or note_of(layer).of in names:
                layer.visible = False

    def without_surface(self, name: str) -> bool:
        """Whether no layer is the surface of the layer of this name yet."""
        return surface_name(name) not in self.viewer.layers

    def _hear(self, share: float, step: str) -> None:
        self.say(step)
        self._bar.setRange(0, 100 if share > 0 else 0)  # 0 of 0 moves to and fro
        self._bar.setValue(round(100 * max(share, 0)))

    def _show_work(self) -> None:
        for widget in (self._bar, self._cancel):
            widget.setVisible(self.busy)
        for button in self._buttons.values():
            button.setEnabled(not self.busy)
        if not self.busy:
            self.say("")


def file_field(label: str, mode: str, filter: str | None = None, tooltip: str = "") -> FileEdit:
    """A path to choose or to type; `chosen` reads it."""
    field = FileEdit(label=label, mode=mode, filter=filter, tooltip=tooltip)
    field.choose_btn.text = "..."
    field.choose_btn.max_width = 40
    return field


def chosen(field: FileEdit) -> Path | None:
    """The path in a field, None where it is empty."""
    text = field.line_edit.value.strip()
    return Path(text).expanduser() if text else None


def _row(widgets: Iterable[QWidget]) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row


def _text() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td align='right'>&nbsp;&nbsp;{cell}</td>" for cell in others)
        lines.append(f"<tr><td>{first}</td>{cells}</tr>")
    return f"<table width='100%'>{''.join(lines)}</table>"
