"""The server's log under fire: one line for each kind of trouble in a while, and no traceback."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.clock import NS_PER_S
from harness.keys import KnownKeys
from harness.text import shorten

EVERY_S = 10.0  # between two lines of one kind

_LOGGERS = ("harness.serve", "uvicorn.error", "asyncio")
_MOST_KINDS = 100  # that are remembered
_LONGEST = 300  # characters of a line
_ADDRESS = re.compile(r"<.*>|\d+")  # what differs between lines of one kind


class OneLine(logging.Filter):
    """Warnings and errors become one short line each, of one kind every :data:`EVERY_S` seconds.

    A client can make the server complain as often as it likes: a log that grows with that is full
    before anyone reads it. What a client sent may stand in a line: it is escaped, and keys are
    taken out.
    """

    def __init__(self, now_ns: Callable[[], int], keys: KnownKeys) -> None:
        super().__init__()
        self._now_ns = now_ns
        self._keys = keys
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        error = record.exc_info[1] if record.exc_info else None
        template = _ADDRESS.sub("", str(record.msg).strip().partition("\n")[0])
        kind = self._kind(record.name, f"{template} {type(error).__name__}")
        left_out = kind.left_out(self._now_ns())
        if left_out is None:
            return False
        text = record.getMessage().strip().partition("\n")[0]
        text += f": {explain(error)}" if error is not None else ""
        text = shorten(self._keys.redact(text), _LONGEST)
        record.msg = f"{text} ({left_out} more since the last of these lines)" if left_out else text
        record.args, record.exc_info, record.exc_text, record.stack_info = None, None, None, None
        return True

    def _kind(self, logger: str, what: str) -> _Kind:
        if len(self._kinds) >= _MOST_KINDS and (logger, what) not in self._kinds:
            what = ""  # all others together
        return self._kinds.setdefault((logger, what), _Kind())


class _Kind:
    """When a line of this kind was last written, and how many were not."""

    def __init__(self) -> None:
        self._count = 0
        self._next_ns: int | None = None

    def left_out(self, now_ns: int) -> int | None:
        """How many lines the one that may be written stands for besides; None: not yet."""
        if self._next_ns is not None and now_ns < self._next_ns:
            self._count += 1
            return None
        self._next_ns = now_ns + round(EVERY_S * NS_PER_S)
        count, self._count = self._count, 0
        return count


def explain(error: BaseException) -> str:
    """What an exception says and where it was raised, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}{place}"


@contextmanager
def quiet_log(now_ns: Callable[[], int], keys: KnownKeys) -> Iterator[None]:
    """Log in one line each, meanwhile."""
    one_line = OneLine(now_ns, keys)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(one_line)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(one_line)
