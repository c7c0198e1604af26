"""Decoding, identity, resampling and the energy rule."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from harness import audio
from harness.audio import (
    MOST_BYTES,
    RATE_HZ,
    Recording,
    Samples,
    SpeechBounds,
    decode,
    read_file,
    refuse_cancelled,
    refuse_silence,
    speech_bounds,
)
from harness.datasets import ManifestDataset
from harness.datasets.load import Clip, load_dataset
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
        (truncated("FLAC"), "truncated audio: a holds half a frame at its end"),
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


# --- sizes and sources ---------------------------------------------------------------------------


def test_a_decoded_size_beyond_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MOST_DECODED", 4 * 16_000)
    whole, longer = encode(tone(16_000, 1.0), 16_000), encode(tone(16_000, 1.01), 16_000)
    assert decode(whole, "a").duration_s == 1.0
    stereo = encode(tone(16_000, 0.6, 2), 16_000)
    slow = encode(tone(16_000, 0.1), 1000)  # 1.6 s: more at 16 kHz than here
    for content in (longer, stereo, slow, whole + longer):
        with pytest.raises(DatasetError, match=r"a is too long: more than .* s of") as caught:
            decode(content, "a")
        assert "at most 64000 bytes of decoded sound" in str(caught.value)


def test_a_header_that_states_too_much_reserves_nothing() -> None:
    content = bytearray(encode(np.zeros((4096, 1)), 16_000, "FLAC"))
    content[21:26] = bytes([content[21] & 0xF0]) + (4_000_000_000).to_bytes(4, "big")
    with pytest.raises(DatasetError, match="truncated audio: a holds 4096 of 4000000000 samples"):
        decode(bytes(content), "a")


def test_a_source_without_an_end_is_refused_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    for path in (tmp_path / "a.wav", Path("/dev/zero")):
        with pytest.raises(DatasetError, match=r"\(a pipe, socket or device") as caught:
            read_file(path)
        assert "save what it gives into a file" in str(caught.value)


def test_a_file_beyond_the_bound_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(bytes(11))
    assert len(read_file(path, most=11)) == 11
    with pytest.raises(DatasetError, match=r"a.wav is too large\n  allowed: at most 10 bytes"):
        read_file(path, most=10)
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)  # sparse: it takes no space
    with pytest.raises(DatasetError, match="too large"):
        read_file(path)


# --- channels ------------------------------------------------------------------------------------


def test_channels_that_cancel_each_other_are_refused() -> None:
    wave = tone(16_000, 0.5)
    wave[0] = -1.0  # whose negative 16 bits do not hold
    recording = decode(encode(np.hstack([wave, -wave]), 16_000, subtype="PCM_16"), "a.wav")
    with pytest.raises(DatasetError, match=r"the channels of a\.wav cancel each other") as caught:
        refuse_cancelled(recording, recording.samples(), "a.wav")
    assert "ffmpeg -i a.wav -af 'pan=mono|c0=c0' a-converted.wav" in str(caught.value)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_of_which_one_is_used_do_not_cancel_each_other(channels: int) -> None:
    pcm = np.zeros((8000, channels), np.float32)
    pcm[:, -1:] = tone(16_000, 0.5)
    recording = Recording(pcm, 16_000)
    refuse_cancelled(recording, recording.samples(), "a")
    silence = Recording(np.zeros((8000, channels), np.float32), 16_000)
    refuse_cancelled(silence, silence.samples(), "a")


# --- where speech begins and ends ----------------------------------------------------------------


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


# --- speech as it is recorded --------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips() -> dict[str, Clip]:
    return {clip.id: clip for clip in load_dataset(ManifestDataset()).clips}


def at_peak(samples: Samples, dbfs: float) -> Samples:
    return (samples * (10 ** (dbfs / 20) / np.abs(samples).max())).astype(np.float32)


def in_16_bits(samples: Samples) -> Samples:
    return (np.round(samples.clip(-1, 1) * 32_767) / 32_768).astype(np.float32)


def assert_close(found: SpeechBounds, right: SpeechBounds, at_most_s: float = 0.0101) -> None:
    """By default within a frame."""
    assert abs(found.onset_s - right.onset_s) <= at_most_s
    assert abs(found.end_s - right.end_s) <= at_most_s


def test_bounds_agree_with_the_timings_of_words(clips: dict[str, Clip]) -> None:
    errors_s = []
    for clip in clips.values():
        found = speech_bounds(clip.samples)
        right = SpeechBounds(clip.speech_onset_s, clip.speech_end_s)
        assert_close(found, right, at_most_s=0.101)
        errors_s += [found.onset_s - right.onset_s, found.end_s - right.end_s]
    assert np.abs(errors_s).mean() <= 0.035


@pytest.mark.parametrize("offset", [0.0, 0.02, -0.1])
@pytest.mark.parametrize("dbfs", [-10, -20, -30, -40])
def test_bounds_do_not_move_with_the_level(
    clips: dict[str, Clip], dbfs: float, offset: float
) -> None:
    for clip in clips.values():
        right = speech_bounds(at_peak(clip.samples, -3))
        quieter = at_peak(clip.samples, dbfs)
        assert speech_bounds(quieter) == right
        assert_close(speech_bounds(in_16_bits(quieter + np.float32(offset))), right)


def test_a_click_anywhere_does_not_move_the_bounds(clips: dict[str, Clip]) -> None:
    """2 ms at full scale; speech at -34 dBFS."""
    click = np.ones(RATE_HZ // 500, np.float32)
    for name in ("03-epoch", "07-heaven", "08-other_way"):
        samples = at_peak(clips[name].samples, -34)
        right = speech_bounds(samples)
        for at in range(0, len(samples) - len(click), 401):
            for shape in (click, -click, np.tile(click[:2] * [1, -1], len(click) // 2)):
                clicked = samples.copy()
                clicked[at : at + len(click)] = shape
                assert_close(speech_bounds(clicked), right)


@pytest.mark.parametrize("snr_db", [40, 30, 20])
def test_steady_noise_moves_the_bounds_little(clips: dict[str, Clip], snr_db: float) -> None:
    rng = np.random.default_rng(0)
    before = 20 * RATE_HZ
    for clip in clips.values():
        quiet = np.zeros(before, np.float32)
        samples = np.concatenate([quiet, clip.samples, quiet])
        noise = rng.normal(0, clip.samples.std() * 10 ** (-snr_db / 20), len(samples))
        right = speech_bounds(samples)
        assert right.onset_s > 20
        assert_close(speech_bounds((samples + noise).astype(np.float32)), right, at_most_s=0.101)


def test_silence_around_a_clip_moves_no_bounds(clips: dict[str, Clip]) -> None:
    quiet = np.zeros(30 * RATE_HZ, np.float32)
    for clip in clips.values():
        found = speech_bounds(np.concatenate([quiet, clip.samples, quiet]))
        right = speech_bounds(clip.samples)
        assert_close(SpeechBounds(found.onset_s - 30, found.end_s - 30), right)


def test_speech_cut_close_is_speech_from_end_to_end(clips: dict[str, Clip]) -> None:
    for clip in clips.values():
        found = speech_bounds(clip.samples)
        cut = clip.samples[round(found.onset_s * RATE_HZ) : round(found.end_s * RATE_HZ)]
        assert_close(speech_bounds(cut), SpeechBounds(0.0, len(cut) / RATE_HZ), at_most_s=0.0201)


def test_faint_speech_is_found_and_faint_rumble_is_not(clips: dict[str, Clip]) -> None:
    faint = in_16_bits(at_peak(clips["07-heaven"].samples, -56))
    assert_close(speech_bounds(faint), speech_bounds(clips["07-heaven"].samples), at_most_s=0.05)
    steps = np.random.default_rng(0).normal(0, 1, 20 * RATE_HZ)
    rumble = np.cumsum(steps) - np.convolve(np.cumsum(steps), np.ones(1600) / 1600, "same")
    for dbfs in (-62, -70, -80):
        quiet = rumble * (10 ** (dbfs / 20) / rumble.std())
        assert speech_bounds(quiet.astype(np.float32)) == SpeechBounds(0.0, 0.0)
