"""One utterance on the engine: audio in, tokens through the chunking strategies, messages out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from harness.chunking import Chunker, Strategy
from harness.chunking.messages import ChunkMessage, chunk_message
from harness.clock import NS_PER_MS, NS_PER_S, World
from harness.display import Display, TakenBack
from harness.engines import Engine, Reference, Samples, Stamp, Stream
from harness.events import Chunk, ServerSpan, ServerTiming, SessionKind, Span
from harness.languages.units import is_blank
from harness.serve.telemetry import ServerCounters
from harness.text import shorten

_log = logging.getLogger("harness.serve")

_LONGEST_LOGGED = 500  # characters of a chunk


class Client(Protocol):
    """Receives the results of an utterance; called on the asyncio thread."""

    def chunk(
        self, lane: str, text: str, message: ChunkMessage, token_ns: int, timing: ServerTiming
    ) -> None: ...

    def blank_token(self, token_ns: int, timing: ServerTiming) -> None:
        """A step of the engine's without text."""

    def ended(self, text: str, tokens: int, timing: ServerTiming) -> None: ...

    def failed(self, error: str) -> None: ...


class _ChunkedOutput:
    """One chunking strategy over the tokens of one utterance."""

    def __init__(self, name: str, config: Strategy) -> None:
        self.name = name
        self.label = config.label
        self.chunker: Chunker = config.chunker()
        self.count = 0
        self.first_ns: int | None = None  # of the first chunk that is not blank
        self.last_ns: int | None = None  # of the last such
        self.wake: asyncio.TimerHandle | None = None


