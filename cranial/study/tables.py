"""Tables 2 to 6 of the study and an overview, from the scores of its runs, as CSV, Markdown and LaTeX.

A row that is planned and has no finished run is in its tables, and said to be missing.
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..report import table as markdown
from ..statistics import Interval
from .compare import Entry, Planned, entry, table_entries
from .literature import REPORTED
from .scores import METRICS, Scores, read_scores

TITLES = {
    "2": "Table 2. Geometric augmentation",
    "3": "Table 3. Registration: stiffness",
    "4": "Table 4. Sampling strategies of the generators",
    "5": "Table 5. All augmentations",
    "6": "Table 6. Beside the literature",
}
SIGNIFICANT = 0.01
MISSING = "missing"


def shown(entries: Sequence[Entry], distribution: str) -> list[dict[str, str]]:
    """The entries of one distribution as rows of text, ready for report.table."""
    return [_shown(each) for each in entries if each.distribution == distribution]


def _shown(each: Entry) -> dict[str, str]:
    cells = {"method": each.label}
    for metric, (name, digits) in METRICS.items():
        found = None if each.missing else each.metrics.get(metric)
        cells[name] = MISSING if each.missing else _interval(found, digits)
    test = each.against_baseline
    cells["Δ DSC"] = f"{test.median_difference:+.3f}" if test else "–"
    cells["p"] = _p(test and test.p)
    cells["p, by skull"] = _p(test and test.p_clustered)
    cells["synthetic"] = "–" if each.synthetic_cases is None else f"{each.synthetic_cases:,}"
    cells["seeds"] = str(each.seeds)
    cells["± seeds"] = "–" if each.seed_spread is None else f"{each.seed_spread:.3f}"
    return cells


def overview(scores: Scores, *, planned: Sequence[Planned] = ()) -> list[dict[str, str]]:
    """A line a row, whatever table it is of: the baseline, then as planned, then others; as text, for report.table.

    Mean Dice on each distribution; on the last one also HD95, the median difference from the baseline, and both p.
    """
    last, baseline = scores.distributions[-1], scores.baseline
    first = [baseline.first.row] if baseline else []
    rows = dict.fromkeys([*first, *(each.row for each in planned), *scores.methods])
    lines = []
    for method in (scores.methods[row] for row in rows if row in scores.methods):
        found = {name: entry(method, name, baseline=baseline) for name in scores.distributions}
        cells = {name: _shown(each) for name, each in found.items()}
        lines.append(
            {"trained on": method.first.label, "synthetic": cells[last]["synthetic"], "seeds": cells[last]["seeds"]}
            | {f"DSC, {name}": f"{found[name].metrics['dice'].mean:.3f}" for name in scores.distributions}
            | {f"{name}, {last}": cells[last][name] for name in ("Δ DSC", "p", "p, by skull")}
            | {f"HD95, {last}, mm": f"{found[last].metrics['hd95_mm'].mean:.1f}"}
        )
    return lines


def literature_rows(scores: Scores) -> list[dict[str, str]]:
    """Table 6: what others report, then our baseline and our best row of Table 5 on each distribution, as text."""
    rows = [
        _beside(each.method, each.test_set, *map(_reported, (each.dice, each.border_dice, each.hd95_mm)), each.source)
        for each in REPORTED
    ]
    ours = [each for each in table_entries(scores, "5") if not each.missing]
    baseline = scores.baseline
    for name in scores.distributions:
        here = [each for each in ours if each.distribution == name]
        best = max(here, key=lambda each: each.metrics["dice"].mean, default=None)
        plain = [each for each in here if baseline and each.row == baseline.first.row and each is not best]
        for each in [*plain, *([best] if best else [])]:
            means = {
                metric: f"{interval.mean:.{METRICS[metric][1]}f}" for metric, interval in each.metrics.items()
            }
            scale = next(iter(scores.methods.values())).first.scale
            rows.append(_beside(f"ours: {each.label}", f"{name} ({scale} scale)", means["dice"], means["border_dice"],
                                means.get("hd95_mm"), "these runs"))
    return rows


def _beside(method: str, test_set: str, dice: str, border: str, hd95: str | None, source: str) -> dict[str, str]:
    return {"method": method, "test set": test_set, "DSC": dice, "bDSC": border, "HD95, mm": hd95 or "–",
            "source": source}  # fmt: skip


def _reported(value: float | None) -> str:
    """With no more digits than the source gives, and no fewer than two."""
    return "–" if value is None else f"{value:.2f}" if round(value, 2) == value else f"{value:g}"


NOTE = (
    "Mean over the cases [95 % interval, bootstrap over skulls]; a case counts once, with the mean of its seeds. "
    "Δ DSC: median of the differences from the baseline; p: Wilcoxon's signed-rank test of them, taking cases and "
    f"then skulls for independent, * below {SIGNIFICANT}, not corrected for the number of rows. ± seeds: standard "
    "deviation of the seeds' mean DSC."
)


def write_tables(folder: Path | str, output: Path | str, *, planned: Sequence[Planned] = ()) -> list[Path]:
    """Tables 2 to 6 and an overview of the runs below a folder, as CSV, Markdown and LaTeX, each written whole.

    Returns the paths. A table that no run and no planned row names is not written. Raises ScoresError as `read_scores`.
    """
    scores, output = read_scores(folder), Path(output)
    output.mkdir(parents=True, exist_ok=True)
    written = []
    unfinished = f" Not finished yet: {', '.join(scores.unfinished)}." if scores.unfinished else ""
    for table in ("2", "3", "4", "5"):
        entries = table_entries(scores, table, planned=planned)
        if not any(table in each.tables for each in planned) and not scores.of_table(table):
            continue
        parts = {name: shown(entries, name) for name in scores.distributions}
        missing = sorted({each.label for each in entries if each.missing})
        note = NOTE + (f" Missing, for want of a finished run: {', '.join(missing)}." if missing else "") + unfinished
        written += _write_all(output / f"table_{table}", TITLES[table], parts, note, _csv(_tidy(entries)))
    rows = overview(scores, planned=planned)
    if rows:
        written += _write_all(output / "overview", "All rows", {"": rows}, NOTE + unfinished, _csv(rows))
    rows = literature_rows(scores)
    note = "Other test cases, and partly other training data: where the field stands, not who would win on one set."
    written += _write_all(output / "table_6", TITLES["6"], {"": rows}, note, _csv(rows))
    return written


def _tidy(entries: Sequence[Entry]) -> list[dict[str, object]]:
    """A line a row and distribution, plain numbers, for other programs."""
    lines = []
    for each in entries:
        line: dict[str, object] = {"row": each.row, "label": each.label, "distribution": each.distribution,
                                   "missing": int(each.missing), "seeds": each.seeds,
                                   "synthetic_cases": each.synthetic_cases}
        for metric in METRICS:
            found = (each.metrics or {}).get(metric)
            line |= {metric: found and found.mean, f"{metric}_low": found and found.low,
                     f"{metric}_high": found and found.high}
        found, test = (each.metrics or {}).get("dice"), each.against_baseline
        line |= {"cases": found and found.cases, "skulls": found and found.clusters,
                 "cases_without_distance": each.without_distance, "dice_seed_spread": each.seed_spread,
                 "dice_median_difference": test and test.median_difference, "p": test and test.p,
                 "p_clustered": test and test.p_clustered}
        lines.append(line)
    return lines


def _interval(found: Interval | None, digits: int) -> str:
    if found is None:
        return "–"
    between = "" if np.isnan(found.low) else f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return f"{found.mean:.{digits}f}{between}"


def _p(p: float | None) -> str:
    if p is None:
        return "–"
    return ("<0.001" if p < 0.001 else f"{p:.3f}") + ("*" if p < SIGNIFICANT else "")


def _write_all(stem: Path, title: str, parts: Mapping[str, list[dict]], note: str, plain: str) -> list[Path]:
    text, latex = [f"# {title}\n"], [f"% {title}"]
    for name, rows in parts.items():
        heading = f"{name} distribution" if name else ""
        text.append((f"## {heading}\n\n" if name else "") + markdown(rows))
        latex.append(_latex(rows, f"{title}{', ' * bool(heading)}{heading}."))
    text.append(note + "\n")
    return [
        _write(stem.with_suffix(suffix), content)
        for suffix, content in ((".csv", plain), (".md", "\n".join(text)), (".tex", "\n".join([*latex, f"% {note}\n"])))
    ]


def _csv(rows: Sequence[Mapping[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "Δ": r"$\Delta$", "±": r"$\pm$", "–": "--",
          "³": r"$^3$", "<": r"$<$", ">": r"$>$", "*": r"$^*$", "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
          "^": r"\textasciicircum{}", "{": r"\{", "}": r"\}", "α": r"$\alpha$"}  # fmt: skip


def _latex(rows: Sequence[Mapping[str, str]], caption: str) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(sign, sign) for sign in cell) for cell in cells) + r" \\"

    names = list(rows[0])
    columns = "l" + "r" * (len(names) - 1)
    body = [line([row[name] for name in names]) for row in rows]
    return "\n".join([
        r"\begin{table}", rf"\caption{{{line([caption])[:-3]}}}", rf"\begin{{tabular}}{{{columns}}}",
        r"\hline", line(names), r"\hline", *body, r"\hline", r"\end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def _write(path: Path, text: str) -> Path:
    part = path.with_name(f".{path.name}.partial")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
    return path
