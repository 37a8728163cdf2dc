"""JupyterLab in a real browser, for tests: a server of its own, Chromium without a window, a page a notebook."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.image import imread

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_S = 240  # on a machine that is busy with other things
_SETTLE_MS = 4000  # JupyterLab asks a new kernel for its widgets; one made meanwhile would lose its first changes
# Software rendering for the 3-D views, and no call to anywhere.
_OPTIONS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # every cell is on the page
}
_HANDLE = ".noUi-handle"  # of an ipywidgets slider
_RUN_ALL = """async () => { await jupyterapp.commands.execute("notebook:run-all-cells"); }"""
_ERRORS = """() => jupyterapp.shell.currentWidget.context.model.toJSON().cells
    .flatMap(cell => cell.outputs || []).filter(output => output.output_type === "error")
    .map(output => output.ename + ": " + output.evalue)"""
_WIDGETS = """([handle, count]) => [...document.querySelectorAll(".jp-OutputArea-output")]
    .filter(output => output.querySelector(handle)).length"""
_READY = """() => window.jupyterapp &&
    jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === "idle" """


def why_no_browser() -> str:
    """Why there is no JupyterLab in a browser here, "" where there is."""
    try:
        import jupyterlab  # noqa: F401
        import playwright  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed; pip install 'cranial[lab,dev]'"
    if not any(map(shutil.which, BROWSERS)):
        return "there is no Chromium; on Debian: apt install chromium"
    return ""


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """JupyterLab over a folder, as long as the block lasts; gives its address."""
    config = folder / ".config"
    (config / "labconfig").mkdir(parents=True)
    (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(_SETTINGS), encoding="utf-8")
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(config), "JUPYTER_RUNTIME_DIR": str(config / "runtime"),
        "JUPYTER_DATA_DIR": str(config / "data"),
    }  # fmt: skip
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port=0",
        "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    log = config / "server.log"
    with (
        log.open("w") as said,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said) as server,
    ):
        try:
            yield _address(config / "runtime", log)
        finally:
            server.terminate()


def _address(runtime: Path, log: Path) -> str:
    """Where the server listens, once it does."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        for described in runtime.glob("jpserver-*.json"):
            url = json.loads(described.read_text(encoding="utf-8") or "{}").get("url")
            try:
                urllib.request.urlopen(f"{url}api", timeout=5)
                return url
            except (OSError, ValueError):
                pass
        time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not start within {_PATIENCE_S} s:\n{log.read_text(encoding='utf-8')}")


@contextmanager
def chromium(refused: list[str], *, width: int = 1500, height: int = 1000) -> Iterator[Any]:
    """A page of a Chromium that can't reach the net; refused: gathers the addresses that it would have liked."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=_OPTIONS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.route(lambda url: "//127.0.0.1" not in url and "//localhost" not in url,
                   lambda route: (refused.append(route.request.url), route.abort()))
        page.set_default_timeout(1000 * _PATIENCE_S)
        try:
            yield page
        finally:
            browser.close()


def run_all(page: Any, address: str, notebook: str) -> list[str]:
    """Open a notebook, run all cells, wait until the last has ended; returns the errors that it shows."""
    page.goto(f"{address}lab/tree/{notebook}?reset")
    page.wait_for_function(_READY)
    page.wait_for_timeout(_SETTLE_MS)
    page.evaluate(_RUN_ALL)
    return page.evaluate(_ERRORS)


def move_a_slider(page: Any, which: int = 0) -> float:
    """Move the first slider of the widget of this number to its end; seconds until one of its pictures is another."""
    shown = page.locator(".jp-OutputArea-output").filter(has=page.locator(_HANDLE)).nth(which)
    shown.locator(_HANDLE).first.focus()
    before = _still(shown)
    started = time.monotonic()
    page.keyboard.press("End")
    now = before
    while not now or now == before:
        if time.monotonic() - started > _PATIENCE_S:
            raise AssertionError(f"a slider of widget {which} moved, and its pictures are the same")
        now = _pictures(shown)
    return time.monotonic() - started


def photograph(page: Any, path: Path) -> None:
    """The whole notebook from top to bottom, as PNG."""
    height = page.evaluate("() => document.querySelector('.jp-Notebook .jp-WindowedPanel-viewport').scrollHeight")
    before = page.viewport_size
    page.set_viewport_size({"width": before["width"], "height": int(height) + 150})
    page.evaluate("() => document.querySelector('.jp-WindowedPanel-viewport').closest('.jp-WindowedPanel-outer')"
                  "?.scrollTo(0, 0)")
    page.wait_for_timeout(_SETTLE_MS)
    page.screenshot(path=path)
    page.set_viewport_size(before)


def await_widgets(page: Any, count: int) -> None:
    """Wait until so many outputs of the notebook have a slider; raises TimeoutError if they never do."""
    page.wait_for_function(_WIDGETS + " === count", arg=[_HANDLE, count])


def settle(page: Any) -> None:
    """Wait until every widget of the notebook shows something, and stays as it is."""
    shown = page.locator(".jp-OutputArea-output").filter(has=page.locator(_HANDLE))
    for which in range(shown.count()):
        _still(shown.nth(which))


def _still(shown: Any) -> list[bytes]:
    """A widget's pictures, when there are some that show something, and they no longer change."""
    until = time.monotonic() + _PATIENCE_S
    before, now = [], _pictures(shown)
    while not now or now != before or any(map(_blank, now)):
        if time.monotonic() > until:
            raise AssertionError(f"after {_PATIENCE_S} s a widget has {len(now)} pictures, or an empty one")
        shown.page.wait_for_timeout(300)
        before, now = now, _pictures(shown)
    return now


def _pictures(shown: Any) -> list[bytes]:
    """A widget's pictures and 3-D views as they are on the screen, PNG each; [] while they are being replaced."""
    from playwright.sync_api import Error

    pictures = []
    try:
        for place in shown.locator("canvas, img").all():
            place.evaluate("place => place.scrollIntoView({block: 'center'})", timeout=5000)
            box = place.bounding_box(timeout=5000)
            if box is not None and min(box["width"], box["height"]) > 150:  # smaller ones are keys and badges
                pictures.append(shown.page.screenshot(clip=box))
    except Error:
        return []
    return pictures


def _blank(png: bytes) -> bool:
    """Of one colour, nearly: nothing is drawn yet."""
    return float(imread(io.BytesIO(png))[..., :3].std()) < 0.01
