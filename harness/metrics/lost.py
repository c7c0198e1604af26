"""Metrics of speech that nothing stands for in the text: stretches, and what follows a pause.

A word of the reference is lost if the alignment (``words``) has no word of the text for it, right
or wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from harness.events import Trace, Word
from harness.languages.units import words_of
from harness.metrics import ClipMetrics
from harness.metrics.instants import NO_WORDS, Missing, once_a_trace
from harness.metrics.metric import metric_function
from harness.metrics.words import bare, lost_words

PAUSE_S = 1.0  # from this on a speaker has paused, and engines may have fallen asleep
_AFTER_A_PAUSE = 5  # words
_ROUNDING_S = 1e-6  # of word timings

NO_PAUSE = Missing(f"no pause of {PAUSE_S:g} s between two words")


def phrases(words: Sequence[Word]) -> Iterator[list[int]]:
    """Indices of words with letters, in stretches between pauses of 1 s."""
    spoken = [index for index, word in enumerate(words) if bare(word.text)]
    phrase = spoken[:1]
    for before, after in pairwise(spoken):
        if words[after].start_s - words[before].end_s >= PAUSE_S - _ROUNDING_S:
            yield phrase
            phrase = []
        phrase.append(after)
    if phrase:
        yield phrase


@once_a_trace
def _lost(trace: Trace) -> set[int]:
    """Indices of the reference's words that are lost; all of them where there is no text."""
    heard = [word.text for word in words_of(trace.text)]
    return lost_words([word.text for word in trace.session.words], heard)


@metric_function(unit="s", label="Mute", unpaced=True)
def mute_s(trace: Trace) -> float | Missing:
    """The longest stretch of speech whose words are all missing from the text; 0: none is missing.

    From the start of its first word to the end of its last. Missing: no word timings.
    """
    words, lost = trace.session.words, _lost(trace)
    spoken = [index for index, word in enumerate(words) if bare(word.text)]
    if not spoken:
        return NO_WORDS
    longest, since_s = 0.0, None
    for index in spoken:
        if index not in lost:
            since_s = None
            continue
        since_s = words[index].start_s if since_s is None else since_s
        longest = max(longest, words[index].end_s - since_s)
    return longest


def after_pauses(trace: Trace) -> tuple[int, int] | Missing:
    """Of the first five words after each pause: lost ones, and all."""
    if not trace.session.words:
        return NO_WORDS
    later = list(phrases(trace.session.words))[1:]
    if not later:
        return NO_PAUSE
    first = [index for phrase in later for index in phrase[:_AFTER_A_PAUSE]]
    return len(_lost(trace).intersection(first)), len(first)


@metric_function(unit="1", label="Lost after a pause", scope="corpus", of="words")
def lost_after_pause(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Words missing from the text / words, of the first five after each pause of at least 1 s.

    Missing: no word timings; no such pause.
    """
    if clip.lost_after_pause is None:
        return Missing(clip.why_null.get("lost_after_pause", "not measured"))
    return float(clip.lost_after_pause[0]), float(clip.lost_after_pause[1])
