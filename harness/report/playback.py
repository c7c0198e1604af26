"""What the page needs to play a clip's text again, as the client of each arm saw it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.chunking import Tokens, offered, rechunk
from harness.events import Chunk, Trace
from harness.languages.units import is_blank
from harness.metrics.instants import Missing, request_ns
from harness.metrics.latency import ttft_ms
from harness.metrics.shown import takes_back
from harness.report.arms import Arm
from harness.report.text import ms
from harness.text import visible

if TYPE_CHECKING:  # it imports what draws
    from harness.report.timeline import Audio

MOST_CLIPS = 60  # of a larger run, evenly chosen: the page stays small
_MOST_AUDIO_BYTES = 4 * 2**20  # of embedded audio, before base64
_HZ = 16_000


class Track(msgspec.Struct, frozen=True):
    """One strategy's chunks of one clip."""

    name: str
    text: str
    cuts: list[list[int]]  # per chunk: its end in UTF-16 units of the text, ms after audio zero
    ttft: str  # as the tables say it


class PlaybackClip(msgspec.Struct, frozen=True):
    id: str
    duration_ms: int
    request_ms: int  # R, ms after audio zero
    recorded: list[Track]  # one an arm
    what_if: list[Track]  # the first arm's tokens, chunked again
    audio: str | None  # a data: URI


def playback(arms: Sequence[Arm], audio: Audio | None) -> list[PlaybackClip]:
    """The first repeat of every clip that each arm finished with text; at most ``MOST_CLIPS``.

    Args:
        audio: samples to embed, where the reader is to hear the clips.
    """
    keys: dict[str, int] = {}
    for clip, repeat in arms[0].traces:
        if clip not in keys and all(_playable(arm, clip, repeat) for arm in arms):
            keys[clip] = repeat
    clips = sorted(keys)
    if len(clips) > MOST_CLIPS:
        clips = [clips[i] for i in np.linspace(0, len(clips) - 1, MOST_CLIPS).round().astype(int)]
    made, left_bytes = [], _MOST_AUDIO_BYTES
    for clip in clips:
        encoded = _flac(audio[clip]) if audio is not None and clip in audio else None
        if encoded is not None and (left_bytes := left_bytes - len(encoded)) < 0:
            encoded = None
        made.append(_clip(arms, clip, keys[clip], encoded))
    return made


def _playable(arm: Arm, clip: str, repeat: int) -> bool:
    trace = arm.traces.get((clip, repeat))
    return trace is not None and not trace.failed and not is_blank(trace.text)


def _clip(arms: Sequence[Arm], clip: str, repeat: int, encoded: bytes | None) -> PlaybackClip:
    traces = [arm.traces[clip, repeat] for arm in arms]
    first = traces[0]
    names = {arm.summary.arm.get("chunking") for arm in arms}
    what_if = [
        _track(
            f"{config.name}, what if",
            first,
            rechunk(first.updates, first.outcome.at_ns, config),
        )
        for config in offered()
        if config.name not in names
    ]
    return PlaybackClip(
        id=visible(clip),
        duration_ms=round(first.session.duration_s * 1000),
        request_ms=round((request_ns(first) - first.session.t0_ns) / 1e6),
        recorded=[_recorded(arm, trace) for arm, trace in zip(arms, traces, strict=True)],
        what_if=what_if,
        audio=None if encoded is None else _data_uri(encoded),
    )


def _recorded(arm: Arm, trace: Trace) -> Track:
    """What the client saw; of one that is shown text that is taken back, what stayed."""
    if not takes_back(trace):
        return _track(arm.label, trace, trace.chunks)
    committed = rechunk(trace.updates, trace.outcome.at_ns, Tokens())
    return _track(f"{arm.label}, committed text only", trace, committed)


def _track(name: str, trace: Trace, chunks: Sequence[Chunk]) -> Track:
    text, cuts, end = "", [], 0
    for chunk in chunks:
        shown = visible(chunk.text)  # as long as the text itself
        text += shown
        end += len(shown.encode("utf-16-le")) // 2
        if not is_blank(chunk.text):
            cuts.append([end, round((chunk.at_ns - trace.session.t0_ns) / 1e6)])
    ttft = ttft_ms(msgspec.structs.replace(trace, chunks=tuple(chunks)))
    return Track(name, text, cuts, ttft=ms(None if isinstance(ttft, Missing) else ttft))


def _data_uri(flac: bytes) -> str:
    return "data:audio/flac;base64," + base64.b64encode(flac).decode()


def _flac(samples: NDArray[np.float32]) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, _HZ, format="FLAC", subtype="PCM_16")
    return file.getvalue()
