"""From configs to an engine that is loaded and warm."""

from __future__ import annotations

from harness.clock import World
from harness.config import (
    Config,
    NoModel,
    NullEngine,
    ScriptedEngine,
    TorchEngine,
    WhisperModel,
)
from harness.engines import Engine
from harness.engines.inject import InjectedEngine
from harness.errors import ConfigError
from harness.events import SessionKind


def make_engine(config: Config, world: World) -> Engine:
    """Load the engine that the config asks for; returns once it is warm.

    Raises:
        ConfigError: parts of the config do not go together.
        WeightsError, DeviceError: what was asked for is not there.
    """
    kind = SessionKind(config.session.kind)
    engine = _make_bare_engine(config, world, kind)
    if kind not in engine.info.kinds:
        engine.close()
        raise ConfigError(
            f"model={engine.info.model} cannot serve session={kind}",
            allowed="session=" + ", ".join(engine.info.kinds),
        )
    if config.inject.holds_back:
        return InjectedEngine(engine, config.inject, world, config.seed)
    return engine


def _make_bare_engine(config: Config, world: World, kind: SessionKind) -> Engine:
    match config.engine, config.model:
        case NullEngine(), NoModel():
            from harness.engines import null

            return null.NullEngine(world, kind)
        case ScriptedEngine(), NoModel():
            from harness.engines import scripted

            return scripted.ScriptedEngine(config.engine, world, kind, config.seed)
        case TorchEngine(), WhisperModel():
            from harness.engines.whisper import load_whisper

            return load_whisper(config.model, config.engine, world)
        case TorchEngine(), NoModel():
            raise ConfigError("engine=torch needs a model", hint="add model=whisper_tiny_en")
    raise ConfigError(
        f"engine {type(config.engine).__name__} takes no model {type(config.model).__name__}",
        hint="leave model=... out: engine=null and engine=scripted choose model=none themselves",
    )
