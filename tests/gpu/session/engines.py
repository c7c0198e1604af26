"""Arms of our Voxtral engines, on random weights.

Only here are private parts of the engines used: their captured steps are timed one by one, and
what a step reads is counted from their weights and caches.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from harness.clock import frozen_gc
from harness.engines.torch.cuda_graphs import step_options
from harness.engines.torch.options import TorchOptions
from harness.engines.torch.ring_cache import RingCache
from harness.engines.torch.worker import LocalEngine, torch_device
from harness.engines.voxtral import VoxtralModel, VoxtralRealtimeModel
from harness.engines.voxtral.engine import VoxtralEngine
from harness.engines.voxtral.net import VoxtralNet
from harness.engines.voxtral.realtime import VoxtralRealtimeEngine
from harness.engines.voxtral.realtime_model import RealtimeModel
from harness.engines.voxtral.tokenizer import Kind
from harness.engines.voxtral.weights import Loaded, load_voxtral_weights
from tests.gpu.session.clips import (
    STEP_MS,
    Clip,
    flood,
    lateness_ms,
    lateness_of_streams_ms,
    make_clip,
    speak_live,
    speak_turn,
)
from tests.gpu.session.device import (
    Work,
    both_ms,
    device_ms,
    keep_kernels,
    keep_memory,
    quantiles,
    sampled,
)
from tests.gpu.session.results import WORLD, Line, Options, Record

_ENCODER_POSITIONS = 1500  # of a block of 30 s, after the convolutions of the 3B
_TINY_STREAMS = 4  # at most, where the lane itself is tried


@dataclass(frozen=True, slots=True)
class Way:
    """How an engine runs its steps; see ``TorchOptions``."""

    cuda_graphs: bool | None = None
    compile: bool = False

    def engine(self, options: Options) -> TorchOptions:
        return TorchOptions(
            device=options.device,
            dtype="bfloat16" if options.cuda else "float32",
            cuda_graphs=self.cuda_graphs if options.cuda else None,
            compile=self.compile,
        )


def load(kind: Kind, record: Record, streams: int = 1) -> tuple[Any, Loaded]:
    """The model's options, and random weights on the device."""
    size = record.options.size
    model: VoxtralModel | VoxtralRealtimeModel
    if kind == "voxtral":
        model = VoxtralModel(weights="random", size=size, decode="forced")
    else:
        model = VoxtralRealtimeModel(
            weights="random", size=size, decode="forced", max_streams=streams
        )
    device, dtype = torch_device(Way().engine(record.options))
    loaded = load_voxtral_weights(kind, model, device, dtype, cache_bytes=lambda _: 0)
    record.phase("weights")
    return model, loaded


def token_weight_bytes(loaded: Loaded) -> int:
    """Weights that the 3B reads for a token."""
    return _parameter_bytes(loaded.model.model.language_model.layers, loaded.model.lm_head)


def step_weight_bytes(loaded: Loaded) -> int:
    """Weights that Realtime reads for a step, of however many sessions."""
    core = loaded.model.model
    return _parameter_bytes(
        core.audio_tower.layers,
        core.multi_modal_projector,
        core.language_model.layers,
        loaded.model.lm_head,
    )


def _parameter_bytes(*modules: torch.nn.Module) -> int:
    return sum(p.numel() * p.element_size() for module in modules for p in module.parameters())


def _cache_bytes(cache: RingCache, reach: int) -> int:
    """What one row reads in one step that reaches so many slots."""
    return sum(held[0, :, :reach].nbytes for held in (*cache.keys, *cache.values))


def _keep_parts(record: Record, engine: LocalEngine, parts: dict[str, Work]) -> None:
    for name, part in parts.items():
        record.figure(**engine.run_on_worker(partial(both_ms, record, name, part)))


# --- the 3B, an utterance at once -----------------------------------------------------------------


