"""What a run is, beside its figures: when, where and of what it was made, and its reservations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from harness.engines.inject import InjectConfig
from harness.machine.environment import CLEAN, Environment
from harness.report.arms import Arm
from harness.report.text import DASH, plural
from harness.runs.records import Summary

_REVISION_CHARACTERS = 12  # of a commit's name: enough to find it


def facts(arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """Date, revision and machine for the line below the title; where arms differ, of each."""
    found = {
        "measured": [_when(arm.run.environment) for arm in arms],
        "revision": [revision(arm.run.environment) for arm in arms],
        "machine": [_machine(arm.run.environment) for arm in arms],
    }
    return [(name, _of_each(arms, values)) for name, values in found.items()]


def _of_each(arms: Sequence[Arm], values: Sequence[str]) -> str:
    if len(set(values)) == 1:
        return values[0]
    return "; ".join(f"{arm.label}: {value}" for arm, value in zip(arms, values, strict=True))


def _when(environment: Environment) -> str:
    """``2026-01-01 12:30 UTC``, from the ISO date of the environment."""
    date, _, time = environment.made_at.partition("T")
    zone = "" if len(time) <= 8 else time[8:].replace("+00:00", "UTC")
    return f"{date} {time[:5]} {zone}".strip() or DASH


def revision(environment: Environment) -> str:
    """The revision of the user's code, where it was stated; else of the harness's checkout."""
    if isinstance(environment.revision, str):
        return _short(environment.revision)
    if environment.git_revision is None:
        return "not recorded"
    return f"harness {_short(environment.git_revision)}"


def _short(name: str) -> str:
    commit, plus, rest = name.partition("+")
    if len(commit) == 40 and all(sign in "0123456789abcdef" for sign in commit):
        commit = commit[:_REVISION_CHARACTERS]
    return f"{commit} (with changes not in git)" if rest == "dirty" else commit + plus + rest


def _machine(environment: Environment) -> str:
    machine, gpu = environment.machine, environment.gpu
    parts = [machine.cpu or "unknown processor"]
    if machine.cores:
        parts.append(plural(machine.cores, "core"))
    if gpu is not None and (environment.model.device or "").startswith("cuda"):
        parts.append(gpu.name)
    return ", ".join(parts)


def marks(arms: Sequence[Arm]) -> list[str]:
    """What a reader must know before any figure: each a sentence, in order of weight."""
    said: dict[str, list[str]] = {}  # sentence -> arms that it is true of
    for arm in arms:
        summary = arm.summary
        if summary.injected:
            text = f"made worse on purpose{_injected(arm)}: not the engine's own speed and text"
            said.setdefault(text, []).append(arm.label)
        if (condition := under(summary)) is not None:
            text = f"under the conditions {condition}{_options(arm, 'conditions')}"
            said.setdefault(text, []).append(arm.label)
        if summary.random_weights:
            said.setdefault("random weights: the text means nothing", []).append(arm.label)
        if summary.simulated:
            said.setdefault("simulated time: no latency was measured", []).append(arm.label)
    return [
        f"{text[0].upper()}{text[1:]}."
        if len(labels) == len(arms)
        else f"{', '.join(labels)}: {text}."
        for text, labels in said.items()
    ]


def under(summary: Summary) -> str | None:
    """The name of the conditions under which the audio came; None: they were clean."""
    conditions = summary.arm.get("conditions", CLEAN)
    return None if conditions == CLEAN else conditions


def _options(arm: Arm, group: str) -> str:
    """The options of an arm's choice: `` (snr_db=10, kind=pink)``; none: nothing."""
    given = arm.run.config.get(group) or {}
    return f" ({', '.join(f'{key}={value}' for key, value in given.items())})" if given else ""


def _injected(arm: Arm) -> str:
    """The options that made it worse: `` (inject.delay_ms=120)``."""
    usual = asdict(InjectConfig())
    given = arm.run.config.get("inject", {})
    changed = [
        f"inject.{key}={value:g}" if isinstance(value, float) else f"inject.{key}={value}"
        for key, value in given.items()
        if key in usual and value != usual[key]
    ]
    return f" ({', '.join(changed)})" if changed else ""
