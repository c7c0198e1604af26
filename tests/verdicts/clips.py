"""Clips for tests of verdicts: one latency per clip and repeat, texts of ten words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import yaml

from harness.clock import NS_PER_MS, NS_PER_S
from harness.config import Config, ReplayConfig
from harness.events import (
    Chunk,
    Ended,
    Failed,
    Session,
    SessionKind,
    Token,
    Trace,
    trace_events,
)
from harness.machine.environment import Environment
from harness.metrics import METRICS_VERSION, ClipMetrics, Edits
from harness.metrics.summary import summarise
from harness.runs.folder import write_json
from harness.runs.records import Summary, Verdict

WORDS = 10
TEXT = "one two three four five six seven eight nine ten"
ARM = {
    "chunking": "1word", "model": "null", "dataset": "made_up", "session": "turn",
    "conditions": "clean",
}  # fmt: skip
_STORED: dict[str, Any] = {
    "schema": 1,
    "clock_resolution_ns": 100,
    "harness_floor_ms": 0.1,
    "arm": ARM,
    "metrics_version": METRICS_VERSION,
    "made_at": "2026-01-01T00:00:00+00:00",
    "git_revision": "abc+dirty",
    "machine": {"cpu": "a processor", "cores": 2, "platform": "Linux x86_64"},
    "gpu": None,
    "python": "3.12.1",
    "packages": {"torch": "2.13.0", "numpy": "2.3.5"},
    "model": {
        "model": "null", "revision": None, "weights_sha256": "12ab", "random_weights": False,
        "device": "cpu", "dtype": "float32", "details": {"threads": 2},
    },
    "dataset": {"name": "made_up", "sha256": "34cd", "timings_sha256": "35de", "clips": 11},
    "normalisers": ["whisper-normalizer 0.1.15 english"],
    "config_identity": "56ef",
    "seed": 0,
    "injected": False,
    "simulated": False,
}  # fmt: skip
ENVIRONMENT = msgspec.convert(_STORED, Environment)


def environment_with(**more: Any) -> Environment:
    return msgspec.structs.replace(ENVIRONMENT, **more)


def _heard(errors: int) -> str:
    """The text with its first words misheard."""
    return " ".join(["wrong"] * errors + TEXT.split()[errors:])


def make_clips(
    ttft_ms: Sequence[Sequence[float | None]], errors: int = 0, **more: Any
) -> list[ClipMetrics]:
    """One row a clip, one figure a repeat; None: the session failed."""
    return [
        ClipMetrics(
            **{
                "clip": f"clip-{index:02}", "repeat": repeat, "order": 0, "lane": 0,
                "session": "turn", "duration_s": 4.0, "chunks": 9,
                "reference": TEXT,
                "hypothesis": "" if value is None else _heard(errors),
                "failed": "no answer" if value is None else None,
                "ttft_ms": value, "final_ms": None if value is None else value + 500,
                "word_edits": Edits(
                    reference=WORDS, hits=WORDS - errors, substitutions=errors, deletions=0,
                    insertions=0,
                ),
            } | more
        )
        for index, row in enumerate(ttft_ms)
        for repeat, value in enumerate(row)
    ]  # fmt: skip


def spread(
    clips: int = 11, repeats: int = 3, base_ms: float = 300.0, slower: float = 1.0
) -> list[list[float]]:
    """Latencies that differ from clip to clip (10 ms apart) and between repeats (1 ms)."""
    return [
        [slower * (base_ms + 10 * clip + (clip + repeat) % 3) for repeat in range(repeats)]
        for clip in range(clips)
    ]


def make_summary(clips: Sequence[ClipMetrics], **more: Any) -> Summary:
    return Summary(
        **{
            "schema": 1, "metrics_version": METRICS_VERSION, "arm": ARM, "clips": 11, "repeats": 3,
            "failed": 0, "simulated": False, "injected": False, "random_weights": False,
            "harness_floor_ms": 0.1, "validity": (), "warnings": (),
            "metrics": summarise(clips, seed=0), "verdict": Verdict(status="none"),
        } | more
    )  # fmt: skip


def write_finished_run(
    folder: Path,
    clips: Sequence[ClipMetrics],
    *,
    validity: tuple[str, ...] = (),
    config: Config | None = None,
    **more: Any,
) -> Path:
    """A run's folder, with the events of its figures; ``more`` goes into its environment."""
    folder.mkdir()
    chosen = config or replace(
        Config(), replay=ReplayConfig(repeats=max(c.repeat for c in clips) + 1)
    )
    config_yaml = yaml.safe_dump(asdict(chosen))
    (folder / "config.yaml").write_text(config_yaml, encoding="utf-8")
    events = [e for n, clip in enumerate(clips) for e in trace_events(_trace(clip, n))]
    (folder / "events.jsonl").write_bytes(b"".join(msgspec.json.encode(e) + b"\n" for e in events))
    lines = [msgspec.json.encode(clip) + b"\n" for clip in clips]
    (folder / "clips.jsonl").write_bytes(b"".join(lines))
    write_json(folder / "environment.json", environment_with(**more))
    repeats = max(clip.repeat for clip in clips) + 1
    names = {clip.clip for clip in clips}
    summary = make_summary(clips, validity=validity)
    write_json(
        folder / "summary.json",
        msgspec.structs.replace(summary, clips=len(names), repeats=repeats),
    )
    return folder


def _trace(clip: ClipMetrics, number: int) -> Trace:
    """Events that have the clip's figures: all of its text in one chunk, ``ttft_ms`` after R."""
    session = Session(
        clip=clip.clip, repeat=clip.repeat, order=clip.order, lane=0, kind=SessionKind.TURN,
        t0_ns=number * 100 * NS_PER_S, duration_s=4.0, speech_onset_s=0.0, speech_end_s=3.5,
        frame_ms=20.0, reference=clip.reference,
    )  # fmt: skip
    answered_ns = session.t0_ns + 4 * NS_PER_S + round((clip.ttft_ms or 0.0) * NS_PER_MS)
    if clip.failed is not None:
        outcome: Ended | Failed = Failed(answered_ns, clip.failed)
        return Trace(session, (), None, (), (), (), outcome)
    token = Token(clip.hypothesis, answered_ns)
    chunk = Chunk(0, clip.hypothesis, answered_ns, is_final=True)
    return Trace(session, (), None, (token,), (chunk,), (), Ended(answered_ns))
