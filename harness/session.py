"""One session: a clip's audio handed to a stream of an engine on schedule, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np

from harness.audio import RATE_HZ
from harness.chunking import Chunker
from harness.clock import NS_PER_MS, NS_PER_S, Timeline, World
from harness.conditions.network import Arrival, Network, arrivals
from harness.datasets.load import Clip
from harness.endpointers import EndpointerOptions, NoEndpointer
from harness.engines import Engine, OnSockets, Reference, Samples
from harness.events import FinishSent, FrameLost, FrameSent, Session, SessionKind, Trace
from harness.microphone import Microphone
from harness.recorder import Recorder
from harness.ticks import Watch

# From "the stream is ready" to audio time zero: long enough to plan the first frame in peace.
LEAD_NS = 10 * NS_PER_MS


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """How an arm's audio is handed over."""

    frame_ms: float
    kind: SessionKind
    timeout_s: float  # after the end of the audio
    flood: bool = False  # every frame is due at t0
    late_ms: float = 0.0  # made late on purpose
    endpointer: EndpointerOptions = msgspec.field(default_factory=NoEndpointer)
    tail_s: float = 0.0  # for so long after the clip an end of the turn is waited for
    # What lies between the microphone and the engine: by clip, repeat and `frame_ms`; None: nothing
    network: Callable[[str, int, float], Network | None] | None = None


class Surroundings(NamedTuple):
    """What all sessions of a replay share."""

    world: World
    driver: Timeline  # where sessions happen
    ears: Timeline  # where endpointers of the client work
    watch: Watch


class SessionPlace(NamedTuple):
    """Where a session stands in its run."""

    repeat: int
    order: int  # in the plan, over all arms
    stream: int  # which of the concurrent streams it runs on


