"""What the client's display showed, and since when: words that appear, change, stay, are final.

Made of chunks. A chunk is appended, or, under ``chunking=interim``, replaces the text of a segment.
Where text is only appended, a word is shown, stays and is final at one instant.

A word is known by its place: the k-th word of the display. It is the same word while its letters
are (``words.bare``): a comma that comes after it takes nothing back.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from harness.display import Display
from harness.events import Chunk, Trace
from harness.languages.units import words_of
from harness.metrics.instants import Arrivals, once_a_trace
from harness.metrics.words import bare


class ShownWord(NamedTuple):
    """A word of the final text, and when it became what it is."""

    text: str
    produced_ns: int  # the engine's update that brought its last character
    whole_ns: int  # the one that brought white space after it, or the end of the stream
    first_ns: int  # the client was first shown it in its place
    shown_ns: int  # since then it stayed as it is
    final_ns: int  # since then it could not change any more
    chunk: int  # the chunk that brought it as it stayed, of all chunks


class Shown(NamedTuple):
    """The display after one chunk."""

    chunk: Chunk
    text: str  # all of it
    committed: int  # characters of it that cannot change any more


def takes_back(trace: Trace) -> bool:
    """Whether the client is shown text that may be taken back."""
    return any(chunk.segment is not None for chunk in trace.chunks)


def displays(trace: Trace) -> Iterator[Shown]:
    """The display after each chunk, in order."""
    display = Display()
    for chunk in trace.chunks:
        if chunk.segment is None:
            display.token(chunk.text)
        else:
            display.hypothesis(chunk.segment, chunk.text, final=chunk.closes)
        if chunk.is_final and not trace.failed:
            display.end()
        yield Shown(chunk, display.shown, len(display.committed))


def displayed_text(trace: Trace) -> str:
    """What the client is shown in the end."""
    if not takes_back(trace):
        return "".join(chunk.text for chunk in trace.chunks)
    text = ""
    for shown in displays(trace):
        text = shown.text
    return text


def texts_at(trace: Trace, instants_ns: Sequence[int]) -> list[str]:
    """What the client was shown at each of some instants, which increase."""
    stamps = [chunk.at_ns for chunk in trace.chunks]
    counts = [bisect.bisect_right(stamps, at_ns) for at_ns in instants_ns]  # chunks until then
    if not takes_back(trace):
        return ["".join(chunk.text for chunk in trace.chunks[:count]) for count in counts]
    found = {0: ""}
    for count, shown in enumerate(displays(trace), start=1):
        if count in counts:
            found[count] = shown.text
    return [found[count] for count in counts]


@once_a_trace
def shown_words(trace: Trace) -> list[ShownWord]:
    """Every word of the final text, in order."""
    return _words_of_updates(trace) if takes_back(trace) else _appended_words(trace)


def _appended_words(trace: Trace) -> list[ShownWord]:
    arrivals = Arrivals(trace)
    chunk_ends = list(accumulate(len(chunk.text) for chunk in trace.chunks))
    found = []
    for word in words_of(trace.text):
        chunk = bisect.bisect_right(chunk_ends, word.end - 1)
        at_ns = trace.chunks[chunk].at_ns
        found.append(
            ShownWord(
                text=word.text,
                produced_ns=arrivals.brought_ns(word.end - 1),
                whole_ns=arrivals.brought_ns(word.end),
                first_ns=at_ns,
                shown_ns=at_ns,
                final_ns=at_ns,
                chunk=chunk,
            )
        )
    return found


class _Place:
    """The k-th word of the display, over time."""

    def __init__(self) -> None:
        self.text = ""
        self.first_ns: dict[str, int] = {}  # each word it has been -> when first
        self.since_ns = 0
        self.chunk = 0
        self._there = False  # shown now

    def show(self, text: str, chunk: Chunk) -> None:
        word = bare(text)
        if not self._there or word != bare(self.text):
            self.since_ns, self.chunk = chunk.at_ns, chunk.index
        self.first_ns.setdefault(word, chunk.at_ns)
        self.text = text
        self._there = True

    def take_back(self) -> None:
        self._there = False


def _words_of_updates(trace: Trace) -> list[ShownWord]:
    places: list[_Place] = []  # of every word that has ever been shown
    ends: list[int] = []  # of the words that are shown now
    committed: list[int] = []  # characters, after each chunk
    text, words_shown, settled = "", 0, 0
    for shown in displays(trace):
        text = shown.text
        begin = ends[settled - 1] if settled else 0
        open_words = list(words_of(text[begin:]))
        ends[settled:] = [begin + word.end for word in open_words]
        for place in places[len(ends) : words_shown]:
            place.take_back()
        for k, word in enumerate(open_words, start=settled):
            if k == len(places):
                places.append(_Place())
            places[k].show(word.text, shown.chunk)
        words_shown = len(ends)
        committed.append(shown.committed)
        settled = bisect.bisect_left(ends, shown.committed)  # more of the text follows them
    found = []
    for place, end in zip(places, ends, strict=False):
        final_ns = trace.chunks[bisect.bisect_left(committed, end)].at_ns
        found.append(
            ShownWord(
                text=place.text,
                produced_ns=place.since_ns,
                whole_ns=final_ns,
                first_ns=place.first_ns[bare(place.text)],
                shown_ns=place.since_ns,
                final_ns=final_ns,
                chunk=place.chunk,
            )
        )
    return found