class Utterance:
    """Listens to the engine on its thread, and works on the asyncio thread.

    The first lane is the one that ``ServerCounters`` and the log speak of.
    """

    def __init__(
        self,
        name: str,
        client: Client,
        lanes: dict[str, Strategy],
        kind: SessionKind,
        world: World,
        telemetry: ServerCounters,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._name = name
        self._client = client
        self._lanes = [_ChunkedOutput(*lane) for lane in lanes.items()]
        self._kind = kind
        self._world = world
        self._telemetry = telemetry
        self._loop = loop
        self._stream: Stream | None = None
        self._request_ns: int | None = None  # the instant that latencies count from
        self._texts: list[str] = []  # of every token
        self._display = Display()  # of what may still be taken back
        self._spans: list[Span] = []  # that were not sent to the client yet
        self._spoke = False  # a token that is not blank has come
        self._over = False

    # --- the asyncio thread ----------------------------------------------------------------------

    def begin(self, engine: Engine, reference: Reference | None) -> None:
        """Raises ``HarnessError`` when the engine refuses."""
        self._stream = engine.open(self, reference)

    def feed(self, samples: Samples) -> None:
        if self._kind is SessionKind.LIVE and self._request_ns is None:
            self._request_ns = self._world.now_ns()
        if self._stream is not None and not self._over:
            self._stream.feed(samples)

    def finish(self) -> None:
        if self._request_ns is None:
            self._request_ns = self._world.now_ns()
        if self._stream is not None and not self._over:
            self._stream.finish()

    def close(self) -> None:
        """End it; nothing more is sent to the client."""
        self._over = True
        for lane in self._lanes:
            if lane.wake is not None:
                lane.wake.cancel()
        if self._stream is not None:
            self._stream.close()

    # --- the engine's thread ---------------------------------------------------------------------

    def ready(self) -> None:
        pass  # audio that comes earlier is kept by the stream

    def token(self, text: str, at_ns: int | None = None, after_ns: int | None = None) -> None:
        at_ns = self._world.now_ns() if at_ns is None else at_ns
        self._hand_over(lambda: self._on_token(text, at_ns))

    def hypothesis(
        self, segment: int, text: str, final: bool, at_ns: Stamp = None, after_ns: Stamp = None
    ) -> None:
        at_ns = self._world.now_ns() if at_ns is None else at_ns
        self._hand_over(lambda: self._on_hypothesis(segment, text, final, at_ns))

    def speech_started(self) -> None:
        pass

    def turn_ended(self) -> None:
        pass

    def span(self, name: str, start_ns: int, end_ns: int, shared_by: int = 1) -> None:
        self._hand_over(lambda: self._on_span(Span(name, start_ns, end_ns, shared_by)))

    def ended(self) -> None:
        at_ns = self._world.now_ns()
        self._hand_over(lambda: self._on_ended(at_ns))

    def failed(self, error: str) -> None:
        self._hand_over(lambda: self._on_failed(error))

    def _hand_over(self, action: Callable[[], None]) -> None:
        if not self._over:
            self._loop.call_soon_threadsafe(lambda: None if self._over else action())

    # --- the asyncio thread again ----------------------------------------------------------------

    def _on_token(self, text: str, at_ns: int) -> None:
        self._texts.append(text)
        if not text:
            self._client.blank_token(at_ns, self._timing(at_ns))
            return
        if not self._spoke and not is_blank(text):
            self._spoke = True
            self._telemetry.first_token.observe_ns(at_ns - self._request(at_ns))
        for lane in self._lanes:
            for chunk in lane.chunker.push(text, at_ns):
                self._release(lane, chunk, at_ns)
            self._plan_tick(lane)

    def _on_hypothesis(self, segment: int, text: str, final: bool, at_ns: int) -> None:
        """Clients see what is committed of it."""
        try:
            committed = self._display.hypothesis(segment, text, final=final)
        except TakenBack as error:
            self._on_failed(f"text changed after it was final: {error}")
            return
        if committed:
            self._on_token(committed, at_ns)

    def _plan_tick(self, lane: _ChunkedOutput) -> None:
        if (due_ns := lane.chunker.deadline_ns) is not None and lane.wake is None:
            in_s = max(0, due_ns - self._world.now_ns()) / NS_PER_S
            lane.wake = self._loop.call_later(in_s, self._tick, lane)

    def _tick(self, lane: _ChunkedOutput) -> None:
        lane.wake = None
        now_ns = self._world.now_ns()
        for chunk in lane.chunker.tick(now_ns):
            self._release(lane, chunk, now_ns)
        self._plan_tick(lane)

    def _on_span(self, span: Span) -> None:
        self._spans.append(span)
        if span.name == "queue":
            self._telemetry.queueing.observe_ns(span.end_ns - span.start_ns)

    def _on_ended(self, at_ns: int) -> None:
        if text := self._display.end():
            self._on_token(text, at_ns)
        for lane in self._lanes:
            self._release(lane, lane.chunker.flush(), at_ns, is_final=True)
        self._telemetry.utterances["ended"] += 1
        self.close()
        self._client.ended("".join(self._texts), len(self._texts), self._timing(at_ns))

    def _on_failed(self, error: str) -> None:
        self._telemetry.utterances["failed"] += 1
        self.close()
        self._client.failed(error)

    def _timing(self, at_ns: int) -> ServerTiming:
        request_ns = self._request(at_ns)

        def since_request_ms(instant_ns: int) -> float:
            return round((instant_ns - request_ns) / NS_PER_MS, 3)

        spans, self._spans = self._spans, []
        return ServerTiming(
            kind=self._kind,
            at_ms=since_request_ms(at_ns),
            spans=[
                ServerSpan(
                    s.name, since_request_ms(s.start_ns), since_request_ms(s.end_ns), s.shared_by
                )
                for s in spans
            ],
        )

    def _request(self, at_ns: int) -> int:
        return at_ns if self._request_ns is None else self._request_ns

    def _release(
        self, lane: _ChunkedOutput, text: str, token_ns: int, *, is_final: bool = False
    ) -> None:
        now_ns = self._world.now_ns()
        request_ns = self._request(now_ns)
        chunk = Chunk(index=lane.count, text=text, at_ns=now_ns, is_final=is_final)
        lane.count += 1
        is_first = not is_blank(text) and lane.first_ns is None
        if is_first:
            lane.first_ns = now_ns
        message = chunk_message(chunk, request_ns, lane.first_ns)
        self._client.chunk(lane.name, text, message, token_ns, self._timing(now_ns))
        if lane is self._lanes[0] and not is_blank(text):
            self._note(lane, message, now_ns, request_ns if is_first else None)
            lane.last_ns = now_ns

    def _note(
        self, lane: _ChunkedOutput, message: ChunkMessage, now_ns: int, request_ns: int | None
    ) -> None:
        """Count and log a chunk, after the message before it has left: logging may be slow."""
        if request_ns is not None:
            self._telemetry.ttft.observe_ns(now_ns - request_ns)
            ttft_ms = (now_ns - request_ns) / 1e6
            self._loop.call_soon(_log.info, "TTFT: %.1f ms for chunk %s", ttft_ms, self._name)
        elif lane.last_ns is not None:
            self._telemetry.gap.observe_ns(now_ns - lane.last_ns)
        self._loop.call_soon(
            _log.info,
            "Streaming %s chunk %d: %r",
            lane.label,
            message.chunk_index,
            shorten(message.text, _LONGEST_LOGGED),
        )
