"""GPU telemetry, with a driver made of canned answers."""

# ruff: noqa: N802 NVML's names

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import pynvml
import pytest
from traces import gpu_that_said

from harness.clock import NS_PER_MS, RealWorld, VirtualWorld
from harness.experiments import run as experiment
from harness.machine import environment
from harness.machine.environment import Gpu, describe_gpu
from harness.machine.gpu import GpuSample, GpuSampler, GpuTelemetry, NoGpu, joined, throttle_reasons


class FakeNvml:
    """Says 1980 MHz, 61 degrees, 420 W; memory grows by 1 GB a reading."""

    NVMLError = pynvml.NVMLError
    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVML_CLOCK_MEM = pynvml.NVML_CLOCK_MEM
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def __init__(self, throttle_bits: list[int] | None = None, power: bool = True) -> None:
        self.throttle_bits = throttle_bits or []
        self.power = power
        self.readings = 0
        self.open = 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"gpu{index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetName(self, handle: str) -> str:
        return f"NVIDIA Test {handle}"

    def nvmlSystemGetDriverVersion(self) -> str:
        return "999.1"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        self.readings += 1
        return SimpleNamespace(used=self.readings * 10**9)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        return SimpleNamespace(gpu=87)

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        if not self.power:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return 420_500

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:
        return self.throttle_bits.pop(0) if self.throttle_bits else 0

    def nvmlDeviceGetClockInfo(self, handle: str, clock: int) -> int:
        return {self.NVML_CLOCK_SM: 1980, self.NVML_CLOCK_MEM: 2619}[clock]

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return 61


def sampled(nvml: FakeNvml, beside: int = 0) -> GpuTelemetry:
    """What is sampled of a run that takes as long as ``beside`` samples besides both ends' do."""
    world = RealWorld()
    sampler = GpuSampler(world, every_ms=1.0 if beside else 1e9, nvml=nvml)
    sampler.start()
    while nvml.readings < 1 + beside:
        world.sleep_until_ns(world.now_ns() + NS_PER_MS)
    told = sampler.stop()
    assert isinstance(told, GpuTelemetry)
    return told


def test_samples_are_taken_beside_the_run_and_at_both_its_ends() -> None:
    nvml = FakeNvml()
    told = sampled(nvml, beside=2)
    assert (told.name, told.driver) == ("NVIDIA Test gpu0", "999.1")
    assert len(told.samples) >= 4
    assert [s.at_ns for s in told.samples] == sorted(s.at_ns for s in told.samples)
    first = told.samples[0]
    assert msgspec.structs.replace(first, at_ns=0) == GpuSample(
        at_ns=0,
        sm_mhz=1980,
        memory_mhz=2619,
        temperature_c=61,
        power_w=420.5,
        memory_used_bytes=10**9,
        utilisation_percent=87,
        throttle=(),
    )
    assert told.peak_memory_bytes == len(told.samples) * 10**9
    assert told.throttled == {}
    assert nvml.open == 0


def test_throttling_is_seen_with_its_share_of_the_run() -> None:
    told = sampled(FakeNvml(throttle_bits=[0x01, 0x04, 0x60]))
    assert told.throttled == {"power_cap": 0.5}  # first and last sample; idleness is none


def test_reasons_by_their_bits() -> None:
    assert throttle_reasons(0x01 | 0x02 | 0x10) == ()  # idle, clocks set by a person, sync boost
    assert throttle_reasons(0x08 | 0x40) == ("hardware_slowdown", "hardware_thermal")


def test_what_a_gpu_does_not_tell_is_none() -> None:
    told = sampled(FakeNvml(power=False))
    assert {s.power_w for s in told.samples} == {None}
    assert told.samples[0].sm_mhz == 1980


def test_absence_is_typed_and_says_why() -> None:
    class Absent(FakeNvml):
        def nvmlInit(self) -> None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    sampler = GpuSampler(RealWorld(), nvml=Absent())
    sampler.start()
    told = sampler.stop()
    assert isinstance(told, NoGpu)
    assert told.why.startswith("NVML: ")


