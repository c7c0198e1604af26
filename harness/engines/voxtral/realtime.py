"""Voxtral Realtime on torch: live sessions, each a row of one model, stepped as audio arrives.

A session's audio becomes a step once its last sample is there, not before and not later:
``1280 k + 40`` samples for step ``k``. Sessions that are due at the same time are stepped together
(``engine.batching``), or one after the other. Nothing waits for the next chunk: a token is handed
over as soon as its step has run.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

import msgspec
import numpy as np
import torch

from harness.audio import RATE_HZ
from harness.clock import World
from harness.engines import Engine, Listener, Reference, Stream
from harness.engines.torch.cuda_graphs import StepOptions, prepare, step_options
from harness.engines.torch.decoding import TokenText
from harness.engines.torch.options import TorchOptions
from harness.engines.torch.ring_cache import RingCache
from harness.engines.torch.worker import Laps, LocalEngine, device_events, torch_device
from harness.engines.voxtral import VoxtralRealtimeModel
from harness.engines.voxtral.realtime_model import (
    ENCODER_POSITIONS,
    WINDOW,
    RealtimeModel,
    cache_shape,
)
from harness.engines.voxtral.realtime_stream import RealtimeStream
from harness.engines.voxtral.tokenizer import STREAMING_PAD
from harness.engines.voxtral.weights import Loaded, load_voxtral_weights
from harness.errors import ConfigError
from harness.events import SessionKind

_MS_PER_STEP = 80
_WARM_UP_STEPS = 3


def load_voxtral_realtime(
    model: VoxtralRealtimeModel, engine: TorchOptions, world: World
) -> Engine:
    """Voxtral Realtime, loaded and warm; returns when both are done.

    Raises:
        WeightsError, DeviceError: with the next step.
    """
    device, dtype = torch_device(engine)
    options = step_options(engine, device, live=True)

    def cache_bytes(config: Any) -> int:
        parts = ((config.audio_config, ENCODER_POSITIONS), (config.text_config, 1))
        shapes = (cache_shape(part, model.max_streams, step) for part, step in parts)
        return sum(RingCache.bytes_needed(**shape, dtype=dtype) for shape in shapes)

    loaded = load_voxtral_weights("voxtral_realtime", model, device, dtype, cache_bytes=cache_bytes)
    return VoxtralRealtimeEngine(model, loaded, device, dtype, options, world)


class VoxtralRealtimeEngine(LocalEngine):
    def __init__(
        self,
        model: VoxtralRealtimeModel,
        loaded: Loaded,
        device: torch.device,
        dtype: torch.dtype,
        options: StepOptions,
        world: World,
    ) -> None:
        super().__init__(world, "voxtral-realtime")
        self._loaded = loaded
        self._delay_tokens = model.delay_ms // _MS_PER_STEP
        self._forced = model.decode == "forced"
        self._batching = options.batching
        self._new_event = device_events(device)
        self._rows: list[RealtimeStream | None] = [None] * model.max_streams
        self._posted = False
        info = loaded.engine_info(model, SessionKind.LIVE, device, dtype, options)
        own = {
            "delay_ms": model.delay_ms,
            "max_streams": model.max_streams,
            "batching": options.batching,
        }
        self.info = msgspec.structs.replace(
            info,
            model_delay_ms=model.delay_ms,
            cadence_ms=_MS_PER_STEP,
            details=info.details | own,
        )
        make = partial(
            RealtimeModel,
            loaded.model,
            rows=model.max_streams,
            delay_tokens=self._delay_tokens,
            device=device,
            dtype=dtype,
            options=options,
        )
        self._model = self.run_on_worker(partial(prepare, device, make))
        self.run_on_worker(self._warm_up)

    def open(self, listener: Listener, reference: Reference | None = None) -> Stream:
        """Raises: ConfigError: no row is free, or forced decoding without word timings."""
        free = [row for row, held in enumerate(self._rows) if held is None or held.closed]
        if not free:
            raise ConfigError(
                "more sessions at once than model.max_streams",
                value=len(self._rows) + 1,
                allowed=f"at most {len(self._rows)}",
                hint=f"model.max_streams={2 * len(self._rows)}, or a smaller replay.streams",
            )
        script = self._script(reference) if self._forced else None
        stream = RealtimeStream(
            self,
            self._worker,
            self._world,
            listener,
            row=free[0],
            delay_tokens=self._delay_tokens,
            text=TokenText(self._loaded.token_bytes),
            script=script,
        )
        self._rows[free[0]] = stream
        return self.add(stream)

    def close(self) -> None:
        super().close()
        self._rows = []  # streams hold the engine: its memory would wait for a collection

    def _script(self, reference: Reference | None) -> deque[tuple[int, int]]:
        """The reference's tokens, each with the sample at which its word has been spoken."""
        if reference is None or not reference.words:
            raise ConfigError(
                "model.decode=forced needs to know when each word was spoken",
                value="a clip without word timings",
                hint="model.decode=greedy, or `python -m harness align` on the dataset's manifest",
            )
        return deque(
            (round(word.end_s * RATE_HZ), token)
            for index, word in enumerate(reference.words)
            for token in self._loaded.encode(f" {word.text}" if index else word.text)
        )

    # --- on the worker ------------------------------------------------------------------------

    def begin(self, row: int) -> None:
        self._model.begin(row)

    def wake(self) -> None:
        """Step what is due as soon as the worker is free; one job does for all."""
        if not self._posted:
            self._posted = True
            self._worker.call_soon(self._step_due)

    def _step_due(self) -> None:
        self._posted = False  # before looking: a later feed posts again
        due = self._due()
        groups = [due] if self._batching else [[stream] for stream in due]
        with torch.inference_mode():
            for group in filter(None, groups):
                try:
                    self._step(group)
                except Exception as error:  # noqa: BLE001 broken sessions must not end the run
                    for stream in group:
                        stream.failed(f"{type(error).__name__}: {error}")
        if self._due():
            self.wake()

    def _due(self) -> list[RealtimeStream]:
        return [stream for stream in self._rows if stream is not None and stream.due]

    def _step(self, group: list[RealtimeStream]) -> None:
        """One step of each of these sessions, together."""

        def tell(name: str, start_ns: int, end_ns: int) -> None:
            for stream in group:
                stream.span(name, start_ns, end_ns, shared_by=len(group))

        span = self._model.span_of([stream.row for stream in group])
        start_ns = self._world.now_ns()
        for stream in group:
            audio, given = stream.next_input(start_ns)
            self._model.stage(stream.row, audio, given)
        laps = Laps(self._world, tell, start_ns, self._new_event)
        tokens = self._run(span, max(stream.step for stream in group), laps)
        for stream in group:
            stream.take(tokens[stream.row - span.start])
        laps.resolve()
        for stream in group:
            stream.end_if_done()

    def _run(self, span: slice, newest_step: int, laps: Laps) -> list[int]:
        """The tokens of what was staged in ``span``."""
        model = self._model
        model.upload(span)
        laps.launched("upload")
        model.features(span)
        laps.launched("features")
        model.encode(span)
        laps.launched("encoder")
        model.decode(span, newest_step)
        laps.launched("decode")
        tokens = model.read(span)
        laps.lap("host_read")
        return tokens

    def _warm_up(self) -> None:
        """The whole way, events included: the first ones are made."""
        span = self._model.span_of([0])
        self._model.begin(0)
        for step in range(_WARM_UP_STEPS):
            self._model.stage(0, np.zeros(WINDOW, np.float32), STREAMING_PAD)
            laps = Laps(self._world, lambda *_: None, self._world.now_ns(), self._new_event)
            self._run(span, step, laps)
            laps.resolve()
