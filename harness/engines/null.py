"""An engine that answers at once: what is measured is the harness itself."""

from __future__ import annotations

from dataclasses import dataclass

from harness.audio import RATE_HZ
from harness.clock import Timeline, World
from harness.engines import EngineInfo, Listener, Reference, Samples
from harness.engines.setting import Setting
from harness.events import SessionKind
from harness.languages.units import join_words, words_of


@dataclass
class NullOptions:
    """Answers at once: what is measured is the harness."""

    def load(self, setting: Setting) -> NullEngine:
        setting.require_no_model("null")
        return NullEngine(setting.world, setting.kind)


class NullEngine:
    """Says the reference, or counts, with no work between the question and the answer.

    The answer comes from a worker timeline, as with every local engine, so that what is measured
    includes the hand-over between threads.

    * turn: at ``finish`` every word of the reference (``"null"`` without one), each a token.
    * live: each word once the audio in which it is spoken has been fed; without word timings one
      numbered token for every ``feed``.
    """

    def __init__(self, world: World, kind: SessionKind = SessionKind.TURN) -> None:
        self.info = EngineInfo(model="null", kinds=(SessionKind.TURN, SessionKind.LIVE))
        self._kind = kind
        self._worker = world.timeline("null-engine")
        self._worker.start()

    def open(self, listener: Listener, reference: Reference | None = None) -> _NullStream:
        listener.ready()
        return _NullStream(self._worker, listener, reference or Reference(text="null"), self._kind)

    def close(self) -> None:
        self._worker.stop()


class _NullStream:
    def __init__(
        self, worker: Timeline, listener: Listener, reference: Reference, kind: SessionKind
    ) -> None:
        self._worker = worker
        self._listener = listener
        self._live = kind is SessionKind.LIVE
        self._reference = reference
        self._fed_samples = 0
        self._feeds = 0
        self._said = 0
        self._last = ""  # what was said last
        self._closed = False

    def feed(self, samples: Samples) -> None:
        self._fed_samples += len(samples)
        self._feeds += 1
        if not self._live:
            return
        if not self._reference.words:
            self._say([str(self._feeds)])
            return
        spoken = [w for w in self._reference.words if w.end_s * RATE_HZ <= self._fed_samples]
        self._say([word.text for word in spoken[self._said :]])

    def finish(self) -> None:
        if self._live:
            self._say([word.text for word in self._reference.words[self._said :]])
        else:
            self._say([word.text for word in words_of(self._reference.text)])
        self._worker.call_soon(self._end)

    def close(self) -> None:
        self._closed = True

    def _say(self, words: list[str]) -> None:
        for word in words:
            text = join_words([self._last, word])[1] if self._said else word
            self._said += 1
            self._last = word
            self._worker.call_soon(lambda text=text: self._tell(text))  # type: ignore[misc]

    def _tell(self, text: str) -> None:
        if not self._closed:
            self._listener.token(text)

    def _end(self) -> None:
        if not self._closed:
            self._listener.ended()
