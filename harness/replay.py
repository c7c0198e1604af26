"""The one measuring loop: recorded audio, handed over when it was spoken.

One driver timeline keeps the schedule of every concurrent session. Frame *i* is due at
``t0 + end of frame i``, when its last sample was spoken; the end of the audio is due at
``t0 + duration``. Latencies count from these intended instants, so a late driver makes a result
worse, never better, and its lateness is recorded. The driver never waits for the engine.

Each session has a :class:`~harness.recorder.Recorder`, which stamps what the engine says, chunks
it and stamps the chunks. A finished session's trace is handed to ``keep`` on a timeline of its own:
a slow disk delays no frame.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from harness.audio import RATE_HZ
from harness.chunking import Chunker
from harness.clock import (
    NS_PER_MS,
    NS_PER_S,
    World,
    collect_garbage,
    frozen_gc,
)
from harness.datasets.load import Clip
from harness.engines import Engine, Reference, Stream
from harness.errors import HarnessError
from harness.events import (
    FinishSent,
    FrameSent,
    GcPause,
    Session,
    SessionKind,
    Trace,
)
from harness.recorder import Recorder

# From "the stream is ready" to audio time zero: long enough to plan the first frame in peace.
LEAD_NS = 10 * NS_PER_MS


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """How an arm's audio is handed over."""

    frame_ms: float
    kind: SessionKind
    timeout_s: float  # after the end of the audio
    flood: bool = False  # every frame is due at t0
    late_ms: float = 0.0  # made late on purpose


class ReplayArm(NamedTuple):
    """One of the configurations that a run compares."""

    engine: Engine
    make_chunker: Callable[[], Chunker]
    pacing: Pacing


class Planned(NamedTuple):
    """One session to replay."""

    arm: int
    clip: Clip
    repeat: int
    warmup: bool = False  # replayed at flood pace, its trace thrown away


Keep = Callable[[Planned, Trace], None]


def arrivals_ns(arrivals: str, streams: int, mean_s: float, seed: int) -> tuple[int, ...]:
    """When each of ``streams`` concurrent streams begins its first session, from the beginning.

    Args:
        arrivals: ``all_at_once``; ``staggered``: evenly over ``mean_s``; ``poisson``: with
            exponential gaps whose mean is that of the even ones, drawn from ``seed``.
        mean_s: mean duration of a clip.
    """
    gap_s = mean_s / streams
    if arrivals == "all_at_once":
        starts_s = [0.0] * streams
    elif arrivals == "staggered":
        starts_s = [i * gap_s for i in range(streams)]
    else:
        drawn = random.Random(f"{seed}/arrivals")  # noqa: S311 not a secret
        gaps = (drawn.expovariate(1 / gap_s) for _ in range(streams - 1))
        starts_s = list(itertools.accumulate(gaps, initial=0.0))
    return tuple(round(start_s * NS_PER_S) for start_s in starts_s)


def replay(
    world: World,
    arms: Sequence[ReplayArm],
    plan: Sequence[Planned],
    streams: int,
    keep: Keep,
    first_order: int = 0,
    starts_ns: Sequence[int] = (),
) -> list[GcPause]:
    """Replay every planned session and hand each trace that is not a warm-up's to ``keep``.

    The garbage collector is still meanwhile; it runs between sessions, when no stream is open.

    Args:
        streams: how many sessions are replayed at the same time.
        first_order: the place of the plan's first session in the whole run.
        starts_ns: when each stream begins its first session (:func:`arrivals_ns`); empty: at once.
        keep: called on a timeline of its own, one trace at a time, in order of completion.

    Raises:
        HarnessError: ``keep`` raised it (a full disk), or an engine refused a session; sessions
            kept before stay kept.
        KeyboardInterrupt: likewise; open streams have been given up.

    Returns:
        The pauses of the garbage collector, of which none should fall into a session.
    """
    with frozen_gc(collect_first=not world.simulated) as pauses:
        _Driver(world, arms, plan, starts_ns or [0] * streams, keep, first_order).run()
    return pauses


class _Driver:
    def __init__(
        self,
        world: World,
        arms: Sequence[ReplayArm],
        plan: Sequence[Planned],
        starts_ns: Sequence[int],
        keep: Keep,
        first_order: int,
    ) -> None:
        self.world = world
        self.arms = arms
        self._starts_ns = starts_ns
        self.timeline = world.timeline("driver", costs=False)
        self._store = world.timeline("store", costs=False)
        self._keep = keep
        self._waiting = deque(enumerate(plan, start=first_order))
        self._unkept = len(plan)
        self._running: set[_StreamSlot] = set()
        self._error: Exception | None = None

    def run(self) -> None:
        if not self._waiting:
            return
        began_ns = self.world.now_ns()
        for index, start_ns in enumerate(self._starts_ns):
            slot = _StreamSlot(self, index)
            self.timeline.call_at(began_ns + start_ns, lambda slot=slot: self.next_session(slot))  # type: ignore[misc]
        self._store.start()
        try:
            self.timeline.run()
        finally:
            for slot in self._running:
                slot.give_up()
            self._store.drain()
        if self._error is not None:
            raise self._error

    def next_session(self, slot: _StreamSlot) -> None:
        if not self._waiting:
            return
        if not self._running:
            collect_garbage()
        order, planned = self._waiting.popleft()
        try:
            slot.open(order, planned)
        except HarnessError as error:
            self._stop(error)
        else:
            self._running.add(slot)

    def session_done(self, slot: _StreamSlot, planned: Planned, trace: Trace) -> None:
        self._running.discard(slot)
        self._store.call_soon(lambda: self._store_trace(planned, trace))
        self.next_session(slot)

    def _store_trace(self, planned: Planned, trace: Trace) -> None:
        if self._error is not None:
            return
        try:
            if not planned.warmup:
                self._keep(planned, trace)
        except Exception as error:  # noqa: BLE001 raised again on the driver: a defect must not hang
            self.timeline.call_soon(lambda error=error: self._stop(error))  # type: ignore[misc]
        else:
            self.timeline.call_soon(self._kept)

    def _kept(self) -> None:
        self._unkept -= 1
        if self._unkept == 0:
            self.timeline.stop()

    def _stop(self, error: Exception) -> None:
        self._error = error
        self.timeline.stop()


