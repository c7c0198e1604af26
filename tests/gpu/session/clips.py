"""One clip of noise with a reference, and speaking it to an engine."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.audio import RATE_HZ
from harness.chunking import Words, rechunk
from harness.clock import NS_PER_MS, NS_PER_S
from harness.engines import Engine, Reference, Samples
from harness.engines.voxtral.realtime_model import first_output_step, samples_needed
from harness.events import Token, Word
from tests.engines.listening import Heard
from tests.gpu.session.results import WORLD, ArmError

STEP_MS = 80  # of Voxtral Realtime
TEXT = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the "
    "age of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the "
    "season of Light, it was the season of Darkness"
)

_DELAY_TOKENS = 6  # 480 ms, as the engine's default
_FRAME = RATE_HZ // 50  # 20 ms
_NS_PER_SAMPLE = NS_PER_S // RATE_HZ


@dataclass(frozen=True, slots=True)
class Clip:
    samples: Samples  # [n], 16 kHz, -1..1; exact in 16 bits
    reference: Reference  # TEXT, its words spread over the clip; for model.decode=forced


class Spoken(Heard):
    """A session's listener, which also knows when the session has ended."""

    ended_ns = 0

    def ended(self) -> None:
        self.ended_ns = WORLD.now_ns()
        super().ended()

    def wait(self) -> None:
        """Raises: ArmError: the engine gave the session up."""
        self.is_over.wait()
        if self.error is not None:
            raise ArmError(self.error)

    def gaps_ms(self) -> list[float]:
        return gaps_ms(self.token_ns)

    def first_chunk_ms(self, words: int, from_ns: int) -> float:
        """To the first chunk with text, with so many words in a chunk."""
        tokens = [
            Token(text=text, at_ns=at_ns)
            for text, at_ns in zip(self.tokens, self.token_ns, strict=True)
        ]
        chunks = rechunk(tokens, self.ended_ns, Words(words))
        first = next(chunk for chunk in chunks if chunk.text.strip())
        return (first.at_ns - from_ns) / NS_PER_MS


def gaps_ms(stamps_ns: list[int]) -> list[float]:
    return [(later - earlier) / NS_PER_MS for earlier, later in pairwise(stamps_ns)]


def make_clip(seconds: float) -> Clip:
    """The same noise on every call."""
    noise = np.random.default_rng(0).normal(size=round(seconds * RATE_HZ)) * 3000
    words = TEXT.split()
    each_s = (seconds - 0.5) / len(words)
    timed = tuple(
        Word(text=word, start_s=index * each_s, end_s=(index + 1) * each_s)
        for index, word in enumerate(words)
    )
    samples = np.round(noise).clip(-32767, 32767) / 32768
    return Clip(samples.astype(np.float32), Reference(text=TEXT, words=timed))


def speak_turn(engine: Engine, clip: Clip) -> tuple[Spoken, int]:
    """The whole clip at once. Returns the session, and when the audio ended (ns)."""
    spoken = Spoken()
    stream = engine.open(spoken, clip.reference)
    stream.feed(clip.samples)
    finished_ns = WORLD.now_ns()
    stream.finish()
    spoken.wait()
    return spoken, finished_ns


def flood(engine: Engine, clip: Clip) -> Spoken:
    """The whole clip at once into a live engine: its steps follow each other without a wait."""
    return speak_turn(engine, clip)[0]


def speak_live(engine: Engine, clip: Clip, streams: int) -> tuple[list[Spoken], list[int]]:
    """Sessions at the pace of speech, in frames of 20 ms; their beginnings spread over a step.

    Returns the sessions, and the instant at which each one's audio began (ns).
    """
    sessions = [Spoken() for _ in range(streams)]
    opened = [engine.open(session, clip.reference) for session in sessions]
    driver = WORLD.timeline("driver")
    t0_ns = WORLD.now_ns() + 50 * NS_PER_MS
    begins_ns = [t0_ns + index * STEP_MS * NS_PER_MS // streams for index in range(streams)]
    for stream, begin_ns in zip(opened, begins_ns, strict=True):
        for start in range(0, len(clip.samples), _FRAME):
            piece = clip.samples[start : start + _FRAME]
            due_ns = begin_ns + (start + len(piece)) * _NS_PER_SAMPLE
            driver.call_at(due_ns, lambda s=stream, p=piece: s.feed(p))  # type: ignore[misc]
        driver.call_at(begin_ns + len(clip.samples) * _NS_PER_SAMPLE, stream.finish)
    driver.start()
    try:
        for session in sessions:
            session.wait()
    finally:
        driver.stop()
    return sessions, begins_ns


def lateness_ms(session: Spoken, clip: Clip, begin_ns: int) -> list[float]:
    """Of each token: from the end of the last frame that its step needs, to the host."""
    late = []
    for index, token_ns in enumerate(session.token_ns):
        needed = samples_needed(first_output_step(_DELAY_TOKENS) + index)
        frame_end = -(-needed // _FRAME) * _FRAME
        if frame_end <= len(clip.samples):
            late.append((token_ns - begin_ns - frame_end * _NS_PER_SAMPLE) / NS_PER_MS)
    return late


def lateness_of_streams_ms(engine: Engine, clip: Clip, streams: int) -> list[float]:
    """``lateness_ms`` of so many concurrent sessions, pooled."""
    sessions, begins_ns = speak_live(engine, clip, streams)
    return [
        late
        for session, begin_ns in zip(sessions, begins_ns, strict=True)
        for late in lateness_ms(session, clip, begin_ns)
    ]
