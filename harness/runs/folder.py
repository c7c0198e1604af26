"""A run's folder: written clip by clip, so that a killed run keeps every finished clip.

==================  ================================================================================
``config.yaml``       the resolved config, written before the first clip
``environment.json``  machine, versions, model, dataset, written before the first clip
``events.jsonl``      raw events; a clip's block is appended, whole, when the clip has ended
``clips.jsonl``       metrics of each clip and repeat, appended after its events
``telemetry.json``    what the GPU did meanwhile; runs on CUDA only
``host.jsonl``        this process's memory and the machine's CPU meanwhile, once a second
``summary.json``      written last: a folder without it is a run that did not finish
==================  ================================================================================
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from harness.errors import StorageError, UsageError
from harness.events import Event, GcPause, Trace, build_traces, trace_events
from harness.machine.environment import CLEAN, ArmChoices, Count, Environment
from harness.machine.gpu import GpuTelemetry, NoGpu, joined
from harness.machine.host import HostSample
from harness.metrics import ClipMetrics, Distribution, Ratio
from harness.runs.impossible import refuse_impossible
from harness.runs.reading import decode_json, decode_lines, decode_yaml, refuse_absurd
from harness.runs.records import RENAMED, ConfigShape, RecordedClip, Summary

T = TypeVar("T")

CONFIG, ENVIRONMENT, EVENTS, CLIPS, SUMMARY, TELEMETRY, HOST = (
    "config.yaml",
    "environment.json",
    "events.jsonl",
    "clips.jsonl",
    "summary.json",
    "telemetry.json",
    "host.jsonl",
)

_encode_line = msgspec.json.Encoder().encode


class Run(msgspec.Struct, frozen=True):
    """A run as it lies in its folder."""

    folder: Path
    config: dict[str, Any]
    environment: Environment
    traces: tuple[Trace, ...]
    clips: tuple[ClipMetrics, ...]
    gc_pauses: tuple[GcPause, ...]  # of the whole run; unknown when it was killed
    summary: Summary | None  # None: the run did not finish
    telemetry: GpuTelemetry | NoGpu | None = None  # None: not on CUDA, or it was killed
    host: tuple[HostSample, ...] = ()  # empty: it was killed, or made by an older harness

    @property
    def name(self) -> str:
        return self.folder.name


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    text = msgspec.json.format(_encode_line(value), indent=1)
    write_text(path, text.decode() + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: beside it first, then renamed.

    Raises:
        StorageError: it could not be written; an older file is left as it was.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write {path}: {error.strerror or error}",
        hint="free some space or choose another folder; clips that were written before are kept",
    )


_KEPT = {EVENTS: "run", "comparison.json": "comparison"}
# Of whoever these are, a run would write over them.
_OURS = (CONFIG, ENVIRONMENT, CLIPS, SUMMARY, TELEMETRY, HOST, "junit.xml", "report.md",
         "report.html", "comparison.csv", "trace.json")  # fmt: skip


def refuse_used(folder: Path) -> None:
    """A run or a comparison is never written over, nor is anybody's file of the same name.

    Raises:
        UsageError: the folder holds one already.
    """
    if not any((folder / name).exists() for name in _KEPT):
        foreign = [name for name in _OURS if (folder / name).exists()]
        if foreign:
            raise UsageError(
                f"this folder holds {', '.join(foreign)}, which a run would write over",
                value=str(folder), hint="choose another with hydra.run.dir=FOLDER",
            )  # fmt: skip
    kept = [what for name, what in _KEPT.items() if (folder / name).exists()]
    if kept:
        raise UsageError(
            f"this folder holds a {kept[0]} already",
            value=str(folder),
            hint="choose another with hydra.run.dir=FOLDER, or remove it",
        )


@contextmanager
def _folder_errors() -> Iterator[None]:
    try:
        yield
    except (OSError, StorageError) as error:
        raise UsageError(
            f"the run's folder cannot be written: {error}",
            hint="choose another with hydra.run.dir=FOLDER",
        ) from error


class RunWriter:
    """Appends to a run's folder; every write is on disk before the call returns."""

    def __init__(self, folder: Path, config_yaml: str, environment: Environment) -> None:
        """Start a run's folder.

        Raises:
            UsageError: the folder holds a run already, or cannot be written.
        """
        self.folder = folder
        refuse_used(folder)
        with _folder_errors():
            folder.mkdir(parents=True, exist_ok=True)
            self._events: IO[bytes] = (folder / EVENTS).open("xb")  # of two at once, one gets it
        try:
            with _folder_errors():
                write_text(folder / CONFIG, config_yaml)
                write_json(folder / ENVIRONMENT, environment)
                self._clips: IO[bytes] = (folder / CLIPS).open("xb")
        except UsageError:
            self._events.close()
            for name in (EVENTS, CONFIG, ENVIRONMENT):  # the folder can be tried again
                (folder / name).unlink(missing_ok=True)
            raise

    def append(self, trace: Trace, metrics: ClipMetrics) -> None:
        """Keep one finished (or failed) clip.

        Raises:
            StorageError: the disk is full or gone; what was written before stays readable.
        """
        session = trace.session
        key = {"clip": session.clip, "repeat": session.repeat}
        lines = (_encode_line(key | msgspec.to_builtins(event)) for event in trace_events(trace))
        self._write(self._events, b"".join(line + b"\n" for line in lines))
        self._write(self._clips, _encode_line(metrics) + b"\n")

    def append_pauses(self, pauses: Sequence[GcPause]) -> None:
        """Keep what the harness has seen of its own collector."""
        self._write(self._events, b"".join(_encode_line(pause) + b"\n" for pause in pauses))

    def append_telemetry(self, telemetry: GpuTelemetry | NoGpu | None) -> None:
        """Keep what the GPU did while the run, or one more part of it, was measured."""
        if telemetry is not None:
            path = self.folder / TELEMETRY
            write_json(path, joined(_read_telemetry(path), telemetry))

    def append_host(self, samples: Sequence[HostSample]) -> None:
        """Keep what the machine did; not synchronised: a killed process loses none, a crash may."""
        try:
            with (self.folder / HOST).open("ab") as file:
                file.write(b"".join(_encode_line(sample) + b"\n" for sample in samples))
        except OSError as error:
            raise _cannot_write(self.folder / HOST, error) from error

    def _write(self, file: IO[bytes], data: bytes) -> None:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise _cannot_write(Path(file.name), error) from error
        _require_in_place(file)

    def finish(self, summary: Summary) -> None:
        """Write ``summary.json``: from here on the run counts as finished."""
        for file in (self._events, self._clips):
            if not file.closed:
                _require_in_place(file)
        self.close()
        write_json(self.folder / SUMMARY, summary)

    def close(self) -> None:
        for file in (self._events, self._clips):
            try:
                file.close()
            except OSError as error:  # a buffered tail that no longer fits
                raise _cannot_write(Path(file.name), error) from error


