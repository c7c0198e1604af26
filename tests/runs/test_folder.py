from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import make_clip
from traces import gpu_that_said
from verdicts.clips import ARM, ENVIRONMENT, environment_with

from harness.chunking import Words
from harness.clock import VirtualWorld
from harness.config import Config, ReplayConfig, config_yaml
from harness.engines import scripted
from harness.engines.scripted import ScriptedOptions
from harness.errors import StorageError, UsageError
from harness.events import GcPause, SessionKind, Ticks, Trace
from harness.metrics import Distribution, Ratio
from harness.metrics.latency import clip_metrics
from harness.replay import Planned, ReplayArm, replay
from harness.runs.folder import RunWriter, load_run, write_text
from harness.runs.records import Summary, Verdict
from harness.runs.summarise import summarise_run
from harness.session import Pacing
from tests.report.synthetic import make_run, save_run

YAML = config_yaml(Config())


def some_traces(count: int = 2) -> list[Trace]:
    world = VirtualWorld()
    engine = scripted.ScriptedEngine(ScriptedOptions(), world, SessionKind.TURN)
    how = Pacing(frame_ms=20, kind=SessionKind.TURN, timeout_s=5)
    arm = ReplayArm(engine, lambda: Words(1).chunker(), how)
    traces: list[Trace] = []
    plan = [Planned(0, make_clip("naïve 😀 text", 0.1), i) for i in range(count)]
    replay(world, [arm], plan, 1, lambda _planned, trace: traces.append(trace))
    return traces


def write_run(folder: Path, traces: list[Trace]) -> RunWriter:
    writer = RunWriter(folder, config_yaml(Config()), ENVIRONMENT)
    for trace in traces:
        writer.append(trace, clip_metrics(trace))
    return writer


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    traces = some_traces()
    writer = write_run(tmp_path / "run", traces)
    writer.append_pauses([GcPause(start_ns=1, end_ns=2)])
    writer.close()
    run = load_run(tmp_path / "run")
    assert run.traces == tuple(traces)
    assert run.clips == tuple(map(clip_metrics, traces))
    assert run.gc_pauses == (GcPause(start_ns=1, end_ns=2),)
    assert run.config["seed"] == 0
    assert run.summary is None


def test_ticks_are_kept_with_their_session(tmp_path: Path) -> None:
    first, second = some_traces()
    t0_ns, late_us = first.session.t0_ns, (3, 9000, *[1] * 200)
    ticks = (
        Ticks("watchdog", t0_ns, 20_000_000, late_us, cpu_us={1: 70}, asleep_us={1: 8}),
        Ticks("loop", t0_ns + 7, 20_000_000, late_us),
    )
    first = msgspec.structs.replace(first, ticks=ticks)
    write_run(tmp_path / "run", [first, second]).close()
    assert load_run(tmp_path / "run").traces == (first, second)


@pytest.mark.parametrize("late_us", [(), (3,), (-1,) * 200])
def test_ticks_that_do_not_cover_their_session_are_refused(
    tmp_path: Path, late_us: tuple[int, ...]
) -> None:
    (trace,) = some_traces(1)
    ticks = (Ticks("watchdog", trace.session.t0_ns, 20_000_000, late_us),)
    write_run(tmp_path / "run", [msgspec.structs.replace(trace, ticks=ticks)]).close()
    with pytest.raises(StorageError, match="watchdog"):
        load_run(tmp_path / "run")


def test_every_event_line_says_whose_it_is(tmp_path: Path) -> None:
    write_run(tmp_path / "run", some_traces(1)).close()
    lines = (tmp_path / "run/events.jsonl").read_text(encoding="utf-8").splitlines()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert {event["clip"] for event in events} == {"clip"}
    assert (events[0]["event"], events[-1]["event"]) == ("started", "ended")


@pytest.mark.parametrize("cut", [1, 40, 900])
def test_a_torn_tail_loses_the_unfinished_clip_only(tmp_path: Path, cut: int) -> None:
    write_run(tmp_path / "run", some_traces(3)).close()
    path = tmp_path / "run/events.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    run = load_run(tmp_path / "run")
    assert [trace.session.repeat for trace in run.traces] == [0, 1]


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    write_run(tmp_path / "run", some_traces(1)).close()
    with pytest.raises(UsageError, match="holds a run already"):
        write_run(tmp_path / "run", [])
    assert len(load_run(tmp_path / "run").traces) == 1


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be written"):
        RunWriter(tmp_path / "file" / "run", "", {})


def test_a_full_disk_keeps_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = some_traces(2)
    writer = write_run(tmp_path / "run", [first])

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        writer.append(second, clip_metrics(second))
    writer.close()
    assert caught.value.exit_code == 4
    assert first in load_run(tmp_path / "run").traces


def test_a_text_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.json"
    write_text(path, "first")

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError):
        write_text(path, "second")
    assert path.read_text(encoding="utf-8") == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_no_run_here_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run in this folder"):
        load_run(tmp_path)


