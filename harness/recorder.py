"""The client of one session: stamps what the engine says, chunks it, stamps the chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable

from harness.chunking import Chunker
from harness.clock import Timeline, World
from harness.events import Chunk, Ended, Failed, FinishSent, FrameSent, Session, Span, Token, Trace


class Recorder:
    """The listener of one session: stamps first, then chunks, then appends.

    Called from the engine's thread, and for timed strategies from the driver's; the stamps are
    taken before the lock.
    """

    def __init__(
        self,
        world: World,
        driver: Timeline,
        chunker: Chunker,
        *,
        on_ready: Callable[[], None],
        on_done: Callable[[], None],
    ) -> None:
        self.closed = False  # what comes late is not recorded
        self._world = world
        self._driver = driver
        self._chunker = chunker
        self._on_ready = on_ready
        self._on_done = on_done
        self._lock = threading.Lock()
        self._tokens: list[Token] = []
        self._chunks: list[Chunk] = []
        self._spans: list[Span] = []
        self._outcome: Ended | Failed | None = None
        self._wake_ns: int | None = None

    def ready(self) -> None:
        self._driver.call_soon(lambda: None if self.closed else self._on_ready())

    def token(self, text: str, at_ns: int | None = None, after_ns: int | None = None) -> None:
        at_ns = self._world.now_ns() if at_ns is None else at_ns
        with self._lock:
            if self._outcome is not None:
                return
            self._tokens.append(Token(text=text, at_ns=at_ns, after_ns=after_ns))
            self._release(self._chunker.push(text, at_ns))
            self._wake()

    def span(self, name: str, start_ns: int, end_ns: int, shared_by: int = 1) -> None:
        with self._lock:
            if self._outcome is None:
                self._spans.append(Span(name, start_ns, end_ns, shared_by))

    def ended(self) -> None:
        at_ns = self._world.now_ns()
        with self._lock:
            if self._outcome is not None:
                return
            self._outcome = Ended(at_ns=at_ns)
            self._release([self._chunker.flush()], is_final=True)
        self._driver.call_soon(self._on_done)

    def failed(self, error: str) -> None:
        at_ns = self._world.now_ns()
        with self._lock:
            if self._outcome is not None:
                return
            self._outcome = Failed(at_ns=at_ns, error=error)
        self._driver.call_soon(self._on_done)

    def trace(
        self, session: Session, frames: tuple[FrameSent, ...], finish: FinishSent | None
    ) -> Trace:
        """What was recorded; the session must be over."""
        assert self._outcome is not None  # noqa: S101 `on_done` is only called with one
        return Trace(
            session=session,
            frames=frames,
            finish=finish,
            tokens=tuple(self._tokens),
            chunks=tuple(self._chunks),
            spans=tuple(self._spans),
            outcome=self._outcome,
        )

    def _release(self, texts: list[str], *, is_final: bool = False) -> None:
        for text in texts:
            self._chunks.append(
                Chunk(
                    index=len(self._chunks),
                    text=text,
                    at_ns=self._world.now_ns(),
                    is_final=is_final,
                )
            )

    def _wake(self) -> None:
        due_ns = self._chunker.deadline_ns
        if due_ns is not None and due_ns != self._wake_ns:
            self._wake_ns = due_ns
            self._driver.call_at(due_ns, self._tick)

    def _tick(self) -> None:
        with self._lock:
            if self._outcome is None:
                self._release(self._chunker.tick(self._world.now_ns()))
                self._wake()
