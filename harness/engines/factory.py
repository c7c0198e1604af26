"""From configs to an engine that is loaded and warm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.clock import World
from harness.config import (
    Config,
    LiveSession,
    NoModel,
    NullEngine,
    RealtimeEngine,
    ScriptedEngine,
    TorchEngine,
    VoxtralModel,
    VoxtralRealtimeModel,
    WhisperModel,
)
from harness.engines import Engine
from harness.engines.inject import InjectedEngine
from harness.errors import ConfigError
from harness.events import SessionKind

if TYPE_CHECKING:  # it imports torch, which not every engine needs
    from harness.engines.windows.engine import WindowEngine


def make_engine(config: Config, world: World) -> Engine:
    """The engine that the config asks for, made worse where it asks for that; see `load_engine`."""
    return injected(load_engine(config, world), config, world)


def injected(engine: Engine, config: Config, world: World) -> Engine:
    """``engine``, made worse as ``config.inject`` says; several may be made of one."""
    if config.inject.holds_back:
        return InjectedEngine(engine, config.inject, world, config.seed)
    return engine


def load_engine(config: Config, world: World) -> Engine:
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
    if kind is SessionKind.LIVE and "policy" not in engine.info.details:
        _check_streams_by_itself(engine, config)
    return engine


def _check_streams_by_itself(engine: Engine, config: Config) -> None:
    if config.session != LiveSession():
        engine.close()
        raise ConfigError(
            f"model={engine.info.model} streams by itself: it has no policy, step, trim or guard",
            value=config.session,
            allowed="session=live as it is",
        )


def _refuse_step_options(engine: TorchEngine) -> None:
    """Whisper's steps are eager, one session at a time: more would be left out without a word."""
    for name in ("cuda_graphs", "compile", "batching"):
        if getattr(engine, name):
            raise ConfigError(
                f"engine.{name} is for the Voxtral models",
                value=True,
                allowed="null or false with this model",
                hint=f"leave engine.{name} out",
            )


def _check_tokens_of_a_window(model: WhisperModel | VoxtralModel) -> None:
    """What a window has committed counts; once it is full, the rest of it would not be heard."""
    from harness.engines.windows.engine import LONGEST_S, MOST_TOKENS

    if model.max_new_tokens < MOST_TOKENS:
        raise ConfigError(
            f"model.max_new_tokens in session=live: {LONGEST_S:g} s of open audio may say more",
            value=model.max_new_tokens,
            allowed=f"{MOST_TOKENS} or more",
            hint="leave model.max_new_tokens out",
        )


def _live(engine: WindowEngine, config: Config) -> Engine:
    from harness.engines.windows.engine import LiveEngine

    return LiveEngine(engine, config.session)


def _make_bare_engine(config: Config, world: World, kind: SessionKind) -> Engine:
    match config.engine, config.model:
        case NullEngine(), NoModel():
            from harness.engines import null

            return null.NullEngine(world, kind)
        case ScriptedEngine(), NoModel():
            from harness.engines import scripted

            return scripted.ScriptedEngine(config.engine, world, kind, config.seed)
        case TorchEngine(), WhisperModel():
            from harness.engines.whisper.engine import load_whisper

            _refuse_step_options(config.engine)
            if kind is SessionKind.LIVE:
                _check_tokens_of_a_window(config.model)
            whisper = load_whisper(config.model, config.engine, world)
            return whisper if kind is SessionKind.TURN else _live(whisper, config)
        case TorchEngine(), VoxtralModel():
            from harness.engines.voxtral.engine import load_voxtral

            if kind is SessionKind.TURN:
                return load_voxtral(config.model, config.engine, world)
            _check_tokens_of_a_window(config.model)
            return _live(load_voxtral(config.model, config.engine, world, windows=True), config)
        case TorchEngine(), VoxtralRealtimeModel():
            from harness.engines.voxtral.realtime import load_voxtral_realtime

            return load_voxtral_realtime(config.model, config.engine, world)
        case RealtimeEngine(), NoModel():
            from harness.engines.remote import connect_realtime

            return connect_realtime(config.engine, world)
        case TorchEngine(), NoModel():
            raise ConfigError("engine=torch needs a model", hint="add model=whisper_tiny_en")
    raise ConfigError(
        f"engine {type(config.engine).__name__} takes no model {type(config.model).__name__}",
        hint="leave model=... out: engine=null and engine=scripted choose model=none themselves",
    )
