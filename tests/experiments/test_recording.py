from __future__ import annotations

import logging

import pytest
from traces import make_trace

from harness.experiments.recording import log_chunks

FOREIGN = "\x1b[2J\x1b]0;pwned\u202e"


def test_what_others_wrote_is_logged_as_text(caplog: pytest.LogCaptureFixture) -> None:
    trace = make_trace([(FOREIGN, 2100)], clip=FOREIGN, failed=f"{FOREIGN}\nsecond line")
    with caplog.at_level(logging.INFO, logger="harness"):
        log_chunks(trace, "1word")
    assert len(caplog.messages) == 3
    assert all(message.isprintable() for message in caplog.messages)
    assert caplog.messages[-1].endswith(" failed: ␛[2J␛]0;pwned\ufffd second line")