def test_an_edited_run_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    write_run(tmp_path / "run", some_traces(1)).close()
    with (tmp_path / "run/events.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "token", "text": 3}\n')
    with pytest.raises(StorageError, match="cannot be read"):
        load_run(tmp_path / "run")


SUMMARY = Summary(
    schema=1, metrics_version="1", arm=ARM, clips=1, repeats=1, failed=0, simulated=False,
    injected=False, random_weights=False, harness_floor_ms=0.5, validity=("late",), warnings=(),
    metrics={
        "ttft_ms": Distribution(unit="ms", n=1, of=1, max=3.0),
        "wer": Ratio(unit="1", value=None, why_null="no words"),
    },
    verdict=Verdict(status="none"),
)  # fmt: skip


def finished_run(folder: Path, sessions: int = 3) -> Path:
    traces = [
        msgspec.structs.replace(t, session=msgspec.structs.replace(t.session, repeat=i))
        for i, t in enumerate(some_traces(sessions))
    ]
    write_run(folder, traces).finish(msgspec.structs.replace(SUMMARY, repeats=sessions))
    assert len(load_run(folder).clips) == sessions
    return folder


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("clips.jsonl", lambda content: content[: len(content) // 2]),
        ("events.jsonl", lambda content: content[: len(content) // 2]),
        ("events.jsonl", lambda _: b""),
        ("clips.jsonl", lambda content: content + content[: content.index(b"\n") + 1]),
    ],
)
def test_a_finished_run_that_lost_sessions_is_not_taken_for_whole(
    tmp_path: Path, name: str, edit: Callable[[bytes], bytes]
) -> None:
    file = finished_run(tmp_path / "run") / name
    file.write_bytes(edit(file.read_bytes()))
    with pytest.raises(StorageError, match="not the same ones"):
        load_run(tmp_path / "run")


def test_a_finished_run_that_lost_sessions_in_both_files_is_not_either(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    for name, marks in (("clips.jsonl", b'"repeat":2'), ("events.jsonl", b'"repeat":2')):
        lines = (run / name).read_bytes().splitlines(keepends=True)
        (run / name).write_bytes(b"".join(line for line in lines if marks not in line))
    with pytest.raises(StorageError, match="of 3 sessions, and 2 are there"):
        load_run(run)
    invalid = msgspec.structs.replace(SUMMARY, repeats=3, validity=("incomplete: 2 of 3",))
    (run / "summary.json").write_bytes(msgspec.json.encode(invalid))
    assert len(load_run(run).clips) == 2  # it said so itself


def test_of_two_runs_that_take_a_folder_at_once_one_gets_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.runs.folder.refuse_used", lambda _: None)  # both have looked
    first = RunWriter(tmp_path / "run", YAML, environment_with(seed=1))
    with pytest.raises(UsageError, match="cannot be written"):
        RunWriter(tmp_path / "run", YAML, environment_with(seed=2))
    first.close()
    run = load_run(tmp_path / "run")
    assert run.environment.seed == 1


def test_a_folder_that_could_not_be_begun_can_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "run/environment.json.partial").mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot be written"):
        RunWriter(tmp_path / "run", "seed: 1\n", {})
    (tmp_path / "run/environment.json.partial").rmdir()
    RunWriter(tmp_path / "run", "seed: 1\n", {}).close()


def test_what_cannot_be_cleaned_up_hides_no_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(StorageError, match="Read-only file system"):
        write_text(tmp_path / "summary.json", "text")


def test_a_summary_is_read_back(tmp_path: Path) -> None:
    write_run(tmp_path / "run", some_traces(1)).finish(SUMMARY)
    summary = load_run(tmp_path / "run").summary
    assert summary == SUMMARY
    assert type(summary) is Summary


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("summary.json", lambda text: text.replace("{", '{"extra": 1,', 1)),
        ("summary.json", lambda text: text.replace('"clips": 1,', "", 1)),
        ("summary.json", lambda _text: "[]"),
        ("summary.json", lambda text: re.sub(r'"wer": \{.*?\}', '"wer": 3', text, flags=re.S)),
        ("config.yaml", lambda _text: ""),
        ("config.yaml", lambda _text: "- a list"),
        ("environment.json", lambda _text: "[]"),
    ],
)
def test_a_file_of_another_version_is_told_as_such(
    tmp_path: Path, name: str, edit: Callable[[str], str]
) -> None:
    write_run(tmp_path / "run", some_traces(1)).finish(SUMMARY)
    path = tmp_path / "run" / name
    text = path.read_text(encoding="utf-8")
    path.write_text(edit(text), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != text
    with pytest.raises(StorageError, match="cannot be read") as caught:
        load_run(tmp_path / "run")
    assert "another version" in str(caught.value)


def test_a_gpu_that_lowered_its_clocks_makes_a_run_invalid(tmp_path: Path) -> None:
    dataset = msgspec.structs.replace(ENVIRONMENT.dataset, clips=1)
    config = replace(Config(), replay=ReplayConfig(repeats=1))
    environment = environment_with(dataset=dataset, metrics_version="1")
    writer = RunWriter(tmp_path / "run", config_yaml(config), environment)
    (trace,) = some_traces(1)
    writer.append(trace, clip_metrics(trace))
    telemetry = gpu_that_said((), ("power_cap",))
    writer.append_telemetry(telemetry)
    writer.close()
    run = load_run(tmp_path / "run")
    assert run.telemetry == telemetry
    summary = summarise_run(run)
    assert "throttled: the GPU lowered its clocks in some samples: power_cap 50%" in str(summary)
    assert summary.verdict.status == "invalid"
    memory = summary.metrics["gpu_memory_mib"]
    assert isinstance(memory, Ratio)
    assert (memory.unit, memory.value) == ("MiB", 3072)


@pytest.mark.parametrize("name", ["events.jsonl", "clips.jsonl"])
def test_a_line_that_was_begun_after_the_run_had_finished_is_refused(
    tmp_path: Path, name: str
) -> None:
    folder = save_run(make_run(tmp_path, clips=2, repeats=1), tmp_path)
    load_run(folder)
    with (folder / name).open("ab") as file:
        file.write(b"xxxx\xff")
    with pytest.raises(StorageError, match=f"{name} ends in the middle of a line"):
        load_run(folder)
