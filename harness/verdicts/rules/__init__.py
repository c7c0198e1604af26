"""Rules as a person writes them: parsed, with units, before anything runs; one file a kind.

A kind has its grammar (``forms``, ``parse``), its reading of the clips (``judge``) and its wording
in one class. Only this page lists the kinds. What each means and how it is decided, with examples:
``docs/methodology.md``.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.metrics.registry import by_name
from harness.verdicts.rules.delta import Delta
from harness.verdicts.rules.every_clip import EveryClip
from harness.verdicts.rules.every_slope import EverySlope
from harness.verdicts.rules.faster import Faster
from harness.verdicts.rules.goodput import Goodput
from harness.verdicts.rules.memory import Memory
from harness.verdicts.rules.no_worse import NoWorse
from harness.verdicts.rules.rule import ComparingRule as ComparingRule
from harness.verdicts.rules.rule import Rule as Rule
from harness.verdicts.rules.text_parity import TextParity
from harness.verdicts.rules.within import Within
from harness.verdicts.rules.words import BASELINE as BASELINE
from harness.verdicts.rules.words import RuleWords

# In the order in which they are tried on a rule that opens with a metric.
KINDS: dict[str, type[Rule]] = {
    kind.kind: kind
    for kind in (
        EverySlope, Faster, NoWorse, Within, Delta, Memory, TextParity, EveryClip, Goodput,
    )
}  # fmt: skip


def parse_rules(texts: Iterable[str]) -> tuple[Rule, ...]:
    """Parse a gate's rules.

    Raises:
        ConfigError: names the rule, the offending word and what is allowed there.
    """
    return tuple(map(_parse, texts))


def compares_with_baseline(rule: Rule) -> bool:
    """Whether a baseline that is named would be asked by this rule."""
    return isinstance(rule, ComparingRule) and rule.reference in (BASELINE, None)


def _parse(text: str) -> Rule:
    words, metrics = RuleWords(text), by_name()
    openings = {opening: kind for kind in KINDS.values() for opening in kind.openings}
    opening = words.one_of((*metrics, *openings))
    kind = openings.get(opening) or next(kind for kind in KINDS.values() if kind.takes(words))
    rule = kind.parse(words)
    words.end()
    return rule
