"""Metrics of text that is taken back: how much, how often, and since when it stays or is final.

As in ``latency``, each docstring is the metric's definition. An engine that only appends takes
nothing back: its ratios are zero, and its words are shown, stay and are final at one instant.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import accumulate

from harness.events import Trace
from harness.languages.units import is_blank, words_of
from harness.metrics import ClipMetrics, Revised
from harness.metrics.counted import first_counted
from harness.metrics.instants import (
    CENSORED,
    NO_TEXT,
    NO_WORD,
    Missing,
    audio_ns,
    ms,
    request_ns,
    text_chunks,
)
from harness.metrics.metric import metric_function
from harness.metrics.shown import displayed_text, displays, shown_words, takes_back
from harness.metrics.turns import is_censored
from harness.metrics.words import bare


@metric_function(
    unit="ms",
    label="First stable word",
    from_request=True,
    infinite=True,
    if_taken_back=True,
    headline=("p50",),
)
def first_stable_ms(trace: Trace) -> float | Missing:
    """The chunk since which the first counted word of the final text stays as it is - R.

    A comma after it changes no word. Missing: no text; no counted word.
    """
    if not text_chunks(trace):
        return NO_TEXT
    text = displayed_text(trace)
    at = first_counted(text, trace.session.language)
    if at is None:
        return NO_WORD
    words = list(words_of(text))
    index = bisect.bisect_right([word.end for word in words], at)
    if takes_back(trace):
        return ms(shown_words(trace)[index].shown_ns - request_ns(trace))
    start, written = words[index].start, words[index].text
    last = start + max((k for k, sign in enumerate(written) if bare(sign)), default=0)
    chunk_ends = list(accumulate(len(chunk.text) for chunk in trace.chunks))
    chunk = trace.chunks[bisect.bisect_right(chunk_ends, last)]
    return ms(chunk.at_ns - request_ns(trace))


@metric_function(
    unit="ms",
    label="Final known",
    infinite=True,
    needs_end=True,
    if_taken_back=True,
    headline=("p50",),
)
def final_known_ms(trace: Trace) -> float | Missing:
    """The event by which the client knows that the text is final - A(speech end).

    The first of these at or after the last change of the text: the final after which no segment
    with text is open; an end of turn; the end of the stream. Missing: no text; only our ending the
    audio brought it (`censored`).
    """
    if not text_chunks(trace):
        return NO_TEXT
    if is_censored(trace):
        return CENSORED
    changed_ns = _last_change_ns(trace)
    known_ns = [max(trace.outcome.at_ns, changed_ns)]
    known_ns += [end.at_ns for end in trace.turns_ended if end.at_ns >= changed_ns]
    closed_ns = _all_closed_ns(trace, changed_ns)
    known_ns += [closed_ns] if closed_ns is not None else []
    return ms(min(known_ns) - audio_ns(trace, trace.session.speech_end_s))


def _last_change_ns(trace: Trace) -> int:
    """When the client's text was last changed by more than white space at its end."""
    if not takes_back(trace):
        return text_chunks(trace)[-1].at_ns
    before, changed_ns = "", trace.session.t0_ns
    for shown in displays(trace):
        text = shown.text.rstrip()
        if text != before:
            before, changed_ns = text, shown.chunk.at_ns
    return changed_ns


def _all_closed_ns(trace: Trace, changed_ns: int) -> int | None:
    """When the client had the final after which no segment is open; None: there is no such one."""
    if takes_back(trace):
        updates = [(c.segment, c.text, c.closes, c.at_ns) for c in trace.chunks]
    else:
        updates = [(h.segment, h.text, h.final, h.at_ns) for h in trace.hypotheses]
    texts: dict[int, str] = {}
    closed_ns: dict[int, int] = {}
    for segment, text, final, at_ns in updates:
        if segment is not None:
            texts[segment] = text
            if final:
                closed_ns.setdefault(segment, at_ns)
    if not closed_ns or any(not is_blank(texts[segment]) for segment in texts.keys() - closed_ns):
        return None
    last_ns = max(closed_ns.values())
    if takes_back(trace):
        return last_ns if last_ns >= changed_ns else None
    # What the engine closed reaches the client with the chunk that brings its last text.
    appended = any(t.at_ns > last_ns and not is_blank(t.text) for t in trace.tokens)
    return None if appended else max(last_ns, changed_ns)


def revised(trace: Trace) -> Revised | Missing:
    """What was taken back of what the client had been shown."""
    final = [word.text for word in words_of(displayed_text(trace)) if bare(word.text)]
    if not final:
        return NO_WORD if text_chunks(trace) else NO_TEXT
    updates = unstable = erased = 0
    if takes_back(trace):
        words: list[str] = []  # of the display
        ends: list[int] = []
        settled = 0  # words that cannot change any more: committed, and more text follows
        for shown in displays(trace):
            begin = ends[settled - 1] if settled else 0
            found = list(words_of(shown.text[begin:]))
            after = [word.text for word in found]
            before = words[settled:]
            unstable += taken_back(_spoken(before), _spoken(after))
            lost = taken_back(list(map(bare, _spoken(before))), list(map(bare, _spoken(after))))
            erased += lost
            updates += lost > 0
            words[settled:] = after
            ends[settled:] = [begin + word.end for word in found]
            settled = bisect.bisect_left(ends, shown.committed)
    return Revised(updates=updates, unstable=unstable, erased=erased, words=len(final))


def _spoken(words: Sequence[str]) -> list[str]:
    return [word for word in words if bare(word)]


def taken_back(before: Sequence[str], after: Sequence[str]) -> int:
    """How many words of a display must go to make the next one: those after what both begin with.

    The last word does not go if it only grew: "some" stands in "something".
    """
    same = 0
    for old, new in zip(before, after, strict=False):
        if old != new:
            break
        same += 1
    gone = len(before) - same
    grew = gone == 1 and same < len(after) and after[same].startswith(before[same])
    return 0 if grew else gone


def _share(clip: ClipMetrics, name: str, below: float = 0.0) -> tuple[float, float] | Missing:
    if clip.revised is None:
        return Missing(clip.why_null.get("revised", "not measured"))
    return float(getattr(clip.revised, name)), below or float(clip.revised.words)


@metric_function(
    unit="1", label="UPWR", scope="corpus", source="revised", of="words", if_taken_back=True,
    headline=("value",),
)  # fmt: skip
def upwr(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Unstable partial words / words of the final text (Shangguan et al. 2020, arXiv 2006.01416).

    Unstable are, of each text shown, the words after what it and the next one begin with, as they
    are written: capitals and punctuation count. A last word that only grew is stable.
    Missing: no word.
    """
    return _share(clip, "unstable")


@metric_function(
    unit="1", label="Erasure", scope="corpus", source="revised", of="words", if_taken_back=True,
    headline=("value",),
)  # fmt: skip
def erasure(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Words taken back / words of the final text: normalised erasure (arXiv 1912.03393).

    As `upwr`, but words are their letters and digits: capitals and punctuation take nothing back.
    Missing: no word.
    """
    return _share(clip, "erased")


@metric_function(
    unit="1/s", label="Revisions/s", scope="corpus", source="revised", if_taken_back=True,
    headline=("value",),
)  # fmt: skip
def revisions_per_s(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Updates in which a word that was shown was changed or taken back / seconds of audio.

    Words as for `erasure`. Missing: no word.
    """
    return _share(clip, "updates", clip.duration_s)