class Lost(FakeNvml):
    """A GPU that falls off the bus once ``gone`` is set."""

    gone = False

    def __getattribute__(self, name: str) -> Any:
        def lost(*_: Any) -> None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

        return (
            lost if name.startswith("nvmlDevice") and self.gone else super().__getattribute__(name)
        )


def test_a_gpu_that_is_lost_takes_no_sample_away() -> None:
    nvml = Lost()
    sampler = GpuSampler(RealWorld(), nvml=nvml)
    sampler.start()
    nvml.gone = True
    told = sampler.stop()
    assert isinstance(told, GpuTelemetry)
    assert (told.name, told.samples[0].sm_mhz, told.samples[-1].sm_mhz) == (
        "NVIDIA Test gpu0", 1980, None,
    )  # fmt: skip
    sampler = GpuSampler(RealWorld(), nvml=nvml)  # lost before it began
    sampler.start()
    assert isinstance(sampler.stop(), NoGpu)
    assert nvml.open == 0


def test_the_gpu_of_the_device_is_meant_not_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_cuda_uuid", {"cuda": "a", "cuda:1": "b"}.get)
    for device, handle in (("cuda", "GPU-a"), ("cuda:1", "GPU-b"), ("cpu", "gpu0"), (None, "gpu0")):
        found = Gpu(name=f"NVIDIA Test {handle}", driver="999.1")
        assert describe_gpu(device, FakeNvml()) == found
    sampler = GpuSampler(RealWorld(), "cuda:1", nvml=FakeNvml())
    sampler.start()
    told = sampler.stop()
    assert isinstance(told, GpuTelemetry)
    assert told.name == "NVIDIA Test GPU-b"


def test_every_arm_keeps_what_was_seen_of_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_cuda_uuid", lambda device: device[-1])
    fake = partial(GpuSampler, nvml=FakeNvml())
    monkeypatch.setattr(experiment, "GpuSampler", fake)
    kept: list[tuple[str, str]] = []

    def arm(device: str) -> Any:
        return SimpleNamespace(
            engine=SimpleNamespace(info=SimpleNamespace(device=device)),
            writer=SimpleNamespace(append_telemetry=lambda told: kept.append((device, told.name))),
        )

    with experiment._gpu_watched(
        RealWorld(), [arm(d) for d in ("cuda:1", "cpu", "cuda:0", "cuda:1")]
    ):
        pass
    one, two = ("cuda:1", "NVIDIA Test GPU-1"), ("cuda:0", "NVIDIA Test GPU-0")
    assert kept == [one, two, one]


@pytest.mark.parametrize(
    ("world", "device", "why"),
    [(RealWorld(), "cpu", "the run is on cpu"), (VirtualWorld(), "cuda", "time is simulated")],
)
def test_a_run_without_a_gpu_asks_nothing(world: Any, device: str, why: str) -> None:
    nvml = FakeNvml()
    sampler = GpuSampler(world, device, nvml=nvml)
    sampler.start()
    assert sampler.stop() == NoGpu(why)
    assert nvml.readings == 0


def test_parts_of_a_run_are_joined_and_one_that_saw_nothing_takes_nothing_away() -> None:
    cool, hot = gpu_that_said((), ()), gpu_that_said(("power_cap",), ())
    both = joined(cool, hot)
    assert isinstance(both, GpuTelemetry)
    assert both.samples == cool.samples + hot.samples
    assert both.throttled == {"power_cap": 0.25}
    for absent in (None, NoGpu("NVML: asleep")):
        assert joined(hot, absent) == joined(absent, hot) == hot
    assert joined(None, NoGpu("none")) == joined(NoGpu("none"), None) == NoGpu("none")


def test_telemetry_is_stored_and_read_back() -> None:
    told = sampled(FakeNvml(throttle_bits=[0x04]))
    for record in (told, NoGpu("none")):
        stored = msgspec.json.encode(record)
        assert msgspec.json.decode(stored, type=GpuTelemetry | NoGpu) == record
