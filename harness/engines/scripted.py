"""An engine that answers with stated delays: the truth that measurements are compared with."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from harness.audio import RATE_HZ
from harness.clock import NS_PER_MS, NS_PER_S, Timeline, World
from harness.engines import EngineInfo, Listener, Reference, Samples
from harness.engines.setting import Setting
from harness.errors import ConfigError
from harness.events import SessionKind
from harness.languages.units import join_words, words_of
from harness.validation import require_number


@dataclass
class ScriptedOptions:
    """Says the reference text with stated delays: the truth to compare measurements with."""

    first_ms: float = 50.0  # turn: end of audio to first token; live: end of a word to its token
    token_ms: float = 20.0  # turn: from each token to the next
    jitter_ms: float = 0.0  # each delay is stretched by up to this much, from the seed
    script: str | None = None  # a JSON file of updates (see :class:`Step`), in place of the delays

    def __post_init__(self) -> None:
        require_number("engine.first_ms", self.first_ms, -math.inf)
        require_number("engine.token_ms", self.token_ms, 0)
        require_number("engine.jitter_ms", self.jitter_ms, 0)

    def load(self, setting: Setting) -> ScriptedEngine:
        setting.require_no_model("scripted")
        return ScriptedEngine(self, setting.world, setting.kind, setting.seed)


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a script: what the engine says at one instant of every session.

    Either ``text``, appended or (with ``segment``) in place of the segment's text, or an event.
    """

    at_s: float  # of the audio, from its beginning
    text: str | None = None
    segment: int | None = None
    final: bool = False  # of the segment: it never changes again
    event: Literal["turn_ended", "speech_started"] | None = None


def read_script(path: Path) -> tuple[Step, ...]:
    """The steps of a script, in order of time.

    Raises:
        ConfigError: it cannot be read, or is not a list of steps.
    """
    try:
        steps = msgspec.json.decode(path.read_bytes(), type=list[Step])
    except OSError as error:
        raise ConfigError(f"engine.script cannot be read: {error}", value=str(path)) from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ConfigError(
            f"engine.script is not a list of steps: {error}", value=str(path),
            allowed='[{"at_s": 1.5, "segment": 0, "text": "It was", "final": false}, '
            '{"at_s": 3.1, "event": "turn_ended"}]',
        ) from error  # fmt: skip
    for number, step in enumerate(steps, start=1):
        if (step.text is None) == (step.event is None):
            raise ConfigError(f"engine.script: step {number} needs a text or an event, not both")
    return tuple(sorted(steps, key=lambda step: step.at_s))


class ScriptedEngine:
    """Says the reference, a token a word, at instants that the config states.

    * turn: token ``i`` comes ``first_ms + i * token_ms`` after ``finish``.
    * live: the token of a word comes ``first_ms`` after the end of that word, as counted from the
      first ``feed``; ``first_ms`` may be negative: a word before it was spoken.
    * with a script: every step at its second of the audio, whatever the kind of session.

    Raises:
        ConfigError: a turn session with a negative ``first_ms``; a live session on a clip without
            word timings (on ``open``).
    """

    def __init__(
        self, config: ScriptedOptions, world: World, kind: SessionKind, seed: int = 0
    ) -> None:
        if kind is SessionKind.TURN and config.first_ms < 0:
            raise ConfigError(
                "config field engine.first_ms",
                value=config.first_ms,
                allowed="0 or more",
                hint="below 0, a word before it was spoken, needs session=live",
            )
        self.info = EngineInfo(model="scripted", kinds=(SessionKind.TURN, SessionKind.LIVE))
        self._config = config
        self._world = world
        self._kind = kind
        self._seed = seed
        self._sessions = itertools.count()
        self._script = () if config.script is None else read_script(Path(config.script))
        self._worker = world.timeline("scripted-engine")
        self._worker.start()

    def open(self, listener: Listener, reference: Reference | None = None) -> _ScriptedStream:
        reference = reference or Reference(text="one two three")
        if self._kind is SessionKind.LIVE and not reference.words and not self._script:
            raise ConfigError(
                "engine=scripted with session=live needs word timings, and this clip has none",
                value=reference.text[:60],
                hint="add them to the manifest: python -m harness align MANIFEST",
            )
        listener.ready()
        jitter = random.Random(f"{self._seed}/{next(self._sessions)}")  # noqa: S311 not a secret
        return _ScriptedStream(
            self._config, self._script, self._worker, self._world, listener, reference, jitter,
            live=self._kind is SessionKind.LIVE,
        )  # fmt: skip

    def close(self) -> None:
        self._worker.stop()


class _ScriptedStream:
    def __init__(
        self,
        config: ScriptedOptions,
        script: tuple[Step, ...],
        worker: Timeline,
        world: World,
        listener: Listener,
        reference: Reference,
        jitter: random.Random,
        *,
        live: bool,
    ) -> None:
        self._config = config
        self._script = script
        self._world = world
        self._worker = worker
        self._live = live
        self._listener = listener
        self._reference = reference
        self._jitter = jitter
        self._last_due_ns: int | None = None
        self._closed = False

    def feed(self, samples: Samples) -> None:
        if self._script and self._last_due_ns is None:
            audio_zero_ns = self._world.now_ns() - len(samples) * NS_PER_S // RATE_HZ
            for step in self._script:
                self._last_due_ns = audio_zero_ns + round(step.at_s * NS_PER_S)
                self._worker.call_at(self._last_due_ns, lambda step=step: self._play(step))  # type: ignore[misc]
        elif self._live and self._last_due_ns is None:
            audio_zero_ns = self._world.now_ns() - len(samples) * NS_PER_S // RATE_HZ
            self._schedule(
                [
                    audio_zero_ns + round(word.end_s * NS_PER_S) + self._delay_ns()
                    for word in self._reference.words
                ],
                [word.text for word in self._reference.words],
            )

    def finish(self) -> None:
        now_ns = self._world.now_ns()
        if not self._live and not self._script:
            words = [word.text for word in words_of(self._reference.text)]
            step_ns = self._config.token_ms * NS_PER_MS
            self._schedule(
                [now_ns + round(i * step_ns) + self._delay_ns() for i in range(len(words))], words
            )
        self._worker.call_at(max(now_ns, self._last_due_ns or 0), self._end)

    def close(self) -> None:
        self._closed = True

    def _delay_ns(self) -> int:
        jitter_ms = self._jitter.uniform(0, self._config.jitter_ms)
        return round((self._config.first_ms + jitter_ms) * NS_PER_MS)

    def _schedule(self, due_ns: list[int], words: list[str]) -> None:
        """Tell the words at their instants, never one before its predecessor."""
        self._last_due_ns = 0
        for due, text in zip(due_ns, join_words(words), strict=True):
            self._last_due_ns = max(self._last_due_ns, due)
            self._worker.call_at(self._last_due_ns, lambda text=text: self._tell(text))  # type: ignore[misc]

    def _tell(self, text: str) -> None:
        if not self._closed:
            self._listener.token(text)

    def _play(self, step: Step) -> None:
        if self._closed:
            return
        if step.event == "turn_ended":
            self._listener.turn_ended()
        elif step.event == "speech_started":
            self._listener.speech_started()
        elif step.segment is None:
            self._listener.token(step.text or "")
        else:
            self._listener.hypothesis(step.segment, step.text or "", step.final)

    def _end(self) -> None:
        if not self._closed:
            self._listener.ended()
