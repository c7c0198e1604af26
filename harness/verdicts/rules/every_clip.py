"""``failed = 0`` and others: facts of every session."""

from __future__ import annotations

from typing import ClassVar, Self

from harness.languages.units import is_spoken, words_of
from harness.metrics import ClipMetrics
from harness.metrics.instants import FLOOD
from harness.verdicts.rules.estimating import session_name
from harness.verdicts.rules.rule import Material, Rule, RuleResult
from harness.verdicts.rules.words import RuleWords


class EveryClip(Rule, frozen=True, kw_only=True):
    """A fact of every clip and repeat; no statistics: one exception fails it."""

    kind: ClassVar[str] = "every_clip"
    forms: ClassVar[tuple[str, ...]] = (
        "failed = 0",
        "chunks >= NUMBER",
        "first text before end of audio",
    )
    openings: ClassVar[tuple[str, ...]] = ("failed", "chunks", "first")

    fact: str  # failed, chunks, first_text
    least: int = 0  # of chunks

    @classmethod
    def parse(cls, words: RuleWords) -> Self:
        if words.opening == "failed":
            words.word("=")
            words.word("0")
            return cls(text=words.text, fact="failed")
        if words.opening == "chunks":
            words.one_of((">=",))
            least = words.number(above=0)
            if least != int(least):
                words.refuse_last("a whole number")
            return cls(text=words.text, fact="chunks", least=int(least))
        for word in ("text", "before", "end", "of", "audio"):
            words.word(word)
        return cls(text=words.text, fact="first_text")

    def judge(self, material: Material) -> RuleResult:
        """A fact of every session; a failed one is counted by `failed = 0` alone."""
        answered = [clip for clip in material.clips if clip.failed is None]
        if self.fact == "failed":
            broken = [
                f"{session_name(c)}: {c.failed}" for c in material.clips if c.failed is not None
            ]
            what, judged = "failed", list(material.clips)
        elif self.fact == "chunks":
            # What has fewer words cannot come in so many chunks.
            judged = [c for c in answered if len(list(words_of(c.reference))) >= self.least]
            broken = [f"{session_name(c)}: {c.chunks}" for c in judged if c.chunks < self.least]
            what = f"have fewer than {self.least} chunks"
        else:
            live = [clip for clip in answered if clip.session == "live"]
            if answered and not live:
                return RuleResult(seen="no live session: in a turn, text comes after the audio",
                                next="run with session=live")  # fmt: skip
            judged = [
                clip for clip in live if is_spoken(clip.reference)
            ]  # others have nothing to say
            if any(clip.why_null.get("ttft_ms") == FLOOD for clip in judged):
                return RuleResult(seen=f"when text came was not measured: {FLOOD}",
                                next="run with replay.pace=realtime")  # fmt: skip
            broken = [session_name(clip) for clip in judged if not _text_during_audio(clip)]
            what = "have no text before the end of their audio"
        if not answered and self.fact != "failed":
            return RuleResult(seen="no session was measured", next="see why every session failed")
        if not judged:
            words = f"{self.least} words" if self.fact == "chunks" else "words"
            return RuleResult(seen=f"no clip has {words} in its reference",
                            next="remove the rule, or run clips with more words")  # fmt: skip
        seen = f"{len(broken)} of {len(judged)} sessions {what}"
        return RuleResult(
            seen=f"{seen}, such as {broken[0]}" if broken else seen,
            p_pass=float(bool(broken)), p_fail=float(not broken), exact=True,
            observed=float(len(broken)), limit=0.0, unit="sessions",
            n=len(judged), clips=len({clip.clip for clip in judged}),
        )  # fmt: skip


def _text_during_audio(clip: ClipMetrics) -> bool:
    if clip.ttft_ms is None:
        return False
    return clip.speech_onset_s * 1000 + clip.ttft_ms < clip.duration_s * 1000
