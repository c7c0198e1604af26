"""What a run is configured with: the root, and the groups that have no variants.

``configs/`` holds the values, one folder per group; ``cli`` composes them with Hydra onto these
classes, so a misspelt field is an error before anything runs. Where a choice of a group decides
which fields exist (an engine without a device has no ``device``), each choice has a dataclass of
its own, which stands with its code: ``chunking``, ``engines``, ``datasets``, ``conditions``. A
field that is accepted is read. Every field has a comment; ranges are checked on creation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from harness.chunking import STRATEGIES, Words
from harness.conditions import CONDITIONS, Clean
from harness.datasets import DATASETS, ManifestDataset
from harness.endpointers import ENDPOINTERS, NoEndpointer
from harness.engines.inject import InjectConfig
from harness.engines.python import PythonOptions
from harness.engines.registry import ENGINES, MODELS
from harness.engines.remote.options import PROTOCOLS
from harness.engines.sessions import SESSIONS, TurnSession
from harness.engines.torch.options import TorchOptions
from harness.engines.whisper import WhisperModel
from harness.errors import ConfigError
from harness.metrics.objective import require_objective
from harness.registry import Origin, Registry, origin_of
from harness.validation import require, require_number, require_one_of

# The groups whose choices have fields of their own.
VARIANTS: dict[str, Registry[Any]] = {
    "chunking": STRATEGIES,
    "model": MODELS,
    "engine": ENGINES,
    "dataset": DATASETS,
    "session": SESSIONS,
    "endpointer": ENDPOINTERS,
    "conditions": CONDITIONS,
}


@dataclass
class ReplayConfig:
    pace: str = "realtime"  # realtime | flood (as fast as possible: RTF and WER only) | virtual
    frame_ms: float = 20.0  # audio is handed over in frames of this length
    repeats: int = 4  # how often each clip is replayed
    streams: int = 1  # clips replayed at the same time
    arrivals: str = "all_at_once"  # of the streams: all_at_once | staggered | poisson
    warmup: int = 1  # sessions replayed first and thrown away
    tail_s: float = (
        5.0  # with an endpointer: how long after a clip the end of the turn is waited for
    )
    timeout_s: float = 60.0  # a session that has not ended this long after its audio has failed
    shuffle: bool = True  # randomise the order of clips within a repeat, from the seed
    until: str = "repeats"  # decided: go on repeating until the gate has decided every rule
    most_repeats: int = 10  # decided: the budget
    compute_scale: float = 1.0  # virtual: compute costs what it took, times this (0: nothing)

    def __post_init__(self) -> None:
        require_one_of("replay.pace", self.pace, ("realtime", "flood", "virtual"))
        require_number("replay.frame_ms", self.frame_ms, 1, 10_000)
        require_number("replay.repeats", self.repeats, 1)
        require_number("replay.streams", self.streams, 1, 10_000)
        require_one_of("replay.arrivals", self.arrivals, ("all_at_once", "staggered", "poisson"))
        require_number("replay.warmup", self.warmup, 0)
        require_number("replay.tail_s", self.tail_s, 0, 600)
        require_number("replay.timeout_s", self.timeout_s, 0, above=True)
        require_one_of("replay.until", self.until, ("repeats", "decided"))
        least = self.repeats if self.until == "decided" else 1
        require_number("replay.most_repeats", self.most_repeats, least)
        require(
            self.until == "decided" or self.most_repeats == 10,
            "replay.most_repeats", self.most_repeats, "10 unless replay.until=decided",
        )  # fmt: skip
        require_number("replay.compute_scale", self.compute_scale, 0)
        require(
            self.pace == "virtual" or self.compute_scale == 1.0,
            "replay.compute_scale", self.compute_scale, "1 unless replay.pace=virtual",
        )  # fmt: skip


@dataclass
class GateConfig:
    name: str = "none"
    rules: list[str] = field(default_factory=list)  # such as "ttft_ms p95 <= 900 ms"
    confidence: float = 0.95  # a rule passes or fails only with this certainty
    arm: str | None = None  # judge only the arm with this choice (6word, ...); None: every arm
    baseline: str | None = None  # what rules `vs baseline` compare a run that is alone with
    allow: list[str] = field(default_factory=list)  # fields in which the baseline may differ
    confirm: bool = True  # compare: measure a regression again, before it is called one
    most_censored: float = 0.05  # share of sessions that only we ended: above it, no end is judged

    def __post_init__(self) -> None:
        require_number("gate.confidence", self.confidence, 0.8, 0.9999)
        require_number("gate.most_censored", self.most_censored, 0.0, 1.0)
        for rule in self.rules:
            if not isinstance(rule, str):
                raise ConfigError(
                    "config field gate.rules: a rule with ': ' in it stands in quotes",
                    value=rule,
                    hint='- "ttft_ms p50 vs baseline: at most +5 % and +10 ms"',
                )


@dataclass
class ReportConfig:
    plots: bool = True  # write the page, the Markdown and the plots at the end of the run
    audio: bool = False  # put the clips' sound into the page, so that it plays what was heard
    trace: bool = False  # write trace.json as well, for Perfetto or Chrome's trace viewer
    show: str = "table"  # on the terminal: table, json (--json) or quiet (--quiet)

    def __post_init__(self) -> None:
        require_one_of("report.show", self.show, ("table", "json", "quiet"))


@dataclass
class ServeConfig:
    host: str = (
        "127.0.0.1"  # loopback: this machine only; 0.0.0.0: every machine that can reach this one
    )
    port: int = 8000  # 0: any free one
    max_sessions: int = 64  # at the same time; one more is refused with an error
    max_connections: int | None = None  # open sockets, sessions included; None: max_sessions + 64
    handshake_timeout_s: float = 10.0  # from connecting, or the last answer, to a whole request
    max_audio_s: float = 600.0  # audio of one utterance
    max_message_bytes: int = 1_048_576  # of one message of a client
    max_pending: int = 1024  # messages waiting for a client that reads too slowly
    idle_timeout_s: float = 60.0  # a client that sends nothing, while nothing is owed to it
    answer_timeout_s: float = 120.0  # an engine that does not answer
    grace_s: float = 10.0  # on shutdown: for utterances under way to be finished
    token_env: str | None = None  # the environment variable that holds a bearer token; None: open
    origins: list[str] = field(default_factory=list)  # of other pages that may connect

    def __post_init__(self) -> None:
        require(bool(self.host), "serve.host", self.host, "a host name or address")
        require_number("serve.port", self.port, 0, 65535)
        require_number("serve.max_sessions", self.max_sessions, 1)
        if self.max_connections is not None:
            require_number("serve.max_connections", self.max_connections, self.max_sessions)
        require_number("serve.handshake_timeout_s", self.handshake_timeout_s, 0, above=True)
        require_number("serve.max_audio_s", self.max_audio_s, 0, above=True)
        require_number("serve.max_message_bytes", self.max_message_bytes, 1024)
        require_number("serve.max_pending", self.max_pending, 1)
        require_number("serve.idle_timeout_s", self.idle_timeout_s, 0, above=True)
        require_number("serve.answer_timeout_s", self.answer_timeout_s, 0, above=True)
        require_number("serve.grace_s", self.grace_s, 0)


@dataclass
class CalibrateConfig:
    """How `calibrate` finds out what this machine's noise hides."""

    runs: int = 5  # of one and the same thing, one after the other; their spread is the noise
    # The rule whose power is found, and which the injected delays are judged by.
    rule: str = "ttft_ms p50 vs baseline: at most +5 % and +10 ms"

    def __post_init__(self) -> None:
        # The spread of two runs has one degree of freedom: its band is 13 sigma wide.
        require_number("calibrate.runs", self.runs, 3, 1000)


