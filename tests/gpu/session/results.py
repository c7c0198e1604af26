"""The files of a session. A figure is on disk as soon as it exists, whatever happens afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.clock import NS_PER_S, RealWorld

WORLD = RealWorld()
RESULTS = "results.jsonl"
PROFILE = "profile.jsonl"
LOG = "log.txt"
TABLE = "table.txt"

Line = dict[str, Any]  # one line of results.jsonl: arm, kind, at_s, and what belongs to its kind


class ArmError(RuntimeError):
    """An arm ran to its end and found a fault: a failed test, a non-zero exit code."""


@dataclass(frozen=True, slots=True)
class Options:
    """One session, as asked for on the command line."""

    mode: str  # which list of arms
    out: Path  # the folder that everything is written to
    device: str  # cpu | cuda | cuda:N
    tiny: bool  # tiny models: tries the lane itself
    seconds: float  # length of the clip
    repeats: int  # sessions of an arm; the first warms up
    budget_s: float | None  # from the start of the session; None: no limit
    stretch: float  # multiplies every time-out
    only: tuple[str, ...]  # names of arms; empty: all arms of the mode
    fresh: bool  # each arm in a new interpreter, not in a fork of the parent
    began_ns: int  # start of the session, on the clock of `WORLD`; one clock for all processes

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def size(self) -> str:
        """``model.size`` of the engines."""
        return "tiny" if self.tiny else "full"

    def elapsed_s(self) -> float:
        return (WORLD.now_ns() - self.began_ns) / NS_PER_S


class Record:
    """Where one arm writes."""

    def __init__(self, arm: str, options: Options) -> None:
        self.arm = arm
        self.options = options
        self.figures: Line = {}  # all of this arm, so far
        self._phase_began_ns = WORLD.now_ns()

    def line(self, kind: str, **values: Any) -> None:
        """Append to results.jsonl, and show."""
        at_s = round(self.options.elapsed_s(), 2)
        text = json.dumps({"arm": self.arm, "kind": kind, "at_s": at_s, **values}, default=str)
        with (self.options.out / RESULTS).open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        print(text, flush=True)

    def figure(self, **values: Any) -> None:
        """Keep figures. Names end in their unit, or in a percentile (then the unit is ms)."""
        self.figures |= values
        self.line("figure", **values)

    def phase(self, name: str) -> None:
        """Keep the seconds since the last phase of this arm ended."""
        now_ns = WORLD.now_ns()
        self.figure(**{f"{name}_s": round((now_ns - self._phase_began_ns) / NS_PER_S, 2)})
        self._phase_began_ns = now_ns

    def profile(self, what: str, kernels: Sequence[tuple[str, float, float]]) -> None:
        """Keep the kernels of one step: name, how often, microseconds in all."""
        text = json.dumps({"arm": self.arm, "what": what, "kernels": kernels})
        with (self.options.out / PROFILE).open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def read_lines(out: Path) -> list[Line]:
    """The lines of results.jsonl. One that was cut off by a kill is left out."""
    lines = []
    for text in (out / RESULTS).read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines
