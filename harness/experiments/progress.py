"""Progress callbacks of experiments; the default does nothing."""

from __future__ import annotations


class Progress:
    """How far an experiment is; this one does nothing.

    ``stage`` is called between replays; ``clip_done`` on the thread that stores sessions, while
    others may be replayed: what it does takes time from them.
    """

    def stage(self, text: str) -> None:
        """A new step has begun."""

    def clip_done(self, done: int, total: int, seconds_left: float) -> None:
        """A session has been kept."""

    def note(self, text: str) -> None:
        """Something that a person should know, and that stops nothing."""
