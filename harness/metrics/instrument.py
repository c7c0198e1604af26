"""The harness watching itself: how far off the stamps of a session may be, from its ticks.

Two watches tick (``harness.ticks``): a watchdog on a thread of its own, and the event loop that
sockets share. Time in which this process itself computed is no stop: a local engine may hold the
interpreter, and stamps its text on the thread that computed it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import NamedTuple

from harness.events import Ticks, Trace
from harness.metrics.instants import Missing, ms, text_tokens
from harness.metrics.metric import metric_function

_NOT_WATCHED = Missing("nobody ticked: simulated time, or recorded by harness 0.1")


class Stop(NamedTuple):
    """A stretch in which this process did not run, nor compute."""

    end_ns: int
    lost_ms: float


@metric_function(unit="ms", label="Receipt error", scope="series")
def receipt_error_ms(trace: Trace) -> tuple[float, ...] | Missing:
    """How late a receipt may have been stamped, of every token whose text is not blank.

    In-process: the lateness of the watchdog's tick before or after it, whichever is more, less the
    CPU time of this process. Behind a socket: since when the message may have waited for the event
    loop, plus the lateness of the loop's ticks around it. Missing: nobody ticked.
    """
    loop = [ticks for ticks in trace.ticks if ticks.by == "loop"]
    watched = loop or [ticks for ticks in trace.ticks if ticks.by == "watchdog"]
    if not watched or not watched[0].late_us:
        return _NOT_WATCHED
    late_ms = _lost_ms(watched[0])
    return tuple(
        _around(watched[0], late_ms, token.at_ns)
        + (0.0 if token.after_ns is None else ms(token.at_ns - token.after_ns))
        for token in text_tokens(trace)
    )


@metric_function(unit="ms", label="Loop lag", kept=False)
def loop_lag_ms(trace: Trace) -> float | Missing:
    """The most that the sockets' event loop was late for one of its ticks. Missing: no sockets."""
    late_ms = loop_lateness_ms(trace)
    return max(late_ms) if late_ms else Missing("the engine is not behind sockets")


def loop_lateness_ms(trace: Trace) -> list[float]:
    """How late the sockets' event loop was for each of its ticks."""
    return [us / 1000 for ticks in trace.ticks if ticks.by == "loop" for us in ticks.late_us]


def stops(trace: Trace, least_ms: float) -> Iterator[Stop]:
    """Where the process was stopped, suspended or starved for at least ``least_ms``."""
    for ticks in trace.ticks:
        if ticks.by == "watchdog":
            for index, lost_ms in enumerate(_lost_ms(ticks)):
                if lost_ms >= least_ms:
                    late_ns = ticks.late_us[index] * 1000
                    yield Stop(ticks.began_ns + index * ticks.every_ns + late_ns, lost_ms)


def _lost_ms(ticks: Ticks) -> list[float]:
    """Lateness that this process's own computing does not explain, and sleep of the machine."""
    return [
        (max(0, late - ticks.cpu_us.get(index, 0)) + ticks.asleep_us.get(index, 0)) / 1000
        for index, late in enumerate(ticks.late_us)
    ]


def _around(ticks: Ticks, late_ms: list[float], at_ns: int) -> float:
    """The worse of the last tick due before this instant and the first one due after it."""
    after = bisect.bisect_right(
        range(len(late_ms)), at_ns, key=lambda index: ticks.began_ns + index * ticks.every_ns
    )
    return max(late_ms[max(0, after - 1) : after + 1], default=late_ms[-1])
