"""Engines, chunking strategies and metrics from another package: found by name, never in the way.

A package that is not ours lies in a folder on the path, with entry points as an installed one has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.chunking import STRATEGIES, offered, parse_strategy

pytestmark = pytest.mark.e2e

ACME = '''
from dataclasses import dataclass

import harness


class AcmeEngine:
    """Says the reference, in capitals, when the audio is over."""

    def __init__(self, world, shout):
        self.info = harness.EngineInfo(model="acme", kinds=(harness.SessionKind.TURN,))
        self.worker, self.shout = world.timeline("acme"), shout
        self.worker.start()

    def open(self, listener, reference=None):
        listener.ready()
        return AcmeStream(self, listener, reference.text)

    def close(self):
        self.worker.stop()


class AcmeStream:
    def __init__(self, engine, listener, text):
        self.engine, self.listener, self.text = engine, listener, text

    def feed(self, samples): ...

    def finish(self):
        text = self.text.upper() if self.engine.shout else self.text
        for word in text.split():
            self.engine.worker.call_soon(lambda word=word: self.listener.token(word + " "))
        self.engine.worker.call_soon(self.listener.ended)

    def close(self): ...


@dataclass
class Acme:
    shout: bool = False

    def load(self, setting):
        return AcmeEngine(setting.world, self.shout)


def make(world, shout=False):
    return AcmeEngine(world, shout)


class PairsChunker(harness.WordHolder):
    def push(self, text, at_ns):
        self._take(text)
        return [self._release(2) for _ in range(len(self._words) // 2)]


@dataclass
class Pairs(harness.Strategy):
    def chunker(self):
        return PairsChunker()


@harness.metric_function(unit="ms", label="Second chunk")
def second_chunk_ms(trace):
    """t(second chunk) - t0. Missing: fewer chunks."""
    if len(trace.chunks) < 2:
        return harness.Missing("fewer than two chunks")
    return (trace.chunks[1].at_ns - trace.session.t0_ns) / 1e6


def raises(trace):
    raise RuntimeError("no")
'''
ENTRY_POINTS = """\
[harness.engines]
acme = acme:Acme
[harness.chunking]
pairs = acme:Pairs
[harness.metrics]
second_chunk_ms = acme:second_chunk_ms
"""
BROKEN = """\
[harness.engines]
broken = nothing_here:Engine
[harness.chunking]
broken = nothing_here:Strategy
[harness.metrics]
broken_ms = nothing_here:broken_ms
"""
QUICK = [
    "replay.pace=virtual", "replay.compute_scale=0", "replay.repeats=2", "replay.warmup=0",
    "dataset.limit=3", "report.plots=false",
]  # fmt: skip


def install(folder: Path, name: str, entry_points: str) -> None:
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(entry_points)
    (info / "top_level.txt").write_text(f"{name}\n")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with the packages acme and broken in it."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "acme.py").write_text(ACME)
    install(folder, "acme", ENTRY_POINTS)
    install(folder, "broken", BROKEN)
    return folder


def run(packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = [str(packages), str(Path(__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=packages.parent, env=environment, capture_output=True, text=True,
    )  # fmt: skip


def test_what_a_package_brings_is_used_by_name(packages: Path) -> None:
    """An engine and a strategy from the command line, a metric as a rule; one file each."""
    rule = "gate.rules=['second_chunk_ms p50 <= 100000 ms']"
    done = run(
        packages, "run", "engine=acme", "engine.shout=true", "chunking=pairs", rule, *QUICK,
        "hydra.run.dir=run",
    )  # fmt: skip
    assert done.returncode in (0, 4), done.stderr + done.stdout
    folder = packages.parent / "run"
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["arm"]["chunking"] == "pairs"
    assert environment["outside"]["engine"] == {
        "name": "acme", "package": "acme", "version": "1.2", "options": {"shout": True},
    }  # fmt: skip
    assert environment["outside"]["chunking"]["package"] == "acme"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["metrics"]["second_chunk_ms"]["n"] == 6
    assert summary["verdict"]["rules"][0]["observed"] > 0
    line = json.loads((folder / "clips.jsonl").read_text().splitlines()[0])
    assert line["hypothesis"].isupper()
    # the report is made by whoever has it, the package installed or not
    report = run(packages, "report", "run", "--quiet")
    assert report.returncode == done.returncode, report.stderr
    assert (
        "Second chunk" in (folder / "report.html").read_text()
        or "second_chunk_ms" in (folder / "report.html").read_text()
    )


def test_an_engine_without_a_package(packages: Path) -> None:
    done = run(
        packages, "run", "engine=python", "engine.factory=acme:make", "engine.options.shout=true",
        *QUICK, "hydra.run.dir=run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    environment = json.loads((packages.parent / "run" / "environment.json").read_text())
    assert environment["outside"]["engine"]["name"] == "acme:make"
    assert environment["outside"]["engine"]["options"]["options"] == {"shout": True}


def test_a_broken_package_is_named_and_stops_nothing_else(packages: Path) -> None:
    done = run(packages, "run", "engine=broken", *QUICK)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert (
        "the package broken is installed, but its engine 'broken' cannot be loaded" in done.stderr
    )
    good = run(packages, "run", "engine=null", *QUICK, "hydra.run.dir=run")
    assert good.returncode == 0, good.stderr
    for verb in (["report", "run", "--quiet"], ["gate", "run", "gate.rules=['failed = 0']"]):
        assert run(packages, *verb).returncode == 0


def test_own_configs_come_first(packages: Path) -> None:
    """--config-dir, in any place of the line: a strategy's own options and a gate of one's own."""
    own = packages.parent / "own"
    (own / "chunking").mkdir(parents=True)
    (own / "gate").mkdir()
    (own / "chunking" / "four.yaml").write_text(
        "defaults:\n  - /schema/chunking@_here_: words\n\nwords: 4\n"
    )
    (own / "gate" / "team.yaml").write_text("name: team\nrules:\n  - failed = 0\n")
    for place in (0, 2):
        arguments = ["engine=scripted", "chunking=four", "gate=team", *QUICK]
        arguments[place:place] = ["--config-dir", "own"]
        done = run(packages, "run", *arguments, f"hydra.run.dir=run{place}")
        assert done.returncode == 0, done.stderr
        summary = json.loads((packages.parent / f"run{place}" / "summary.json").read_text())
        assert summary["arm"]["chunking"] == "4word"
        assert summary["verdict"]["status"] == "pass"
    missing = run(packages, "run", "--config-dir", "nowhere", *QUICK)
    assert missing.returncode == 2
    assert "must name one folder that exists" in missing.stderr


def test_serve_and_the_pages_offer_a_strategy_without_being_told() -> None:
    from dataclasses import dataclass

    import harness

    @harness.chunking_strategy("triples")
    @dataclass
    class Triples(harness.Strategy):
        def chunker(self) -> harness.Chunker:
            return harness.Words(3).chunker()

    try:
        assert "triples" in [strategy.name for strategy in offered()]
        assert parse_strategy("triples") == Triples()
    finally:
        STRATEGIES.remove("triples")
