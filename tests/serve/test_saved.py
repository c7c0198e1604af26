"""A session that the page saved, and what it says of the server's engine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.cli.report import report
from harness.events import ServedEngine, trace_events
from harness.runs.folder import load_run
from harness.serve.saved import SavedSession
from tests.traces import make_trace


@pytest.mark.parametrize("engine", [None, ServedEngine(random_weights=True, weights_sha256="ab")])
def test_random_weights_have_no_error_rate(tmp_path: Path, engine: ServedEngine | None) -> None:
    trace = make_trace([("one", 2100), (" two", 2200)], reference="one two")
    saved = SavedSession(
        schema=1, model="m", client="c", arms={"1word": trace_events(trace)}, engine=engine
    )
    path = tmp_path / "session.json"
    path.write_bytes(msgspec.json.encode(saved))
    assert report([str(path), "--quiet"]) == 0
    run = load_run(tmp_path / "session" / "1word")
    assert run.summary is not None
    assert run.summary.random_weights is (engine is not None)
    assert (run.clips[0].wer is None) is (engine is not None)
