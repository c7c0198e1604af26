"""Can the figures of a run be relied on at all? A closed list of checks, apart from speed.

A run with an entry in ``validity`` says INVALID, never PASS or FAIL; a warning is something that a
reader should know. Each names its check, what was seen, the limit, and the remedy.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from harness.clock import NS_PER_MS, resolution_ns
from harness.events import SessionKind, Trace
from harness.languages.scripts import language_doubts
from harness.languages.units import words_of
from harness.metrics import ClipMetrics
from harness.metrics.instants import ms, request_ns, text_chunks, text_tokens
from harness.metrics.instrument import loop_lateness_ms, stops
from harness.stats.estimates import percentile, slope

# The interpreter lets another thread run every 5 ms: one busy engine thread may cost each sending
# so much, a driver that keeps its schedule never more at the median.
LATE_P50_MS = 5.0
# A frame that is later than the next one is due reaches the engine as two at once; frames below
# 20 ms are held to 20 ms, because a shared machine takes the processor away for that long.
LATE_P99_MS = 20.0
# The budget of a TTFT must close within 0.5 ms.
COARSE_CLOCK_MS = 0.1
# Beyond this share of failures the p95 of what is left is no p95 of what was asked.
FAILED_SHARE = 0.05
# From 6 clips on the median has a 95 % interval: 1 - 2 * 0.5**6 = 0.97; with 5 it is 0.94.
FEWEST_CLIPS = 6
# Loading and compiling on first use cost whole factors, not percents; below 50 ms it is noise.
COLD_FACTOR, COLD_MS = 2.0, 50.0
# A machine that throttles or heats up loses more than this over a run; the interval of the trend
# must exclude zero as well.
DRIFT_SHARE, DRIFT_LEAST_SESSIONS, DRIFT_MOST_POINTS = 0.2, 12, 400
# One collector pause of this length is a whole token of a fast engine.
GC_PAUSE_MS = 1.0
# What a system does for itself was 1 % of two cores. 10 % of them is a fifth of a core: a session's
# threads have to wait at times then, and for how long differs from run to run.
BUSY_SHARE = 0.1
# Real decoding spreads its tokens over more than this share of the response. Responses that begin
# within 20 ms are too fast to tell.
FAKE_SPREAD, FAKE_LEAST_MS, FAKE_LEAST_TOKENS = 0.02, 20.0, 4  # tokens, or words of fewer
# Below one and a half steps of the cadence, a gap says how often the engine is asked to speak.
CADENCE_FACTOR = 1.5


# A process that neither ran nor computed for so long was stopped, suspended or starved: what it
# stamped meanwhile is late by as much. Threads of a busy machine wait for some tens of ms.
STOPPED_MS = 100.0
# Text that is no word, so long before the first word, makes a client look faster than it is.
NOISE_MS = 100.0
# Onsets and ends of speech are known this well.
EARLY_MS = 50.0


# What a gate may let pass by name (gate.allow): an engine that guesses on purpose.
ALLOWABLE = ("impossible_speed",)


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What traces do not say about their run."""

    planned: int  # clips x repeats
    pace: str = "realtime"  # realtime | flood | virtual
    gc_pauses_ns: tuple[tuple[int, int], ...] = ()  # (start, end) of the collector's pauses
    throttled: dict[str, float] = {}  # why the GPU lowered its clocks -> share of the samples
    others_cpu: float | None = None  # share of the machine that other programs used; None: unknown
    clock_resolution_ns: int = msgspec.field(default_factory=resolution_ns)
    cadence_ms: float | None = None  # the engine's step in live sessions, if it has one
    allow: tuple[str, ...] = ()  # checks of ALLOWABLE that the run's gate lets pass


class _Run(NamedTuple):
    traces: Sequence[Trace]
    clips: Sequence[ClipMetrics]
    facts: RunFacts


class Finding(NamedTuple):
    """What a check has seen."""

    seen: str
    invalid: bool
    remedy: str | None = None  # in place of the check's own


class Check(NamedTuple):
    """One entry of the closed list."""

    id: str
    find: Callable[[_Run], Finding | None]
    remedy: str


