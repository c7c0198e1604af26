"""Ends of turn: which count, how late, how often too early. Speech from 100 to 1900 ms."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from harness.events import SessionKind, Trace
from harness.metrics import ClipMetrics
from harness.metrics.instants import CENSORED, NO_ENDPOINTER, NO_WORDS
from harness.metrics.turns import cutoffs, eot_ms, is_censored
from tests.traces import Step, figures, interim

WORDS = (("a", 300), ("b", 600), ("c", 799), ("d", 1800))  # pauses: 300 to 400, 799 to 1600
SAID: list[Step] = [(500, 0, "a b c d", True)]


def session(*turns: float, endpointer: str = "engine", tail_ms: float = 600, **more: Any) -> Trace:
    more = {"words": WORDS, "kind": SessionKind.LIVE, "ended_ms": 2800} | more
    return interim(SAID, endpointer=endpointer, turns=turns, tail_ms=tail_ms, **more)


def test_the_first_end_of_turn_after_the_speech_counts() -> None:
    assert eot_ms(session(350, 1899, 1900, 2300)) == 0
    assert eot_ms(session(350, 2300, 2400)) == 400


@pytest.mark.parametrize("turns", [(), (350, 1800), (350, 2601)])
def test_what_nobody_says_while_the_microphone_is_open_is_never_said(
    turns: tuple[float, ...],
) -> None:
    """Audio ended at 2600: what came after that came because of it."""
    trace = session(*turns)
    assert is_censored(trace)
    assert eot_ms(trace) == CENSORED
    clip: ClipMetrics = figures(trace)
    assert (clip.final_ms, clip.final_known_ms, clip.censored) == (None, None, True)
    assert clip.ttft_ms is not None  # text was shown, whatever ended


def test_the_last_moment_of_the_open_microphone_is_in_time() -> None:
    assert eot_ms(session(2600)) == 700


def test_without_an_endpointer_nobody_is_asked() -> None:
    trace = session(350, 2000, endpointer="none")
    assert eot_ms(trace) == cutoffs(trace) == NO_ENDPOINTER
    clip: ClipMetrics = figures(trace)
    assert (clip.censored, clip.false_cutoffs) == (None, None)
    assert clip.final_ms is not None


def test_false_cutoffs_are_of_pauses_of_100_ms_and_once_a_pause() -> None:
    assert cutoffs(session()) == (0, 2)  # "b" to "c" is 0 ms apart
    assert cutoffs(session(350, 360, 390)) == (1, 2)
    assert cutoffs(session(350, 900, 1500, 2200)) == (2, 2)
    assert cutoffs(session(500)) == (1, 2)  # late for the first pause, while "b" is spoken
    assert cutoffs(session(150)) == (1, 2)  # before any pause, and as false
    assert cutoffs(session(350, words=())) == NO_WORDS


def test_figures_of_the_end_of_a_failed_session_do_not_exist() -> None:
    clip: ClipMetrics = figures(session(2000, failed="lost"))
    assert (clip.eot_ms, clip.censored, clip.false_cutoffs) == (None, None, None)
    assert clip.why_null["eot_ms"] == "failed: lost"


def test_a_trace_that_never_ended_its_audio_takes_every_end_of_turn() -> None:
    trace = msgspec.structs.replace(session(2700), finish=None)
    assert eot_ms(trace) == 800
