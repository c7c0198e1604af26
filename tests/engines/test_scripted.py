"""What the scripted engine refuses; its instants are tested with the replay."""

from __future__ import annotations

import pytest

from harness.clock import VirtualWorld
from harness.engines.scripted import ScriptedEngine
from harness.engines.scripted import ScriptedOptions as ScriptedConfig
from harness.errors import ConfigError
from harness.events import SessionKind


def test_a_turn_cannot_be_answered_before_it_ends() -> None:
    config = ScriptedConfig(first_ms=-1)
    message = r"engine.first_ms: -1\n  allowed: 0 or more\n  next: .*session=live"
    with pytest.raises(ConfigError, match=message) as caught:
        ScriptedEngine(config, VirtualWorld(), SessionKind.TURN)
    assert caught.value.exit_code == 2
    ScriptedEngine(config, VirtualWorld(), SessionKind.LIVE).close()
    ScriptedEngine(ScriptedConfig(first_ms=0), VirtualWorld(), SessionKind.TURN).close()
