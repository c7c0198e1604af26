"""The host's figures, with an operating system made of canned answers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from harness.__main__ import main
from harness.clock import NS_PER_S, RealWorld, VirtualWorld
from harness.errors import StorageError
from harness.machine.host import HostSample, HostSampler, memory_slope, most_memory_mib, others_cpu
from harness.metrics import Ratio
from harness.metrics.instants import Missing
from harness.runs.folder import Run, load_run
from harness.runs.summarise import summarise_run
from harness.stats.estimates import Interval, Slope
from tests.report.synthetic import make_run, save_run

MIB = 2**20


class FakeHost:
    """Process 7 on 4 cores: every reading it holds 1 MiB more and has used 2 s, others 3 s more."""

    def __init__(self) -> None:
        self.readings = 0
        self.pid = 7

    def Process(self) -> FakeHost:  # noqa: N802 psutil's name
        return self

    def cpu_count(self) -> int:
        return 4

    def memory_info(self) -> Any:
        self.readings += 1
        return SimpleNamespace(rss=self.readings * MIB)

    def cpu_times(self) -> Any:
        """Of the process and of the machine: one has no steal, the other counts guests twice."""
        used = float(self.readings)
        return SimpleNamespace(
            user=1.5 * used,
            system=0.5 * used,
            steal=3 * used,
            idle=99 * used,
            iowait=9.0,
            guest=8.0,
        )


def sample(second: float, **more: Any) -> HostSample:
    """As if 40 MiB + 6 MiB a minute were held; 4 cores, one used here and a fifth by others."""
    return HostSample(
        **{
            "at_ns": round(second * NS_PER_S), "pid": 7,
            "memory_bytes": round((40 + second / 10) * MIB), "own_cpu_s": second,
            "all_cpu_s": 1.8 * second, "cores": 4,
        } | more
    )  # fmt: skip


def test_a_reading_is_what_the_system_says() -> None:
    samples: list[HostSample] = []
    sampler = HostSampler(RealWorld(), samples.append, host=FakeHost())
    sampler.start()
    sampler.stop()  # long before the second that the next one is due
    first, last = samples
    assert (first.pid, first.cores, first.memory_bytes) == (7, 4, MIB)
    assert (last.own_cpu_s, last.all_cpu_s) == (4.0, 10.0)  # neither idle, iowait nor guest
    assert first.at_ns <= last.at_ns  # a coarse clock may not have moved on


def test_in_simulated_time_a_sample_is_taken_every_simulated_second() -> None:
    world = VirtualWorld()
    driver = world.timeline("driver", costs=False)
    samples: list[HostSample] = []
    sampler = HostSampler(world, samples.append, host=FakeHost())
    sampler.start()
    driver.call_at(3 * NS_PER_S + 1, driver.stop)
    driver.run()
    sampler.stop()
    assert [s.at_ns for s in samples] == [0, NS_PER_S, 2 * NS_PER_S, 3 * NS_PER_S, 3 * NS_PER_S + 1]
    assert [s.memory_bytes // MIB for s in samples] == [1, 2, 3, 4, 5]
    assert {s.all_cpu_s for s in samples} == {None}


def test_what_cannot_be_kept_is_said_when_the_run_ends() -> None:
    kept: list[HostSample] = []

    def keep(sample: HostSample) -> None:
        if len(kept) == 2:
            raise StorageError("the disk is full")
        kept.append(sample)

    world = VirtualWorld()
    driver = world.timeline("driver", costs=False)
    sampler = HostSampler(world, keep, host=FakeHost())
    sampler.start()
    driver.call_at(9 * NS_PER_S, driver.stop)
    driver.run()  # not here: what is measured goes on
    with pytest.raises(StorageError, match="the disk is full"):
        sampler.stop()
    assert [s.at_ns for s in kept] == [0, NS_PER_S]


def test_this_system_answers() -> None:
    samples: list[HostSample] = []
    sampler = HostSampler(RealWorld(), samples.append)
    sampler.start()
    sampler.stop()
    first, last = samples
    assert first.memory_bytes > 10 * MIB
    assert 0 < first.own_cpu_s <= last.own_cpu_s
    assert first.all_cpu_s is not None
    assert last.all_cpu_s is not None
    assert last.own_cpu_s < last.all_cpu_s  # since the machine was started


def test_memory_over_the_run() -> None:
    samples = [sample(second) for second in range(60)]
    assert most_memory_mib(samples) == pytest.approx(45.9)
    slope = memory_slope(samples)
    assert isinstance(slope, Slope)
    assert slope.slope == pytest.approx(6.0)
    assert slope.interval.low == pytest.approx(6.0)


def test_memory_that_stays_has_no_slope_and_no_doubt() -> None:
    samples = [sample(second, memory_bytes=5 * MIB) for second in range(10)]
    assert memory_slope(samples) == Slope(0.0, Interval(0.0, 0.0, 0.95))
    assert memory_slope(samples[1:]) == Missing("9 samples of memory; a slope needs 10")


def test_what_others_used() -> None:
    assert others_cpu([sample(0), sample(10)]) == pytest.approx(0.2)
    assert others_cpu([sample(0), sample(10, all_cpu_s=9.99)]) == 0.0  # counted in steps
    assert others_cpu([sample(0), sample(10, all_cpu_s=99.0)]) == 1.0
    too_short = Missing("4.9 s were measured; the kernel's counts need 5")
    assert others_cpu([sample(0), sample(4.9)]) == too_short
    simulated = [sample(second, all_cpu_s=None) for second in (0, 10)]
    assert others_cpu(simulated) == Missing("time is simulated")


def test_processes_that_measured_in_turn() -> None:
    """Each counts its own CPU time from zero, and nothing that happened between them."""
    first = [sample(second) for second in (0, 5, 10)]
    busier = {"pid": 8, "own_cpu_s": 3.0}
    second = [sample(100, **busier), sample(130, **busier | {"all_cpu_s": 180 + 60.0})]
    assert others_cpu([*first, *second]) == pytest.approx((8 + 60) / (4 * 40))
    assert most_memory_mib([*first, *second]) == pytest.approx(53)
    slope = memory_slope([*first, *second])
    assert slope == Missing("measured by several processes, each with a start of its own")


# --- of a run ---


def test_a_run_keeps_the_samples_and_tells_them(tmp_path: Path) -> None:
    run = make_run(tmp_path, host=[sample(second) for second in range(60)])
    kept = load_run(save_run(run, tmp_path))
    assert kept.host == run.host
    metrics = summarise_run(kept).metrics
    assert metrics["memory_mib"] == Ratio(unit="MiB", value=run.host[-1].memory_bytes / MIB)
    slope = metrics["memory_slope_mib_per_min"]
    assert isinstance(slope, Ratio)
    assert (slope.unit, slope.value) == ("MiB/min", pytest.approx(6.0))
    assert slope.ci95 == pytest.approx((6.0, 6.0))
    assert metrics["others_cpu"] == Ratio(unit="1", value=pytest.approx(0.2))


def test_figures_that_do_not_exist_say_why(tmp_path: Path) -> None:
    run = make_run(tmp_path, host=[sample(0, all_cpu_s=None), sample(3, all_cpu_s=None)])
    metrics = run.summary.metrics
    why = {name: metrics[name].why_null for name in ("memory_slope_mib_per_min", "others_cpu")}
    assert why == {
        "memory_slope_mib_per_min": "2 samples of memory; a slope needs 10",
        "others_cpu": "time is simulated",
    }


def test_a_folder_of_an_older_harness_has_none_of_them(tmp_path: Path) -> None:
    folder = save_run(make_run(tmp_path), tmp_path)
    (folder / "host.jsonl").unlink()
    assert "memory_mib" not in summarise_run(load_run(folder)).metrics


def test_others_at_work_are_a_warning_unless_they_may_be_the_server(tmp_path: Path) -> None:
    run = make_run(tmp_path, host=[sample(second) for second in range(60)])
    (warning,) = (text for text in run.summary.warnings if text.startswith("busy_machine"))
    assert warning == (
        "busy_machine: other programs used 20% of the machine's CPU, at most 10%; stop them, or"
        " compare arms in one comparison (interleaved), never with a stored baseline"
    )
    assert run.summary.validity == ()
    run = served_at("ws://localhost:8000", run)  # and nobody could tell which process it is
    assert "busy_machine" not in str(summarise_run(run).warnings)


def test_a_server_on_this_machine_is_none_of_the_others(tmp_path: Path) -> None:
    samples = [sample(second, server_cpu_s=0.5 * second) for second in range(60)]
    run = served_at("ws://127.0.0.1:8000/v1/realtime", make_run(tmp_path, host=samples))
    metrics = summarise_run(run).metrics
    assert metrics["others_cpu"] == Ratio(unit="1", value=pytest.approx((0.8 - 0.5) / 4))
    busier = [sample(second, server_cpu_s=0.1 * second) for second in range(60)]
    run = msgspec.structs.replace(run, host=busier)
    assert "busy_machine: other programs used 18%" in str(summarise_run(run).warnings)


def test_a_server_elsewhere_hides_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, host=[sample(second) for second in range(60)])
    run = served_at("wss://stt.example/v1/realtime", run)
    assert "busy_machine" in str(summarise_run(run).warnings)


def served_at(url: str, run: Run) -> Run:
    model = msgspec.structs.replace(run.environment.model, device="remote", details={"url": url})
    environment = msgspec.structs.replace(run.environment, model=model)
    return msgspec.structs.replace(run, environment=environment)


def test_the_process_that_listens_at_the_servers_port_is_found() -> None:
    class Serving(FakeHost):
        Error = OSError

        def net_connections(self, kind: str) -> list[Any]:
            assert kind == "tcp"
            other = SimpleNamespace(status="LISTEN", laddr=SimpleNamespace(port=1), pid=1)
            server = SimpleNamespace(status="LISTEN", laddr=SimpleNamespace(port=8000), pid=9)
            return [other, server]

        def Process(self, pid: int = 7) -> Any:  # noqa: N802 psutil's name
            if pid == 7:
                return self
            assert pid == 9
            child = SimpleNamespace(cpu_times=lambda: SimpleNamespace(user=1.0, system=0.25))
            return SimpleNamespace(
                cpu_times=child.cpu_times, children=lambda *, recursive: [child] * recursive
            )

    samples: list[HostSample] = []
    for port in (8000, 8001):
        sampler = HostSampler(RealWorld(), samples.append, server_port=port, host=Serving())
        sampler.start()
        sampler.stop()
    assert [one.server_cpu_s for one in samples] == [2.5, 2.5, None, None]


@pytest.mark.e2e
def test_every_arm_keeps_what_its_process_saw_while_sessions_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["engine=scripted", "replay.pace=virtual", "replay.compute_scale=0",
             "replay.repeats=1", "report.plots=false", "replay.warmup=3", "replay.frame_ms=100",
             "dataset.limit=5"]  # fmt: skip
    assert main(["compare", *quick, "chunking=1word,6word", "hydra.run.dir=out"]) == 0
    one, six = load_run(Path("out/1word")), load_run(Path("out/6word"))
    assert one.host == six.host
    assert {b.at_ns - a.at_ns for a, b in pairwise(one.host[:-1])} == {NS_PER_S}
    # They begin when the warm-up is over, and end with the last session.
    began = min(trace.session.t0_ns for run in (one, six) for trace in run.traces)
    ended = max(trace.outcome.at_ns for run in (one, six) for trace in run.traces)
    assert began - NS_PER_S < one.host[0].at_ns < began
    assert one.host[-1].at_ns >= ended
    assert one.host[0].at_ns > 0
    assert one.summary.metrics["memory_slope_mib_per_min"].value is not None
    assert one.summary.metrics["others_cpu"].why_null == "time is simulated"
