"""Live sessions over an engine that transcribes whole utterances.

Every ``step_ms`` of audio the open window is decoded again, with the text that was committed in it
forced as prefix; a policy says which further tokens are committed, and those are handed over at
once. The rules (``docs/decisions/0007-live-windows.md``):

* Pass *i* decodes the audio up to ``i * step_ms``, whenever its turn comes. An engine that is too
  slow falls behind, and its lag shows; audio is never skipped, and the text does not depend on
  how fast the machine is.
* A window longer than ``trim_s`` is cut where its last finished sentence ends. One that the next
  step would make too long for the engine is cut after its last committed word; where there is
  none, or too little is cut, all of it is committed as it is heard then.
* A window without speech (``audio.speech_bounds``) is not decoded: Whisper invents text for it.
  Beyond ``trim_s`` its last second is kept, for a word that has just begun.
* A window without a prefix begins with a word, whatever the model's first token is: Whisper's
  has white space before it, Voxtral's has none.
* A pass ends after more tokens than speech can have, ``most_tokens``: a loop.
* ``session.interim``: what a pass has heard and not committed is shown after it, and may be taken
  back; what is committed is the same.
* At the end of the audio one more pass decodes what is open, and all of it is committed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec
import numpy as np

from harness.audio import RATE_HZ, speech_bounds
from harness.clock import Timeline, World
from harness.engines import EngineInfo, Listener, Reference, Samples, Stream
from harness.engines.sessions import AlignAttSession, LiveSession
from harness.engines.torch.decoding import TokenText
from harness.engines.torch.worker import DeviceEvent, Laps, LocalStream
from harness.engines.windows.policies import Policy, WindowToken, is_punctuation, starts_word
from harness.engines.windows.policies.align_att import AlignAtt
from harness.engines.windows.policies.local_agreement import LocalAgreement
from harness.events import SessionKind

# Fast English is 5 words a second, of 1.3 tokens each; the rest is for short windows.
MOST_TOKENS_PER_S, MORE_TOKENS = 8, 8
# Other scripts take several tokens a word, some of them two or three a letter: as many as a window
# of Whisper's 448 positions holds.
MOST_TOKENS_PER_S_ELSEWHERE = 14
LONGEST_S = 30.0  # what Whisper hears at once, and Voxtral in one block
_FRAME = RATE_HZ // 50  # 20 ms: where a cut is looked for
_SENTENCE_ENDS = tuple(sign.encode() for sign in ".?!…。！？।॥؟۔።។။")  # noqa: RUF001 meant


def most_tokens(window_s: float, language: str | None) -> int:
    """How many speech of this length can have; None: of whatever language."""
    rate = MOST_TOKENS_PER_S if language == "en" else MOST_TOKENS_PER_S_ELSEWHERE
    return round(window_s * rate) + MORE_TOKENS


class WindowEngine(Protocol):
    """What a live session needs of an engine of the turn kind; all on its worker timeline."""

    info: EngineInfo
    world: World
    worker: Timeline
    new_event: Callable[[], DeviceEvent] | None

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """Of every id; ``b""`` for a special token."""

    def transcribe_window(
        self, samples: Samples, prefix: Sequence[int], laps: Laps, limit: int
    ) -> Iterator[WindowToken]:
        """The tokens that follow ``prefix``, each as soon as it is on the host, at most ``limit``.

        The pass may be given up at any token.
        """

    def add(self, stream: LiveStream) -> LiveStream:
        """Begin a session."""

    def close(self) -> None:
        """Give open sessions up and end the worker."""


# glibc's mallopt: its numbers for trimming, for growing and for what it maps one by one, and ours.
_MALLOC = ((-1, 256 << 20), (-2, 64 << 20), (-3, 8 << 20))


def _keep_heap_whole() -> None:
    """Keep glibc's heap from growing by holes: every pass has other sizes (a longer prefix).

    Otherwise it raises the size from which a block is mapped for itself up to 32 MiB, and large
    blocks among small ones leave holes that do not fit: +18 MiB a minute were measured
    (docs/measurements.md). Elsewhere (macOS, musl) there is no such call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for option, value in _MALLOC:
        mallopt(option, value)


