"""Decoding, identity, resampling and the energy rule."""

from __future__ import annotations

import hashlib
import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from harness.audio import (
    RATE_HZ,
    Recording,
    SpeechBounds,
    decode,
    refuse_silence,
    speech_bounds,
)
from harness.errors import DatasetError


def tone(rate_hz: int, seconds: float, channels: int = 1, *, hz: float = 440.0) -> np.ndarray:
    wave = 0.25 * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)
    return np.repeat(wave[:, None].astype(np.float32), channels, axis=1)


def encode(pcm: np.ndarray, rate_hz: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, pcm, rate_hz, format=kind, subtype=subtype)
    return content.getvalue()


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_channel_count_becomes_16_khz_mono(rate_hz: int, channels: int) -> None:
    samples = decode(encode(tone(rate_hz, 0.5, channels), rate_hz), "a.wav").samples()
    assert samples.dtype == np.float32
    assert samples.shape == (RATE_HZ // 2,)
    middle = slice(1600, 6400)  # the filter's ends ring
    np.testing.assert_allclose(samples[middle], tone(RATE_HZ, 0.5)[middle, 0], atol=2e-3)


def test_channels_are_averaged() -> None:
    pcm = np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1).astype(np.float32)
    assert decode(encode(pcm, RATE_HZ), "a.wav").samples().tolist() == [0.125] * 100


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_formats(kind: str) -> None:
    recording = decode(encode(tone(16_000, 0.5), 16_000, kind), f"a.{kind}")
    assert recording.rate_hz == 16_000
    assert recording.duration_s == 0.5
    assert abs(float(np.abs(recording.pcm).max()) - 0.25) < 0.02


def test_the_checksum_is_of_the_sound_not_of_the_file() -> None:
    pcm = (tone(16_000, 0.1) * 32768).astype(np.int16)
    hashes = {
        decode(encode(pcm, 16_000, kind, subtype), "a").sha256()
        for kind, subtype in [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("W64", "PCM_16")]
    }
    assert len(hashes) == 1


def test_the_checksum_is_that_of_little_endian_float32() -> None:
    recording = Recording(np.array([[0.5], [-1.0]], np.float32), 16_000)
    assert recording.sha256() == hashlib.sha256(struct.pack("<2f", 0.5, -1.0)).hexdigest()


def truncated(kind: str) -> bytes:
    noise = 0.1 * np.random.default_rng(0).random((16_000, 1))
    content = encode(noise, 16_000, kind)
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (truncated("WAV"), "truncated audio: a holds 15978 of 32000 bytes"),
        (truncated("FLAC"), "cannot decode a"),
        (truncated("MP3"), "truncated audio: a holds"),
        (encode(tone(16_000, 0), 16_000), "zero-length audio"),
        (b"", "cannot decode a"),
        (b"hello there", "cannot decode a"),
        (encode(np.array([[0.0], [np.nan]]), 16_000, subtype="FLOAT"), "NaN or infinite"),
        (encode(np.array([[0.0], [np.inf]]), 16_000, subtype="FLOAT"), "NaN or infinite"),
        (encode(np.array([[0.0], [32767.0]]), 16_000, subtype="FLOAT"), "out of scale"),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_recording_is_an_error_with_a_next_step(content: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        decode(content, "a")
    assert caught.value.hint


def test_a_wav_of_unknown_length_is_read_to_its_end() -> None:
    """What a program that writes to a pipe leaves: it cannot go back to fill in the lengths."""
    content = bytearray(encode(tone(16_000, 0.1), 16_000))
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    assert len(decode(bytes(content), "a").pcm) == 1600


def test_speech_bounds_ignore_clicks_and_quiet_noise() -> None:
    samples = np.random.default_rng(0).normal(0, 1e-4, RATE_HZ * 2).astype(np.float32)
    samples[1600:2080] = 0.2  # a click of 30 ms
    samples[8000:24000] += tone(RATE_HZ, 1.0)[:, 0]
    assert speech_bounds(samples) == SpeechBounds(onset_s=0.5, end_s=1.5)


@pytest.mark.parametrize(("peak", "told"), [(0.0, "0.0"), (9.99e-5, "9.99e-05"), (-5e-5, "5e-05")])
def test_silence_is_refused(peak: float, told: str) -> None:
    samples = np.zeros(160, np.float32)
    samples[80] = peak
    with pytest.raises(DatasetError, match=f"only silence in a: peak: {told}\n  allowed: 0.0001"):
        refuse_silence(samples, "a")


@pytest.mark.parametrize("peak", [1.01e-4, -1.01e-4])
def test_the_noise_of_a_room_is_not_silence(peak: float) -> None:
    samples = np.zeros(160, np.float32)
    samples[80] = peak
    refuse_silence(samples, "a")


@pytest.mark.parametrize("count", [0, 1, 159, 160, 16_000])
def test_silence_has_no_speech(count: int) -> None:
    assert speech_bounds(np.zeros(count, np.float32)) == SpeechBounds(0.0, 0.0)


@pytest.mark.parametrize("offset", [0.02, -0.02, 0.5])
def test_an_offset_moves_no_speech(offset: float) -> None:
    """What a cheap microphone adds; a clip of nothing else has no speech."""
    quiet = np.zeros(RATE_HZ, np.float32)
    samples = np.concatenate([quiet, 0.48 * tone(RATE_HZ, 1.0)[:, 0], quiet])
    assert speech_bounds(samples + np.float32(offset)) == SpeechBounds(onset_s=1.0, end_s=2.0)
    assert speech_bounds(np.full(RATE_HZ, offset, np.float32)) == SpeechBounds(0.0, 0.0)


def test_eight_bits_rounded_down_move_no_speech() -> None:
    samples = np.random.default_rng(0).normal(0, 1e-3, 2 * RATE_HZ)
    samples[8000:24000] += 0.45 * tone(RATE_HZ, 1.0)[:, 0]
    samples = decode(encode(samples, RATE_HZ, subtype="PCM_U8"), "a.wav").samples()
    assert samples.mean() < -0.003
    assert speech_bounds(samples) == SpeechBounds(onset_s=0.5, end_s=1.5)


@given(st.integers(0, 50), st.integers(5, 50), st.integers(0, 50))
def test_speech_bounds_follow_the_speech(before: int, during: int, after: int) -> None:
    quiet = np.zeros(160, np.float32)
    loud = np.tile(np.array([0.1, -0.1], np.float32), 80)
    samples = np.concatenate([quiet] * before + [loud] * during + [quiet] * after)
    assert speech_bounds(samples) == SpeechBounds(before / 100, (before + during) / 100)
