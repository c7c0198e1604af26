"""The engines and models that a config can choose, by name."""

from __future__ import annotations

from typing import Any

from harness.engines.setting import EngineOptions
from harness.registry import Registry

ENGINES: Registry[type[EngineOptions]] = Registry(
    "engine",
    {
        "null": "harness.engines.null:NullOptions",
        "scripted": "harness.engines.scripted:ScriptedOptions",
        "torch": "harness.engines.torch.options:TorchOptions",
        "realtime": "harness.engines.remote.options:RealtimeOptions",
        "python": "harness.engines.python:PythonOptions",
    },
    group="harness.engines",
)

MODELS: Registry[type[Any]] = Registry(  # of engine=torch
    "model",
    {
        "none": "harness.engines.setting:NoModel",
        "whisper": "harness.engines.whisper:WhisperModel",
        "voxtral": "harness.engines.voxtral:VoxtralModel",
        "voxtral_realtime": "harness.engines.voxtral:VoxtralRealtimeModel",
    },
)
