"""What a metric is: a pure function, and everything that others must know of it, in one place.

A metric of one's own is one decorated function::

    @metric_function(unit="ms", label="First three words")
    def three_words_ms(trace: Trace) -> float | Missing:
        \"\"\"t(chunk that brings the third word) - R. Missing: fewer words.\"\"\"

and one entry point in the group ``harness.metrics`` (from Python, ``@harness.metric`` registers it
as well). It is then in every summary, table, export and in the glossary, and rules of gates may
name it. The docstring is the definition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec

Function = TypeVar("Function", bound=Callable[..., Any])


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric, as tables, rules, reports and exports see it."""

    name: str
    function: Callable[..., Any]  # clip, series: of a Trace; corpus: of a ClipMetrics
    unit: str  # ms, s, 1, ms/min, ...
    label: str  # how people read it
    scope: Literal["clip", "series", "corpus"] = "clip"  # one figure a clip, several, one a run
    better: Literal["lower", "higher"] = "lower"
    from_request: bool = False  # counts from R, another instant in turn and in live sessions
    infinite: bool = False  # a session that never answered is beyond any limit
    needs_end: bool = False  # and so is one whose turn nobody ended before we ended the audio
    unpaced: bool = False  # means something in audio that came faster than anyone speaks (flood)
    kept: bool = True  # in baselines
    only_live: bool = False  # shown for live sessions only
    if_taken_back: bool = False  # shown only where clients see text that may be taken back
    summarised: bool = False  # a row of the terminal's summary of one run
    headline: tuple[str, ...] = ()  # statistics of it in comparisons, such as ("p50", "p95")
    clip_p95: bool = False  # also the median over clips of the clip's own p95
    edits: str = ""  # corpus error rates: the field of ClipMetrics that counts the edits
    source: str = ""  # corpus: the field that it is of, where that has another name
    of: str = ""  # corpus: what the share is one of, such as words; none of n of them is evidence

    @property
    def definition(self) -> str:
        """Formula, unit and missing rule, for people."""
        return " ".join((self.function.__doc__ or "").split())


def metric_function(
    *, unit: str, label: str, name: str = "", **facts: Any
) -> Callable[[Function], Function]:
    """Decorator: states what :class:`Metric` says of the function, which stays what it is.

    Args:
        name: how results call it; empty: the function's name.
        facts: the other fields of :class:`Metric`.
    """

    def described(function: Function) -> Function:
        called = name or function.__name__
        function.metric = Metric(  # type: ignore[attr-defined]
            name=called, function=function, unit=unit, label=label, **facts
        )
        return function

    return described
