"""What takes minutes: an hour-long session, the full size on a CPU, compiled steps."""

from __future__ import annotations

import resource
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from harness.clock import VirtualWorld
from harness.engines.torch.options import TorchOptions
from harness.engines.voxtral import VoxtralModel, VoxtralRealtimeModel
from harness.engines.voxtral.engine import load_voxtral
from harness.engines.voxtral.realtime import load_voxtral_realtime
from harness.engines.voxtral.weights import free_memory
from tests.engines.voxtral_oracle import Heard, noise, replay

pytestmark = pytest.mark.slow

WINDOW_STEPS = 8192  # of the decoder: until it is full, a step reads more and more
BLOCK_STEPS = 1000


class _Stamps(Heard):
    """Keeps nothing but when each token came, so that it does not grow itself."""

    def __init__(self, world: VirtualWorld, steps: int) -> None:
        super().__init__(world)
        self.at_ns = np.zeros(steps, np.int64)
        self.peak_kib = np.zeros(steps, np.int64)
        self.count = 0

    def token(self, text: str, at_ns: int | None = None, after_ns: int | None = None) -> None:
        self.at_ns[self.count] = self.world.now_ns()
        self.peak_kib[self.count] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.count += 1

    def span(self, name: str, start_ns: int, end_ns: int, shared_by: int = 1) -> None:
        pass


def test_an_hour_is_flat_in_memory_and_in_time_per_step(
    record_property: Callable[[str, object], None],
) -> None:
    world = VirtualWorld(compute_scale=1.0)  # the worker's time is its compute, nothing else
    engine = load_voxtral_realtime(
        VoxtralRealtimeModel(weights="random", size="tiny", max_streams=1),
        TorchOptions(threads=1),
        world,
    )
    listener = _Stamps(world, 3600 * 13)
    stream = engine.open(listener)
    second = noise(1.0)
    driver = world.timeline("driver", costs=False)
    for _ in range(3600):
        driver.call_at(0, lambda: stream.feed(second))
    driver.call_at(1, stream.finish)
    world.run()
    assert listener.outcome == "ended"
    assert listener.count == 45_000 + 6 + 11 - 7  # steps of audio, delay, padding; less the prompt
    steps_ms = np.diff(listener.at_ns[: listener.count])[WINDOW_STEPS:] / 1e6
    blocks = steps_ms[: len(steps_ms) // BLOCK_STEPS * BLOCK_STEPS].reshape(-1, BLOCK_STEPS)
    fast_ms = np.percentile(blocks, 10, axis=1)  # of each block: others use this machine too
    slope, _, low, high = stats.theilslopes(fast_ms)
    record_property("step_ms_p50", float(np.median(steps_ms)))
    record_property("slope_ms_per_block", [float(slope), float(low), float(high)])
    grown_ms = low * len(blocks)  # at least, over the hour
    assert grown_ms < 0.25 * np.median(fast_ms)  # what grew with the session would be fourfold
    assert listener.peak_kib[listener.count - 1] - listener.peak_kib[WINDOW_STEPS] < 8 * 1024


def test_full_size_realtime_builds_and_steps_on_a_cpu() -> None:
    if free_memory(torch.device("cpu")) < 14e9:
        pytest.skip("needs 14 GB of memory")
    world = VirtualWorld(compute_scale=1.0)
    engine = load_voxtral_realtime(
        VoxtralRealtimeModel(weights="random", max_streams=1, delay_ms=80),
        TorchOptions(dtype="bfloat16"),
        world,
    )
    assert engine.info.parameters == 4_429_679_360
    (heard,) = replay(world, engine, [noise(0.1)])
    assert heard.outcome == "ended"
    assert len(heard.tokens) == 2 + 1 + 11 - 2  # steps of audio, delay and padding, less the prompt


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")  # in torch's own compiler
def test_compiled_steps_say_the_same() -> None:
    """torch.compile with a C++ compiler; `fullgraph` refuses whatever would wait for a value."""
    clip = noise(2.0)
    said = []
    for compiled in (False, True):
        world = VirtualWorld()
        how = TorchOptions(compile=compiled, threads=1)
        live = load_voxtral_realtime(
            VoxtralRealtimeModel(weights="random", size="tiny", max_streams=2), how, world
        )
        turn = load_voxtral(
            VoxtralModel(weights="random", size="tiny", max_new_tokens=16), how, world
        )
        said.append(
            [h.text for h in replay(world, live, [clip, clip[:9000]])]
            + [replay(world, turn, [clip])[0].text]
        )
        assert live.info.details["compile"] is compiled
    assert said[0] == said[1]
