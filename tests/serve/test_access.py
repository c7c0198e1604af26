"""Who may connect."""

from __future__ import annotations

import pytest

from harness.serve.access import Access

OPEN = Access(loopback=True)
GUARDED = Access(loopback=False, origins=("https://friend.example",), token="s3cret")  # noqa: S106


@pytest.mark.parametrize(
    ("access", "headers", "subprotocols", "reason"),
    [
        (OPEN, {"host": "localhost:8000"}, [], None),
        (OPEN, {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}, [], None),
        (OPEN, {"host": "[::1]:8000"}, [], None),
        (OPEN, {"host": "evil.example:8000", "origin": "http://evil.example:8000"}, [], "host"),
        (OPEN, {}, [], "host"),
        (OPEN, {"host": "localhost", "origin": "http://["}, [], "origin"),
        (OPEN, {"host": "localhost:8000", "origin": "http://localhost:9000"}, [], "origin"),
        (OPEN, {"host": "localhost:8000", "origin": "null"}, [], "origin"),
        (GUARDED, {"host": "stt.example", "authorization": "Bearer s3cret"}, [], None),
        (GUARDED, {"host": "stt.example"}, ["stt", "bearer.s3cret"], None),
        (GUARDED, {"host": "stt.example"}, ["stt", "bearer."], "token"),
        (GUARDED, {"host": "stt.example", "authorization": "Bearer s3cre"}, [], "token"),
        (GUARDED, {"host": "stt.example"}, [], "token"),
        (
            GUARDED,
            {"host": "h", "origin": "https://evil.example", "authorization": "Bearer s3cret"},
            [],
            "origin",
        ),
        (
            GUARDED,
            {"host": "h", "origin": "https://friend.example", "authorization": "Bearer s3cret"},
            [],
            None,
        ),
    ],
)
def test_refusal(
    access: Access, headers: dict[str, str], subprotocols: list[str], reason: str | None
) -> None:
    refusal = access.refusal(headers, subprotocols)
    assert (refusal.reason if refusal else None) == reason


def test_what_is_public_needs_no_token() -> None:
    assert GUARDED.refusal({"host": "h"}, [], needs_token=False) is None