@dataclass
class CapacityConfig:
    """How `capacity` looks for the largest number of streams that still meets the objectives."""

    objectives: list[str] = field(  # limits for each session (SLOs), in the grammar of gates
        default_factory=lambda: ["ttft_ms p95 <= 900 ms", "gap_ms p95 <= 300 ms"]
    )
    goodput: float = 0.95  # the share of sessions that must meet every objective
    confidence: float = 0.95  # both ends of the answer are right with this probability
    most_streams: int = 64  # do not look beyond
    sessions: int = 60  # that count in one look at a number of streams, at least
    looks: int = 4  # at one number of streams, at most
    points: int = 16  # numbers of streams that are looked at, at most

    def __post_init__(self) -> None:
        require_number("capacity.goodput", self.goodput, 0.5, 0.9999)
        require_number("capacity.confidence", self.confidence, 0.5, 0.9999)
        require_number("capacity.most_streams", self.most_streams, 1, 10_000)
        require_number("capacity.sessions", self.sessions, 1)
        require_number("capacity.looks", self.looks, 1)
        require_number("capacity.points", self.points, 1)


@dataclass
class Config:
    chunking: Any = field(default_factory=Words)  # a chunking.Strategy
    model: Any = field(default_factory=WhisperModel)  # options of a model
    engine: Any = field(default_factory=TorchOptions)  # an EngineOptions
    dataset: Any = field(default_factory=ManifestDataset)  # a DatasetOptions
    session: Any = field(default_factory=TurnSession)  # a SessionOptions
    endpointer: Any = field(default_factory=NoEndpointer)  # an EndpointerOptions
    conditions: Any = field(default_factory=Clean)  # a conditions.Condition
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    inject: InjectConfig = field(default_factory=InjectConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    calibrate: CalibrateConfig = field(default_factory=CalibrateConfig)
    capacity: CapacityConfig = field(default_factory=CapacityConfig)
    seed: int = 0  # of every random choice: order of clips, jitter, bootstrap
    objective: str | None = None  # the figure that a sweeper of Hydra's is given: ttft_ms.p50

    def __post_init__(self) -> None:
        if self.objective is not None:
            require_objective(self.objective)
        require_number("seed", self.seed, 0)
        most = getattr(self.model, "max_streams", math.inf)
        if self.replay.streams > most:
            raise ConfigError(
                "config field replay.streams",
                value=self.replay.streams,
                allowed=f"at most model.max_streams={most}",
                hint=f"add model.max_streams={self.replay.streams}",
            )
        if self.replay.pace == "flood" and self.conditions.paced:
            raise ConfigError(
                f"conditions={self.conditions.name}: with replay.pace=flood no frame can be late",
                value=self.replay.pace,
                allowed="realtime, virtual",
            )


def config_yaml(config: Config) -> str:
    """``config.yaml`` of a run's folder: every field and its value."""
    import yaml

    text: str = yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True)
    return text


