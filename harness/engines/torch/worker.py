"""What local engines share: one worker timeline, the stream base, and spans that leave no gap.

All compute of an engine runs on its one worker timeline, in the order in which it was posted:
streams that are ready together wait for each other, and their ``queue`` span shows it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

import numpy as np
import torch

from harness.clock import NS_PER_MS, Action, Timeline, World
from harness.engines import EngineInfo, Listener, Samples, Stamp
from harness.engines.torch.options import TorchOptions
from harness.errors import DeviceError

T = TypeVar("T")
S = TypeVar("S", bound="LocalStream")

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def torch_device(engine: TorchOptions) -> tuple[torch.device, torch.dtype]:
    """The device and dtype asked for.

    Sets the number of CPU threads and, for float32 on CUDA, exact convolutions: both torch-wide.

    Raises:
        DeviceError: the device is not there, or cannot do the dtype.
    """
    device = torch.device(engine.device)
    cuda_devices = torch.cuda.device_count()
    there = ["cpu", *(f"cuda:{index}" for index in range(cuda_devices))]
    if torch.backends.mps.is_available():
        there.append("mps")
    is_there = {
        "cpu": True,
        "cuda": (device.index or 0) < cuda_devices,
        "mps": "mps" in there,
    }[device.type]
    if not is_there:
        raise DeviceError(
            "engine.device is not on this machine",
            value=engine.device,
            allowed=", ".join(there),
            hint="engine.device=cpu, or see `python -m harness doctor`",
        )
    if device.type == "cpu" and engine.dtype == "float16":
        raise DeviceError(
            "engine.dtype is not for engine.device=cpu",
            value=engine.dtype,
            allowed="float32, bfloat16",
            hint="engine.dtype=bfloat16",
        )
    if engine.threads is not None:
        torch.set_num_threads(engine.threads)
    if device.type == "cuda" and engine.dtype == "float32":
        torch.backends.cudnn.allow_tf32 = False  # its default rounds to 10 bits of mantissa
    return device, _DTYPES[engine.dtype]


class DeviceEvent(Protocol):
    """The part of ``torch.cuda.Event`` that spans need."""

    def record(self) -> None: ...
    def synchronize(self) -> None: ...
    def elapsed_time(self, end: Any, /) -> float:
        """Milliseconds from this event to ``end`` on the device."""


def device_events(device: torch.device) -> Callable[[], DeviceEvent] | None:
    """Makes timing events for ``device``; None: its work is done when the call returns."""
    if device.type != "cuda":
        return None
    return lambda: torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


class _Awaited(NamedTuple):
    """A span that ended with work that the device had been given before it."""

    name: str
    start_ns: int
    end_ns: int
    launched: tuple[tuple[str, DeviceEvent], ...]  # earlier spans, each with its end on the device
    anchor: DeviceEvent  # end_ns on the device's clock


class Laps:
    """Adjacent spans: each begins at the instant at which the one before it ended.

    Work that a GPU was given but not awaited ends at a device event, which is placed on the host's
    clock after the fact, counting back from the next awaited span: nothing waits for a measurement.
    """

    def __init__(
        self,
        world: World,
        span: Callable[[str, int, int], None],
        start_ns: int,
        new_event: Callable[[], DeviceEvent] | None = None,
    ) -> None:
        self._world = world
        self._span = span
        self._at_ns = start_ns
        self._new_event = new_event
        self._launched: list[tuple[str, DeviceEvent]] = []
        self._unresolved: list[_Awaited] = []

    def lap(self, name: str) -> None:
        """What ran since the last lap is over, on the host and on the device."""
        start_ns, self._at_ns = self._at_ns, self._world.now_ns()
        if self._launched and self._new_event is not None:
            anchor = self._new_event()
            anchor.record()
            self._unresolved.append(
                _Awaited(name, start_ns, self._at_ns, tuple(self._launched), anchor)
            )
            self._launched = []
        else:
            self._span(name, start_ns, self._at_ns)

    def launched(self, name: str) -> None:
        """What ran since the last lap has been given to the device, and may still run there."""
        if self._new_event is None:
            self.lap(name)
        else:
            event = self._new_event()
            event.record()
            self._launched.append((name, event))

    def resolve(self) -> None:
        """Tell the spans that ended on the device; call after the last lap."""
        for awaited in self._unresolved:
            awaited.anchor.synchronize()
            from_ns = awaited.start_ns
            for name, event in awaited.launched:
                before_end_ns = round(event.elapsed_time(awaited.anchor) * NS_PER_MS)
                until_ns = max(from_ns, awaited.end_ns - before_end_ns)
                self._span(name, from_ns, until_ns)
                from_ns = until_ns
            self._span(awaited.name, from_ns, awaited.end_ns)
        self._unresolved = []


class LocalStream:
    """One session: its jobs run on the worker timeline; nothing is reported after ``close``.

    It is the listener of its own jobs: they answer through ``self``, which passes on what the
    listener may still hear.
    """

    def __init__(self, worker: Timeline, listener: Listener) -> None:
        self._worker = worker
        self._listener = listener
        self._closed = False
        self._telling = threading.RLock()  # `close` returns after a call that is under way

    @property
    def closed(self) -> bool:
        return self._closed

    def post(self, job: Action) -> None:
        """Run ``job`` on the worker; whatever it raises is the end of this stream, of no other."""

        def run() -> None:
            if self._closed:
                return
            try:
                with torch.inference_mode():
                    job()
            except Exception as error:  # noqa: BLE001 one broken clip must not end the run
                self.failed(f"{type(error).__name__}: {error}")

        self._worker.call_soon(run)

    def ready(self) -> None:
        with self._telling:
            if not self._closed:
                self._listener.ready()

    def token(self, text: str, at_ns: int | None = None, after_ns: int | None = None) -> None:
        with self._telling:
            if not self._closed:
                self._listener.token(text, at_ns, after_ns)

    def hypothesis(
        self, segment: int, text: str, final: bool, at_ns: Stamp = None, after_ns: Stamp = None
    ) -> None:
        with self._telling:
            if not self._closed:
                self._listener.hypothesis(segment, text, final, at_ns, after_ns)

    def speech_started(self) -> None:
        with self._telling:
            if not self._closed:
                self._listener.speech_started()

    def turn_ended(self) -> None:
        with self._telling:
            if not self._closed:
                self._listener.turn_ended()

    def span(self, name: str, start_ns: int, end_ns: int, shared_by: int = 1) -> None:
        with self._telling:
            if not self._closed:
                self._listener.span(name, start_ns, end_ns, shared_by)

    def ended(self) -> None:
        with self._telling:
            if not self._closed:
                self._closed = True
                self._listener.ended()

    def failed(self, error: str) -> None:
        with self._telling:
            if not self._closed:
                self._closed = True
                self._listener.failed(error)

    def close(self) -> None:
        with self._telling:
            self._closed = True


Transcribe = Callable[[Samples, Laps], Iterator[str]]
"""One utterance -> the text of each of its tokens, with the laps of what it took."""


class TurnStream(LocalStream):
    """Collects an utterance, and transcribes it as one job once it is complete."""

    def __init__(
        self,
        world: World,
        worker: Timeline,
        listener: Listener,
        transcribe: Transcribe,
        new_event: Callable[[], DeviceEvent] | None = None,
    ) -> None:
        super().__init__(worker, listener)
        self._world = world
        self._transcribe = transcribe
        self._new_event = new_event
        self._pieces: list[Samples] = []

    def feed(self, samples: Samples) -> None:
        self._pieces.append(samples)

    def finish(self) -> None:
        finished_ns = self._world.now_ns()
        self.post(lambda: self._run(finished_ns))

    def _run(self, finished_ns: int) -> None:
        laps = Laps(self._world, self.span, finished_ns, self._new_event)
        laps.lap("queue")
        samples = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)
        for text in self._transcribe(samples, laps):
            self.token(text)
            if self.closed:
                return
        laps.resolve()
        self.ended()


class LocalEngine:
    """The worker timeline of one set of weights, and the streams that are open on it."""

    info: EngineInfo

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._worker = world.timeline(name)
        self._worker.start()
        self._streams: WeakSet[LocalStream] = WeakSet()

    def add(self, stream: S) -> S:
        """Begin a session: the stream is given up when the engine closes."""
        self._streams.add(stream)
        stream.ready()
        return stream

    def run_on_worker(self, job: Callable[[], T]) -> T:
        """Run ``job`` where the streams' jobs will run, and wait for it: loading and warming up.

        Thread pools and kernel caches of the CPU belong to the thread that first used them. A job
        that fails is the end of the engine.
        """
        if self._world.simulated:  # the thread that runs the world runs its workers too
            with torch.inference_mode():
                return job()
        result: Future[T] = Future()

        def run() -> None:
            try:
                with torch.inference_mode():
                    result.set_result(job())
            except BaseException as error:  # noqa: BLE001 it is raised where it is waited for
                result.set_exception(error)

        self._worker.call_soon(run)
        try:
            return result.result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give open streams up (a decode stops at its next token) and end the worker."""
        for stream in list(self._streams):
            stream.close()
        self._worker.stop()
