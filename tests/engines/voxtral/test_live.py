"""Live sessions over Voxtral-Mini-3B: windows and attention against transformers'.

Letters: n tokens, A = 375 audio positions of the prompt.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.__main__ import main
from harness.clock import VirtualWorld
from harness.config import Config, ReplayConfig
from harness.engines import Samples
from harness.engines.factory import load_engine
from harness.engines.sessions import AlignAttSession, LiveSession
from harness.engines.torch.options import TorchOptions
from harness.engines.torch.worker import Laps
from harness.engines.voxtral import VoxtralModel, VoxtralRealtimeModel
from harness.engines.voxtral import layers as voxtral_layers
from harness.engines.voxtral.engine import VoxtralEngine
from harness.engines.voxtral.net import VoxtralNet
from harness.engines.voxtral.tokenizer import AUDIO, END
from harness.engines.voxtral.weights import Loaded, random_config, random_model
from harness.engines.whisper import WhisperModel
from harness.engines.windows.engine import LONGEST_S, LiveEngine
from harness.engines.windows.policies import WindowToken
from harness.errors import ConfigError
from harness.events import SessionKind
from harness.runs.folder import load_run
from tests.engines.voxtral_oracle import (
    CPU,
    EAGER,
    NEW_TOKENS,
    RATE_HZ,
    NoValueRead,
    generated_turn,
    net_of,
    noise,
    processor,
    replay,
    tiny,
)

POLICIES = [LiveSession(step_ms=1500), AlignAttSession(step_ms=1500)]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """Four layers, so that the upper half has two."""
    config = random_config("voxtral", "tiny")
    config.text_config.num_hidden_layers = 4
    model = random_model(config, CPU, torch.float32)
    model.set_attn_implementation({"text_config": "eager"})  # the only one that tells its attention
    return dataclasses.replace(tiny("voxtral"), model=model)


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return processor("voxtral", tmp_path_factory.mktemp("tokenizer"))


def make_engine(loaded: Loaded, world: VirtualWorld, *, windows: bool = True) -> VoxtralEngine:
    config = VoxtralModel(weights="random", size="tiny", max_new_tokens=NEW_TOKENS)
    return VoxtralEngine(config, loaded, CPU, torch.float32, EAGER, world, windows=windows)


@pytest.fixture(scope="module")
def engine(loaded: Loaded) -> VoxtralEngine:
    return make_engine(loaded, VirtualWorld())


@torch.inference_mode()
def window(
    engine: VoxtralEngine, samples: Samples, prefix: Sequence[int] = (), limit: int = 99
) -> list[WindowToken]:
    laps = Laps(engine.world, lambda *_: None, 0, engine.new_event)
    return list(engine.transcribe_window(samples, prefix, laps, limit))


@torch.inference_mode()
def transformers_says(
    loaded: Loaded, processor: Any, audio: Samples, given: Sequence[int]
) -> tuple[list[int], torch.Tensor]:
    """What transformers' model makes of the prompt with ``given`` after it, in one pass.

    Returns:
        The most likely id after the prompt and after each of the given ones, and the attention to
        the audio with which each was chosen, mean of the upper layers' heads: float32 [n + 1, A].
    """
    inputs = processor.apply_transcription_request(
        audio=[audio], model_id="tiny", language="en", sampling_rate=RATE_HZ, format=["wav"]
    )
    prompt = inputs.input_ids[0]
    output = loaded.model(
        input_ids=torch.cat((prompt, torch.tensor(given, dtype=torch.long)))[None],
        input_features=inputs.input_features,
        output_attentions=True,
    )
    first = len(prompt) - 1
    upper = torch.stack(output.attentions[len(output.attentions) // 2 :])  # [L / 2, 1, H, T, T]
    rows = upper[:, 0, :, first:].mean(dim=(0, 1))
    heard = rows[:, : len(prompt)][:, prompt == AUDIO]
    return output.logits[0, first:].argmax(dim=-1).tolist(), heard


def test_an_empty_prefix_says_what_the_turn_engine_says(
    loaded: Loaded, engine: VoxtralEngine, world: VirtualWorld
) -> None:
    clip = noise(2.5)
    (heard,) = replay(world, make_engine(loaded, world, windows=False), [clip])
    tokens = window(engine, clip)
    assert len({token.id for token in tokens}) > 5
    assert b"".join(token.text for token in tokens).decode(errors="replace") == heard.text


def test_a_prefix_is_gone_on_from_as_transformers_goes_on(
    loaded: Loaded, hugging_face: Any, engine: VoxtralEngine
) -> None:
    clip = noise(2.5)
    whole, _ = generated_turn(loaded, hugging_face, clip)
    assert END not in whole
    for known in (0, 1, 7):
        assert [token.id for token in window(engine, clip, whole[:known])] == whole[known:]
    prefix = loaded.encode("It was the best of times")  # which it would not have said
    assert prefix != whole[: len(prefix)]
    rest = [token.id for token in window(engine, clip, prefix, limit=6)]
    expected, _ = transformers_says(loaded, hugging_face, clip, [*prefix, *rest])
    assert rest == expected[len(prefix) :][:6]


def test_the_limit_counts_what_follows_and_the_room_counts_all(
    engine: VoxtralEngine,
) -> None:
    clip = noise(1.0)
    whole = [token.id for token in window(engine, clip)]
    assert len(whole) == NEW_TOKENS
    assert [token.id for token in window(engine, clip, whole[:5], limit=3)] == whole[5:8]
    assert window(engine, clip, whole) == []
    assert [token.id for token in window(engine, clip)] == whole  # nothing is left of a window


def test_the_end_token_ends_the_window_unsaid(
    engine: VoxtralEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = noise(1.0)
    whole = window(engine, clip)
    step = VoxtralNet.step
    steps = []

    def ends(net: VoxtralNet, token: torch.Tensor) -> torch.Tensor:
        steps.append(int(token))
        return torch.tensor([END]) if len(steps) == 3 else step(net, token)

    monkeypatch.setattr(VoxtralNet, "step", ends)
    assert window(engine, clip) == whole[:3]


@torch.inference_mode()
def test_attention_is_that_of_transformers(loaded: Loaded, hugging_face: Any) -> None:
    audio = noise(4.0)
    net = net_of(loaded, watch=True)
    net.upload(audio)
    net.features(1)
    net.encode(1)
    chosen = net.prefill(1)
    tokens, looks = [int(chosen)], [net.attention.clone()]
    while len(tokens) < 12:
        tokens.append(int(net.step(chosen)))
        looks.append(net.attention.clone())
    expected_tokens, expected = transformers_says(loaded, hugging_face, audio, tokens[:-1])
    assert tokens == expected_tokens
    assert expected.amax() > 3 * expected.mean()  # it looks somewhere
    assert (torch.stack(looks) - expected).abs().max() < 1e-6


def test_a_token_is_where_its_attention_is_within_the_audio(
    loaded: Loaded, hugging_face: Any, engine: VoxtralEngine
) -> None:
    clip = noise(2.5)
    heard = 32  # positions of 80 ms, the last one in part
    tokens = window(engine, clip)
    ids = [token.id for token in tokens]
    _, expected = transformers_says(loaded, hugging_face, clip, ids[:-1])
    for token, look in zip(tokens, expected[:, :heard], strict=True):
        position = round(token.attended_s / 0.08)
        assert token.attended_s == pytest.approx(position * 0.08)
        assert look[position] >= look.max() - 1e-6
    assert len({token.attended_s for token in tokens}) > 3


def test_a_turn_session_computes_no_attention_beside(
    loaded: Loaded, world: VirtualWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_arguments: object) -> None:
        raise AssertionError("it was asked for")

    monkeypatch.setattr(voxtral_layers, "_last_attention", refuses)
    (heard,) = replay(world, make_engine(loaded, world, windows=False), [noise(1.0)])
    assert heard.outcome == "ended"
    with pytest.raises(AssertionError, match="asked for"):
        make_engine(loaded, world)


@torch.no_grad()
def test_no_part_of_a_watched_step_waits_for_a_value(loaded: Loaded) -> None:
    net = net_of(loaded, watch=True)
    net.upload(noise(1.0))
    net.features(1)
    net.encode(1)
    with NoValueRead():
        net.step(net.prefill(1))


# --- sessions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", POLICIES, ids=["agreement", "align_att"])
def test_the_text_does_not_depend_on_how_audio_is_handed_over(
    engine: VoxtralEngine, config: LiveSession | AlignAttSession
) -> None:
    live = LiveEngine(engine, config)
    heard = [replay(engine.world, live, [noise(4.3)], frame_ms=ms)[0] for ms in (20.0, 5000.0)]
    assert {h.outcome for h in heard} == {"ended"}
    assert heard[0].text.strip()
    assert heard[0].tokens == heard[1].tokens
    spans = {name for name, _, _ in heard[0].spans}
    assert spans == {"queue", "upload", "features", "encoder", "prefill", "decode", "host_read"}


def test_sessions_at_the_same_time_say_what_each_says_alone(
    engine: VoxtralEngine,
) -> None:
    clips = [noise(1.2), noise(1.7, seed=1)]
    live = LiveEngine(engine, POLICIES[1])
    alone = [replay(engine.world, live, [clip])[0].tokens for clip in clips]
    assert [heard.tokens for heard in replay(engine.world, live, clips)] == alone


@pytest.mark.parametrize("policy", [LiveSession, AlignAttSession])
def test_a_session_may_be_longer_than_what_is_heard_at_once(
    engine: VoxtralEngine, policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard_s = []
    transcribe = VoxtralEngine.transcribe_window

    def noted(of: VoxtralEngine, samples: Samples, *rest: Any) -> Iterator[WindowToken]:
        heard_s.append(len(samples) / RATE_HZ)
        return transcribe(of, samples, *rest)

    monkeypatch.setattr(VoxtralEngine, "transcribe_window", noted)
    live = LiveEngine(engine, policy(step_ms=5000, trim_s=12))
    (heard,) = replay(engine.world, live, [noise(62.0)], frame_ms=100.0)
    assert heard.outcome == "ended"
    assert heard.text.strip()
    assert 20 < max(heard_s) <= LONGEST_S
    assert sum(after < before for before, after in itertools.pairwise(heard_s)) >= 2  # it was cut


# --- configs -------------------------------------------------------------------------------------


def random_3b(**changes: Any) -> VoxtralModel:
    return VoxtralModel(weights="random", size="tiny", **changes)


def test_the_factory_wraps_it_for_live_sessions_only(world: VirtualWorld) -> None:
    for session, policy in zip(POLICIES, ("local_agreement", "align_att"), strict=True):
        live = load_engine(Config(model=random_3b(), session=session), world)
        assert live.info.kinds == (SessionKind.LIVE,)
        assert live.info.cadence_ms == 1500
        assert live.info.details["policy"] == policy
    turn = load_engine(Config(model=random_3b()), world)
    assert turn.info.kinds == (SessionKind.TURN,)
    assert "policy" not in turn.info.details


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (random_3b(decode="forced"), "session=turn"),
        (random_3b(max_audio_s=60), r"leave model\.max_audio_s out"),
        (random_3b(max_new_tokens=247), r"(?s)max_new_tokens.*247.*248 or more"),
        (WhisperModel(max_new_tokens=247), r"(?s)max_new_tokens.*247.*248 or more"),
        (VoxtralRealtimeModel(weights="random", size="tiny"), "is a streaming model"),
    ],
)
def test_what_a_live_session_would_not_read_is_refused(
    world: VirtualWorld, model: Any, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        load_engine(Config(model=model, session=AlignAttSession()), world)


def test_batching_is_refused(world: VirtualWorld) -> None:
    config = Config(model=random_3b(), engine=TorchOptions(batching=True), session=LiveSession())
    with pytest.raises(ConfigError, match=r"engine\.batching"):
        load_engine(config, world)


def test_more_streams_than_rows_are_refused_before_anything_is_loaded() -> None:
    model = VoxtralRealtimeModel(max_streams=3)
    Config(model=model, replay=ReplayConfig(streams=3))
    with pytest.raises(ConfigError, match=r"(?s)replay\.streams: 4.*add model\.max_streams=4"):
        Config(model=model, replay=ReplayConfig(streams=4))


@pytest.mark.e2e
@pytest.mark.parametrize(
    "session", ["live", pytest.param("live_align_att", marks=pytest.mark.slow)]
)
def test_the_command_line_runs_it_under_every_chunking(
    session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(
        ["compare", "chunking=1word,6word", "model=voxtral_mini_3b", "model.weights=random",
         "model.size=tiny", f"session={session}", "replay.pace=virtual",
         "replay.compute_scale=0", "replay.repeats=1", "replay.warmup=0", "replay.frame_ms=100",
         "engine.threads=1", "dataset.limit=2", "report.plots=false",
         "hydra.run.dir=out"]
    )  # fmt: skip
    assert code == 0
    one, six = (load_run(tmp_path / "out" / arm) for arm in ("1word", "6word"))
    texts = [{clip.clip: clip.hypothesis for clip in run.clips} for run in (one, six)]
    assert texts[0] == texts[1]
    assert all(texts[0].values())
    environment = json.loads((one.folder / "environment.json").read_text(encoding="utf-8"))
    policy = {"live": "local_agreement", "live_align_att": "align_att"}[session]
    assert environment["model"]["details"]["policy"] == policy
