"""What can be configured: plain dataclasses, a comment per field, ranges checked on creation.

``configs/`` holds the values, one folder per group; ``cli`` composes them with Hydra onto these
classes, so a misspelt field is an error before anything runs. Where a choice of group decides which
fields exist (an engine without a device has no ``device``), each choice has a class of its own: a
field that is accepted is read.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from harness.errors import ConfigError
from harness.keys import holds_a_key


def _require(ok: bool, name: str, value: object, allowed: str) -> None:
    if not ok:
        raise ConfigError(f"config field {name}", value=value, allowed=allowed)


def _require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    _require(value in allowed, name, value, ", ".join(allowed))


def _require_number(
    name: str, value: float, low: float, high: float = math.inf, *, above: bool = False
) -> None:
    ok = math.isfinite(value) and (value > low if above else value >= low) and value <= high
    least = f"above {low:g}" if above else f"{low:g} or more"
    if low == -math.inf:
        least = "a finite number"
    _require(ok, name, value, least if high == math.inf else f"{least}, at most {high:g}")


# --- chunking ------------------------------------------------------------------------------------


@dataclass
class WordsChunking:
    words: int = 1  # release every n whole words

    def __post_init__(self) -> None:
        _require_number("chunking.words", self.words, 1)


@dataclass
class EagerFirstChunking:
    words: int = 6  # the first word at once, then every n whole words

    def __post_init__(self) -> None:
        _require_number("chunking.words", self.words, 1)


@dataclass
class TokenChunking:
    pass


@dataclass
class SentenceChunking:
    pass


@dataclass
class TimedChunking:
    every_ms: float = 200.0  # the longest that a whole word is held

    def __post_init__(self) -> None:
        _require_number("chunking.every_ms", self.every_ms, 0, above=True)


ChunkingConfig = (
    WordsChunking | EagerFirstChunking | TokenChunking | SentenceChunking | TimedChunking
)


# --- model ---------------------------------------------------------------------------------------


@dataclass
class NoModel:
    """For engines that carry no model (null, scripted)."""


@dataclass
class WhisperModel:
    name: str = "whisper_tiny_en"  # how reports call it
    weights: str = "packaged"  # packaged | a hub id | a folder
    revision: str | None = None  # of a hub id; None: its default branch
    language: str = "en"  # spoken; other than en with multilingual weights only
    max_new_tokens: int = 440  # 448 positions less the prompt
    pad_s: float = (
        30.0  # the encoder's window: audio is padded with silence to clip + pad_s, at most 30 s
    )

    def __post_init__(self) -> None:
        _require(
            bool(self.weights), "model.weights", self.weights, "packaged, a hub id or a folder"
        )
        _require_number("model.max_new_tokens", self.max_new_tokens, 1, 446)
        _require_number("model.pad_s", self.pad_s, 0, 30)


@dataclass
class VoxtralModel:
    """Voxtral-Mini-3B-2507 in its transcription mode."""

    name: str = "voxtral_mini_3b"  # how reports call it
    weights: str = "mistralai/Voxtral-Mini-3B-2507"  # a hub id | a folder | random
    revision: str | None = None  # of a hub id; None: its default branch
    size: str = "full"  # full | tiny (random weights only): the dimensions of random weights
    decode: str = "greedy"  # greedy | forced: go on with the reference's tokens, at the same cost
    language: str | None = "en"  # ISO 639-1, told to the model; None: it finds out
    max_new_tokens: int = 440  # at most this many tokens an utterance
    max_audio_s: float = 30.0  # longest utterance; the model takes it in blocks of 30 s

    def __post_init__(self) -> None:
        _check_voxtral(self.weights, self.revision, self.size, self.decode)
        if self.language is not None:
            _require(
                re.fullmatch("[a-z]{2}", self.language) is not None,
                "model.language", self.language, "two small letters (ISO 639-1), or null",
            )  # fmt: skip
        _require_number("model.max_new_tokens", self.max_new_tokens, 1, 16_384)
        _require_number("model.max_audio_s", self.max_audio_s, 0, 2400, above=True)


@dataclass
class VoxtralRealtimeModel:
    """Voxtral-Mini-4B-Realtime-2602: text while audio arrives."""

    name: str = "voxtral_mini_4b_realtime"  # how reports call it
    weights: str = "mistralai/Voxtral-Mini-4B-Realtime-2602"  # a hub id | a folder | random
    revision: str | None = None  # of a hub id; None: its default branch
    size: str = "full"  # full | tiny (random weights only): the dimensions of random weights
    decode: str = "greedy"  # greedy | forced: go on with the reference's tokens, at the same cost
    delay_ms: int = 480  # how long the model waits before it writes: 80 to 1200 by 80, or 2400
    max_streams: int = 8  # sessions at once: memory for their keys and values is set aside

    def __post_init__(self) -> None:
        _check_voxtral(self.weights, self.revision, self.size, self.decode)
        _require(
            self.delay_ms in {*range(80, 1201, 80), 2400},
            "model.delay_ms", self.delay_ms, "80 to 1200 in steps of 80, or 2400",
        )  # fmt: skip
        _require_number("model.max_streams", self.max_streams, 1, 1024)


def _check_voxtral(weights: str, revision: str | None, size: str, decode: str) -> None:
    _require(bool(weights), "model.weights", weights, "a hub id, a folder or random")
    _require_one_of("model.size", size, ("full", "tiny"))
    _require_one_of("model.decode", decode, ("greedy", "forced"))
    if weights != "random":
        _require(size == "full", "model.size", size, "full, unless model.weights=random")
    else:
        _require(revision is None, "model.revision", revision, "null with model.weights=random")


ModelConfig = NoModel | WhisperModel | VoxtralModel | VoxtralRealtimeModel


# --- engine --------------------------------------------------------------------------------------


@dataclass
class NullEngine:
    """Answers at once: what is measured is the harness."""


@dataclass
class ScriptedEngine:
    """Says the reference text with stated delays: the truth to compare measurements with."""

    first_ms: float = 50.0  # turn: end of audio to first token; live: end of a word to its token
    token_ms: float = 20.0  # turn: from each token to the next
    jitter_ms: float = 0.0  # each delay is stretched by up to this much, from the seed

    def __post_init__(self) -> None:
        _require_number("engine.first_ms", self.first_ms, -math.inf)
        _require_number("engine.token_ms", self.token_ms, 0)
        _require_number("engine.jitter_ms", self.jitter_ms, 0)


@dataclass
class TorchEngine:
    device: str = "cpu"  # cpu | cuda | cuda:N | mps
    dtype: str = "float32"  # float32 | bfloat16 | float16
    threads: int | None = None  # intra-op CPU threads; None: torch's own choice
    # The rest is for the Voxtral engines; what is resolved stands in environment.json.
    cuda_graphs: bool | None = None  # replay captured steps; None: yes on CUDA, no elsewhere
    compile: bool = False  # fuse each step with torch.compile; needs a C compiler on the machine
    batching: bool | None = None  # live: step due sessions together; None: yes. turn: not there

    def __post_init__(self) -> None:
        _require(
            re.fullmatch(r"cpu|mps|cuda(:\d+)?", self.device) is not None,
            "engine.device", self.device, "cpu, cuda, cuda:N, mps",
        )  # fmt: skip
        _require_one_of("engine.dtype", self.dtype, ("float32", "bfloat16", "float16"))
        if self.threads is not None:
            _require_number("engine.threads", self.threads, 1)


_WEBSOCKET_URL = (
    "ws://HOST:PORT/PATH or wss://..., without user, fragment, blanks, or a key in a parameter"
)


def refuse_key(name: str, url: str) -> None:
    """Raises ``ConfigError`` without showing it, where an address holds a user or a key."""
    if "@" in url or "#" in url or holds_a_key(url):
        raise ConfigError(
            f"config field {name}: the address is kept with the run, a key must not be",
            value="(not shown)",
            allowed=_WEBSOCKET_URL,
            hint="a key: export STT_KEY=..., and engine.api_key_env=STT_KEY",
        )


def _require_websocket_url(name: str, url: str) -> None:
    refuse_key(name, url)
    try:
        parts = urlsplit(url)
        ok = parts.port != 0  # reading it checks it
        (parts.hostname or "").encode("idna")
    except ValueError:
        ok = False
    ok = ok and url.isprintable() and " " not in url  # what urlsplit takes out must not hide a key
    _require(
        ok and parts.scheme in ("ws", "wss") and bool(parts.hostname), name, url, _WEBSOCKET_URL
    )


@dataclass
class RealtimeEngine:
    """A server behind a WebSocket; how much audio a message carries is ``replay.frame_ms``."""

    url: str = "ws://127.0.0.1:8000/v1/realtime"
    model: str = "voxtral_mini_4b_realtime"  # the name that the server knows it by
    protocol: str = "vllm"  # vllm (also our own `serve`) | mistral | openai
    kind: str = "live"  # live: it answers while audio arrives | turn: after the end of the audio
    api_key_env: str | None = None  # the environment variable that holds the key; never the key
    # By how much the model lags behind the audio: protocol=mistral asks for it, the others state
    # what the server does not tell; None: what the server tells, or its default.
    delay_ms: int | None = None
    step_ms: float | None = None  # audio that one delta stands for, where every step sends one
    connecting: int = 16  # handshakes under way at the same time
    connect_timeout_s: float = 10.0  # to connect, and to be configured
    slot_timeout_s: float = 5.0  # live: of speech, without a message of any kind
    blank_speech_s: float | None = 10.0  # of speech, without any text; None: never a failure
    answer_timeout_s: float = 30.0  # after the end of the audio: between messages
    ping_s: float = 5.0  # between pings, and for the answer to one
    queue_s: float = 10.0  # that audio may wait for a server that does not take it

    def __post_init__(self) -> None:
        _require_websocket_url("engine.url", self.url)
        _require(bool(self.model), "engine.model", self.model, "the name that the server knows")
        _require_one_of("engine.protocol", self.protocol, ("vllm", "mistral", "openai"))
        _require_one_of("engine.kind", self.kind, ("live", "turn"))
        _require(
            re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.api_key_env or "NONE") is not None,
            "engine.api_key_env", "(not shown)", "the NAME of an environment variable, in capitals",
        )  # fmt: skip
        _require_number("engine.connecting", self.connecting, 1)
        for name in (
            "delay_ms", "step_ms", "connect_timeout_s", "slot_timeout_s", "blank_speech_s",
            "answer_timeout_s", "ping_s", "queue_s",
        ):  # fmt: skip
            if (value := getattr(self, name)) is not None:
                _require_number(f"engine.{name}", value, 0, above=True)


EngineConfig = NullEngine | ScriptedEngine | TorchEngine | RealtimeEngine


# --- dataset -------------------------------------------------------------------------------------


@dataclass
class ManifestDataset:
    name: str = "two_cities"  # how reports call it
    manifest: str = "two_cities.jsonl"  # a path, or a file in datasets/
    limit: int | None = None  # use the first n clips only
    clips: list[str] = field(default_factory=list)  # use these ids only; empty: all
    loop_to_s: float | None = None  # join the clips, over and over, into one session this long
    loop_gap_s: float = 1.0  # silence between the clips that are joined
    tail_s: float = 0.0  # silence after each: what an endpointer waits before the audio ends

    def __post_init__(self) -> None:
        if self.limit is not None:
            _require_number("dataset.limit", self.limit, 1)
        if self.loop_to_s is not None:
            _require_number("dataset.loop_to_s", self.loop_to_s, 0, 14_400, above=True)
        _require_number("dataset.loop_gap_s", self.loop_gap_s, 0, 60)
        _require(
            self.loop_to_s is not None or self.loop_gap_s == 1.0,
            "dataset.loop_gap_s", self.loop_gap_s, "1 unless dataset.loop_to_s is given",
        )  # fmt: skip
        _require_number("dataset.tail_s", self.tail_s, 0, 60)


@dataclass
class HubDataset:
    """A Hugging Face dataset with an ``audio`` and a text column."""

    name: str  # how reports call it
    path: str  # hub name or local folder
    split: str = "test"
    config_name: str | None = None  # the dataset's own configuration, such as a language
    revision: str | None = None
    audio_column: str = "audio"
    text_column: str = "text"
    language: str = "en"
    limit: int | None = None  # use the first n clips only
    tail_s: float = 0.0  # silence after each: what an endpointer waits before the audio ends

    def __post_init__(self) -> None:
        if self.limit is not None:
            _require_number("dataset.limit", self.limit, 1)
        _require_number("dataset.tail_s", self.tail_s, 0, 60)


DatasetConfig = ManifestDataset | HubDataset


# --- everything else -----------------------------------------------------------------------------


@dataclass
class TurnSession:
    """The engine starts when the clip is complete."""

    kind: str = "turn"

    def __post_init__(self) -> None:
        _require_one_of("session.kind", self.kind, ("turn",))


@dataclass
class LiveSession:
    """The engine answers while audio arrives.

    The fields are for engines that transcribe whole utterances: they transcribe what is open again
    at every step, and say what two successive steps agree on (LocalAgreement-2).
    """

    kind: str = "live"
    step_ms: float = 1000.0  # audio between two decodes
    trim_s: float = 15.0  # open audio above this is cut at the end of a finished sentence

    def __post_init__(self) -> None:
        _require_live(self.kind, self.step_ms, self.trim_s)


@dataclass
class AlignAttSession:
    """The engine answers while audio arrives, up to the last audio that its attention needs."""

    kind: str = "live"
    step_ms: float = 1000.0  # audio between two decodes
    trim_s: float = 15.0  # open audio above this is cut at the end of a finished sentence
    guard_ms: float = 500.0  # a token whose attention is nearer to the end of the audio waits

    def __post_init__(self) -> None:
        _require_live(self.kind, self.step_ms, self.trim_s)
        _require_number("session.guard_ms", self.guard_ms, 0, 30_000)


def _require_live(kind: str, step_ms: float, trim_s: float) -> None:
    _require_one_of("session.kind", kind, ("live",))
    _require_number("session.step_ms", step_ms, 20, 5_000)
    _require_number("session.trim_s", trim_s, 1, 24)  # a window has 30 s: a step must still fit


SessionConfig = TurnSession | LiveSession | AlignAttSession


@dataclass
class ReplayConfig:
    pace: str = "realtime"  # realtime | flood (as fast as possible: RTF and WER only) | virtual
    frame_ms: float = 20.0  # audio is handed over in frames of this length
    repeats: int = 4  # how often each clip is replayed
    streams: int = 1  # clips replayed at the same time
    arrivals: str = "all_at_once"  # of the streams: all_at_once | staggered | poisson
    warmup: int = 1  # sessions replayed first and thrown away
    timeout_s: float = 60.0  # a session that has not ended this long after its audio has failed
    shuffle: bool = True  # randomise the order of clips within a repeat, from the seed
    until: str = "repeats"  # decided: go on repeating until the gate has decided every rule
    most_repeats: int = 10  # decided: the budget
    compute_scale: float = 1.0  # virtual: compute costs what it took, times this (0: nothing)

    def __post_init__(self) -> None:
        _require_one_of("replay.pace", self.pace, ("realtime", "flood", "virtual"))
        _require_number("replay.frame_ms", self.frame_ms, 1, 10_000)
        _require_number("replay.repeats", self.repeats, 1)
        _require_number("replay.streams", self.streams, 1, 10_000)
        _require_one_of("replay.arrivals", self.arrivals, ("all_at_once", "staggered", "poisson"))
        _require_number("replay.warmup", self.warmup, 0)
        _require_number("replay.timeout_s", self.timeout_s, 0, above=True)
        _require_one_of("replay.until", self.until, ("repeats", "decided"))
        least = self.repeats if self.until == "decided" else 1
        _require_number("replay.most_repeats", self.most_repeats, least)
        _require(
            self.until == "decided" or self.most_repeats == 10,
            "replay.most_repeats", self.most_repeats, "10 unless replay.until=decided",
        )  # fmt: skip
        _require_number("replay.compute_scale", self.compute_scale, 0)
        _require(
            self.pace == "virtual" or self.compute_scale == 1.0,
            "replay.compute_scale", self.compute_scale, "1 unless replay.pace=virtual",
        )  # fmt: skip


@dataclass
class InjectConfig:
    """Make a run worse on purpose, and marked so: proof that gates catch what they claim to."""

    delay_ms: float = 0.0  # held back before the first token
    scale: float = 1.0  # stretches every engine time
    tail_share: float = 1.0  # only on this share of the clips, drawn by their text and the seed
    driver_late_ms: float = 0.0  # the replay hands every frame over this much late
    drop_words: int = 0  # the first n words of every clip are lost

    def __post_init__(self) -> None:
        _require_number("inject.delay_ms", self.delay_ms, 0)
        _require_number("inject.scale", self.scale, 1)
        _require_number("inject.tail_share", self.tail_share, 0, 1)
        _require_number("inject.driver_late_ms", self.driver_late_ms, 0)
        _require_number("inject.drop_words", self.drop_words, 0)

    @property
    def holds_back(self) -> bool:
        """Whether what the engine says is changed or delayed."""
        return self.worse and self.tail_share > 0

    @property
    def worse(self) -> bool:
        """Whether something is done to the clips that `tail_share` draws."""
        return self.delay_ms > 0 or self.scale > 1 or self.drop_words > 0

    @property
    def active(self) -> bool:
        """Whether anything at all is made worse."""
        return self.holds_back or self.driver_late_ms > 0


@dataclass
class GateConfig:
    name: str = "none"
    rules: list[str] = field(default_factory=list)  # such as "ttft_ms p95 <= 900 ms"
    confidence: float = 0.95  # a rule passes or fails only with this certainty
    arm: str | None = None  # judge only the arm with this choice (6word, ...); None: every arm
    baseline: str | None = None  # what rules `vs baseline` compare a run that is alone with
    allow: list[str] = field(default_factory=list)  # fields in which the baseline may differ
    confirm: bool = True  # compare: measure a regression again, before it is called one

    def __post_init__(self) -> None:
        _require_number("gate.confidence", self.confidence, 0.8, 0.9999)
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
        _require_one_of("report.show", self.show, ("table", "json", "quiet"))


@dataclass
class ServeConfig:
    host: str = "127.0.0.1"  # loopback: nobody else can reach it; 0.0.0.0: everybody can
    port: int = 8000  # 0: any free one
    max_sessions: int = 64  # one more is refused, and told so
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
        _require(bool(self.host), "serve.host", self.host, "a host name or address")
        _require_number("serve.port", self.port, 0, 65535)
        _require_number("serve.max_sessions", self.max_sessions, 1)
        if self.max_connections is not None:
            _require_number("serve.max_connections", self.max_connections, self.max_sessions)
        _require_number("serve.handshake_timeout_s", self.handshake_timeout_s, 0, above=True)
        _require_number("serve.max_audio_s", self.max_audio_s, 0, above=True)
        _require_number("serve.max_message_bytes", self.max_message_bytes, 1024)
        _require_number("serve.max_pending", self.max_pending, 1)
        _require_number("serve.idle_timeout_s", self.idle_timeout_s, 0, above=True)
        _require_number("serve.answer_timeout_s", self.answer_timeout_s, 0, above=True)
        _require_number("serve.grace_s", self.grace_s, 0)


@dataclass
class CalibrateConfig:
    """How `calibrate` finds out what this machine's noise hides."""

    runs: int = 5  # of one and the same thing, one after the other; their spread is the noise
    # The rule whose power is found, and which the injected delays are judged by.
    rule: str = "ttft_ms p50 vs baseline: at most +5 % and +10 ms"

    def __post_init__(self) -> None:
        # The spread of two runs has one degree of freedom: its band is 13 sigma wide.
        _require_number("calibrate.runs", self.runs, 3, 1000)


