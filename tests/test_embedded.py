"""The embedded default: real weights, real speech, one word and six, as fast as it computes."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.runs.folder import Run, load_run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", params=[2, pytest.param(11, marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of 1word and 6word over some clips, once, in virtual time."""
    folder = tmp_path_factory.mktemp("embedded") / "out"
    overrides = ["chunking=1word,6word", "replay.pace=virtual", "replay.repeats=1",
                 f"dataset.limit={request.param}", "replay.warmup=1", "engine.threads=1",
                 "report.plots=false", f"hydra.run.dir={folder}"]  # fmt: skip
    assert main(["compare", *overrides]) == 0
    return folder


@pytest.fixture(scope="module")
def arms(folder: Path) -> dict[str, Run]:
    return {name: load_run(folder / name) for name in ("1word", "6word")}


def test_the_text_is_right_and_the_same_under_both(arms: dict[str, Run]) -> None:
    texts = [{c.clip: c.hypothesis for c in run.clips} for run in arms.values()]
    assert texts[0] == texts[1]
    for run in arms.values():
        assert run.summary is not None
        wer = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))["metrics"][
            "wer"
        ]
        assert wer["value"] <= 0.1
        assert wer["words"] == {2: 24, 11: 119}[len(run.clips)]


def test_every_budget_closes(arms: dict[str, Run]) -> None:
    open_ms = []
    for run in arms.values():
        for clip in run.clips:
            assert clip.ttft_ms is not None
            assert clip.budget_ms is not None
            assert sum(clip.budget_ms.values()) == pytest.approx(clip.ttft_ms)
            rest = clip.budget_ms["unattributed"]
            open_ms.append(max(0.0, abs(rest) - max(0.01 * clip.ttft_ms, 0.5)))
    # A busy machine may stop us for a while between two spans: in some sessions, not in most.
    assert statistics.median(open_ms) == 0


def test_six_words_cost_the_time_between_their_tokens(folder: Path, arms: dict[str, Run]) -> None:
    """Of the same tokens; the clock of a live run goes on while it makes its chunks."""
    again, both = folder.with_name("again"), "chunking=1word,6word"
    assert main(["rechunk", str(folder / "6word"), both, "--out", str(again)]) == 0
    one = {clip.clip: clip for clip in load_run(again / "1word").clips}
    live = {clip.clip: clip for clip in arms["6word"].clips}
    traces = {trace.session.clip: trace for trace in arms["6word"].traces}
    for six in load_run(again / "6word").clips:
        trace = traces[six.clip]
        begins = [token.at_ns for token in trace.tokens if token.text.startswith(" ")]
        whole = [*begins[1:], trace.outcome.at_ns]  # of each word: the next begins, or the end
        assert len(whole) >= 6
        between_ms = (whole[5] - whole[0]) / 1e6
        ttft = (six.ttft_ms, one[six.clip].ttft_ms)
        assert ttft[0] is not None
        assert ttft[1] is not None
        assert ttft[0] > ttft[1]
        assert ttft[0] - ttft[1] == pytest.approx(between_ms)
        assert live[six.clip].ttft_ms >= ttft[0]
