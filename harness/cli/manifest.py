"""The verb ``manifest``: a manifest from a folder of recordings and their texts."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

from harness.datasets.load import manifest_from_folder


def manifest(argv: list[str]) -> int:
    """Write manifest.jsonl for a folder of recordings, each with its text beside it.

    a.wav (flac, mp3, ogg; also in folders below) needs a.txt with what is said in it.
    """
    parser = argparse.ArgumentParser(
        prog="python -m harness manifest", description=manifest.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    path = manifest_from_folder(parser.parse_args(argv).folder)
    override = shlex.quote(f"dataset.manifest={_hydra_value(str(path))}")
    print(f"{path}\nnext: python -m harness run dataset=manifest {override}")  # noqa: T201 the answer
    return 0


def _hydra_value(text: str) -> str:
    """``text`` as Hydra reads it back; quoted if its grammar might take it for something else."""
    if re.fullmatch(r"[\w./-]+", text, re.ASCII):
        return text
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text).replace("${", r"\${")
    return f'"{escaped}"'
