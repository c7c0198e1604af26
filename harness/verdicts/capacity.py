"""How many streams at once still get what was promised? Decided by intervals, not by one run.

A *look* replays sessions with a number of streams; a *point* is all looks at one number. A session
is good when it did not fail and meets every objective; goodput is the share of those. A point
is shown good (bad) when the whole interval of its goodput reaches (misses) the goal, and undecided
otherwise. More streams never help, so two points are the answer: the largest number shown good and
the smallest shown bad. ``docs/decisions/0009-capacity.md`` says why it is done like this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from harness.errors import ConfigError, UsageError
from harness.metrics import ClipMetrics
from harness.stats.estimates import binomial_interval, design_effect
from harness.verdicts.rules import parse_rules
from harness.verdicts.rules.goodput import is_good, never_measured
from harness.verdicts.rules.within import Within

GOOD, BAD, UNDECIDED, INVALID = "good", "bad", "undecided", "invalid"

# A look lasts so many rounds of all its streams at least: sessions of one round share the queue
# that they wait in, and only several rounds show how similar they are.
ROUNDS = 5
# What the harness does to itself. Sessions that fail or say nothing are the system's: bad ones.
_OWN_FAULTS = ("late_replay", "loop_lag", "stopped", "coarse_clock")


# --- sessions ------------------------------------------------------------------------------------


def parse_objectives(texts: Sequence[str], goal: float) -> tuple[Within, ...]:
    """Per-session limits (SLOs), in the grammar of gates.

    A percentile or mean of a series (``gap_ms p95``) is the session's own. Of a metric with one
    figure a session (``ttft_ms p95``) it is that over all sessions, so it must be the goal's.

    Raises:
        ConfigError: not a rule, or not a rule that applies to one session.
    """
    rules = parse_rules(texts)
    if not rules:
        raise ConfigError("capacity.objectives", value=[], allowed="one or more rules")
    for rule in rules:
        if not isinstance(rule, Within) or rule.statistic is None:
            raise ConfigError(
                f"objective {rule.text!r} is no limit on the sessions' own figures",
                allowed="METRIC pNN <= QUANTITY, such as ttft_ms p95 <= 900 ms",
            )
        if rule.metric.scope == "clip" and rule.statistic != f"p{100 * goal:g}":
            raise ConfigError(
                f"objective {rule.text!r}: a session has one {rule.metric.name}",
                allowed=f"p{100 * goal:g}: the share of capacity.goodput={goal:g}",
            )
    return tuple(rule for rule in rules if isinstance(rule, Within))


def require_measured(clips: Sequence[ClipMetrics], objectives: Sequence[Within]) -> None:
    """Refuse objectives that no session could break.

    Raises:
        UsageError: sessions ended, and not one has the figure.
    """
    if found := never_measured(clips, objectives):
        objective, why = found
        raise UsageError(
            f"objective {objective.text!r}: no session has {objective.metric.name} ({why})",
            hint="take it out of capacity.objectives, or measure what it asks for",
        )


# --- points --------------------------------------------------------------------------------------


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One replay with a number of streams."""

    streams: int
    good: tuple[bool, ...]  # of each counted session, in the order in which they began
    invalid: str = ""  # why the harness itself was at fault; empty: it was not


def look_at(
    streams: int,
    clips: Sequence[ClipMetrics],
    validity: Sequence[str],
    objectives: Sequence[Within],
) -> Look:
    """A look from its sessions that count (:func:`counted`) and its run's ``validity``."""
    faults = [text for text in validity if text.partition(":")[0] in _OWN_FAULTS]
    good = tuple(is_good(clip, objectives) for clip in clips)
    return Look(streams=streams, good=good, invalid=faults[0] if faults else "")


def counted(clips: Sequence[ClipMetrics], streams: int) -> list[ClipMetrics]:
    """The sessions under full load, in order: not the first of each stream, nor as many at the end.

    Until every stream has begun, and once the plan runs out, fewer than ``streams`` are under way.
    """
    ordered = sorted(clips, key=lambda clip: clip.order)
    return ordered[streams : len(ordered) - streams]


def sessions_to_replay(streams: int, least: int) -> int:
    """So that ``least`` sessions and ``ROUNDS`` rounds count."""
    return max(least, ROUNDS * streams) + 2 * streams


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """All looks at one number of streams."""

    streams: int
    status: str  # good | bad | undecided | invalid
    looks: int
    sessions: int  # that count, of the looks that are valid
    good: int  # of these
    goodput: float | None
    interval: tuple[float, float] | None  # of the goodput, at the level that decides
    effect: (
        float  # design effect: so many sessions carry the information of one independent session
    )
    why: str  # what the harness did wrong, if no look is valid


def make_point(looks: Sequence[Look], goal: float, alpha: float) -> Point:
    """What the looks at one number of streams say together.

    Args:
        alpha: of each of the two wrong answers.
    """
    valid = [look for look in looks if not look.invalid]
    good = [met for look in valid for met in look.good]
    streams = looks[0].streams
    if not good:
        return Point(streams=streams, status=INVALID, looks=len(looks), sessions=0, good=0,
                     goodput=None, interval=None, effect=1.0, why=looks[-1].invalid)  # fmt: skip
    effect = design_effect([batch for look in valid for batch in _rounds(look)])
    low, high = binomial_interval(sum(good) / effect, len(good) / effect, alpha)
    return Point(
        streams=streams,
        status=GOOD if low >= goal else BAD if high < goal else UNDECIDED,
        looks=len(looks), sessions=len(good), good=sum(good),
        goodput=sum(good) / len(good),
        interval=(low, high), effect=effect, why="",
    )  # fmt: skip


