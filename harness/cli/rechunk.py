"""The verb ``rechunk``: other chunking strategies on a run's recorded tokens."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.cli.results import conclude
from harness.errors import UsageError
from harness.experiments.rechunk import rechunk_run
from harness.runs.folder import load_run

USAGE = """\
python -m harness rechunk RUN chunking=CHOICE[,CHOICE...] [--out FOLDER]

Releases a run's recorded tokens as other chunking strategies would have, without a model and
without noise: what differs between the results is the strategy alone. Each strategy gets a run
folder of its own in FOLDER (default: RUN-rechunked).
"""


def rechunk(argv: list[str]) -> int:
    """Apply other chunking strategies to a run's recorded tokens."""
    parser = argparse.ArgumentParser(prog="python -m harness rechunk", usage=USAGE)
    parser.add_argument("run", type=Path)
    parser.add_argument("overrides", nargs="+")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    from harness.cli.compose import compose_alone, to_config
    from harness.cli.sweeping import Sweep

    foreign = [o for o in options.overrides if not o.startswith("chunking")]
    if foreign:
        raise UsageError(
            "rechunk changes the chunking and nothing else",
            value=" ".join(foreign),
            allowed="chunking=CHOICE and chunking.FIELD=VALUE",
        )
    source = load_run(options.run)
    out: Path = options.out or options.run.with_name(f"{options.run.resolve().name}-rechunked")
    sweep = Sweep(options.overrides)
    folders = []
    for arm in sweep.arms:
        config = to_config(compose_alone([*sweep.fixed, *arm.overrides]))
        folders.append(rechunk_run(source, config.chunking, out))
    return conclude(folders)
