"""How good is a reconstruction on a head the model never saw? Twenty defects of all styles, cut into that head.

    python benchmarks/reconstruction_quality.py HEAD.nrrd [MORE.nrrd ...] [--model FILE] [--json]

Prints DSC, bDSC, HD95 and MSD of the network and of the mirror per style and in the mean, on the head's own grid.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import mean

from cranial import metrics, volume
from cranial.reconstruction import load_model, reconstruct
from cranial.skulls.defects import STYLES, cut

SEED = 2026
FIGURES = ("dsc", "bdsc", "hd95_mm", "msd_mm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heads", nargs="+", type=Path, help="complete skulls that no training saw")
    parser.add_argument("--model", type=Path, help="weights; default: the shipped ones")
    parser.add_argument("--count", type=int, default=20, help="defects per head; default: 20")
    parser.add_argument("--methods", nargs="+", default=["network", "mirror"], choices=["network", "mirror"])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    model = load_model(options.model) if "network" in options.methods else None
    rows = []
    for path in options.heads:
        head = volume.read(path)
        for item in range(options.count):
            style = STYLES[item % len(STYLES)]
            case = cut(head, style, seed=SEED, item=item)
            for method in options.methods:
                started = time.perf_counter()
                found = reconstruct(case.defective, method=method, model=model if method == "network" else None)
                seconds = time.perf_counter() - started
                scores = metrics.evaluate(found.defect, case.implant, defective=case.defective)
                rows.append(
                    {
                        "head": path.stem,
                        "item": item,
                        "style": style,
                        "method": method,
                        "seconds": seconds,
                        "implant_cm3": case.implant.volume_mm3 / 1000,
                        **{f: getattr(scores, f) for f in FIGURES},
                    }
                )
                if not options.json:
                    print(_line(f"{path.stem} {item:2d} {style}", method, rows[-1]), flush=True)
    summary = {}
    for method in options.methods:
        for style in (*STYLES, "all"):
            chosen = [r for r in rows if r["method"] == method and style in (r["style"], "all")]
            if chosen:
                summary[f"{method}/{style}"] = {f: mean(r[f] for r in chosen) for f in (*FIGURES, "seconds")}
        worst = min((r for r in rows if r["method"] == method), key=lambda r: r["dsc"])
        summary[f"{method}/worst"] = {f: worst[f] for f in (*FIGURES, "seconds")}
    ratios = {}
    if len(options.methods) == 2:
        ratios["dsc_network_over_mirror"] = summary["network/all"]["dsc"] / summary["mirror/all"]["dsc"]
    if options.json:
        print(json.dumps({"cases": rows, "summary": summary, "ratios": ratios}))
        return
    print()
    for name, figures in summary.items():
        method, style = name.split("/")
        print(_line(style, method, figures))


def _line(label: str, method: str, r: dict) -> str:
    return (
        f"{label:36s} {method:8s} DSC {r['dsc']:.3f}  bDSC {r['bdsc']:.3f}  HD95 {r['hd95_mm']:6.2f} mm  "
        f"MSD {r['msd_mm']:5.2f} mm  {r['seconds']:5.2f} s"
    )


if __name__ == "__main__":
    main()
