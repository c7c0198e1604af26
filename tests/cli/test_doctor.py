"""The verb ``doctor``."""

from __future__ import annotations

import pytest

from harness.__main__ import main

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]


@pytest.mark.slow
def test_doctor_says_whether_the_default_run_can_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "two_cities" in out
    assert "can work here" in out
