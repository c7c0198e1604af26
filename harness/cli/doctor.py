"""The verb ``doctor``: what this machine can run, and why not."""

from __future__ import annotations

import platform
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from harness.clock import resolution_ns
from harness.errors import HarnessError, UsageError
from harness.machine.environment import describe_machine


def doctor(argv: list[str]) -> int:
    """Try every part that a run may need; exit code 0 when the default run can work, else 2."""
    if argv and argv[0] in ("-h", "--help"):
        print("usage: python -m harness doctor\n\nSays what this machine can run, and why not.")  # noqa: T201
        return 0
    if argv:
        raise UsageError("doctor takes no arguments", value=" ".join(argv))
    console = Console(highlight=False)
    machine = describe_machine()
    console.print(f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB")
    console.print(
        f"{machine.platform}, Python {platform.python_version()},"
        f" clock resolution {resolution_ns()} ns"
    )
    table = Table(box=None, pad_edge=False)
    for column in ("part", "", "what was found, or what to do"):
        table.add_column(column)
    default_works = True
    for name, needed, check in CHECKS:
        try:
            text, mark = check(), "ok"
        except HarnessError as error:
            text, mark = str(error), "missing" if needed else "no"
            default_works &= not needed
        table.add_row(name, mark, text)
    console.print(table)
    verdict = "can" if default_works else "cannot"
    console.print(f"\nThe default run {verdict} work here: python -m harness run chunking=1word")
    return 0 if default_works else 2


def _configs() -> str:
    from harness.cli.compose import compose_alone, to_config

    to_config(compose_alone([]))
    return "the default config composes"


def _dataset() -> str:
    from harness.datasets import ManifestDataset
    from harness.datasets.load import load_dataset

    dataset = load_dataset(ManifestDataset())
    seconds = sum(clip.duration_s for clip in dataset.clips)
    return f"{dataset.name}: {len(dataset.clips)} clips, {seconds:.0f} s of speech, checksums agree"


def _weights() -> str:
    from harness.engines.whisper.weights import packaged_model_folder

    return f"Whisper tiny.en in {packaged_model_folder()}"


def _torch() -> str:
    import torch

    return f"torch {torch.__version__}, {torch.get_num_threads()} threads"


def _gpu() -> str:
    import torch

    from harness.errors import DeviceError
    from harness.machine.environment import describe_gpu

    gpu = describe_gpu()
    if gpu is None:
        raise DeviceError("no NVIDIA GPU, or no driver for it", hint="engine.device=cpu")
    if not torch.cuda.is_available():
        raise DeviceError(
            f"{gpu.name} is there (driver {gpu.driver}), but this torch cannot use it",
            value=torch.__version__,
            hint="install a torch build whose CUDA version the driver supports",
        )
    return f"{gpu.name}, driver {gpu.driver}, CUDA {torch.version.cuda}"


def _conditions() -> str:
    """Every condition, applied to a second of made-up sound."""
    import numpy as np

    from harness.audio import RATE_HZ, SpeechBounds
    from harness.conditions import CONDITIONS

    sound = np.random.default_rng(0).normal(0, 0.1, RATE_HZ).astype(np.float32)
    for name in CONDITIONS.names():
        if name not in CONDITIONS.outside():
            CONDITIONS.get(name)().heard(sound, SpeechBounds(0.2, 0.8), "doctor")
    return ", ".join(CONDITIONS.names())


def _packages() -> str:
    """What other packages bring; one that is broken is named, and costs nothing else."""
    from harness.config import VARIANTS
    from harness.engines.remote.options import PROTOCOLS
    from harness.errors import ConfigError
    from harness.metrics.registry import FUNCTIONS

    registries = {**VARIANTS, "metric": FUNCTIONS, "protocol": PROTOCOLS}
    broken = [error for registry in registries.values() for error in registry.broken().values()]
    if broken:
        raise ConfigError("; ".join(error.what for error in broken), hint=broken[0].hint)
    found = [f"{kind} {name}" for kind, one in registries.items() for name in one.outside()]
    return ", ".join(found) or "none: every variant is the harness's own"


# (part, whether the default run needs it, what finds it)
CHECKS: tuple[tuple[str, bool, Callable[[], str]], ...] = (
    ("configs", True, _configs),
    ("dataset", True, _dataset),
    ("weights", True, _weights),
    ("torch", True, _torch),
    ("gpu", False, _gpu),
    ("conditions", False, _conditions),
    ("plug-ins", False, _packages),
)
