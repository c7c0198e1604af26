"""The records of a run's folder, and the shape of its config: what is read, with its type.

A file may hold more than is named here (notes, fields of a later version), except for
``summary.json`` and a gate; what is named must be there and of its type.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from harness.metrics import ClipMetrics, Distribution, Ratio

RENAMED = {"rewrites": "split_words"}  # metrics: what a recorded run may call them -> today's name


Status = Annotated[str, msgspec.Meta(pattern="^(none|pass|inconclusive|invalid|fail)$")]


class ReplayShape(msgspec.Struct):
    repeats: Annotated[int, msgspec.Meta(ge=1, le=10**6)]
    pace: Literal["realtime", "flood", "virtual"]
    until: Literal["repeats", "decided"] = "repeats"
    most_repeats: Annotated[int, msgspec.Meta(ge=1, le=10**6)] = 10
    streams: Annotated[int, msgspec.Meta(ge=1, le=10**6)] = 1


class GateShape(msgspec.Struct, forbid_unknown_fields=True):
    name: str = "none"
    rules: list[str] = []
    confidence: float = 0.95
    arm: str | None = None
    baseline: str | None = None
    allow: list[str] = []
    confirm: bool = True
    most_censored: float = 0.05


class ConfigShape(msgspec.Struct):
    """``config.yaml``: what is read of it once the run is finished."""

    replay: ReplayShape
    gate: GateShape
    report: dict[str, Any] = {}
    dataset: dict[str, Any] = {}


class RecordedClip(ClipMetrics, frozen=True, kw_only=True):
    """A line of ``clips.jsonl``, with the names that metrics had in earlier versions."""

    rewrites: int | None = None

    def today(self) -> ClipMetrics:
        """The same figures by the names of today."""
        figures = {name: getattr(self, name) for name in ClipMetrics.__struct_fields__}
        if self.rewrites is not None:
            figures["split_words"] = self.rewrites
        return ClipMetrics(**figures)


class ArmNames(msgspec.Struct):
    """``comparison.json``: the arms' folders, in the order in which they were compared."""

    schema: int
    arms: list[Annotated[str, msgspec.Meta(pattern=r"^[^/\\]+$", max_length=255)]]


class RuleVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a gate."""

    rule: str  # as it was written
    status: Status  # none: it does not apply to this arm
    why: str  # one sentence: what was seen against what was allowed
    next: str = ""  # what to do about it; empty when it passed
    observed: float | None = None  # in `unit`; for a comparison: the change, or the factor
    limit: float | None = None  # what was allowed
    old: float | None = None  # a comparison: the figure of the baseline or of the other arm
    new: float | None = None  # a comparison: the same figure of this arm
    unit: str = "1"
    interval: tuple[float | None, float | None] | None = None  # of the observed value
    interval_confidence: float | None = None
    n: int = 0  # samples
    clips: int = 0  # clips that the samples come from


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A gate's answer for one arm, as it stands in ``summary.json``."""

    status: Status  # the worst of its rules
    gate: str = "none"
    confidence: float | None = None  # a wrong PASS, or any wrong FAIL, has at most the rest
    rules: tuple[RuleVerdict, ...] = ()
    baseline: str | None = None  # the name of what it was compared with
    allowed: tuple[str, ...] = ()  # mismatches with the baseline that were allowed by hand


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """``summary.json``."""

    schema: int
    metrics_version: str
    arm: dict[str, str]  # chunking, model, dataset, session, conditions
    clips: int
    repeats: int
    failed: int
    simulated: bool  # virtual time
    injected: bool  # made worse on purpose
    random_weights: bool  # text means nothing
    harness_floor_ms: float | None  # TTFT of the null engine through the same loop, just before
    validity: tuple[str, ...]  # what makes the run invalid, each with its remedy; empty: valid
    warnings: tuple[str, ...]  # what a reader should know, each with its remedy
    metrics: dict[str, Distribution | Ratio]
    verdict: Verdict
    error_rate: str = "wer"  # the one that is told; cer: most texts are of scripts without spaces

    def __getitem__(self, metric: str) -> Distribution | Ratio:
        """The figures of one metric: ``summary["ttft_ms"].p50``.

        Raises:
            KeyError: no metric is called so.
        """
        if metric not in self.metrics:
            raise KeyError(f"no metric {metric!r}; there are: {', '.join(self.metrics)}")
        return self.metrics[metric]
