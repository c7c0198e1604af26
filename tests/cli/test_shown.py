"""What was measured is kept before it is shown, and output that is lost changes no exit code."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.cli.shown import kept_going

QUICK = ["engine=scripted", "replay.pace=virtual", "replay.compute_scale=0", "replay.repeats=1",
         "replay.frame_ms=500", "dataset.limit=2", "gate.rules=[chunks >= 4]"]  # fmt: skip


class _Full(io.StringIO):
    """A disk that is full, or a reader that has gone."""

    def __init__(self, why: int) -> None:
        super().__init__()
        self._why = why

    def write(self, text: str) -> int:
        raise OSError(self._why, "no")


@pytest.mark.parametrize("why", [errno.ENOSPC, errno.EPIPE])
def test_the_rest_of_a_text_is_dropped(why: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    monkeypatch.setattr(sys, "stdout", _Full(why))
    monkeypatch.setattr(sys, "stderr", told)
    with kept_going():
        print("answer", flush=True)  # noqa: T201
        print("more")  # noqa: T201
    assert ("standard output could not be written" in told.getvalue()) is (why == errno.ENOSPC)
    assert isinstance(sys.stdout, _Full)


def test_both_may_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", _Full(errno.EPIPE))
    monkeypatch.setattr(sys, "stderr", _Full(errno.ENOSPC))
    assert main(["nonsense"]) == 2
    assert main(["--version"]) == 0


@pytest.mark.e2e
@pytest.mark.usefixtures("command_line")
@pytest.mark.parametrize("more", ["chunking=1word", "chunking=sentence", "report.show=json"])
def test_a_verdict_is_kept_whoever_reads(more: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", _Full(errno.EPIPE))
    code = main(["run", *QUICK, "hydra.run.dir=out", more])
    assert code == (3 if more == "chunking=sentence" else 0)
    for name in ("junit.xml", "summary.json", "report.md"):
        assert Path("out", name).is_file()
    Path("out/junit.xml").unlink()
    assert main(["gate", "out"]) == code
    assert Path("out/junit.xml").is_file()
    assert main(["report", "out"]) == code


# A verb that needs no model answers in a second; what is tried is the interpreter's own end.
@pytest.mark.parametrize("how", [">&-", "> /dev/full", "| true", "2>&-", ">&- 2>&- <&-"])
def test_the_process_ends_with_the_verdict(how: str) -> None:
    if "/dev/full" in how and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    command = f'set -o pipefail; "{sys.executable}" -m harness baseline show nobody {how}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 4
    command = f'"{sys.executable}" -m harness --help {how}; test $? = 0'
    if "|" not in how:
        assert subprocess.run(["bash", "-c", command], capture_output=True).returncode == 0


def test_files_are_utf8_in_every_locale(tmp_path: Path) -> None:
    """Python says where a file is opened in the locale's encoding, if it is asked to."""
    code = (
        "from harness.__main__ import main; import sys;"
        f"sys.exit(main(['run', *{QUICK!r}, 'hydra.run.dir=\\xe9', 'dataset.name=\\xe9', '-m',"
        "'seed=1', 'hydra.sweep.dir=s']))"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-X", "warn_default_encoding", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours = [
        line
        for line in done.stderr.splitlines()
        if "EncodingWarning" in line and "/harness/" in line
    ]
    assert ours == []
