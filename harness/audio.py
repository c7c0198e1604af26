"""Recorded audio: decoding, resampling to 16 kHz mono, identity, and where speech begins and ends.

Anything that libsndfile reads (wav, flac, mp3, ogg, opus, aiff and more), at any rate, with any
number of channels, to its true end (``containers``). What cannot be trusted as a recording
(truncated, empty, silent, NaN) is a ``DatasetError``.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from pathlib import Path

import msgspec
import numpy as np
import soundfile
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from harness.containers import ONE_CHANNEL, Link, convert, links, truncated, unreadable
from harness.errors import DatasetError

RATE_HZ = 16_000  # what every engine is fed
SHORTEST_SPEECH_MS = 50  # what is shorter is taken for a click

Samples = NDArray[np.float32]  # [n], 16 kHz, mono, -1..1

# Speech and noise are separated by level alone, relative to the clip itself: see `speech_bounds`.
_FRAME = RATE_HZ // 100  # 10 ms = 160 samples
_PIECE = _FRAME // 5  # 2 ms = 32 samples
_SPEECH_RUN = SHORTEST_SPEECH_MS // 10  # frames
_LOUD_RANGE_DB = 10.0  # below the loudest: vowels
_SPEECH_RANGE_DB = 22.0  # below the median of the loud: the weak sounds of a word
_NOISE_PERCENT = 2.0  # of the frames between: even fast speech has so many pauses
_ABOVE_NOISE_DB = 4.0  # what the level of steady noise varies, about its lowest
_NOISE_IS_APART_DB = 9.0  # speech and noise that differ by less are not separated
_CLEARLY_APART_DB = 15.0  # of faint speech; the rumble of a room varies by 10 dB
_FAINT_DBFS, _INAUDIBLE_DBFS = -60.0, -90.0

_CANCELLED = 10**-2.6  # of the power of the channels, left when they are averaged: -26 dB
_SILENT_PEAK = 1e-4  # -80 dBFS, 3 steps of 16 bits: below the noise of a room and a microphone

MOST_BYTES = 1 << 30  # of one file: 1 GiB
MOST_DECODED = 1 << 30  # bytes of one file's sound: 1 GiB, 4.6 h at 16 kHz mono
_SAMPLE_BYTES = 4  # of float32
_OTHER_LENGTH = "(should be "  # in libsndfile's log, of a length that differs from the file's


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
        return hashlib.sha256(np.ascontiguousarray(self.pcm, "<f4").data).hexdigest()

    def samples(self) -> Samples:
        """[n] at 16 kHz: the mean of the channels, resampled with soxr's high quality."""
        one = self.pcm.shape[1] == 1  # spares a copy
        mono: Samples = self.pcm[:, 0] if one else self.pcm.mean(axis=1, dtype=np.float32)
        if self.rate_hz == RATE_HZ:
            return mono
        resampled: Samples = soxr.resample(mono, self.rate_hz, RATE_HZ)
        return resampled


def read_file(path: Path, *, hint: str = "check audio_filepath", most: int = MOST_BYTES) -> bytes:
    """The content of a regular file; a ``DatasetError`` with ``hint`` if it cannot be read.

    What has no end (a pipe, a device) is refused unopened, and what is larger than ``most`` bytes
    unread.
    """
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode) and found.st_size <= most:
            with path.open("rb") as file:
                content = file.read(most + 1)
            if len(content) <= most:
                return content
    except OSError as error:
        raise DatasetError(f"cannot read {path} ({error.strerror})", hint=hint) from error
    except ValueError as error:
        raise DatasetError(f"cannot read {str(path)!r} ({error})", hint=hint) from error
    if stat.S_ISDIR(found.st_mode):
        raise DatasetError(f"cannot read {path} ({os.strerror(errno.EISDIR)})", hint=hint)
    if not stat.S_ISREG(found.st_mode):
        raise DatasetError(
            f"cannot read {path} (a pipe, socket or device: it may have no end)",
            allowed="a regular file",
            hint="save what it gives into a file",
        )
    raise DatasetError(
        f"{path} is too large",
        allowed=f"at most {most} bytes",
        hint="cut it into shorter files",
    )


