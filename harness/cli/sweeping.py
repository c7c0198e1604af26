"""``FIELD=A,B``: overrides in which some have several values, and the arms that they make."""

from __future__ import annotations

import itertools
import re
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from harness.cli.compose import (
    FLAGS,
    as_config_error,
    as_override,
    choices_of,
    did_you_mean,
    groups,
    refuse_options,
)
from harness.errors import ConfigError, UsageError


class Sweep:
    """Overrides in which some have several values, as in ``chunking=1word,6word``."""

    def __init__(self, argv: list[str]) -> None:
        refuse_options(argv, tuple(FLAGS))
        parser = OverridesParser.create()
        try:
            parsed = parser.parse_overrides([as_override(a) for a in argv])
        except HydraException as error:
            raise as_config_error(error) from error
        swept = [o for o in parsed if o.is_sweep_override()]
        self.fixed = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
        axes = [_axis(o) for o in swept]
        self.arms = [
            SweepArm(
                name="-".join(_label(*one) for one in choice),
                overrides=["=".join(o) for o in choice],
            )
            for choice in itertools.product(*axes)
        ]
        names = [arm.name for arm in self.arms]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(
                "two arms are the same, or would have one name",
                value=twice,
                hint="give each value once; a value and a choice of one name need another field",
            )


class SweepArm(NamedTuple):
    name: str  # also the name of its folder
    overrides: list[str]


def _label(key: str, value: str) -> str:
    """The name of an arm among the others: a choice by its name, a value with its field's."""
    label = f"{key.rsplit('.', 1)[-1]}={value}" if "." in key else value
    return re.sub(r"[^\w.+=-]", "_", label)


def _axis(override: Override) -> list[tuple[str, str]]:
    """What one override sweeps over, as (key, value).

    Raises:
        ConfigError: an interval, which has no end of values, or a pattern that matches none.
    """
    key = override.get_key_element()
    pattern: Any = override.value()  # also what its annotation leaves out
    if isinstance(pattern, Glob):  # Hydra expands it only where Hydra itself sweeps
        return [(key, choice) for choice in _matching(key, pattern, str(override.input_line))]
    try:
        return [(key, str(value)) for value in override.sweep_string_iterator()]
    except HydraException as error:
        raise ConfigError(
            "values that cannot be listed", value=override.input_line,
            allowed="FIELD=A,B, FIELD=range(FIRST,STOP), GROUP=glob(PATTERN)",
        ) from error  # fmt: skip


def _matching(group: str, pattern: Glob, argument: str) -> list[str]:
    if group not in groups():
        raise ConfigError(
            "no such config group",
            value=group,
            allowed=", ".join(groups()),
            hint=did_you_mean(group, groups()) or "list a field's values: FIELD=A,B",
        )
    choices = choices_of(group)
    matching: list[str] = pattern.filter(choices)
    if not matching:
        raise ConfigError("no choice matches", value=argument, allowed=", ".join(choices))
    return matching
