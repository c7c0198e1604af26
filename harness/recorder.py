"""The client of one session: stamps what the engine says, chunks it, stamps the chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from harness.chunking import Chunker
from harness.chunking.release import Released, Releases
from harness.clock import Timeline, World
from harness.display import TakenBack
from harness.engines import Stamp
from harness.events import (
    Chunk,
    Ended,
    Failed,
    FinishSent,
    FrameSent,
    Hypothesis,
    Session,
    Span,
    SpeechStarted,
    Token,
    Trace,
    TurnEnded,
)

_MOST_HYPOTHESISED = 50_000_000  # characters of a session: ten hours of speech, said 100 times


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
        on_turn_ended: Callable[[int], None] = lambda _at_ns: None,
        on_done: Callable[[], None],
    ) -> None:
        self.closed = False  # what comes late is not recorded
        self._world = world
        self._driver = driver
        self._releases = Releases(chunker)
        self._on_ready = on_ready
        self._on_turn_ended = on_turn_ended
        self._on_done = on_done
        self._lock = threading.Lock()
        self._tokens: list[Token] = []
        self._hypotheses: list[Hypothesis] = []
        self._hypothesised = 0  # characters of all of them
        self._speech_started: list[SpeechStarted] = []
        self._turns_ended: list[TurnEnded] = []
        self._chunks: list[Chunk] = []
        self._spans: list[Span] = []
        self._outcome: Ended | Failed | None = None
        self._wake_ns: int | None = None

    def ready(self) -> None:
        self._driver.call_soon(lambda: None if self.closed else self._on_ready())

    def token(self, text: str, at_ns: int | None = None, after_ns: int | None = None) -> None:
        at_ns = self._world.now_ns() if at_ns is None else at_ns
        with self._lock:
            if self._outcome is not None or not self._is_text(text, at_ns):
                return
            self._tokens.append(Token(text=text, at_ns=at_ns, after_ns=after_ns))
            self._release(self._releases.token(text, at_ns))
            self._wake()

    def hypothesis(
        self, segment: int, text: str, final: bool, at_ns: Stamp = None, after_ns: Stamp = None
    ) -> None:
        at_ns = self._world.now_ns() if at_ns is None else at_ns
        with self._lock:
            if self._outcome is not None or not self._is_text(text, at_ns):
                return
            self._hypotheses.append(Hypothesis(segment, text, final, at_ns, after_ns))
            self._hypothesised += len(text)
            try:
                self._release(self._releases.hypothesis(segment, text, at_ns, final=final))
            except TakenBack as error:
                self._fail(f"text changed after it was final: {error}", at_ns)
            if self._hypothesised > _MOST_HYPOTHESISED:
                self._fail(f"more than {_MOST_HYPOTHESISED:,} characters of hypotheses", at_ns)
            self._wake()

    def _is_text(self, text: object, at_ns: int) -> bool:
        """An engine of one's own may say anything: what is no text fails its session."""
        if not isinstance(text, str):
            what = type(text).__name__
            self._fail(f"the engine said something that is no text: a value of type {what}", at_ns)
        return isinstance(text, str)

    def speech_started(self) -> None:
        at_ns = self._world.now_ns()
        with self._lock:
            if self._outcome is None:
                self._speech_started.append(SpeechStarted(at_ns))

    def turn_ended(self, by: Literal["engine", "endpointer"] = "engine") -> None:
        at_ns = self._world.now_ns()
        with self._lock:
            if self._outcome is not None:
                return
            self._turns_ended.append(TurnEnded(at_ns, by))
        self._driver.call_soon(lambda: None if self.closed else self._on_turn_ended(at_ns))

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
            self._release(self._releases.end(at_ns), is_final=True)
        self._driver.call_soon(self._on_done)

    def failed(self, error: str) -> None:
        at_ns = self._world.now_ns()
        with self._lock:
            self._fail(error, at_ns)

    def _fail(self, error: str, at_ns: int) -> None:
        if self._outcome is None:
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
            hypotheses=tuple(self._hypotheses),
            speech_started=tuple(self._speech_started),
            turns_ended=tuple(self._turns_ended),
        )

    def _release(self, released: list[Released], *, is_final: bool = False) -> None:
        for place, (text, segment, closes) in enumerate(released, start=1):
            self._chunks.append(
                Chunk(
                    index=len(self._chunks),
                    text=text,
                    at_ns=self._world.now_ns(),
                    is_final=is_final and place == len(released),
                    segment=segment,
                    closes=closes,
                )
            )

    def _wake(self) -> None:
        due_ns = self._releases.deadline_ns
        if due_ns is not None and due_ns != self._wake_ns:
            self._wake_ns = due_ns
            self._driver.call_at(due_ns, self._tick)

    def _tick(self) -> None:
        with self._lock:
            if self._outcome is None:
                self._release(self._releases.tick(self._world.now_ns()))
                self._wake()
