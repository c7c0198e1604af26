"""Named reference runs, small enough to commit, bound to the environment they were made in."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from harness.errors import BaselineError, StorageError, UsageError
from harness.machine.environment import Environment
from harness.metrics import METRICS_VERSION, ClipMetrics
from harness.metrics.registry import by_name
from harness.runs.folder import load_run, write_text
from harness.runs.names import inside
from harness.runs.reading import decode_json, refuse_absurd
from harness.runs.summarise import measured_again
from harness.runs.validity import ALLOWABLE

FOLDER = Path("reports/baselines")

# What must agree before two runs are compared, and why. `--allow FIELD` (or its first part, such
# as `packages`) lets one pass, and the report shows it. The revision of the harness and of the
# code under test is not here: that is what is being compared.
FIELDS: tuple[tuple[str, str], ...] = (
    ("metrics_version", "a metric may be defined otherwise"),
    ("simulated", "simulated time is not time"),
    ("machine.cpu", "another processor"),
    ("machine.cores", "another number of cores"),
    ("machine.platform", "another operating system"),
    ("gpu.name", "another GPU"),
    ("gpu.driver", "drivers change latency"),
    ("python", "interpreters change latency"),
    ("packages", "libraries change latency and text"),
    ("model.model", "another model"),
    ("model.revision", "another revision of the model"),
    ("model.weights_sha256", "other weights"),
    ("model.random_weights", "random weights say nothing about real ones"),
    ("model.device", "another device"),
    ("model.dtype", "another precision"),
    ("model.details.threads", "another number of threads"),
    ("dataset.sha256", "other clips"),
    ("dataset.timings_sha256", "speech begins or ends elsewhere, and latencies count from there"),
    ("arm.conditions", "the audio sounds otherwise, or comes over another network"),
    ("normalisers", "errors are counted otherwise"),
    ("config_identity", "what was run is configured otherwise"),
)
NEVER_ALLOWED = ("simulated", "model.random_weights")
_DROPPED = ("budget_ms", "why_null")  # and the metrics that say so: the lateness of every frame


class Baseline(msgspec.Struct, frozen=True):
    """A run to compare with: its clips' figures and its environment."""

    name: str
    run: str  # the run's folder name, as a label
    environment: Environment
    clips: tuple[ClipMetrics, ...]
    schema: int = 1


class Mismatch(NamedTuple):
    field: str
    baseline: object
    run: object
    why: str

    def __str__(self) -> str:
        return f"{self.field}: {self.baseline!r} in the baseline, {self.run!r} here ({self.why})"


def save_baseline(
    name: str, run_folder: Path, folder: Path = FOLDER, *, replace: bool = False
) -> Path:
    """Keep a finished, valid run as a baseline; returns the file.

    Raises:
        UsageError: the name cannot be a file's, or is taken.
        BaselineError: the run is not one to compare with.
    """
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise UsageError("name of a baseline", value=name, allowed="letters, digits, . _ + -")
    path = inside(folder, f"{name}.json", "a baseline")
    if path.exists() and not replace:
        raise UsageError(
            "there is a baseline of this name", value=name, hint="another name, or --replace"
        )
    run = measured_again(load_run(run_folder))
    reason = None
    if run.summary is None:
        reason = "it did not finish"
    elif run.summary.validity:
        reason = f"it is not valid: {run.summary.validity[0]}"
    elif run.environment.injected:
        reason = "it was made worse on purpose (inject.*)"
    elif (version := run.environment.metrics_version) != METRICS_VERSION:
        reason = f"it was measured by version {version} of the metrics, rules are about version"
        reason += f" {METRICS_VERSION}"
    elif all(clip.failed is not None for clip in run.clips):
        reason = "every session failed"
    if reason is not None:
        raise BaselineError(f"{run_folder} cannot be a baseline: {reason}", hint="save a sound run")
    clips = [_slim(clip) for clip in run.clips]
    lines = ",\n".join(msgspec.json.encode(clip).decode() for clip in clips)
    head = {"schema": 1, "name": name, "run": run.name, "environment": run.environment}
    text = msgspec.json.encode(head).decode()[:-1] + f',\n"clips":[\n{lines}\n]}}\n'
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def _slim(clip: ClipMetrics) -> dict[str, Any]:
    """Without what no rule asks for, and to the microsecond: a line of a text diff per session."""
    figures = msgspec.to_builtins(clip)
    metrics = by_name()
    for name in (*_DROPPED, *(name for name, one in metrics.items() if not one.kept)):
        figures.pop(name, None)
    for name, value in figures.items():
        if name in metrics and metrics[name].scope == "series":
            figures[name] = [round(sample, 3) for sample in value]
        elif isinstance(value, float):
            figures[name] = round(value, 6 if name == "wer" else 3)
    return {name: value for name, value in figures.items() if value not in (None, [], (), {})}


def list_baselines(folder: Path = FOLDER) -> tuple[str, ...]:
    """Names, in order."""
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


def load_baseline(name: str, folder: Path = FOLDER) -> Baseline:
    """Read a baseline.

    Raises:
        BaselineError: there is none of this name, or the file is not one.
    """
    path = folder / f"{name}.json"
    names = list_baselines(folder)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        raise BaselineError(
            "no such baseline", value=name,
            allowed=", ".join(names) or f"none is saved in {folder} yet",
            hint=f"did you mean {close[0]}?" if close else "baseline save NAME RUN",
        )  # fmt: skip
    try:
        found = decode_json(path, Baseline)
        for clip in found.clips:
            refuse_absurd(f"{path}, {clip.clip}", msgspec.structs.asdict(clip).items())
    except StorageError as error:
        raise BaselineError(
            error.what, value=error.value, allowed=error.allowed,
            hint="save the baseline again from its run",
        ) from error  # fmt: skip
    return found


def check_comparable(
    baseline: Environment, run: Environment, allow: Iterable[str] = ()
) -> list[Mismatch]:
    """The fields of FIELDS in which two environments differ, without those that are allowed to.

    Raises:
        UsageError: ``allow`` names a field that is not in the table, or one that must agree.
    """
    allowed = tuple(field for field in allow if field not in ALLOWABLE)
    for field in allowed:
        if not any(_covers(field, name) or _covers(name, field) for name, _ in FIELDS):
            known = ", ".join([*(name for name, _ in FIELDS), *ALLOWABLE])
            raise UsageError("--allow", value=field, allowed=known)
        if any(_covers(field, name) for name in NEVER_ALLOWED):
            raise UsageError(f"--allow {field}: such runs are never compared")
    found = []
    for name, why in FIELDS:
        here, there = field_of(run, name), field_of(baseline, name)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            parts = [f"{name}.{part}" for part in sorted({*here, *there})]
        else:
            parts = [name]
        found += [
            Mismatch(part, field_of(baseline, part), field_of(run, part), why) for part in parts
        ]
    return [
        m for m in found
        if m.baseline != m.run and not any(_covers(field, m.field) for field in allowed)
    ]  # fmt: skip


def require_comparable(
    baseline: Baseline, environment: Environment, allow: Iterable[str] = ()
) -> tuple[str, ...]:
    """Refuse a comparison by naming what differs; returns the fields that were allowed to.

    Raises:
        BaselineError: the environments differ in a field that is not allowed to.
    """
    refused = check_comparable(baseline.environment, environment, allow)
    if refused:
        raise BaselineError(
            f"the run may not be compared with baseline {baseline.name}:\n  "
            + "\n  ".join(map(str, refused)),
            hint="save a baseline here, measure both in one comparison (`compare`), or, if you know"
            f" that it does not matter, {_allowing(refused)}",
        )
    return tuple(m.field for m in check_comparable(baseline.environment, environment))


def _allowing(refused: Sequence[Mismatch]) -> str:
    names = list(dict.fromkeys(mismatch.field for mismatch in refused))
    by_gate = " ".join(f"--allow {name}" for name in names)
    return f"gate.allow=[{','.join(names)}] (of `gate RUN`: {by_gate})"


def _covers(field: str, name: str) -> bool:
    return name == field or name.startswith(f"{field}.")


def field_of(environment: Environment, path: str) -> object:
    """What an environment says of one of FIELDS; None: nothing."""
    value: Any = environment
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
    return value
