"""Metrics: pure functions of recorded events, and the records they fill.

``latency`` and ``accuracy`` turn one trace into one :class:`ClipMetrics` (a line of
``clips.jsonl``); ``summary`` turns those into the ``metrics`` of ``summary.json``; ``statistics``
holds percentiles, intervals and tests. None of them reads a clock, a file or a config.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec

# History, newest first. A result made under another version is never compared silently.
# 4: text may be taken back: a word's delay counts from when it stays; new are first_stable_ms,
#    word_shown_ms, word_final_ms, final_known_ms, upwr, erasure, revisions_per_s, wer_at_*ms,
#    mute_s, lost_after_pause, eot_ms, false_cutoffs, censored, yaal_ms, long_yaal_ms.
#    ttft_ms ends with the first counted word, first_text_ms with any text (ttft_ms until 3); the
#    last word's hold_ms counts from its last character, not from the end of the stream; words are
#    grapheme clusters in scripts without spaces, combining marks belong to words and invisible
#    characters to none; substitutions, deletions and insertions are those of one alignment
#    everywhere; split_words is what was called rewrites.
# 3: compute_ms, and so rtf: a step that several sessions took together counted for each in full;
#    rewrites counts words: a word that was cut twice counted twice.
# 2: gap_per_word_ms counts the words of the joined text; parts of a word counted as words.
# 1: the first definitions.
METRICS_VERSION = "4"


class Edits(msgspec.Struct, frozen=True):
    """Word or character edits of one clip, or summed over clips."""

    reference: int  # words (or characters) in the reference, after the normaliser
    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


class EditsThen(Edits, frozen=True, array_like=True):
    """Edits of what was shown at some moment: a list in files, for there are several a session."""


class Revised(msgspec.Struct, frozen=True, array_like=True):
    """What was taken back of what a client had been shown, of one clip."""

    updates: int  # in which a word was changed or taken back
    unstable: int  # words that were, capitals and punctuation included, summed over updates
    erased: int  # words that were, letters and digits only
    words: int  # of the final text


class ClipMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One clip, replayed once. ``None``: the figure does not exist; ``why_null`` says why."""

    clip: str
    repeat: int
    order: int  # position in the run's plan, over all arms
    lane: int  # which of the concurrent streams it ran on
    session: str  # turn | live
    duration_s: float
    speech_onset_s: float = 0.0  # where R lies in live sessions, on the audio's clock
    reference: str
    hypothesis: str  # the engine's text, exact
    endpointer: str = "none"  # who was to say that the turn is over
    takes_back: bool = False  # the client was shown text that may be taken back
    failed: str | None = None  # the reason; a failed clip stays in the denominator

    ttft_ms: float | None = None
    first_text_ms: float | None = None
    first_token_ms: float | None = None
    ttft_floor_ms: float | None = None  # live, with word timings
    first_stable_ms: float | None = None
    response_ms: float | None = None  # turn
    final_ms: float | None = None
    final_known_ms: float | None = None
    eot_ms: float | None = None  # with an endpointer
    flush_ms: float | None = None
    gap_per_word_ms: float | None = None
    loop_lag_ms: float | None = None  # sockets: the largest
    setup_ms: float | None = None  # connect and handshake, before t0
    compute_ms: float | None = None  # its share of compute spans; with duration_s it gives rtf
    stall_ratio: float | None = None
    split_words: int | None = None  # `rewrites` until version 3
    match_rate: float | None = None  # share of reference words whose delay is known
    lag_slope_ms_per_min: float | None = None
    laal_ms: float | None = None
    laal_ca_ms: float | None = None
    yaal_ms: float | None = None
    long_yaal_ms: float | None = None
    mute_s: float | None = None
    wer: float | None = None
    cer: float | None = None

    gap_ms: tuple[float, ...] = ()
    hold_ms: tuple[float, ...] = ()  # per chunk
    delivery_ms: tuple[float, ...] = ()  # per message of a server that tells its time
    word_delay_ms: tuple[float, ...] = ()  # matched words, in order; negatives kept
    word_shown_ms: tuple[float, ...] = ()  # the same words, first shown
    word_final_ms: tuple[float, ...] = ()  # the same words, final
    word_delay_floor_ms: tuple[float, ...] = ()  # the same words; live
    send_lateness_ms: tuple[float, ...] = ()  # per frame
    receipt_error_ms: tuple[float, ...] = ()  # per piece of text
    chunks: int = 0  # non-blank ones
    budget_ms: dict[str, float] | None = None  # part -> ms; sums to ttft_ms
    delay_causes_ms: dict[str, float] | None = None  # cause -> ms; sums to the mean word delay
    lag_slope_ci95: tuple[float | None, float | None] | None = None  # of lag_slope_ms_per_min
    word_edits: Edits | None = None
    char_edits: Edits | None = None
    # Of what was shown so long after the end of speech; characters where the text is told as CER.
    edits_at_0ms: EditsThen | None = None
    edits_at_250ms: EditsThen | None = None
    edits_at_500ms: EditsThen | None = None
    edits_at_1000ms: EditsThen | None = None
    revised: Revised | None = None
    false_cutoffs: tuple[int, int] | None = None  # pauses cut, pauses
    lost_after_pause: tuple[int, int] | None = None  # words lost, words
    censored: bool | None = None  # with an endpointer: it ended only because we ended the audio
    outside: dict[str, float | tuple[float, ...]] = {}  # metrics from other packages, by name
    why_null: dict[str, str] = {}

    def figure(self, name: str) -> Any:
        """The figure of a metric of scope clip or series; None: it does not exist here."""
        return getattr(self, name) if name in self.__struct_fields__ else self.outside.get(name)


class Distribution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """A latency metric over a run, in ``summary.json``."""

    unit: str
    n: int  # samples that exist
    of: int  # samples that should: clips x repeats, failed ones included (series: n)
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
    ci95: dict[str, tuple[float | None, float | None]] = {}  # statistic -> interval
    why_null: dict[str, str] = {}  # statistic -> reason


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A corpus ratio over a run, such as WER or RTF, in ``summary.json``."""

    unit: str
    value: float | None
    n: int = 0  # sessions with a part in it
    of: int = 0  # sessions: failed ones included; 0: it is none of sessions, such as memory
    ci95: tuple[float | None, float | None] | None = None
    words: int = 0  # reference words (characters for cer)
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    why_null: str | None = None


def __getattr__(name: str) -> Any:
    """``harness.metrics.ttft_ms``: every metric's function, by its name."""
    functions = import_module("harness.metrics.registry").FUNCTIONS
    if name.startswith("_") or name not in functions.names():
        raise AttributeError(f"module 'harness.metrics' has no attribute {name!r}")
    return functions.get(name)
