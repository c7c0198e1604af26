"""Voxtral-Mini-3B: the explicit loop against ``generate()``, and its weights' sources."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.clock import VirtualWorld
from harness.engines import Reference
from harness.engines.torch.options import TorchOptions
from harness.engines.voxtral import VoxtralModel, weights
from harness.engines.voxtral.engine import VoxtralEngine, load_voxtral
from harness.engines.voxtral.net import VoxtralNet, transcription_prompt
from harness.engines.voxtral.tokenizer import (
    AUDIO,
    END,
    STREAMING_PAD,
    TINY_VOCABULARY,
    Kind,
    load_tokenizer,
    random_tokenizer,
    write_tokenizer,
)
from harness.engines.voxtral.weights import Loaded
from harness.engines.whisper.weights import weights_sha256
from harness.errors import ConfigError, DeviceError, WeightsError
from tests.engines.voxtral_oracle import (
    CPU,
    EAGER,
    NEW_TOKENS,
    NoValueRead,
    generated_turn,
    net_of,
    noise,
    processor,
    replay,
    text_of,
    tiny,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return tiny("voxtral")


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return processor("voxtral", tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def net(loaded: Loaded) -> VoxtralNet:
    """Room for two blocks of 30 s."""
    with torch.inference_mode():
        return net_of(loaded, blocks=2)


def make_engine(loaded: Loaded, world: VirtualWorld, **model: Any) -> VoxtralEngine:
    config = VoxtralModel(weights="random", size="tiny", **({"max_new_tokens": NEW_TOKENS} | model))
    return VoxtralEngine(config, loaded, CPU, torch.float32, EAGER, world)


@pytest.mark.parametrize("seconds", [2.5, 31.0])
@torch.inference_mode()
def test_tokens_and_logits_are_those_of_generate(
    loaded: Loaded, hugging_face: Any, net: VoxtralNet, seconds: float
) -> None:
    audio = noise(seconds)
    expected_tokens, expected_logits = generated_turn(loaded, hugging_face, audio)
    blocks = net.upload(audio)
    net.features(blocks)
    net.encode(blocks)
    chosen = net.prefill(blocks)
    tokens, logits = [int(chosen)], [net.logits[0].clone()]
    while len(tokens) < NEW_TOKENS:
        tokens.append(int(net.step(chosen)))
        logits.append(net.logits[0].clone())
    assert tokens == expected_tokens
    assert len(set(tokens)) > 5
    assert (torch.stack(logits) - expected_logits).abs().max() < 1e-4


def test_a_session_says_what_generate_says(
    loaded: Loaded, hugging_face: Any, world: VirtualWorld
) -> None:
    engine = make_engine(loaded, world)
    clips = [noise(1.0, seed=1), noise(2.0, seed=2)]
    for clip in clips:
        (heard,) = replay(world, engine, [clip])
        assert heard.outcome == "ended"
        assert heard.text == text_of(loaded, generated_turn(loaded, hugging_face, clip)[0])


def test_the_end_token_ends_it(
    loaded: Loaded, world: VirtualWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(loaded, world)
    step = VoxtralNet.step
    steps = []

    def ends(net: VoxtralNet, token: torch.Tensor) -> torch.Tensor:
        steps.append(int(token))
        return torch.tensor([END]) if len(steps) == 3 else step(net, token)

    monkeypatch.setattr(VoxtralNet, "step", ends)
    (heard,) = replay(world, engine, [noise(1.0)])
    assert len(heard.tokens) == 4
    assert heard.tokens[-1] == ""
    assert heard.outcome == "ended"


def test_the_prompt_is_the_published_one() -> None:
    prompt = transcription_prompt(random_tokenizer("voxtral", 16_384), 1, "en")
    audio = [AUDIO] * 375
    begin = prompt.index(AUDIO)
    assert prompt[:begin] == [1, 3, 25]  # <s> [INST] [BEGIN_AUDIO]
    assert prompt[begin : begin + 375] == audio
    assert prompt[begin + 375] == 4  # [/INST]
    assert prompt[-1] == 34  # [TRANSCRIBE]
    two = transcription_prompt(random_tokenizer("voxtral", 16_384), 2, None)
    assert two == [1, 3, 25, *audio, *audio, 4, 34]


def test_forced_decoding_says_the_reference_and_computes_every_step(
    loaded: Loaded, world: VirtualWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "It was the best of times, it was the worst — of times."
    engine = make_engine(loaded, world, decode="forced")
    step = VoxtralNet.step
    given = []

    def counted(net: VoxtralNet, token: torch.Tensor) -> torch.Tensor:
        given.append(int(token))
        return step(net, token)

    monkeypatch.setattr(VoxtralNet, "step", counted)
    (heard,) = replay(world, engine, [noise(1.0)], references=[Reference(text=text)])
    assert heard.text == text
    assert given == loaded.encode(text)  # every token but the end token is taken in
    assert len(heard.tokens) == len(given) + 1


def test_forced_decoding_needs_a_reference_that_fits(loaded: Loaded, world: VirtualWorld) -> None:
    engine = make_engine(loaded, world, decode="forced", max_new_tokens=5)
    with pytest.raises(ConfigError, match="needs the reference"):
        replay(world, engine, [noise(1.0)])
    with pytest.raises(ConfigError, match=r"model\.max_new_tokens=10"):
        replay(world, engine, [noise(1.0)], references=[Reference(text="one two " * 4)])


def test_spans_are_adjacent_from_the_end_of_the_audio_to_the_last_token(loaded: Loaded) -> None:
    world = VirtualWorld(compute_scale=1.0)
    engine = make_engine(loaded, world)
    (heard,) = replay(world, engine, [noise(1.0)])
    names = [name for name, _, _ in heard.spans]
    assert names[:6] == ["queue", "upload", "features", "encoder", "prefill", "host_read"]
    assert names[6:] == ["decode", "host_read"] * (NEW_TOKENS - 1)
    assert heard.spans[0][1] == 16_000 * 62_500
    for before, after in zip(heard.spans, heard.spans[1:], strict=False):
        assert before[2] == after[1]
    assert heard.spans[5][2] <= heard.stamps_ns[0] <= heard.spans[7][2]


def test_a_clip_that_is_too_long_fails_alone(loaded: Loaded, world: VirtualWorld) -> None:
    engine = make_engine(loaded, world, max_audio_s=1.5)
    (heard,) = replay(world, engine, [noise(1.6)])
    assert heard.outcome is not None
    assert "longer than model.max_audio_s" in heard.outcome
    (heard,) = replay(world, engine, [noise(1.5)])
    assert heard.outcome == "ended"


# --- options, memory, sources ------------------------------------------------------------------


def random_weights(**changes: Any) -> VoxtralModel:
    return VoxtralModel(weights="random", size="tiny", max_new_tokens=4, **changes)


def test_every_option_works_or_is_refused(world: VirtualWorld) -> None:
    with pytest.raises(DeviceError, match="cuda_graphs=true is for CUDA"):
        load_voxtral(random_weights(), TorchOptions(cuda_graphs=True), world)
    with pytest.raises(ConfigError, match=r"engine\.batching"):
        load_voxtral(random_weights(), TorchOptions(batching=False), world)
    engine = load_voxtral(random_weights(), TorchOptions(dtype="bfloat16"), world)
    assert engine.info.random_weights
    assert engine.info.dtype == "bfloat16"
    assert engine.info.details["cuda_graphs"] is False


def test_too_little_memory_is_said_before_anything_is_loaded(
    world: VirtualWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "free_memory", lambda device: 8_000_000_000)
    with pytest.raises(DeviceError, match=r"9\.\d GB needed, 8\.0 GB free"):
        load_voxtral(VoxtralModel(weights="random"), TorchOptions(dtype="bfloat16"), world)


@pytest.fixture(scope="module")
def folder(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny weights as a user's folder, as `save_pretrained` writes it."""
    path = tmp_path_factory.mktemp("weights")
    loaded.model.save_pretrained(path)
    write_tokenizer(path / "tekken.json", "voxtral", TINY_VOCABULARY)
    return path


