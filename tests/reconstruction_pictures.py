"""Pictures of what the shipped model proposes for phantoms it never saw; it tests nothing.

    python tests/reconstruction_pictures.py docs/pictures    # the README's, and the card's of a failure
"""

import sys
from pathlib import Path

from cranial import figures, metrics
from cranial.reconstruction import reconstruct
from cranial.skulls.defects import cut
from cranial.skulls.phantom import phantom

SEED = 2026
PICTURES = {
    "reconstruction": (5, "random_1", 2, "A hole in a phantom that the network never saw"),
    "reconstruction_fails": (3, "bilateral", 1, "Both temples, with the roofs of the orbits"),
}


def main(folder: Path) -> None:
    """Draw each."""
    for name, (item, style, seed, title) in PICTURES.items():
        case = cut(phantom(item, seed=SEED, spacing_mm=1.0), style, seed=seed)
        defect = reconstruct(case.defective).defect
        found = metrics.evaluate(defect, case.implant, defective=case.defective)
        score = f"DSC {found.dsc:.2f}, HD95 {found.hd95_mm:.1f} mm"
        drawn = figures.comparison(case.implant, defect, case.defective, title=title, score=score)
        drawn.savefig(folder / f"{name}.png", dpi=110)
        print(name, score)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
