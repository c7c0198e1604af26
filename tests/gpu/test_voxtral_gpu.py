"""On a GPU: captured steps give what ``generate()`` gives, in flat memory, with true spans."""

from __future__ import annotations

import copy
import itertools
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from harness.clock import RealWorld
from harness.engines import Engine, Samples
from harness.engines.torch import ring_cache
from harness.engines.torch.cuda_graphs import StepOptions, step_options
from harness.engines.torch.options import TorchOptions
from harness.engines.torch.worker import Laps
from harness.engines.voxtral import VoxtralModel, VoxtralRealtimeModel
from harness.engines.voxtral.engine import VoxtralEngine, load_voxtral
from harness.engines.voxtral.net import VoxtralNet
from harness.engines.voxtral.realtime import VoxtralRealtimeEngine, load_voxtral_realtime
from harness.engines.voxtral.realtime_model import (
    WINDOW,
    RealtimeModel,
    first_output_step,
    last_step,
    samples_needed,
)
from harness.engines.voxtral.tokenizer import STREAMING_PAD
from harness.engines.voxtral.weights import Loaded
from harness.machine.gpu import GpuSampler, GpuTelemetry
from tests.engines.voxtral.test_live import transformers_says
from tests.engines.voxtral.test_realtime import (
    WINDOWS,
    step_through,
)
from tests.engines.voxtral_oracle import (
    CPU,
    generated_live,
    generated_turn,
    noise,
    processor,
    text_of,
    tiny,
)

pytestmark = [
    pytest.mark.gpu,
    # torch's compiler warns of its own code, and that float32 here is not TF32.
    pytest.mark.filterwarnings("ignore:::torch.*"),
    pytest.mark.filterwarnings("ignore:::triton.*"),
]

WAYS = {
    "eager": {"cuda_graphs": False},
    "graphs": {"cuda_graphs": True},
    "compiled": {"cuda_graphs": True, "compile": True},
}


@pytest.fixture(params=list(WAYS))
def how(request: pytest.FixtureRequest, device: torch.device) -> dict[str, Any]:
    """The ways to run a step; on a CPU there are no graphs."""
    way = dict(WAYS[request.param])
    if device.type != "cuda":
        if request.param != "eager":
            pytest.skip("needs CUDA")
        way = {}
    return way


@pytest.fixture(scope="module")
def realtime() -> Loaded:
    return tiny("voxtral_realtime", **WINDOWS)


@pytest.fixture(scope="module")
def turn() -> Loaded:
    return tiny("voxtral")


def moved(loaded: Loaded, device: torch.device) -> Loaded:
    loaded.model.to(device)
    return loaded


