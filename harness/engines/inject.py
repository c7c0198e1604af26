"""Make any engine worse on purpose: the proof that a gate catches what it claims to catch.

What the engine says is held back and passed on later by a timeline of this room's own, in order.
The engine's own work is not slowed, so with several streams its capacity stays what it was.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from harness.clock import NS_PER_MS, Timeline, World
from harness.engines import (
    Engine,
    EngineInfo,
    Listener,
    OnSockets,
    Reference,
    Samples,
    Stamp,
    Stream,
)
from harness.events import Ticks
from harness.languages.units import words_of
from harness.validation import require_number


@dataclass
class InjectConfig:
    """Make a run worse on purpose, and marked so: proof that gates catch what they claim to."""

    delay_ms: float = 0.0  # held back before the first token
    scale: float = 1.0  # stretches every engine time
    tail_share: float = 1.0  # only on this share of the clips, drawn by their text and the seed
    driver_late_ms: float = 0.0  # the replay hands every frame over this much late
    drop_words: int = 0  # the first n words of every clip are lost

    def __post_init__(self) -> None:
        require_number("inject.delay_ms", self.delay_ms, 0)
        require_number("inject.scale", self.scale, 1)
        require_number("inject.tail_share", self.tail_share, 0, 1)
        require_number("inject.driver_late_ms", self.driver_late_ms, 0)
        require_number("inject.drop_words", self.drop_words, 0)

    @property
    def holds_back(self) -> bool:
        """Whether what the engine says is changed or delayed."""
        return self.worse and self.tail_share > 0

    @property
    def worse(self) -> bool:
        """Whether something is done to the clips that `tail_share` draws."""
        return self.delay_ms > 0 or self.scale > 1 or self.drop_words > 0

    @property
    def active(self) -> bool:
        """Whether anything at all is made worse."""
        return self.holds_back or self.driver_late_ms > 0


class InjectedEngine:
    """``engine``, with ``config.delay_ms``, ``scale`` and ``drop_words`` applied to its streams."""

    def __init__(self, engine: Engine, config: InjectConfig, world: World, seed: int) -> None:
        self.info: EngineInfo = engine.info
        self._engine = engine
        self._config = config
        self._world = world
        self._seed = seed
        self._by_session = random.Random(seed)  # noqa: S311 not a secret
        self._releases = world.timeline("inject", costs=False)
        self._releases.start()

    def open(self, listener: Listener, reference: Reference | None = None) -> Stream:
        if self._drawn(reference) >= self._config.tail_share:
            return self._engine.open(listener, reference)
        held = _HeldListener(listener, self._config, self._world, self._releases)
        return _WatchedStream(self._engine.open(held, reference), held)

    def _drawn(self, reference: Reference | None) -> float:
        """From 0 to 1: the same for a clip in every repeat; without a clip, a session's own."""
        if reference is None:
            return self._by_session.random()
        return random.Random(f"{self._seed}/tail/{reference.text}").random()  # noqa: S311 no secret

    def loop_ticks(self, start_ns: int, end_ns: int) -> tuple[Ticks, ...]:
        """Those of the engine inside; none if it has no sockets."""
        inside = self._engine
        return inside.loop_ticks(start_ns, end_ns) if isinstance(inside, OnSockets) else ()

    def close(self) -> None:
        self._engine.close()
        self._releases.stop()


class _WatchedStream:
    """Notes when audio was last handed over: engine times count from there."""

    def __init__(self, stream: Stream, held: _HeldListener) -> None:
        self._stream = stream
        self._held = held

    def feed(self, samples: Samples) -> None:
        self._held.input_at_ns = self._held.world.now_ns()
        self._stream.feed(samples)

    def finish(self) -> None:
        self._held.input_at_ns = self._held.world.now_ns()
        self._stream.finish()

    def close(self) -> None:
        self._held.closed = True
        self._stream.close()


class _HeldListener:
    def __init__(
        self, listener: Listener, config: InjectConfig, world: World, releases: Timeline
    ) -> None:
        self.world = world
        self.input_at_ns = world.now_ns()
        self.closed = False
        self._listener = listener
        self._config = config
        self._releases = releases
        self._last_release_ns = 0
        self._heard = ""  # until enough words of it were dropped
        self._dropped = config.drop_words == 0

    def ready(self) -> None:
        self._listener.ready()

    def token(self, text: str, at_ns: int | None = None, after_ns: int | None = None) -> None:
        at_ns = self.world.now_ns() if at_ns is None else at_ns
        waited_ns = at_ns - (at_ns if after_ns is None else after_ns)
        text = self._without_dropped_words(text)

        def tell() -> None:
            now_ns = self.world.now_ns()
            self._listener.span("injected", at_ns, now_ns)
            self._listener.token(text, now_ns, None if after_ns is None else now_ns - waited_ns)

        self._release(at_ns, tell)

    def hypothesis(
        self, segment: int, text: str, final: bool, at_ns: Stamp = None, after_ns: Stamp = None
    ) -> None:
        at_ns = self.world.now_ns() if at_ns is None else at_ns
        waited_ns = at_ns - (at_ns if after_ns is None else after_ns)
        if segment == 0:  # the first words of a session whose text is made of hypotheses
            kept = next(islice(words_of(text), self._config.drop_words, None), None)
            text = "" if kept is None else text[kept.start :]

        def tell() -> None:
            now_ns = self.world.now_ns()
            after_ = None if after_ns is None else now_ns - waited_ns
            self._listener.hypothesis(segment, text, final, now_ns, after_)

        self._release(at_ns, tell)

    def speech_started(self) -> None:
        self._release(self.world.now_ns(), self._listener.speech_started)

    def turn_ended(self) -> None:
        self._release(self.world.now_ns(), self._listener.turn_ended)

    def span(self, name: str, start_ns: int, end_ns: int, shared_by: int = 1) -> None:
        self._listener.span(name, start_ns, end_ns, shared_by)

    def ended(self) -> None:
        self._release(self.world.now_ns(), self._listener.ended)

    def failed(self, error: str) -> None:
        self._release(self.world.now_ns(), lambda: self._listener.failed(error))

    def _release(self, at_ns: int, tell: Callable[[], None]) -> None:
        """Pass on what came at ``at_ns``: stretched, delayed, never out of order."""
        stretched_ns = self.input_at_ns + round((at_ns - self.input_at_ns) * self._config.scale)
        due_ns = max(at_ns, stretched_ns) + round(self._config.delay_ms * NS_PER_MS)
        self._last_release_ns = max(self._last_release_ns, due_ns)
        self._releases.call_at(self._last_release_ns, lambda: None if self.closed else tell())

    def _without_dropped_words(self, text: str) -> str:
        if self._dropped:
            return text
        before = len(self._heard)
        self._heard += text
        kept = next(islice(words_of(self._heard), self._config.drop_words, None), None)
        if kept is None:
            return ""
        self._dropped = True
        return self._heard[max(before, kept.start) :]
