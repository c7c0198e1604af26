"""Arms that need no Voxtral engine: the machine, single kernels, tests, the command line."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.machine.environment import _cpu_model
from tests.gpu.session.device import captured, device_ms, wall_ms
from tests.gpu.session.packing import pack
from tests.gpu.session.results import ArmError, Line, Record

_SMI = "driver_version,memory.total,clocks.max.sm,power.limit,temperature.gpu,pstate"
_PACKAGES = ("torch", "transformers", "numpy", "triton")
_CHAIN = 500  # kernels that each wait for the one before
# Weights of the 3B's products, [in, out]; Realtime's are alike.
_PRODUCTS = {
    "qkv": (3072, 6144),
    "out": (4096, 3072),
    "gate_up": (3072, 16384),
    "down": (8192, 3072),
    "head": (3072, 131072),
}
_BACKENDS = {
    "default": None,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_SUMMARY_METRICS = (
    "ttft_ms", "first_token_ms", "gap_ms", "response_ms", "final_ms", "rtf", "hold_ms",
    "word_delay_ms",
)  # fmt: skip
_RUN_FILES = (
    "summary.json", "events.jsonl", "environment.json", "config.yaml", "comparison.json",
    "report.md", "run.log", "clips.jsonl",
)  # fmt: skip


# --- what the machine is --------------------------------------------------------------------------


def probe(record: Record) -> None:
    """The machine, its bandwidth and compute, and what a small dependent kernel costs."""
    device = torch.device(record.options.device)
    record.figure(
        gpu=torch.cuda.get_device_name(device) if record.options.cuda else None,
        nvidia_smi=_nvidia_smi() if record.options.cuda else None,
        cudnn=torch.backends.cudnn.version() if record.options.cuda else None,  # type: ignore[no-untyped-call]
        cpu=_cpu_model(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    )
    with torch.inference_mode():
        _keep_bandwidth(record, device)
        _keep_compute(record, device)
        if record.options.cuda:
            _keep_launches(record, device)


def _nvidia_smi() -> str:
    command = ["nvidia-smi", f"--query-gpu={_SMI}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout or done.stderr).strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _keep_bandwidth(record: Record, device: torch.device) -> None:
    """Copies (bytes read and written) and reads alone, of random data far larger than any cache."""
    elements = 1 << 24  # of two bytes: 32 MiB
    if record.options.cuda:  # 4 GiB, and as much for the copy
        elements = min(1 << 31, torch.cuda.mem_get_info(device)[0] // 16 * 2)
    source = torch.randn(elements, device=device, dtype=torch.bfloat16)
    target = torch.empty_like(source)
    copy_ms = device_ms(record, lambda: target.copy_(source), 10)
    record.figure(copy_tb_s=round(2 * source.nbytes / copy_ms / 1e9, 4))
    words = source.view(torch.int32)
    read_ms = device_ms(record, lambda: torch.amax(words), 10)
    record.figure(read_tb_s=round(source.nbytes / read_ms / 1e9, 4))


def _keep_compute(record: Record, device: torch.device) -> None:
    size = 8192 if record.options.cuda else 256
    dtype = torch.bfloat16 if record.options.cuda else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    product_ms = device_ms(record, lambda: left @ right, 20)
    record.figure(product_tflop_s=round(2 * size**3 / product_ms / 1e9, 4))


def _keep_launches(record: Record, device: torch.device) -> None:
    small = torch.randn(1, 3072, device=device, dtype=torch.bfloat16)

    def chain() -> None:
        for _ in range(_CHAIN):
            small.mul_(1.0)

    chain_ms = device_ms(record, captured(record, chain), 20)
    record.figure(dependent_kernel_us=round(chain_ms / _CHAIN * 1e3, 3))
    one_ms = wall_ms(record, captured(record, lambda: small.mul_(1.0)), 200)
    record.figure(replay_and_wait_us=round(one_ms * 1e3, 1))


# --- single kernels -------------------------------------------------------------------------------


def micro(record: Record) -> None:
    """Products of 1 to 32 rows, and attention of one position, as the steps do them."""
    with torch.inference_mode():
        for name in _PRODUCTS:
            _keep_products(record, name)
        _keep_attention(record)


def _keep_products(record: Record, name: str) -> None:
    device, cuda = torch.device(record.options.device), record.options.cuda
    dtype = torch.bfloat16 if cuda else torch.float32
    wide, tall = (size if cuda else size // 16 for size in _PRODUCTS[name])
    # Several times the cache of the device in all, so that weights come from memory.
    copies = 2 if not cuda else 4 if name == "head" else 12
    weights = [torch.randn(tall, wide, device=device, dtype=dtype) for _ in range(copies)]
    for rows in (1, 4, 32):
        x = torch.randn(rows, wide, device=device, dtype=dtype)

        def products(x: torch.Tensor = x) -> None:
            for weight in weights:
                functional.linear(x, weight)

        ms = device_ms(record, captured(record, products), 20) / copies
        figures: Line = {
            f"{name}_{rows}rows_us": round(ms * 1e3, 2),
            f"{name}_{rows}rows_tb_s": round(weights[0].nbytes / ms / 1e9, 3),
        }
        record.figure(**figures)


def _keep_attention(record: Record) -> None:
    device, cuda = torch.device(record.options.device), record.options.cuda
    dtype = torch.bfloat16 if cuda else torch.float32
    slots, layers = (8256, 26) if cuda else (128, 2)
    keys = [torch.randn(1, 8, slots + 1, 128, device=device, dtype=dtype) for _ in range(layers)]
    values = [torch.randn_like(key) for key in keys]
    query = torch.randn(1, 8, 4, 128, device=device, dtype=dtype)
    bias = torch.zeros(1, 1, 4, slots, device=device, dtype=dtype)
    for reach in (1024, 8192) if cuda else (64,):

        def attend(reach: int = reach) -> None:
            for key, value in zip(keys, values, strict=True):
                functional.scaled_dot_product_attention(
                    query, key[:, :, :reach], value[:, :, :reach], attn_mask=bias[..., :reach]
                )

        for way, backend in _BACKENDS.items():
            name = f"attend_{reach}_{way}"
            chosen = contextlib.nullcontext() if backend is None else sdpa_kernel(backend)
            try:
                with chosen:
                    ms = device_ms(record, captured(record, attend), 20)
            except RuntimeError as error:  # this backend cannot, on this device
                record.figure(**{name: str(error)[:80]})
            else:
                record.figure(**{f"{name}_layer_us": round(ms / layers * 1e3, 2)})


# --- tests ----------------------------------------------------------------------------------------


class _Outcomes:
    """A pytest plugin: tells each test's outcome as soon as it is known."""

    def __init__(self, record: Record) -> None:
        self.count = {"passed": 0, "failed": 0, "skipped": 0}
        self._record = record

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        self.count[report.outcome] += 1
        last = str(report.longrepr).strip().splitlines()[-3:] if report.failed else []
        self._record.line(
            "test",
            test=report.nodeid.rpartition("::")[2],
            outcome=report.outcome,
            seconds=round(report.duration, 2),
            last=last,
        )


