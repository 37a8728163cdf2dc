"""Pictures of notebooks in JupyterLab, from top to bottom; it tests nothing.

    python tests/notebook_tour.py FOLDER [NAME ...]      # FOLDER/NAME.png each, and FOLDER/NAME_by_hand.png, its end
    python tests/notebook_tour.py docs/pictures 01_skulls && mv docs/pictures/01_skulls_by_hand.png \
        docs/pictures/notebook.png && rm docs/pictures/01_skulls.png                # the picture of the README

With values between those of the tests and those of the demo: phantoms only, minutes each.
"""

import sys
import tempfile
from pathlib import Path

from browser import chromium, jupyterlab, photograph, run_all, settle, why_no_browser
from tiny_notebooks import TINY, write_notebooks

VALUES = TINY | {
    "01_skulls": {"count": 6, "fine_spacing_mm": 1.5, "styles": ["skullfix", "bilateral", "craniotomy"]},
    "02_geometric_augmentation": {"train_steps": 8, "columns": 5, "train_skulls": 4},
    "03_registration": {"side": 48, "iterations": [30, 30, 30], "set_count": 7, "set_phantoms": 4},
    "08_clinical_case": {"method": "mirror", "phantom_spacing_mm": 2.5},
}


def main(folder: Path, names: list[str]) -> None:
    """Run each notebook and photograph it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        write_notebooks(Path(place), VALUES)
        with jupyterlab(Path(place)) as address, chromium([], width=1300, height=1250) as page:
            for name in names or VALUES:
                errors = run_all(page, address, f"{name}.ipynb")
                settle(page)
                page.locator(".jp-MarkdownCell h2").last.scroll_into_view_if_needed()
                page.locator(".jp-CodeCell").last.scroll_into_view_if_needed()
                page.screenshot(path=folder / f"{name}_by_hand.png")
                photograph(page, folder / f"{name}.png")
                print(name, *errors, flush=True)


if __name__ == "__main__":
    if why := why_no_browser():
        sys.exit(why)
    main(Path(sys.argv[1]), sys.argv[2:])
