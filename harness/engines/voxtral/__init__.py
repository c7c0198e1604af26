"""Voxtral 3B and Voxtral Realtime: options here, without torch.

``engine`` transcribes utterances with the 3B model, ``realtime`` streams with the 4B model; both
stand on ``layers``, ``net``, ``weights`` and ``tokenizer``.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.engines.setting import Engine, Setting
from harness.engines.torch.options import TorchOptions
from harness.engines.windows import require_tokens_of_a_window, streaming
from harness.errors import ConfigError
from harness.languages.tags import require_language
from harness.validation import require, require_number, require_one_of


@dataclass
class VoxtralModel:
    """Voxtral-Mini-3B-2507 in its transcription mode."""

    name: str = "voxtral_mini_3b"  # how reports call it
    weights: str = "mistralai/Voxtral-Mini-3B-2507"  # a hub id | a folder | random
    revision: str | None = None  # of a hub id; None: its default branch
    size: str = "full"  # full | tiny (random weights only): the dimensions of random weights
    decode: str = "greedy"  # greedy | forced: go on with the reference's tokens, at the same cost
    language: str | None = "en"  # any tag, given to the model as ISO 639-1; None: it detects it
    max_new_tokens: int = 440  # at most this many tokens an utterance
    max_audio_s: float = 30.0  # longest utterance; the model takes it in blocks of 30 s

    def __post_init__(self) -> None:
        _check_voxtral(self.weights, self.revision, self.size, self.decode)
        if self.language is not None:
            self.language = require_language(
                "config field model.language", self.language, ConfigError
            )
            require(
                len(self.language) == 2,
                "model.language", self.language, "a language of two letters (ISO 639-1), or null",
            )  # fmt: skip
        require_number("model.max_new_tokens", self.max_new_tokens, 1, 16_384)
        require_number("model.max_audio_s", self.max_audio_s, 0, 2400, above=True)

    def load(self, options: TorchOptions, setting: Setting) -> Engine:
        from harness.engines.voxtral.engine import load_voxtral

        if not setting.live:
            return load_voxtral(self, options, setting.world)
        require_tokens_of_a_window(self.max_new_tokens, self.language)
        return streaming(load_voxtral(self, options, setting.world, windows=True), setting)


@dataclass
class VoxtralRealtimeModel:
    """Voxtral-Mini-4B-Realtime-2602: text while audio arrives."""

    name: str = "voxtral_mini_4b_realtime"  # how reports call it
    weights: str = "mistralai/Voxtral-Mini-4B-Realtime-2602"  # a hub id | a folder | random
    revision: str | None = None  # of a hub id; None: its default branch
    size: str = "full"  # full | tiny (random weights only): the dimensions of random weights
    decode: str = "greedy"  # greedy | forced: go on with the reference's tokens, at the same cost
    delay_ms: int = 480  # how long the model waits before it writes: 80 to 1200 by 80, or 2400
    max_streams: int = 8  # sessions at once: memory for their keys and values is set aside

    def __post_init__(self) -> None:
        _check_voxtral(self.weights, self.revision, self.size, self.decode)
        require(
            self.delay_ms in {*range(80, 1201, 80), 2400},
            "model.delay_ms", self.delay_ms, "80 to 1200 in steps of 80, or 2400",
        )  # fmt: skip
        require_number("model.max_streams", self.max_streams, 1, 1024)

    def load(self, options: TorchOptions, setting: Setting) -> Engine:
        from harness.engines.voxtral.realtime import load_voxtral_realtime

        return load_voxtral_realtime(self, options, setting.world)


def _check_voxtral(weights: str, revision: str | None, size: str, decode: str) -> None:
    require(bool(weights), "model.weights", weights, "a hub id, a folder or random")
    require_one_of("model.size", size, ("full", "tiny"))
    require_one_of("model.decode", decode, ("greedy", "forced"))
    if weights != "random":
        require(size == "full", "model.size", size, "full, unless model.weights=random")
    else:
        require(revision is None, "model.revision", revision, "null with model.weights=random")