def _require_in_place(file: IO[bytes]) -> None:
    """What is written to a file that was removed or replaced is lost, without an error."""
    path = Path(file.name)
    with suppress(OSError):
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return
    raise StorageError(
        f"{path} is gone: it was removed, moved or replaced while the run was writing to it",
        hint="measure again, and leave the run's folder alone meanwhile",
    )


def load_run(folder: Path) -> Run:
    """Read a run's folder; a torn last line or an unfinished last clip is left out.

    Raises:
        UsageError: there is no run in this folder.
        StorageError: a file in it cannot be read or is not what it should be.
    """
    if not (folder / EVENTS).is_file():
        raise UsageError(
            "no run in this folder (it has no events.jsonl)",
            value=str(folder),
            hint="name the folder that `run` printed; for a comparison, one of its arms' folders",
        )
    if missing := [n for n in (CONFIG, ENVIRONMENT, CLIPS) if not (folder / n).is_file()]:
        raise StorageError(
            f"the run in {folder} was ended before its first session, or copied in part: it has"
            f" {EVENTS}, and no {' or '.join(missing)}",
            hint="measure again; nothing can be read from this folder",
        )
    config, _ = decode_yaml(folder / CONFIG, ConfigShape)
    events = decode_lines(folder / EVENTS, Event)
    clips = tuple(clip.today() for clip in decode_lines(folder / CLIPS, RecordedClip))
    for clip in clips:
        figures = ((name, getattr(clip, name)) for name in clip.__struct_fields__)
        refuse_absurd(f"{folder / CLIPS}, {clip.clip}#{clip.repeat}", figures)
    run = Run(
        folder=folder,
        config=config,
        environment=decode_json(folder / ENVIRONMENT, Environment),
        traces=tuple(build_traces(events)),
        clips=clips,
        gc_pauses=tuple(event for event in events if isinstance(event, GcPause)),
        summary=_read_summary(folder / SUMMARY),
        telemetry=_read_telemetry(folder / TELEMETRY),
        host=tuple(decode_lines(folder / HOST, HostSample)),
    )
    changed = run.environment.arm.conditions != CLEAN
    refuse_impossible(str(folder / EVENTS), run.traces, network=changed)
    _require_whole(run)
    return run


