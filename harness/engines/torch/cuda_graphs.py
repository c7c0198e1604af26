"""Steps that are compiled, captured once as CUDA graphs and replayed; the options that ask for it.

A replay launches hundreds of kernels with one call. It runs on the same addresses every time, so
what changes from step to step is copied into buffers that live as long as the graph.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import torch

from harness.engines.torch.options import TorchOptions
from harness.errors import ConfigError, DeviceError

T = TypeVar("T")
P = ParamSpec("P")
Step = Callable[[], None]

_WARM_UP_RUNS = 3  # libraries choose kernels and take workspace in their first runs
_SHAPES = 1024  # more than one function has: batches of all stacks, reaches, lengths of prompts


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How steps run, resolved: what ``environment.json`` records."""

    cuda_graphs: bool
    compile: bool
    batching: bool


def step_options(engine: TorchOptions, device: torch.device, *, live: bool) -> StepOptions:
    """What was asked for, or an error: an option that cannot be had is never left out.

    Raises:
        DeviceError: CUDA graphs on another device.
        ConfigError: batching where there are no steps to batch.
    """
    if engine.cuda_graphs and device.type != "cuda":
        raise DeviceError(
            "engine.cuda_graphs=true is for CUDA",
            value=f"engine.device={engine.device}",
            hint="engine.device=cuda, or engine.cuda_graphs=null (on where there is CUDA)",
        )
    if engine.batching is not None and not live:
        raise ConfigError(
            "engine.batching is for live sessions of one step loop",
            value=engine.batching,
            allowed="null with this model",
            hint="model=voxtral_mini_4b_realtime session=live, or leave engine.batching out",
        )
    return StepOptions(
        cuda_graphs=device.type == "cuda" if engine.cuda_graphs is None else engine.cuda_graphs,
        compile=engine.compile,
        batching=live and engine.batching is not False,
    )


@contextmanager
def step_errors() -> Iterator[None]:
    """Around preparing steps: what torch cannot compile, capture or allocate, with what to try.

    Raises:
        DeviceError: instead of torch's ``RuntimeError``.
    """
    try:
        yield
    except RuntimeError as error:
        raise DeviceError(
            "the model's steps cannot be prepared on this machine",
            value=str(_first(error)).strip().partition("\n")[0],
            hint="engine.compile=false, engine.cuda_graphs=false, or a smaller model.max_streams",
        ) from error


def _first(error: BaseException) -> BaseException:
    """A capture that was broken off fails once more when it ends: what broke it comes first."""
    while isinstance(error.__context__, RuntimeError) and not error.__suppress_context__:
        error = error.__context__
    return error


def prepare(device: torch.device, make: Callable[[], T]) -> T:
    """``make()``, which captures steps; on the thread that will run them.

    Raises:
        DeviceError: as `step_errors`.
    """
    use_device(device)
    with step_errors():
        return make()


def use_device(device: torch.device) -> None:
    """Make ``device`` that of this thread's events and streams."""
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)  # "cuda" without a number is refused


def compiled(function: Callable[P, T], **options: bool) -> Callable[P, T]:
    """``function`` in as few kernels as inductor needs, compiled once for each shape.

    It must not depend on anything but its arguments and what never changes. Every shape is to be
    met while loading: one that was not would be compiled in the middle of a session.
    """
    from torch._dynamo import config as dynamo_config  # slow to import

    for limit in ("recompile_limit", "accumulated_recompile_limit"):
        setattr(dynamo_config, limit, max(getattr(dynamo_config, limit), _SHAPES))
    return torch.compile(function, fullgraph=True, dynamic=False, options=dict(options) or None)


def tuned(function: Callable[P, T]) -> Callable[P, T]:
    """`compiled`, and tried with other block sizes on the device, which makes loading longer.

    On a GPU a product of a matrix and one vector becomes a kernel that its neighbours are fused
    into, as in gpt-fast; cuBLAS leaves a norm, an activation and a sum to kernels of their own.
    """
    return compiled(function, coordinate_descent_tuning=True)


@contextmanager
def _no_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Capturer:
    """Turns steps into replays; all of them share one memory pool, so they run one at a time."""

    def __init__(self, options: StepOptions) -> None:
        self._options = options
        if options.cuda_graphs:
            gc.collect()  # an engine that was given up may still hold graphs and events
            self._pool = torch.cuda.graph_pool_handle()
            # Of this thread's device; torch's own stands on the device that captured first. One for
            # all: libraries keep their workspace for every stream that they have seen.
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def capture(self, step: Step) -> Step:
        """``step`` itself, run once to warm up; with CUDA graphs its replay.

        Args:
            step: reads and writes tensors that outlive it; safe to run on any state, since warming
                up runs it.
        """
        if not self._options.cuda_graphs:
            step()
            return step
        # The first runs are eager and on a side stream, as capturing asks for.
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UP_RUNS):
                step()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads (telemetry, loaders) may call CUDA meanwhile
        with (
            _no_collection(),  # graphs and events that are freed meanwhile would break it off
            torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ),
        ):
            step()
        graph.replay()  # the first one also puts the graph onto the device
        torch.cuda.synchronize()
        return graph.replay
