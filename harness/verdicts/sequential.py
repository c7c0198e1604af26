"""When to stop repeating, and when a regression may be called one.

**Until decided.** After every further repeat of all clips the gate looks at what there is, and
stops once every rule is decided. Looking K times gives K chances of a false answer, so each look
may spend 1/K of the gate's alpha: by the union bound the errors of all looks together stay within
alpha, however the looks depend on each other. (Even alpha spending, Lan and DeMets 1983, with
Bonferroni in place of their exact boundary: simpler, and never too bold.)

**Confirmation.** A rise against a stored baseline may be the machine's, not the code's: between
the two runs lies time. So it is measured again with old and new interleaved, and that answer
stands. A regression is called one when both say so.
"""

from __future__ import annotations

import msgspec

from harness.runs.records import RuleVerdict, Verdict
from harness.verdicts import worst
from harness.verdicts.rules import parse_rules
from harness.verdicts.rules.no_worse import NoWorse


class SequentialPlan(msgspec.Struct, frozen=True):
    """Look after ``first`` repeats and after every further one, up to ``most``."""

    first: int  # repeats before the first look
    most: int  # the budget, in repeats of every clip

    @property
    def share(self) -> float:
        """Of the gate's alpha, what each look may spend (``judge(share=...)``)."""
        return 1 / max(1, self.most - self.first + 1)

    def looks(self, repeats: int) -> bool:
        """Whether the gate is evaluated after so many repeats."""
        return self.first <= repeats <= self.most

    def stops(self, repeats: int, verdict: Verdict) -> bool:
        """After the look at ``repeats``: every rule is decided, or the budget is spent."""
        undecided = any(rule.status == "inconclusive" for rule in verdict.rules)
        return repeats >= self.most or not undecided


def to_confirm(verdict: Verdict) -> tuple[str, ...]:
    """The rules that failed as regressions, to be measured again, interleaved."""
    failed = [rule.rule for rule in verdict.rules if rule.status == "fail"]
    return tuple(rule.text for rule in parse_rules(failed) if isinstance(rule, NoWorse))


def confirm(first: Verdict, again: Verdict) -> Verdict:
    """The verdict after an interleaved re-run of the rules in ``to_confirm(first)``."""
    repeated = {rule.rule: rule for rule in again.rules}
    asked = to_confirm(first)
    if not asked:
        return first
    rules = [
        _confirm_rule(rule, repeated[rule.rule]) if rule.rule in asked else rule
        for rule in first.rules
    ]
    status = worst([rule.status for rule in rules])
    return msgspec.structs.replace(first, status=status, rules=tuple(rules))


def _confirm_rule(first: RuleVerdict, again: RuleVerdict) -> RuleVerdict:
    outcome = "confirmed by" if again.status == "fail" else "not confirmed by"
    why = f"{again.why} ({outcome} an interleaved re-run; at first: {first.why})"
    return msgspec.structs.replace(again, why=why)
