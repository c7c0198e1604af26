"""The microphone of one session: a clip, and the room after it until somebody says it is over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.audio import room_noise
from harness.clock import Timeline
from harness.datasets.load import Clip
from harness.endpointers import Endpointer, EndpointerOptions
from harness.engines import Samples


def recording(clip: Clip, endpointer: EndpointerOptions, tail_s: float) -> Samples:
    """What the microphone records: the clip and, while nobody ends the turn, the room after it.

    Args:
        tail_s: for so long after the clip the end of the turn is waited for.
    """
    if not endpointer.keeps_open:
        return clip.samples
    seed = int(clip.pcm_sha256[:8] or "0", 16)  # the same noise under every arm
    return np.concatenate([clip.samples, room_noise(clip.samples, tail_s, seed)])


class Microphone:
    """What is recorded, and a client-side endpointer that hears it on a timeline of its own."""

    def __init__(
        self,
        samples: Samples,
        endpointer: EndpointerOptions,
        *,
        ears: Timeline,
        turn_ended: Callable[[], None],
    ) -> None:
        """
        Args:
            samples: of :func:`recording`, made before anything is timed.
            ears: where the endpointer works; no frame waits for it.
            turn_ended: called there each time it decides.
        """
        self.stays_open = endpointer.keeps_open
        self.samples = samples
        self._options = endpointer
        self._endpointer: Endpointer | None = None
        self._ears = ears
        self._turn_ended = turn_ended
        if endpointer.at_client:
            ears.call_soon(self._listen)

    def heard(self, samples: Samples) -> None:
        """These samples have been sent."""
        if self._options.at_client:
            self._ears.call_soon(lambda: self._hear(samples))

    def _listen(self) -> None:
        self._endpointer = self._options.make()

    def _hear(self, samples: Samples) -> None:
        if self._endpointer is not None and self._endpointer.push(samples):
            self._turn_ended()
