"""One command per habit, the same here and in CI: ``uv run nox -s NAME``.

Sessions run in the environment that ``uv run`` has made (``venv_backend="none"``): torch is there
once, not once per session. ``compat`` and ``examples`` make their own: to try other versions, and
to install as a user does.
"""

from __future__ import annotations

import json
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


# Engine -> what is run of it: a module of docs/examples, and its session.
EXAMPLES = {
    "pocketsphinx": ("stt_pocketsphinx", "live", {"live": True}),
    "faster_whisper": ("stt_faster_whisper", "turn", {}),
}
SHORT = ("dataset.limit=2", "replay.repeats=1", "replay.warmup=1")
FROM_PYTHON = """\
import importlib, json, sys
import harness

module, session = importlib.import_module(sys.argv[1]), sys.argv[2]
options = json.loads(sys.argv[3])
kind = {"turn": harness.TurnSession, "live": harness.LiveSession}[session]
config = harness.Config(
    dataset=harness.ManifestDataset(limit=2), session=kind(),
    replay=harness.ReplayConfig(repeats=1, warmup=1),
)
run = harness.run(config, engine=module.make, folder="python", **options)
assert run.summary["wer"].value < 0.5, run.summary["wer"]
"""


@nox.session(venv_backend="uv")
def examples(session: nox.Session) -> None:
    """The wheel and docs/examples in a clean environment, run from an empty folder; downloads."""
    made = Path(session.create_tmp()).absolute()
    shutil.rmtree(made)
    sources = (".", *(f"docs/examples/{name}" for name in EXAMPLES))
    for source in sources:
        build = ("uv", "build", "--quiet", "--no-config", "--wheel", "--out-dir", str(made))
        session.run_install(*build, source, external=True)
    wheels = [str(path) for path in made.glob("*.whl")]
    harness = [f"{path}[embedded]" if "streaming_stt" in path else path for path in wheels]
    # Without the exact pins of pyproject.toml: as a user of pip gets it.
    session.run_install("uv", "pip", "install", "--no-config", *harness, external=True)
    for name, (module, kind, options) in EXAMPLES.items():
        empty = made / name
        empty.mkdir(parents=True)
        with session.chdir(empty):
            run = ("stt-harness", "run", f"session={kind}", *SHORT, "--quiet")
            # 4: on a busy machine the run is not valid, and has a report that says so
            session.run(*run, f"engine={name}", "hydra.run.dir=named", success_codes=[0, 4])
            own = [f"engine.options.{key}={value}" for key, value in options.items()]
            factory = f"engine.factory={module}:make"
            session.run(
                *run, "engine=python", factory, *own, "hydra.run.dir=factory", success_codes=[0, 4]
            )
            session.run("python", "-c", FROM_PYTHON, module, kind, json.dumps(options))
            session.run("stt-harness", "report", "python", "--quiet", success_codes=[0, 4])
        for folder in ("named", "factory", "python"):
            if not (empty / folder / "report.html").is_file():
                session.error(f"{name}: no report in {empty / folder}")


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
