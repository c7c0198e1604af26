"""What a GPU asks of captured steps, as far as a CPU can ask it."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from harness.engines.torch import ring_cache
from harness.engines.torch.cuda_graphs import Capturer, Step, StepOptions
from harness.engines.torch.ring_cache import RingCache, Snapshot
from harness.engines.voxtral import layers as voxtral_layers
from harness.engines.voxtral import realtime_model as voxtral_realtime_model
from harness.engines.voxtral.net import VoxtralNet
from harness.engines.voxtral.realtime_model import RealtimeModel
from harness.engines.voxtral.tokenizer import TINY_VOCABULARY, Kind, random_tokenizer
from harness.engines.voxtral.weights import Loaded, _build, random_config
from tests.engines.simulated_graphs import simulate_graphs
from tests.engines.voxtral.test_realtime import WINDOWS, step_through
from tests.engines.voxtral_oracle import CPU, noise, tiny

CUDA = torch.device("cuda")
EAGER = StepOptions(cuda_graphs=False, compile=False, batching=True)
GRAPHS = StepOptions(cuda_graphs=True, compile=False, batching=True)
COMPILED = StepOptions(cuda_graphs=False, compile=True, batching=True)
pytestmark = pytest.mark.usefixtures("one_thread")


def turn_net(
    loaded: Loaded,
    options: StepOptions,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
) -> VoxtralNet:
    return VoxtralNet(
        loaded,
        blocks=2,
        new_tokens=24,
        language="en",
        device=device,
        dtype=dtype,
        options=options,
        watch=True,
    )


def realtime_model(
    model: Any,
    options: StepOptions,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
) -> RealtimeModel:
    return RealtimeModel(model, rows=2, delay_tokens=6, device=device, dtype=dtype, options=options)


def assert_same_utterances(
    net: VoxtralNet, other: VoxtralNet, lengths_s: Sequence[float] = (2.5, 31.0, 4.0)
) -> None:
    for seconds in lengths_s:
        said = []
        for each in (net, other):
            blocks = each.upload(noise(seconds))
            each.features(blocks)
            each.encode(blocks)
            token = each.prefill(blocks)
            tokens = [int(token), *(int(each.step(token)) for _ in range(6))]
            said.append((tokens, each.logits.clone(), each.attention.clone()))
        assert said[0][0] == said[1][0]
        torch.testing.assert_close(said[0][1:], said[1][1:])


def assert_same_sessions(model: RealtimeModel, other: RealtimeModel) -> None:
    for row, seconds in ((0, 7.3), (1, 1.0), (0, 1.0)):  # beyond both windows; rows used again
        tokens, logits = step_through(model, row, noise(seconds), 6)
        tokens_again, logits_again = step_through(other, row, noise(seconds), 6)
        assert tokens == tokens_again
        torch.testing.assert_close(logits, logits_again)


@torch.inference_mode()
def test_a_replayed_utterance_is_the_eager_one(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny("voxtral")
    eager = turn_net(loaded, EAGER)
    simulate_graphs(monkeypatch)
    assert_same_utterances(eager, turn_net(loaded, GRAPHS))


@torch.inference_mode()
def test_a_replayed_session_is_the_eager_one(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny("voxtral_realtime", **WINDOWS)
    eager = realtime_model(loaded.model, EAGER)
    simulate_graphs(monkeypatch)
    assert_same_sessions(eager, realtime_model(loaded.model, GRAPHS))


def compile_with(monkeypatch: pytest.MonkeyPatch, how: Callable[..., Any]) -> None:
    monkeypatch.setattr(ring_cache, "compiled", how)
    monkeypatch.setattr(voxtral_layers, "compiled", how)
    monkeypatch.setattr(voxtral_layers, "tuned", how)


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Lets the pieces of a step be traced, as for compiling, and counts how often each is."""
    counts: Counter[str] = Counter()

    def trace(function: Callable[..., Any]) -> Callable[..., Any]:
        def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
            counts[function.__name__] += 1
            return graph.forward

        return torch.compile(function, fullgraph=True, dynamic=False, backend=backend)

    compile_with(monkeypatch, trace)
    return counts


@pytest.mark.slow
@torch.inference_mode()
def test_a_compiled_utterance_is_the_eager_one(compilations: Counter[str]) -> None:
    loaded = tiny("voxtral")
    eager, compiled = turn_net(loaded, EAGER), turn_net(loaded, COMPILED)
    assert compilations["_between"] == 3  # prompts of one and two blocks, and a step
    loading = compilations.total()
    assert_same_utterances(eager, compiled)
    assert compilations.total() == loading


