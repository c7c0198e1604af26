"""A summary is made from what the folder holds; its figures from the events alone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.events import SessionKind
from harness.metrics import METRICS_VERSION
from harness.runs.summarise import measured_again, summarise_run
from tests.report.synthetic import make_run

CLIPS, REPEATS = 6, 2


@pytest.fixture
def run(tmp_path: Path):
    return make_run(tmp_path, clips=CLIPS, repeats=REPEATS)


def test_a_summary_says_what_was_measured(run) -> None:
    summary = summarise_run(run)
    assert summary.arm == msgspec.structs.asdict(run.environment.arm)
    assert (summary.clips, summary.repeats, summary.failed) == (CLIPS, REPEATS, 0)
    assert summary.metrics["ttft_ms"].n == CLIPS * REPEATS
    assert summary.verdict.status == "none"
    with pytest.raises(KeyError, match="there are: ttft_ms"):
        summary["ttft"]


def test_failed_sessions_are_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path, clips=CLIPS, repeats=REPEATS, fail_every=4)
    summary = summarise_run(run)
    assert summary.failed == CLIPS * REPEATS // 4
    assert summary.metrics["ttft_ms"].of == CLIPS * REPEATS


def test_a_run_that_was_cut_off_is_invalid(run) -> None:
    cut = msgspec.structs.replace(run, traces=run.traces[:-1], clips=run.clips[:-1])
    summary = summarise_run(cut)
    assert summary.validity[0].startswith("incomplete")
    assert summary.verdict.status == "invalid"


def test_until_decided_counts_the_repeats_that_were_begun(run) -> None:
    run.config["replay"]["repeats"] = 1
    assert summarise_run(run).repeats == 1
    run.config["replay"]["until"] = "decided"
    assert summarise_run(run).repeats == REPEATS


def test_figures_in_files_are_not_believed(run) -> None:
    lies = tuple(msgspec.structs.replace(clip, ttft_ms=1.0) for clip in run.clips)
    again = measured_again(msgspec.structs.replace(run, clips=lies))
    assert again.clips == run.clips
    assert again.summary == run.summary


def test_a_run_of_another_version_of_the_metrics_stays_as_it_was(run) -> None:
    other = msgspec.structs.replace(run.environment, metrics_version=f"{int(METRICS_VERSION) + 1}")
    lies = tuple(msgspec.structs.replace(clip, ttft_ms=1.0) for clip in run.clips)
    older = msgspec.structs.replace(run, environment=other, clips=lies)
    assert measured_again(older) is older


def test_memory_of_the_run_is_a_figure_only_where_it_was_kept(run, tmp_path: Path) -> None:
    assert "memory_mib" not in summarise_run(run).metrics
    assert "gpu_memory_mib" not in summarise_run(run).metrics
    live = make_run(tmp_path, name="live", kind=SessionKind.LIVE)
    assert summarise_run(live).arm["session"] == "live"
