"""What the GPU did while a run was measured: clocks, temperature, power, memory, throttling.

Sampled with NVML on a timeline of its own, so nothing on the measuring path waits for it. Where
there is no NVIDIA GPU the answer is a typed absence that says why. A GPU that lowered its clocks
was not the GPU that was to be measured: such a run is invalid (``GpuTelemetry.throttled``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from harness.clock import NS_PER_MS, World
from harness.machine.environment import find_gpu

# Bits of nvmlDeviceGetCurrentClocksEventReasons that mean "slower than requested". Idleness and
# clocks that a person has set are not among them.
THROTTLE_REASONS = {
    0x04: "power_cap",
    0x08: "hardware_slowdown",
    0x20: "software_thermal",
    0x40: "hardware_thermal",
    0x80: "power_brake",
}


class GpuSample(msgspec.Struct, frozen=True):
    """One reading; None: this GPU or driver does not report it."""

    at_ns: int  # on the run's clock
    sm_mhz: int | None  # clock of the streaming multiprocessors
    memory_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    memory_used_bytes: int | None  # on the whole device, other processes included
    utilisation_percent: int | None  # share of time in which any kernel ran, over NVML's window
    throttle: tuple[str, ...] | None  # values of THROTTLE_REASONS


class NoGpu(msgspec.Struct, frozen=True, tag="no_gpu"):
    """There was nothing to sample."""

    why: str


class GpuTelemetry(msgspec.Struct, frozen=True, tag="gpu"):
    """All readings of one run, in order of time."""

    name: str
    driver: str
    every_ms: float
    samples: tuple[GpuSample, ...]

    @property
    def throttled(self) -> dict[str, float]:
        """Reason -> share of the samples that say so; empty: the clocks were never lowered."""
        known = [sample.throttle for sample in self.samples if sample.throttle is not None]
        seen = sorted({reason for reasons in known for reason in reasons})
        return {reason: sum(reason in reasons for reasons in known) / len(known) for reason in seen}

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most device memory that was in use; None: NVML did not report it."""
        used = [s.memory_used_bytes for s in self.samples if s.memory_used_bytes is not None]
        return max(used, default=None)


def joined(
    earlier: GpuTelemetry | NoGpu | None, later: GpuTelemetry | NoGpu | None
) -> GpuTelemetry | NoGpu | None:
    """What two parts of one run have seen; a part that saw nothing takes nothing away."""
    if isinstance(earlier, GpuTelemetry) and isinstance(later, GpuTelemetry):
        return msgspec.structs.replace(earlier, samples=earlier.samples + later.samples)
    return earlier if isinstance(earlier, GpuTelemetry) or later is None else later


class GpuSampler:
    """Samples one GPU from ``start`` to ``stop``."""

    def __init__(
        self,
        world: World,
        device: str = "cuda",
        *,
        every_ms: float = 100.0,
        nvml: Any = None,
    ) -> None:
        """
        Args:
            device: ``engine.device`` of the run; anything but cuda or cuda:N has no telemetry.
            nvml: the module that talks to the driver (None: ``pynvml``); another one in tests.
        """
        if nvml is None:
            import pynvml  # 30 ms that `gate` and `report` need not wait for

            nvml = pynvml
        self._world = world
        self._device = device
        self._every_ms = every_ms
        self._nvml = nvml
        self._samples: list[GpuSample] = []
        self._absent: NoGpu | None = None
        self._due_ns = 0

    def start(self) -> None:
        """Find the GPU and take the first sample; later ones come from a thread of their own."""
        if not self._device.startswith("cuda"):
            self._absent = NoGpu(f"the run is on {self._device}")
            return
        if self._world.simulated:
            self._absent = NoGpu("time is simulated")
            return
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            self._absent = NoGpu(f"NVML: {error}")
            return
        try:
            self._handle = find_gpu(self._device, self._nvml)
            self._name = str(self._nvml.nvmlDeviceGetName(self._handle))
            self._driver = str(self._nvml.nvmlSystemGetDriverVersion())
        except self._nvml.NVMLError as error:
            self._absent = NoGpu(f"NVML: {error}")
            self._ask(self._nvml.nvmlShutdown)
            return
        self._timeline = self._world.timeline("gpu-telemetry", costs=False)
        self._due_ns = self._world.now_ns()
        self._sample()
        self._timeline.start()

    def stop(self) -> GpuTelemetry | NoGpu:
        """The last sample, and all of them; a GPU that is lost takes none away."""
        if self._absent is not None:
            return self._absent
        self._timeline.stop()
        self._samples.append(self._read())
        self._ask(self._nvml.nvmlShutdown)
        return GpuTelemetry(
            name=self._name,
            driver=self._driver,
            every_ms=self._every_ms,
            samples=tuple(self._samples),
        )

    def _sample(self) -> None:
        self._samples.append(self._read())
        self._due_ns += round(self._every_ms * NS_PER_MS)
        self._timeline.call_at(self._due_ns, self._sample)

    def _read(self) -> GpuSample:
        nvml, handle = self._nvml, self._handle
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        rates = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        power_mw = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        bits = self._ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        return GpuSample(
            at_ns=self._world.now_ns(),
            sm_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            memory_mhz=self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
            temperature_c=self._ask(
                nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU
            ),
            power_w=None if power_mw is None else power_mw / 1000,
            memory_used_bytes=None if memory is None else memory.used,
            utilisation_percent=None if rates is None else rates.gpu,
            throttle=None if bits is None else throttle_reasons(bits),
        )

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """The answer; None where this GPU, or its driver, has none."""
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None


def throttle_reasons(bits: int) -> tuple[str, ...]:
    return tuple(name for bit, name in THROTTLE_REASONS.items() if bits & bit)
