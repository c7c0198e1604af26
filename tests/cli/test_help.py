"""Help, usage and version."""

from __future__ import annotations

import pytest

from harness.__main__ import main
from harness.cli import VERBS

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]


def test_without_a_verb_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)
    assert "python -m harness run chunking=1word" in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_helps(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([verb, "--help"])
    except SystemExit as end:  # argparse
        code = int(end.code or 0)
    assert code == 0
    assert f"python -m harness {verb}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("harness 0.")


@pytest.mark.parametrize("verb", ["baseline", "rechunk"])
def test_usage_says_usage_once(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([verb])
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"usage: python -m harness {verb}")
    assert complaint.count("usage:") == 1
