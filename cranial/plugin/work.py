"""How does a function run without napari standing still? In a thread; it reports, can be stopped, and its errors speak.

One function runs at a time, whatever dock asked: numba's and torch's threads share the machine, and numba's may not
be asked for by two at once.
"""

import threading
from collections.abc import Callable
from typing import Any

from napari.qt.threading import create_worker
from napari.utils.notifications import notification_manager, show_error
from qtpy.QtCore import QObject, Signal

from .drivers import keep_triton_out

EXPECTED = (ValueError, OSError, ModuleNotFoundError, MemoryError)  # their sentence says what to do
_TURN = threading.Lock()


class Stopped(Exception):
    """Raised within a function that was asked to stop, at its next report."""


class Report:
    """What a running function is given: report(share, step) tells how far it is, report.show(x) shows x meanwhile.

    Both raise Stopped where the work is to end. share: from 0 to 1.
    """

    def __init__(self, work: "Work") -> None:
        self._work, self._stop = work, threading.Event()

    def __call__(self, share: float, step: str) -> None:
        self.check()
        self._work.said.emit(float(share), step)

    def show(self, something: Any) -> None:
        """Hand something to the dock, in the middle of the work."""
        self.check()
        self._work.shown.emit(something)

    def check(self) -> None:
        """Raise Stopped if the work is to end."""
        if self._stop.is_set():
            raise Stopped

    def stop(self) -> None:
        """From any thread: end the work at its next report."""
        self._stop.set()


class Work(QObject):
    """The work of one dock: at most one call at a time; a new one stops the one before and takes its place."""

    said = Signal(float, str)
    shown = Signal(object)
    changed = Signal()  # whether it is busy
    failed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._report: Report | None = None
        self._next: tuple[Callable, Callable] | None = None

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return self._report is not None

    def start(self, call: Callable[[Report], Any], done: Callable[[Any], None]) -> None:
        """Run call(report) in a thread, then done(result) in napari's own."""
        if self.busy:
            self._next = (call, done)
            self._report.stop()
            return
        report = self._report = Report(self)
        worker = create_worker(_attempt, call, report)
        worker.returned.connect(lambda outcome: self._finish(*outcome, done))
        self.changed.emit()
        worker.start()

    def stop(self) -> None:
        """Ask the call to end; it does at its next report, and if it has none its result is dropped."""
        self._next = None
        if self.busy:
            self._report.stop()
            self.said.emit(-1.0, "stopping ...")

    def leave(self) -> None:
        """The dock is gone: stop, and show nothing any more."""
        self.blockSignals(True)
        self._next = None
        if self.busy:
            self._report.stop()

    def _finish(self, result: Any, error: Exception | None, done: Callable[[Any], None]) -> None:
        stopped = isinstance(error, Stopped) or self._report._stop.is_set()
        self._report = None
        if self.signalsBlocked():
            return
        following, self._next = self._next, None
        if following:
            self.start(*following)
            return
        self.changed.emit()
        if stopped:
            self.said.emit(-1.0, "stopped")
        elif error is not None:
            self.failed.emit(tell(error))
        else:
            done(result)


def tell(error: Exception) -> str:
    """Show an error as a notification: its sentence, or where it is nobody's mistake but ours, where it comes from."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError):
        text = f"not enough memory ({text}); close other programs, or use larger voxels"
    if isinstance(error, EXPECTED):
        show_error(text)
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)
        text = f"{type(error).__name__}: {text} (this looks like a bug)"
    return text


def _attempt(call: Callable[[Report], Any], report: Report) -> tuple[Any, Exception | None]:
    """In the thread: the result, or the error that came instead."""
    try:
        while not _TURN.acquire(timeout=0.1):
            report(0.0, "waiting for another dock")
    except Stopped as error:
        return None, error
    try:
        keep_triton_out()
        report(0.0, "")
        return call(report), None
    except Exception as error:
        return None, error
    finally:
        _TURN.release()
