"""A fake of vLLM 0.32's ``/v1/realtime`` on loopback, with the faults a server can have.

Its answers are vLLM's own: ``tests/engines/test_realtime.py`` replays a transcript recorded from
the real server (``nox -s vllm``) against it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

STEP_BYTES = 2560  # 80 ms of PCM16 at 16 kHz
TAIL_STEPS = 10  # after the final commit: 17 of right padding, less the delay of 480 ms and one
MODEL = "tiny-rt"


class FakeVllm:
    """One delta for every 80 ms of audio: the next word of ``text``, or nothing."""

    def __init__(self, text: str = "one two three", *, blank_steps: int = 7) -> None:
        self.words = text.split()
        self.blank_steps = blank_steps
        self.audio: list[bytes] = []  # of each session that was ended by a final commit

    async def session(self, socket: ServerConnection) -> None:
        await _Session(self, socket).run()

    async def step(self, socket: ServerConnection, steps: int, said: int) -> int:
        """What comes for 80 ms of audio; returns how many words have been said."""
        if steps <= self.blank_steps or said == len(self.words):
            await delta(socket, "")
            return said
        await delta(socket, f" {self.words[said]}")
        return said + 1

    async def done(self, socket: ServerConnection, steps: int) -> None:
        usage = {
            "prompt_tokens": 39,
            "total_tokens": 39 + steps,
            "completion_tokens": steps,
            "prompt_tokens_details": None,
            "completion_tokens_details": None,
        }
        text = "".join(f" {word}" for word in self.words)
        await send(socket, type="transcription.done", text=text, usage=usage)


class _Session:
    def __init__(self, fake: FakeVllm, socket: ServerConnection) -> None:
        self.fake = fake
        self.socket = socket
        self.validated = self.started = False
        self.audio = b""
        self.steps = self.said = 0

    async def run(self) -> None:
        await send(self.socket, type="session.created", id="sess-0", created=0)
        async for raw in self.socket:
            if isinstance(raw, bytes):
                self.socket.transport.abort()  # as the real one: no close frame
                return
            try:
                await self.take(json.loads(raw))
            except json.JSONDecodeError:
                await error(self.socket, "Invalid JSON", "invalid_json")

    async def take(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "session.update":
                await self.update(event.get("model"))
            case "input_audio_buffer.append":
                await self.append(event["audio"])
            case "input_audio_buffer.commit" if not self.validated:
                text = (
                    "Model not validated. Make sure to validate the model by sending a"
                    " session.update event."
                )
                await error(self.socket, text, "model_not_validated")
            case "input_audio_buffer.commit":
                await self.commit(event.get("final", False))
            case unknown:
                await error(self.socket, f"Unknown event type: {unknown}", "unknown_event")

    async def update(self, model: str | None) -> None:
        if model is None:
            await error(self.socket, "Missing required field: model", "invalid_event")
        elif model != MODEL:
            text = f"The model `{model}` does not exist."
            await error(self.socket, text, "model_not_found")
        else:
            self.validated = True

    async def append(self, audio: str) -> None:
        try:
            pcm = base64.b64decode(audio)
        except binascii.Error:
            pcm = b""
        if not pcm:
            await error(self.socket, "Invalid audio data", "invalid_audio")
        self.audio += pcm
        while self.started and len(self.audio) // STEP_BYTES > self.steps:
            self.steps += 1
            self.said = await self.fake.step(self.socket, self.steps, self.said)

    async def commit(self, final: bool) -> None:
        if not final:
            self.started = True
        elif self.started:  # else the real one never answers either
            self.fake.audio.append(self.audio)
            rest = [f" {word}" for word in self.fake.words[self.said :]]
            steps = max(TAIL_STEPS, len(rest))
            for text in rest + [""] * (steps - len(rest)):
                await delta(self.socket, text)
            await self.fake.done(self.socket, self.steps + steps)


async def send(socket: ServerConnection, **event: Any) -> None:
    await socket.send(json.dumps(event))


async def delta(socket: ServerConnection, text: str) -> None:
    await send(socket, type="transcription.delta", delta=text)


async def error(socket: ServerConnection, text: str, code: str) -> None:
    await send(socket, type="error", error=text, code=code)


Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def _serving(handler: Handler, **options: Any) -> AsyncIterator[Server]:
    async def tolerant(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await handler(socket)

    async with serve(tolerant, "127.0.0.1", 0, **options) as server:
        yield server


@contextmanager
def running(handler: Handler, **options: Any) -> Iterator[str]:
    """Serve on a thread of its own; yields the address."""
    loop = asyncio.new_event_loop()
    started: threading.Event = threading.Event()
    stop = asyncio.Event()
    port = 0

    async def main() -> None:
        nonlocal port
        async with _serving(handler, **options) as server:
            port = server.sockets[0].getsockname()[1]
            started.set()
            await stop.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()  # a handler that hangs on purpose

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield f"ws://127.0.0.1:{port}/v1/realtime"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
        loop.close()