class SessionReplay:
    """Opened once, on the driver's timeline, where all of it happens; ``on_done`` takes the trace.

    ``recorded`` is the clip with what follows it (``microphone.recording``).

    A :class:`~harness.recorder.Recorder` stamps what the engine says, chunks it and stamps the
    chunks.
    """

    def __init__(
        self,
        around: Surroundings,
        pacing: Pacing,
        clip: Clip,
        recorded: Samples,
        place: SessionPlace,
        *,
        on_done: Callable[[Trace], None],
    ) -> None:
        self._world, self._timeline, self._ears, self._watch = around
        self._pacing = pacing
        self._clip = clip
        self._recorded = recorded
        self._place = place
        self._on_done = on_done
        self._t0_ns = self._world.now_ns()  # until it is known
        self._began = False
        self._frames: list[FrameSent] = []
        self._lost: list[FrameLost] = []
        self._finish: FinishSent | None = None

    def open(self, engine: Engine, chunker: Chunker) -> None:
        """Open a stream; audio follows once it can take it.

        Raises:
            HarnessError: the engine refuses the session.
        """
        self._engine = engine
        self._recorder = Recorder(
            self._world, self._timeline, chunker,
            on_ready=self._begin, on_turn_ended=self._turn_ended, on_done=self._done,
        )  # fmt: skip
        self._microphone = Microphone(
            self._recorded, self._pacing.endpointer,
            ears=self._ears, turn_ended=lambda: self._recorder.turn_ended("endpointer"),
        )  # fmt: skip
        self._stream = engine.open(self._recorder, Reference(self._clip.text, self._clip.words))
        self._fail_in_time("the stream was not ready", unless=lambda: self._began)

    def give_up(self) -> None:
        self._recorder.closed = True
        self._stream.close()

    def _begin(self) -> None:
        self._began = True
        self._t0_ns = self._world.now_ns() + LEAD_NS
        network = self._network()
        self._coming = arrivals(self._frames_due(), network)
        self._sends_silence = network is not None and network.silence
        # The end is not sent before a frame that is late.
        self._finish_ns = self._due_ns(len(self._microphone.samples))
        self._await_frame()

    def _network(self) -> Network | None:
        pacing = self._pacing
        if pacing.network is None:
            return None
        return pacing.network(self._clip.id, self._place.repeat, pacing.frame_ms)

    def _frames_due(self) -> Iterator[int]:
        end = index = 0
        while end < len(self._microphone.samples):
            end = self._frame_end(index)
            index += 1
            yield self._due_ns(end)

    def _frame_end(self, index: int) -> int:
        """The sample after the last one of frame ``index``."""
        end: int = round((index + 1) * self._pacing.frame_ms * RATE_HZ / 1000)
        return min(end, len(self._microphone.samples))

    def _due_ns(self, sample: int) -> int:
        """A(sample): the instant at which audio up to this sample exists."""
        return self._t0_ns + (0 if self._pacing.flood else sample * NS_PER_S // RATE_HZ)

    def _call_at(self, due_ns: int, action: Callable[[], None]) -> None:
        def unless_over() -> None:
            if not self._recorder.closed and self._finish is None:
                action()

        self._timeline.call_at(due_ns + round(self._pacing.late_ms * NS_PER_MS), unless_over)

    def _await_frame(self) -> None:
        """Plan the sending of the next frame that arrives, or else of the end of the audio."""
        for frame in self._coming:
            if frame.lost:
                self._lost.append(FrameLost(index=frame.index, due_ns=frame.due_ns))
            if self._sends_silence or not frame.lost:
                self._finish_ns = max(self._finish_ns, frame.at_ns)
                self._call_at(frame.at_ns, partial(self._send_frame, frame))
                return
        end_ns = self._due_ns(len(self._microphone.samples))
        self._call_at(self._finish_ns, partial(self._send_finish, end_ns, self._finish_ns))

    def _send_frame(self, frame: Arrival) -> None:
        index, samples = frame.index, self._microphone.samples
        begin = self._frame_end(index - 1) if index else 0
        end = self._frame_end(index)
        heard = np.zeros(end - begin, np.float32) if frame.lost else samples[begin:end]
        sent_ns = self._world.now_ns()
        self._stream.feed(heard)
        asked_ns = None if frame.at_ns == frame.due_ns else frame.at_ns
        self._frames.append(FrameSent(index, frame.due_ns, sent_ns, asked_ns))
        self._microphone.heard(samples[begin:end])  # before any network
        self._await_frame()

    def _turn_ended(self, at_ns: int) -> None:
        """Somebody said that the turn is over: then the audio ends, unless the speaker goes on.

        In the middle of the speech it was a pause that was cut off. A turn engine is asked for the
        text all the same, and hears no more; a live one hears the speaker go on.
        """
        in_turns = self._pacing.kind is SessionKind.TURN
        speech_end_ns = self._due_ns(round(self._clip.speech_end_s * RATE_HZ))
        if self._microphone.stays_open and self._frames and (in_turns or at_ns >= speech_end_ns):
            self._call_at(at_ns, partial(self._send_finish, at_ns, at_ns))

    def _send_finish(self, due_ns: int, planned_ns: int) -> None:
        sent_ns = self._world.now_ns()
        self._stream.finish()
        asked_ns = None if planned_ns == due_ns else planned_ns
        self._finish = FinishSent(due_ns, sent_ns, asked_ns)
        self._fail_in_time("the engine had not ended")

    def _fail_in_time(self, complaint: str, unless: Callable[[], bool] = lambda: False) -> None:
        """Fail the session ``timeout_s`` from now, if it is not over by then, ``unless`` ..."""
        timeout_s = self._pacing.timeout_s

        def check() -> None:
            if not self._recorder.closed and not unless():
                self._recorder.failed(
                    f"timeout: {complaint} after {timeout_s:g} s (replay.timeout_s)"
                )

        self._timeline.call_at(self._world.now_ns() + round(timeout_s * NS_PER_S), check)

    def _done(self) -> None:
        if self._recorder.closed:
            return
        self.give_up()
        trace = self._recorder.trace(self._session(), tuple(self._frames), self._finish)
        span = trace.session.t0_ns, trace.outcome.at_ns
        ticks = self._watch.between(*span)
        if isinstance(self._engine, OnSockets):
            ticks += self._engine.loop_ticks(*span)
        self._on_done(msgspec.structs.replace(trace, ticks=ticks, lost=tuple(self._lost)))

    def _session(self) -> Session:
        clip = self._clip
        return Session(
            clip=clip.id,
            repeat=self._place.repeat,
            order=self._place.order,
            lane=self._place.stream,
            kind=self._pacing.kind,
            t0_ns=self._t0_ns,
            duration_s=clip.duration_s,
            speech_onset_s=clip.speech_onset_s,
            speech_end_s=clip.speech_end_s,
            frame_ms=self._pacing.frame_ms,
            reference=clip.text,
            language=clip.language,
            words=clip.words,
            model_delay_ms=self._engine.info.model_delay_ms,
            endpointer=self._pacing.endpointer.name,
        )