class Outside(msgspec.Struct, frozen=True):
    """A variant that is not the harness's own: part of a run's identity."""

    name: str  # in its registry; the class's where it is in none
    package: str
    version: str | None
    options: dict[str, Any]


def outside_variants(config: Config) -> dict[str, Outside]:
    """Config group -> the variant of it that comes from another package or from a user's module."""
    found: dict[str, Outside] = {}
    for group, registry in VARIANTS.items():
        options = getattr(config, group)
        origin, name = _origin(options, registry)
        if origin is not None:
            found[group] = Outside(name, origin.package, origin.version, asdict(options))
    protocol = getattr(config.engine, "protocol", None)
    if protocol is not None and (origin := PROTOCOLS.origin(protocol)) is not None:
        found["protocol"] = Outside(protocol, origin.package, origin.version, {})
    return found


def _origin(options: Any, registry: Registry[Any]) -> tuple[Origin | None, str]:
    kind = type(options)
    if isinstance(options, PythonOptions):
        return options.origin, options.factory
    if kind.__module__.partition(".")[0] == "harness":
        return None, kind.__name__
    named = [name for name, loaded in registry.loaded() if loaded is kind]
    return (registry.origin(named[0]), named[0]) if named else (origin_of(kind), kind.__name__)


def variant_identity(config: Config, groups: Sequence[str]) -> list[Any]:
    """What of the chosen variants makes two runs runs of the same thing."""
    outside = outside_variants(config)
    parts: list[Any] = []
    for group in groups:
        options = getattr(config, group)
        origin = [msgspec.to_builtins(outside[group])] if group in outside else []
        parts.append([type(options).__name__, asdict(options), *origin])
    if "protocol" in outside:
        parts.append(msgspec.to_builtins(outside["protocol"]))
    return parts
