"""``engine=realtime``: a server behind a WebSocket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from harness.engines.setting import Engine, Setting
from harness.errors import ConfigError
from harness.keys import holds_a_key
from harness.registry import Registry
from harness.validation import require, require_number, require_one_of

_WEBSOCKET_URL = (
    "ws://HOST:PORT/PATH or wss://..., without user, fragment, blanks, or a key in a parameter"
)


def refuse_key(name: str, url: str) -> None:
    """An address is kept with the run, so there must be no key in it.

    Raises:
        ConfigError: there is one, or it might be; the address is not shown.
    """
    if "@" in url or "#" in url or holds_a_key(url):
        raise ConfigError(
            f"{name}: the address is kept with the run, a key must not be",
            value="(not shown)",
            allowed=_WEBSOCKET_URL,
            hint="a key: export STT_KEY=..., and engine.api_key_env=STT_KEY",
        )


def _require_websocket_url(name: str, url: str) -> None:
    refuse_key(f"config field {name}", url)
    try:
        parts = urlsplit(url)
        ok = parts.port != 0  # reading it checks it
        (parts.hostname or "").encode("idna")
    except ValueError:
        ok = False
    ok = ok and url.isprintable() and " " not in url  # what urlsplit takes out must not hide a key
    require(
        ok and parts.scheme in ("ws", "wss") and bool(parts.hostname), name, url, _WEBSOCKET_URL
    )


PROTOCOLS: Registry[Any] = Registry(
    "protocol",
    {
        "vllm": "harness.engines.remote.protocols.vllm:Vllm",
        "mistral": "harness.engines.remote.protocols.mistral:Mistral",
        "openai": "harness.engines.remote.protocols.openai:OpenAI",
    },
    group="harness.protocols",
)


@dataclass
class RealtimeOptions:
    """A server behind a WebSocket; how much audio a message carries is ``replay.frame_ms``."""

    url: str = "ws://127.0.0.1:8000/v1/realtime"
    model: str = "voxtral_mini_4b_realtime"  # the name that the server knows it by
    protocol: str = "vllm"  # vllm (also our own `serve`) | mistral | openai | of a package
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
        require(bool(self.model), "engine.model", self.model, "the name that the server knows")
        require_one_of("engine.protocol", self.protocol, PROTOCOLS.names())
        require_one_of("engine.kind", self.kind, ("live", "turn"))
        require(
            re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.api_key_env or "NONE") is not None,
            "engine.api_key_env", "(not shown)", "the NAME of an environment variable, in capitals",
        )  # fmt: skip
        require_number("engine.connecting", self.connecting, 1)
        for name in (
            "delay_ms", "step_ms", "connect_timeout_s", "slot_timeout_s", "blank_speech_s",
            "answer_timeout_s", "ping_s", "queue_s",
        ):  # fmt: skip
            if (value := getattr(self, name)) is not None:
                require_number(f"engine.{name}", value, 0, above=True)

    def load(self, setting: Setting) -> Engine:
        from harness.engines.remote.engine import connect_realtime

        setting.require_no_model("realtime")
        return connect_realtime(self, setting.world)
