"""What a condition is: its options and its code in one dataclass.

A new condition is one file::

    @dataclass
    class Quiet(Condition):
        by_db: float = 20.0

        def heard(self, samples, speech, clip):
            return samples * np.float32(10 ** (-self.by_db / 20))

and one entry point in the group ``harness.conditions`` (or :func:`harness.condition` from Python).
Its fields are config fields (``conditions.by_db=30``).
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import ClassVar

from harness.audio import Samples, SpeechBounds
from harness.conditions.network import Network


@dataclass
class Condition:
    """Options of one condition; subclasses are dataclasses that change the sound or its way."""

    registered_as: ClassVar[str] = ""  # its name in the registry; empty: the class's, in small
    paced: ClassVar[bool] = False  # only means something while audio comes as it was spoken

    def heard(self, samples: Samples, speech: SpeechBounds, clip: str) -> Samples:
        """What arrives of a clip's sound, as long as it was; called once a clip, before timing.

        Args:
            samples: [n], 16 kHz; not to be written to.
            speech: where it begins and ends; both 0: nobody speaks.
            clip: the clip's id, for what is drawn by chance.
        """
        return samples

    def network(self, clip: str, repeat: int, frame_ms: float) -> Network | None:
        """When the frames of one session arrive; None: when they were spoken.

        Equal options and arguments, equal schedule.
        """
        return None

    @property
    def name(self) -> str:
        """How results call it; equal options, equal name."""
        changed = [
            f"{f.name}={_plain(getattr(self, f.name))}"
            for f in fields(self)
            if f.default is MISSING or getattr(self, f.name) != f.default
        ]
        return "_".join([self.registered_as or type(self).__name__.lower(), *changed])


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
