"""What a figure was measured on and with: the content of ``environment.json``."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

import harness
from harness.clock import resolution_ns, wall_time
from harness.metrics import METRICS_VERSION

# Packages whose version can change a latency or a transcript.
PACKAGES = (
    "torch", "transformers", "mistral-common", "tokenizers", "numpy", "soxr", "soundfile",
    "jiwer", "whisper-normalizer", "hydra-core",
)  # fmt: skip


def describe_environment(device: str | None = None, **run: Any) -> dict[str, Any]:
    """The machine and the software, with what the run adds (model, dataset, seed, ...).

    Args:
        device: that the engine is on; with several GPUs, the one that is described.
    """
    return {
        "schema": 1,
        "harness_version": harness.__version__,
        "metrics_version": METRICS_VERSION,
        "made_at": wall_time().isoformat(timespec="seconds"),
        "git_revision": _own_revision(),
        "machine": {
            "cpu": _cpu_model(),
            "cores": _cores(),
            "memory_gib": _memory_gib(),
            "platform": f"{platform.system()} {platform.machine()}",
            "kernel": platform.release(),
        },
        "gpu": describe_gpu(device),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "clock_resolution_ns": resolution_ns(),
        **run,
    }


def identity(value: object) -> str:
    """A short sha256 over the canonical JSON of ``value``: equal values, equal identity."""
    text = msgspec.json.encode(value, order="deterministic")
    return hashlib.sha256(text).hexdigest()[:16]


def git_revision(folder: Path) -> str | None:
    """The commit checked out in ``folder``, ``+dirty`` if files differ; None outside a checkout."""
    head = _git(folder, "rev-parse", "HEAD")
    if head is None:
        return None
    return f"{head}+dirty" if _git(folder, "status", "--porcelain") else head


def _own_revision() -> str | None:
    """Of the harness's own checkout; None: installed, even if in the folder of another project."""
    package = Path(harness.__file__).parent
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
    return None if tracked is None else git_revision(package)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 fixed arguments
            ["git", "-C", str(folder), *arguments],  # noqa: S607 the user's own git
            capture_output=True, text=True, encoding="utf-8", errors="replace",
            timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or no checkout: the revision is unknown, and said so by null
    return done.stdout.strip()


def describe_gpu(device: str | None = None, nvml: Any = None) -> dict[str, str] | None:
    """Name and driver of the NVIDIA GPU that ``device`` is, else of the first; None: there is none.

    Args:
        nvml: the module that talks to the driver (None: ``pynvml``); another one in tests.
    """
    if nvml is None:
        import pynvml

        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        return {
            "name": str(nvml.nvmlDeviceGetName(find_gpu(device, nvml))),
            "driver": str(nvml.nvmlSystemGetDriverVersion()),
        }
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


def find_gpu(device: str | None, nvml: Any) -> Any:
    """NVML's handle of ``cuda`` or ``cuda:N``; of the first GPU where it is no device of torch's.

    NVML counts all GPUs, CUDA those that CUDA_VISIBLE_DEVICES shows: the UUID says which.
    """
    uuid = _cuda_uuid(device) if device and device.startswith("cuda") else None
    if uuid is None:
        return nvml.nvmlDeviceGetHandleByIndex(0)
    return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")


def _cuda_uuid(device: str) -> str | None:
    """The UUID of a CUDA device; None where torch sees none (as in tests)."""
    import torch

    if not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_properties(torch.device(device)).uuid)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _cores() -> int | None:
    """Those that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
