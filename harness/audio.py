"""Recorded audio: decoding, resampling to 16 kHz mono, identity, and where speech begins and ends.

Anything that libsndfile reads (wav, flac, mp3, ogg and more), at any rate, with any number of
channels. What cannot be trusted as a recording (truncated, empty, silent, NaN) is a
``DatasetError``.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import msgspec
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from harness.errors import DatasetError

RATE_HZ = 16_000  # what every engine is fed

Samples = NDArray[np.float32]  # [n], 16 kHz, mono, -1..1

# Speech is what lies within _SPEECH_RANGE_DB of the loudest frame and above _SILENCE_DBFS, for at
# least _SPEECH_RUN frames in a row: a click is shorter, a spoken word is not.
_FRAME = RATE_HZ // 100  # 10 ms = 160 samples
_SPEECH_RANGE_DB = 25.0
_SILENCE_DBFS = -60.0
_SPEECH_RUN = 5  # 50 ms

_SILENT_PEAK = 1e-4  # -80 dBFS, 3 steps of 16 bits: below the noise of a room and a microphone

# Writers that cannot seek back leave a placeholder of about 2 or 4 GiB as the length of the data.
_UNKNOWN_WAV_LENGTH = 0x7FFF_0000
_WAV_LENGTH = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)


class Recording(msgspec.Struct, frozen=True, eq=False):
    """Audio as it was recorded."""

    pcm: NDArray[np.float32]  # [n, channels], -1..1
    rate_hz: int

    @property
    def duration_s(self) -> float:
        return len(self.pcm) / self.rate_hz

    def cut(self, start: int, stop: int) -> Recording:
        """Samples ``start`` to ``stop``, which are counted at the recording's own rate."""
        return Recording(self.pcm[start:stop], self.rate_hz)

    def sha256(self) -> str:
        """Identity of the sound: SHA-256 of the PCM as decoded, before mixing and resampling.

        The bytes are little-endian float32, channels interleaved. For wav and flac up to 24 bits
        they do not depend on any library's version; a lossy file's do on its decoder.
        """
        return hashlib.sha256(self.pcm.astype("<f4").tobytes()).hexdigest()

    def samples(self) -> Samples:
        """[n] at 16 kHz: the mean of the channels, resampled with soxr's high quality."""
        mono: Samples = self.pcm.mean(axis=1, dtype=np.float32)
        if self.rate_hz == RATE_HZ:
            return mono
        resampled: Samples = soxr.resample(mono, self.rate_hz, RATE_HZ)
        return resampled


def read_file(path: Path, *, hint: str = "check audio_filepath") -> bytes:
    """The content of a file; a ``DatasetError`` with ``hint`` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read {path} ({error.strerror})", hint=hint) from error


def decode(content: bytes, name: str) -> Recording:
    """The whole of an audio file.

    Args:
        content: of the file.
        name: how errors call it.

    Raises:
        DatasetError: not audio, truncated, without samples, NaN or infinite, not within -1..1.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            _check_wav_length(file.extra_info, name)
            pcm = file.read(dtype="float32", always_2d=True)
            declared, rate_hz = file.frames, file.samplerate
    except soundfile.LibsndfileError as error:
        raise DatasetError(
            f"cannot decode {name} ({error.error_string})",
            allowed="a complete wav, flac, mp3 or ogg file",
            hint="play it in another program; convert it to wav or flac",
        ) from error
    if len(pcm) < declared:
        raise _truncated(name, f"{len(pcm)} of {declared} samples")
    if len(pcm) == 0:
        raise DatasetError("zero-length audio", value=name, hint="record it again or leave it out")
    if not np.isfinite(pcm).all():
        raise DatasetError(
            "NaN or infinite samples", value=name, hint="export it again as 16-bit wav or flac"
        )
    peak = float(np.abs(pcm).max())
    if peak > 2:  # lossy decoders overshoot full scale a little, never twofold
        raise DatasetError(
            f"samples out of scale in {name}: peak",
            value=peak,
            allowed="-1 to 1",
            hint="divide by the integer full scale (32768 for 16 bits) before saving as float",
        )
    return Recording(pcm, rate_hz)


def _check_wav_length(info: str, name: str) -> None:
    """libsndfile reads a wav cut short without complaint, but notes both lengths in its log."""
    match = _WAV_LENGTH.search(info)
    if match and int(match[2]) < int(match[1]) < _UNKNOWN_WAV_LENGTH:
        raise _truncated(name, f"{match[2]} of {match[1]} bytes")


def _truncated(name: str, found: str) -> DatasetError:
    return DatasetError(
        f"truncated audio: {name} holds {found} that its header declares",
        hint="copy or download the file again",
    )


def refuse_silence(samples: Samples, name: str) -> None:
    """A ``DatasetError`` if a clip holds no sound, not even a room's: it measures nothing.

    Args:
        samples: [n], n > 0.
        name: how the error calls the clip.
    """
    peak = float(np.abs(samples).max())
    if peak < _SILENT_PEAK:
        raise DatasetError(
            f"only silence in {name}: peak",
            value=float(f"{peak:.3g}"),
            allowed=f"{_SILENT_PEAK:g} or more",
            hint="check that it was recorded at all; record it again or leave it out",
        )


class SpeechBounds(msgspec.Struct, frozen=True):
    onset_s: float
    end_s: float


def speech_bounds(samples: Samples) -> SpeechBounds:
    """Where speech begins and ends, by energy: for clips that do not say.

    A 10 ms frame is loud when its RMS is within 25 dB of the loudest frame's and above -60 dBFS,
    without the clip's mean: an offset is no sound. Speech lasts from the first to the last run of
    at least 5 loud frames; with none, both are 0.

    Args:
        samples: [n]; n may be 0.
    """
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME).astype(np.float64)
    offset = frames.mean() if len(frames) else 0.0
    rms = np.sqrt(np.mean((frames - offset) ** 2, axis=1))
    level_db = 20 * np.log10(np.maximum(rms, 1e-10))
    floor_db = max(level_db.max(initial=_SILENCE_DBFS) - _SPEECH_RANGE_DB, _SILENCE_DBFS)
    edges = np.flatnonzero(np.diff(level_db > floor_db, prepend=False, append=False))
    starts, stops = edges[::2], edges[1::2]
    runs = stops - starts >= _SPEECH_RUN
    if not runs.any():
        return SpeechBounds(0.0, 0.0)
    frames_per_s = RATE_HZ / _FRAME
    return SpeechBounds(
        float(starts[runs][0] / frames_per_s), float(stops[runs][-1] / frames_per_s)
    )