def decode(content: bytes, name: str) -> Recording:
    """The whole of an audio file, to its true end: see ``containers.links``.

    Args:
        content: of the file.
        name: how errors call it.

    Raises:
        DatasetError: not audio, truncated, without samples, NaN or infinite, not within -1..1, or
            more than ``MOST_DECODED`` bytes of sound.
    """
    parts: list[Recording] = []
    room = MOST_DECODED
    for link in links(content, name):
        parts.append(_read_link(link, name, room))
        room -= parts[-1].pcm.nbytes
    shapes = sorted({(part.rate_hz, part.pcm.shape[1]) for part in parts})
    if len(shapes) > 1:
        raise DatasetError(
            f"{name} was joined of recordings of different kinds",
            value=", ".join(f"{rate_hz} Hz x {channels}" for rate_hz, channels in shapes),
            allowed="one rate and one number of channels",
            hint=f"convert it as a whole: {convert(name)}",
        )
    pcm = parts[0].pcm if len(parts) == 1 else np.concatenate([part.pcm for part in parts])
    if len(pcm) == 0:
        raise DatasetError("zero-length audio", value=name, hint="record it again or leave it out")
    _check_values(pcm, name)
    return Recording(pcm, parts[0].rate_hz)


def _read_link(link: Link, name: str, room: int) -> Recording:
    """One stream as it is, at most ``room`` bytes of it."""
    try:
        with soundfile.SoundFile(io.BytesIO(link.content)) as file:
            if not link.checked and _OTHER_LENGTH in file.extra_info:
                raise truncated(name, "another length of sound than its header declares")
            samples: int = file.frames if link.samples is None else link.samples
            wanted = link.skip + samples
            _check_size(wanted, file.channels, file.samplerate, name, room)
            # One call: after each soundfile seeks, which mpg123 does not do exactly.
            pcm = file.read(wanted, dtype="float32", always_2d=True)
            rate_hz: int = file.samplerate
    except soundfile.LibsndfileError as error:
        raise unreadable(name, str(error.error_string).rstrip(".")) from error
    if len(pcm) < wanted:
        raise truncated(name, f"{len(pcm)} of {wanted} samples that its header declares")
    return Recording(pcm[link.skip :], rate_hz)


def _check_size(samples: int, channels: int, rate_hz: int, name: str, room: int) -> None:
    """A ``DatasetError`` if so many samples, or what becomes of them at 16 kHz, are too many."""
    most = min(
        room // (_SAMPLE_BYTES * channels), MOST_DECODED * rate_hz // (_SAMPLE_BYTES * RATE_HZ)
    )
    if samples > most:
        raise DatasetError(
            f"{name} is too long: more than {most / rate_hz:.0f} s of {channels} channel(s)",
            allowed=f"at most {MOST_DECODED} bytes of decoded sound, {_SAMPLE_BYTES} a sample",
            hint="cut it into shorter files",
        )


def _check_values(pcm: NDArray[np.float32], name: str) -> None:
    lowest, highest = float(pcm.min()), float(pcm.max())  # NaN if any sample is
    if not np.isfinite([lowest, highest]).all():
        raise DatasetError(
            "NaN or infinite samples", value=name, hint="export it again as 16-bit wav or flac"
        )
    peak = max(-lowest, highest)
    if peak > 2:  # lossy decoders overshoot full scale a little, never twofold
        raise DatasetError(
            f"samples out of scale in {name}: peak",
            value=peak,
            allowed="-1 to 1",
            hint="divide by the integer full scale (32768 for 16 bits) before saving as float",
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


def refuse_cancelled(recording: Recording, samples: Samples, name: str) -> None:
    """A ``DatasetError`` if the channels cancel each other when they are averaged.

    One of two is then inverted, as a balanced line gives them; what is left is no recording.

    Args:
        samples: what is left.
        name: how the error calls it.
    """
    pcm = recording.pcm
    if pcm.shape[1] < 2 or max(-pcm.min(), pcm.max()) < _SILENT_PEAK:
        return
    before = np.einsum("ij,ij->", pcm, pcm, dtype=np.float64) / pcm.size
    after = np.einsum("i,i->", samples, samples, dtype=np.float64) / len(samples)
    if after < _CANCELLED * before:
        raise DatasetError(
            f"the channels of {name} cancel each other when they are averaged",
            hint=f"keep one of them: {convert(name, options=ONE_CHANNEL)}",
        )


def room_noise(samples: Samples, seconds: float, seed: int) -> Samples:
    """Noise as it is in a clip's pauses: what a microphone hears once nobody speaks.

    Gaussian, of the level that the quietest tenth of the clip's frames of 10 ms has; one step of 16
    bits at least, for no microphone is silent.

    Args:
        samples: [n], of the clip.

    Returns:
        [seconds * 16 000], float32.
    """
    count = len(samples) // _FRAME
    frames = samples[: count * _FRAME].reshape(count, _FRAME)
    power = np.einsum("ij,ij->i", frames, frames) / _FRAME
    quiet = float(np.sqrt(np.percentile(power, 10))) if count else 0.0
    drawn = np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ), np.float32)
    noise: Samples = drawn * np.float32(max(quiet, 1 / 32768))
    return noise


