"""How long the verbs that replay nothing take to answer, from the shell's point of view.

The goals: ``gate`` of 44 sessions takes at most half of ``REFERENCE``, ``report`` at most 1.5 times
it; ``report`` of 500 clips in each of two arms at most 8 s where it took 7.3 to 15 s.

Every round times each command once, in a random order, beside ``REFERENCE``: the imports that a
report cannot do without. What is told is the ratio to it within a round, which differs less between
machines and hours than seconds do; of wall time, and of CPU time, which other programs change less.
A second checkout takes turns in the same rounds:

    STT_OTHER_CHECKOUT=../before python -m pytest tests/bench/test_startup.py --benchmark-only -s

needs an environment of its own (``uv sync`` in it); STT_OTHER_PYTHON names another interpreter than
its ``.venv/bin/python``, STT_ROUNDS more rounds than 7. Both sides report and judge the same
recorded tokens, which each side has rechunked itself, so that neither refuses a run as measured by
another version of the metrics.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.stats.estimates import percentile_interval
from tests.report.synthetic import make_arm_runs, save_run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "fixtures" / "runs_v3" / "turn_whisper"
REFERENCE = "import matplotlib.axes, scipy.stats"
ROUNDS = max(7, int(os.environ.get("STT_ROUNDS", "7")))
RUN = "run/1word"  # in the folder of a side
# Command -> (its arguments, the exit codes of a verb that has done its work).
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "--help": (("--help",), (0,)),
    "report RUN": (("report", RUN, "--quiet"), (0, 4)),
    "gate RUN": (("gate", RUN), (0, 4)),
    "gate RUN gate=ci": (("gate", RUN, "gate=ci"), (0, 4)),  # composes a config
    "doctor": (("doctor",), (0, 2)),
}
LARGE = "large"  # 500 clips in each of two arms, in the folder of a side
LARGE_COMMANDS = {
    "report of 500 clips x 2": (("report", LARGE, "--quiet"), (0, 3, 4)),
    "gate of 500 clips x 2": (("gate", LARGE, "gate=ci"), (0, 3, 4)),
}


class Side(NamedTuple):
    """A checkout that is measured."""

    name: str
    root: Path  # of the checkout
    python: str  # the interpreter of its environment
    folder: Path  # the current folder of its commands


class Took(NamedTuple):
    """One command, once."""

    wall_s: float
    cpu_s: float  # user and system, of the command and its children


class Figure(NamedTuple):
    """Of one ratio, over the rounds."""

    median: float
    low: float | None  # of the median's 95 % interval
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.median:.3g} [-]"
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}]"


def sides(tmp_path: Path) -> list[Side]:
    """This checkout, and the other one if there is one, each with a run of its own."""
    found = [Side("this", ROOT, sys.executable, tmp_path / "this")]
    if other := os.environ.get("STT_OTHER_CHECKOUT"):
        root = Path(other).resolve()
        python = os.environ.get("STT_OTHER_PYTHON", str(root / ".venv" / "bin" / "python"))
        found.append(Side("other", root, python, tmp_path / "other"))
    for side in found:
        side.folder.mkdir()
        shutil.copytree(RECORDED, side.folder / "recorded")
        where = call(side, "-c", "import harness; print(harness.__file__)")
        assert Path(where.stdout.strip()).is_relative_to(side.root), side
        rechunked = call(side, "-m", "harness", "rechunk", "recorded", "chunking=1word",
                         "--out", "run")  # fmt: skip
        assert rechunked.returncode == 0, rechunked.stderr
    return found


def call(side: Side, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of one side; its files come before what else is on the path."""
    # Compiled once, in the round that is not counted, as for whoever installed the package.
    dropped = ("GITHUB_ACTIONS", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return subprocess.run(
        [side.python, "-P", *arguments], cwd=side.folder, capture_output=True, text=True,
        env=kept | {"PYTHONPATH": str(side.root)}, check=False,
    )  # fmt: skip


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(side: Side, command: str) -> Took:
    """Run one command."""
    verb, allowed = (COMMANDS | LARGE_COMMANDS).get(command, ((), (0,)))
    arguments = ("-m", "harness", *verb) if verb else ("-c", command)
    used, began = children_cpu_s(), time.perf_counter()
    done = call(side, *arguments)
    took = Took(time.perf_counter() - began, children_cpu_s() - used)
    assert done.returncode in allowed, f"{side.name} {command}: {done.stdout}{done.stderr}"
    return took


def measure(
    found: list[Side], commands: Sequence[str], rounds: int
) -> dict[tuple[str, str], list[Took]]:
    """What each round took, by side and command; a first round warms files and caches."""
    order = random.Random(0)  # noqa: S311 not a secret
    jobs = [(found[0], REFERENCE), *((side, command) for side in found for command in commands)]
    times: dict[tuple[str, str], list[Took]] = {(s.name, command): [] for s, command in jobs}
    for index in range(rounds + 1):
        order.shuffle(jobs)
        for side, command in jobs:
            took = timed(side, command)
            if index > 0:
                times[side.name, command].append(took)
    return times


def ratio(above: list[float], below: list[float]) -> Figure:
    """Median over the rounds of the ratio within a round."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    interval = percentile_interval([[value] for value in ratios], 0.5, 0.95)
    return Figure(median(ratios), interval.low, interval.high)


def tell(name: str, above: list[Took], below: list[Took], info: dict[str, Any]) -> None:
    """Print one line of ratios, and keep them for the benchmark's file."""
    wall = ratio([took.wall_s for took in above], [took.wall_s for took in below])
    cpu = ratio([took.cpu_s for took in above], [took.cpu_s for took in below])
    seconds = median(took.wall_s for took in above)
    print(f"{name:<38}{seconds:6.2f} s   wall {wall!s:<24}CPU {cpu}")
    info[name] = {"seconds": seconds, "wall": wall._asdict(), "cpu": cpu._asdict()}


def tell_all(
    found: list[Side], commands: Sequence[str], rounds: int, benchmark: BenchmarkFixture
) -> dict[tuple[str, str], list[Took]]:
    """Measure, and print every command of every side beside the reference."""
    arguments = (found, tuple(commands), rounds)
    times = benchmark.pedantic(measure, args=arguments, rounds=1, iterations=1)
    reference, info = times["this", REFERENCE], benchmark.extra_info
    print(f"\n{rounds} rounds; median seconds, and ratios with their 95 % interval")
    print(f"reference: {REFERENCE}: {median(took.wall_s for took in reference):.2f} s")
    for command in commands:
        for side in found:
            tell(f"{command}, {side.name} / reference", times[side.name, command], reference, info)
        if len(found) > 1:
            this, other = (times[side.name, command] for side in found)
            tell(f"{command}, this / other", this, other, info)
    return times


def test_start_up(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    times = tell_all(sides(tmp_path), tuple(COMMANDS), ROUNDS, benchmark)
    assert (tmp_path / "this" / RUN / "report.html").is_file()
    assert all(len(took) == ROUNDS for took in times.values())


def test_five_hundred_clips_in_two_arms(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    found = sides(tmp_path)
    runs = make_arm_runs((1, 6), clips=500, repeats=1)
    for side in found:
        for run in runs:
            save_run(run, side.folder / LARGE)
        arms = {"schema": 1, "arms": [run.name for run in runs], "comparisons": []}
        (side.folder / LARGE / "comparison.json").write_text(json.dumps(arms), encoding="utf-8")
    tell_all(found, tuple(LARGE_COMMANDS), 3, benchmark)
    assert (tmp_path / "this" / LARGE / "report.html").is_file()
