"""Ratios over a run: one clip's share of a ratio of sums, as (above, below)."""

from __future__ import annotations

from harness.metrics import ClipMetrics, Edits
from harness.metrics.instants import Missing
from harness.metrics.metric import metric_function

NO_SPANS = Missing("the engine reports no compute spans")


@metric_function(unit="1", label="WER", scope="corpus", edits="word_edits", headline=("value",))
def wer(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Sum of word substitutions, deletions, insertions / sum of reference words.

    After the normaliser of ``accuracy``; a failed clip is all deletions. A word is a grapheme
    cluster in scripts without spaces. Missing: random weights; no reference words.
    """
    return _error_share(clip, clip.word_edits, "wer")


@metric_function(unit="1", label="CER", scope="corpus", edits="char_edits", headline=("value",))
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


@metric_function(unit="1", label="RTF", scope="corpus", unpaced=True)
def rtf(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Sum of compute time / sum of audio: never from a paced wall clock. Missing: no spans."""
    if clip.compute_ms is None:
        return Missing(clip.why_null.get("compute_ms", NO_SPANS.reason))
    return clip.compute_ms, clip.duration_s * 1000


@metric_function(unit="1", label="RTFx", scope="corpus", better="higher", unpaced=True)
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