def turn(way: Way, *, traced: bool = True) -> Callable[[Record], None]:
    """An arm: first token, tokens, and the device time of each captured part.

    Args:
        traced: keep the kernels too.
    """

    def run(record: Record) -> None:
        model, loaded = load("voxtral", record)
        device, dtype = torch_device(way.engine(record.options))
        options = step_options(way.engine(record.options), device, live=False)
        engine = VoxtralEngine(model, loaded, device, dtype, options, WORLD)
        record.phase("engine")
        with closing(engine), frozen_gc(), sampled(record):
            net = engine._net
            record.figure(**_turn_work(loaded, net))
            _keep_turns(record, engine)
            step = net._steps[net._cache.reaches()[0]]
            parts: dict[str, Work] = {
                "step": step,
                "prefill": net._prefill[1],
                "encode": net._encode[1],
                "features": net._features[1],
            }
            _keep_parts(record, engine, parts)
            keep_memory(record)
            for name in ("step", "prefill", "encode") if traced else ():
                engine.run_on_worker(partial(keep_kernels, record, name, parts[name]))
        record.phase("measured")

    return run


def _turn_work(loaded: Loaded, net: VoxtralNet) -> Line:
    """What a token must read (GB), and what a clip of at most 30 s must compute (TFLOP)."""
    core = loaded.model.model
    encoder, decoder = core.audio_tower, core.language_model
    read = token_weight_bytes(loaded) + _cache_bytes(net._cache, net._cache.reaches()[0])
    config = encoder.config
    # A product of weights takes two operations for each weight and position, and attention four
    # for each pair of positions and number of the width.
    flop = 2 * _ENCODER_POSITIONS * sum(p.numel() for p in encoder.layers.parameters())
    flop += 4 * _ENCODER_POSITIONS**2 * config.hidden_size * config.num_hidden_layers
    flop += 2 * net._prompt_lengths[1] * sum(p.numel() for p in decoder.layers.parameters())
    return {"step_gb": round(read / 1e9, 3), "first_tflop": round(flop / 1e12, 3)}


def _keep_turns(record: Record, engine: VoxtralEngine) -> None:
    clip = make_clip(record.options.seconds)
    first_ms: list[float] = []
    step_ms: list[float] = []
    words_ms: dict[int, list[float]] = {1: [], 6: []}
    for repeat in range(record.options.repeats):
        spoken, finished_ns = speak_turn(engine, clip)
        if not repeat:
            continue
        first_ms.append((spoken.token_ns[0] - finished_ns) / 1e6)
        step_ms += spoken.gaps_ms()
        record.figure(**quantiles("first", first_ms), **quantiles("step", step_ms))
        for words, times in words_ms.items():
            times.append(spoken.first_chunk_ms(words, finished_ns))
            record.figure(**quantiles(f"words{words}", times))


# --- Realtime, live -------------------------------------------------------------------------------


def live(
    way: Way,
    *,
    streams: int = 1,
    paced: bool = True,
    capacity: tuple[int, ...] = (),
    traced: bool = True,
) -> Callable[[Record], None]:
    """An arm: steps back to back, lateness at the pace of speech, device time of each part.

    Args:
        streams: ``model.max_streams``.
        paced: measure one session at the pace of speech.
        capacity: numbers of concurrent sessions to try, at the pace of speech.
        traced: keep the kernels too.
    """

    def run(record: Record) -> None:
        rows = min(streams, _TINY_STREAMS) if record.options.tiny else streams
        model, loaded = load("voxtral_realtime", record, rows)
        device, dtype = torch_device(way.engine(record.options))
        options = step_options(way.engine(record.options), device, live=True)
        engine = VoxtralRealtimeEngine(model, loaded, device, dtype, options, WORLD)
        record.phase("engine")
        clip = make_clip(record.options.seconds)
        with closing(engine), frozen_gc(), sampled(record):
            made = engine._model
            record.figure(**_live_work(loaded, made))
            _keep_floods(record, engine, clip)
            if paced:
                _keep_paced(record, engine, clip)
            parts = _live_parts(made)
            _keep_parts(record, engine, parts)
            _keep_whole_step(record, made)
            _keep_rows(record, engine, loaded)
            keep_memory(record)
            least = f"decode{min(made._steps[0, 1].decode)}"
            for name in (least, "encode") if traced else ():
                engine.run_on_worker(partial(keep_kernels, record, name, parts[name]))
            _keep_capacity(record, engine, clip, {min(look, rows) for look in capacity})
        record.phase("measured")

    return run


