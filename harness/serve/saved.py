"""Sessions that the page saved: the events as the browser saw them, one arm for each strategy."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.errors import UsageError
from harness.events import Event, ServedEngine, Trace, build_traces

SCHEMA = 1


class SavedSession(msgspec.Struct, frozen=True):
    """A file of the page's, read."""

    schema: int
    model: str  # of the server
    client: str  # the browser, as it calls itself
    arms: dict[str, list[Event]]  # chunking strategy -> its events; instants are the browser's
    engine: ServedEngine | None = None  # from the server's greeting; None: saved by an older page


def read_saved(path: Path) -> tuple[SavedSession, dict[str, Trace]]:
    """The file, and the one trace of each strategy.

    Raises:
        UsageError: not such a file, of another schema, or without a finished session.
    """
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=SavedSession)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"not a session that the page saved: {error}", value=str(path)) from error
    if saved.schema != SCHEMA:
        raise UsageError(
            f"{path} was saved by another version", value=saved.schema, allowed=str(SCHEMA)
        )
    traces = {}
    for arm, events in saved.arms.items():
        built = build_traces(events)
        if len(built) != 1:
            raise UsageError(f"arm {arm} of {path} is not one finished session", value=len(built))
        traces[arm] = built[0]
    return saved, traces