def check_validity(
    traces: Sequence[Trace], clips: Sequence[ClipMetrics], facts: RunFacts
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What makes a run invalid, and what a reader should know: each ``id: seen; remedy``.

    Args:
        traces: of one arm; ``clips`` are their metrics.
    """
    invalid: list[str] = []
    warnings: list[str] = []
    run = _Run(traces, clips, facts)
    for check in CHECKS:
        finding = check.find(run)
        if finding is not None:
            text = f"{check.id}: {finding.seen}; {finding.remedy or check.remedy}"
            allowed = check.id in ALLOWABLE and check.id in facts.allow
            (invalid if finding.invalid and not allowed else warnings).append(text)
    return tuple(invalid), tuple(warnings)


def not_allowed(validity: Sequence[str], allow: Collection[str]) -> tuple[str, ...]:
    """What makes a run invalid, less what a gate lets pass by hand."""
    passes = {check for check in allow if check in ALLOWABLE}
    return tuple(text for text in validity if text.partition(":")[0] not in passes)


def _incomplete(run: _Run) -> Finding | None:
    if len(run.clips) == run.facts.planned:
        return None
    return Finding(f"{len(run.clips)} of {run.facts.planned} sessions were replayed", invalid=True)


def _failed(run: _Run) -> Finding | None:
    failures = [clip for clip in run.clips if clip.failed is not None]
    if not failures:
        return None
    first = failures[0]
    seen = (
        f"{len(failures)} of {len(run.clips)} sessions failed,"
        f" first {first.clip}#{first.repeat} ({first.failed})"
    )
    return Finding(seen, invalid=len(failures) > FAILED_SHARE * len(run.clips))


def _late_replay(run: _Run) -> Finding | None:
    lateness = [late for clip in run.clips for late in clip.send_lateness_ms]
    if run.facts.pace == "flood" or not lateness:
        return None
    return _late(lateness, max(LATE_P99_MS, *(trace.session.frame_ms for trace in run.traces)))


def _loop_lag(run: _Run) -> Finding | None:
    """How late the sockets' event loop was for what was due in sessions."""
    lag = [late for trace in run.traces for late in loop_lateness_ms(trace)]
    return _late(lag, LATE_P99_MS) if lag and run.facts.pace != "flood" else None


def _stopped(run: _Run) -> Finding | None:
    """Sessions in which the harness itself stood still, whatever it was waiting for."""
    touched = [
        (max(stop.lost_ms for stop in found), trace.session)
        for trace in run.traces
        if (found := list(stops(trace, STOPPED_MS)))
    ]
    if not touched:
        return None
    worst_ms, session = max(touched, key=lambda one: one[0])
    return Finding(
        f"the harness did not run for up to {worst_ms:.0f} ms in {len(touched)} of"
        f" {len(run.traces)} sessions, the longest in {session.clip}#{session.repeat}",
        invalid=True,
    )


def _late(lateness: Sequence[float], p99_limit_ms: float) -> Finding | None:
    p50, p99 = percentile(lateness, 0.5), percentile(lateness, 0.99)
    if p50 <= LATE_P50_MS and p99 <= p99_limit_ms:
        return None
    limits = f"at most {LATE_P50_MS:g} / {p99_limit_ms:g} ms"
    return Finding(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms late, {limits}", invalid=True)


def _coarse_clock(run: _Run) -> Finding | None:
    resolution = ms(run.facts.clock_resolution_ns)
    if resolution <= COARSE_CLOCK_MS:
        return None
    return Finding(f"the clock steps by {resolution:g} ms, at most {COARSE_CLOCK_MS:g}", True)


def _cold_first_run(run: _Run) -> Finding | None:
    """The first session against the other repeats of its clip."""
    measured = [clip for clip in run.clips if clip.ttft_ms is not None]
    if not measured:
        return None
    first = min(measured, key=lambda clip: clip.order)
    others = [c.ttft_ms for c in measured if c.clip == first.clip and c is not first and c.ttft_ms]
    if not others or first.ttft_ms is None:
        return None
    usual = statistics.median(others)
    if first.ttft_ms <= COLD_FACTOR * usual or first.ttft_ms - usual <= COLD_MS:
        return None
    return Finding(
        f"the first TTFT was {first.ttft_ms:.0f} ms, then {usual:.0f} ms on the same clip", False
    )


def _too_few_clips(run: _Run) -> Finding | None:
    clips = len({clip.clip for clip in run.clips})
    if clips >= FEWEST_CLIPS:
        return None
    return Finding(f"{clips} different clips, intervals need {FEWEST_CLIPS}", invalid=False)


def _drift(run: _Run) -> Finding | None:
    """Compute time of each session over its clip's median, against its place in the run."""
    by_clip: dict[str, list[float]] = {}
    for clip in run.clips:
        if clip.compute_ms is not None:
            by_clip.setdefault(clip.clip, []).append(clip.compute_ms)
    usual = {name: statistics.median(times) for name, times in by_clip.items() if len(times) >= 2}
    points = sorted(
        (clip.order, clip.compute_ms / usual[clip.clip])
        for clip in run.clips
        if clip.compute_ms is not None and usual.get(clip.clip, 0) > 0
    )
    if len(points) < DRIFT_LEAST_SESSIONS:
        return None
    # Theil and Sen look at every pair: of long runs, at pairs of blocks.
    blocks = np.array_split(np.array(points), min(len(points), DRIFT_MOST_POINTS))
    orders, relative = zip(*(np.median(block, axis=0) for block in blocks), strict=True)
    trend = slope(orders, relative, 0.99)
    share = trend.slope * (max(orders) - min(orders))
    low, high = trend.interval.low, trend.interval.high
    if low is None or high is None or low <= 0 <= high or abs(share) <= DRIFT_SHARE:
        return None
    return Finding(f"compute time drifted by {share:+.0%} over the run", invalid=False)


def _throttled(run: _Run) -> Finding | None:
    if not run.facts.throttled:
        return None
    reasons = ", ".join(f"{why} {share:.0%}" for why, share in run.facts.throttled.items())
    return Finding(f"the GPU lowered its clocks in some samples: {reasons}", invalid=True)


def _busy_machine(run: _Run) -> Finding | None:
    share = run.facts.others_cpu
    if share is None or share <= BUSY_SHARE:
        return None
    return Finding(
        f"other programs used {share:.0%} of the machine's CPU, at most {BUSY_SHARE:.0%}", False
    )


def _gc_pause(run: _Run) -> Finding | None:
    sessions = [(trace.session.t0_ns, trace.outcome.at_ns) for trace in run.traces]
    pauses = [
        ms(end - start)
        for start, end in run.facts.gc_pauses_ns
        if end - start >= GC_PAUSE_MS * NS_PER_MS
        and any(start < ended and t0 < end for t0, ended in sessions)
    ]
    if not pauses:
        return None
    return Finding(f"{len(pauses)} pauses in sessions, the longest {max(pauses):.1f} ms", False)


def _fake_streaming(run: _Run) -> Finding | None:
    judged = [fake for trace in run.traces if (fake := _said_at_once(trace)) is not None]
    if not judged or sum(judged) <= len(judged) / 2:
        return None
    where = f"in {sum(judged)} of {len(judged)} sessions"
    if run.traces[0].session.kind is SessionKind.LIVE:
        return Finding(
            f"{where} the engine gave no text before the end of the audio",
            invalid=False,
            remedy="judge final_ms, or replay longer sessions; TTFT and word delays may only tell"
            " how long the audio is",
        )
    return Finding(f"{where} all text came at once, after the work", invalid=False)


def _said_at_once(trace: Trace) -> bool | None:
    """All tokens at the end of the wait; in live sessions, after all audio. None: cannot tell."""
    tokens, words = text_tokens(trace), len(list(words_of(trace.text)))
    if trace.failed or max(len(tokens), words) < FAKE_LEAST_TOKENS or trace.finish is None:
        return None
    if trace.session.kind is SessionKind.LIVE:
        return tokens[0].at_ns >= trace.finish.due_ns
    if ms(tokens[0].at_ns - request_ns(trace)) < FAKE_LEAST_MS:
        return None
    spread_ns = tokens[-1].at_ns - tokens[0].at_ns
    return spread_ns < FAKE_SPREAD * (tokens[-1].at_ns - request_ns(trace))


def _noise_before_words(run: _Run) -> Finding | None:
    early = [
        clip.ttft_ms - clip.first_text_ms
        for clip in run.clips
        if clip.ttft_ms is not None and clip.first_text_ms is not None
    ]
    far = [ms_before for ms_before in early if ms_before > NOISE_MS]
    if not far:
        return None
    return Finding(
        f"in {len(far)} of {len(early)} sessions text that is no word (punctuation, fillers,"
        f" annotations) came up to {max(far):.0f} ms before the first word",
        invalid=False,
    )


def _other_language(run: _Run) -> Finding | None:
    texts = {(trace.session.language, trace.session.reference) for trace in run.traces}
    doubts = language_doubts(sorted(texts))
    return Finding("; ".join(doubts), invalid=False) if doubts else None


def _impossible_speed(run: _Run) -> Finding | None:
    """Text before the turn had ended, or before anybody spoke."""
    early = [
        clip
        for clip in run.clips
        if clip.first_text_ms is not None and clip.first_text_ms < -EARLY_MS
    ]
    if not early:
        return None
    first = early[0]
    assert first.first_text_ms is not None  # noqa: S101 chosen so
    before = "the end of the turn" if first.session == "turn" else "the speech began"
    return Finding(
        f"in {len(early)} of {len(run.clips)} sessions text came before {before}, first in"
        f" {first.clip}#{first.repeat} by {-first.first_text_ms:.0f} ms",
        invalid=True,
    )


def _cadence_floor(run: _Run) -> Finding | None:
    live = [t for t in run.traces if t.session.kind is SessionKind.LIVE and text_chunks(t)]
    gaps = [gap for clip in run.clips for gap in clip.gap_ms]
    if not live or not gaps:
        return None
    cadence = max(run.facts.cadence_ms or 0.0, live[0].session.frame_ms)
    gap = percentile(gaps, 0.5)
    if gap >= CADENCE_FACTOR * cadence:
        return None
    seen = f"gaps (median {gap:.0f} ms) tell the step of {cadence:g} ms, not the engine's speed"
    return Finding(seen, invalid=False)


CHECKS: tuple[Check, ...] = (
    Check("incomplete", _incomplete, "run it again to the end"),
    Check("failed_clips", _failed, "see the reasons in clips.jsonl, or raise replay.timeout_s"),
    Check(
        "late_replay",
        _late_replay,
        "leave the machine to the run, lower replay.streams or engine.threads",
    ),
    Check("loop_lag", _loop_lag, "lower replay.streams, or shard over several processes"),
    Check(
        "stopped",
        _stopped,
        "measure again on a machine that is not suspended, stopped or overloaded meanwhile",
    ),
    Check("coarse_clock", _coarse_clock, "measure on a machine with a better clock"),
    Check("cold_first_run", _cold_first_run, "raise replay.warmup"),
    Check("too_few_clips", _too_few_clips, "use more clips; repeats do not replace them"),
    Check("drift", _drift, "let the machine cool down, end other work, fix the clock frequency"),
    Check("throttled", _throttled, "let the GPU cool down, or raise its power limit"),
    Check(
        "busy_machine",
        _busy_machine,
        "stop them, or compare arms in one comparison (interleaved), never with a stored baseline",
    ),
    Check("gc_pause", _gc_pause, "find out what calls gc.collect() while sessions run"),
    Check("fake_streaming", _fake_streaming, "judge response_ms; TTFT and gaps mean nothing here"),
    Check(
        "noise_before_words",
        _noise_before_words,
        "judge ttft_ms, which waits for a word; first_text_ms does not",
    ),
    Check(
        "other_language",
        _other_language,
        "state the language in the manifest or in dataset.language: it decides the normaliser of"
        " error rates",
    ),
    Check(
        "impossible_speed",
        _impossible_speed,
        "see what the engine knew: guessed text, a stale cache, times of another clock, or onsets"
        " in the manifest that are too late",
    ),
    Check("cadence_floor", _cadence_floor, "judge word_delay_ms, or shorten the step or frame"),
)
