"""Options of steps: each is resolved, and said, or refused."""

from __future__ import annotations

import pytest
import torch

from harness.clock import VirtualWorld
from harness.config import Config
from harness.engines.factory import make_engine
from harness.engines.torch.cuda_graphs import (
    Capturer,
    StepOptions,
    prepare,
    step_errors,
    step_options,
)
from harness.engines.torch.options import TorchOptions
from harness.engines.whisper import WhisperModel
from harness.errors import ConfigError, DeviceError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("asked", "device", "live", "resolved"),
    [
        (TorchOptions(), CPU, True, (False, False, True)),
        (TorchOptions(), CPU, False, (False, False, False)),
        (TorchOptions(device="cuda"), CUDA, True, (True, False, True)),
        (TorchOptions(device="cuda", cuda_graphs=False), CUDA, True, (False, False, True)),
        (TorchOptions(cuda_graphs=False, compile=True), CPU, False, (False, True, False)),
        (TorchOptions(batching=False), CPU, True, (False, False, False)),
    ],
)
def test_what_is_left_open_is_resolved(
    asked: TorchOptions, device: torch.device, live: bool, resolved: tuple[bool, bool, bool]
) -> None:
    assert step_options(asked, device, live=live) == StepOptions(*resolved)


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"engine\.device=cuda"):
        step_options(TorchOptions(cuda_graphs=True), CPU, live=True)
    for batching in (True, False):
        with pytest.raises(ConfigError, match=r"engine\.batching"):
            step_options(TorchOptions(batching=batching), CPU, live=False)


@pytest.mark.parametrize("option", ["cuda_graphs", "compile", "batching"])
def test_whisper_refuses_what_it_would_leave_out(option: str) -> None:
    config = Config(model=WhisperModel(), engine=TorchOptions(**{option: True}))
    with pytest.raises(ConfigError, match=rf"engine\.{option} is for the Voxtral models"):
        make_engine(config, VirtualWorld())


def test_a_step_that_cannot_run_says_what_to_try() -> None:
    def breaks() -> None:
        raise RuntimeError("CUDA out of memory\nand a page of details")

    eager = StepOptions(cuda_graphs=False, compile=False, batching=False)
    with pytest.raises(DeviceError, match="CUDA out of memory") as caught, step_errors():
        Capturer(eager).capture(breaks)
    assert "page of details" not in str(caught.value)
    assert "model.max_streams" in str(caught.value)


def test_a_capture_that_was_broken_off_says_what_broke_it() -> None:
    def breaks() -> None:
        try:
            raise RuntimeError("operation not permitted when stream is capturing")
        finally:
            raise RuntimeError("capture failed due to a previous error")

    with pytest.raises(DeviceError, match="not permitted") as caught, step_errors():
        breaks()
    assert "previous error" not in str(caught.value)


@pytest.mark.parametrize(("name", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_the_thread_that_prepares_uses_the_device(
    monkeypatch: pytest.MonkeyPatch, name: str, index: int
) -> None:
    used: list[int] = []
    # Below torch.cuda.set_device, which has its own opinion of what names a device.
    monkeypatch.setattr(torch._C, "_cuda_setDevice", used.append, raising=False)
    assert prepare(torch.device(name), lambda: "made") == "made"
    assert used == [index]
