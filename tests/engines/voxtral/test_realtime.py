"""Voxtral Realtime: the explicit step loop against ``generate()``, and what sessions rely on."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from harness.clock import VirtualWorld
from harness.engines import Reference, Samples
from harness.engines.torch import ring_cache
from harness.engines.torch.cuda_graphs import StepOptions
from harness.engines.torch.options import TorchOptions
from harness.engines.voxtral import VoxtralRealtimeModel
from harness.engines.voxtral.realtime import VoxtralRealtimeEngine, load_voxtral_realtime
from harness.engines.voxtral.realtime_model import (
    OWN,
    WINDOW,
    RealtimeModel,
    first_output_step,
    last_step,
    samples_needed,
)
from harness.engines.voxtral.tokenizer import STREAMING_PAD, STREAMING_WORD
from harness.engines.voxtral.weights import Loaded
from harness.errors import ConfigError, DeviceError
from harness.events import Word
from tests.engines.voxtral_oracle import (
    CPU,
    NoValueRead,
    generated_live,
    noise,
    processor,
    replay,
    text_of,
    tiny,
)

WINDOWS = {"audio": 40, "text": 24}  # 0.8 s and 1.9 s: rings of 64 slots, which wrap soon
EAGER = StepOptions(cuda_graphs=False, compile=False, batching=True)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return tiny("voxtral_realtime", **WINDOWS)


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return processor("voxtral_realtime", tmp_path_factory.mktemp("tokenizer"))


def make_engine(
    loaded: Loaded, world: VirtualWorld, *, batching: bool = True, **model: Any
) -> VoxtralRealtimeEngine:
    config = VoxtralRealtimeModel(weights="random", size="tiny", **model)
    options = StepOptions(cuda_graphs=False, compile=False, batching=batching)
    return VoxtralRealtimeEngine(config, loaded, CPU, torch.float32, options, world)


def step_through(
    model: RealtimeModel, row: int, audio: Samples, delay_tokens: int, *, begun: bool = False
) -> tuple[list[int], torch.Tensor]:
    """Tokens and logits of one session, by hand."""
    padded = np.concatenate((np.zeros(WINDOW), audio, np.zeros(100_000))).astype(np.float32)
    if not begun:
        model.begin(row)
    tokens, logits = [], []
    for step in range(last_step(len(audio), delay_tokens) + 1):
        end = samples_needed(step) + WINDOW
        first = first_output_step(delay_tokens)
        model.stage(row, padded[end - WINDOW : end], STREAMING_PAD if step <= first else OWN)
        span = model.span_of([row])
        model.upload(span)
        model.features(span)
        model.encode(span)
        model.decode(span, step)
        token = model.read(span)[row - span.start]
        if step >= first:
            tokens.append(token)
            logits.append(model.logits[row].clone())
    return tokens, torch.stack(logits)


@torch.inference_mode()
def test_tokens_and_logits_are_those_of_generate_beyond_both_windows(
    loaded: Loaded, hugging_face: Any
) -> None:
    audio = noise(7.3)  # 9 encoder windows, 5 decoder windows; both rings wrap
    model = RealtimeModel(
        loaded.model, rows=1, delay_tokens=6, device=CPU, dtype=torch.float32, options=EAGER
    )
    tokens, logits = step_through(model, 0, audio, 6)
    expected_tokens, expected_logits = generated_live(loaded, hugging_face, audio)
    assert tokens == expected_tokens
    assert len(set(tokens)) > 5
    assert (logits - expected_logits).abs().max() < 1e-4


@pytest.mark.slow
@torch.inference_mode()
def test_reaching_more_of_the_cache_changes_nothing(
    hugging_face: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring_cache, "_LEAST_REACH", 64)  # then 128, 256, 320
    loaded, audio = tiny("voxtral_realtime", audio=40, text=300), noise(21.0, seed=4)
    model = RealtimeModel(
        loaded.model, rows=1, delay_tokens=6, device=CPU, dtype=torch.float32, options=EAGER
    )
    assert len(model._decoder_cache.reaches()) == 4
    tokens, logits = step_through(model, 0, audio, 6)
    expected_tokens, expected_logits = generated_live(loaded, hugging_face, audio)
    assert tokens == expected_tokens
    assert (logits - expected_logits).abs().max() < 1e-4


@pytest.fixture(scope="module")
def expected(loaded: Loaded, hugging_face: Any) -> list[int]:
    """What transformers makes of ``noise(3.1, seed=1)``."""
    return generated_live(loaded, hugging_face, noise(3.1, seed=1))[0]


@pytest.mark.parametrize("frame_ms", [7, 80, 5000])
def test_the_text_is_that_of_generate_whatever_the_size_of_frames(
    loaded: Loaded, expected: list[int], world: VirtualWorld, frame_ms: int
) -> None:
    engine = make_engine(loaded, world)
    (heard,) = replay(world, engine, [noise(3.1, seed=1)], frame_ms=frame_ms)
    assert heard.outcome == "ended"
    assert heard.text == text_of(loaded, expected)
    assert len(heard.tokens) == len(expected)


def test_a_row_that_was_used_before_begins_anew(loaded: Loaded, world: VirtualWorld) -> None:
    engine = make_engine(loaded, world, max_streams=1)
    texts = [replay(world, engine, [noise(2.0, seed=s)])[0].tokens for s in (1, 2, 1)]
    assert texts[0] == texts[2] != texts[1]


CLIPS = [noise(seconds, seed) for seed, seconds in enumerate((2.0, 3.3, 1.1))]


@pytest.fixture(scope="module")
def alone(loaded: Loaded) -> list[list[str]]:
    """What each clip gives alone, every one on an engine of its own."""
    said = []
    for clip in CLIPS:
        world = VirtualWorld()
        (heard,) = replay(world, make_engine(loaded, world, max_streams=1), [clip])
        said.append(heard.tokens)
    return said


@pytest.mark.parametrize("batching", [True, False])
def test_concurrent_sessions_give_what_each_gives_alone(
    loaded: Loaded, alone: list[list[str]], world: VirtualWorld, batching: bool
) -> None:
    engine = make_engine(loaded, world, batching=batching, max_streams=4)
    # The first two are due together, the third between their steps.
    together = replay(world, engine, CLIPS, begin_ms=[0, 0, 33])
    assert [h.tokens for h in together] == alone
    at_most = [max(h.shared_by) for h in together]
    assert at_most == ([2, 2, 1] if batching else [1, 1, 1])


@torch.inference_mode()
def test_a_batched_step_has_the_logits_of_single_steps(loaded: Loaded) -> None:
    audio = [noise(1.5, seed) for seed in range(3)]
    parts: dict[str, Any] = {
        "delay_tokens": 1, "device": CPU, "dtype": torch.float32, "options": EAGER
    }  # fmt: skip
    single = RealtimeModel(loaded.model, rows=1, **parts)
    expected = [step_through(single, 0, clip, 1)[1] for clip in audio]
    model = RealtimeModel(loaded.model, rows=3, **parts)
    for row in range(3):
        model.begin(row)
    span = model.span_of([0, 1, 2])
    assert (span.start, span.stop) == (0, 3)
    for step in range(15):
        for row, clip in enumerate(audio):
            padded = np.concatenate((np.zeros(WINDOW, np.float32), clip))
            end = samples_needed(step) + WINDOW
            model.stage(row, padded[end - WINDOW : end], STREAMING_PAD if step <= 2 else OWN)
        model.upload(span)
        model.features(span)
        model.encode(span)
        model.decode(span, step)
        model.read(span)
        if step >= 2:
            for row in range(3):
                assert (model.logits[row] - expected[row][step - 2]).abs().max() < 1e-4


@torch.inference_mode()
def test_a_step_that_failed_is_not_taken_by_the_next_session_of_its_row(loaded: Loaded) -> None:
    parts: dict[str, Any] = {
        "delay_tokens": 1, "device": CPU, "dtype": torch.float32, "options": EAGER
    }  # fmt: skip
    audio, nothing = noise(0.5), np.zeros(WINDOW, np.float32)
    _, expected = step_through(RealtimeModel(loaded.model, rows=1, **parts), 0, audio, 1)
    model = RealtimeModel(loaded.model, rows=2, **parts)
    model.begin(1)
    model.stage(1, nothing, OWN)  # and no more: the step broke off
    model.begin(1)
    model.begin(0)
    model.stage(0, nothing, STREAMING_PAD)
    both = model.span_of([0, 1])
    model.upload(both)
    model.features(both)
    model.encode(both)
    model.decode(both, 0)
    model.read(both)
    _, logits = step_through(model, 1, audio, 1, begun=True)
    assert (logits - expected).abs().max() < 1e-4


@pytest.mark.parametrize("delay_ms", [80, 480, 2400])
def test_a_step_runs_the_instant_its_last_sample_is_there(
    loaded: Loaded, world: VirtualWorld, delay_ms: int
) -> None:
    """One sample a frame is as fine as it gets: step k runs at sample 1280 k + 40 exactly."""
    engine = make_engine(loaded, world, delay_ms=delay_ms)
    clip = noise(delay_ms / 1000 + 0.3)
    (heard,) = replay(world, engine, [clip], frame_ms=1 / 16)
    first = delay_ms // 80 + 1
    within = [k for k in range(first, first + 20) if samples_needed(k) <= len(clip)]
    expected_ns = [(1280 * k + 40) * 62_500 for k in within]
    assert heard.stamps_ns[: len(within)] == expected_ns
    # Nothing is left to wait for once the audio is over: the rest is silence, at once.
    assert set(heard.stamps_ns[len(within) :]) == {len(clip) * 62_500}


def test_the_beginning_that_all_sessions_share_is_computed_once(
    loaded: Loaded, world: VirtualWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(loaded, world, max_streams=2)

    def again(*_: object) -> None:
        raise AssertionError("the shared beginning was computed again")

    monkeypatch.setattr(RealtimeModel, "_shared_beginning", again)
    heard = replay(world, engine, [noise(1.0), noise(1.0)])
    assert [h.outcome for h in heard] == ["ended", "ended"]


def spoken(text: str, word_s: float = 0.4) -> Reference:
    words = text.split()
    return Reference(
        text=text,
        words=tuple(
            Word(text=w, start_s=i * word_s, end_s=(i + 1) * word_s) for i, w in enumerate(words)
        ),
    )


def test_forced_decoding_says_the_reference_a_delay_after_each_word(
    loaded: Loaded, world: VirtualWorld
) -> None:
    reference = spoken("It was the best of times")
    engine = make_engine(loaded, world, decode="forced")
    (heard,) = replay(world, engine, [noise(2.4)], references=[reference])
    assert heard.text == reference.text
    said_ns = next(at for text, at in zip(heard.tokens, heard.stamps_ns, strict=True) if text)
    # "It" ends at 400 ms; the step that hears 480 ms more than that is step 11.
    assert said_ns == (1280 * 11 + 40 + 280) * 62_500  # and 20 ms frames bring it 17.5 ms later


def test_forced_decoding_computes_and_copies_what_greedy_does(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio, reads = noise(1.0), []
    read = RealtimeModel.read

    def counted(model: RealtimeModel, span: slice) -> list[int]:
        reads.append(read(model, span))
        return reads[-1]

    monkeypatch.setattr(RealtimeModel, "read", counted)
    counts = {}
    for decode in ("greedy", "forced"):
        world = VirtualWorld()
        engine = make_engine(loaded, world, decode=decode)
        reads.clear()
        replay(world, engine, [audio], references=[spoken("It was")])
        counts[decode] = len(reads)
        assert all(tokens[0] >= 0 for tokens in reads)
    assert counts["greedy"] == counts["forced"] == last_step(len(audio), 6) + 1


def test_forced_decoding_goes_on_until_every_word_is_out(
    loaded: Loaded, world: VirtualWorld
) -> None:
    text = " ".join(["incomprehensibilities"] * 12)  # far more tokens than there are steps
    engine = make_engine(loaded, world, decode="forced")
    (heard,) = replay(world, engine, [noise(1.2)], references=[spoken(text, 0.1)])
    assert heard.text == text
    assert heard.outcome == "ended"


def test_forced_decoding_needs_word_timings(loaded: Loaded, world: VirtualWorld) -> None:
    engine = make_engine(loaded, world, decode="forced")
    with pytest.raises(ConfigError, match="when each word was spoken"):
        replay(world, engine, [noise(1.0)], references=[Reference(text="no timings")])


def test_streaming_control_tokens_have_no_text(loaded: Loaded) -> None:
    assert text_of(loaded, [STREAMING_PAD, STREAMING_WORD, 2]) == ""


def test_an_empty_session_ends(loaded: Loaded, world: VirtualWorld) -> None:
    (heard,) = replay(world, make_engine(loaded, world), [noise(0.0)])
    assert heard.outcome == "ended"


def test_one_session_too_many_says_what_to_do(loaded: Loaded, world: VirtualWorld) -> None:
    engine = make_engine(loaded, world, max_streams=2)
    with pytest.raises(ConfigError, match=r"model\.max_streams=4"):
        replay(world, engine, [noise(0.5)] * 3)


def test_a_closed_session_frees_its_row_and_says_no_more(
    loaded: Loaded, world: VirtualWorld
) -> None:
    engine = make_engine(loaded, world, max_streams=1)
    (before,) = replay(world, engine, [noise(1.0)])
    stream = engine.open(listener := type(before)(world))
    stream.feed(noise(1.0))
    stream.close()
    (after,) = replay(world, engine, [noise(1.0)])
    assert listener.tokens == []
    assert listener.outcome is None
    assert after.tokens == before.tokens


def test_an_engine_that_was_closed_and_let_go_leaves_nothing_behind(loaded: Loaded) -> None:
    world = VirtualWorld()
    engine = make_engine(loaded, world)
    replay(world, engine, [noise(1.0)])
    gone = weakref.ref(engine)
    gc.disable()  # it may hold gigabytes: they are not to wait for a collection
    try:
        engine.close()
        del engine
        assert gone() is None
    finally:
        gc.enable()


def test_a_step_that_breaks_fails_its_sessions_and_no_other(
    loaded: Loaded, world: VirtualWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(loaded, world, max_streams=2)
    encode = RealtimeModel.encode
    calls = iter(range(1000))

    def breaks(model: RealtimeModel, span: slice) -> None:
        if next(calls) == 3:
            raise RuntimeError("out of luck")
        encode(model, span)

    monkeypatch.setattr(RealtimeModel, "encode", breaks)
    first, second = replay(world, engine, [noise(1.0), noise(1.0)], begin_ms=[0, 400])
    assert first.outcome == "RuntimeError: out of luck"
    assert second.outcome == "ended"


def test_spans_are_adjacent_and_end_with_their_token(loaded: Loaded) -> None:
    world = VirtualWorld(compute_scale=1.0)
    engine = make_engine(loaded, world)
    (heard,) = replay(world, engine, [noise(1.0)])
    names = [name for name, _, _ in heard.spans[:6]]
    assert names == ["queue", "upload", "features", "encoder", "decode", "host_read"]
    steps = [heard.spans[i : i + 6] for i in range(0, len(heard.spans), 6)]
    for step in steps:
        assert all(a[2] == b[1] for a, b in itertools.pairwise(step))
    first = first_output_step(6)
    begun_ns = [step[1][1] for step in steps[first + 1 :]] + [world.now_ns()]
    for step, token_ns, next_ns in zip(steps[first:], heard.stamps_ns, begun_ns, strict=True):
        assert step[-1][2] <= token_ns <= next_ns


def test_every_option_works_or_is_refused(world: VirtualWorld) -> None:
    model = VoxtralRealtimeModel(weights="random", size="tiny", max_streams=1)
    with pytest.raises(DeviceError, match="cuda_graphs=true is for CUDA"):
        load_voxtral_realtime(model, TorchOptions(cuda_graphs=True), world)
    engine = load_voxtral_realtime(model, TorchOptions(batching=False), world)
    assert engine.info.random_weights
    assert engine.info.details["batching"] is False
    assert engine.info.details["cuda_graphs"] is False
    assert engine.info.details["delay_ms"] == 480


@pytest.mark.parametrize("delay_ms", [0, 40, 481, 1280, 2401])
def test_a_delay_off_the_grid_is_refused(delay_ms: int) -> None:
    with pytest.raises(ConfigError, match=r"model\.delay_ms"):
        VoxtralRealtimeModel(delay_ms=delay_ms)


@torch.no_grad()
def test_no_part_of_a_step_waits_for_a_value(loaded: Loaded) -> None:
    """What a CUDA graph could not capture: reading a value in the middle of a step."""
    model = RealtimeModel(
        loaded.model, rows=2, delay_tokens=6, device=CPU, dtype=torch.float32, options=EAGER
    )
    span = slice(0, 2)
    with NoValueRead():
        model.features(span)
        model.encode(span)
        model.decode(span, 500)
    with pytest.raises(AssertionError, match="reads a value"), NoValueRead():
        int(torch.ones(1))
