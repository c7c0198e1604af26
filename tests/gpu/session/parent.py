"""The parent of a session: one process for each arm, with a time-out.

The parent imports everything once and never touches CUDA, so that an arm can be a fork of it: a
fork after CUDA has begun could not use the GPU. Should the parent have touched CUDA all the same,
arms begin a new interpreter. This file imports no torch.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from harness.clock import NS_PER_MS, NS_PER_S
from tests.gpu.session.earlier import Earlier
from tests.gpu.session.results import LOG, TABLE, WORLD, ArmError, Options, Record, read_lines
from tests.gpu.session.table import table

_TO_END_S = 4.0  # from SIGTERM to SIGKILL
_TO_FINISH_S = 6.0  # kept of the budget for the table and the packed files
_POLL_MS = 50


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing to measure or test."""

    name: str
    work: Callable[[Record], None]
    limit_s: float  # time-out
    least_s: float  # with less of the budget left it is not begun
    environment: Mapping[str, str] = field(default_factory=dict)


def run(options: Options, arms: Sequence[Arm], finish: Callable[[], None] = lambda: None) -> bool:
    """Run the arms one after the other, then write and show the table.

    Args:
        finish: called once after the last arm; packs what is to be kept.

    Returns:
        Whether every arm that was begun ended well.
    """
    record = Record("parent", options)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    earlier = Earlier(options)
    good = True
    try:
        for arm in arms:
            if (figures := earlier.figures_of(arm.name)) is not None:
                Record(arm.name, options).line("figure", **figures)
                record.line("arm", of=arm.name, status="done in an earlier call", wall_s=0.0)
                continue
            left_s = _left_s(options)
            if left_s < arm.least_s * min(1.0, options.stretch):
                record.line("arm", of=arm.name, status=f"left out: {left_s:.0f} s left", wall_s=0.0)
                continue
            began_ns = WORLD.now_ns()
            limit_s = min(arm.limit_s * options.stretch, left_s - _TO_END_S)
            status = _run_arm(arm, options, limit_s)
            wall_s = round((WORLD.now_ns() - began_ns) / NS_PER_S, 1)
            record.line("arm", of=arm.name, status=status, wall_s=wall_s)
            good = good and status == "ok"
            if status == "ok":
                earlier.add(arm.name, read_lines(options.out))
        finish()
    finally:
        text = table(read_lines(options.out))
        (options.out / TABLE).write_text(text, encoding="utf-8")
        print(text, flush=True)
    return good


def _left_s(options: Options) -> float:
    if options.budget_s is None:
        return float("inf")
    return options.budget_s - _TO_FINISH_S - options.elapsed_s()


def _run_arm(arm: Arm, options: Options, limit_s: float) -> str:
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.setsid()  # a group of its own: what it starts can be ended with it
        child(arm, options)
    try:
        return _wait(pid, limit_s)
    finally:  # what the arm has started and left; or the arm itself, if the parent is stopped
        _signal_group(pid, signal.SIGKILL)


def _wait(pid: int, limit_s: float) -> str:
    asked = False  # to end
    ends_ns = WORLD.now_ns() + round(min(limit_s, 1e9) * NS_PER_S)
    while True:
        done, raw = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(raw)
            if asked:
                return "timed out"
            if code < 0:
                return f"failed: killed by {signal.Signals(-code).name}"
            return "ok" if code == 0 else "failed"
        if WORLD.now_ns() > ends_ns:
            _signal_group(pid, signal.SIGKILL if asked else signal.SIGTERM)
            asked, ends_ns = True, WORLD.now_ns() + round(_TO_END_S * NS_PER_S)
        WORLD.sleep_until_ns(WORLD.now_ns() + _POLL_MS * NS_PER_MS)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # all have ended
        os.killpg(pid, number)


def child(arm: Arm, options: Options, *, is_fresh: bool = False) -> NoReturn:
    """Run one arm and end this process.

    Args:
        is_fresh: this interpreter was begun for the arm.
    """
    os.environ.update(arm.environment)
    log = os.open(options.out / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    record = Record(arm.name, options)

    def stopped(*_: Any) -> NoReturn:
        record.line("end", status="timed out")
        os._exit(3)

    signal.signal(signal.SIGTERM, stopped)
    if not is_fresh and (options.fresh or _is_spoiled(options)):
        _begin_anew(arm, options)
    print(f"\n===== {arm.name} {dict(arm.environment) or ''}", flush=True)
    record.line("begin")
    status, code = "ok", 0
    try:
        arm.work(record)
    except BaseException as error:  # noqa: BLE001 whatever it is, the other arms go on
        traceback.print_exc()
        status, code = f"failed: {_one_line(error)}", 1
    record.line("end", status=status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _is_spoiled(options: Options) -> bool:
    """Whether the parent has touched CUDA, so that no fork of it can use the GPU."""
    torch = sys.modules.get("torch")
    return options.cuda and torch is not None and bool(torch._C._cuda_isInBadFork())


def _begin_anew(arm: Arm, options: Options) -> NoReturn:
    inner = ("--in-child", arm.name, "--began-ns", str(options.began_ns))
    command = [sys.executable, "-m", "tests.gpu.session", *sys.argv[1:], *inner]
    os.execve(sys.executable, command, os.environ)  # noqa: S606 this program itself


def _one_line(error: BaseException) -> str:
    text = str(error) if isinstance(error, ArmError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:160]
