"""The verb ``manifest``: a manifest from a folder of recordings and their texts."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

from harness.datasets.folder import manifest_from_folder
from harness.datasets.manifest import raise_all

_SHOWN = 20  # files that were left out: the rest is counted


def manifest(argv: list[str]) -> int:
    """Write manifest.jsonl for a folder of recordings, each with its text beside it.

    a.wav (flac, mp3, ogg, opus, aiff or what else libsndfile reads; also in folders below) needs
    a.txt with what is said in it. What cannot be used is named, and the exit code is 2.
    """
    parser = argparse.ArgumentParser(
        prog="python -m harness manifest", description=manifest.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--language",
        default="en",
        metavar="TAG",
        help="of the clips, such as de, pt-BR or zh (default: en)",
    )
    parser.add_argument(
        "--add", action="store_true", help="add the recordings that a manifest lacks"
    )
    options = parser.parse_args(argv)
    made = manifest_from_folder(options.folder, language=options.language, add=options.add)
    override = shlex.quote(f"dataset.manifest={_hydra_value(str(made.path))}")
    clips = f"{made.added} clips added to {made.kept}" if options.add else f"{made.added} clips"
    report = [f"{made.path}: {clips}, {len(made.left_out) + len(made.problems)} files left out"]
    report += [f"left out: {left.path} ({left.why})" for left in made.left_out[:_SHOWN]]
    if len(made.left_out) > _SHOWN:
        report.append(f"left out: {len(made.left_out) - _SHOWN} more files")
    report += [f"warning: {doubt}; state it with --language TAG" for doubt in made.doubts]
    report.append(f"next: python -m harness run dataset=manifest {override}")
    print("\n".join(report))  # noqa: T201 the answer
    raise_all(made.problems, f"{options.folder}, left out", every=True)
    return 0


def _hydra_value(text: str) -> str:
    """``text`` as Hydra reads it back; quoted if its grammar might take it for something else."""
    if re.fullmatch(r"[\w./-]+", text, re.ASCII):
        return text
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text).replace("${", r"\${")
    return f'"{escaped}"'
