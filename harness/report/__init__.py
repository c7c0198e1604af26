"""Reports of finished runs: plots, page, Markdown, tables. Needs neither a model nor torch.

What draws is imported when something is drawn: a verb that only prints a verdict would wait for
matplotlib longer than for its own work.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import StorageError
from harness.report.arms import Arm, make_arms
from harness.runs.folder import Run, write_text
from harness.runs.summarise import summarise_run

if TYPE_CHECKING:
    from harness.report.style import NoPlot, Plot
    from harness.report.timeline import Audio


def write_report(
    runs: Sequence[Run],
    out: Path,
    *,
    trace: bool = False,
    audio: Audio | None = None,
    embed_audio: bool = False,
) -> list[Path]:
    """Write the report of one run, or of the arms of a comparison.

    Args:
        runs: one an arm; differences are counted from the first. One that did not finish is
            summarised from the clips that it kept.
        out: the folder to write to; made if it is not there.
        trace: also write ``trace.json``, for Perfetto or Chrome's trace viewer.
        audio: the clips' samples by id, where they are at hand: for the waveforms.
        embed_audio: put them into the page as well, so that it plays them.

    Returns:
        The files written.

    Raises:
        StorageError: a file cannot be written.
    """
    arms = make_arms(runs, [run.summary or summarise_run(run) for run in runs])
    return write_arms(arms, out, trace=trace, audio=audio, embed_audio=embed_audio)


def write_arms(
    arms: Sequence[Arm],
    out: Path,
    *,
    trace: bool = False,
    audio: Audio | None = None,
    embed_audio: bool = False,
) -> list[Path]:
    """As :func:`write_report`, for arms that have been compared already."""
    with _uncollected():
        return _write_arms(arms, out, trace, audio if embed_audio else None, audio)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection: libraries that are loaded and figures are no garbage yet."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _write_arms(
    arms: Sequence[Arm], out: Path, trace: bool, embedded: Audio | None, audio: Audio | None
) -> list[Path]:
    from harness.report.drawn import write_index
    from harness.report.exports import comparison_csv, markdown
    from harness.report.page import page
    from harness.report.perfetto import trace_json
    from harness.report.style import Plot, write_plot

    try:
        (out / "plots").mkdir(parents=True, exist_ok=True)
        plots = draw_plots(arms, audio)
        written: list[Path] = []
        for plot in plots:
            if isinstance(plot, Plot):
                written += write_plot(plot, out / "plots")
        written.append(write_index(plots, out / "plots"))
    except OSError as error:
        raise StorageError(
            f"cannot write the report to {out}: {error.strerror or error}",
            hint="choose another folder with report --out FOLDER",
        ) from error
    texts = {
        "report.html": page(arms, plots, embedded),
        "report.md": markdown(arms, plots),
    }
    if len(arms) > 1:
        texts["comparison.csv"] = comparison_csv(arms)
    if trace:
        texts["trace.json"] = trace_json(arms)
    for name, text in texts.items():
        write_text(out / name, text)
        written.append(out / name)
    return written


def renew_texts(arms: Sequence[Arm], out: Path, audio: Audio | None = None) -> bool:
    """Write page and Markdown anew around the plots that lie in ``out``: a verdict has changed.

    Returns:
        Whether it could be done: False where the plots are of an older harness, or not all there.
    """
    from harness.report.drawn import read_drawn
    from harness.report.exports import markdown
    from harness.report.page import page

    plots = read_drawn(out / "plots")
    if plots is None:
        return False
    write_text(out / "report.html", page(arms, plots, audio))
    write_text(out / "report.md", markdown(arms, plots))
    return True


def draw_plots(arms: Sequence[Arm], audio: Audio | None = None) -> list[Plot | NoPlot]:
    """Every plot, in the order of the page; one that has no data says why."""
    from harness.report import causes, distributions, timeline, tradeoffs
    from harness.report.style import styled

    what_if = tradeoffs.WhatIf(arms[0])
    with styled():
        return [
            distributions.ttft_ecdf(arms),
            distributions.paired_differences(arms),
            causes.latency_budget(arms),
            timeline.clip_timeline(arms, audio),
            distributions.gaps_ecdf(arms),
            tradeoffs.words_per_chunk(arms, what_if),
            tradeoffs.pareto(arms, what_if),
            causes.word_delay(arms),
            tradeoffs.word_errors(arms),
            causes.drift(arms),
            distributions.instrument_plot(arms),
        ]
