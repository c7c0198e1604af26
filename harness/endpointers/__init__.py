"""Endpointers: who decides that the speaker is done, while the microphone stays open.

``none``: the client ends the audio with the clip. ``engine``: the engine, or the server, says it.
``silence`` and ``silero`` run at the client, on the audio that was sent and on a timeline of their
own: no frame waits for them. Their decision is an event. A *turn* engine is asked for the text
then, so that the wait for the decision is a part of what a person waits for.

A variant is a dataclass of options with :meth:`EndpointerOptions.make`, and a name in the registry
or an entry point in the group ``harness.endpointers``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from harness.engines import Samples
from harness.registry import Registry


class Endpointer(Protocol):
    """One session's state of a client-side endpointer; pure: audio in, decisions out."""

    def push(self, samples: Samples) -> bool:
        """Take more audio [n], 16 kHz; returns whether the turn has ended by what was heard.

        It may say so again after more speech: the first time may have been a pause.
        """


@dataclass
class EndpointerOptions:
    """Options of one endpointer."""

    keeps_open: ClassVar[bool] = True  # the microphone stays open after the clip

    def make(self) -> Endpointer | None:
        """A fresh one for a session; None: the client decides nothing itself."""
        return None


@dataclass
class NoEndpointer(EndpointerOptions):
    """The client ends the audio with the clip: nobody has to find out when a turn is over."""

    keeps_open: ClassVar[bool] = False


@dataclass
class EngineEndpointer(EndpointerOptions):
    """The engine, or the server, says when a turn is over."""


ENDPOINTERS: Registry[type[EndpointerOptions]] = Registry(
    "endpointer",
    {
        "none": "harness.endpointers:NoEndpointer",
        "engine": "harness.endpointers:EngineEndpointer",
        "silence": "harness.endpointers.silence:SilenceEndpointer",
        "silero": "harness.endpointers.silero:SileroEndpointer",
    },
    group="harness.endpointers",
)
