"""What the tests of the verbs share: short runs of the scripted engine, in virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.__main__ import main
from harness.runs.folder import write_json

QUICK = ["engine=scripted", "replay.pace=virtual", "replay.compute_scale=0", "replay.repeats=1",
         "replay.frame_ms=500", "report.plots=false"]  # fmt: skip
ONE_CLIP = ["engine=scripted", "replay.pace=virtual", "replay.compute_scale=0", "replay.repeats=1",
         "replay.frame_ms=500", "dataset.limit=1", "report.plots=false"]  # fmt: skip
NOISY = [
    "engine=scripted", "engine.first_ms=350", "engine.jitter_ms=20", "replay.pace=virtual",
    "replay.compute_scale=0", "replay.frame_ms=500", "report.plots=false",
]  # fmt: skip
ONCE = [
    "engine=scripted", "engine.first_ms=350", "engine.jitter_ms=20", "replay.pace=virtual",
    "replay.compute_scale=0", "replay.repeats=1", "replay.frame_ms=500", "report.plots=false",
]  # fmt: skip
# Audio all at once, in real time: what waits for nothing takes none.
FLOODED = [
    "replay.pace=flood", "replay.compute_scale=1", "replay.repeats=1", "engine.first_ms=0",
    "engine.token_ms=0", "engine.jitter_ms=0",
]  # fmt: skip
# What a choice leaves for the user to say.
MUST_BE_GIVEN = {
    "dataset=hub": ["dataset.path=folder"],
    "dataset=manifest": ["dataset.manifest=own.jsonl"],
    "engine=python": ["engine.factory=own:make"],
    "engine=realtime": ["engine.model=tiny"],
}
RULES = "gate.rules=['failed = 0', 'ttft_ms p50 vs baseline: at most +5 % and +10 ms']"
SLOWER = "inject.delay_ms=0,38"


def run(folder: str, *overrides: str, verb: str = "run") -> int:
    return main([verb, *QUICK, f"hydra.run.dir={folder}", *overrides])


def one_clip(folder: str, *overrides: str) -> int:
    return main(["run", *ONE_CLIP, f"hydra.run.dir={folder}", *overrides])


def noisy(verb: str, folder: str, *overrides: str) -> int:
    return main([verb, *NOISY, f"hydra.run.dir={folder}", *overrides])


def once(verb: str, folder: str, *overrides: str) -> int:
    return main([verb, *ONCE, f"hydra.run.dir={folder}", *overrides])


def export_bencher(folder: str) -> int:
    return main(["export", folder, "--format", "bencher", "--out", "figures.json"])


def read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def lines(path: str) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def verdict(folder: str) -> dict[str, Any]:
    summary = json.loads(Path(folder, "summary.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = summary["verdict"]
    return found


def rule(folder: str, begins: str) -> dict[str, Any]:
    (found,) = [r for r in verdict(folder)["rules"] if r["rule"].startswith(begins)]
    return dict(found)


def regression(folder: str) -> dict[str, Any]:
    summary = json.loads(Path(folder, "summary.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = summary["verdict"]["rules"][1]
    return found


def run_of_older_metrics(folder: str) -> None:
    """A run as a harness with version 0 of the metrics has left it."""
    assert run(folder, "dataset.limit=2") == 0
    for name in ("environment.json", "summary.json"):
        write_json(Path(folder, name), read(f"{folder}/{name}") | {"metrics_version": "0"})