class LiveEngine:
    """``engine``, serving live sessions."""

    def __init__(self, engine: WindowEngine, config: LiveSession | AlignAttSession) -> None:
        _keep_heap_whole()
        self._engine = engine
        self._config = config
        policy = "align_att" if isinstance(config, AlignAttSession) else "local_agreement"
        self.info = msgspec.structs.replace(
            engine.info,
            kinds=(SessionKind.LIVE,),
            cadence_ms=config.step_ms,
            details=engine.info.details | {"policy": policy},
        )

    def open(self, listener: Listener, reference: Reference | None = None) -> Stream:
        return self._engine.add(LiveStream(self._engine, self._config, listener))

    def close(self) -> None:
        self._engine.close()


def _make_policy(config: LiveSession | AlignAttSession) -> Policy:
    return AlignAtt(config.guard_ms) if isinstance(config, AlignAttSession) else LocalAgreement()


class LiveStream(LocalStream):
    """One session: the open window, what is committed in it, and the policy."""

    def __init__(
        self,
        engine: WindowEngine,
        config: LiveSession | AlignAttSession,
        listener: Listener,
    ) -> None:
        super().__init__(engine.worker, listener)
        self._engine = engine
        self._config = config
        self._text = TokenText(engine.token_bytes)
        self._step_samples = round(config.step_ms * RATE_HZ / 1000)
        # The driver's side.
        self._arrived: list[Samples] = []  # since the last step
        self._arrived_samples = 0
        # The worker's side.
        self._window = np.zeros(0, np.float32)
        self._committed: list[WindowToken] = []  # of the open window: the forced prefix
        self._begun = False  # text was said
        self._policy = _make_policy(config)
        self._open: list[WindowToken] = []  # interim: heard in the last pass, not committed
        self._shown_open = ""

    # --- the driver's side ---

    def feed(self, samples: Samples) -> None:
        """A pass is given exactly the audio up to its step, whatever the frames."""
        while self._arrived_samples + len(samples) >= self._step_samples:
            head = self._step_samples - self._arrived_samples
            self._post_pass(samples[:head], self._step)
            samples = samples[head:]
        self._arrived.append(samples)
        self._arrived_samples += len(samples)

    def finish(self) -> None:
        self._post_pass(np.zeros(0, np.float32), self._last_step)

    def _post_pass(self, samples: Samples, step: Callable[[int], None]) -> None:
        arrived_ns = self._engine.world.now_ns()
        new = [*self._arrived, samples]
        self._arrived, self._arrived_samples = [], 0

        def run() -> None:
            self._window = np.concatenate((self._window, *new))
            step(arrived_ns)

        self.post(run)

    # --- the worker's side ---

    def _step(self, arrived_ns: int) -> None:
        if self._is_silent():
            if self._window_s > self._config.trim_s:
                self._window, self._committed = self._window[-RATE_HZ:], []
            return
        laps = self._laps(arrived_ns)
        tokens: list[WindowToken] = []
        said = 0
        self._policy.begin(self._window_s)
        for token in self._transcribe(laps):
            tokens.append(token)
            said = self._say(tokens, said, self._policy.push(tokens))
            if self.closed:
                return
            if not self._policy.wants_more():
                break
        said = self._say(tokens, said, self._policy.end(tokens))
        self._open = tokens[said:]
        self._show_open(self._engine.world.now_ns())
        laps.resolve()
        self._trim()

    def _last_step(self, arrived_ns: int) -> None:
        if not self._is_silent():
            self._say_all(arrived_ns)
        if rest := self._text.flush():
            self.token(rest)
        self._open = []
        self._show_open(self._engine.world.now_ns())
        self.ended()

    def _say_all(self, arrived_ns: int) -> None:
        """One pass over the window, all of it committed."""
        laps = self._laps(arrived_ns)
        for token in self._transcribe(laps):
            self._say([token], 0, 1)
            if self.closed:
                return
        laps.resolve()

    @property
    def _window_s(self) -> float:
        return len(self._window) / RATE_HZ

    def _is_silent(self) -> bool:
        return speech_bounds(self._window).end_s == 0

    def _laps(self, arrived_ns: int) -> Laps:
        laps = Laps(self._engine.world, self.span, arrived_ns, self._engine.new_event)
        laps.lap("queue")
        return laps

    def _transcribe(self, laps: Laps) -> Iterator[WindowToken]:
        language = self._engine.info.details.get("language", "en")
        limit = most_tokens(self._window_s, str(language)) - len(self._committed)
        if limit < 1:
            return iter(())
        prefix = [token.id for token in self._committed]
        return self._engine.transcribe_window(self._window, prefix, laps, limit)

    def _say(self, tokens: Sequence[WindowToken], said: int, until: int) -> int:
        """Report the tokens that were committed since; returns the new count."""
        for token in tokens[said:until]:
            glued = self._begun and not self._committed and not starts_word(token)
            self._committed.append(token)
            self._begun = True
            at_ns = self._engine.world.now_ns()
            self.token(" " * glued + self._text.push(token.id), at_ns)
            # What was open begins with it, or was heard otherwise.
            agrees = bool(self._open) and self._open[0].id == token.id
            self._open = self._open[1:] if agrees else []
            self._show_open(at_ns)
        return max(said, until)

    def _show_open(self, at_ns: int) -> None:
        """Show what is not committed yet, in the same instant as what has been committed of it."""
        if not self._config.interim:
            return
        text = b"".join(token.text for token in self._open).decode(errors="ignore")
        if self._open and self._begun and not self._committed and not starts_word(self._open[0]):
            text = " " + text
        if text != self._shown_open:
            self._shown_open = text
            self.hypothesis(0, text, False, at_ns)

    def _trim(self) -> None:
        """Drop audio whose text was reported in full, with its part of the prefix."""
        if self._window_s <= self._config.trim_s:
            return
        full = self._is_full()
        ends = [end for end in range(1, len(self._committed)) if self._may_cut(end, full=full)]
        if ends:
            self._cut(ends[-1])
        if self._is_full():  # there was no cut, or the attention put it too near to the beginning
            self._say_all(self._engine.world.now_ns())
            self._window, self._committed = self._window[:0], []
            self._policy = _make_policy(self._config)

    def _is_full(self) -> bool:
        """Whether the next step would make the window too long."""
        return self._window_s > LONGEST_S - self._step_samples / RATE_HZ

    def _may_cut(self, end: int, *, full: bool) -> bool:
        """Whether the window may be cut between committed tokens ``end - 1`` and ``end``."""
        before, after = self._committed[end - 1], self._committed[end]
        if not starts_word(after) or is_punctuation(after):
            return False
        return full or before.text.strip().endswith(_SENTENCE_ENDS)

    def _cut(self, end: int) -> None:
        """At the quietest 20 ms between the words on both sides."""
        words = [token.attended_s for token in self._committed[:end] if not is_punctuation(token)]
        after_s = self._committed[end].attended_s
        first = round(min(words[-1] if words else 0.0, after_s) * RATE_HZ) // _FRAME
        last = max(first + 1, round(after_s * RATE_HZ) // _FRAME)
        frames = self._window[first * _FRAME : last * _FRAME]
        frames = frames[: len(frames) // _FRAME * _FRAME].reshape(-1, _FRAME)
        quietest = int(np.square(frames).sum(axis=1).argmin()) if len(frames) else 0
        cut = (first + quietest) * _FRAME
        self._window = self._window[cut:]
        self._committed = [
            msgspec.structs.replace(token, attended_s=max(0.0, token.attended_s - cut / RATE_HZ))
            for token in self._committed[end:]
        ]
