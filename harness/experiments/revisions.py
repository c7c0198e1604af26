"""``compare --against REVISION``: a git revision beside the files as they are now.

Both sides run as processes of their own, from their own files, one repeat in turn, so that neither
has an advantage and what the machine does meanwhile meets both. The revision's files lie in a
temporary git worktree with an environment of its own. What the processes recorded is merged into
two run folders, measured by the same metrics, and judged like any comparison.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import msgspec
import yaml

from harness.config import Config
from harness.errors import ConfigError, UsageError
from harness.experiments.progress import Progress
from harness.machine.environment import git_revision
from harness.metrics import METRICS_VERSION
from harness.metrics.accuracy import normaliser_ids
from harness.metrics.latency import as_recorded, clip_metrics
from harness.runs.folder import SUMMARY, Run, RunWriter, load_run, refuse_used
from harness.verdicts.gates import check_arm, check_references
from harness.verdicts.judge import CONFIRM, finish_arms, to_be_confirmed

log = logging.getLogger("harness")

PACKAGES = ("pyproject.toml", "uv.lock")  # what an environment is made of
# Judged and shown once, for both sides; the folder and the repeats are the comparison's.
NOT_PASSED_ON = ("gate", "report", "hydra.")


class Side(msgspec.Struct, frozen=True):
    """One of the two."""

    name: str  # of its run folder
    root: Path  # its files
    python: str  # the interpreter of its environment
    revision: str | None  # the commit, +dirty if files differ


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM, with which CI cancels a job, raises ``KeyboardInterrupt`` as Ctrl-C does.

    Left to itself it would end this process only: the one that measures would go on, and git would
    keep the worktree. A handler that is there already stays, and so does one outside of the main
    thread, where none can be set.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def compare_revision(
    revision: str, config: Config, overrides: Sequence[str], folder: Path, progress: Progress
) -> list[Path]:
    """Compare ``revision`` with the files as they are now; returns both run folders, old first.

    Args:
        config: of both sides.
        overrides: from which both sides' processes compose it.
        folder: of the comparison.

    Raises:
        UsageError: no checkout, no such revision, or a side that cannot measure.
        ConfigError: a config that cannot be compared so.
        KeyboardInterrupt: Ctrl-C or SIGTERM, before one repeat of both sides was measured.
    """
    if config.replay.until == "decided":
        raise ConfigError(
            "--against repeats a number of times that is known before",
            value="replay.until=decided", hint="replay.repeats=N",
        )  # fmt: skip
    root = Path(_git(Path.cwd(), "rev-parse", "--show-toplevel"))
    if not (root / "harness" / "__main__.py").is_file():
        raise UsageError("this is no checkout of the harness", value=str(root))
    commit = _git(
        root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
    )
    now = git_revision(root) or "unknown"
    short, dirty = now[:9], "+dirty" if now.endswith("+dirty") else ""
    names = f"old-{commit[:9]}", f"new-{short}{dirty}"
    check_references(config.gate, names)
    with (
        tempfile.TemporaryDirectory(prefix="harness-") as scratch,
        _worktree(root, commit, Path(scratch, "worktree")) as old_root,
    ):
        python = _environment(root, old_root, progress)
        old = Side(names[0], old_root, python, commit)
        new = Side(names[1], root, sys.executable, now)
        blocks = _Blocks((old, new), config, overrides, Path(scratch), progress)
        writers = blocks.measure(folder)
        again: list[RunWriter] = []
        if to_be_confirmed([writer.folder for writer in writers]):
            progress.stage("A regression was seen: measuring all of it once more")
            again = blocks.measure(folder / CONFIRM)
        finish_arms(writers, again=again)
    return [writer.folder for writer in writers]


# --- the two sides --------------------------------------------------------------------------------


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode != 0:
        raise UsageError(
            f"git {' '.join(arguments)}: {done.stderr.strip() or 'no such revision'}",
            hint="compare --against REVISION, in a git checkout that has the revision"
            " (a shallow clone may not: git fetch --unshallow)",
        )
    return done.stdout.strip()


@contextmanager
def _worktree(root: Path, commit: str, folder: Path) -> Iterator[Path]:
    """The files of ``commit``, for as long as they are needed."""
    try:
        _git(root, "worktree", "add", "--detach", str(folder), commit)
        yield folder
    finally:
        if folder.exists():  # forced twice: git locks a worktree until it is complete
            _git(root, "worktree", "remove", "--force", "--force", str(folder))


def _environment(root: Path, old_root: Path, progress: Progress) -> str:
    """The interpreter for the revision; this one where it asks for the same packages."""
    asked = [name for name in PACKAGES if (old_root / name).is_file()]
    if asked and all(_same(root / name, old_root / name) for name in asked):
        progress.stage(f"{' and '.join(asked)} did not change: both sides in this environment")
        return sys.executable
    progress.stage("Making the revision's environment (uv sync)")
    clean = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    command = ["uv", "sync", "--project", str(old_root)]
    try:
        done = subprocess.run(  # noqa: S603 fixed arguments
            command, env=clean, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise UsageError("uv is not installed", hint="pip install uv") from error
    if done.returncode != 0:
        raise UsageError(
            f"the revision's environment could not be made:\n{_tail(done.stderr)}",
            hint="does `uv sync` work in a checkout of it?",
        )
    return str(old_root / ".venv" / "bin" / "python")


def _same(here: Path, there: Path) -> bool:
    return here.is_file() and here.read_bytes() == there.read_bytes()


def _tail(text: str, lines: int = 12) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-lines:])


# --- blocks of one repeat, old and new in turn ----------------------------------------------------


class _Blocks:
    def __init__(
        self,
        sides: Sequence[Side],
        config: Config,
        overrides: Sequence[str],
        scratch: Path,
        progress: Progress,
    ) -> None:
        self._sides = sides
        self._config = config
        self._overrides = list(overrides)
        self._scratch = scratch
        self._progress = progress

    def measure(self, folder: Path) -> list[RunWriter]:
        """Replay every repeat on both sides; their run folders in ``folder``, the old one first.

        Interrupted, what was measured is kept, if it was at least one repeat of both.
        """
        writers: dict[str, RunWriter] = {}
        refuse_used(folder)
        for side in self._sides:
            refuse_used(folder / side.name)
        place, repeats = 0, self._config.replay.repeats
        try:
            for repeat in range(repeats):
                for side in self._sides[:: 1 if repeat % 2 == 0 else -1]:  # old new, new old
                    self._progress.stage(f"Repeat {repeat + 1} of {repeats}: {side.name}")
                    block = self._replay(side, repeat)
                    if side.name not in writers:
                        arms = [
                            {"name": s.name, **msgspec.structs.asdict(block.environment.arm)}
                            for s in self._sides
                        ]
                        check_arm(self._config.gate, arms)
                        writers[side.name] = self._start(side, block, folder)
                        _check_same_clips(list(writers.values()))
                    place = _append(writers[side.name], block, repeat, place)
        except KeyboardInterrupt:
            if len(writers) < len(self._sides):
                raise
            log.warning("interrupted: the repeats that have ended are kept")
        finally:
            for writer in writers.values():
                writer.close()
        return [writers[side.name] for side in self._sides]

    def _replay(self, side: Side, repeat: int) -> Run:
        """One repeat in a process of its own, with the order of clips of a seed of its own."""
        folder = Path(tempfile.mkdtemp(dir=self._scratch), "run")
        overrides = [o for o in self._overrides if not o.lstrip("+~").startswith(NOT_PASSED_ON)]
        overrides += [
            "gate=none", "report.plots=false", "replay.repeats=1",
            f"seed={self._config.seed + repeat}", f"hydra.run.dir={folder}",
        ]  # fmt: skip
        # -P: not the files in the current folder, which relative paths count from, on both sides.
        command = [side.python, "-P", "-m", "harness", "run", *overrides]
        paths = [str(side.root), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        environment.pop("GITHUB_ACTIONS", None)  # a block is no result to annotate
        done = subprocess.run(  # noqa: S603 this interpreter, our own arguments
            command,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode < 0 or not (folder / SUMMARY).is_file():
            raise UsageError(
                f"the harness of {side.name} could not measure"
                f" (exit code {done.returncode}):\n{_tail(done.stderr)}",
                hint="try the command at that revision: python -m harness run "
                + " ".join(self._overrides),
            )
        return load_run(folder)

    def _start(self, side: Side, block: Run, folder: Path) -> RunWriter:
        repeats = self._config.replay.repeats
        environment = msgspec.structs.replace(
            block.environment,
            name=side.name,
            arms_of_this_comparison=[s.name for s in self._sides],
            git_revision=side.revision,
            metrics_version=METRICS_VERSION,  # both sides are measured by the same
            normalisers=normaliser_ids(trace.session.language for trace in block.traces),
            seed=self._config.seed,
            overrides=list(self._overrides),
            warmup_sessions_discarded=self._config.replay.warmup * repeats,
        )
        config = block.config | {
            "replay": block.config["replay"] | {"repeats": repeats},
            "seed": self._config.seed,
            "gate": asdict(self._config.gate),
            "report": asdict(self._config.report),
        }
        return RunWriter(folder / side.name, yaml.safe_dump(config, sort_keys=False), environment)


def _append(writer: RunWriter, block: Run, repeat: int, place: int) -> int:
    """Add a block's sessions from ``place`` in the whole on; returns the next free place."""
    random_weights = block.environment.model.random_weights
    pace = block.config["replay"]["pace"]
    after = place
    for trace in block.traces:
        session = msgspec.structs.replace(
            trace.session, repeat=repeat, order=place + trace.session.order
        )
        moved = msgspec.structs.replace(trace, session=session)
        metrics = clip_metrics(moved, random_weights=random_weights, pace=pace)
        version, streams = block.environment.metrics_version, block.config["replay"]["streams"]
        writer.append(moved, as_recorded(metrics, version, streams))
        after = max(after, session.order + 1)
    writer.append_pauses(block.gc_pauses)
    writer.append_host(block.host)
    writer.append_telemetry(block.telemetry)
    return after


def _check_same_clips(writers: Sequence[RunWriter]) -> None:
    found = {load_run(writer.folder).environment.dataset.sha256 for writer in writers}
    if len(found) > 1:
        raise UsageError(
            "the two revisions do not replay the same clips",
            value=", ".join(sorted(map(str, found))),
            hint="name one manifest for both by its path: dataset.manifest=PATH",
        )
