"""A server on a thread, engines to serve, and small clients to talk to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from websockets.sync.client import ClientConnection, connect

from harness.chunking import Words
from harness.clock import RealWorld
from harness.config import ServeConfig
from harness.datasets.load import Clip
from harness.engines import Engine, EngineInfo, Listener, Reference, Samples
from harness.events import SessionKind, Word
from harness.serve.app import Server, create_app
from harness.serve.running import make_uvicorn

WORLD = RealWorld()
WAIT_S = 60  # a busy machine may take its time; only what hangs takes that long
WORDS = "one two three four five six seven eight"


class Spelling:
    """A turn engine on a thread of its own: the words of ``text``, and what it was fed.

    ``hold`` keeps it from answering, as a slow model would.
    """

    def __init__(self, text: str = WORDS, error: str | None = None) -> None:
        self.info = EngineInfo(model="spelling", kinds=(SessionKind.TURN,))
        self.text = text
        self.error = error
        self.hold = threading.Event()
        self.hold.set()
        self.fed: list[Samples] = []  # of each finished utterance
        self.opened = self.closed = 0

    def open(self, listener: Listener, reference: Reference | None = None) -> _SpellingStream:
        self.opened += 1
        listener.ready()
        return _SpellingStream(self, listener)

    def close(self) -> None:
        self.hold.set()


class _SpellingStream:
    def __init__(self, engine: Spelling, listener: Listener) -> None:
        self.engine = engine
        self.listener = listener
        self.pieces: list[Samples] = []
        self.closed = False

    def feed(self, samples: Samples) -> None:
        self.pieces.append(samples)

    def finish(self) -> None:
        self.engine.fed.append(np.concatenate(self.pieces))
        threading.Thread(target=self.answer, daemon=True).start()

    def answer(self) -> None:
        self.engine.hold.wait(2 * WAIT_S)
        for index, word in enumerate(self.engine.text.split()):
            began_ns = WORLD.now_ns()
            if not self.closed:
                self.listener.span("decode", began_ns, WORLD.now_ns())
                self.listener.token(f" {word}" if index else word)
        if not self.closed and self.engine.error is not None:
            self.listener.failed(self.engine.error)
        elif not self.closed:
            self.listener.ended()

    def close(self) -> None:
        if not self.closed:
            self.engine.closed += 1
        self.closed = True


def make_clip(name: str, text: str, duration_s: float = 0.4) -> Clip:
    count = round(duration_s * 16_000)
    noise = np.random.default_rng(len(name)).integers(-8000, 8000, count)
    each_s = duration_s / len(text.split())
    return Clip(
        id=name,
        samples=(noise / 32768).astype(np.float32),
        duration_s=duration_s,
        text=text,
        speech_onset_s=0.0,
        speech_end_s=duration_s,
        language="en",
        words=tuple(
            Word(text=word, start_s=i * each_s, end_s=(i + 1) * each_s)
            for i, word in enumerate(text.split())
        ),
        pcm_sha256="",
    )


@dataclass
class Running:
    port: int
    server: Server
    uvicorn: uvicorn.Server
    thread: threading.Thread

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def connect(self, path: str = "/ws/transcribe", **options: Any) -> ClientConnection:
        return connect(self.url(path), proxy=None, compression=None, **options)

    def stop(self) -> None:
        self.uvicorn.should_exit = True
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def serving(
    engine: Engine,
    config: ServeConfig | None = None,
    *,
    kind: SessionKind = SessionKind.TURN,
    clips: tuple[Clip, ...] = (),
) -> Iterator[Running]:
    app = create_app(
        engine,
        config or ServeConfig(port=0, grace_s=2.0),
        WORLD,
        kind=kind,
        chunking=Words(1),
        chunking_name="1word",
        clips=clips,
    )
    with running_app(app) as running:
        yield running
    engine.close()


def _brisk_asyncio() -> SimpleNamespace:
    """uvicorn asks every 100 ms whether it should stop, and whether it has: here every 5."""

    def sleep(seconds: float) -> Coroutine[Any, Any, None]:
        return asyncio.sleep(seconds / 20)

    return SimpleNamespace(**{**vars(asyncio), "sleep": sleep})


@contextlib.contextmanager
def running_app(app: Starlette) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.server, "asyncio", _brisk_asyncio())
        server = make_uvicorn(app)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            WORLD.sleep_until_ns(WORLD.now_ns() + 5_000_000)
        port = server.servers[0].sockets[0].getsockname()[1]
        running = Running(port, app.state.server, server, thread)
        try:
            yield running
        finally:
            running.stop()


def pcm(seconds: float, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    return rng.integers(-8000, 8000, round(seconds * 16_000)).astype("<i2").tobytes()


def send(socket: ClientConnection, **event: Any) -> None:
    socket.send(json.dumps(event))


def receive(socket: ClientConnection) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(socket.recv(timeout=WAIT_S))
    return event


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def chunks_until_final(socket: ClientConnection) -> list[dict[str, Any]]:
    """Chunk messages of one lane, the final one included."""
    messages = [receive(socket)]
    while not messages[-1].get("is_final", True):
        messages.append(receive(socket))
    return messages
