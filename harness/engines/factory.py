"""From options to an engine that is loaded and warm."""

from __future__ import annotations

from typing import Any, Protocol

from harness.clock import World
from harness.engines import Engine
from harness.engines.inject import InjectConfig, InjectedEngine
from harness.engines.sessions import LiveSession, SessionOptions
from harness.engines.setting import EngineOptions, Setting
from harness.errors import ConfigError


class EngineChoice(Protocol):
    """What of a config decides which engine is loaded (``config.Config`` has all of it)."""

    engine: EngineOptions
    model: Any
    session: SessionOptions
    inject: InjectConfig
    seed: int


def make_engine(config: EngineChoice, world: World) -> Engine:
    """The engine that the config asks for, made worse where it asks for that; see `load_engine`."""
    return injected(load_engine(config, world), config, world)


def injected(engine: Engine, config: EngineChoice, world: World) -> Engine:
    """``engine``, made worse as ``config.inject`` says; several may be made of one."""
    if config.inject.holds_back:
        return InjectedEngine(engine, config.inject, world, config.seed)
    return engine


def load_engine(config: EngineChoice, world: World) -> Engine:
    """Load the engine that the config asks for; returns once it is warm.

    Raises:
        ConfigError: parts of the config do not go together.
        WeightsError, DeviceError: what was asked for is not there.
    """
    setting = Setting(world, config.session, config.model, config.seed)
    engine = config.engine.load(setting)
    if setting.kind not in engine.info.kinds:
        engine.close()
        raise ConfigError(
            f"model={engine.info.model} cannot serve session={setting.kind}",
            allowed="session=" + ", ".join(engine.info.kinds),
        )
    if setting.live and "policy" not in engine.info.details and config.session != LiveSession():
        engine.close()
        raise ConfigError(
            f"model={engine.info.model} is a streaming model without policy, step, trim or guard",
            value=config.session,
            allowed="session=live as it is",
        )
    return engine
