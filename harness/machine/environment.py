"""What a figure was measured on and with: the content of ``environment.json``.

Read, a file may hold more than these records name (notes, fields of a later version); what they
name without a default must be there, and all of it of its type.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

import harness
from harness.clock import resolution_ns, wall_time
from harness.metrics import METRICS_VERSION

# Packages whose version can change a latency or a transcript.
PACKAGES = (
    "torch", "transformers", "mistral-common", "tokenizers", "numpy", "soxr", "soundfile",
    "regex", "whisper-normalizer", "hydra-core",
)  # fmt: skip


Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    cpu: str | None = None  # its model's name
    cores: int | None = None  # that this process may run on
    memory_gib: float | None = None
    platform: str | None = None  # such as Linux x86_64
    kernel: str | None = None


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    driver: str


class MeasuredModel(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine says of itself (:class:`harness.engines.EngineInfo`), as it is stored."""

    model: str
    kinds: list[str] = []
    weights: str | None = None
    revision: str | None = None
    weights_sha256: str | None = None
    random_weights: bool
    device: str | None = None
    dtype: str | None = None
    parameters: int | None = None
    model_delay_ms: float = 0.0
    cadence_ms: float | None = None
    details: dict[str, Any] = {}


class ReplayedDataset(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    sha256: str | None = None
    timings_sha256: str | None = None
    clips: Count
    sources: list[str] = []
    licences: list[str] = []


CLEAN = "clean"  # the conditions under which nothing is changed


class ArmChoices(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The choices by which arms differ, by name."""

    chunking: str
    model: str
    dataset: str
    session: Literal["turn", "live"]
    conditions: str = CLEAN


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """``environment.json``: machine and software, what ran on it, and with which options."""

    schema: int
    harness_version: str | None = None
    metrics_version: Annotated[str, msgspec.Meta(pattern=r"^\d{1,4}$")]  # that measured the clips
    made_at: str  # ISO 8601
    git_revision: str | None = None  # of the harness's own checkout; None: it is installed
    machine: Machine
    gpu: Gpu | None = None
    python: str
    packages: dict[str, str | None]
    clock_resolution_ns: int
    name: str = ""  # of the arm
    arm: ArmChoices
    # The names of all arms, this one included, in their order.
    arms_of_this_comparison: list[str] = msgspec.field(name="arms_of_this_go", default_factory=list)
    overrides: list[str] = []  # as given on the command line
    harness_floor_ms: float | None  # what the harness itself adds; None in simulated time
    model: MeasuredModel
    dataset: ReplayedDataset
    normalisers: dict[str, str] | list[str] | None = None
    outside: dict[str, dict[str, Any]] = {}  # config group -> variant from another package
    config_identity: str
    seed: Count
    injected: bool  # made worse on purpose
    simulated: bool  # virtual time
    warmup_sessions_discarded: Count = 0
    revision: str | UnsetType = UNSET  # of the user's code, where it was stated
    recorded_under_metrics: str | UnsetType = UNSET  # of a run whose events were measured again
    rechunked_from: str | UnsetType = UNSET  # the folder of the run whose tokens these are
    client: str | UnsetType = UNSET  # of a session saved by a page: whose clock the instants are of


def describe_environment(device: str | None = None, **run: Any) -> Environment:
    """The machine and the software, with what the run adds (model, dataset, seed, ...).

    Args:
        device: that the engine is on; with several GPUs, the one that is described.
        run: the fields of :class:`Environment` that are not found out here.
    """
    return Environment(
        schema=1,
        harness_version=harness.__version__,
        metrics_version=METRICS_VERSION,
        made_at=wall_time().isoformat(timespec="seconds"),
        git_revision=own_revision(),
        machine=describe_machine(),
        gpu=describe_gpu(device),
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        clock_resolution_ns=resolution_ns(),
        **run,
    )


def describe_machine() -> Machine:
    return Machine(
        cpu=_cpu_model(),
        cores=_cores(),
        memory_gib=_memory_gib(),
        platform=f"{platform.system()} {platform.machine()}",
        kernel=platform.release(),
    )


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


def own_revision() -> str | None:
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
        return None  # no git, or no checkout: the revision is unknown (null)
    return done.stdout.strip()


def describe_gpu(device: str | None = None, nvml: Any = None) -> Gpu | None:
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
        return Gpu(
            name=str(nvml.nvmlDeviceGetName(find_gpu(device, nvml))),
            driver=str(nvml.nvmlSystemGetDriverVersion()),
        )
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
