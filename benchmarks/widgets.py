"""How long from a slider's move until its new head is on the way to the screen? Each notebook's widgets, demo sizes.

    python benchmarks/widgets.py     # one JSON object: median milliseconds a move, on the clock and of this thread

`ms` is what a user waits for Python, on a machine with nothing else to do; `cpu_ms` says the same of a busy one. The
browser's share (receiving and drawing) is not in it. The generator of 04 and 05 is untrained: decoding takes as long,
and the surfaces drawn are those of a phantom in a cube as large as theirs.
"""

import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch

from cranial import figures, widgets
from cranial.augment import Draw, apply
from cranial.config import read_yaml
from cranial.reconstruction import reconstruct
from cranial.reconstruction.mix import as_case, lay_cases
from cranial.registration import register
from cranial.skulls.defects import STYLES, cut
from cranial.skulls.phantom import phantom
from cranial.synthesis.recipe import GeneratorRecipe
from cranial.synthesis.trained import untrained

MOVES = 15
RECIPE = Path(__file__).parent.parent / "params" / "demo" / "generators" / "vae.yaml"


def moved(slider) -> Callable[[], None]:
    """Pushes a slider a step further, at its end back to its beginning."""

    def push() -> None:
        further = slider.value + slider.step
        slider.value = further if further <= slider.max else slider.min

    return push


def controls(turned) -> dict:
    """The sliders of `widgets.turn`, by name."""
    return {each.description: each for each in turned.children[0].children[0].children if hasattr(each, "step")}


def notebooks() -> Iterator[tuple[str, Callable[[], None]]]:
    """What each notebook's widget does when a slider is pushed."""
    skulls = [phantom(item, spacing_mm=2.0) for item in (0, 1)]
    fine = cut(phantom(26, spacing_mm=1.0), "bilateral", seed=0)
    look = widgets.look({"bone": fine.defective, "implant": fine.implant})
    look.children[0].children[0].children[1].value = True  # cut open
    yield "01, 08: look, section", moved(look.children[0].children[0].children[0])

    turned = widgets.turn(lambda style, seed, skull: cut(skulls[skull], style, seed=seed),
                          style=STYLES, seed=(0, 20), skull=(0, 1))
    yield "01: turn, seed", moved(controls(turned)["seed"])
    yield "01: turn, skull", moved(controls(turned)["skull"])

    side, edge_mm = 96, 256.0
    channels = lay_cases([cut(phantom(26, spacing_mm=1.2), "frontoorbital", seed=0)], side, edge_mm=edge_mm)[0]
    turned = widgets.turn(
        lambda pitch: as_case(apply(Draw(angles_deg=(pitch, 0.0, 0.0)), channels), edge_mm=edge_mm),
        pitch=(-45.0, 45.0, 5.0), follow=False,
    )
    yield "02: turn, pitch", moved(controls(turned)["pitch"])

    case = cut(phantom(2, spacing_mm=1.5), "parietotemporal", seed=3)
    fitted = register(case.complete, phantom(7, spacing_mm=1.5), alpha=12500, side=64, iterations=(50, 50, 50, 50))
    bent = dict(zip(("bone", "implant"), fitted.carry(case.defective, case.implant), strict=True))
    turned = widgets.turn(lambda step: bent, step=(0, 8), follow=False)
    yield "03: turn, stiffness", moved(controls(turned)["step"])

    recipe = GeneratorRecipe(**read_yaml(RECIPE))
    generator = untrained(recipe, RECIPE.parent)
    small = as_case(lay_cases([fine], recipe.side, edge_mm=edge_mm)[0], edge_mm=edge_mm)
    latent = torch.zeros(1, *generator.latent_shape)

    @torch.no_grad()
    def decoded(first: float):
        torch.sigmoid(generator.decode(latent + first)[0])
        return small

    turned = widgets.turn(decoded, first=(-3.0, 3.0, 0.25), follow=False)
    yield "04, 05: turn, latent", moved(controls(turned)["first"])

    case = cut(phantom(0, seed=2026, spacing_mm=1.5), "parietotemporal", seed=2026)
    found = reconstruct(case.defective, method="mirror").defect
    turned = widgets.turn(lambda case_number: figures.difference(case.implant, found, case.defective),
                          case_number=(0, 3))
    yield "06: turn, case", moved(controls(turned)["case_number"])

    case = cut(phantom(1, seed=2026, spacing_mm=2.0), "frontoorbital", seed=2026)
    tries = [reconstruct(case.defective, method=method).defect for method in ("mirror", "atlas")]
    explored = widgets.explore(
        lambda proposal: drawn(figures.symmetric_differences(
            {"case": case.defective}, tries[:1], [tries[proposal]], names=("vote", "proposal"), pixels=200,
        )),
        proposal=(0, 1),
    )  # fmt: skip
    yield "07: explore, proposal", moved(explored.children[0])

    rng = np.random.default_rng(0)
    values = {name: {f"row {row}": rng.random(24) for row in range(12)} for name in ("seen", "unseen")}
    explored = widgets.explore(
        lambda begins: drawn(figures.methods_compared(values, lowest=begins)), begins=(0.0, 0.95, 0.05)
    )
    yield "09: explore, begins", moved(explored.children[0])

    costs = {f"part {part}, training": rng.random() for part in range(20)}
    explored = widgets.explore(
        lambda share: drawn(figures.cost_by_part({part: cost / share for part, cost in costs.items()}, unit="hours")),
        share=(0.05, 1.0, 0.05),
    )
    yield "10: explore, share", moved(explored.children[0])


def drawn(figure) -> None:
    """As a notebook does: a figure is a PNG before a browser sees it."""
    figure.savefig(io.BytesIO(), format="png")


def main() -> None:
    """Push every slider some times and print the medians."""
    measured = {}
    with redirect_stdout(io.StringIO()):  # outside a notebook, widgets clear the terminal's lines
        for name, push in notebooks():
            push()
            clock, cpu = [], []
            for _ in range(MOVES):
                begun, begun_cpu = time.perf_counter(), time.thread_time()
                push()
                clock.append(1000 * (time.perf_counter() - begun))
                cpu.append(1000 * (time.thread_time() - begun_cpu))
            measured[name] = {"ms": round(statistics.median(clock), 1), "cpu_ms": round(statistics.median(cpu), 1)}
    print(json.dumps({"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(),
                      "load": os.getloadavg()[0], "moves": MOVES, "widgets": measured}, indent=2))


if __name__ == "__main__":
    main()
