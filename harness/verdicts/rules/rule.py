"""What every kind of rule is made of, and what it is judged on.

A rule becomes two p-values: against "the rule is broken" (small: it holds) and against "the rule is
met" (small: it is broken). ``gates`` turns them into a status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import msgspec

from harness.metrics import ClipMetrics, Ratio
from harness.stats.estimates import Interval
from harness.verdicts.rules.words import BASELINE, RuleWords

Clips = Sequence[ClipMetrics]


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """What rules are judged on."""

    clips: Clips
    references: Mapping[str, Clips]  # `baseline`, and other arms by name
    memory: Mapping[str, Ratio]  # what is known of the run's memory, by its name in the summary
    bands: Mapping[str, float]  # "ttft_ms p50" -> relative noise between runs; empty: unknown
    alpha: float  # of each one-sided decision
    seed: int
    most_censored: float = 0.05  # share of sessions, for a rule on how a session ends to pass


class RuleResult(msgspec.Struct, frozen=True, kw_only=True):
    """For and against one rule."""

    seen: str  # what was seen against what was allowed
    p_pass: float = 1.0  # p-value against "the rule is broken"
    p_fail: float = 1.0  # p-value against "the rule is met"
    exact: bool = False  # a fact, not a guess: no part in the correction for many rules
    observed: float | None = None
    limit: float | None = None
    old: float | None = None  # a comparison: the figure of the reference
    new: float | None = None  # a comparison: the figure of this arm
    unit: str = "1"
    interval: Interval | None = None
    n: int = 0
    clips: int = 0
    next: str = ""  # what would decide it


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a gate. A kind of rule has its grammar, its reading of clips and its wording."""

    kind: ClassVar[str]
    forms: ClassVar[tuple[str, ...]]  # as the grammar in docs/methodology.md has them
    openings: ClassVar[tuple[str, ...]] = ()  # first words; empty: it opens with a metric
    after_fail: ClassVar[str] = "see the report for where the time or the text was lost"

    text: str  # as it was written

    @classmethod
    def takes(cls, words: RuleWords) -> bool:  # noqa: ARG003
        """Whether a rule that opens with a metric is of this kind; its metric has been read."""
        return False

    @classmethod
    def parse(cls, words: RuleWords) -> Self:
        """Read the words after the first.

        Raises:
            ConfigError: a word that is not allowed there.
        """
        raise NotImplementedError

    def judge(self, material: Material) -> RuleResult:
        """What the clips show for and against the rule."""
        raise NotImplementedError


class ComparingRule(Rule, frozen=True, kw_only=True):
    """A rule against a stored baseline, or against another arm of the same comparison."""

    reference: str | None  # baseline, or the name of an arm; None: the baseline and all other arms

    def judge(self, material: Material) -> RuleResult:
        references = dict(material.references)
        if self.reference is not None:
            references = {k: v for k, v in references.items() if k == self.reference}
        if not references:
            return _no_reference(self.reference or BASELINE)
        return self.compare(material, references)

    def compare(self, material: Material, references: Mapping[str, Clips]) -> RuleResult:
        """
        Args:
            references: one or more, by name; one if the rule names it.
        """
        raise NotImplementedError


def _no_reference(name: str) -> RuleResult:
    if name == BASELINE:
        return RuleResult(
            seen="there is no baseline to compare with",
            next="save one with `baseline save NAME RUN` and name it with --baseline NAME,"
            " or measure both in one comparison (`compare`)",
        )
    return RuleResult(
        seen=f"there is no arm {name} to compare with",
        next=f"measure it in the same comparison: `compare` with {name} among the arms",
    )


def quantile(statistic: str) -> float | None:
    """0.95 for ``p95``; None for ``mean``."""
    return None if statistic == "mean" else float(statistic[1:]) / 100