@torch.inference_mode()
def test_a_session_of_nan_leaves_nothing_behind() -> None:
    """As float16 may bring forth: masked slots have no weight, but 0 times NaN is NaN."""
    loaded = tiny("voxtral_realtime", **WINDOWS)
    model, fresh = (realtime_model(loaded.model, EAGER) for _ in range(2))
    _, logits = step_through(model, 0, np.full(16_000, np.nan, np.float32), 6)
    assert logits.isnan().any()
    assert_same_sessions(model, fresh)
    turn = tiny("voxtral")
    net, fresh_net = (turn_net(turn, EAGER) for _ in range(2))
    blocks = net.upload(np.full(16_000, np.nan, np.float32))
    net.features(blocks)
    net.encode(blocks)
    net.prefill(blocks)
    assert net.logits.isnan().any()
    assert_same_utterances(net, fresh_net, [2.5])


@pytest.mark.slow
@torch.inference_mode()
def test_a_compiled_session_is_the_eager_one(compilations: Counter[str]) -> None:
    """What is compiled is compiled when loading: not again for a layer, a row or a session."""
    loaded = tiny("voxtral_realtime", **WINDOWS)
    eager, compiled = realtime_model(loaded.model, EAGER), realtime_model(loaded.model, COMPILED)
    assert compilations["_attend_spread"] == 1  # the decoder with one row
    assert compilations["_between"] == 4  # encoder and decoder, one row and two
    loading = compilations.total()
    assert_same_sessions(eager, compiled)
    assert compilations.total() == loading


def test_what_captured_steps_read_lives_as_long_as_they(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = simulate_graphs(monkeypatch)
    turn, realtime = tiny("voxtral"), tiny("voxtral_realtime", **WINDOWS)
    with torch.inference_mode():
        nets = turn_net(turn, GRAPHS), realtime_model(realtime.model, GRAPHS)
    for graph in graphs:
        graph.forget()
    gc.collect()
    assert len(graphs) > 10
    for graph in graphs:
        assert not any(memory.expired() for memory in graph.reads.values())
    del nets


class NothingFromTheHost(TorchDispatchMode):
    """Fails on copies between host and device, and on values that the host must see."""

    _READS = ("_local_scalar_dense", "nonzero", "masked_select")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        assert name not in self._READS, f"{name} reads a value"
        if name != "fill_":  # a number, given with the launch
            leaves = _pytree.tree_leaves((args, kwargs, result))
            devices = {leaf.device.type for leaf in leaves if isinstance(leaf, torch.Tensor)}
            assert len(devices) < 2, f"{name} copies between host and device"
        return result


class _Handle:
    def __init__(self, **_: bool) -> None:
        pass


@pytest.mark.parametrize("compile_", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["voxtral", "voxtral_realtime"])
def test_captured_steps_on_cuda_copy_nothing_from_the_host(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, compile_: bool
) -> None:
    options = StepOptions(cuda_graphs=True, compile=compile_, batching=True)
    captured: list[Step] = []

    def capture(self: Capturer, step: Step) -> Step:
        with NothingFromTheHost():
            step()
        captured.append(step)
        return step

    zeros = torch.zeros

    def pageable_zeros(*shape: int, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        return zeros(*shape, **options)

    monkeypatch.setattr(torch, "zeros", pageable_zeros)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "Stream", _Handle)
    monkeypatch.setattr(torch.cuda, "Event", _Handle)
    monkeypatch.setattr(RingCache, "snapshot", lambda *_: Snapshot((), (), 0))  # reads a value
    # Eager, and of what it leaves only the shapes are here: two steps are as good as all.
    monkeypatch.setattr(voxtral_realtime_model, "SHARED_STEPS", 2)
    monkeypatch.setattr(Capturer, "capture", capture)
    compile_with(monkeypatch, lambda function: function)  # the same operations, eager
    config = random_config(kind, "tiny")
    tokenizer = random_tokenizer(kind, TINY_VOCABULARY)
    with FakeTensorMode():  # shapes and devices of tensors, without the device
        model = _build(config, CUDA, torch.bfloat16)
        with torch.no_grad():
            if kind == "voxtral":
                loaded = Loaded(model, tokenizer, (), "random", None, None)
                turn_net(loaded, options, CUDA, torch.bfloat16)
            else:
                realtime_model(model, options, CUDA, torch.bfloat16)
    assert len(captured) > 4
