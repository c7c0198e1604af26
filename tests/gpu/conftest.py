"""``pytest -m gpu tests/gpu`` needs an NVIDIA GPU; ``--device cpu`` runs what a CPU can."""

from __future__ import annotations

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device", default="cuda", help="cuda, cuda:N; cpu tries the tests themselves"
    )


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    device = torch.device(request.config.getoption("--device"))
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.fail("no NVIDIA GPU that torch can use: see `python -m harness doctor`")
    return device


@pytest.fixture(autouse=True)
def exact_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 means float32, as with `torch_device`: cuDNN would round to TF32 otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def cuda(device: torch.device) -> torch.device:
    """For what only a GPU has: graphs, device memory, telemetry."""
    if device.type != "cuda":
        pytest.skip("needs CUDA")
    return device
