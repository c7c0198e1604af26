"""``memory_mib <= QUANTITY``: what the run held, or by how much that grew."""

from __future__ import annotations

from typing import ClassVar, Self

from harness.verdicts.rules.rule import Material, Rule, RuleResult
from harness.verdicts.rules.slopes import slope_within
from harness.verdicts.rules.words import RuleWords
from harness.verdicts.wording import say, say_interval

_UNITS = {
    "memory_mib": "MiB",
    "memory_slope_mib_per_min": "MiB/min",
    "gpu_memory_mib": "MiB",
}
_WHY_NONE = {
    "memory_mib": "the run's folder has no host.jsonl",
    "memory_slope_mib_per_min": "the run's folder has no host.jsonl",
    "gpu_memory_mib": "the engine was not on a GPU of this machine",
}


class Memory(Rule, frozen=True, kw_only=True):
    """What the run held at most, or by how much that grew, is at most ``high``."""

    kind: ClassVar[str] = "memory"
    forms: ClassVar[tuple[str, ...]] = ("MEMORY <= QUANTITY",)
    openings: ClassVar[tuple[str, ...]] = tuple(_UNITS)
    after_fail: ClassVar[str] = (
        "see host.jsonl (of a GPU: telemetry.json) for memory over the course of the run"
    )

    figure: str  # its name in `summary.json`
    unit: str
    high: float

    @classmethod
    def parse(cls, words: RuleWords) -> Self:
        words.one_of(("<=",))
        high, unit = words.number(), _UNITS[words.opening]
        words.word(unit, why=f"the unit of {words.opening}")
        return cls(text=words.text, figure=words.opening, unit=unit, high=high)

    def judge(self, material: Material) -> RuleResult:
        """The most is a fact of the run; growth is a slope with an interval."""
        figure = material.memory.get(self.figure)
        if figure is None or figure.value is None:
            why = figure.why_null if figure else _WHY_NONE[self.figure]
            return RuleResult(
                seen=f"{self.figure} was not measured: {why}",
                next="take the rule out, or run what it asks for",
            )
        found = f"{self.figure} is {say(figure.value, self.unit)}"
        allowed = f"allowed at most {say(self.high, self.unit)}"
        if figure.ci95 is None:
            kept = figure.value <= self.high
            return RuleResult(
                seen=f"{found}, {allowed}", p_pass=float(not kept), p_fail=float(kept), exact=True,
                observed=figure.value, limit=self.high, unit=self.unit,
            )  # fmt: skip
        p_broken, interval = slope_within(figure.value, figure.ci95, self.high, material.alpha)
        return RuleResult(
            seen=f"{found} {say_interval(interval, self.unit)}, {allowed}",
            p_pass=p_broken, p_fail=1 - p_broken,
            observed=figure.value, limit=self.high, unit=self.unit, interval=interval,
            next="a longer run would decide it: replay.repeats or dataset.loop_to_s",
        )  # fmt: skip
