"""``engine=python``: an engine of one's own, from any module, without a package.

::

    python -m harness run engine=python engine.factory=my_engine:make engine.options.device=cuda

``make(world=..., **options)`` returns an :class:`~harness.engines.Engine`, loaded and warm.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.engines import Engine
from harness.engines.setting import Setting
from harness.errors import ConfigError, HarnessError
from harness.registry import Origin, origin_of
from harness.validation import require


@dataclass
class PythonOptions:
    factory: str  # MODULE:FUNCTION; the module may lie in the current folder
    options: dict[str, Any] = field(default_factory=dict)  # handed to it as keywords

    def __post_init__(self) -> None:
        module, colon, function = self.factory.partition(":")
        names = [*module.split("."), *function.split(".")]
        good = bool(colon) and all(name.isidentifier() for name in names)
        require(good, "engine.factory", self.factory, "MODULE:FUNCTION, such as my_engine:make")

    def load(self, setting: Setting) -> Engine:
        """Call the factory.

        Raises:
            ConfigError: no such module or function, or it raised or returned no engine.
            HarnessError: it raised one: then its text says all.
        """
        setting.require_no_model("python")
        make = self.function()
        try:
            engine = make(world=setting.world, **self.options)
        except HarnessError:
            raise
        except (Exception, SystemExit) as error:  # foreign code may raise anything
            raise ConfigError(
                f"engine.factory {self.factory} raised {type(error).__name__}: {error}",
                value=self.options or "no options",
                hint=f"call it in Python: from {self.factory.replace(':', ' import ')}",
            ) from error
        missing = [name for name in ("info", "open", "close") if not hasattr(engine, name)]
        if missing:
            raise ConfigError(
                f"engine.factory {self.factory} returned no engine: it lacks {', '.join(missing)}",
                value=type(engine).__name__,
                allowed="an object with info, open and close (harness.engines.Engine)",
            )
        made: Engine = engine
        return made

    def function(self) -> Callable[..., Any]:
        """The factory itself.

        Raises:
            ConfigError: there is no such module or function, or the module cannot be imported.
        """
        module, _, name = self.factory.partition(":")
        here = str(Path.cwd())
        if here not in sys.path:  # an installed command does not look into the current folder
            sys.path.insert(0, here)
        try:
            found: Any = import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        except (Exception, SystemExit) as error:  # foreign code may raise anything when imported
            raise ConfigError(
                f"engine.factory cannot be imported: {type(error).__name__}: {error}",
                value=self.factory,
                allowed="MODULE:FUNCTION, installed or in the current folder",
            ) from error
        if not callable(found):
            raise ConfigError("engine.factory is no function", value=self.factory)
        factory: Callable[..., Any] = found
        return factory

    @property
    def origin(self) -> Origin:
        """The package and version that the factory belongs to."""
        return origin_of(self.function())


@dataclass
class GivenFactory(PythonOptions):
    """A factory that was handed over in Python: any callable, also one defined in a notebook."""

    def __post_init__(self) -> None:
        self.given: Callable[..., Any] | None = None

    @classmethod
    def of(cls, factory: Callable[..., Any], options: dict[str, Any]) -> GivenFactory:
        name = getattr(factory, "__qualname__", type(factory).__qualname__)
        made = cls(f"{factory.__module__}:{name}", options)
        made.given = factory
        return made

    def function(self) -> Callable[..., Any]:
        if self.given is None:
            raise ConfigError("this factory was given in Python, in another process")
        return self.given
