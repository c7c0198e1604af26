"""``report`` and ``gate`` write inside of the folder that was named, whatever a file says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.__main__ import main
from harness.events import trace_events
from harness.runs.folder import RunWriter, write_json
from harness.serve.saved import SavedSession
from tests.report.synthetic import make_run, save_run
from tests.traces import make_trace


def save_session(path: Path, *arms: str, text: str = " two") -> Path:
    trace = make_trace([("one", 2100), (text, 2200)], reference="one two")
    events = trace_events(trace)
    saved = SavedSession(schema=1, model="m", client="c", arms=dict.fromkeys(arms, events))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(saved))
    return path


@pytest.mark.parametrize("arm", ["../../escaped", "/escaped", "..", "a/b", "a\\b", ""])
def test_an_arm_of_a_saved_session_names_no_other_folder(
    tmp_path: Path, arm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_session(tmp_path / "deep/er/session.json", "1word", arm)
    assert main(["report", str(path)]) == 2
    assert "must be a plain name" in capsys.readouterr().err
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]


def test_a_session_is_imported_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_session(tmp_path / "session.json", "1word", "6word")
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["report", str(path), "--quiet"]) == 4
    assert list(tmp_path.iterdir()) == [path]
    assert main(["report", str(path), "--quiet"]) == 0
    assert main(["report", str(path), "--quiet"]) == 0  # it is there already
    (tmp_path / "session/6word/summary.json").unlink()  # as an older harness left it, when killed
    assert main(["report", str(path), "--quiet"]) == 2
    assert "is in the way" in capsys.readouterr().err


def test_another_session_of_the_same_name_is_not_taken_for_it(tmp_path: Path) -> None:
    path = save_session(tmp_path / "session.json", "1word")
    assert main(["report", str(path), "--quiet"]) == 0
    save_session(path, "1word", text=" three")
    assert main(["report", str(path), "--quiet"]) == 2


@pytest.mark.parametrize("verb", ["gate", "report"])
@pytest.mark.parametrize("name", ["..", ".", "../other", "linked"])
def test_a_comparison_names_no_folder_of_others(
    tmp_path: Path, verb: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_run(make_run(tmp_path, name="other", clips=3, repeats=1), tmp_path)
    before = {path: path.read_bytes() for path in other.iterdir()}
    compared = tmp_path / "compared"
    save_run(make_run(compared, name="1word", clips=3, repeats=1), compared)
    (compared / "linked").symlink_to(other)
    write_json(compared / "comparison.json", {"schema": 1, "arms": ["1word", name]})
    assert main([verb, str(compared)]) == 4
    assert "comparison.json cannot be read" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in other.iterdir()} == before
