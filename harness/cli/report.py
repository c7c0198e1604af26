"""The verb ``report``: make tables and plots again from saved runs, without a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.results import arms_from, arms_of, finished, print_arms, remake
from harness.experiments.saved import import_session, imported_to
from harness.runs.folder import load_run
from harness.verdicts import exit_code, worst


def report(argv: list[str]) -> int:
    """Make tables and plots again from saved runs."""
    parser = argparse.ArgumentParser(prog="python -m harness report", description=report.__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, or a comparison's"
    )
    parser.add_argument("--out", type=Path, help="where to write (default: the first run's folder)")
    parser.add_argument("--audio", action="store_true", help="put the clips' sound into the page")
    parser.add_argument("--trace", action="store_true", help="also trace.json, for Perfetto")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", dest="show", action="store_const", const="json", default="table")
    shown.add_argument("--quiet", dest="show", action="store_const", const="quiet")
    options = parser.parse_args(argv)
    folders = [folder for run in options.runs for folder in arms_of(import_session(run))]
    runs = [finished(load_run(folder)) for folder in folders]
    out: Path = options.out or imported_to(options.runs[0])
    arms = arms_from(runs)
    for path in remake(arms, out, embed_audio=options.audio, trace=options.trace):
        if options.show == "table":
            print(path)  # noqa: T201 the answer
    print_arms(arms, out, options.show)
    return exit_code(worst([arm.summary.verdict.status for arm in arms]))