@dataclass
class CapacityConfig:
    """How `capacity` looks for the largest number of streams that still meets the objectives."""

    objectives: list[str] = field(  # what one session must keep, in the grammar of gates
        default_factory=lambda: ["ttft_ms p95 <= 900 ms", "gap_ms p95 <= 300 ms"]
    )
    goodput: float = 0.95  # the share of sessions that must keep every objective
    confidence: float = 0.95  # both ends of the answer are right with this probability
    most_streams: int = 64  # do not look beyond
    sessions: int = 60  # that count in one look at a number of streams, at least
    looks: int = 4  # at one number of streams, at most
    points: int = 16  # numbers of streams that are looked at, at most

    def __post_init__(self) -> None:
        _require_number("capacity.goodput", self.goodput, 0.5, 0.9999)
        _require_number("capacity.confidence", self.confidence, 0.5, 0.9999)
        _require_number("capacity.most_streams", self.most_streams, 1, 10_000)
        _require_number("capacity.sessions", self.sessions, 1)
        _require_number("capacity.looks", self.looks, 1)
        _require_number("capacity.points", self.points, 1)


@dataclass
class Config:
    chunking: Any = field(default_factory=WordsChunking)  # a ChunkingConfig
    model: Any = field(default_factory=WhisperModel)  # a ModelConfig
    engine: Any = field(default_factory=TorchEngine)  # an EngineConfig
    dataset: Any = field(default_factory=ManifestDataset)  # a DatasetConfig
    session: Any = field(default_factory=TurnSession)  # a SessionConfig
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    inject: InjectConfig = field(default_factory=InjectConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    calibrate: CalibrateConfig = field(default_factory=CalibrateConfig)
    capacity: CapacityConfig = field(default_factory=CapacityConfig)
    seed: int = 0  # of every random choice: order of clips, jitter, bootstrap

    def __post_init__(self) -> None:
        _require_number("seed", self.seed, 0)
        most = getattr(self.model, "max_streams", math.inf)
        if self.replay.streams > most:
            raise ConfigError(
                "config field replay.streams",
                value=self.replay.streams,
                allowed=f"at most model.max_streams={most}",
                hint=f"add model.max_streams={self.replay.streams}",
            )