def pytest_arm(*names: str, but: tuple[str, ...] = ()) -> Callable[[Record], None]:
    """An arm: these tests of tests/gpu, in this order. On a CPU the eager variant of each.

    Args:
        names: FILE::TEST; none: all of them.
        but: FILE::TEST, of those to leave out.
    """

    def run(record: Record) -> None:
        outcomes = _Outcomes(record)
        cuda = record.options.cuda
        chosen = dict.fromkeys(name if cuda else on_a_cpu(name) for name in names)
        left_out = dict.fromkeys(name if cuda else on_a_cpu(name) for name in but)
        # A warning of a new card or library must not fail a test here: the log has it.
        code = pytest.main(
            [
                *([f"tests/gpu/{name}" for name in chosen] or ["tests/gpu"]),
                *(f"--deselect=tests/gpu/{name}" for name in left_out),
                *("-m", "gpu", "--device", record.options.device, "-q", "-W", "default"),
                *("-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short"),
            ],
            plugins=[outcomes],
        )
        record.figure(**outcomes.count, code=int(code))
        if code:
            raise ArmError(f"pytest ended with {pytest.ExitCode(code).name}")

    return run


def on_a_cpu(test: str) -> str:
    """The variant of a test that needs no CUDA."""
    for way in ("graphs", "compiled"):
        test = test.replace(f"[{way}", "[eager")
    return test


# --- the command line -----------------------------------------------------------------------------


def command_arm(*arguments: str) -> Callable[[Record], None]:
    """An arm: ``python -m harness ...`` in this process. Its files are packed into runs.tgz."""

    def run(record: Record) -> None:
        device = "cpu" if record.options.tiny and not record.options.cuda else record.options.device
        with tempfile.TemporaryDirectory() as folder:
            runs = Path(folder) / record.arm
            sys.argv = [
                "harness",
                *arguments,
                "model.weights=random",
                "model.decode=forced",
                f"model.size={record.options.size}",
                f"engine.device={device}",
                f"engine.dtype={'bfloat16' if record.options.cuda else 'float32'}",
                f"hydra.run.dir={runs}",
            ]
            code: Any = 0
            try:
                runpy.run_module("harness", run_name="__main__", alter_sys=True)
            except SystemExit as stop:
                code = stop.code or 0
            record.figure(code=code)
            for path in sorted(runs.rglob("summary.json")):
                metrics = json.loads(path.read_text(encoding="utf-8"))
                record.line("summary", run=str(path.relative_to(runs)), **_picked(metrics))
            pack(runs, record.options.out / "runs.tgz", _RUN_FILES)
        if code:
            raise ArmError(f"exit code {code}")

    return run


def _picked(summary: Line) -> Line:
    """p50, p95 and the count of the metrics that matter most, by name."""
    metrics = summary.get("metrics", summary)
    found = {name: metrics.get(name) for name in _SUMMARY_METRICS}
    return {
        name: {part: value[part] for part in ("p50", "p95", "n", "value") if part in value}
        for name, value in found.items()
        if isinstance(value, dict)
    }
