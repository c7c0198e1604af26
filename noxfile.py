"""One command per habit, the same here and in CI: ``uv run nox -s NAME``.

Sessions run in the environment that ``uv run`` has made (``venv_backend="none"``): torch is there
once, not once per session. ``compat`` alone makes its own, to try other versions.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]
nox.needs_version = ">=2025.5.1"


PYTEST = (
    "python",
    "-m",
    "pytest",
    "-n",
    "2",
    "--dist",
    "loadfile",  # a module's fixtures are made once; groups are ignored as of pytest 9.2
    "--no-loadscope-reorder",  # which would leave long modules of few tests to the end
)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite, without what is slow or needs a GPU; torch is loaded once a worker."""
    session.run(*PYTEST, "-m", "not slow and not gpu", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """What takes long and rarely breaks, except for benchmarks and vLLM: minutes; by hand."""
    apart = ("--ignore=tests/bench", "--ignore=tests/vllm")
    session.run(*PYTEST, "-m", "slow and not gpu", *apart, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and lint rules."""
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Strict mypy on the package."""
    session.run("mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Benchmarks of the harness's own speed and of the embedded engine beside its peers."""
    run = ("uv", "run", "--group", "bench", "python", "-m", "pytest", "tests/bench")
    session.run(*run, "--benchmark-only", "-m", "not gpu", "-s", *session.posargs, external=True)


@nox.session
def gpu(session: nox.Session) -> None:
    """On a machine with an NVIDIA GPU: tests and figures; `-- first --budget 455`: the best first.

    `-- first --tiny` tries the lane itself on a CPU. See docs/gpu/README.md.
    """
    session.run("python", "-m", "tests.gpu.session", *(session.posargs or ["all"]))


@nox.session
def vllm(session: nox.Session) -> None:
    """The client against a real vLLM on the CPU, in an environment of its own: minutes, 6 GB."""
    env = {"STT_VLLM_VENV": str(Path(".nox/vllm-server").absolute())}
    run = ("python", "-m", "pytest", "tests/vllm", "-m", "slow", "-s")
    session.run(*run, *session.posargs, env=env)


@nox.session
def report(session: nox.Session) -> None:
    """Compare 1-word with 6-word batching on the embedded default; renew reports/example/."""
    run, example = Path("reports/runs/example"), Path("reports/example")
    for folder in (run, example):
        shutil.rmtree(folder, ignore_errors=True)
    harness = (sys.executable, "-m", "harness")
    session.run(*harness, "compare", "chunking=1word,6word", f"hydra.run.dir={run}")
    session.run(*harness, "report", str(run), "--out", str(example), "--quiet")
    (example / "report.html").unlink()  # half a megabyte: the run's folder has it
    for arm in ("1word", "6word"):
        (example / arm).mkdir()
        shutil.copy(run / arm / "summary.json", example / arm)


@nox.session(venv_backend="uv", python=["3.11", "3.12", "3.13"])
@nox.parametrize("versions", ["lowest", "pinned"])
def compat(session: nox.Session, versions: str) -> None:
    """The tests on every supported Python, with the oldest and the pinned torch."""
    lowest = ["torch==2.11.*", "transformers==5.17.*"] if versions == "lowest" else []
    groups = ["--group", "dev", "--group", "embedded"]
    # Without the exact pins of pyproject.toml: they are what is being varied.
    install = ("uv", "pip", "install", "--no-config", "-e", ".", *groups, *lowest)
    session.run_install(*install, external=True)
    session.run("python", "-m", "pytest", "-m", "not slow and not gpu", *session.posargs)
