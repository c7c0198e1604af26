"""The verb ``align``: word timings, speech onset and end for a manifest."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.datasets.alignment import Aligner, PocketsphinxAligner, align_manifest, plot_words


def align(argv: list[str]) -> int:
    """Add word timings, speech onset and end to a manifest, by forced alignment.

    Clips that cannot be aligned stay as they were and are named, and the exit code is 2.
    """
    parser = argparse.ArgumentParser(prog="python -m harness align", description=align.__doc__)
    parser.add_argument("manifest", metavar="MANIFEST")
    parser.add_argument(
        "--model", metavar="CTC", help="a CTC model, hub id or folder (default: pocketsphinx)"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FOLDER", help="draw the words onto the sound, to check by eye"
    )
    options = parser.parse_args(argv)
    aligned = align_manifest(options.manifest, _aligner(options.model))
    print(f"{options.manifest}: word timings of {len(aligned.clips)} clips")  # noqa: T201 the answer
    if options.plot:
        for page in plot_words(aligned.clips, options.plot):
            print(page)  # noqa: T201 the answer
    aligned.problems.raise_all(every=True)
    return 0


def _aligner(model: str | None) -> Aligner:
    if model is None:
        return PocketsphinxAligner()
    from harness.datasets.alignment_ctc import CtcAligner

    return CtcAligner(model)
