"""What the machine did while sessions were measured: this process's memory, and everybody's CPU.

Sampled once a second on a timeline of its own, so nothing on the measuring path waits for it. The
figures are pure functions of the samples, which the run's folder keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import msgspec
import numpy as np

from harness.clock import NS_PER_MS, NS_PER_S, World
from harness.errors import HarnessError
from harness.metrics.instants import Missing
from harness.stats.estimates import Slope, slope_of_series

# Kinds of CPU time in which a core worked, or was taken away by the hypervisor (steal), where the
# system reports them; `guest` is part of `user`.
BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
LEAST_SAMPLES = 10  # that a slope needs
# Kernels count CPU time in steps of 10 ms a core: 0.4 % of the machine over 5 s, at most.
LEAST_S = 5.0


class HostSample(msgspec.Struct, frozen=True):
    """One reading, by one of the processes that measured."""

    at_ns: int  # on the run's clock
    pid: int
    memory_bytes: int  # resident, of this process
    own_cpu_s: float  # that this process has used, all its threads
    all_cpu_s: float | None  # that all cores have been busy; None: time is simulated
    cores: int  # of the machine
    server_cpu_s: float | None = None  # that the measured server used; None: it is not found here


class HostSampler:
    """Samples this process and its machine from ``start`` to ``stop``."""

    def __init__(
        self,
        world: World,
        keep: Callable[[HostSample], None],
        *,
        every_ms: float = 1000.0,
        server_port: int | None = None,
        host: Any = None,
    ) -> None:
        """
        Args:
            server_port: where a measured server listens on this machine: it is none of the others.
            keep: is given every sample at once: a process that is killed for its memory leaves
                behind what it held. What it raises ends the sampling, and :meth:`stop` raises it.
            world: in a simulated one a sample is taken every ``every_ms`` of simulated time; how
                busy the machine was over it means nothing, and is not asked.
            host: what asks the operating system (None: ``psutil``); another one in tests.
        """
        if host is None:
            import psutil

            host = psutil
        self._world = world
        self._keep = keep
        self._every_ms = every_ms
        self._host = host
        self._process = host.Process()
        self._cores: int = host.cpu_count()
        self._server = None if server_port is None else self._listener(server_port)
        self._failed: HarnessError | None = None

    def start(self) -> None:
        """Take the first sample; later ones come from a thread of their own."""
        self._timeline = self._world.timeline("host", costs=False)
        self._due_ns = self._world.now_ns()
        self._sample()
        self._timeline.start()

    def stop(self) -> None:
        """Take the last sample.

        Raises:
            HarnessError: a sample could not be kept.
        """
        self._timeline.stop()
        if self._failed is not None:
            raise self._failed
        self._keep(self._read())

    def _sample(self) -> None:
        try:
            self._keep(self._read())
        except HarnessError as error:
            self._failed = error
            return
        self._due_ns += round(self._every_ms * NS_PER_MS)
        self._timeline.call_at(self._due_ns, self._sample)

    def _read(self) -> HostSample:
        memory, own = self._process.memory_info(), self._process.cpu_times()
        return HostSample(
            at_ns=self._world.now_ns(),
            pid=self._process.pid,
            memory_bytes=memory.rss,
            own_cpu_s=own.user + own.system,
            all_cpu_s=None if self._world.simulated else self._busy_s(),
            cores=self._cores,
            server_cpu_s=None if self._server is None else self._cpu_of_server_s(),
        )

    def _listener(self, port: int) -> Any:
        """The process that listens at a port; None: none that this user may see."""
        try:
            sockets = self._host.net_connections(kind="tcp")
            pids = {s.pid for s in sockets if s.status == "LISTEN" and s.laddr.port == port}
            return next((self._host.Process(pid) for pid in pids if pid), None)
        except self._host.Error:
            return None

    def _cpu_of_server_s(self) -> float | None:
        """CPU time of the server and what it started; None: it is gone, or may not be seen."""
        server: Any = self._server
        try:
            family = [server, *server.children(recursive=True)]
            times = [process.cpu_times() for process in family]
        except self._host.Error:
            return None
        return float(sum(of.user + of.system for of in times))

    def _busy_s(self) -> float:
        times = self._host.cpu_times()
        return sum(getattr(times, kind, 0.0) for kind in BUSY)


def most_memory_mib(samples: Sequence[HostSample]) -> float:
    """The most memory that was resident."""
    return max(sample.memory_bytes for sample in samples) / 2**20


def memory_slope(samples: Sequence[HostSample]) -> Slope | Missing:
    """Theil-Sen slope of resident memory [MiB] against time [min], with its 95 % interval.

    Of the medians of blocks of consecutive samples: neighbouring samples are correlated.

    Missing: fewer than ten samples; several processes, each with a start of its own.
    """
    if len({sample.pid for sample in samples}) > 1:
        return Missing("measured by several processes, each with a start of its own")
    if len(samples) < LEAST_SAMPLES:
        return Missing(f"{len(samples)} samples of memory; a slope needs {LEAST_SAMPLES}")
    minutes = np.array([(s.at_ns - samples[0].at_ns) / NS_PER_S / 60 for s in samples])
    memory = np.array([s.memory_bytes / 2**20 for s in samples])
    return slope_of_series(minutes, memory, 0.95)


def others_cpu(samples: Sequence[HostSample]) -> float | Missing:
    """Share (0 to 1) of the machine's CPU that others than this process used, mean over the run.

    (CPU time of all - own CPU time - that of the measured server, where it runs here) /
    (cores * time); the kernel and the hypervisor are others.

    Missing: in simulated time; less than 5 s.
    """
    others_s = cores_s = measured_s = 0.0
    for _, of_process in groupby(samples, key=lambda sample: sample.pid):
        readings = list(of_process)
        first, last = readings[0], readings[-1]
        if first.all_cpu_s is None or last.all_cpu_s is None:
            return Missing("time is simulated")
        took_s = (last.at_ns - first.at_ns) / NS_PER_S
        others_s += last.all_cpu_s - first.all_cpu_s - (last.own_cpu_s - first.own_cpu_s)
        others_s -= (last.server_cpu_s or 0.0) - (first.server_cpu_s or 0.0)
        cores_s += last.cores * took_s
        measured_s += took_s
    if measured_s < LEAST_S:
        return Missing(f"{measured_s:.1f} s were measured; the kernel's counts need {LEAST_S:g}")
    return min(1.0, max(0.0, others_s / cores_s))  # counts in steps may go a little beyond
