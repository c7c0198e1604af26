from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from harness.clock import RealWorld, VirtualWorld
from harness.engines.torch.options import TorchOptions
from harness.engines.torch.worker import Laps, LocalEngine, TurnStream, torch_device
from harness.errors import DeviceError
from tests.engines.listening import Heard

MS = 1_000_000


class Timed:
    """An engine whose features take 1 ms and whose tokens take 2 ms each, on a virtual clock."""

    def __init__(self, world, texts=("a", "b")):
        self.world, self.texts = world, texts
        self.engine = LocalEngine(world, "timed")
        self.lengths = []

    def open(self, listener, before_token=lambda: None):
        def transcribe(samples, laps):
            self.lengths.append(len(samples))
            self._spend(1)
            laps.launched("features")
            for text in self.texts:
                before_token()
                self._spend(2)
                laps.lap("decode")
                yield text

        return self.engine.add(TurnStream(self.world, self.engine._worker, listener, transcribe))

    def _spend(self, ms):
        self.world.sleep_until_ns(self.world.now_ns() + ms * MS)


def test_a_turn_says_ready_its_tokens_then_ended_with_spans_that_leave_no_gap(world):
    timed, heard = Timed(world), Heard()
    stream = timed.open(heard)
    stream.feed(np.zeros(3, np.float32))
    stream.feed(np.zeros(4, np.float32))
    stream.finish()
    world.run()
    assert heard.calls == ["ready", "token", "token", "ended"]
    assert timed.lengths == [7]
    assert heard.spans == [
        ("queue", 0, 0),
        ("features", 0, 1 * MS),
        ("decode", 1 * MS, 3 * MS),
        ("decode", 3 * MS, 5 * MS),
    ]


def test_the_queue_span_shows_the_wait_for_the_worker():
    world = VirtualWorld(compute_scale=1e-12)  # actions hold their timeline, compute costs nothing
    timed, first, second = Timed(world), Heard(), Heard()
    for heard in (first, second):
        timed.open(heard).finish()
    world.run()
    assert first.spans[0] == ("queue", 0, 0)
    assert second.spans[0] == ("queue", 0, 5 * MS)
    assert second.spans[-1] == ("decode", 8 * MS, 10 * MS)


def test_closing_stops_the_decode_and_nothing_more_is_told(world):
    timed, heard = Timed(world, texts=("a", "b", "c")), Heard()
    steps = []
    stream = timed.open(heard, before_token=lambda: steps.append(len(heard.tokens)))
    heard.token = lambda text, at_ns=None, after_ns=None: (
        heard.tokens.append(text),
        stream.close(),
    )
    stream.finish()
    world.run()
    assert heard.tokens == ["a"]
    assert heard.calls == ["ready"]
    assert steps == [0]


def test_a_stream_closed_before_its_job_never_runs_it(world):
    timed, heard = Timed(world), Heard()
    stream = timed.open(heard)
    stream.finish()
    stream.close()
    world.run()
    assert heard.calls == ["ready"]
    assert timed.lengths == []


def test_what_a_job_raises_fails_its_stream_and_no_other(world):
    timed, broken, whole = Timed(world), Heard(), Heard()

    def fail():
        raise ValueError("odd length")

    timed.open(broken, before_token=fail).finish()
    timed.open(whole).finish()
    world.run()
    assert broken.calls == ["ready", "failed"]
    assert broken.error == "ValueError: odd length"
    assert whole.calls == ["ready", "token", "token", "ended"]


def test_closing_the_engine_gives_up_what_is_open(world):
    timed, heard = Timed(world), Heard()
    timed.open(heard).finish()
    timed.engine.close()
    world.run()
    assert heard.calls == ["ready"]


@pytest.mark.parametrize("make_world", [RealWorld, VirtualWorld])
def test_loading_runs_on_the_worker_and_fails_where_it_was_called(make_world):
    engine = LocalEngine(make_world(), "loading")

    def fail():
        assert torch.is_inference_mode_enabled()
        raise DeviceError("no memory")

    with pytest.raises(DeviceError, match="no memory"):
        engine.run_on_worker(fail)
    assert "loading" not in [thread.name for thread in threading.enumerate()]
    engine.close()


def test_the_real_worker_is_one_thread_of_its_own():
    engine = LocalEngine(RealWorld(), "worker")
    names = {engine.run_on_worker(lambda: threading.current_thread().name) for _ in range(2)}
    engine.close()
    assert names == {"worker"}


class FakeEvent:
    """A device event; ``record`` takes the device's next instant, in ms."""

    def __init__(self, device_ms):
        self._device_ms = device_ms

    def record(self):
        self.at_ms = self._device_ms.pop(0)

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return end.at_ms - self.at_ms


def test_work_that_a_gpu_was_given_ends_at_its_event_counted_back_from_the_awaited_span(world):
    spans = []
    device_ms = [103.0, 107.5, 110.0]  # features done, encoder done, prefill done
    laps = Laps(world, lambda *span: spans.append(span), 0, lambda: FakeEvent(device_ms))
    laps.launched("features")
    laps.launched("encoder")
    world.sleep_until_ns(20 * MS)
    laps.lap("prefill")
    world.sleep_until_ns(22 * MS)
    laps.lap("decode")
    assert spans == [("decode", 20 * MS, 22 * MS)]
    laps.resolve()
    assert spans[1:] == [
        ("features", 0, 13 * MS),
        ("encoder", 13 * MS, 17.5 * MS),
        ("prefill", 17.5 * MS, 20 * MS),
    ]


def test_a_device_that_is_not_there_names_those_that_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match=r"cuda:3") as error:
        torch_device(TorchOptions(device="cuda:3"))
    assert error.value.allowed.startswith("cpu, cuda:0")
    assert torch_device(TorchOptions(device="cuda:0"))[0] == torch.device("cuda:0")


def test_half_precision_is_not_for_the_cpu():
    with pytest.raises(DeviceError, match="float16") as error:
        torch_device(TorchOptions(dtype="float16"))
    assert error.value.hint == "engine.dtype=bfloat16"


def test_threads_are_torchs_threads():
    before = torch.get_num_threads()
    try:
        assert torch_device(TorchOptions(threads=1)) == (torch.device("cpu"), torch.float32)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
