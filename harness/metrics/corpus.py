"""Ratios over a run: one clip's share of a ratio of sums, as (above, below)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.metrics import ClipMetrics, Edits
from harness.metrics.instants import Missing
from harness.metrics.metric import metric_function

NO_SPANS = Missing("the engine reports no compute spans")


@metric_function(
    unit="1", label="WER", scope="corpus", edits="word_edits", of="words", headline=("value",)
)
def wer(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Sum of word substitutions, deletions, insertions / sum of reference words.

    After the normaliser of ``accuracy``; a failed clip is all deletions. A word is a grapheme
    cluster in scripts without spaces. Missing: random weights; no reference words.
    """
    return _error_share(clip, clip.word_edits, "wer")


@metric_function(
    unit="1", label="CER", scope="corpus", edits="char_edits", of="characters", headline=("value",)
)
def cer(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Sum of character substitutions, deletions, insertions / sum of reference characters.

    As for `wer`; characters are grapheme clusters, with the spaces between words. Where most texts
    are of scripts without spaces, reports show it in place of `wer`.
    """
    return _error_share(clip, clip.char_edits, "cer")


def _error_share(
    clip: ClipMetrics, edits: Edits | None, name: str
) -> tuple[float, float] | Missing:
    if edits is None:
        return Missing(clip.why_null.get(name, "not measured"))
    return edits.errors, edits.reference


def _error_rate_at(after_ms: int, *, headline: bool = False) -> Callable[..., Any]:
    """The metric ``wer_at_{after_ms}ms``."""

    def wer_at(clip: ClipMetrics) -> tuple[float, float] | Missing:
        return _error_share(clip, getattr(clip, f"edits_at_{after_ms}ms"), f"wer_at_{after_ms}ms")

    wer_at.__doc__ = (
        f"Error rate of what is shown {after_ms} ms after A(speech end); at the end it is `wer`."
        " Of a clip in a script without spaces, `cer`. Missing: as `wer`; audio that was not paced."
    )
    return metric_function(
        unit="1", label=f"Error rate after {after_ms} ms", name=f"wer_at_{after_ms}ms",
        scope="corpus", edits=f"edits_at_{after_ms}ms", of="words", only_live=True,
        if_taken_back=True, headline=("value",) if headline else (),
    )(wer_at)  # fmt: skip


AFTER_MS = (0, 250, 500, 1000)
wer_at_0ms = _error_rate_at(0, headline=True)
wer_at_250ms = _error_rate_at(250)
wer_at_500ms = _error_rate_at(500, headline=True)
wer_at_1000ms = _error_rate_at(1000)


@metric_function(unit="1", label="RTF", scope="corpus", source="compute_ms", unpaced=True)
def rtf(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Sum of compute time / sum of audio: never from a paced wall clock. Missing: no spans."""
    if clip.compute_ms is None:
        return Missing(clip.why_null.get("compute_ms", NO_SPANS.reason))
    return clip.compute_ms, clip.duration_s * 1000


@metric_function(
    unit="1", label="RTFx", scope="corpus", source="compute_ms", better="higher", unpaced=True
)
def rtfx(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Sum of audio / sum of compute time, the inverse of `rtf`. Missing: no spans."""
    share = rtf(clip)
    return share if isinstance(share, Missing) else (share[1], share[0])


@metric_function(unit="1/s", label="Messages/s", scope="corpus", unpaced=True, headline=("value",))
def messages_per_s(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Sum of non-blank chunks / sum of seconds of audio: the messages that a client must handle.

    Missing: failed; no text.
    """
    if clip.failed is not None:
        return Missing(f"failed: {clip.failed}")
    if clip.chunks == 0:
        return Missing("no text")
    return float(clip.chunks), clip.duration_s
