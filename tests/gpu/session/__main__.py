"""The command line of the GPU lane: see ``tests.gpu.session``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.gpu.session.results import Options

ROOT = Path(__file__).parents[3]
_BUDGET_S = {"first": 455.0, "second": 220.0, "all": None}
_EPILOG = "docs/gpu/README.md says what to prepare and how to read what comes back"


def main() -> int:
    """Returns: 0: every arm that was begun ended well; 1: not so."""
    parser = _parser()
    asked = parser.parse_args()
    if asked.repeats < 2:
        parser.error(f"--repeats {asked.repeats}: at least 2, since the first session warms up")
    options = _options(asked)
    # Only now: `--site` may hold what these import.
    from tests.gpu.session.results import Record

    record = Record("parent", options)
    if not asked.in_child:
        record.line(
            "begin",
            mode=options.mode,
            tiny=options.tiny,
            device=options.device,
            seconds=options.seconds,
            argv=sys.argv[1:],
            load=os.getloadavg(),
        )
    from tests.gpu.session import parent, plan

    arms = {arm.name: arm for arm in plan.MODES[options.mode]}
    if asked.in_child:
        parent.child(arms[asked.in_child], options, is_fresh=True)
    if unknown := [name for name in options.only if name not in arms]:
        parser.error(
            f"--only {' '.join(unknown)}: `{options.mode}` has no such arm. It has: "
            f"{', '.join(arms)}"
        )
    record.line("imported", seconds=round(options.elapsed_s(), 2))
    chosen = [arm for name, arm in arms.items() if not options.only or name in options.only]
    return 0 if parent.run(options, chosen, lambda: plan.finish(options)) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.session", epilog=_EPILOG)
    add = parser.add_argument
    add("mode", choices=list(_BUDGET_S), help="which arms: tests/gpu/session/plan.py lists them")
    add("--tiny", action="store_true", help="tiny models on the CPU: tries the lane itself")
    add("--device", help="cpu, cuda, cuda:N; default cuda, or cpu with --tiny")
    add("--budget", type=float, help="seconds for all; default 455 (first), 220 (second), or none")
    add("--seconds", type=float, help="length of the clip; default 10, or 2 with --tiny")
    add("--repeats", type=int, default=3, help="sessions of an arm, the first warms up; default 3")
    add("--stretch", type=float, help="multiplies every time-out; default 1, or 4 (tiny, all)")
    add("--only", nargs="+", default=[], metavar="ARM", help="these arms of the mode")
    add("--out", help="folder of the results; default $OUT, or reports/runs/gpu")
    add("--site", help="a folder of packages (pip install --target) to import from first")
    add("--fresh", action="store_true", help="a new interpreter for each arm, not a fork: slower")
    add("--in-child", help=argparse.SUPPRESS)
    add("--began-ns", type=int, help=argparse.SUPPRESS)
    return parser


def _options(asked: argparse.Namespace) -> Options:
    out = Path(asked.out or os.environ.get("OUT") or ROOT / "reports/runs/gpu").resolve()
    out.mkdir(parents=True, exist_ok=True)
    _set_environment(asked.site, is_tiny=asked.tiny)
    from tests.gpu.session.results import WORLD, Options

    is_patient = asked.tiny or asked.mode == "all"
    return Options(
        mode=asked.mode,
        out=out,
        device=asked.device or ("cpu" if asked.tiny else "cuda"),
        tiny=asked.tiny,
        seconds=asked.seconds or (2.0 if asked.tiny else 10.0),
        repeats=asked.repeats,
        budget_s=asked.budget or (None if asked.tiny else _BUDGET_S[asked.mode]),
        stretch=asked.stretch or (4.0 if is_patient else 1.0),
        only=tuple(asked.only),
        fresh=asked.fresh,
        began_ns=asked.began_ns or WORLD.now_ns(),
    )


def _set_environment(site: str | None, *, is_tiny: bool) -> None:
    """For this process and all that it starts. Nothing here may touch CUDA."""
    paths = [str(ROOT)]
    if site is not None:
        paths.insert(0, str(Path(site).resolve()))
    sys.path[:0] = paths
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *([before] if before else [])])
    os.chdir(ROOT)  # tests and the command line look for their files from here
    # Whether there is a GPU is asked of its driver: asking CUDA would begin it in this process.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if is_tiny:  # threads that wait for each other are slow on a busy machine
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / "inductor"))


if __name__ == "__main__":
    sys.exit(main())
