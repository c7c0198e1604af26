"""A protocol: audio as binary PCM16 frames, the key in a header of its own, no greeting.

The server sends JSON, ``{"text": "...", "final": false}``. An empty frame ends the audio.
"""

import json

import numpy as np

import harness


class Pcm(harness.Adapter):
    greets = False  # the server does not speak first
    joins = False  # the final text is not compared with the deltas

    def headers(self, key):
        return {"X-Key": key}

    def audio(self, samples):  # float32 in -1..1, 16 kHz
        return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()

    def end(self):
        return [b""]

    def parse(self, message):
        event = json.loads(message)
        kind = harness.EventKind.DONE if event["final"] else harness.EventKind.TEXT
        return harness.ServerEvent(kind, event["text"])
