"""Output that nobody can read costs no verdict.

What was measured is kept before it is shown. Where standard output or standard error is closed,
full, or has lost its reader (``| head``), the rest of the text is dropped, and the verb goes on to
its exit code.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class _Shown(io.TextIOBase):
    """A text stream; what cannot be written to it is dropped."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.lost: OSError | None = None  # why something was dropped

    def write(self, text: str) -> int:
        try:
            if not self._stream.closed:
                self._stream.write(text)
        except OSError as error:
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        try:
            if not self._stream.closed:
                self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        self.lost = self.lost or error
        # What its buffer still holds must not fail when the interpreter ends: exit code 120.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        with suppress(ValueError):
            return bool(self._stream.isatty())
        return False

    def fileno(self) -> int:
        return int(self._stream.fileno())

    @property
    def encoding(self) -> Any:  # type: ignore[override]  # not every stream has one
        return getattr(self._stream, "encoding", None)

    @property
    def buffer(self) -> Any:
        return self._stream.buffer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def kept_going() -> Iterator[None]:
    """In the block, writing to standard output and standard error raises no OSError."""
    before = sys.stdout, sys.stderr
    out, err = (_Shown(_stream(fd, one)) for fd, one in ((1, before[0]), (2, before[1])))
    sys.stdout, sys.stderr = out, err
    try:
        yield
    finally:
        out.flush()
        if out.lost is not None and out.lost.errno not in (errno.EPIPE, errno.EBADF):
            err.write(f"note: standard output could not be written: {out.lost.strerror}\n")
        err.flush()
        sys.stdout, sys.stderr = before


def _stream(fd: int, stream: Any) -> Any:
    """What is written to; where it was closed from the start, a file that keeps nothing.

    That file takes the descriptor's place: else the next file that is opened would, and what a
    library prints would go into it.
    """
    if stream is None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        if nowhere != fd:
            os.dup2(nowhere, fd)
            os.close(nowhere)
        return os.fdopen(fd, "w", encoding="utf-8", closefd=False)
    if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show costs no verdict
        stream.reconfigure(errors="replace")
    return stream
