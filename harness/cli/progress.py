"""What a person, or the log of a CI job, sees while a run takes its time."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.experiments.progress import Progress, SessionsDone
from harness.report.text import ms
from harness.text import visible

# Results go to stdout; progress and remarks to stderr, so that a pipe gets results only.
console = Console(stderr=True, highlight=False)

LINE_EVERY_S, LINE_EVERY_SHARE = 30.0, 0.1  # of a log: a line when both have passed
_REDRAW_EVERY_S = 0.2


class TerminalProgress(Progress):
    """One line a stage; a table of the arms in a terminal, else a line every now and then.

    Drawn only when a session has been kept, never by a thread of its own: a table that redraws
    itself takes the interpreter from the driver.
    """

    def __init__(self) -> None:
        self._live: Live | None = None
        self._shown_s = 0.0  # when something was last shown, and how much was done then
        self._shown_done = 0

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def stage(self, text: str) -> None:
        self._stop()
        console.print(f"{text} ...", style="dim", markup=False)

    def note(self, text: str) -> None:
        console.print(f"note: {text}", markup=False, soft_wrap=True)

    def session_done(self, so_far: SessionsDone) -> None:
        if so_far.elapsed_s < self._shown_s or so_far.done <= self._shown_done:  # another replay
            self._shown_s, self._shown_done = 0.0, 0
        since_s = so_far.elapsed_s - self._shown_s
        if console.is_terminal:
            if self._live is None:
                self._live = Live(console=console, auto_refresh=False, transient=True)
                self._live.start()
            elif since_s < _REDRAW_EVERY_S and so_far.done < so_far.planned:
                return
            self._live.update(progress_table(so_far), refresh=True)
        else:
            share = (so_far.done - self._shown_done) / so_far.planned
            if since_s < LINE_EVERY_S or share < LINE_EVERY_SHARE:
                return
            console.print(progress_line(so_far), markup=False, soft_wrap=True)
        self._shown_s, self._shown_done = so_far.elapsed_s, so_far.done

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def progress_line(so_far: SessionsDone) -> str:
    """``12 of 44 sessions, about 95 s left; TTFT p50 so far: 1word 812.3 ms``."""
    failed = sum(arm.failed for arm in so_far.arms)
    parts = [f"{so_far.done} of {so_far.planned} sessions"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"about {_duration(so_far.seconds_left)} left"]
    medians = (f"{visible(arm.name)} {ms(arm.ttft_p50_ms)}" for arm in so_far.arms)
    return f"{', '.join(parts)}; TTFT p50 so far: {', '.join(medians)}"


def progress_table(so_far: SessionsDone) -> Table:
    """Arms as rows."""
    table = Table(box=None, pad_edge=False)
    table.add_column("arm")
    for head in ("done", "failed", "TTFT p50 so far"):
        table.add_column(head, justify="right")
    for arm in so_far.arms:
        table.add_row(
            Text(visible(arm.name)), f"{arm.done} of {arm.planned}",
            Text(str(arm.failed), style="red" if arm.failed else ""), ms(arm.ttft_p50_ms),
        )  # fmt: skip
    table.caption = f"about {_duration(so_far.seconds_left)} left"
    return table


def _duration(seconds: float) -> str:
    """``95 s``, ``12 min``."""
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
