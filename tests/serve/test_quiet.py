"""The log under fire: one short line a kind, escaped, without keys and without tracebacks."""

from __future__ import annotations

import asyncio
import errno
import logging

import pytest

from harness.keys import KnownKeys
from harness.serve.quiet import EVERY_S, OneLine, quiet_log


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return caplog.text.splitlines()


def test_what_a_loop_complains_of_thousands_of_times_is_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0]

    async def out_of_files() -> None:
        for _ in range(1000):
            asyncio.get_running_loop().call_exception_handler(
                {
                    "message": "socket.accept() out of system resource",
                    "exception": OSError(errno.EMFILE, "Too many open files"),
                }
            )

    with quiet_log(lambda: now[0], KnownKeys()):
        asyncio.run(out_of_files())
        assert len(lines(caplog)) == 1
        now[0] = round(EVERY_S * 1e9)
        asyncio.run(out_of_files())
    assert len(lines(caplog)) == 2
    assert "out of system resource: OSError: [Errno 24] Too many open files" in lines(caplog)[0]
    assert "999 more" in lines(caplog)[1]


def test_a_traceback_becomes_a_line_that_says_where(caplog: pytest.LogCaptureFixture) -> None:
    with quiet_log(lambda: 0, KnownKeys()):
        try:
            int("of its own\nin two lines", base=1)
        except ValueError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    (line,) = lines(caplog)
    assert "Exception in ASGI application: ValueError: int() base must be" in line
    assert "(test_quiet.py:" in line


def test_what_a_client_sent_is_escaped_and_short_and_without_keys(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with quiet_log(lambda: 0, KnownKeys(["s3cret-token"])):
        text = "\x1b[2J s3cret-token \u202e" + "x" * 10_000
        logging.getLogger("harness.serve").warning("refused: %s", text)
    (line,) = lines(caplog)
    assert "refused: \u241b[2J [key] \ufffd" in line
    assert len(line) < 400


def test_lines_of_the_contract_are_left_alone() -> None:
    keep = OneLine(lambda: 0, KnownKeys())
    record = logging.makeLogRecord({"levelno": logging.INFO, "msg": "TTFT: %.1f", "args": (1.0,)})
    assert [keep.filter(record) for _ in range(3)] == [True, True, True]
    assert record.getMessage() == "TTFT: 1.0"


def test_kinds_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    with quiet_log(lambda: 0, KnownKeys()):
        for index in range(10_000):
            letters = "".join(chr(97 + int(digit)) for digit in str(index))
            logging.getLogger("asyncio").error(letters)
    assert len(lines(caplog)) <= 101


def test_numbers_and_addresses_make_no_kind_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    with quiet_log(lambda: 0, KnownKeys()):
        for index in range(10):
            logging.getLogger("asyncio").error(f"Exception in callback <Handle at 0x{index:x}>")
    assert len(lines(caplog)) == 1
