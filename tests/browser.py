"""JupyterLab in a real browser, for tests: a server of its own, Chromium without a window, a page a notebook."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE_S = 90
# Software rendering for the 3-D views, and no call to anywhere.
_OPTIONS = [
    "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # every cell is on the page
}
_RUN_ALL = """async () => { await jupyterapp.commands.execute("notebook:run-all-cells"); }"""
_ERRORS = """() => jupyterapp.shell.currentWidget.context.model.toJSON().cells
    .flatMap(cell => cell.outputs || []).filter(output => output.output_type === "error")
    .map(output => output.ename + ": " + output.evalue)"""
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
            except (urllib.error.URLError, ValueError):
                pass
        time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not start within {_PATIENCE_S} s:\n{log.read_text(encoding='utf-8')}")


@contextmanager
def chromium(width: int = 1500, height: int = 1000) -> Iterator[Any]:
    """A page of a Chromium that can't reach the net."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=_OPTIONS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.route(lambda url: "//127.0.0.1" not in url and "//localhost" not in url, lambda route: route.abort())
        page.set_default_timeout(1000 * _PATIENCE_S)
        try:
            yield page
        finally:
            browser.close()


def run_all(page: Any, address: str, notebook: str) -> list[str]:
    """Open a notebook, run all cells, wait until the last has ended; returns the errors that it shows."""
    page.goto(f"{address}lab/tree/{notebook}?reset")
    page.wait_for_function(_READY)
    page.evaluate(_RUN_ALL)
    return page.evaluate(_ERRORS)


def move_a_slider(page: Any) -> float:
    """Press an arrow on the first slider whose widget shows a picture; seconds until there is another picture."""
    shown = page.locator(".widget-interact").filter(has=page.locator(".noUi-handle")).first
    picture = shown.locator("img").first
    before = picture.get_attribute("src")
    shown.locator(".noUi-handle").first.focus()
    started = time.monotonic()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "([picture, before]) => document.contains(picture) ? picture.src !== before : true",
        arg=[picture.element_handle(), before],
    )
    after = shown.locator("img").first
    after.wait_for()
    if after.get_attribute("src") == before:
        raise AssertionError("the slider moved, and the picture is the same")
    return time.monotonic() - started
