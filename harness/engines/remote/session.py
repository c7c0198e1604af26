"""One session with a realtime server: audio out, text in, and an own complaint for every silence.

Nothing hangs longer than its time-out: at any time either the clip still goes on, or a timer runs
(``_expect``) that fails the session. What a server may keep quiet about, and what shows it:

============================  =====================================================================
connects, never configures    ``connect_timeout_s``
waits for a slot, or never    ``slot_timeout_s`` of speech, and no message of any kind
began
blank run, or stalled         ``blank_speech_s`` of speech without text; the complaint says whether
                              empty messages came meanwhile
dead or half-open socket      ``ping_s``
takes no audio                ``queue_s``
no answer after the commit    ``answer_timeout_s`` without a message
truncated                     final text before the end of the audio, or fewer steps than audio
text lost on the way          deltas joined are not the final text
nonsense, or too much of it   messages, text and times have bounds; a key that comes back
============================  =====================================================================
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import AsyncExitStack, suppress
from typing import NamedTuple

import numpy as np
from websockets.exceptions import ConnectionClosed

from harness.clock import NS_PER_MS, NS_PER_S, World
from harness.engines import Listener, Samples
from harness.engines.remote.adapter import RATE_HZ, EventKind, ServerEvent
from harness.engines.remote.connection import (
    KEY_CAME_BACK,
    ConnectionSetup,
    Fault,
    connected,
    explain_error,
    explain_loss,
    parse,
    setup_timeout,
)
from harness.engines.remote.handover import Handover
from harness.engines.remote.link import StampedConnection
from harness.engines.remote.loop_watch import Receipt
from harness.engines.remote.timing import OWN_NAMES, check_timing
from harness.events import ServedEngine, ServerTiming, SessionKind
from harness.languages.units import is_blank
from harness.text import shorten

_MAX_QUEUED_S = 600.0  # of audio, however fast it is fed
# Of what a server sends in one session: an answer may come at once, a live one step by step.
_MOST_MESSAGES, _MESSAGES_PER_S = 10_000, 1000
_MOST_TEXT = 2_000_000  # characters: four hours of speech have a tenth of it


class _SpeechLevel:
    """Which frames are speech: within 20 dB of the loudest so far, so the recording's level counts
    for nothing; before any is louder than -40 dBFS, from -60 dBFS on.
    """

    def __init__(self) -> None:
        self._loudest = 1e-4  # mean square

    def is_speech(self, samples: Samples) -> bool:
        power = float(np.dot(samples, samples)) / max(1, len(samples))
        self._loudest = max(self._loudest, power)
        return power > 0.01 * self._loudest


class _Queued(NamedTuple):
    since_ns: int
    samples: Samples | None  # None: the end of the audio


class RemoteStream:
    """A session from connecting to the final text, on the engine's asyncio thread.

    ``feed``, ``finish`` and ``close`` are for the driver's thread and only hand over.
    """

    def __init__(
        self,
        access: ConnectionSetup,
        listener: Listener,
        world: World,
        connecting: asyncio.Semaphore,
        handover: Handover,
        served: ServedEngine | None,
    ) -> None:
        """
        Args:
            served: what the server said of its engine before the run; None: nothing.
        """
        self._access = access
        self._config, self._adapter, self._credentials, _ = access
        self._served = served
        self._listener = listener
        self._world = world
        self._connecting = connecting
        self._handover = handover
        self._telling = threading.RLock()  # `close` returns after a call that is under way
        self._over = False  # ended, failed or closed: the listener is told nothing more
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._queue: deque[_Queued] = deque()
        self._queue_filled = asyncio.Event()
        self._queued_samples = 0
        self._sent_samples = 0
        self._sent_ns: dict[SessionKind, int] = {}  # live: the first audio; turn: the end of it
        self._end_fed = False
        self._received = 0  # events since the session was configured
        self._deltas: list[str] = []
        self._text_length = 0  # of all deltas
        self._text_end = ""  # of all deltas, where there is a key that it might hold in pieces
        self._began_ns = 0  # to connect
        self._listening_ns = 0  # since when messages are counted
        self._level = _SpeechLevel()
        self._quiet_since_ns = 0  # the last text that was not blank, or the first audio
        self._quiet_speech_s = 0.0  # speech fed since then
        self._quiet_received = 0  # events since then

    # --- the driver's thread ---------------------------------------------------------------------

    def start(self) -> None:
        self._handover.call(self._start)

    def feed(self, samples: Samples) -> None:
        self._handover.call(self._enqueue, samples)

    def finish(self) -> None:
        self._handover.call(self._enqueue, None)

    def close(self) -> None:
        with self._telling:
            self._over = True
        self._handover.call(self._cancel)

    # --- the asyncio thread ----------------------------------------------------------------------

    def _start(self) -> None:
        if not self._over:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._tell_defect)

    def _cancel(self) -> None:
        self._expect(None, "")
        if self._task is not None:
            self._task.cancel()

    def _expect(self, within_s: float | None, else_complaint: str) -> None:
        """Replace the timer: the session fails unless this is called again in time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if within_s is not None:
            self._timer = asyncio.get_running_loop().call_later(
                within_s, self._fail, else_complaint
            )

    def _fail(self, complaint: str) -> None:
        self._tell_failed(complaint)
        self._cancel()

    def _tell_failed(self, complaint: str) -> None:
        with self._telling:
            if not self._over:
                self._over = True
                self._listener.failed(complaint)

    def _tell_defect(self, task: asyncio.Task[None]) -> None:
        """A defect of the harness fails this session; it must neither hang nor end the others."""
        if not task.cancelled() and (error := task.exception()) is not None:
            said = self._credentials.show(f"{type(error).__name__}: {error}")
            self._fail(f"defect of engine=realtime: {said}")

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:  # closes the socket after the listener was told
            try:
                link = await self._set_up(stack)
                sending = asyncio.get_running_loop().create_task(self._send_audio(link))
                sending.add_done_callback(self._tell_defect)
                stack.callback(sending.cancel)
                await self._receive(link)
            except Fault as fault:
                self._tell_failed(str(fault))
            except ConnectionClosed as error:
                self._tell_failed(explain_loss(error, self._config, self._credentials))
            finally:
                self._expect(None, "")

    async def _set_up(self, stack: AsyncExitStack) -> StampedConnection:
        async with self._connecting:
            self._began_ns = self._world.now_ns()
            self._expect(self._config.connect_timeout_s, setup_timeout(self._config))
            link, served = await stack.enter_async_context(connected(self._access))
            if self._served is not None and served != self._served:
                raise Fault("the server serves something else than before the run: was it changed?")
            for message in self._adapter.start():
                await link.send(message)
        self._expect(None, "")
        if self._end_fed:  # audio was fed before `ready`
            self._expect_answer()
        with self._telling:
            if not self._over:
                self._listening_ns = self._world.now_ns()
                self._listener.span("setup", self._began_ns, self._listening_ns)
                self._listener.ready()
        return link

    # --- audio out -------------------------------------------------------------------------------

    def _enqueue(self, samples: Samples | None) -> None:
        if self._over:
            return
        now_ns = self._world.now_ns()
        self._queue.append(_Queued(now_ns, samples))
        self._queue_filled.set()
        if samples is None:
            self._end_fed = True
            if self._timer is None:  # else it is being set up
                self._expect_answer()
            return
        self._queued_samples += len(samples)
        if (
            now_ns - self._queue[0].since_ns > self._config.queue_s * NS_PER_S
            or self._queued_samples > _MAX_QUEUED_S * RATE_HZ
        ):
            self._fail(
                f"the server takes no audio: {self._queued_samples / RATE_HZ:.1f} s of it wait"
                " (engine.queue_s)"
            )
        else:
            self._watch_speech(samples, now_ns)

    async def _send_audio(self, link: StampedConnection) -> None:
        with suppress(ConnectionClosed):  # the receiver, which sees it too, tells it
            while True:
                await self._queue_filled.wait()
                queued = self._queue[0]
                if queued.samples is None:
                    self._sent_ns[SessionKind.TURN] = self._world.now_ns()
                    for message in self._adapter.end():
                        await link.send(message)
                    return
                if (audio := self._adapter.audio(queued.samples)) is not None:
                    self._sent_ns.setdefault(SessionKind.LIVE, self._world.now_ns())
                    await link.send(audio)
                self._queue.popleft()
                self._queued_samples -= len(queued.samples)
                self._sent_samples += len(queued.samples)
                if not self._queue:
                    self._queue_filled.clear()

    def _watch_speech(self, samples: Samples, now_ns: int) -> None:
        """Fail a live session in which speech goes in and nothing comes out."""
        if self._quiet_since_ns == 0:
            self._quiet_since_ns = now_ns
        if self._level.is_speech(samples):
            self._quiet_speech_s += len(samples) / RATE_HZ
        if self._config.kind == "turn":
            return
        quiet_s = min(self._quiet_speech_s, (now_ns - self._quiet_since_ns) / NS_PER_S)
        if self._received == 0 and quiet_s > self._config.slot_timeout_s:
            self._fail(
                f"session waits for a slot: not one message in {quiet_s:.1f} s of speech"
                " (engine.slot_timeout_s): more sessions than the server takes at once?"
            )
        elif self._config.blank_speech_s is not None and quiet_s > self._config.blank_speech_s:
            self._fail(self._explain_quiet())

    def _explain_quiet(self) -> str:
        heard = f"no text in {self._quiet_speech_s:.1f} s of speech"
        if self._quiet_received == 0:
            return f"stalled: {heard}, and no message of any kind (engine.blank_speech_s)"
        return (
            f"blank run over speech: {heard}, {self._quiet_received} empty messages"
            " (engine.blank_speech_s)"
        )

    # --- text in ---------------------------------------------------------------------------------

    def _expect_answer(self) -> None:
        within_s = self._config.answer_timeout_s
        complaint = f"no answer after the final commit within {within_s:g} s"
        if self._received == 0:
            complaint += ", and no message before it: waiting for a slot, or never begun"
        self._expect(within_s, f"{complaint} (engine.answer_timeout_s)")

    async def _receive(self, link: StampedConnection) -> None:
        while True:
            message, receipt = await link.take()
            at_ns = receipt.at_ns
            event = parse(self._adapter, message, self._credentials)
            self._received += 1
            self._quiet_received += 1
            self._check_amount(event, at_ns)
            if event.timing is not None:
                self._check_kind(event.timing.kind)
                self._tell_timing(event.timing, at_ns)
            match event.kind:
                case EventKind.TEXT:
                    self._take(event.text, receipt)
                case EventKind.DONE:
                    self._check(event)
                    self._tell_ended()
                    return
                case EventKind.ERROR:
                    raise Fault(explain_error(event))
            if self._end_fed:
                self._expect_answer()

    def _check_amount(self, event: ServerEvent, at_ns: int) -> None:
        """Raises ``Fault``: more than anybody says, or the key in pieces."""
        lasted_s = (at_ns - self._listening_ns) / NS_PER_S
        if self._received > _MOST_MESSAGES + _MESSAGES_PER_S * lasted_s:
            raise Fault(f"garbage from the server: {self._received} messages in {lasted_s:.1f} s")
        if event.kind is not EventKind.TEXT:
            return
        self._text_length += len(event.text)
        if self._text_length > _MOST_TEXT:
            raise Fault(f"garbage from the server: text of more than {_MOST_TEXT} characters")
        if known := self._credentials.known:
            self._text_end = (self._text_end + event.text)[-known.longest :]
            if known.found(self._text_end) or known.begun(self._text_end):
                raise Fault(KEY_CAME_BACK)

    def _check_kind(self, served: SessionKind) -> None:
        """Raises ``Fault``: our own server answers in another way than it is measured in."""
        if served != self._config.kind:
            raise Fault(
                f"engine.kind={self._config.kind}, but this server answers {served} sessions:"
                f" measure it with session={served}"
            )

    def _tell_timing(self, timing: ServerTiming, at_ns: int) -> None:
        """The server's own spans, and as `delivery` what remains: the way there and back.

        Placed as if all of it were the way back; the clocks need not agree.
        """
        began_ns = self._sent_ns.get(timing.kind)
        if began_ns is None:  # it answers before it was asked
            return
        before_ms = (began_ns - self._began_ns) / NS_PER_MS
        try:
            check_timing(timing, before_ms, (at_ns - began_ns) / NS_PER_MS)
        except ValueError as error:
            raise Fault(f"garbage from the server: times that cannot be: {error}") from error

        def instant_ns(since_request_ms: float) -> int:
            return min(at_ns, began_ns + round(since_request_ms * NS_PER_MS))

        with self._telling:
            if not self._over:
                for span in timing.spans:
                    if span.name in OWN_NAMES:  # a server in front of another one tells of its own
                        continue
                    instants = instant_ns(span.start_ms), instant_ns(span.end_ms)
                    self._listener.span(shorten(span.name, 60), *instants, span.shared_by)
                self._listener.span("delivery", instant_ns(timing.at_ms), at_ns)

    def _take(self, text: str, receipt: Receipt) -> None:
        with self._telling:
            if not self._over:
                self._listener.token(text, receipt.at_ns, receipt.after_ns)
        self._deltas.append(text)
        if not is_blank(text):
            self._quiet_since_ns, self._quiet_speech_s, self._quiet_received = receipt.at_ns, 0.0, 0

    def _check(self, done: ServerEvent) -> None:
        """Raises ``Fault`` on a final text that is not what it should be."""
        sent_s = self._sent_samples / RATE_HZ
        if not self._end_fed:
            raise Fault(f"truncated: the final text came after {sent_s:.1f} s, amid the audio")
        if done.steps is not None and self._config.step_ms is not None:
            heard_s = done.steps * self._config.step_ms / 1000
            if heard_s < sent_s - self._config.step_ms / 1000:
                raise Fault(
                    f"truncated: {done.steps} steps are {heard_s:.1f} s of {sent_s:.1f} s of audio"
                    " (engine.step_ms): the server's longest session?"
                )
        joined = "".join(self._deltas)
        if self._adapter.joins and joined.strip() != done.text.strip():
            raise Fault(f"deltas are not the final text: {joined[-60:]!r}, {done.text[-60:]!r}")
        limit_s = self._config.blank_speech_s
        if limit_s is not None and self._quiet_speech_s > limit_s:
            raise Fault(self._explain_quiet())

    def _tell_ended(self) -> None:
        with self._telling:
            if not self._over:
                self._over = True
                self._listener.ended()
