"""Checks of option values, for the ``__post_init__`` of option dataclasses.

Each raises :class:`~harness.errors.ConfigError`, which names the field, the value and what is
allowed.
"""

from __future__ import annotations

import math

from harness.errors import ConfigError


def require(ok: bool, name: str, value: object, allowed: str) -> None:
    """``ok`` must be true.

    Args:
        name: the config field, such as ``engine.device``.
        allowed: what would have been right, for the error.
    """
    if not ok:
        raise ConfigError(f"config field {name}", value=value, allowed=allowed)


def require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """``value`` must be one of ``allowed``."""
    require(value in allowed, name, value, ", ".join(allowed))


def require_number(
    name: str, value: float, low: float, high: float = math.inf, *, above: bool = False
) -> None:
    """``value`` must be a number, finite and in [low, high]; with ``above``, in (low, high]."""
    # From Python anything may arrive. A bool is an int to Python, and no number to its reader.
    given: object = value
    ok = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
    ok = ok and (value > low if above else value >= low) and value <= high
    least = f"above {low:g}" if above else f"{low:g} or more"
    if low == -math.inf:
        least = "a finite number"
    require(ok, name, value, least if high == math.inf else f"{least}, at most {high:g}")
