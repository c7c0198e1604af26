"""Live sessions for engines that transcribe whole utterances: windows decoded again and again.

``engine`` makes a streaming engine of one that transcribes windows; ``policies`` say how much of a
window's text is committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.engines.sessions import TurnSession
from harness.engines.setting import Engine, Setting
from harness.errors import ConfigError

if TYPE_CHECKING:  # it imports torch, which options do without
    from harness.engines.windows.engine import WindowEngine


def streaming(engine: WindowEngine, setting: Setting) -> Engine:
    """A live engine that decodes windows with ``engine`` as ``setting.session`` says."""
    from harness.engines.windows.engine import LiveEngine

    assert not isinstance(setting.session, TurnSession)  # noqa: S101 asked of live sessions only
    return LiveEngine(engine, setting.session)


def require_tokens_of_a_window(max_new_tokens: int, language: str | None) -> None:
    """What a window has committed counts; once it is full, the rest of it would not be heard.

    Raises:
        ConfigError: a window may hold more tokens than ``max_new_tokens``.
    """
    from harness.engines.windows.engine import LONGEST_S, most_tokens

    least = most_tokens(LONGEST_S, language)
    if max_new_tokens < least:
        raise ConfigError(
            f"model.max_new_tokens in session=live: {LONGEST_S:g} s of open audio may say more",
            value=max_new_tokens,
            allowed=f"{least} or more",
            hint="leave model.max_new_tokens out",
        )
