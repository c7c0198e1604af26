"""``engine=realtime``: a server seen from the client's chair, behind the protocol of any engine."""

from __future__ import annotations

import asyncio
import threading
from weakref import WeakSet

import msgspec

from harness.clock import World
from harness.engines import EngineInfo, Listener, Reference
from harness.engines.remote.adapter import make_adapter
from harness.engines.remote.connection import ConnectionSetup, Credentials, Fault, probe, read_key
from harness.engines.remote.handover import Handover
from harness.engines.remote.loop_watch import LoopWatch
from harness.engines.remote.options import RealtimeOptions
from harness.engines.remote.session import RemoteStream
from harness.errors import ConfigError, UsageError
from harness.events import ServedEngine, SessionKind, Ticks

_CLOSING_S = 5.0  # sockets still open then are dropped


def connect_realtime(config: RealtimeOptions, world: World) -> RealtimeClient:
    """An engine that is a server; connects once before it returns, to see that it is there.

    Raises:
        ConfigError: the key is missing, or the world is simulated: a server keeps real time.
        UsageError: nothing there, not a realtime server, session refused, or wrong model.
    """
    if world.simulated:
        raise ConfigError(
            "engine=realtime cannot run in simulated time: a server keeps real time",
            value="replay.pace=virtual",
            hint="replay.pace=realtime",
        )
    key = read_key(config)
    client = RealtimeClient(config, world, key)
    try:
        client.probe()
    except Fault as fault:
        client.close()
        raise UsageError(
            f"engine=realtime: {fault}",
            value=config.url,
            hint="start the server (`python -m harness serve`, `vllm serve MODEL`),"
            " or set engine.url and engine.model",
        ) from fault
    return client


class RealtimeClient:
    """All sockets of a run, on one asyncio thread."""

    def __init__(self, config: RealtimeOptions, world: World, key: str | None) -> None:
        self.info = EngineInfo(
            model=config.model,
            kinds=(SessionKind(config.kind),),
            device="remote",
            model_delay_ms=config.delay_ms or 0.0,  # as stated; our own server tells it
            details={
                "protocol": config.protocol,
                "url": config.url,
                "delay_ms": config.delay_ms,
            },
        )
        self._config = config
        self._world = world
        self._credentials = Credentials(key)
        self._served: ServedEngine | None = None
        self._connecting = asyncio.Semaphore(config.connecting)
        self._streams: WeakSet[RemoteStream] = WeakSet()
        self._watch = LoopWatch(world)
        self._loop = self._watch.loop
        self._handover = Handover(self._loop)
        self._thread = threading.Thread(target=self._run, name="realtime-sockets", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def probe(self) -> None:
        """Connect once, and take from the server what it says of its engine.

        Raises:
            Fault: it is not there, does not take this configuration, or says otherwise.
        """
        probing = probe(self._access())
        served = asyncio.run_coroutine_threadsafe(probing, self._loop).result()
        if served is None:
            return
        stated_ms = self._config.delay_ms
        if stated_ms is not None and stated_ms != served.model_delay_ms:
            raise Fault(
                f"engine.delay_ms={stated_ms}, but the server reports {served.model_delay_ms:g} ms:"
                " leave engine.delay_ms out"
            )
        self._served = served
        self.info = msgspec.structs.replace(self.info, **msgspec.structs.asdict(served))

    def _access(self) -> ConnectionSetup:
        """What one session connects with."""
        adapter = make_adapter(self._config)
        return ConnectionSetup(self._config, adapter, self._credentials, self._watch.receipt)

    def open(self, listener: Listener, reference: Reference | None = None) -> RemoteStream:
        stream = RemoteStream(
            self._access(),
            listener,
            self._world,
            self._connecting,
            self._handover,
            self._served,
        )
        self._streams.add(stream)
        stream.start()
        return stream

    def loop_ticks(self, start_ns: int, end_ns: int) -> tuple[Ticks, ...]:
        return self._watch.between(start_ns, end_ns)

    def close(self) -> None:
        if self._loop.is_closed():
            return
        for stream in list(self._streams):
            stream.close()
        asyncio.run_coroutine_threadsafe(_others_done(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _others_done() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        await asyncio.wait(tasks, timeout=_CLOSING_S)
