"""The one measuring loop: recorded audio, handed over when it was spoken.

One driver timeline keeps the schedule of every concurrent session. Frame *i* is due at
``t0 + end of frame i``, when its last sample was spoken; the end of the audio is due at
``t0 + duration``. Latencies count from these intended instants, so a late driver makes a result
worse, never better, and its lateness is recorded. The driver never waits for the engine. Where the
conditions have a network, a frame is handed over as late as that makes it; it is due as ever.

One session is a :class:`~harness.session.SessionReplay`. A finished session's trace is handed to
``keep`` on a timeline of its own: a slow disk delays no frame. A watchdog ticks through all of it,
so that a harness that was stopped or starved is found in every part of a session.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from harness.chunking import Chunker
from harness.clock import NS_PER_S, World, collect_garbage, frozen_gc, prompt_threads
from harness.datasets.load import Clip
from harness.engines import Engine, Samples
from harness.errors import HarnessError
from harness.events import GcPause, Trace
from harness.microphone import recording
from harness.session import Pacing, SessionPlace, SessionReplay, Surroundings
from harness.ticks import Watch, watched


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
    warmup: bool = False  # at flood pace, over no network, its trace thrown away


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
    with (
        prompt_threads(),
        frozen_gc(collect_first=not world.simulated) as pauses,
        watched(world) as watch,
    ):
        _Driver(world, watch, arms, plan, keep, first_order).run(starts_ns or [0] * streams)
    return pauses


class _Driver:
    """Keeps every stream busy with the next planned session, until all traces are kept."""

    def __init__(
        self,
        world: World,
        watch: Watch,
        arms: Sequence[ReplayArm],
        plan: Sequence[Planned],
        keep: Keep,
        first_order: int,
    ) -> None:
        self._world = world
        self._arms = arms
        self._keep = keep
        self._timeline = world.timeline("driver", costs=False)
        self._store = world.timeline("store", costs=False)
        self._ears = world.timeline("endpointers", costs=False)
        self._around = Surroundings(world, self._timeline, self._ears, watch)
        self._waiting = deque(enumerate(plan, start=first_order))
        self._unkept = len(plan)
        self._running: set[SessionReplay] = set()
        # Made before anything is timed: sessions begin while others are under way.
        self._recordings: dict[tuple[int, str], Samples] = {}
        for planned in plan:
            key, pacing = (planned.arm, planned.clip.id), arms[planned.arm].pacing
            if key not in self._recordings:
                self._recordings[key] = recording(planned.clip, pacing.endpointer, pacing.tail_s)
        self._error: Exception | None = None

    def run(self, starts_ns: Sequence[int]) -> None:
        if not self._waiting:
            return
        began_ns = self._world.now_ns()
        for stream, start_ns in enumerate(starts_ns):
            self._timeline.call_at(
                began_ns + start_ns, functools.partial(self._next_session, stream)
            )
        self._store.start()
        self._ears.start()
        try:
            self._timeline.run()
        finally:
            for session in self._running:
                session.give_up()
            self._ears.stop()
            self._store.drain()
        if self._error is not None:
            raise self._error

    def _next_session(self, stream: int) -> None:
        if not self._waiting:
            return
        if not self._running:
            collect_garbage()
        order, planned = self._waiting.popleft()
        arm = self._arms[planned.arm]
        pacing = arm.pacing
        if planned.warmup:
            pacing = msgspec.structs.replace(pacing, flood=True, network=None)
        session = SessionReplay(
            self._around, pacing, planned.clip, self._recordings[planned.arm, planned.clip.id],
            SessionPlace(planned.repeat, order, stream),
            on_done=lambda trace: self._session_done(session, planned, trace),
        )  # fmt: skip
        try:
            session.open(arm.engine, arm.make_chunker())
        except HarnessError as error:
            self._stop(error)
        else:
            self._running.add(session)

    def _session_done(self, session: SessionReplay, planned: Planned, trace: Trace) -> None:
        self._running.discard(session)
        self._store.call_soon(lambda: self._store_trace(planned, trace))
        self._next_session(trace.session.lane)

    def _store_trace(self, planned: Planned, trace: Trace) -> None:
        if self._error is not None:
            return
        try:
            if not planned.warmup:
                self._keep(planned, trace)
        except Exception as error:  # noqa: BLE001 raised again on the driver: a defect must not hang
            self._timeline.call_soon(functools.partial(self._stop, error))
        else:
            self._timeline.call_soon(self._kept)

    def _kept(self) -> None:
        self._unkept -= 1
        if self._unkept == 0:
            self._timeline.stop()

    def _stop(self, error: Exception) -> None:
        self._error = error
        self._timeline.stop()
