"""How long a report takes, and that it grows with the clips and no faster.

The goal: 500 clips in each of two arms, about 100 000 events, in at most 8 s on 2 cores and 1 GiB.
``run.extra_info`` holds events, the page's bytes and the process's peak memory.
"""

import resource
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.events import trace_events
from harness.report import write_report
from tests.report.synthetic import make_arm_runs

pytestmark = pytest.mark.slow


@pytest.mark.benchmark(group="report")
@pytest.mark.parametrize("clips", [100, 200, 400, 500, 800])
def test_report_of_two_arms(benchmark: BenchmarkFixture, tmp_path: Path, clips: int) -> None:
    runs = make_arm_runs((1, 6), clips=clips, repeats=1)
    written = benchmark.pedantic(write_report, (runs, tmp_path), rounds=1, iterations=1)
    page = next(path for path in written if path.name == "report.html")
    benchmark.extra_info["events"] = sum(
        len(trace_events(trace)) for run in runs for trace in run.traces
    )
    benchmark.extra_info["page_bytes"] = page.stat().st_size
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of the process, so far
    benchmark.extra_info["peak_memory_mib"] = kib // 1024
    assert page.stat().st_size < 3_000_000 or clips > 500
