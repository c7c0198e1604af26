"""The verb ``baseline``: named reference runs."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
from rich.console import Console

from harness.verdicts.baselines import FOLDER, list_baselines, load_baseline, save_baseline

USAGE = """\
python -m harness baseline save NAME RUN [--replace]
       python -m harness baseline list
       python -m harness baseline show NAME

Baselines are files in reports/baselines/, small enough to commit, bound to the machine, the
versions, the model, the clips and the config they were made with.
"""


def baseline(argv: list[str]) -> int:
    """Named reference runs, bound to the environment they were made in."""
    parser = argparse.ArgumentParser(prog="python -m harness baseline", usage=USAGE)
    commands = parser.add_subparsers(dest="command", required=True)
    save = commands.add_parser("save")
    save.add_argument("name")
    save.add_argument("run", type=Path)
    save.add_argument("--replace", action="store_true")
    commands.add_parser("list")
    commands.add_parser("show").add_argument("name")
    options = parser.parse_args(argv)
    console = Console(highlight=False, soft_wrap=True)
    match options.command:
        case "save":
            path = save_baseline(options.name, options.run, replace=options.replace)
            console.print(f"{path}\nnext: git add {path}; python -m harness gate RUN gate=ci "
                          f"--baseline {options.name}", markup=False)  # fmt: skip
        case "list":
            for name in list_baselines():
                console.print(name, markup=False)
            if not list_baselines():
                console.print(f"none in {FOLDER} yet: python -m harness baseline save NAME RUN")
        case "show":
            found = load_baseline(options.name)
            console.print(f"{found.name}: run {found.run}, {len(found.clips)} sessions")
            console.print(msgspec.json.format(msgspec.json.encode(found.environment)).decode(),
                          markup=False)  # fmt: skip
    return 0