def test_a_folder_is_the_same_model(loaded: Loaded, folder: Path, world: VirtualWorld) -> None:
    clip = noise(1.0)
    expected = replay(world, make_engine(loaded, world), [clip])[0]
    model = VoxtralModel(weights=str(folder), max_new_tokens=NEW_TOKENS)
    engine = load_voxtral(model, TorchOptions(), world)
    assert replay(world, engine, [clip])[0].tokens == expected.tokens
    assert not engine.info.random_weights
    assert engine.info.weights_sha256 is not None


def test_wrong_sources_say_what_is_wrong(folder: Path, tmp_path: Path, world: VirtualWorld) -> None:
    def load(source: Path | str) -> None:
        load_voxtral(VoxtralModel(weights=str(source)), TorchOptions(), world)

    with pytest.raises(WeightsError, match="cannot be loaded"):
        load("no/such-repository")
    with pytest.raises(WeightsError, match=r"no config\.json"):
        load(tmp_path)
    for file in folder.iterdir():
        if file.name != "tekken.json":
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(WeightsError, match=r"no tekken\.json"):
        load(tmp_path)
    (tmp_path / "tekken.json").write_text('{"config": {}}', encoding="utf-8")
    with pytest.raises(WeightsError, match="not a Voxtral tokenizer"):
        load(tmp_path)


def test_another_architecture_is_refused(tmp_path: Path, world: VirtualWorld) -> None:
    weights.random_config("voxtral_realtime", "tiny").save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="another architecture"):
        load_voxtral(VoxtralModel(weights=str(tmp_path)), TorchOptions(), world)


