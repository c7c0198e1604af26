"""The verbs that make datasets: ``manifest`` and ``align``."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.alignment import Aligner, PocketsphinxAligner, align_manifest, plot_words
from harness.dataset import manifest_from_folder


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
    print(f"{path}\nnext: python -m harness run dataset=manifest dataset.manifest={path}")  # noqa: T201
    return 0


def align(argv: list[str]) -> int:
    """Add word timings, speech onset and end to a manifest, by forced alignment."""
    parser = argparse.ArgumentParser(prog="python -m harness align", description=align.__doc__)
    parser.add_argument("manifest", metavar="MANIFEST")
    parser.add_argument(
        "--model", metavar="CTC", help="a CTC model, hub id or folder (default: pocketsphinx)"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FOLDER", help="draw the words onto the sound, to check by eye"
    )
    options = parser.parse_args(argv)
    clips = align_manifest(options.manifest, _aligner(options.model))
    print(f"{options.manifest}: word timings of {len(clips)} clips")  # noqa: T201 the answer
    if options.plot:
        for page in plot_words(clips, options.plot):
            print(page)  # noqa: T201 the answer
    return 0


def _aligner(model: str | None) -> Aligner:
    if model is None:
        return PocketsphinxAligner()
    from harness.alignment_ctc import CtcAligner

    return CtcAligner(model)
