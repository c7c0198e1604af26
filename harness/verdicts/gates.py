"""From results of rules to a verdict of each rule and of the run.

With alpha = 1 - the gate's confidence:

* A rule PASSES when the opposite is refuted at alpha. The run passes only if every rule does, so
  the chance that a run passes with a rule broken is at most alpha, whatever the number of rules
  (an intersection-union test: no correction).
* A rule FAILS when keeping it is refuted after Holm's correction over the rules of the gate. One
  broken rule fails the run, so the chance that any rule of a sound run fails is at most alpha.
* Neither: INCONCLUSIVE, with what would decide it. A run that is not valid is INVALID whatever its
  figures say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

import msgspec

from harness.config import GateConfig
from harness.errors import ConfigError
from harness.metrics import Distribution, Ratio
from harness.runs.records import RuleVerdict, Verdict
from harness.stats.estimates import holm
from harness.verdicts import worst
from harness.verdicts.censored import LET_IT_END, too_many_censored
from harness.verdicts.instrument import too_close
from harness.verdicts.rules import BASELINE, ComparingRule, Rule, parse_rules
from harness.verdicts.rules.rule import Clips, Material, RuleResult

_BETTER_STAMPS = "measure with fewer streams or on an idle machine, or allow more"
_NO_BASELINE = "no baseline is named: gate.baseline=NAME, --baseline NAME, or `compare`"


class JudgingContext(TypedDict, total=False):
    """What an arm is judged with; all of it may be left out."""

    baseline: Clips | None  # what rules `vs baseline` compare with, stored or of this comparison
    baseline_name: str | None  # how the verdict calls it
    allowed: Sequence[str]  # mismatches with the baseline that were allowed by hand
    is_reference: bool  # others are compared with this arm: rules `vs baseline` do not apply
    other_arms: Mapping[str, Clips]  # by name, for rules `vs arm NAME` and `text parity`
    # `baseline` or an arm's name -> why its run is not valid: no comparison with it is possible.
    invalid_references: Mapping[str, str]
    bands: Mapping[str, float] | None  # relative noise between runs, for a stored baseline only
    reservation: str  # what a reader of every comparison must know as well; empty: nothing


def judge(
    clips: Clips,
    gate: GateConfig,
    *,
    arm: Mapping[str, str],
    validity: Sequence[str] = (),
    figures: Mapping[str, Distribution | Ratio] | None = None,
    share: float = 1.0,
    seed: int = 0,
    **context: Unpack[JudgingContext],
) -> Verdict:
    """Judge one arm by a gate.

    Args:
        clips: of this arm, failed ones included, every repeat.
        arm: what the arm is, as in the summary; a gate of one arm finds its name here.
        validity: what makes the run invalid; empty: valid.
        figures: ``metrics`` of the run's summary, for rules on memory.
        share: of alpha that this look may spend (``sequential``).
        seed: of the bootstrap.
        context: see :class:`JudgingContext`.

    Raises:
        ConfigError: a rule is not one.
    """
    rules = parse_rules(gate.rules)
    if not rules or (gate.arm is not None and gate.arm not in arm.values()):
        return Verdict(status="invalid" if validity else "none", gate=gate.name)
    references = dict(context.get("other_arms", {}))
    if (baseline := context.get("baseline")) is not None:
        references[BASELINE] = baseline
    material = Material(
        clips=clips,
        references=references,
        memory={k: v for k, v in (figures or {}).items() if isinstance(v, Ratio)},
        bands=context.get("bands") or {},
        alpha=(1 - gate.confidence) * share,
        seed=seed,
        most_censored=gate.most_censored,
    )
    verdicts = _rule_verdicts(rules, material, arm, validity, context)
    return Verdict(
        # An arm without rules may still be what others were compared with.
        status=worst([verdict.status for verdict in verdicts] + ["invalid" for _ in validity]),
        gate=gate.name,
        confidence=gate.confidence,
        rules=tuple(verdicts),
        baseline=context.get("baseline_name"),
        allowed=tuple(context.get("allowed", ())),
    )


def _rule_verdicts(
    rules: Sequence[Rule],
    material: Material,
    arm: Mapping[str, str],
    validity: Sequence[str],
    context: JudgingContext,
) -> list[RuleVerdict]:
    """One per rule: judged, not applicable to this arm, or against a run that is not valid."""
    is_reference, invalid = (
        context.get("is_reference", False),
        context.get("invalid_references", {}),
    )
    unasked = {
        rule: why
        for rule in rules
        if (why := _why_not_asked(rule, arm, material.references, is_reference=is_reference))
    }
    broken = {
        rule: why
        for rule in rules
        if rule not in unasked and (why := _broken_reference(rule, invalid))
    }
    asked = [rule for rule in rules if rule not in unasked and rule not in broken]
    if not asked and not broken:
        asked = [rule for rule, why in unasked.items() if why == _NO_BASELINE]
    found = dict(zip(asked, _judge_rules(asked, material, validity), strict=True))
    if reservation := context.get("reservation"):
        found = {rule: _with_reservation(rule, one, reservation) for rule, one in found.items()}
    return [
        found.get(rule)
        or (_invalid(rule, broken[rule]) if rule in broken else _not_asked(rule, unasked[rule]))
        for rule in rules
    ]


def _with_reservation(rule: Rule, verdict: RuleVerdict, reservation: str) -> RuleVerdict:
    if not isinstance(rule, ComparingRule):
        return verdict
    return msgspec.structs.replace(verdict, why=f"{verdict.why}; {reservation}")


def check_arm(gate: GateConfig, arms: Sequence[Mapping[str, str]]) -> None:
    """Raises ConfigError: the gate is of one arm only, and there is none of that name."""
    names = dict.fromkeys(name for arm in arms for name in arm.values())
    if gate.rules and gate.arm is not None and gate.arm not in names:
        raise ConfigError(
            f"gate {gate.name} judges one arm, and there is none of that name",
            value=gate.arm,
            allowed=", ".join(names),
            hint="run or compare with that arm, or choose another by gate.arm=NAME",
        )


def check_references(gate: GateConfig, arms: Sequence[str]) -> None:
    """Raises ConfigError: a rule names an arm that is none of ``arms``, or is no rule."""
    for rule in parse_rules(gate.rules):
        if not isinstance(rule, ComparingRule):
            continue
        if rule.reference not in (None, BASELINE, *arms):
            raise ConfigError(
                f"rule {rule.text!r} names an arm, and there is none of that name",
                value=rule.reference,
                allowed=", ".join(arms),
                hint=f"name one that is there, or `compare` with {rule.reference} among the arms",
            )


def _why_not_asked(
    rule: Rule, arm: Mapping[str, str], references: Mapping[str, Clips], *, is_reference: bool
) -> str | None:
    """An arm is not compared with itself, nor a single run with a baseline if none is named.

    If every rule needs a baseline and none is given, the result is INCONCLUSIVE.
    """
    if not isinstance(rule, ComparingRule):
        return None
    if is_reference and (rule.reference in (None, BASELINE) or rule.reference in arm.values()):
        return "this arm is what the others are compared with"
    if rule.reference in arm.values():
        return "an arm is not compared with itself"
    wanted = BASELINE if rule.reference is None and not references else rule.reference
    if wanted == BASELINE and BASELINE not in references:
        return _NO_BASELINE
    return None


def _broken_reference(rule: Rule, invalid: Mapping[str, str]) -> str | None:
    """Why what a rule compares with cannot be relied on; None: it can, or it compares nothing."""
    if not isinstance(rule, ComparingRule):
        return None
    named = invalid if rule.reference is None else {rule.reference}
    return next((f"{name}: {invalid[name]}" for name in named if name in invalid), None)


def _invalid(rule: Rule, why: str) -> RuleVerdict:
    return RuleVerdict(
        rule=rule.text, status="invalid", why=f"what it is compared with is not valid, {why}",
        next="fix the cause of the invalid reference run",
    )  # fmt: skip


def _not_asked(rule: Rule, why: str) -> RuleVerdict:
    return RuleVerdict(rule=rule.text, status="none", why=why)


def _judge_rules(
    rules: Sequence[Rule], material: Material, validity: Sequence[str]
) -> list[RuleVerdict]:
    results = [rule.judge(material) for rule in rules]
    estimates = [e for e in results if not e.exact]
    corrected = iter(holm([e.p_fail for e in estimates]))
    verdicts = []
    for rule, seen in zip(rules, results, strict=True):
        p_fail = seen.p_fail if seen.exact else next(corrected)
        if validity:
            status = "invalid"
        elif p_fail <= material.alpha:
            status = "fail"
        else:
            status = "pass" if seen.p_pass <= material.alpha else "inconclusive"
        if status == "pass" and (censored := too_many_censored(rule, material)):
            open_ = msgspec.structs.replace(seen, seen=f"{seen.seen}; {censored}", next=LET_IT_END)
            verdicts.append(_verdict(rule, open_, "inconclusive", validity))
            continue
        if status in ("pass", "fail") and (why := too_close(rule, seen, material)):
            open_ = msgspec.structs.replace(seen, seen=f"{seen.seen}; {why}", next=_BETTER_STAMPS)
            verdicts.append(_verdict(rule, open_, "inconclusive", validity))
            continue
        verdicts.append(_verdict(rule, seen, status, validity))
    return verdicts


def _verdict(rule: Rule, seen: RuleResult, status: str, validity: Sequence[str]) -> RuleVerdict:
    why, what_next = seen.seen, ""
    if status == "invalid":
        why, what_next = f"the run is not valid: {validity[0]}", "fix the cause of the invalid run"
    elif status == "inconclusive":
        what_next = seen.next or "several rules share the risk of a false alarm: add clips"
    elif status == "fail":
        what_next = rule.after_fail
    return RuleVerdict(
        rule=rule.text,
        status=status,
        why=why,
        next=what_next,
        observed=seen.observed,
        limit=seen.limit,
        old=seen.old,
        new=seen.new,
        unit=seen.unit,
        interval=None if seen.interval is None else (seen.interval.low, seen.interval.high),
        interval_confidence=None if seen.interval is None else seen.interval.confidence,
        n=seen.n,
        clips=seen.clips,
    )
