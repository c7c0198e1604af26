"""Run folders that somebody edited by hand: what is wrong with each, by name.

Each edit makes one file of a sound run wrong; a verb that reads it must say so (exit code 2 or 4
and a message), and never end in a traceback or take it for a sound run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from harness.runs.folder import CLIPS, CONFIG, ENVIRONMENT, EVENTS, HOST, SUMMARY, TELEMETRY

Edit = Callable[[bytes], bytes]
DEEP = 100_000  # of nested lists: far beyond what a recursive reader can follow
HUGE = 1e300  # a finite number that no clock and no counter shows


class Hostile(NamedTuple):
    """One edit of one file."""

    file: str
    edit: Edit  # what the file holds -> what it holds then; of a file that is not there: b""

    def apply(self, run: Path) -> None:
        path = run / self.file
        before = path.read_bytes() if path.is_file() else b""
        after = self.edit(before)
        assert after != before, f"{self.file} is what it was"
        path.write_bytes(after)


# --- edits ---------------------------------------------------------------------------------------


def replaced(content: bytes) -> Edit:
    """Another content altogether."""
    return lambda _: content


def cut_in_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _changed(value: Any, place: str, change: Callable[[Any, Any], None]) -> Any:
    """``change`` is given the mapping or list that holds ``place``, and its key there."""
    *parents, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    holder = value
    for part in parents:
        holder = holder[part]
    assert place == ADDED or isinstance(last, int) or last in holder, f"nothing at {place}"
    change(holder, last)
    return value


ADDED = "extra"  # the only field that an edit may add


def _put(new: Any) -> Callable[[Any, Any], None]:
    return lambda holder, key: holder.__setitem__(key, new)


def _drop(holder: Any, key: Any) -> None:
    del holder[key]


def in_json(place: str, new: Any) -> Edit:
    """A JSON file with another value at ``place``, such as ``model.device``."""
    return lambda content: json.dumps(_changed(json.loads(content), place, _put(new))).encode()


def not_in_json(place: str) -> Edit:
    return lambda content: json.dumps(_changed(json.loads(content), place, _drop)).encode()


def in_yaml(place: str, new: Any) -> Edit:
    return lambda content: yaml.safe_dump(
        _changed(yaml.safe_load(content), place, _put(new))
    ).encode()


def not_in_yaml(place: str) -> Edit:
    return lambda content: yaml.safe_dump(_changed(yaml.safe_load(content), place, _drop)).encode()


def in_line(marker: str, place: str, new: Any) -> Edit:
    """JSON lines with another value in the first line that holds ``marker``."""
    return _line(marker, in_json(place, new))


def not_in_line(marker: str, place: str) -> Edit:
    return _line(marker, not_in_json(place))


def _line(marker: str, edit: Edit) -> Edit:
    def edited(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        index = next(i for i, line in enumerate(lines) if marker.encode() in line)
        lines[index] = edit(lines[index].rstrip(b"\n")) + b"\n"
        return b"".join(lines)

    return edited


NESTED = b"[" * DEEP + b"]" * DEEP
# Nine levels of nine references: 387 million items for whoever follows each.
LAUGHS = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (new, new, b",".join([b"*%c" % old] * 9))
    for old, new in zip(b"abcdefgh", b"bcdefghi", strict=True)
)
CLIP, STARTED, TOKEN, FRAME = '"clip"', '"event":"started"', '"event":"token"', "frame_sent"

HOSTILE: dict[str, Hostile] = {
    # config.yaml
    "config: empty": Hostile(CONFIG, replaced(b"")),
    "config: list": Hostile(CONFIG, replaced(b"- a\n- b\n")),
    "config: not UTF-8": Hostile(CONFIG, lambda content: content + b"# \xff\xfe\n"),
    "config: no YAML": Hostile(CONFIG, replaced(b"replay: {repeats: 1\n")),
    "config: python object": Hostile(
        CONFIG, lambda content: content + b"extra: !!python/object/apply:os.getcwd []\n"
    ),
    "config: deep nesting": Hostile(CONFIG, lambda content: content + b"extra: " + NESTED),
    "config: references to references": Hostile(CONFIG, lambda content: content + LAUGHS),
    "config: no replay": Hostile(CONFIG, not_in_yaml("replay")),
    "config: replay a list": Hostile(CONFIG, in_yaml("replay", ["pace", "realtime"])),
    "config: repeats a word": Hostile(CONFIG, in_yaml("replay.repeats", "two")),
    "config: repeats 1e300": Hostile(CONFIG, in_yaml("replay.repeats", HUGE)),
    "config: pace unknown": Hostile(CONFIG, in_yaml("replay.pace", "backwards")),
    "config: no gate": Hostile(CONFIG, not_in_yaml("gate")),
    "config: gate unknown field": Hostile(CONFIG, in_yaml("gate", {"nmae": "ci"})),
    "config: gate rules one text": Hostile(CONFIG, in_yaml("gate.rules", "failed = 0")),
    "config: gate confidence a word": Hostile(CONFIG, in_yaml("gate.confidence", "high")),
    "config: dataset a list": Hostile(CONFIG, in_yaml("dataset", ["two_cities"])),
    "config: dataset limit a word": Hostile(CONFIG, in_yaml("dataset.limit", "six")),
    # environment.json
    "environment: empty": Hostile(ENVIRONMENT, replaced(b"")),
    "environment: list": Hostile(ENVIRONMENT, replaced(b"[]")),
    "environment: cut": Hostile(ENVIRONMENT, cut_in_half),
    "environment: deep nesting": Hostile(
        ENVIRONMENT, lambda content: content.replace(b"{", b'{"extra":' + NESTED + b",", 1)
    ),
    "environment: schema 99": Hostile(ENVIRONMENT, in_json("schema", 99)),
    "environment: no schema": Hostile(ENVIRONMENT, not_in_json("schema")),
    "environment: no metrics_version": Hostile(ENVIRONMENT, not_in_json("metrics_version")),
    "environment: metrics_version a word": Hostile(
        ENVIRONMENT, in_json("metrics_version", "newest")
    ),
    "environment: metrics_version a number": Hostile(ENVIRONMENT, in_json("metrics_version", 3)),
    "environment: no model": Hostile(ENVIRONMENT, not_in_json("model")),
    "environment: model a list": Hostile(ENVIRONMENT, in_json("model", ["whisper"])),
    "environment: no seed": Hostile(ENVIRONMENT, not_in_json("seed")),
    "environment: seed a word": Hostile(ENVIRONMENT, in_json("seed", "lucky")),
    "environment: seed negative": Hostile(ENVIRONMENT, in_json("seed", -1)),
    "environment: no dataset": Hostile(ENVIRONMENT, not_in_json("dataset")),
    "environment: packages a text": Hostile(ENVIRONMENT, in_json("packages", "all of them")),
    # events.jsonl
    "events: empty": Hostile(EVENTS, replaced(b"")),
    "events: line cut": Hostile(EVENTS, _line(TOKEN, cut_in_half)),
    "events: line a list": Hostile(EVENTS, _line(TOKEN, replaced(b"[]"))),
    "events: deep nesting": Hostile(EVENTS, _line(TOKEN, replaced(NESTED))),
    "events: unknown event": Hostile(EVENTS, in_line(TOKEN, "event", "thought")),
    "events: stamp a text": Hostile(EVENTS, in_line(TOKEN, "at_ns", "soon")),
    "events: stamp 1e300": Hostile(EVENTS, in_line(TOKEN, "at_ns", HUGE)),
    "events: stamp of 30 digits": Hostile(EVENTS, in_line(TOKEN, "at_ns", 10**30)),
    "events: stamp before the start": Hostile(EVENTS, in_line(TOKEN, "at_ns", -(10**15))),
    "events: duration 1e300": Hostile(EVENTS, in_line(STARTED, "duration_s", HUGE)),
    "events: duration negative": Hostile(EVENTS, in_line(STARTED, "duration_s", -1.0)),
    "events: kind unknown": Hostile(EVENTS, in_line(STARTED, "kind", "monologue")),
    "events: t0 missing": Hostile(EVENTS, not_in_line(STARTED, "t0_ns")),
    "events: text no token brought": Hostile(EVENTS, in_line(TOKEN, "text", "")),
    "events: frame of no number": Hostile(EVENTS, in_line(FRAME, "index", None)),
    # clips.jsonl
    "clips: empty": Hostile(CLIPS, replaced(b"")),
    "clips: line cut": Hostile(CLIPS, _line(CLIP, cut_in_half)),
    "clips: line a list": Hostile(CLIPS, _line(CLIP, replaced(b"[]"))),
    "clips: not UTF-8": Hostile(
        CLIPS, lambda content: content.replace(b'reference":"', b'reference":"\xff', 1)
    ),
    "clips: no reference": Hostile(CLIPS, not_in_line(CLIP, "reference")),
    "clips: figure a text": Hostile(CLIPS, in_line(CLIP, "ttft_ms", "fast")),
    "clips: figure 1e300": Hostile(CLIPS, in_line(CLIP, "ttft_ms", HUGE)),
    "clips: figure another": Hostile(CLIPS, in_line(CLIP, "ttft_ms", 1.0)),
    "clips: series a number": Hostile(CLIPS, in_line(CLIP, "gap_ms", 20.0)),
    "clips: duration 0": Hostile(CLIPS, in_line(CLIP, "duration_s", 0.0)),
    "clips: session unknown": Hostile(CLIPS, in_line(CLIP, "session", "monologue")),
    # summary.json
    "summary: empty": Hostile(SUMMARY, replaced(b"")),
    "summary: list": Hostile(SUMMARY, replaced(b"[]")),
    "summary: cut": Hostile(SUMMARY, cut_in_half),
    "summary: deep nesting": Hostile(
        SUMMARY, lambda content: content.replace(b'"rules":', b'"deep":' + NESTED + b',"rules":')
    ),
    "summary: schema 99": Hostile(SUMMARY, in_json("schema", 99)),
    "summary: schema a text": Hostile(SUMMARY, in_json("schema", "one")),
    "summary: no schema": Hostile(SUMMARY, not_in_json("schema")),
    "summary: metrics_version 99": Hostile(SUMMARY, in_json("metrics_version", "99")),
    "summary: unknown field": Hostile(SUMMARY, in_json("extra", 1)),
    "summary: clips 1e300": Hostile(SUMMARY, in_json("clips", HUGE)),
    "summary: clips negative": Hostile(SUMMARY, in_json("clips", -6)),
    "summary: failed 99": Hostile(SUMMARY, in_json("failed", 99)),
    "summary: arm empty": Hostile(SUMMARY, in_json("arm", {})),
    "summary: arm of another run": Hostile(SUMMARY, in_json("arm.model", "another")),
    "summary: metrics a list": Hostile(SUMMARY, in_json("metrics", [])),
    "summary: no metrics at all": Hostile(SUMMARY, in_json("metrics", {})),
    "summary: no ttft_ms": Hostile(SUMMARY, not_in_json("metrics.ttft_ms")),
    "summary: no wer": Hostile(SUMMARY, not_in_json("metrics.wer")),
    "summary: figure a text": Hostile(SUMMARY, in_json("metrics.ttft_ms.p50", "fast")),
    "summary: figure 1e300": Hostile(SUMMARY, in_json("metrics.ttft_ms.p50", HUGE)),
    "summary: interval of one": Hostile(SUMMARY, in_json("metrics.ttft_ms.ci95", {"p50": [1.0]})),
    "summary: verdict a text": Hostile(SUMMARY, in_json("verdict", "pass")),
    "summary: verdict without status": Hostile(SUMMARY, in_json("verdict", {"rules": []})),
    "summary: verdict unknown": Hostile(SUMMARY, in_json("verdict.status", "excellent")),
    "summary: verdict turned": Hostile(SUMMARY, in_json("verdict.status", "fail")),
    "summary: rules of numbers": Hostile(
        SUMMARY, in_json("verdict", {"status": "pass", "rules": [3]})
    ),
    "summary: validity a text": Hostile(SUMMARY, in_json("validity", "valid")),
    "summary: simulated a word": Hostile(SUMMARY, in_json("simulated", "yes")),
    # host.jsonl and telemetry.json
    "host: memory a text": Hostile(HOST, in_line("at_ns", "memory_bytes", "lots")),
    "host: cores 0": Hostile(HOST, in_line("at_ns", "cores", 0)),
    "telemetry: list": Hostile(TELEMETRY, replaced(b"[]")),
    "telemetry: empty": Hostile(TELEMETRY, replaced(b"{}")),
}