def _rounds(look: Look) -> Iterator[list[float]]:
    """Runs of as many sessions as there are streams: they were under way together."""
    for start in range(0, len(look.good), look.streams):
        yield [float(met) for met in look.good[start : start + look.streams]]


# --- the search ----------------------------------------------------------------------------------


class CapacityAnswer(msgspec.Struct, frozen=True, kw_only=True):
    largest_good: int | None  # streams; None: no number was shown good
    smallest_bad: int | None  # streams; None: no number was shown bad
    complete: bool  # both are known, or one of them is at an end of the range
    why: str  # one sentence for people


class Search:
    """Which number of streams to look at next, until the answer is known or the budget spent.

    Estimates find the way: doubling from 1, then halving between the largest number that looks
    good and the smallest that does not. Only there are looks repeated, until both are shown; a
    point that ``looks`` looks cannot decide is left for one farther away. A look that changes an
    estimate changes the way.

    Each look may be wrong with (1 - confidence) / (looks * points), so that all of them together
    are wrong with 1 - confidence at most (union bound), however often a point is looked at.
    """

    def __init__(
        self, *, goal: float, confidence: float, most_streams: int, looks: int, points: int
    ) -> None:
        self.alpha = (1 - confidence) / (looks * points)
        self._goal = goal
        self._most = most_streams
        self._most_looks = looks
        self._most_points = points
        self._looks: dict[int, list[Look]] = {}
        self._points: dict[int, Point] = {}

    @property
    def points(self) -> tuple[Point, ...]:
        return tuple(self._points[streams] for streams in sorted(self._points))

    def add(self, look: Look) -> Point:
        """Take a look into account; returns what its point says now."""
        looks = self._looks.setdefault(look.streams, [])
        looks.append(look)
        point = self._points[look.streams] = make_point(looks, self._goal, self.alpha)
        return point

    def next_streams(self) -> int | None:
        """Where to look next; None: it is known, or not to be known within the budget."""
        low, high = self._bracket()
        if high is None and low < self._most:
            return self._affordable(max(1, min(2 * low, self._most)))
        if high is not None and high - low > 1:
            return self._affordable((low + high) // 2)
        if high is not None and self._points[high].status == INVALID:
            if self._points[high].looks < self._most_looks:
                return high
            high = None  # nor would more streams be replayed in time
        below = [low, *(low - step for step in _doubling(low - 1))] if low else []
        open_below = self._undecided(below, GOOD)
        if open_below is not None or high is None:
            return open_below
        return self._undecided([high, *(high + n for n in _doubling(self._most - high))], BAD)

    def answer(self) -> CapacityAnswer:
        bad = min((p.streams for p in self.points if p.status == BAD), default=None)
        good = max(
            (p.streams for p in self.points if p.status == GOOD and (not bad or p.streams < bad)),
            default=None,
        )
        complete = good == self._most or bad == 1 or (good is not None and bad is not None)
        return CapacityAnswer(largest_good=good, smallest_bad=bad, complete=complete,
                      why=self._why(good, bad))  # fmt: skip

    def _bracket(self) -> tuple[int, int | None]:
        """The largest number that looks good (0: none) below the smallest that does not."""
        looks_good = {
            p.streams: p.goodput is not None and p.goodput >= self._goal for p in self.points
        }
        high = min((n for n, good in looks_good.items() if not good), default=None)
        low = max((n for n in looks_good if high is None or n < high), default=0)
        return low, high

    def _affordable(self, streams: int) -> int | None:
        return streams if len(self._points) < self._most_points else None

    def _undecided(self, candidates: Sequence[int], wanted: str) -> int | None:
        """The first candidate that may still be looked at, unless one before it was shown."""
        for streams in candidates:
            point = self._points.get(streams)
            if point is None:
                return self._affordable(streams)
            if point.status == wanted:
                return None
            if point.status in (UNDECIDED, INVALID) and point.looks < self._most_looks:
                return streams
        return None

    def _why(self, good: int | None, bad: int | None) -> str:
        if good == self._most:
            return f"{good} streams, the largest number that was allowed, still meet the objectives"
        if bad == 1:
            return "one stream alone does not meet the objectives"
        invalid = next((p for p in self.points if p.status == INVALID), None)
        if bad is None and invalid is not None:
            known = f"{good} streams meet the objectives" if good else "nothing is known"
            return (
                f"{known}; with {invalid.streams} the harness itself was at fault ({invalid.why})"
            )
        if good is None or bad is None:
            return "too few sessions to decide; raise capacity.sessions or capacity.looks"
        if bad == good + 1:
            return f"{good} streams meet the objectives, {bad} do not"
        return f"{good} streams meet the objectives, {bad} do not; between them it is too close"


def _doubling(most: int) -> Iterator[int]:
    """1, 2, 4, ... up to ``most``."""
    step = 1
    while step <= most:
        yield step
        step *= 2
