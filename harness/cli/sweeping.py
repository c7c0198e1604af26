"""``FIELD=A,B``: overrides in which some have several values, and the arms that they make."""

from __future__ import annotations

import itertools
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
from harness.cli.typed_text import unquoted
from harness.errors import ConfigError, UsageError
from harness.runs.names import distinct, safe_name


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
        choices = [["=".join(one) for one in choice] for choice in itertools.product(*axes)]
        if twice := next((c for c in choices if choices.count(c) > 1), None):
            raise UsageError(
                "two arms are the same", value=" ".join(twice), hint="give each value once"
            )
        labels = ["-".join(_label(*one) for one in choice) for choice in itertools.product(*axes)]
        names = distinct([safe_name(label) for label in labels])
        self.arms = [SweepArm(*arm) for arm in zip(names, choices, strict=True)]


class SweepArm(NamedTuple):
    name: str  # also the name of its folder
    overrides: list[str]


def _label(key: str, value: str) -> str:
    """How an arm is told from the others: a choice by its name, a value with its field's."""
    value = unquoted(value)
    return f"{key.rsplit('.', 1)[-1]}={value}" if "." in key else value


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