def _require_whole(run: Run) -> None:
    """A run that finished has every session of its summary, in both files, once.

    Raises:
        StorageError: it has lost some since, as in a copy that was cut off.
    """
    if run.summary is None:
        return
    measured = sorted((clip.clip, clip.repeat) for clip in run.clips)
    recorded = sorted((trace.session.clip, trace.session.repeat) for trace in run.traces)
    if measured != recorded or len(set(measured)) < len(measured):
        raise StorageError(
            f"the run in {run.folder} cannot be read: {CLIPS} has {len(measured)} sessions,"
            f" {EVENTS} {len(recorded)}: not the same ones"
        )
    planned = run.summary.clips * run.summary.repeats
    if len(measured) < planned and not any(
        v.startswith("incomplete") for v in run.summary.validity
    ):
        raise StorageError(
            f"the run in {run.folder} cannot be read: {SUMMARY} is of {planned} sessions,"
            f" and {len(measured)} are there"
        )
    for name in (EVENTS, CLIPS):
        if _ends_torn(run.folder / name):
            raise StorageError(
                f"the run in {run.folder} cannot be read: {name} ends in the middle of a line, and"
                " the run had finished",
                hint="was it edited by hand? Measure again, or use an unedited copy of the run",
            )


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _read_telemetry(path: Path) -> GpuTelemetry | NoGpu | None:
    if not path.is_file():
        return None
    found: GpuTelemetry | NoGpu = decode_json(path, GpuTelemetry | NoGpu, versioned=False)  # type: ignore[arg-type]
    return found


class _StoredSummary(Summary, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A summary whose metrics are not told apart yet: a field says which kind each is."""

    metrics: dict[str, dict[str, Any]]  # type: ignore[assignment]
    clips: Count
    repeats: Count
    failed: Count


def _read_summary(path: Path) -> Summary | None:
    if not path.is_file():
        return None
    stored = decode_json(path, _StoredSummary)
    arm = _check(path, "arm", stored.arm, ArmChoices)
    metrics: dict[str, Distribution | Ratio] = {}
    for name, value in stored.metrics.items():
        kind: type[Distribution] | type[Ratio] = Ratio if "value" in value else Distribution
        metrics[RENAMED.get(name, name)] = _check(path, f"metrics.{name}", value, kind)
        refuse_absurd(f"{path}: metrics.{name}", value.items())
    whole = {"metrics": metrics, "arm": {**stored.arm, "conditions": arm.conditions}}
    return Summary(**{**msgspec.structs.asdict(stored), **whole})


def _check(path: Path, field: str, value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise StorageError(f"{path} cannot be read: {field}: {error}") from error
