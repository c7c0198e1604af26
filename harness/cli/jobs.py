"""Jobs: what Hydra runs once, or several times in a sweep, in this process or in others.

A job of a sweep leaves a record in the sweep's folder when it begins and when it ends. The exit
code and the table of the sweep are made from these records: they are there whatever launcher ran
the jobs, and wherever. A job removes nothing but what it made.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from harness.cli.shown import kept_going
from harness.errors import HarnessError, StorageError
from harness.runs.folder import write_json
from harness.runs.names import safe_name
from harness.runs.reading import decode_json

_RECORDS, _LOG = "jobs", "run.log"
_WORST_LAST = (0, 4, 3, 2, 1)  # a gate that failed outweighs what is not known, errors both
_NOT_ENDED = 4

OmegaConf.register_new_resolver(
    "harness.name", lambda text: safe_name(str(text).replace("'", "").replace('"', "")),
    replace=True,
)  # fmt: skip


class Job(msgspec.Struct, kw_only=True):
    """One job of a sweep, as it stands in ``jobs/NUMBER.json``."""

    schema: int = 1
    number: int
    overrides: list[str]
    folder: str
    show: str
    objective: str | None
    code: int = _NOT_ENDED
    error: str | None = "it did not end: was it killed?"
    value: float | None = None  # of the objective


class _Before:
    """What was there before Hydra made folders."""

    def __init__(self) -> None:
        self.sweep: Path | None = None  # the sweep's folder; None: no sweep has begun
        self.folders: set[Path] = set()

    def made(self, folder: Path) -> bool:
        """Whether ``folder`` was made for this job."""
        return not self.folders.intersection([folder, *folder.parents])


_before = _Before()


def begin() -> None:
    """A command begins."""
    global _before  # noqa: PLW0603 Hydra makes its callbacks from a config, and one command is one
    _before = _Before()


def started() -> _Before:
    return _before


class Started(Callback):
    """Named in ``configs/config.yaml``: Hydra tells it the folders before it makes them."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        folder = _resolved(config, "hydra.run.dir")
        if folder.exists():
            _before.folders.add(folder)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        _before.sweep = sweep = _resolved(config, "hydra.sweep.dir")
        if sweep.is_dir():
            _before.folders.update(sweep.iterdir())
            for old in sweep.glob(f"{_RECORDS}/*.json"):  # of a sweep that was killed
                old.unlink()


def _resolved(config: DictConfig, field: str) -> Path:
    """The folder that a field names; its resolvers ask Hydra, which is not set up yet."""
    known = HydraConfig.instance()
    before = known.cfg
    known.set_config(config)
    try:
        return Path(str(OmegaConf.select(config, field))).absolute()
    finally:
        known.cfg = before


def asked_for() -> list[str]:
    """The overrides of this job, without Hydra's own."""
    return list(HydraConfig.get().overrides.task)


def run_folder() -> Path:
    """The folder that Hydra made for this job, from here if it is below."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


class Guarded:
    """The task that Hydra calls; its errors are kept, and the next job goes on."""

    def __init__(self, task: Callable[[DictConfig], int], before: _Before) -> None:
        self._task = task
        self.before = before
        self.code = 0
        self.raised: Exception | None = None  # of the one job that is no sweep's

    def __call__(self, config: DictConfig) -> float | None:
        """Run one job; returns the objective's value, for Hydra's sweepers."""
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            try:
                self.code = self._task(config)
            except (HarnessError, OSError) as error:
                self.raised = error
                self._remove_if_nothing_came(run_folder())
            return None
        job = _job(config)
        _keep(job)
        try:
            with kept_going():  # also in a process of a launcher's
                job.code, job.error = self._task(config), None
                job.value = _objective(job)
        except (HarnessError, OSError) as error:
            job.code = getattr(error, "exit_code", HarnessError.exit_code)
            job.error = str(error)
            self._remove_if_nothing_came(run_folder())
        except Exception as error:
            job.code, job.error = HarnessError.exit_code, f"{type(error).__name__}: {error}"
            raise
        finally:
            _keep(job)
        return job.value if job.value is not None else float("nan")

    def _remove_if_nothing_came(self, folder: Path) -> None:
        """A job that ended before it wrote anything leaves no folder with a log behind."""
        if self.before.made(folder.absolute()) and folder.is_dir():
            if {path.name for path in folder.iterdir() if path.is_file()} <= {_LOG}:
                (folder / _LOG).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # only if it is empty
                folder.rmdir()


def _job(config: DictConfig) -> Job:
    return Job(
        number=int(HydraConfig.get().job.num),
        overrides=asked_for(),
        folder=str(run_folder()),
        show=str(config.report.show),
        objective=config.objective,
    )


def _keep(job: Job) -> None:
    folder = Path(HydraConfig.get().sweep.dir) / _RECORDS
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{job.number}.json", job)


def _objective(job: Job) -> float | None:
    if job.objective is None:
        return None
    from harness.runs.folder import load_run
    from harness.runs.objective import objective

    summary = load_run(Path(job.folder)).summary
    return None if summary is None else objective(summary, job.objective)


def naming(argv: Sequence[str]) -> str:
    """The override by which folders of a sweep are called after what is swept, and nothing else."""
    overrides = [a for a in argv if not a.startswith("-")]
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException:  # it is reported when Hydra parses them
        parsed = []
    swept = {o.key_or_group for o in parsed if o.is_sweep_override()}
    fixed = dict.fromkeys(o.key_or_group for o in parsed if o.key_or_group not in swept)
    names = ",".join(f"'{name}'" for name in fixed if not name.startswith("hydra"))
    return f"hydra.job.config.override_dirname.exclude_keys=[{names}]"


def conclude(done: Guarded) -> int:
    """Once all jobs have ended: the exit code; of a sweep, its table as well.

    Raises:
        HarnessError, OSError: what the only job raised.
    """
    if done.raised is not None:
        raise done.raised
    sweep = done.before.sweep
    if sweep is None:
        return done.code
    found = [decode_json(path, Job) for path in sweep.glob(f"{_RECORDS}/*.json")]
    found.sort(key=lambda job: job.number)
    if not found:
        raise StorageError(
            "no job of the sweep left a record", value=str(sweep),
            hint="do the jobs see this folder? A launcher on other machines needs a shared one",
        )  # fmt: skip
    from harness.cli.sweep_table import shared_by, write_table

    shared = shared_by(found)
    for job in found:
        if job.error is not None:
            what = " ".join(override for override in job.overrides if override not in shared)
            print(f"error: job {job.number} ({what}): {job.error}", file=sys.stderr)  # noqa: T201
    write_table(found, sweep)
    for job in found:
        (sweep / _RECORDS / f"{job.number}.json").unlink()
    with contextlib.suppress(OSError):
        (sweep / _RECORDS).rmdir()
    return max((job.code for job in found), key=_WORST_LAST.index)
