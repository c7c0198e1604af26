"""What a server says of its own time, checked for sense before anything is made of it.

Its clock is not ours, but a duration is a duration: it cannot have worked on a session for longer
than the session has lasted here, nor before it began.
"""

from __future__ import annotations

import math

from harness.events import ServerTiming

# Two clocks of which one runs 1 % faster than the other; and rounding.
_DRIFT, _ROUNDING_MS = 0.01, 10.0
_MOST_SESSIONS = 100_000  # that may share one step
_LONGEST_NAME = 60

# The harness makes parts of a session's time of its own by these names: not a server's to use.
OWN_NAMES = frozenset({"setup", "delivery", "network", "send_late", "hold", "wait", "unattributed"})


def check_timing(timing: ServerTiming, before_ms: float, since_ms: float) -> None:
    """Check that every duration is finite, in order, and inside the session.

    Args:
        before_ms: of our clock, from the beginning of the session to the request.
        since_ms: of our clock, from the request to the receipt of ``timing``.

    Raises:
        ValueError: it is none of that.
    """
    first_ms = -before_ms * (1 + _DRIFT) - _ROUNDING_MS
    last_ms = since_ms * (1 + _DRIFT) + _ROUNDING_MS
    instants = [("at_ms", timing.at_ms)]
    for span in timing.spans:
        instants += [("start of a span", span.start_ms), ("end of a span", span.end_ms)]
        if span.start_ms > span.end_ms:
            raise ValueError(f"a span from {span.start_ms:g} to {span.end_ms:g} ms")
        if not 1 <= span.shared_by <= _MOST_SESSIONS:
            raise ValueError(f"a span is not shared by 1 to {_MOST_SESSIONS} sessions")
        if len(span.name) > _LONGEST_NAME:
            raise ValueError(f"the name of a span has {len(span.name)} characters")
    for what, instant_ms in instants:
        if not math.isfinite(instant_ms) or not first_ms <= instant_ms <= last_ms:
            raise ValueError(
                f"{what} is {instant_ms:g} ms, outside the session"
                f" ({first_ms:.0f} to {last_ms:.0f} ms)"
            )
