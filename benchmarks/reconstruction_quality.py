"""How good is a reconstruction on a head the model never saw? Twenty defects of all styles, cut into that head.

    python benchmarks/reconstruction_quality.py HEAD.nrrd                        # every method, a table
    python benchmarks/reconstruction_quality.py HEAD.nrrd --method network --model weights.safetensors --perturbed
    python benchmarks/reconstruction_quality.py HEAD.nrrd MORE.nrrd --json       # one object
    python benchmarks/reconstruction_quality.py HEAD.nrrd --pictures worst       # of the three worst cases a method

Prints DSC, bDSC, HD95 and MSD of each method per style, in the mean, and of the worst case, on the head's own grid;
and how much each finds missing in the complete head. --perturbed: the same cases turned, shifted, cropped at the
face, on other grids, and speckled, for the network.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from perturbations import PERTURBATIONS, unperturbed
from tqdm.auto import tqdm

from cranial import metrics, report, volume
from cranial.reconstruction import METHODS, Reconstruction, load_model, reconstruct
from cranial.rng import generator
from cranial.skulls.defects import STYLES, Case, cut
from cranial.volume import Volume

SEED = 2026
AS_IT_IS = next(name for name, change in PERTURBATIONS.items() if change is unperturbed)
FIGURES = {"dsc": "DSC", "bdsc": "bDSC", "hd95_mm": "HD95 (mm)", "msd_mm": "MSD (mm)", "seconds": "seconds"}
WORST = 3


def main() -> None:
    options = arguments()
    model = load_model(options.model) if "network" in options.method else None
    rows, complete = [], []
    for path in options.heads:
        head = volume.read(path)
        cases = [cut(head, STYLES[item % len(STYLES)], seed=SEED, item=item) for item in range(options.count)]
        whole = Case(head, head, head.with_mask(head.mask & False), "complete")
        for method in options.method:
            changes = PERTURBATIONS if options.perturbed and method == "network" else {AS_IT_IS: unperturbed}
            for name, change in changes.items():
                of = {"head": path.stem, "method": method, "input": name}
                for item, case in enumerate(tqdm(cases, desc=f"{path.stem}, {method}, {name}", unit="case")):
                    seen = change(case, generator(SEED, item))
                    if seen.implant.mask.any():  # a scan may end above the defect
                        row, _ = scored(seen, method, model)
                        rows.append(of | {"item": item, "style": case.style} | row)
                missing = found(change(whole, generator(SEED, options.count)).seen, method, model)
                complete.append(of | {"false_positive_cm3": missing.defect.volume_mm3 / 1000})
    if options.pictures:
        for row in worst_of(rows, WORST):
            draw(row, options.heads, model, options.pictures)
    result = {"cases": rows, "summary": summary(rows), "complete": complete, "ratios": ratios(rows)}
    print(json.dumps(result) if options.json else tables(result))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heads", nargs="+", type=Path, help="complete skulls that no training saw")
    parser.add_argument("--model", type=Path, help="weights; default: the shipped ones")
    parser.add_argument("--count", type=int, default=20, help="defects per head; default: 20")
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=METHODS, help="default: all")
    parser.add_argument("--perturbed", action="store_true", help="the network also on perturbed inputs")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help=f"draw each method's {WORST} worst cases")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def found(seen: Volume, method: str, model) -> Reconstruction:
    return reconstruct(seen, method=method, model=model if method == "network" else None)


def scored(case, method: str, model) -> tuple[dict[str, float], Volume]:
    """How near a method comes in one case, and its answer."""
    started = time.perf_counter()
    defect = found(case.seen, method, model).defect
    seconds = time.perf_counter() - started
    scores = metrics.evaluate(defect, case.implant, defective=case.defective).as_dict()
    row = {name: scores[name] for name in FIGURES if name in scores}
    return row | {"seconds": seconds, "implant_cm3": case.implant.volume_mm3 / 1000}, defect


def summary(rows: Sequence[dict]) -> dict[str, dict[str, float]]:
    """"method, input, style" -> the figures: of each style and of all cases in the mean, and of the worst case."""
    result = {}
    for method, name in dict.fromkeys((row["method"], row["input"]) for row in rows):
        chosen = [row for row in rows if (row["method"], row["input"]) == (method, name)]
        styles = {style: [row for row in chosen if row["style"] == style] for style in STYLES} | {"all": chosen}
        styles["worst case"] = [min(chosen, key=lambda row: row["dsc"])]
        for style, those in styles.items():
            if those:
                result[f"{method}, {name}, {style}"] = {f: mean(row[f] for row in those) for f in FIGURES}
    return result


def ratios(rows: Sequence[dict]) -> dict[str, float]:
    """Mean DSC of the network over that of the others."""
    dsc = {key.split(", ")[0]: value["dsc"] for key, value in summary(rows).items() if key.endswith(f"{AS_IT_IS}, all")}
    others = [method for method in dsc if method != "network"]
    return {f"dsc_network_over_{method}": dsc["network"] / dsc[method] for method in others if "network" in dsc}


def tables(result: dict) -> str:
    """What a reader wants to see, as Markdown."""
    figures, inputs = result["summary"], dict.fromkeys(row["input"] for row in result["cases"])
    keys = [tuple(key.split(", ")) for key in figures]
    order = [*STYLES, "all", "worst case"]
    styles = sorted((key for key in keys if key[1] == AS_IT_IS), key=lambda key: order.index(key[2]))
    named = [{"style": style, "method": method} | _titled(figures[f"{method}, {name}, {style}"])
             for method, name, style in styles]
    shown = [named]
    if len(inputs) > 1:
        of = {name: [figures[f"network, {name}, {which}"] for which in ("all", "worst case")] for name in inputs}
        shown.append([{"network": name} | _titled(mean_) | {"worst DSC": worst["dsc"]}
                      for name, (mean_, worst) in of.items()])
    shown.append([{"complete head": row["head"], "method": row["method"], "input": row["input"],
                   "found missing (cm3)": row["false_positive_cm3"]} for row in result["complete"]])
    shown.append([{"worst cases": row["method"], "head": row["head"], "item": str(row["item"]), "style": row["style"],
                   "implant (cm3)": row["implant_cm3"]} | _titled(row)
                  for row in worst_of(result["cases"], WORST)])
    return "\n".join(report.table(rows, digits=3) for rows in shown)


def worst_of(rows: Sequence[dict], count: int) -> list[dict]:
    """Of each method the cases with the lowest DSC, unperturbed."""
    rows = sorted((row for row in rows if row["input"] == AS_IT_IS), key=lambda row: row["dsc"])
    methods = dict.fromkeys(row["method"] for row in rows)
    return [row for method in methods for row in [r for r in rows if r["method"] == method][:count]]


def draw(row: dict, heads: Sequence[Path], model, folder: Path) -> None:
    """A case again, in section and from outside, as a PNG."""
    from cranial import figures

    head = volume.read(next(path for path in heads if path.stem == row["head"]))
    case = cut(head, row["style"], seed=SEED, item=row["item"])
    defect = found(case.defective, row["method"], model).defect
    drawn = figures.comparison(
        case.implant, defect, case.defective, title=f"{row['head']}, {row['style']}, {row['method']}",
        score=f"DSC {row['dsc']:.2f}, HD95 {row['hd95_mm']:.1f} mm",
    )
    folder.mkdir(parents=True, exist_ok=True)
    drawn.savefig(folder / f"{row['method']}_{row['head']}_{row['item']:02d}_{row['style']}.png", dpi=150)


def _titled(figures: dict) -> dict[str, float]:
    return {title: figures[name] for name, title in FIGURES.items()}


if __name__ == "__main__":
    main()
