"""Reading and writing the JSON messages of realtime protocols, with bounds on what is foreign."""

from __future__ import annotations

import base64
import re
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from harness.engines.remote.adapter import EventKind, ServerEvent
from harness.events import ServedEngine, ServerTiming
from harness.text import shorten

T = TypeVar("T")

_SHOWN = 200  # characters of what a server says
_LONGEST_DELAY_MS = 60_000.0  # that a model lags behind the audio
_MOST_STEPS = 10**9  # that a session has


def to_json(**message: Any) -> str:
    return msgspec.json.encode(message).decode()


def to_base64(pcm: bytes) -> str:
    return base64.b64encode(pcm).decode()


def decode(message: str | bytes) -> dict[str, Any]:
    if isinstance(message, bytes):
        raise ValueError(f"a binary frame of {len(message)} bytes")  # noqa: TRY004 content, not a type error
    try:
        return msgspec.json.decode(message, type=dict[str, Any])
    except msgspec.DecodeError as error:
        shown = shorten(message, _SHOWN)
        raise ValueError(f"not a JSON object ({error}): {shown!r}") from error
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def text_of(message: dict[str, Any], field: str) -> str:
    value = message.get(field)
    if not isinstance(value, str):
        raise ValueError(f"{message.get('type')} without a text in {field!r}")  # noqa: TRY004
    return value


def shown(value: object) -> str:
    """What an error says, whatever is in its place: short, and with nothing that acts."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "" if value is None else f"(a {type(value).__name__})"
    return shorten(str(value), _SHOWN)


def timing_of(message: dict[str, Any]) -> ServerTiming | None:
    return None if "timing" not in message else _own(message, "timing", ServerTiming)


def served_of(message: dict[str, Any]) -> ServedEngine | None:
    if "engine" not in message:
        return None
    served = _own(message, "engine", ServedEngine)
    sha256 = served.weights_sha256
    if not 0 <= served.model_delay_ms <= _LONGEST_DELAY_MS:
        raise ValueError("session.created with an 'engine' whose 'model_delay_ms' cannot be")
    if sha256 is not None and re.fullmatch("[0-9a-f]{8,128}", sha256) is None:
        raise ValueError("session.created with an 'engine' whose 'weights_sha256' is none")
    return served


def _own(message: dict[str, Any], field: str, kind: type[T]) -> T:
    """What our own server adds to the protocol."""
    try:
        return msgspec.convert(message[field], kind)
    except msgspec.ValidationError as error:
        what = f"{message.get('type')} with a {field!r} that is none"
        raise ValueError(shorten(f"{what}: {error}", _SHOWN)) from error


def steps_of(message: dict[str, Any]) -> int | None:
    """Tokens that the server says it made; None: it does not say, or no such number."""
    usage = message.get("usage")
    steps = usage.get("completion_tokens") if isinstance(usage, dict) else None
    is_count = isinstance(steps, int) and not isinstance(steps, bool) and 0 <= steps <= _MOST_STEPS
    return steps if is_count else None


def nested_error(event: dict[str, Any]) -> ServerEvent:
    error = event.get("error")
    if not isinstance(error, dict):
        raise ValueError(f"{event.get('type')} without an object in 'error'")  # noqa: TRY004
    message = error.get("message")
    if isinstance(message, dict):  # Mistral: {"detail": ...}
        message = message.get("detail")
    return ServerEvent(
        EventKind.ERROR, shown(message), shown(error.get("code") or error.get("type"))
    )


def with_query(url: str, **query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
