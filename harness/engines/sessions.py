"""Options of a session: when the engine may start, and how engines of whole utterances stream."""

from __future__ import annotations

from dataclasses import dataclass

from harness.registry import Registry
from harness.validation import require_number, require_one_of


@dataclass
class TurnSession:
    """The engine starts when the clip is complete."""

    kind: str = "turn"

    def __post_init__(self) -> None:
        require_one_of("session.kind", self.kind, ("turn",))


@dataclass
class LiveSession:
    """The engine answers while audio arrives.

    The fields are for engines that transcribe whole utterances: they transcribe what is open again
    at every step, and say what two successive steps agree on (LocalAgreement-2).
    """

    kind: str = "live"
    step_ms: float = 1000.0  # audio between two decodes
    trim_s: float = 15.0  # open audio above this is cut at the end of a finished sentence
    interim: bool = False  # show what is not agreed yet, too: it may be taken back

    def __post_init__(self) -> None:
        _require_live(self.kind, self.step_ms, self.trim_s)


@dataclass
class AlignAttSession:
    """The engine answers while audio arrives, up to the last audio that its attention needs."""

    kind: str = "live"
    step_ms: float = 1000.0  # audio between two decodes
    trim_s: float = 15.0  # open audio above this is cut at the end of a finished sentence
    guard_ms: float = 500.0  # a token whose attention is nearer to the end of the audio waits
    interim: bool = False  # show what waits, too: it may be taken back

    def __post_init__(self) -> None:
        _require_live(self.kind, self.step_ms, self.trim_s)
        require_number("session.guard_ms", self.guard_ms, 0, 30_000)


def _require_live(kind: str, step_ms: float, trim_s: float) -> None:
    require_one_of("session.kind", kind, ("live",))
    require_number("session.step_ms", step_ms, 20, 5_000)
    require_number("session.trim_s", trim_s, 1, 24)  # a window has 30 s: a step must still fit


SessionOptions = TurnSession | LiveSession | AlignAttSession
SESSIONS: Registry[type[SessionOptions]] = Registry(
    "session",
    {
        "turn": "harness.engines.sessions:TurnSession",
        "live": "harness.engines.sessions:LiveSession",
        "live_align_att": "harness.engines.sessions:AlignAttSession",
    },
)
