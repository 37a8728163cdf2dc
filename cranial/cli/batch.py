"""`cranial batch`: what a whole study comes down to, what it is expected to cost, and then the work itself."""

import argparse
from pathlib import Path


def batch(options: argparse.Namespace) -> None:
    """The whole study at a scale, or what is still missing of it."""
    from cranial.report import table
    from cranial.study import rates
    from cranial.study.batch import run_study, summary
    from cranial.study.planner import make_plan
    from cranial.study.recipe import load_study

    scale, study = load_study(options.scale)
    folder = options.output or Path("outputs/study") / scale
    plan = make_plan(scale, study)
    print(table(summary(plan)))
    print(f"Guessed from times of one core; a GPU is taken for {rates.GPU_TIMES:g} of them: cranial/study/rates.py.")
    for note in plan.skipped:
        print(f"skipped  {note}")
    print(flush=True)
    run_study(plan, study, folder, cache=options.cache, slurm=options.slurm, dry_run=options.dry_run)
    if not options.dry_run:
        print(f"written  {folder / 'rows'} and {folder / 'tables'}")