def damaged(folder: Path, to: Path, name: str, content: bytes) -> VoxtralModel:
    """The folder's model with another file of this name."""
    for file in folder.iterdir():
        if file.name != name:
            (to / file.name).symlink_to(file)
    (to / name).write_bytes(content)
    return VoxtralModel(weights=str(to))


@pytest.mark.parametrize(
    ("name", "keep"),
    [("model.safetensors", 0), ("model.safetensors", 4), ("model.safetensors", 100_000),
     ("config.json", 40), ("tekken.json", 400)],
)  # fmt: skip
def test_a_file_that_was_cut_off_is_named_as_a_fault_of_the_weights(
    folder: Path, tmp_path: Path, world: VirtualWorld, name: str, keep: int
) -> None:
    model = damaged(folder, tmp_path, name, (folder / name).read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"cannot be loaded|not a Voxtral tokenizer"):
        load_voxtral(model, TorchOptions(), world)


def test_a_config_of_wrong_types_is_a_fault_of_the_weights(
    folder: Path, tmp_path: Path, world: VirtualWorld
) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    config["text_config"]["hidden_size"] = "wide"
    model = damaged(folder, tmp_path, "config.json", json.dumps(config).encode())
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_voxtral(model, TorchOptions(), world)


def moved(tekken: Any, token: int, to: int) -> None:
    specials = tekken["special_tokens"]
    specials[token]["token_str"], specials[to]["token_str"] = (
        specials[to]["token_str"], specials[token]["token_str"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("voxtral", lambda t: moved(t, AUDIO, 41), r"\[AUDIO\] is 41, not 24"),
        ("voxtral_realtime", lambda t: moved(t, STREAMING_PAD, 41), r"STREAMING_PAD\] is 41"),
        ("voxtral_realtime", lambda t: t["audio"].update(streaming_n_left_pad_tokens=16),
         "tokens of silence is 16, not 32"),
        ("voxtral", lambda t: t["audio"]["audio_encoding_config"].update(num_mel_bins=80),
         "mel bands is 80, not 128"),
        ("voxtral", lambda t: t["audio"].update(frame_rate=25.0), "samples of a token is 640"),
        ("voxtral", lambda t: t.pop("audio"), "no audio section"),
    ],
)  # fmt: skip
def test_a_tokenizer_laid_out_in_another_way_is_refused(
    tmp_path: Path, kind: Kind, change: Callable[[Any], None], said: str
) -> None:
    path = tmp_path / "tekken.json"
    write_tokenizer(path, kind, TINY_VOCABULARY)
    tokenizer, token_bytes = load_tokenizer(path, kind)
    assert len(token_bytes) == TINY_VOCABULARY
    assert tokenizer.instruct_tokenizer.audio_encoder is not None
    tekken = json.loads(path.read_bytes())
    change(tekken)
    path.write_text(json.dumps(tekken), encoding="utf-8")
    with pytest.raises(WeightsError, match=said):
        load_tokenizer(path, kind)


def test_weights_are_known_by_the_files_that_are_loaded(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        weights_sha256(tmp_path)
    found = []
    for name, content in {
        "pytorch_model.bin": "one", "model-2.safetensors": "b", "model-1.safetensors": "a",
        "model.safetensors.index.json":
            json.dumps({"weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors"}}),
        "consolidated.safetensors": "not loaded",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(content, encoding="utf-8")
        found.append(weights_sha256(tmp_path))
    of_bin, parts = sha256(b"one").hexdigest(), sha256(b"ab").hexdigest()
    assert found == [of_bin, of_bin, of_bin, parts, parts]
    (tmp_path / "model.safetensors").write_text("whole", encoding="utf-8")
    assert weights_sha256(tmp_path) == sha256(b"whole").hexdigest()


def test_a_missing_weight_is_an_error(folder: Path, tmp_path: Path, world: VirtualWorld) -> None:
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).symlink_to(file)
    tensors = load_file(folder / "model.safetensors")
    del tensors[next(name for name in tensors if "k_proj" in name)]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="1 weights are missing"):
        load_voxtral(VoxtralModel(weights=str(tmp_path)), TorchOptions(), world)


def test_size_and_revision_are_for_the_weights_they_describe() -> None:
    with pytest.raises(ConfigError, match=r"model\.size"):
        VoxtralModel(size="tiny")
    with pytest.raises(ConfigError, match=r"model\.revision"):
        VoxtralModel(weights="random", revision="main")
    with pytest.raises(ConfigError, match=r"model\.language"):
        VoxtralModel(language="english")


@torch.no_grad()
def test_no_part_of_an_utterance_waits_for_a_value(loaded: Loaded) -> None:
    net = net_of(loaded)
    blocks = net.upload(noise(1.0))
    with NoValueRead():
        net.features(blocks)
        net.encode(blocks)
        net.step(net.prefill(blocks))
