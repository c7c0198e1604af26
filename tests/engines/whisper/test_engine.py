"""Whisper against its oracle: transformers' features, encoder and ``generate()``."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from harness.clock import RealWorld, VirtualWorld
from harness.datasets import ManifestDataset
from harness.datasets.load import load_dataset
from harness.engines.torch.decoding import TokenText
from harness.engines.torch.options import TorchOptions
from harness.engines.whisper import WhisperModel
from harness.engines.whisper.engine import WhisperEngine, _prompt, load_whisper
from harness.engines.whisper.net import MelSpectrogram, WhisperNet
from harness.engines.whisper.weights import load_whisper_weights
from harness.errors import ConfigError, DeviceError, WeightsError
from harness.events import SessionKind
from harness.metrics.accuracy import word_edits
from tests.engines.listening import Heard, loud
from tests.engines.ties import assert_same_tokens_up_to_a_tie
from tests.tiny_whisper import EN, START, TRANSCRIBE, save_tiny_whisper

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Threads that wait for each other make a test many times slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def packaged():
    return load_whisper_weights("packaged")


@pytest.fixture(scope="module")
def clips():
    """Two utterances of real speech, 2 s each; `tests/bench` compares the text of all."""
    wanted = ManifestDataset(clips=["07-heaven", "08-other_way"])
    return [clip.samples for clip in load_dataset(wanted).clips]


@pytest.fixture
def tiny(tmp_path):
    return str(save_tiny_whisper(tmp_path))


def _hear(engine, samples, *, frame=None):
    """One session: fed in frames, finished, and the engine's world run to the end of it."""
    heard = Heard()
    stream = engine.open(heard)
    for start in range(0, len(samples), frame or max(1, len(samples))):
        stream.feed(samples[start : start + (frame or len(samples))])
    stream.finish()
    if isinstance(engine._world, VirtualWorld):
        engine._world.run()
    assert heard.is_over.wait(60)
    return heard


def _generated(weights, samples, mels, **options):
    """What `generate()` says to transformers' own features: ids, and logits after suppression."""
    features = WhisperFeatureExtractor(mels)(samples, sampling_rate=16_000, return_tensors="pt")
    output = weights.model.generate(
        features.input_features, return_dict_in_generate=True, output_scores=True, **options
    )
    logits = torch.stack([step[0] for step in output.scores])
    return output.sequences[0, -len(logits) :].tolist(), logits


# --- features and encoder ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "samples_count", [0, 1, 159, 200, 16_000, 16_123, 479_000, 479_999, 480_000]
)
def test_features_equal_those_of_transformers(samples_count):
    samples = loud(samples_count / 16_000)
    mel = MelSpectrogram(80, CPU)(torch.from_numpy(samples), 3000)
    silence = mel[:, -1:].expand(-1, 3000 - mel.shape[1])
    reference = WhisperFeatureExtractor()(samples, sampling_rate=16_000).input_features[0]
    torch.testing.assert_close(
        torch.cat((mel, silence), 1), torch.from_numpy(reference), atol=1e-5, rtol=0
    )


def test_features_of_a_short_clip_are_not_computed_for_its_silence():
    features = MelSpectrogram(80, CPU)(torch.from_numpy(loud(1.0)), 3000)
    assert features.shape[1] == 208  # whole seconds, and a little silence


