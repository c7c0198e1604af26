"""The shapes of what stands in a run's folder: what is read of each file, with its type.

A file may hold more than its shape names (notes, fields of a later version); what a shape names
must be there and of its type.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from harness.metrics import ClipMetrics

RENAMED = {"rewrites": "split_words"}  # metrics: what a recorded run may call them -> today's name

Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
Status = Literal["none", "pass", "inconclusive", "invalid", "fail"]


class ModelShape(msgspec.Struct):
    model: str
    random_weights: bool
    device: str | None = None
    dtype: str | None = None
    weights: str | None = None
    cadence_ms: float | None = None
    model_delay_ms: float = 0.0


class DatasetShape(msgspec.Struct):
    name: str
    clips: Count
    sha256: str | None = None
    timings_sha256: str | None = None


class ArmShape(msgspec.Struct):
    chunking: str
    model: str
    dataset: str
    session: Literal["turn", "live"]


class EnvironmentShape(msgspec.Struct):
    """``environment.json``."""

    schema: int
    metrics_version: Annotated[str, msgspec.Meta(pattern=r"^\d{1,4}$")]
    made_at: str
    machine: dict[str, Any]
    python: str
    packages: dict[str, str | None]
    clock_resolution_ns: int
    arm: ArmShape
    model: ModelShape
    dataset: DatasetShape
    config_identity: str
    seed: Count
    injected: bool
    simulated: bool
    harness_floor_ms: float | None
    git_revision: str | None = None
    gpu: dict[str, str] | None = None
    arms_of_this_go: list[str] = []
    overrides: list[str] = []
    normalisers: dict[str, str] | list[str] | None = None
    outside: dict[str, dict[str, Any]] = {}


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


class RuleShape(msgspec.Struct):
    rule: str
    status: Status


class VerdictShape(msgspec.Struct):
    status: Status
    rules: list[RuleShape] = []


class ArmNames(msgspec.Struct):
    """``comparison.json``: the arms' folders, in the order in which they were compared."""

    schema: int
    arms: list[Annotated[str, msgspec.Meta(pattern=r"^[^/\\]+$", max_length=255)]]
