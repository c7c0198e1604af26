"""Files and messages as an enemy, a cut connection or a careless hand would leave them."""

from __future__ import annotations

import json
import random
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1e300, -1e300, 10**400, "", "\x00", "\ud800", "../../etc", "x" * 10_000, [],
    {}, [[]], {"a": {"b": 1}}, "nan", "\u202e", "1e3",
)  # fmt: skip
RAW = (b"", b"null", b"[]", b"{", b"\xff\xfe\x00", b"NaN", b"{}" * 1000, b"[" * 50_000, b"1e999")


def mutated(value: Any, drawn: random.Random) -> Any:
    """The JSON value with one thing in it replaced, dropped or doubled."""
    if isinstance(value, dict) and value:
        key = drawn.choice(list(value))
        changed = dict(value)
        what = drawn.randrange(5)
        if what == 0:
            del changed[key]
        elif what == 1:
            changed[key] = drawn.choice(ODD)
        elif what == 2:
            changed[key + "x"] = changed.pop(key)
        else:
            changed[key] = mutated(value[key], drawn)
        return changed
    if isinstance(value, list) and value:
        at = drawn.randrange(len(value))
        what = drawn.randrange(4)
        if what == 0:
            return value[:at] + value[at + 1 :]
        if what == 1:
            return [*value[:at], drawn.choice(ODD), *value[at:]]
        return [*value[:at], mutated(value[at], drawn), *value[at + 1 :]]
    return drawn.choice(ODD)


def encoded(value: Any) -> bytes:
    """JSON with whatever Python's writer lets through: lone surrogates, numbers without end."""
    return json.dumps(value).encode()


def bytes_changed(content: bytes, drawn: random.Random) -> bytes:
    """Cut, a byte changed, or something else altogether."""
    what = drawn.randrange(4)
    if what == 0:
        return content[: drawn.randrange(len(content) + 1)]
    if what == 1:
        return drawn.choice(RAW)
    at = drawn.randrange(max(1, len(content)))
    return content[:at] + bytes([drawn.randrange(256)]) + content[at + 1 :]
