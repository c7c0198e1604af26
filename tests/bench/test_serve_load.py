"""What our own server and client cost: many sessions at once, and the way there and back.

The server runs in a process of its own; client and server share the machine's cores.
"""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from websockets.sync.client import connect

from harness.chunking import Tokens
from harness.clock import RealWorld
from harness.engines import Engine
from harness.engines.null import NullEngine
from harness.engines.remote import connect_realtime
from harness.engines.remote.options import RealtimeOptions
from harness.events import SessionKind, Trace
from harness.replay import Planned, ReplayArm, replay
from harness.session import Pacing
from tests.conftest import make_clip

pytestmark = pytest.mark.slow

WORLD = RealWorld()
STREAMS = 100
FRAME_MS = 80.0
SECONDS = 10.0
ROUNDS = 100  # of the way there and back

SERVER = """
import sys
from harness.clock import RealWorld
from harness.chunking import Tokens
from harness.config import ServeConfig
from harness.engines.null import NullEngine
from harness.events import SessionKind
from harness.serve.app import create_app
from harness.serve.running import make_uvicorn

kind, world = SessionKind(sys.argv[1]), RealWorld()
config = ServeConfig(port=0, max_sessions=1000)
app = create_app(NullEngine(world, kind), config, world, kind=kind, chunking=Tokens(),
                 chunking_name="token")
make_uvicorn(app, lambda url: print(url, flush=True)).run()
"""


@contextmanager
def null_server(kind: SessionKind) -> Iterator[tuple[str, int]]:
    """Yields its address and its process id."""
    command = [sys.executable, "-c", SERVER, kind.value]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().removeprefix("http://").rstrip("/\n"), process.pid
        finally:
            process.terminate()


def client(address: str, kind: SessionKind) -> Engine:
    url = f"ws://{address}/v1/realtime"
    return connect_realtime(RealtimeOptions(url=url, model="null", kind=kind.value), WORLD)


def run(engines: list[Engine], kind: SessionKind, count: int, seconds: float) -> list[list[Trace]]:
    """``count`` sessions on each engine, turn by turn, or all at once where there is one engine."""
    traces: list[list[Trace]] = [[] for _ in engines]
    clip = make_clip("null", seconds)
    pacing = Pacing(frame_ms=FRAME_MS, kind=kind, timeout_s=30.0)
    arms = [ReplayArm(engine, lambda: Tokens().chunker(), pacing) for engine in engines]
    plan = [Planned(arm=arm, clip=clip, repeat=n) for n in range(count) for arm in range(len(arms))]
    streams = count if len(engines) == 1 else 1
    replay(WORLD, arms, plan, streams, lambda planned, trace: traces[planned.arm].append(trace))
    return traces


def test_a_hundred_live_sessions(benchmark: BenchmarkFixture) -> None:
    """No chunk lost or out of order; frames leave the client in time: p99 at most 10 ms late."""
    kind = SessionKind.LIVE
    with null_server(kind) as (address, _):
        engine = client(address, kind)
        (traces,) = benchmark.pedantic(
            lambda: run([engine], kind, STREAMS, SECONDS), rounds=1, iterations=1
        )
        engine.close()
        with urllib.request.urlopen(f"http://{address}/metrics") as response:
            metrics = response.read().decode()
    frames = round(SECONDS * 1000 / FRAME_MS)
    expected = " ".join(str(n + 1) for n in range(frames))
    assert [t.outcome for t in traces if t.failed] == []
    assert [t.text for t in traces] == [expected] * STREAMS
    late_ms = [(f.sent_ns - f.due_ns) / 1e6 for t in traces for f in t.frames]
    delay_ms = [
        (token.at_ns - frame.due_ns) / 1e6
        for t in traces
        for frame, token in zip(t.frames, t.tokens, strict=True)
    ]
    figures = {
        "sessions": STREAMS,
        "frames": len(late_ms),
        **{f"send_lateness_p{p}_ms": float(np.percentile(late_ms, p)) for p in (50, 95, 99)},
        **{f"frame_to_token_p{p}_ms": float(np.percentile(delay_ms, p)) for p in (50, 95, 99)},
    }
    benchmark.extra_info.update(figures)
    print(figures)
    assert "stt_sessions 0" in metrics.splitlines()
    assert figures["send_lateness_p99_ms"] <= 10


def test_the_way_there_and_back(benchmark: BenchmarkFixture) -> None:
    """The null engine here against the null engine behind the server, taking turns."""
    kind = SessionKind.TURN
    with null_server(kind) as (address, _):
        engines = [NullEngine(WORLD, kind), client(address, kind)]
        here, there = benchmark.pedantic(
            lambda: run(engines, kind, ROUNDS, 0.16), rounds=1, iterations=1
        )
        for engine in engines:
            engine.close()

    def first_ms(trace: Trace) -> float:
        assert trace.finish is not None
        return (trace.tokens[0].at_ns - trace.finish.due_ns) / 1e6

    added_ms = [first_ms(b) - first_ms(a) for a, b in zip(here, there, strict=True)]
    figures = {
        "n": ROUNDS,
        **{f"added_p{p}_ms": float(np.percentile(added_ms, p)) for p in (50, 95)},
    }
    benchmark.extra_info.update(figures)
    print(figures)
    assert figures["added_p50_ms"] <= 3


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, which Linux has")
def test_an_hour_of_sessions_leaves_nothing_behind() -> None:
    """720 sessions of 5 s, flooded, one in four left before its end: memory and sockets flat."""
    kind, audio = SessionKind.LIVE, b"\0" * 2 * 16_000

    def session(index: int) -> None:
        with connect(f"ws://{address}/ws/transcribe", proxy=None) as socket:
            for _ in range(5):
                socket.send(audio)
            if index % 4 == 0:
                return
            socket.send('{"type":"end"}')
            while b'"is_final":true' not in socket.recv(timeout=10, decode=False):
                pass

    def left() -> tuple[int, float]:
        """Open files, and resident memory in MB."""
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return len(list(Path(f"/proc/{pid}/fd").iterdir())), int(resident.split()[1]) / 1024

    with null_server(kind) as (address, pid), ThreadPoolExecutor(8) as pool:
        list(pool.map(session, range(80)))
        files, memory_mb = left()
        list(pool.map(session, range(720)))
        files_after, memory_after_mb = left()
    print({"files": (files, files_after), "memory_mb": (memory_mb, memory_after_mb)})
    assert files_after <= files + 1
    assert memory_after_mb - memory_mb < 8
