from __future__ import annotations

import pytest

from harness.addresses import is_loopback, port_here


@pytest.mark.parametrize(
    ("address", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("[::1]:80", True),
     ("127.0.0.2:1", True), ("ws://[::1]:8000/v1/realtime", True), ("wss://localhost", True),
     ("http://127.0.0.1/a?b=c", True),
     ("0.0.0.0", False), ("[", False), ("", False), ("ws://", False),  # noqa: S104
     ("localhost.evil.example", False), ("wss://api.example/localhost", False)],
)  # fmt: skip
def test_is_loopback(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


@pytest.mark.parametrize(
    ("url", "port"),
    [("ws://127.0.0.1:8123/v1/realtime", 8123), ("wss://localhost/x", 443), ("http://[::1]/", 80),
     ("wss://api.example:9/v1", None), ("", None)],
)  # fmt: skip
def test_the_port_of_a_server_on_this_machine(url: str, port: int | None) -> None:
    assert port_here(url) == port
