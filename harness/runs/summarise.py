"""``summary.json`` of a run, from what its folder holds and nothing else; judged by nothing.

So a summary can be made again after a crash, or by a later version of the metrics.
"""

from __future__ import annotations

import msgspec

from harness.addresses import is_loopback
from harness.machine.gpu import GpuTelemetry, NoGpu
from harness.machine.host import memory_slope, most_memory_mib, others_cpu
from harness.metrics import METRICS_VERSION, Distribution, Ratio
from harness.metrics.accuracy import told_as_cer
from harness.metrics.instants import Missing
from harness.metrics.latency import as_recorded, clip_metrics
from harness.metrics.summary import summarise
from harness.runs.folder import Run
from harness.runs.records import Summary, Verdict
from harness.runs.validity import RunFacts, check_validity
from harness.stats.estimates import Slope


def summarise_run(run: Run) -> Summary:
    """Metrics and validity of a run, finished or not; judged by nothing."""
    environment, replayed = run.environment, run.config["replay"]
    repeats = _repeats(run)
    host = _host(run)
    facts = RunFacts(
        planned=environment.dataset.clips * repeats,
        pace=replayed["pace"],
        gc_pauses_ns=tuple((pause.start_ns, pause.end_ns) for pause in run.gc_pauses),
        clock_resolution_ns=environment.clock_resolution_ns,
        cadence_ms=environment.model.cadence_ms,
        allow=tuple(run.config["gate"].get("allow", ())),
        throttled=run.telemetry.throttled if isinstance(run.telemetry, GpuTelemetry) else {},
        others_cpu=host["others_cpu"].value if host and _server_is_known(run) else None,
    )
    validity, warnings = check_validity(run.traces, run.clips, facts)
    return Summary(
        schema=1,
        metrics_version=environment.metrics_version,  # that measured the clips
        arm=msgspec.structs.asdict(environment.arm),
        clips=environment.dataset.clips,
        repeats=repeats,
        failed=sum(clip.failed is not None for clip in run.clips),
        simulated=environment.simulated,
        injected=environment.injected,
        random_weights=environment.model.random_weights,
        harness_floor_ms=environment.harness_floor_ms,
        validity=validity,
        warnings=warnings,
        metrics={
            **summarise(run.clips, seed=environment.seed),
            **_gpu_memory(run),
            **host,
        },
        verdict=Verdict(status="invalid" if validity else "none"),
        error_rate="cer" if told_as_cer(clip.reference for clip in run.clips) else "wer",
    )


def measured_again(run: Run) -> Run:
    """The run with figures and validity made from its events, whatever its files say of them.

    The verdict is the stored one. A run of another version of the metrics stays as it was measured.
    """
    environment, replayed = run.environment, run.config["replay"]
    if run.summary is None or environment.metrics_version != METRICS_VERSION:
        return run
    recorded = environment.recorded_under_metrics or METRICS_VERSION
    clips = tuple(
        as_recorded(
            clip_metrics(
                trace,
                random_weights=environment.model.random_weights,
                pace=replayed["pace"],
            ),
            recorded,
            replayed.get("streams", 1),
        )
        for trace in run.traces
    )
    again = msgspec.structs.replace(run, clips=clips)
    summary = msgspec.structs.replace(summarise_run(again), verdict=run.summary.verdict)
    return msgspec.structs.replace(again, summary=summary)


def _gpu_memory(run: Run) -> dict[str, Distribution | Ratio]:
    """The most device memory in use while the run was measured; nothing for runs without a GPU."""
    if run.telemetry is None:
        return {}
    if isinstance(run.telemetry, NoGpu):
        return {"gpu_memory_mib": Ratio(unit="MiB", value=None, why_null=run.telemetry.why)}
    peak = run.telemetry.peak_memory_bytes
    why = "the driver does not report it" if peak is None else None
    value = None if peak is None else peak / 2**20
    return {"gpu_memory_mib": Ratio(unit="MiB", value=value, why_null=why)}


def _host(run: Run) -> dict[str, Ratio]:
    """Memory of the harness with its engine, and the CPU of others; empty: not recorded."""
    if not run.host:
        return {}
    return {
        "memory_mib": Ratio(unit="MiB", value=most_memory_mib(run.host)),
        "memory_slope_mib_per_min": _ratio("MiB/min", memory_slope(run.host)),
        "others_cpu": _ratio("1", others_cpu(run.host)),
    }


def _server_is_known(run: Run) -> bool:
    """Whether a measured server is surely none of the other programs on this machine."""
    url = run.environment.model.details.get("url")
    if run.environment.model.device != "remote" or not isinstance(url, str):
        return run.environment.model.device != "remote"
    return not is_loopback(url) or all(sample.server_cpu_s is not None for sample in run.host)


def _ratio(unit: str, found: float | Slope | Missing) -> Ratio:
    if isinstance(found, Missing):
        return Ratio(unit=unit, value=None, why_null=found.reason)
    if isinstance(found, Slope):
        return Ratio(unit=unit, value=found.slope, ci95=(found.interval.low, found.interval.high))
    return Ratio(unit=unit, value=found)


def _repeats(run: Run) -> int:
    """As configured; with ``replay.until=decided`` as many as were begun, if that is more."""
    replayed = run.config["replay"]
    repeats = int(replayed["repeats"])
    if replayed.get("until") == "decided":
        return max([repeats, *(clip.repeat + 1 for clip in run.clips)])
    return repeats
