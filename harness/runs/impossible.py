"""Traces that cannot be: refused when a run is loaded, so that no verdict is made from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from harness.clock import NS_PER_S
from harness.display import TakenBack
from harness.errors import StorageError
from harness.events import FinishSent, FrameSent, Trace
from harness.metrics.instants import cut_off, planned_ns
from harness.metrics.shown import displayed_text, takes_back

MOST_S = 1e6  # of one session: eleven days
_HINT = "was events.jsonl edited by hand? Measure again, or use an unedited copy of the run"


def refuse_impossible(where: str, traces: Sequence[Trace], *, network: bool = True) -> None:
    """Raises :class:`StorageError` that names the first session that cannot be, and why.

    Args:
        network: whether the conditions may make frames late, or lose them.
    """
    for trace in traces:
        for why in _problems(trace, network=network):
            session = trace.session
            raise StorageError(
                f"{where}: session {session.clip}#{session.repeat} cannot be: {why}", hint=_HINT
            )
    # Repeats may be of several processes (compare --against), each with a clock of its own.
    by_lane: dict[tuple[int, int], list[Trace]] = {}
    for trace in traces:
        by_lane.setdefault((trace.session.lane, trace.session.repeat), []).append(trace)
    for (lane, _), sessions in by_lane.items():
        sessions.sort(key=lambda trace: trace.session.t0_ns)
        for first, second in pairwise(sessions):
            if second.session.t0_ns < first.outcome.at_ns:
                name = f"{second.session.clip}#{second.session.repeat}"
                raise StorageError(
                    f"{where}: session {name} begins before the one before it on stream {lane}"
                    " has ended",
                    hint=_HINT,
                )


def _problems(trace: Trace, *, network: bool) -> Iterator[str]:
    session = trace.session
    if not 0 <= session.duration_s <= MOST_S:
        yield f"its audio lasts {session.duration_s:g} s"
        return
    first_ns, last_ns = session.t0_ns - int(MOST_S * NS_PER_S), trace.outcome.at_ns
    released = [
        chunk for chunk in trace.chunks if not chunk.is_final
    ]  # the last comes after the end
    for what, events in (("token", trace.tokens), ("chunk", released)):
        stamps = [event.at_ns for event in events]
        if any(b < a for a, b in pairwise(stamps)):
            yield f"the stamps of its {what}s run backwards"
        if stamps and (stamps[-1] > last_ns or stamps[0] < first_ns):
            yield f"a {what} is stamped outside the session"
    if [chunk.index for chunk in trace.chunks] != list(range(len(trace.chunks))):
        yield "its chunks are not numbered 0, 1, 2, ..."
    try:
        told = trace.text
    except TakenBack as error:
        yield f"its text changed after it was final: {error}"
        return
    text = displayed_text(trace)
    if text != told and not (trace.failed and (told.startswith(text) or takes_back(trace))):
        yield "its chunks hold text that no token brought, or lack some"
    yield from _frame_problems(trace, network=network)
    yield from _tick_problems(trace)


def _frame_problems(trace: Trace, *, network: bool) -> Iterator[str]:
    session, frames = trace.session, trace.frames
    sent: list[FrameSent | FinishSent] = [*frames]
    if trace.finish is not None:
        sent.append(trace.finish)
    late = [one for one in sent if one.asked_ns is not None]
    if not network and (late or trace.lost):
        yield "frames were late on purpose, or lost, in a run whose conditions are clean"
    if late:  # a network may let one frame overtake another
        frames = tuple(sorted(frames, key=lambda frame: frame.index))
    if any(planned_ns(one) <= one.due_ns for one in late):
        yield "a frame was to be sent before it was due"
    sent_or_lost = sorted({*(f.index for f in frames), *(f.index for f in trace.lost)})
    under_way = trace.failed and late  # some were overtaken by those before the failure
    if len({frame.index for frame in frames}) < len(frames) or (
        sent_or_lost != list(range(len(sent_or_lost))) and not under_way
    ):
        yield "its frames are not numbered 0, 1, 2, ..."
    if any(b.due_ns < a.due_ns or b.index < a.index for a, b in pairwise(frames)):
        yield "its frames are due in another order than they were sent"
    planned = math.ceil(session.duration_s * 1000 / session.frame_ms - 1e-6)
    may_lack = trace.failed or cut_off(trace)
    if not may_lack and sent_or_lost and len(sent_or_lost) < planned - 1:
        yield f"{planned} frames make up its audio, and {len(sent_or_lost)} were sent"


def _tick_problems(trace: Trace) -> Iterator[str]:
    for ticks in trace.ticks:
        if ticks.every_ns <= 0 or any(us < 0 for us in ticks.late_us):
            yield f"ticks of its {ticks.by} came before they were due"
            continue
        ran_until_ns = ticks.began_ns + len(ticks.late_us) * ticks.every_ns
        begins, ends = trace.session.t0_ns, trace.outcome.at_ns
        if ticks.began_ns > begins + ticks.every_ns or ran_until_ns < ends - ticks.every_ns:
            yield f"ticks of its {ticks.by} are missing: they cover less than the session"
