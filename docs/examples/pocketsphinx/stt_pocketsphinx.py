"""pocketsphinx (CPU, English) as an engine of the harness, for turn and live sessions.

Without installing anything, in this folder::

    python -m harness run engine=python engine.factory=stt_pocketsphinx:make
    python -m harness run engine=python engine.factory=stt_pocketsphinx:make \\
        engine.options.live=true session=live

After ``pip install .`` it has a name: ``python -m harness run engine=pocketsphinx session=live``.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from pocketsphinx import Decoder

import harness

new_decoder = partial(Decoder, samprate=16_000, loglevel="FATAL")


def agreed(before, now):  # the words that both hypotheses begin with
    same = [a == b for a, b in zip(before, now, strict=False)]
    return now[: [*same, False].index(False)]


@dataclass
class PocketsphinxOptions:
    step_ms: int = 200  # live: audio between two hypotheses

    def load(self, setting):
        return PocketsphinxEngine(setting.world, setting.live, self.step_ms)


class PocketsphinxEngine:
    def __init__(self, world, live=False, step_ms=200):
        kind = harness.SessionKind.LIVE if live else harness.SessionKind.TURN
        self.info = harness.EngineInfo(model="pocketsphinx-en-us", kinds=(kind,))
        self.world, self.live, self.step = world, live, step_ms * 16  # samples at 16 kHz
        self.spare = [new_decoder()]  # loaded before anything is timed
        self.cmn = self.spare[0].get_cmn()
        self.worker = world.timeline("pocketsphinx")  # all decoding happens here, in order
        self.worker.start()

    def open(self, listener, reference=None):
        decoder = self.spare.pop() if self.spare else new_decoder()
        decoder.set_cmn(self.cmn)  # else a session's text would depend on the session before
        decoder.start_utt()
        listener.ready()
        return PocketsphinxStream(self, listener, decoder)

    def close(self):
        self.worker.stop()


class PocketsphinxStream:
    def __init__(self, engine, listener, decoder):
        self.engine, self.listener, self.decoder = engine, listener, decoder
        self.words, self.said, self.unread, self.closed = [], 0, 0, False

    def feed(self, samples):  # float32 in -1..1; returns at once
        self.engine.worker.call_soon(lambda: self._decode(samples))

    def finish(self):
        self.engine.worker.call_soon(self._finish)

    def close(self):
        self.closed = True

    def _decode(self, samples):
        if self.closed:
            return
        start_ns = self.engine.world.now_ns()
        self.decoder.process_raw((np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes())
        self.listener.span("decode", start_ns, self.engine.world.now_ns())
        self.unread += len(samples)
        if self.engine.live and self.unread >= self.engine.step:
            words, self.unread = self._hypothesis(), 0
            self._say(agreed(self.words, words))
            self.words = words

    def _finish(self):
        if self.closed:
            return
        self.decoder.end_utt()
        self._say(self._hypothesis())
        self.engine.spare.append(self.decoder)
        self.listener.ended()

    def _hypothesis(self):
        found = self.decoder.hyp()
        return found.hypstr.split() if found else []

    def _say(self, words):  # text is only ever added to
        for word in words[self.said :]:
            self.listener.token(word if self.said == 0 else f" {word}")
            self.said += 1


make = PocketsphinxEngine  # what engine=python calls: make(world, **options)