@pytest.mark.e2e
def test_the_encoder_equals_that_of_transformers(packaged, clips):
    features = WhisperFeatureExtractor()(clips[0], sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        reference = packaged.model.model.encoder(features.input_features).last_hidden_state[0]
        mel = MelSpectrogram(80, CPU)(torch.from_numpy(clips[0]), 3000)
        encoded = WhisperNet(packaged.model, CPU, torch.float32).encode(mel, 1500)
    torch.testing.assert_close(encoded, reference, atol=1e-3, rtol=1e-3)


# --- text ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(packaged):
    engine = WhisperEngine(WhisperModel(), packaged, CPU, torch.float32, VirtualWorld())
    yield engine
    engine.close()


@pytest.mark.e2e
def test_tokens_of_real_speech_equal_those_of_generate(engine, packaged, clips, ids):
    for samples in clips:
        ids.clear()
        heard = _hear(engine, samples)
        # "We're" and "We are" are 0.005 apart: that close, rounding decides.
        assert_same_tokens_up_to_a_tie(ids, *_generated(packaged, samples, 80), tie=0.05)
        assert heard.calls[-1] == "ended"
        assert heard.tokens[-1] == "", "the end of text is a token, and no text"


@pytest.mark.e2e
def test_neither_the_frame_size_nor_an_earlier_clip_changes_the_tokens(engine, clips):
    alone = _hear(engine, clips[1]).tokens
    _hear(engine, clips[0])
    assert _hear(engine, clips[1], frame=321).tokens == alone


@pytest.mark.slow  # for minutes of a processor without bfloat16
def test_bfloat16_hears_the_words(packaged, clips):
    half = WhisperEngine(WhisperModel(), packaged, CPU, torch.bfloat16, VirtualWorld())
    assert half.info.dtype == "bfloat16"
    said = "We were all going direct to Heaven"
    assert word_edits(said, _hear(half, clips[0]).text, "en").errors <= 1


@torch.inference_mode()
def test_logits_of_bfloat16_are_near_those_of_float32(tiny):
    weights = load_whisper_weights(tiny)
    samples, prompt = torch.from_numpy(loud(1.5)), torch.tensor([START, EN, TRANSCRIBE])
    logits = []
    for dtype in (torch.float32, torch.bfloat16):
        net = WhisperNet(weights.model, CPU, dtype)
        encoded = net.encode(MelSpectrogram(8, CPU)(samples, 3000), 1500)
        logits.append(net.decode(prompt, net.new_cache(), net.cross(encoded)).float())
    apart = (logits[0] - logits[1]).abs().max()
    assert 0 < apart < 0.05 * logits[0].abs().max()  # 8 bits of a number, after four layers


def test_bfloat16_is_not_packed_where_the_processor_cannot(tiny, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    engine = load_whisper(
        WhisperModel(weights=tiny), TorchOptions(dtype="bfloat16"), VirtualWorld()
    )
    assert engine.info.details["packed_linear"] is False
    assert _hear(engine, loud(0.5)).calls[-1] == "ended"


@pytest.fixture
def ids(monkeypatch):
    """What an engine decodes, as ids: random weights do not make valid UTF-8."""
    seen = []

    class Recorder(TokenText):
        def push(self, token):
            seen.append(token)
            return super().push(token)

    monkeypatch.setattr("harness.engines.whisper.engine.TokenText", Recorder)
    return seen


@pytest.mark.parametrize("language", ["en", "fr"])
def test_tokens_of_any_whisper_equal_those_of_generate(tiny, ids, language):
    weights = load_whisper_weights(tiny)
    model = WhisperModel(weights=tiny, language=language)
    engine = load_whisper(model, TorchOptions(), VirtualWorld())
    for seed in range(2):
        ids.clear()
        _hear(engine, loud(1.5, seed))
        expected = _generated(weights, loud(1.5, seed), 8, language=language)
        assert_same_tokens_up_to_a_tie(ids, *expected, tie=1e-3)


@pytest.mark.parametrize(
    ("multilingual", "language", "allowed"), [(True, "de", "en, fr"), (False, "fr-CA", "en")]
)
def test_a_language_the_weights_do_not_know(tmp_path, multilingual, language, allowed):
    folder = str(save_tiny_whisper(tmp_path, multilingual=multilingual))
    with pytest.raises(ConfigError) as error:
        load_whisper(
            WhisperModel(weights=folder, language=language), TorchOptions(), VirtualWorld()
        )
    assert error.value.allowed == allowed


@pytest.mark.parametrize(("asked", "made"), [(1, 1), (5, 5), (440, 24 - 4)])
def test_max_new_tokens_ends_a_clip_and_positions_limit_it(tiny, ids, asked, made):
    model = WhisperModel(weights=tiny, max_new_tokens=asked)
    engine = load_whisper(model, TorchOptions(), VirtualWorld())
    engine._end = ()
    ids.clear()
    assert _hear(engine, loud(0.5)).calls[-1] == "ended"
    assert len(ids) == made
    assert engine.info.details["max_new_tokens"] == made


# --- sessions ------------------------------------------------------------------------------------


def test_spans_close_from_the_end_of_the_audio_to_the_first_token_and_on(tiny):
    engine = load_whisper(WhisperModel(weights=tiny, max_new_tokens=4), TorchOptions(), RealWorld())
    heard = _hear(engine, loud(1.0))
    engine.close()
    names = [name for name, _, _ in heard.spans]
    assert names[:4] == ["queue", "features", "encoder", "prefill"]
    assert set(names[4:]) <= {"decode"}
    for (_, _, end_ns), (_, start_ns, _) in pairwise(heard.spans):
        assert end_ns == start_ns
    prefill_end_ns = heard.spans[3][2]
    assert heard.token_ns[0] >= prefill_end_ns
    if len(heard.spans) > 4:
        assert heard.token_ns[0] <= heard.spans[4][2]


def test_a_clip_over_30_s_fails_alone_and_names_the_limit(tiny):
    engine = load_whisper(WhisperModel(weights=tiny), TorchOptions(), VirtualWorld())
    too_long = _hear(engine, np.zeros(480_001, np.float32))
    assert too_long.calls == ["ready", "failed"]
    assert "at most 30" in too_long.error
    assert _hear(engine, np.zeros(480_000, np.float32)).error is None


@pytest.mark.parametrize("count", [0, 1, 399])
def test_next_to_no_audio_is_no_crash(tiny, count):
    engine = load_whisper(WhisperModel(weights=tiny), TorchOptions(), VirtualWorld())
    assert _hear(engine, np.zeros(count, np.float32)).error is None


@pytest.mark.parametrize("pad_s", [0.0, 0.5, 5.0, 28.9, 30.0])
def test_pad_s_is_the_silence_the_encoder_sees_after_the_clip(tiny, pad_s):
    engine = load_whisper(WhisperModel(weights=tiny, pad_s=pad_s), TorchOptions(), VirtualWorld())
    seen = []
    encode = engine._net.encode
    engine._net.encode = lambda features, positions: (
        seen.append(encode(features, positions)) or seen[0]
    )
    assert _hear(engine, loud(1.01)).error is None
    assert len(seen[0]) == min(1500, math.ceil((1.01 + pad_s) * 50))
    assert engine.info.details["pad_s"] == pad_s


def test_info_says_what_was_measured(tiny):
    engine = load_whisper(
        WhisperModel(name="mine", weights=tiny), TorchOptions(dtype="bfloat16"), VirtualWorld()
    )
    assert engine.info.model == "mine"
    assert engine.info.kinds == (SessionKind.TURN,)
    assert engine.info.weights == tiny
    assert engine.info.weights_sha256 == load_whisper_weights(tiny).sha256
    assert engine.info.parameters == load_whisper_weights(tiny).model.num_parameters()
    assert (engine.info.device, engine.info.dtype) == ("cpu", "bfloat16")
    assert engine.info.details["threads"] == torch.get_num_threads()


def test_what_cannot_be_loaded_says_so_before_a_session(tmp_path):
    with pytest.raises(WeightsError):
        load_whisper(WhisperModel(weights=str(tmp_path)), TorchOptions(), VirtualWorld())
    with pytest.raises(DeviceError):
        load_whisper(WhisperModel(), TorchOptions(device="cuda:77"), VirtualWorld())


@pytest.mark.parametrize(("tag", "index"), [("en-US", 1), ("jv", 2), ("yue", 3), ("fil", 4)])
def test_languages_have_their_tags_of_today(tag, index):
    """Whisper's own are older: jw for Javanese, tl for Tagalog."""
    names = {"<|en|>": 1, "<|jw|>": 2, "<|yue|>": 3, "<|tl|>": 4}
    generation = SimpleNamespace(
        decoder_start_token_id=0, is_multilingual=True, lang_to_id=names,
        task_to_id={"transcribe": 9}, no_timestamps_token_id=None,
    )  # fmt: skip
    assert _prompt(generation, WhisperModel(language=tag).language) == [0, index, 9]
