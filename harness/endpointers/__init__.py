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
    at_client: ClassVar[bool] = True  # it is made here, and hears what is sent
    registered_as: ClassVar[str] = ""  # its name in the registry; empty: the class's, in small

    def make(self) -> Endpointer:
        """A fresh one for a session; may take its time: nobody waits for it.

        Raises:
            UsageError: a package that it needs is not installed.
        """
        raise NotImplementedError

    @property
    def name(self) -> str:
        """How results call it."""
        return self.registered_as or type(self).__name__.removesuffix("Endpointer").lower()


@dataclass
class NoEndpointer(EndpointerOptions):
    """The client ends the audio with the clip: nobody has to find out when a turn is over."""

    keeps_open: ClassVar[bool] = False
    at_client: ClassVar[bool] = False
    registered_as: ClassVar[str] = "none"


@dataclass
class EngineEndpointer(EndpointerOptions):
    """The engine, or the server, says when a turn is over."""

    at_client: ClassVar[bool] = False


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