class _StreamSlot:
    """One of the concurrent streams: replays a session, then asks for the next."""

    def __init__(self, driver: _Driver, index: int) -> None:
        self._driver = driver
        self._index = index

    def open(self, order: int, planned: Planned) -> None:
        """Open a stream; :meth:`_begin` follows once it can take audio."""
        arm = self._driver.arms[planned.arm]
        self._order, self._planned = order, planned
        self._pacing = arm.pacing
        self._flood = arm.pacing.flood or planned.warmup
        self._frames: list[FrameSent] = []
        self._finish: FinishSent | None = None
        self._began = False
        recorder = self._recorder = Recorder(
            self._driver.world, self._driver.timeline, arm.make_chunker(),
            on_ready=self._begin, on_done=lambda: self._done(recorder),
        )  # fmt: skip
        reference = Reference(planned.clip.text, planned.clip.words)
        self._t0_ns = self._driver.world.now_ns()  # until it is known
        self._stream: Stream = arm.engine.open(recorder, reference)
        self._fail_in_time("the stream was not ready", unless=lambda: self._began)

    def give_up(self) -> None:
        self._recorder.closed = True
        self._stream.close()

    def _begin(self) -> None:
        self._began = True
        self._t0_ns = self._driver.world.now_ns() + LEAD_NS
        self._call_at(self._due_ns(self._frame_end(0)), self._send_frame)

    def _frame_end(self, index: int) -> int:
        """The sample after the last one of frame ``index``."""
        end: int = round((index + 1) * self._pacing.frame_ms * RATE_HZ / 1000)
        return min(end, len(self._planned.clip.samples))

    def _due_ns(self, sample: int) -> int:
        """A(sample): the instant at which audio up to this sample exists."""
        return self._t0_ns + (0 if self._flood else sample * NS_PER_S // RATE_HZ)

    def _call_at(self, due_ns: int, action: Callable[[], None]) -> None:
        recorder = self._recorder
        late_ns = round(self._pacing.late_ms * NS_PER_MS)

        def unless_over() -> None:
            if not recorder.closed:
                action()

        self._driver.timeline.call_at(due_ns + late_ns, unless_over)

    def _send_frame(self) -> None:
        index, samples = len(self._frames), self._planned.clip.samples
        begin = self._frame_end(index - 1) if index else 0
        end = self._frame_end(index)
        sent_ns = self._driver.world.now_ns()
        self._stream.feed(samples[begin:end])
        self._frames.append(FrameSent(index=index, due_ns=self._due_ns(end), sent_ns=sent_ns))
        if end < len(samples):
            self._call_at(self._due_ns(self._frame_end(index + 1)), self._send_frame)
        else:
            self._call_at(self._due_ns(end), self._send_finish)

    def _send_finish(self) -> None:
        due_ns = self._due_ns(len(self._planned.clip.samples))
        sent_ns = self._driver.world.now_ns()
        self._stream.finish()
        self._finish = FinishSent(due_ns=due_ns, sent_ns=sent_ns)
        self._fail_in_time("the engine had not ended")

    def _fail_in_time(self, complaint: str, unless: Callable[[], bool] = lambda: False) -> None:
        """Fail the session ``timeout_s`` from now, if it is not over by then, ``unless`` ..."""
        recorder, timeout_s = self._recorder, self._pacing.timeout_s

        def check() -> None:
            if not recorder.closed and not unless():
                recorder.failed(f"timeout: {complaint} after {timeout_s:g} s (replay.timeout_s)")

        due_ns = self._driver.world.now_ns() + round(timeout_s * NS_PER_S)
        self._driver.timeline.call_at(due_ns, check)

    def _done(self, recorder: Recorder) -> None:
        if recorder.closed:
            return
        self.give_up()
        clip, pacing = self._planned.clip, self._pacing
        session = Session(
            clip=clip.id,
            repeat=self._planned.repeat,
            order=self._order,
            lane=self._index,
            kind=pacing.kind,
            t0_ns=self._t0_ns,
            duration_s=clip.duration_s,
            speech_onset_s=clip.speech_onset_s,
            speech_end_s=clip.speech_end_s,
            frame_ms=pacing.frame_ms,
            reference=clip.text,
            language=clip.language,
            words=clip.words,
            model_delay_ms=self._driver.arms[self._planned.arm].engine.info.model_delay_ms,
        )
        trace = recorder.trace(session, tuple(self._frames), self._finish)
        self._driver.session_done(self, self._planned, trace)
