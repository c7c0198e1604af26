"""One live session of Voxtral Realtime: its audio, its place, its tokens."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

from harness.clock import Timeline, World
from harness.engines import Listener, Samples
from harness.engines.torch.decoding import TokenText
from harness.engines.torch.worker import LocalStream
from harness.engines.voxtral.realtime_model import (
    OWN,
    STEP_SAMPLES,
    WINDOW,
    first_output_step,
    last_step,
    samples_needed,
)
from harness.engines.voxtral.tokenizer import STREAMING_PAD


class Stepper(Protocol):
    """The engine, as its sessions see it."""

    def begin(self, row: int) -> None:
        """Start a session in this row of the model; on the worker."""

    def wake(self) -> None:
        """Something is due; from any thread."""


class RealtimeStream(LocalStream):
    """One session: the audio that waits for its step, and the tokens that came of it."""

    def __init__(
        self,
        engine: Stepper,
        worker: Timeline,
        world: World,
        listener: Listener,
        *,
        row: int,
        delay_tokens: int,
        text: TokenText,
        script: deque[tuple[int, int]] | None,
    ) -> None:
        super().__init__(worker, listener)
        self.row = row
        self.step = 0  # the next one
        self._engine = engine
        self._world = world
        self._delay_tokens = delay_tokens
        self._text = text
        self._script = script
        self._audio = _Audio()
        self._fed_samples = 0
        self._last_step: int | None = None  # None: more audio may come
        self._given = STREAMING_PAD  # what the decoder goes on with
        self._free_ns = 0  # when its last step was over
        self._begun = False
        self.post(self._begin)

    def _begin(self) -> None:
        self._engine.begin(self.row)
        self._begun = True
        if self.due:
            self._engine.wake()

    # --- the driver's side ---

    def feed(self, samples: Samples) -> None:
        self._audio.add(samples, self._world.now_ns())
        self._fed_samples += len(samples)
        if self.due:
            self._engine.wake()

    def finish(self) -> None:
        self._audio.finish(self._world.now_ns())
        self._last_step = last_step(self._fed_samples, self._delay_tokens)
        self._engine.wake()

    # --- the worker's side ---

    @property
    def due(self) -> bool:
        """Whether the audio of the next step is there; after the end it is silence, and is."""
        there = self._last_step is not None or samples_needed(self.step) <= self._fed_samples
        return there and self._begun and not self.closed

    def next_input(self, start_ns: int) -> tuple[Samples, int]:
        """The audio of the next step, and the token that the decoder goes on with."""
        audio, arrived_ns = self._audio.window(samples_needed(self.step))
        self.span("queue", max(arrived_ns, self._free_ns), start_ns)
        return audio, self._given

    def take(self, token: int) -> None:
        """The step has run, and chose ``token``."""
        if self.step >= first_output_step(self._delay_tokens):
            if self._script is None:
                self._given = OWN
            else:
                self._given = token = self._next_forced(self._script)
            self.token(self._text.push(token))
        self.step += 1
        self._free_ns = self._world.now_ns()

    def _next_forced(self, script: deque[tuple[int, int]]) -> int:
        """A word is written ``delay`` after it was spoken, one token a step."""
        heard_samples = STEP_SAMPLES * (self.step - self._delay_tokens)
        return script.popleft()[1] if script and script[0][0] <= heard_samples else STREAMING_PAD

    def end_if_done(self) -> None:
        if self._last_step is None or self.step <= self._last_step or self._script:
            return
        if rest := self._text.flush():
            self.token(rest)
        self.ended()


class _Audio:
    """What has been fed and is still needed; sample 0 is the first, silence is before and after."""

    def __init__(self) -> None:
        self._arrived: deque[tuple[Samples, int]] = deque()  # the driver appends, the worker takes
        self._kept = np.zeros(WINDOW, np.float32)
        self._begin = -WINDOW  # the sample that `_kept` begins with
        self._at_ns = 0  # when the last sample of `_kept` arrived

    def add(self, samples: Samples, at_ns: int) -> None:
        self._arrived.append((samples, at_ns))

    def finish(self, at_ns: int) -> None:
        self._arrived.append((np.zeros(0, np.float32), at_ns))

    def window(self, end: int) -> tuple[Samples, int]:
        """The 2000 samples up to ``end``, and when the last of them arrived."""
        self._kept = self._kept[end - WINDOW - self._begin :]
        self._begin = end - WINDOW
        while self._arrived and len(self._kept) < WINDOW:
            samples, self._at_ns = self._arrived.popleft()
            self._kept = np.concatenate((self._kept, samples))
        if len(self._kept) < WINDOW:
            self._kept = np.pad(self._kept, (0, WINDOW - len(self._kept)))
        return self._kept[:WINDOW], self._at_ns