def _row_bytes(made: RealtimeModel, reach: int) -> int:
    """What one session's caches add to what a step reads."""
    encoder = made._encoder_cache
    return _cache_bytes(encoder, encoder.size) + _cache_bytes(made._decoder_cache, reach)


def _live_work(loaded: Loaded, made: RealtimeModel) -> Line:
    """What a step must read (GB): at first, and once the decoder's window is full."""
    weights = step_weight_bytes(loaded)
    reaches = made._decoder_cache.reaches()
    return {
        "step_gb": round((weights + _row_bytes(made, reaches[0])) / 1e9, 3),
        "full_step_gb": round((weights + _row_bytes(made, reaches[-1])) / 1e9, 3),
    }


def _live_parts(made: RealtimeModel) -> dict[str, Work]:
    one = made._steps[0, 1]
    decodes = {f"decode{reach}": step for reach, step in one.decode.items()}
    return {"encode": one.encode, "features": one.features, **decodes}


def _keep_floods(record: Record, engine: VoxtralRealtimeEngine, clip: Clip) -> None:
    step_ms: list[float] = []
    for repeat in range(record.options.repeats):
        spoken = flood(engine, clip)
        if repeat:
            step_ms += spoken.gaps_ms()
            record.figure(**quantiles("step", step_ms))


def _keep_paced(record: Record, engine: VoxtralRealtimeEngine, clip: Clip) -> None:
    late_ms: list[float] = []
    words_ms: dict[int, list[float]] = {1: [], 6: []}
    for _ in range(max(1, record.options.repeats - 1)):  # floods have warmed it up
        (spoken,), (begin_ns,) = speak_live(engine, clip, 1)
        late_ms += lateness_ms(spoken, clip, begin_ns)
        record.figure(**quantiles("first", late_ms))
        for words, times in words_ms.items():
            times.append(spoken.first_chunk_ms(words, begin_ns))
            record.figure(**quantiles(f"words{words}", times))


def _keep_whole_step(record: Record, made: RealtimeModel) -> None:
    """Device time of a step whose decoder's window is full: the sum of its parts."""
    most = max(made._steps[0, 1].decode)
    parts = ("features", "encode", f"decode{most}")
    total_ms = sum(float(record.figures[f"{part}_device_ms"]) for part in parts)
    record.figure(full_step_ms=round(total_ms, 4))


def _keep_rows(record: Record, engine: VoxtralRealtimeEngine, loaded: Loaded) -> None:
    """Device time of a step of the first n rows together, and what it must read (GB)."""
    made = engine._model
    for (start, rows), steps in made._steps.items():
        if start or rows == 1:
            continue
        least, most = min(steps.decode), max(steps.decode)
        works: dict[str, Work] = {
            "features": steps.features,
            "encode": steps.encode,
            "decode": steps.decode[least],
            "full_decode": steps.decode[most],
        }
        ms = {
            name: engine.run_on_worker(partial(device_ms, record, work, 10))
            for name, work in works.items()
        }
        record.figure(**{f"rows{rows}_{name}_ms": value for name, value in ms.items()})
        read = step_weight_bytes(loaded) + rows * _row_bytes(made, least)
        figures: Line = {
            f"rows{rows}_step_ms": round(ms["features"] + ms["encode"] + ms["decode"], 4),
            f"rows{rows}_step_gb": round(read / 1e9, 3),
        }
        record.figure(**figures)


def _keep_capacity(
    record: Record, engine: VoxtralRealtimeEngine, clip: Clip, looks: set[int]
) -> None:
    """The most sessions, of the numbers tried, whose tokens come within a step at p99."""
    for streams in sorted(looks):
        late = quantiles(f"live{streams}", lateness_of_streams_ms(engine, clip, streams))
        record.figure(**late)
        if late[f"live{streams}_p99"] >= STEP_MS:
            break
        record.figure(live_streams=streams)
