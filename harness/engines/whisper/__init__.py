"""Whisper: options here, without torch; ``engine``, ``net`` and ``weights`` are the model."""

from __future__ import annotations

from dataclasses import dataclass

from harness.engines.setting import Engine, Setting
from harness.engines.torch.options import TorchOptions
from harness.engines.windows import require_tokens_of_a_window, streaming
from harness.errors import ConfigError
from harness.languages.tags import require_language
from harness.validation import require, require_number


@dataclass
class WhisperModel:
    name: str = "whisper_tiny_en"  # how reports call it
    weights: str = "packaged"  # packaged | a hub id | a folder
    revision: str | None = None  # of a hub id; None: its default branch
    language: str = "en"  # spoken, any tag; other than en with multilingual weights only
    max_new_tokens: int = 440  # 448 positions less the prompt
    pad_s: float = (
        30.0  # the encoder's window: audio is padded with silence to clip + pad_s, at most 30 s
    )

    def __post_init__(self) -> None:
        require(bool(self.weights), "model.weights", self.weights, "packaged, a hub id or a folder")
        self.language = require_language("config field model.language", self.language, ConfigError)
        require_number("model.max_new_tokens", self.max_new_tokens, 1, 446)
        require_number("model.pad_s", self.pad_s, 0, 30)

    def load(self, options: TorchOptions, setting: Setting) -> Engine:
        from harness.engines.whisper.engine import load_whisper

        for name in ("cuda_graphs", "compile", "batching"):
            if getattr(options, name):  # Whisper's steps are eager, one session at a time
                raise ConfigError(
                    f"engine.{name} is for the Voxtral models",
                    value=True,
                    allowed="null or false with this model",
                    hint=f"leave engine.{name} out",
                )
        if setting.live:
            require_tokens_of_a_window(self.max_new_tokens, self.language)
        engine = load_whisper(self, options, setting.world)
        return streaming(engine, setting) if setting.live else engine
