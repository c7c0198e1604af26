"""What is shown while a run takes its time: a table in a terminal, a line now and then in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.cli import progress as shown
from harness.cli.progress import TerminalProgress, progress_line
from harness.experiments.progress import SessionsDone, Tally

CLIPS, CLIP_S = 40, 10.0


def replay(progress: TerminalProgress, *arms: str, slow: float = 1.0) -> list[SessionsDone]:
    """40 sessions an arm, each 10 s of audio that takes ``slow`` times as long."""
    tally, now_ns, seen = Tally(arms), 0, []
    for arm in range(len(arms)):
        for _ in range(CLIPS):
            tally.plan(arm, CLIP_S, now_ns)
    for number in range(CLIPS):
        for arm in range(len(arms)):
            now_ns += round(CLIP_S * slow * 1e9)
            failed = number % 10 == 9
            ttft_ms = None if failed else 100.0 * (arm + 1) + number
            seen.append(tally.done(arm, CLIP_S, now_ns, ttft_ms=ttft_ms, failed=failed))
            progress.session_done(seen[-1])
    return seen


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(shown, "console", Console(file=text, width=200))
    return text


def test_a_tally_knows_how_far_each_arm_is() -> None:
    with TerminalProgress() as progress:
        seen = replay(progress, "1word", "6word", slow=1.5)
    last, half = seen[-1], seen[CLIPS - 1]
    assert (last.done, last.planned, last.seconds_left) == (80, 80, 0)
    assert [(arm.name, arm.done, arm.failed) for arm in last.arms] == [
        ("1word", 40, 4), ("6word", 40, 4),
    ]  # fmt: skip
    assert half.seconds_left == half.elapsed_s == 600  # it goes on as it went
    assert seen[0].arms[0].ttft_p50_ms == 100
    assert seen[2].arms[0].ttft_p50_ms == 100.5
    assert seen[0].arms[1].ttft_p50_ms is None


@pytest.mark.parametrize(
    ("slow", "lines"),
    [
        (1.0, 10),  # 400 s: a tenth of the sessions takes 40 s, and 30 s have passed
        (0.1, 1),  # 40 s: once 30 s have passed
        (0.01, 0),
        (100.0, 10),  # a tenth of the sessions, however long it takes
    ],
)
def test_a_log_gets_a_line_every_now_and_then(log: io.StringIO, slow: float, lines: int) -> None:
    with TerminalProgress() as progress:
        replay(progress, "1word", slow=slow)
    assert log.getvalue().count("\n") == lines


def test_the_line_says_how_far_and_how_fast(log: io.StringIO) -> None:
    with TerminalProgress() as progress:
        replay(progress, "1word", "6word")
        replay(progress, "again")  # another replay counts from its own beginning
    assert log.getvalue().splitlines()[1] == (
        "16 of 80 sessions, about 640 s left; TTFT p50 so far: 1word 103.5 ms, 6word 203.5 ms"
    ).replace("640 s", "11 min")
    assert "8 of 40 sessions" in log.getvalue()
    assert "2 failed" in log.getvalue()


def test_nothing_of_an_arms_name_is_obeyed() -> None:
    (*_, last) = replay(TerminalProgress(), "\x1b[2J[red]")
    assert "\x1b" not in progress_line(last)


def test_a_terminal_gets_a_table_of_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(shown, "console", Console(file=text, force_terminal=True, width=100))
    with TerminalProgress() as progress:
        progress.stage("Replaying")
        replay(progress, "1word", "6word")
        progress.stage("Summarising")
    for said in ("TTFT p50 so far", "6word", "40 of 40", "left", "118.0 ms"):
        assert said in text.getvalue()