class Heard:
    """A listener to wait for."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.stamps_ns: list[int] = []
        self.spans: list[tuple[str, int, int]] = []
        self.outcome = ""
        self.over = threading.Event()

    def ready(self) -> None:
        pass

    def token(self, text: str, at_ns: int | None = None, after_ns: int | None = None) -> None:
        self.stamps_ns.append(RealWorld().now_ns())
        self.tokens.append(text)

    def span(self, name: str, start_ns: int, end_ns: int, shared_by: int = 1) -> None:
        self.spans.append((name, start_ns, end_ns))

    def ended(self) -> None:
        self.outcome = "ended"
        self.over.set()

    def failed(self, error: str) -> None:
        self.outcome = error
        self.over.set()


def say(engine: Engine, clips: list[Samples]) -> list[Heard]:
    """All clips at the same time, as fast as it goes."""
    heard = [Heard() for _ in clips]
    streams = [engine.open(listener) for listener in heard]
    for start in range(0, max(map(len, clips)), 320):
        for stream, clip in zip(streams, clips, strict=True):
            if start < len(clip):
                stream.feed(clip[start : start + 320])
    for stream in streams:
        stream.finish()
    for listener in heard:
        assert listener.over.wait(120)
        assert listener.outcome == "ended"
    return heard


def test_realtime_tokens_and_logits_are_those_of_generate(
    realtime: Loaded, device: torch.device, how: dict[str, Any], tmp_path: Any
) -> None:
    audio = noise(7.3)  # far beyond both windows
    realtime.model.to("cpu")
    expected_tokens, expected_logits = generated_live(
        realtime, processor("voxtral_realtime", tmp_path), audio
    )
    engine = TorchOptions(device=str(device), **how)
    with torch.inference_mode():
        model = RealtimeModel(
            moved(realtime, device).model,
            rows=1,
            delay_tokens=6,
            device=device,
            dtype=torch.float32,
            options=step_options(engine, device, live=True),
        )
        tokens, logits = step_through(model, 0, audio, 6)
    assert tokens == expected_tokens
    assert (logits.cpu() - expected_logits).abs().max() < 1e-3  # other kernels, other sums


# --- bfloat16: what is run in earnest, on the kernels that are chosen for it ---------------------

REACHES = 64  # from here on doubling; 1024 and more in earnest


def in_bfloat16(loaded: Loaded, device: torch.device) -> Any:
    return copy.deepcopy(loaded.model).to(device, torch.bfloat16)


def check_as_near_as_on_a_cpu(
    found: torch.Tensor, on_cpu: torch.Tensor, exact: torch.Tensor
) -> None:
    """Rounding may fall otherwise, but not be larger by a factor."""
    allowed = 2 * (on_cpu - exact).abs().max() + 0.05
    assert (found - exact).abs().max() < allowed
    assert (on_cpu - exact).abs().max() < exact.abs().max() / 10  # or anything would be near


def forced_steps(model: RealtimeModel, rows: int, audio: Samples, tokens: list[int]) -> Any:
    """Logits [steps, V] of a session in each of the rows, which must agree, given its tokens."""
    padded = np.concatenate((np.zeros(WINDOW), audio, np.zeros(100_000))).astype(np.float32)
    first = first_output_step(6)
    span = model.span_of(list(range(rows)))
    for row in range(rows):
        model.begin(row)
    logits = []
    for step in range(last_step(len(audio), 6) + 1):
        end = samples_needed(step) + WINDOW
        given = STREAMING_PAD if step <= first else tokens[step - first - 1]
        for row in range(rows):
            model.stage(row, padded[end - WINDOW : end], given)
        model.upload(span)
        model.features(span)
        model.encode(span)
        model.decode(span, step)
        model.read(span)
        if step >= first:
            logits.append(model.logits[:rows].float().cpu())
    every = torch.stack(logits)
    assert (every - every[:, :1]).abs().max() < 0.05
    return every[:, 0]


@pytest.mark.parametrize("rows", [1, 4])
def test_realtime_in_bfloat16_is_as_near_as_on_a_cpu(
    device: torch.device, how: dict[str, Any], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_cache, "_LEAST_REACH", REACHES)
    loaded = tiny("voxtral_realtime", head_dim=128, audio=40, text=128)
    halves = {at: in_bfloat16(loaded, at) for at in (CPU, device)}
    audio = noise(10.0)  # beyond both windows and every reach

    def stepped(model: Any, at: torch.device, dtype: torch.dtype, rows: int, **how: Any) -> Any:
        options = step_options(TorchOptions(device=str(at), **how), at, live=True)
        return RealtimeModel(
            model, rows=rows, delay_tokens=6, device=at, dtype=dtype, options=options
        )

    with torch.inference_mode():
        tokens, exact = step_through(stepped(loaded.model, CPU, torch.float32, 1), 0, audio, 6)
        on_cpu = stepped(halves[CPU], CPU, torch.bfloat16, 1)
        found = stepped(halves[device], device, torch.bfloat16, rows, **how)
        check_as_near_as_on_a_cpu(
            forced_steps(found, rows, audio, tokens),
            forced_steps(on_cpu, 1, audio, tokens),
            exact,
        )


def test_turns_in_bfloat16_are_as_near_as_on_a_cpu(
    device: torch.device, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_cache, "_LEAST_REACH", REACHES)
    loaded = tiny("voxtral", head_dim=128)
    halves = {at: in_bfloat16(loaded, at) for at in (CPU, device)}

    def logits(
        model: Any, at: torch.device, dtype: torch.dtype, tokens: list[int], **how: Any
    ) -> torch.Tensor:
        """Of the prompt and of 24 tokens after it, [25, V]: those given, or else its own."""
        net = VoxtralNet(
            replace(loaded, model=model), blocks=1, new_tokens=24, language="en", device=at,
            dtype=dtype, options=step_options(TorchOptions(device=str(at), **how), at, live=False),
        )  # fmt: skip
        blocks = net.upload(noise(4.0))
        net.features(blocks)
        net.encode(blocks)
        chosen = net.prefill(blocks)
        found = [net.logits[0].float().cpu().clone()]
        for step in range(24):
            if len(tokens) == step:
                tokens.append(int(chosen))
            chosen = net.step(torch.tensor(tokens[step : step + 1], device=at))
            found.append(net.logits[0].float().cpu().clone())
        return torch.stack(found)

    tokens: list[int] = []
    with torch.inference_mode():
        exact = logits(loaded.model, CPU, torch.float32, tokens)
        on_cpu = logits(halves[CPU], CPU, torch.bfloat16, tokens)
        found = logits(halves[device], device, torch.bfloat16, tokens, **how)
    check_as_near_as_on_a_cpu(found, on_cpu, exact)


def test_concurrent_sessions_give_what_each_gives_alone(
    realtime: Loaded, device: torch.device, how: dict[str, Any], tmp_path: Any
) -> None:
    clips = [noise(seconds, seed) for seed, seconds in enumerate((2.0, 3.3, 1.1))]
    realtime.model.to("cpu")
    hugging_face = processor("voxtral_realtime", tmp_path)
    expected = [
        text_of(realtime, generated_live(realtime, hugging_face, clip)[0]) for clip in clips
    ]
    engine = VoxtralRealtimeEngine(
        VoxtralRealtimeModel(weights="random", size="tiny", max_streams=4),
        moved(realtime, device),
        device,
        torch.float32,
        step_options(TorchOptions(device=str(device), **how), device, live=True),
        RealWorld(),
    )
    assert ["".join(h.tokens) for h in say(engine, clips)] == expected
    assert ["".join(h.tokens) for h in say(engine, clips)] == expected  # rows that were used
    engine.close()


def test_turn_tokens_are_those_of_generate(
    turn: Loaded, device: torch.device, how: dict[str, Any], tmp_path: Any
) -> None:
    clips = [noise(2.5), noise(31.0, seed=2), noise(4.0, seed=1)]  # one block, two, one
    turn.model.to("cpu")
    hugging_face = processor("voxtral", tmp_path)
    expected = [text_of(turn, generated_turn(turn, hugging_face, clip)[0]) for clip in clips]
    engine = VoxtralEngine(
        VoxtralModel(weights="random", size="tiny", max_new_tokens=24, max_audio_s=60.0),
        moved(turn, device),
        device,
        torch.float32,
        step_options(TorchOptions(device=str(device), **how), device, live=False),
        RealWorld(),
    )
    for clip, text in zip(clips, expected, strict=True):
        assert "".join(say(engine, [clip])[0].tokens) == text
    engine.close()


def test_a_window_goes_on_from_its_prefix_as_generate_does(
    device: torch.device, how: dict[str, Any], tmp_path: Any
) -> None:
    clip, turn = noise(3.0), tiny("voxtral")
    hugging_face = processor("voxtral", tmp_path)
    whole, _ = generated_turn(turn, hugging_face, clip)
    turn.model.set_attn_implementation({"text_config": "eager"})  # tells its attention
    expected, attention = transformers_says(turn, hugging_face, clip, whole[:-1])
    assert expected == whole
    engine = VoxtralEngine(
        VoxtralModel(weights="random", size="tiny", max_new_tokens=24),
        moved(turn, device),
        device,
        torch.float32,
        step_options(TorchOptions(device=str(device), **how), device, live=False),
        RealWorld(),
        windows=True,
    )
    laps = Laps(engine.world, lambda *_: None, engine.world.now_ns(), engine.new_event)
    for known in (0, 6):
        prefix = whole[:known]
        tokens = engine.run_on_worker(
            lambda prefix=prefix: list(engine.transcribe_window(clip, prefix, laps, 99))
        )
        assert [token.id for token in tokens] == whole[known:]
        for token, look in zip(tokens, attention[known:, :38], strict=True):  # 80 ms each
            assert look[round(token.attended_s / 0.08)] >= look.max() - 1e-5
    laps.resolve()
    engine.close()


def test_spans_are_adjacent_and_the_token_ends_the_last(device: torch.device) -> None:
    engine = load_voxtral(
        VoxtralModel(weights="random", size="tiny", max_new_tokens=8),
        TorchOptions(device=str(device)),
        RealWorld(),
    )
    (heard,) = say(engine, [noise(2.0)])
    names = ["queue", "upload", "features", "encoder", "prefill", "host_read"]
    assert [name for name, _, _ in heard.spans[:6]] == names
    assert all(a[2] == b[1] for a, b in itertools.pairwise(heard.spans))
    assert all(end >= start for _, start, end in heard.spans)
    assert 0 <= heard.stamps_ns[0] - heard.spans[5][2] < 5_000_000
    engine.close()


def test_a_long_session_takes_no_more_memory(cuda: torch.device) -> None:
    engine = load_voxtral_realtime(
        VoxtralRealtimeModel(weights="random", size="tiny", max_streams=1),
        TorchOptions(device=str(cuda), dtype="bfloat16"),
        RealWorld(),
    )
    say(engine, [noise(10.0)])
    before = torch.cuda.memory_allocated(cuda), torch.cuda.memory_reserved(cuda)
    say(engine, [noise(120.0)])
    assert (torch.cuda.memory_allocated(cuda), torch.cuda.memory_reserved(cuda)) == before
    engine.close()


def test_the_sampler_sees_this_gpu(cuda: torch.device) -> None:
    sampler = GpuSampler(RealWorld(), str(cuda))
    sampler.start()
    held = torch.ones(1 << 28, dtype=torch.uint8, device=cuda)
    told = sampler.stop()
    assert isinstance(told, GpuTelemetry)
    assert told.name == torch.cuda.get_device_name(cuda)
    assert told.peak_memory_bytes is not None
    assert told.peak_memory_bytes >= held.numel()


def test_full_size_realtime_takes_steps(cuda: torch.device) -> None:
    if torch.cuda.mem_get_info(cuda)[0] < 14e9:
        pytest.skip("needs 14 GB of GPU memory")
    engine = load_voxtral_realtime(
        VoxtralRealtimeModel(weights="random", max_streams=1),
        TorchOptions(device=str(cuda), dtype="bfloat16"),
        RealWorld(),
    )
    (heard,) = say(engine, [noise(2.0)])
    assert len(heard.tokens) == 25 + 6 + 11 - first_output_step(6)
    engine.close()


def test_step_options_on_cuda_default_to_graphs(cuda: torch.device) -> None:
    options = step_options(TorchOptions(device=str(cuda)), cuda, live=True)
    assert options == StepOptions(cuda_graphs=True, compile=False, batching=True)
