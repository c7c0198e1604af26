"""Runs that never happened: realistic traces for the report's tests, benchmark and screenshots."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec.structs import replace

from harness.chunking import Strategy, Words, rechunk
from harness.config import Config, ReplayConfig
from harness.events import (
    Ended,
    Failed,
    FinishSent,
    FrameSent,
    Session,
    SessionKind,
    Span,
    Token,
    Trace,
    Word,
)
from harness.machine.environment import Environment
from harness.machine.host import HostSample
from harness.metrics import METRICS_VERSION
from harness.metrics.latency import clip_metrics
from harness.runs.folder import Run, RunWriter
from harness.runs.records import Verdict
from harness.runs.summarise import summarise_run

MS = 1_000_000
WORDS = (  # noqa: SIM905
    "it was the best of times it was the worst of times it was the age of wisdom it was the age "
    "of foolishness it was the epoch of belief it was the epoch of incredulity it was the season "
    "of light it was the season of darkness it was the spring of hope it was the winter of despair"
).split()


def make_trace(
    clip: int,
    repeat: int,
    order: int,
    chunking: Strategy,
    *,
    kind: SessionKind = SessionKind.TURN,
    words: int | None = None,
    token_ms: float = 15.0,
    encoder_ms: float = 270.0,
    drift_ms: float = 0.0,
    fails: bool = False,
    frame_ms: float = 100.0,
    seed: int = 0,
    text: list[str] | None = None,
) -> Trace:
    """One session: paced frames, spans, sub-word tokens, chunks by ``rechunk``."""
    clip_random = random.Random(f"{seed} {clip}")  # noqa: S311
    noise = random.Random(f"{seed} {clip} {repeat} {chunking.name}")  # noqa: S311
    if text is None:
        count = words or clip_random.randint(4, 22)
        start = clip_random.randrange(len(WORDS))
        text = [WORDS[(start + i) % len(WORDS)] for i in range(count)]
    spoken, at_s = [], 0.3
    for word in text:
        length_s = min(1.0, 0.12 + 0.05 * len(word))
        spoken.append(Word(word, at_s, at_s + length_s))
        at_s += length_s + clip_random.uniform(0.02, 0.12)
    duration_s = round(at_s + 0.25, 2)
    t0_ns = 10**9 * (1000 + 30 * order)
    session = Session(
        clip=f"two_cities_{clip:03d}",
        repeat=repeat,
        order=order,
        lane=0,
        kind=kind,
        t0_ns=t0_ns,
        duration_s=duration_s,
        speech_onset_s=0.3,
        speech_end_s=spoken[-1].end_s,
        frame_ms=frame_ms,
        reference=" ".join(text).capitalize() + ".",
        words=tuple(spoken),
    )

    def at(second: float) -> int:
        return t0_ns + round(second * 1e9)

    frames = tuple(
        FrameSent(i, due, due + round(abs(noise.gauss(0.12, 0.1)) * MS))
        for i, due in (
            (i, at(min(duration_s, (i + 1) * frame_ms / 1000)))
            for i in range(-(-round(duration_s * 1000) // round(frame_ms)))
        )
    )
    finish = FinishSent(at(duration_s), frames[-1].sent_ns + 5_000)
    spans: list[Span] = []
    tokens: list[Token] = []
    now = finish.sent_ns + 40_000

    def span(name: str, length_ms: float) -> None:
        nonlocal now
        end = now + round(max(0.05, noise.gauss(length_ms, length_ms * 0.04)) * MS)
        spans.append(Span(name, now, end))
        now = end

    pieces = _pieces(text, noise, slip=clip % 4 == 1)
    if kind is SessionKind.TURN:
        span("features", 6)
        span("encoder", encoder_ms + drift_ms * order)
        for i, (piece, _) in enumerate(pieces):
            span("prefill" if i == 0 else "decode", token_ms * (1.6 if i == 0 else 1))
            tokens.append(Token(piece, now + 8_000))
    else:
        for piece, index in pieces:
            word = spoken[min(index, len(spoken) - 1)]
            now = max(now if tokens else 0, at(word.end_s + 0.5 + drift_ms * word.end_s / 1000))
            span("decode", token_ms)
            tokens.append(Token(piece, now + 8_000))
    if fails:
        tokens, spans = tokens[:2], spans[:4]
        outcome: Ended | Failed = Failed(now, "server closed the connection (1011)")
        chunks = rechunk(tokens, now, chunking)[:-1]
        return Trace(session, frames, finish, tuple(tokens), chunks, tuple(spans), outcome)
    span("decode", token_ms)
    ended = now + 20_000
    chunks = tuple(
        type(c)(c.index, c.text, c.at_ns + noise.randint(8_000, 40_000), c.is_final)
        for c in rechunk(tokens, ended, chunking)
    )
    return Trace(
        session, frames, finish, tuple(tokens), chunks, tuple(spans), Ended(chunks[-1].at_ns)
    )


def _pieces(text: list[str], noise: random.Random, *, slip: bool) -> list[tuple[str, int]]:
    """Tokens with the index of their word; long words in two; one word wrong where ``slip``."""
    pieces: list[tuple[str, int]] = []
    for index, word in enumerate(text):
        said = "their" if slip and index == 2 else word
        said = said.capitalize() if index == 0 else said
        said = said + "." if index == len(text) - 1 else said
        cut = 4 if len(said) > 7 else len(said)
        pieces.append((" " + said[:cut], index))
        if said[cut:]:
            pieces.append((said[cut:], index))
    return pieces


def make_run(
    folder: Path,
    chunking: Strategy | None = None,
    *,
    name: str = "1word",
    clips: int = 9,
    repeats: int = 3,
    kind: SessionKind = SessionKind.TURN,
    fail_every: int = 0,
    validity: tuple[str, ...] = (),
    verdict: dict[str, object] | None = None,
    place: int = 0,
    arms: int = 1,
    host: Sequence[HostSample] = (),
    **trace_options: Any,
) -> Run:
    """A finished run of one arm; every ``fail_every``-th session fails."""
    chunking = chunking or Words(1)
    traces = [
        make_trace(
            clip,
            repeat,
            (repeat * clips + clip) * arms + place,
            chunking,
            kind=kind,
            fails=bool(fail_every) and (repeat * clips + clip) % fail_every == fail_every - 1,
            **trace_options,
        )
        for repeat in range(repeats)
        for clip in range(clips)
    ]
    measured = tuple(clip_metrics(trace) for trace in traces)
    run = Run(
        folder=folder / name,
        config=asdict(Config(chunking=chunking, replay=ReplayConfig(repeats=repeats))),
        environment=make_environment(name, clips, kind),
        traces=tuple(traces),
        clips=measured,
        gc_pauses=(),
        summary=None,
        host=tuple(host),
    )
    summary = summarise_run(run)
    if validity:
        summary = replace(summary, validity=validity, verdict=Verdict(status="invalid"))
    if verdict:
        summary = replace(summary, verdict=msgspec.convert(verdict, Verdict))
    return replace(run, summary=summary)


def make_arm_runs(words: Sequence[int], folder: Path = Path(), **options: Any) -> list[Run]:
    """One run an arm, of 1word, 6word, ...; interleaved."""
    return [
        make_run(folder, Words(n), name=f"{n}word", place=i, arms=len(words), **options)
        for i, n in enumerate(words)
    ]


def save_run(run: Run, folder: Path) -> Path:
    """Write the run as a real one is written; returns its folder."""
    writer = RunWriter(folder / run.name, yaml.safe_dump(run.config), run.environment)
    for trace, metrics in zip(run.traces, run.clips, strict=True):
        writer.append(trace, metrics)
    writer.append_host(run.host)
    if run.summary is not None:
        writer.finish(run.summary)
    return writer.folder


def make_environment(name: str, clips: int, kind: SessionKind) -> Environment:
    stored = {
        "schema": 1,
        "metrics_version": METRICS_VERSION,
        "made_at": "2026-01-01T00:00:00+00:00",
        "python": "3.12.1",
        "config_identity": "56ef",
        "name": name,
        "arm": {
            "chunking": name,
            "model": "whisper_tiny_en",
            "dataset": "two_cities",
            "session": str(kind),
        },
        "dataset": {"name": "two_cities", "clips": clips, "sha256": "00" * 32},
        "model": {"model": "whisper_tiny_en", "device": "cpu", "dtype": "float32",
                  "random_weights": False},
        "machine": {"cpu": "AMD EPYC", "cores": 2, "platform": "Linux x86_64"},
        "gpu": None,
        "packages": {"torch": "2.13.0", "transformers": "5.23.0"},
        "clock_resolution_ns": 20,
        "harness_floor_ms": 0.11,
        "simulated": False,
        "injected": False,
        "seed": 0,
    }  # fmt: skip
    return msgspec.convert(stored, Environment)