class SpeechBounds(msgspec.Struct, frozen=True):
    onset_s: float
    end_s: float


def speech_bounds(samples: Samples) -> SpeechBounds:
    """Where speech begins and ends, by level: for clips that do not say.

    The bounds do not depend on the recording's gain or offset, nor on a click of a few ms. Levels
    are those that 50 ms reach throughout. With L the median of the levels within 10 dB of the
    highest, sound is what lies above L - 22 dB. N is the level of the quietest 2 % between the
    first such frame and the last: noise, or pauses. If L is 9 dB or more above N, speech is what
    also lies above N + 4 dB, else all of the sound. There is none if L is below -60 dBFS and less
    than 15 dB above N; then both bounds are 0.

    Args:
        samples: [n]; n may be 0.
    """
    level_db = _sustained(_levels_db(samples))
    highest_db = level_db.max(initial=-np.inf)
    if highest_db < _INAUDIBLE_DBFS:
        return SpeechBounds(0.0, 0.0)
    loud_db = np.median(level_db[level_db > highest_db - _LOUD_RANGE_DB])
    sound = np.flatnonzero(level_db > loud_db - _SPEECH_RANGE_DB)
    noise_db = np.percentile(level_db[sound[0] : sound[-1] + 1], _NOISE_PERCENT)
    apart_db = loud_db - noise_db
    if loud_db < _FAINT_DBFS and apart_db < _CLEARLY_APART_DB:
        return SpeechBounds(0.0, 0.0)
    if apart_db >= _NOISE_IS_APART_DB:
        sound = sound[level_db[sound] > noise_db + _ABOVE_NOISE_DB]
    frames_per_s = RATE_HZ / _FRAME
    return SpeechBounds(float(sound[0] / frames_per_s), float((sound[-1] + 1) / frames_per_s))


def _levels_db(samples: Samples) -> NDArray[np.float64]:
    """[frames]: level in dBFS, the median of 2 ms pieces within 10 ms: a click does not move it."""
    count = len(samples) // _FRAME
    if count == 0:
        return np.zeros(0)
    pieces = samples[: count * _FRAME].reshape(-1, _PIECE)
    per_frame = _FRAME // _PIECE
    sums = pieces.sum(axis=1, dtype=np.float64).reshape(count, per_frame).sum(axis=1)
    centred = pieces - np.float32(np.median(sums) / _FRAME)
    power = np.einsum("ij,ij->i", centred, centred).astype(np.float64) / _PIECE
    around = np.pad(power, per_frame, mode="symmetric")
    windows = sliding_window_view(around, 3 * per_frame)[::per_frame]
    middle = np.partition(windows, windows.shape[1] // 2, axis=1)[:, windows.shape[1] // 2]
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(middle, 1e-20))
    return levels


def _sustained(level_db: NDArray[np.float64]) -> NDArray[np.float64]:
    """[frames]: the highest level that 50 ms around a frame reach throughout."""
    if len(level_db) < _SPEECH_RUN:
        return np.zeros(0)
    lowest = np.minimum.reduce(_shifted(level_db))
    padded = np.pad(lowest, _SPEECH_RUN - 1, constant_values=-np.inf)
    sustained: NDArray[np.float64] = np.maximum.reduce(_shifted(padded))
    return sustained


def _shifted(values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """What stands 0, 1, ... places after each value, for all values that have so many after."""
    count = len(values) - _SPEECH_RUN + 1
    return [values[shift : shift + count] for shift in range(_SPEECH_RUN)]
