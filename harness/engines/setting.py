"""What an engine is loaded for: the model, the session, the clock; and how options load engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from harness.clock import World
from harness.engines import Engine
from harness.engines.sessions import SessionOptions
from harness.errors import ConfigError
from harness.events import SessionKind

__all__ = ["Engine", "EngineOptions", "NoModel", "Setting"]


@dataclass
class NoModel:
    """For engines that carry no model (null, scripted)."""


class Setting(NamedTuple):
    """Everything besides its own options that an engine is loaded for."""

    world: World  # the clock, and the timelines to work on
    session: SessionOptions  # turn or live, and how to stream
    model: Any  # options of a model for `engine=torch`; NoModel() for every other engine
    seed: int = 0  # of every random choice

    @property
    def kind(self) -> SessionKind:
        return SessionKind(self.session.kind)

    @property
    def live(self) -> bool:
        return self.kind is SessionKind.LIVE

    def require_no_model(self, engine: str) -> None:
        """Raises :class:`ConfigError` if a model was chosen for an engine that takes none."""
        if not isinstance(self.model, NoModel):
            raise ConfigError(
                f"engine={engine} takes no model",
                value=type(self.model).__name__,
                allowed="model=none",
                hint="leave model=... out",
            )


class EngineOptions(Protocol):
    """Options of one engine, a dataclass; its fields are config fields (``engine.first_ms``)."""

    def load(self, setting: Setting) -> Engine:
        """The engine, loaded and warm.

        Raises:
            ConfigError: options that do not go together.
            WeightsError, DeviceError, UsageError: what was asked for is not there.
        """
