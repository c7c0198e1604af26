"""What a person sees while a run takes its time."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from harness.experiments.progress import Progress as Callbacks

# Results go to stdout; progress and remarks to stderr, so that a pipe gets results only.
console = Console(stderr=True, highlight=False)


class TerminalProgress(Callbacks):
    """One line per stage, and a bar over the sessions.

    Drawn only when a session has been kept, never by a thread of its own: a bar that redraws itself
    takes the interpreter from the driver. Nothing is drawn when stderr is no terminal.
    """

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=console, auto_refresh=False, transient=True,
            disable=not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None

    def __enter__(self) -> TerminalProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def stage(self, text: str) -> None:
        console.print(f"{text} ...", style="dim")

    def note(self, text: str) -> None:
        console.print(f"note: {text}", markup=False, soft_wrap=True)

    def clip_done(self, done: int, total: int, seconds_left: float) -> None:
        left = f"at least {seconds_left:.0f} s of audio left" if seconds_left > 0.5 else ""
        if self._task is None:
            self._task = self._bar.add_task("Replaying", total=total, left=left)
        self._bar.update(self._task, completed=done, total=total, left=left, refresh=True)
