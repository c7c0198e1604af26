"""``text parity [vs REFERENCE]``: the same final text, clip by clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from harness.languages.units import composed
from harness.verdicts.rules.rule import Clips, ComparingRule, Material, RuleResult
from harness.verdicts.rules.words import RuleWords


class TextParity(ComparingRule, frozen=True, kw_only=True):
    """The same final text, clip by clip; one difference fails it."""

    kind: ClassVar[str] = "text_parity"
    forms: ClassVar[tuple[str, ...]] = ("text parity [vs REFERENCE]",)
    openings: ClassVar[tuple[str, ...]] = ("text",)

    @classmethod
    def parse(cls, words: RuleWords) -> Self:
        words.word("parity")
        reference = words.reference() if words.peek() == "vs" else None
        return cls(text=words.text, reference=reference)

    def compare(self, material: Material, references: Mapping[str, Clips]) -> RuleResult:
        here = _texts(material.clips)
        compared, broken = 0, []
        # The baseline of a comparison is one of its arms as well.
        distinct = {id(reference): (name, reference) for name, reference in references.items()}
        for name, reference in distinct.values():
            there = _texts(reference)
            for clip in here:
                if clip in there:
                    compared += 1
                    new, old = _unlike(here[clip], there[clip]), _unlike(there[clip], here[clip])
                    if new or old:
                        shown = _quoted(new or here[clip]), _quoted(old or there[clip])
                        broken.append(f"{clip}: {shown[0]} here, {shown[1]} in {name}")
        if not compared:
            return RuleResult(seen="no clip is shared", next="compare runs of the same dataset")
        seen = f"{len(broken)} of {compared} texts differ"
        return RuleResult(
            seen=f"{seen}, such as {broken[0]}" if broken else seen,
            p_pass=float(bool(broken)), p_fail=float(not broken), exact=True,
            observed=float(len(broken)), limit=0.0, unit="texts", n=compared, clips=len(here),
        )  # fmt: skip


def _texts(clips: Clips) -> dict[str, set[str | None]]:
    """Clip -> its final texts: one, unless its repeats differ; None: a session failed."""
    texts: dict[str, set[str | None]] = {}
    for clip in clips:
        text = composed(clip.hypothesis).strip() if clip.failed is None else None
        texts.setdefault(clip.clip, set()).add(text)
    return texts


def _unlike(texts: set[str | None], others: set[str | None]) -> set[str | None]:
    """Those that ``others`` do not have; the text of a failed session is the same as no other."""
    return texts - (others - {None})


def _quoted(texts: set[str | None]) -> str:
    known = sorted(text for text in texts if text is not None)
    return repr(known[0]) if known else "a failed session"
