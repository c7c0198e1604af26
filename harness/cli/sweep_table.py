"""The table over a sweep: one line a job, on the terminal and in ``sweep.md`` and ``sweep.csv``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.errors import HarnessError
from harness.metrics import Distribution
from harness.report.text import DASH, ms, percent
from harness.runs.folder import load_run, write_json, write_text
from harness.runs.records import Summary
from harness.text import csv_cell, escape_markdown, visible

if TYPE_CHECKING:
    from harness.cli.jobs import Job

_VERDICTS = {0: "ok", 1: "error", 2: "error", 3: "FAIL", 4: "not known"}


class SweepRow(msgspec.Struct, frozen=True):
    """A job of the sweep, in ``sweep.json``."""

    number: int
    choices: str  # what is swept, and this job's value of it
    folder: str
    verdict: str
    exit_code: int
    sessions: int = 0
    failed: int = 0
    ttft_p50_ms: float | None = None
    ttft_p95_ms: float | None = None
    wer: float | None = None
    objective: float | None = None
    error: str | None = None


def write_table(jobs: Sequence[Job], folder: Path) -> None:
    """Write ``sweep.json``, ``sweep.csv`` and ``sweep.md``; then print the table."""
    shared = shared_by(jobs)
    rows = [_row(job, shared) for job in jobs]
    named = next((job.objective for job in jobs if job.objective is not None), None)
    write_json(folder / "sweep.json", {"schema": 1, "objective": named, "jobs": rows})
    write_text(folder / "sweep.csv", _csv(rows))
    heads, lines = _cells(rows, named)
    texts = [list(map(escape_markdown, line)) for line in (heads, *lines)]
    texts.insert(1, ["---"] * len(heads))
    write_text(folder / "sweep.md", "".join(f"| {' | '.join(line)} |\n" for line in texts))
    if jobs[0].show == "table":
        _print(heads, lines, folder)


def shared_by(jobs: Sequence[Job]) -> set[str]:
    """The overrides of all jobs: they tell none from the others."""
    shared = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs))
    return shared if len(jobs) > 1 else set()


def _row(job: Job, shared: set[str]) -> SweepRow:
    choices = " ".join(override for override in job.overrides if override not in shared)
    row = SweepRow(
        number=job.number, choices=choices, folder=job.folder, exit_code=job.code,
        verdict=_VERDICTS.get(job.code, "error"), error=job.error, objective=_finite(job.value),
    )  # fmt: skip
    try:
        summary = load_run(Path(job.folder)).summary
    except HarnessError:  # it left no run, and why stands in its error; or it was of another verb
        return row
    return row if summary is None else _with_figures(row, summary)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _with_figures(row: SweepRow, summary: Summary) -> SweepRow:
    ttft, wer = summary.metrics.get("ttft_ms"), summary.metrics.get("wer")
    status = "INVALID" if summary.validity else summary.verdict.status.upper()
    return msgspec.structs.replace(
        row,
        verdict="no gate" if status == "NONE" else status,
        sessions=summary.clips * summary.repeats,
        failed=summary.failed,
        ttft_p50_ms=ttft.p50 if isinstance(ttft, Distribution) else None,
        ttft_p95_ms=ttft.p95 if isinstance(ttft, Distribution) else None,
        wer=getattr(wer, "value", None),
    )


def _cells(rows: Sequence[SweepRow], objective: str | None) -> tuple[list[str], list[list[str]]]:
    heads = ["job", "what", "verdict", "failed", "TTFT p50", "TTFT p95", "WER", "folder"]
    lines = [
        [
            str(row.number), row.choices, row.verdict, f"{row.failed} of {row.sessions}",
            ms(row.ttft_p50_ms), ms(row.ttft_p95_ms), percent(row.wer), Path(row.folder).name,
        ]
        for row in rows
    ]  # fmt: skip
    if objective is not None:
        heads.insert(3, objective)
        for row, line in zip(rows, lines, strict=True):
            line.insert(3, DASH if row.objective is None else f"{row.objective:.6g}")
    return heads, lines


def _csv(rows: Sequence[SweepRow]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SweepRow.__struct_fields__)
    for row in rows:
        values = msgspec.structs.astuple(row)
        writer.writerow([csv_cell(v) if isinstance(v, str) else v for v in values])
    return text.getvalue()


def _print(heads: Sequence[str], lines: Sequence[Sequence[str]], folder: Path) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for head in heads[:-1]:  # without the folder, which is called after the job
        wraps = head == "what"
        table.add_column(Text(visible(head)), no_wrap=not wraps, overflow="fold")
    for line in lines:
        table.add_row(*(Text(visible(cell)) for cell in line[:-1]))
    console.print()
    console.print(table)
    console.print(Text(f"{folder / 'sweep.md'}"), soft_wrap=True)
