"""Times, kernels, memory and clocks of the GPU. On a CPU the same calls give host times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from harness.clock import NS_PER_MS
from harness.machine.gpu import GpuSampler, GpuTelemetry
from tests.gpu.session.results import WORLD, Line, Record

Work = Callable[[], object]

_WARM_UP_CALLS = 5
_CPU_CALLS = 3  # a CPU tries the lane; its times mean nothing
_MOST_KERNELS = 60  # of one step, in profile.jsonl
_SHOWN_KERNELS = 6  # of one step, in results.jsonl


def quantiles(name: str, values: Sequence[float]) -> Line:
    """p50, p95, p99 and the count, as figures; nothing of no values."""
    if not values:
        return {}
    p50, p95, p99 = (round(float(value), 3) for value in np.percentile(values, (50, 95, 99)))
    return {f"{name}_p50": p50, f"{name}_p95": p95, f"{name}_p99": p99, f"{name}_n": len(values)}


def device_ms(record: Record, work: Work, calls: int = 50) -> float:
    """Milliseconds of one call on the device, by device events around many calls.

    The host does not wait between the calls.
    """
    if not record.options.cuda:
        began_ns = WORLD.now_ns()
        for _ in range(_CPU_CALLS):
            work()
        return round((WORLD.now_ns() - began_ns) / _CPU_CALLS / NS_PER_MS, 4)
    for _ in range(_WARM_UP_CALLS):
        work()
    begin, end = _event(), _event()
    torch.cuda.synchronize()
    begin.record()
    for _ in range(calls):
        work()
    end.record()
    torch.cuda.synchronize()
    return round(float(begin.elapsed_time(end)) / calls, 4)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def wall_ms(record: Record, work: Work, calls: int = 50) -> float:
    """Median milliseconds of one call and the wait for it: what a session sees."""
    taken = []
    for _ in range(calls if record.options.cuda else _CPU_CALLS):
        began_ns = WORLD.now_ns()
        work()
        if record.options.cuda:
            torch.cuda.synchronize()
        taken.append((WORLD.now_ns() - began_ns) / NS_PER_MS)
    return round(float(np.median(taken)), 4)


def both_ms(record: Record, name: str, work: Work) -> Line:
    """``device_ms`` and ``wall_ms`` as figures."""
    return {
        f"{name}_device_ms": device_ms(record, work),
        f"{name}_wall_ms": wall_ms(record, work),
    }


def captured(record: Record, work: Work) -> Work:
    """The replay of ``work`` as a CUDA graph; on a CPU ``work`` itself."""
    if not record.options.cuda:
        return work
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        work()
    graph.replay()
    torch.cuda.synchronize()
    return graph.replay


def keep_kernels(record: Record, name: str, work: Work, calls: int = 3) -> None:
    """Which kernels one call runs, and for how long."""
    if not record.options.cuda:
        return
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as traced:
        for _ in range(calls):
            work()
        torch.cuda.synchronize()
    kernels = [
        (event.key[:150], round(event.count / calls, 2), round(busy_us / calls, 2))
        for event in traced.key_averages()
        if (busy_us := event.self_device_time_total) > 0
    ]
    kernels.sort(key=lambda kernel: -kernel[2])
    record.profile(name, kernels[:_MOST_KERNELS])
    longest = [f"{n:g}x {us:.0f}us {key[:60]}" for key, n, us in kernels[:_SHOWN_KERNELS]]
    figures: Line = {
        f"{name}_kernels": round(sum(count for _, count, _ in kernels)),
        f"{name}_busy_us": round(sum(us for *_, us in kernels)),
        f"{name}_longest": longest,
    }
    record.figure(**figures)


def keep_memory(record: Record) -> None:
    """The most that torch had allocated, and what is in use on the whole device."""
    if record.options.cuda:
        free, total = torch.cuda.mem_get_info()
        peak = torch.cuda.max_memory_allocated()
        record.figure(peak_gb=round(peak / 1e9, 2), used_gb=round((total - free) / 1e9, 2))


@contextmanager
def sampled(record: Record) -> Iterator[None]:
    """Keep clocks, power and throttling while an arm measures."""
    sampler = GpuSampler(WORLD, record.options.device, every_ms=500.0)
    sampler.start()
    try:
        yield
    finally:
        seen = sampler.stop()
        if isinstance(seen, GpuTelemetry):
            clocks = [sample.sm_mhz for sample in seen.samples if sample.sm_mhz]
            power = [sample.power_w for sample in seen.samples if sample.power_w]
            record.figure(
                sm_mhz=[min(clocks), max(clocks)] if clocks else None,
                power_w=[round(min(power)), round(max(power))] if power else None,
                throttled=seen.throttled,
            )
        else:
            record.figure(telemetry=seen.why)
