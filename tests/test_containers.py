"""Every container to its true end, whatever it states; cut, joined and damaged files by name."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from harness.audio import decode
from harness.containers import mpeg, ogg
from harness.errors import DatasetError

FIXTURES = Path(__file__).parent / "fixtures" / "audio"
COUNT = 8000  # samples of every file that is made here


def noise(count: int = COUNT, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.1, 0.1, count)


def encode(
    kind: str, subtype: str | None = None, *, count: int = COUNT, rate: int = 16_000
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(count), rate, format=kind, subtype=subtype)
    return file.getvalue()


def length(content: bytes, name: str = "a") -> int:
    return len(decode(content, name).pcm)


def refusal(content: bytes, name: str = "a") -> str:
    with pytest.raises(DatasetError) as caught:
        decode(content, name)
    assert name in str(caught.value)
    assert caught.value.hint
    return str(caught.value)


KINDS = [
    ("WAV", "PCM_16"), ("WAV", "PCM_U8"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAV", "IMA_ADPCM"),
    ("WAV", "MS_ADPCM"), ("WAV", "GSM610"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"),
    ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AIFF", "IMA_ADPCM"), ("AU", "PCM_16"),
    ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("NIST", "PCM_16"), ("VOC", "PCM_16"),
    ("SVX", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ("MP3", None),
]  # fmt: skip
SPLIT = {"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3"}  # joined files are taken apart


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_a_whole_file_is_read_as_libsndfile_reads_it(kind: str, subtype: str | None) -> None:
    content = encode(kind, subtype)
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        right = file.read(file.frames, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(decode(content, "a").pcm, right)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_a_file_cut_short_is_refused(kind: str, subtype: str | None, share: float) -> None:
    content = encode(kind, subtype)
    refusal(content[: round(len(content) * share)])


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_joined_files_are_read_whole_or_refused(kind: str, subtype: str | None) -> None:
    content = encode(kind, subtype)
    if kind in SPLIT:
        once = decode(content, "a").pcm
        np.testing.assert_array_equal(decode(content * 2, "a").pcm, np.concatenate([once] * 2))
    else:
        message = refusal(content * 2)
        assert "goes on" in message or "a second file begins" in message


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_joined_files_of_different_rates_are_refused(kind: str) -> None:
    message = refusal(encode(kind) + encode(kind, rate=8000))
    assert "8000 Hz x 1, 16000 Hz x 1" in message


@pytest.mark.parametrize(
    ("name", "count"),
    [("vbr.mp3", 17_280), ("layer2.mp2", 16_128), ("flac.oga", 8000), ("mp3.wav", 9216)],
)
def test_files_that_state_no_length_or_a_wrong_one(name: str, count: int) -> None:
    """The lengths are those that ffmpeg decodes."""
    assert length((FIXTURES / name).read_bytes(), name) == count


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("aac.m4a", r"cannot decode aac.m4a (MP4 or M4A, which libsndfile does not read)"),
        ("opus.webm", r"cannot decode opus.webm (WebM or Matroska, which libsndfile does"),
        ("blocks.voc", r"cannot decode blocks.voc (a VOC of several blocks"),
    ],
)
def test_what_libsndfile_does_not_read_comes_with_the_command_that_converts(
    name: str, message: str
) -> None:
    found = refusal((FIXTURES / name).read_bytes(), name)
    assert found.startswith(message)
    assert f"ffmpeg -i {name} {Path(name).stem}.wav" in found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\x00\x05\x16\x07\0\2\0\0Mac OS X", "AppleDouble"),
        (b"#!AMR\n" + bytes(99), "AMR"),
        (b"<html>not found</html>", "Format not recognised"),
    ],
)
def test_what_is_no_recording_is_told_by_its_content(content: bytes, message: str) -> None:
    assert message in refusal(content, "a.wav")


# --- wav -----------------------------------------------------------------------------------------

PCM = (noise() * 32768).astype("<i2").tobytes()
FORM = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)


def chunk(kind: bytes, body: bytes, size: int | None = None, *, pad: bool = True) -> bytes:
    head = kind + struct.pack("<I", len(body) if size is None else size)
    return head + body + (b"\0" if pad and len(body) % 2 else b"")


def wav(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


FMT, DATA = chunk(b"fmt ", FORM), chunk(b"data", PCM)


@pytest.mark.parametrize("size", [0, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_a_wav_of_unknown_length_is_read_to_its_end(size: int) -> None:
    """What a program leaves that writes into a pipe, or that was killed."""
    assert length(wav(FMT, chunk(b"data", PCM, size), size=size)) == COUNT
    twice = wav(FMT, chunk(b"data", PCM, size), size=size) * 2
    assert length(twice) == 2 * COUNT


@pytest.mark.parametrize(
    "content",
    [
        wav(chunk(b"JUNK", bytes(28)), FMT, DATA),
        wav(chunk(b"bext", bytes(602)), FMT, DATA),
        wav(FMT, DATA, chunk(b"LIST", b"INFOISFT\5\0\0\0Lavf\0")),
        wav(FMT, chunk(b"LIST", b"INFOIART\3\0\0\0abc", pad=False), DATA),
        wav(FMT, chunk(b"data", PCM + b"\0"), chunk(b"LIST", b"abc", pad=False)),
        wav(FMT, DATA) + b"\xde\xad\xbe\xef" * 100,
        wav(FMT, DATA) + bytes(5000),
        wav(FMT, DATA) + b"TAG" + bytes(125),
    ],
)
def test_what_stands_around_the_sound_does_not_matter(content: bytes) -> None:
    assert length(content) == COUNT


def test_a_wav_that_goes_on_after_its_stated_end_is_refused() -> None:
    """A recorder that was killed after it had once written the length."""
    content = wav(FMT, chunk(b"data", PCM, len(PCM) // 2), size=36 + len(PCM) // 2)
    assert "goes on for 8000 bytes after the end that its header states" in refusal(content)
    lying = chunk(b"fmt ", patched(FORM, 8, b"\xff" * 4))  # bytes per second
    assert "goes on for 32000 bytes" in refusal(wav(lying, DATA) + PCM * 2)


def test_a_wav_with_two_chunks_of_sound_is_refused() -> None:
    assert "two chunks of sound, 'data'" in refusal(wav(FMT, DATA, DATA))


def test_a_wav_without_sound_is_refused() -> None:
    assert "no chunk of sound, 'data'" in refusal(wav(FMT))
    assert "zero-length audio" in refusal(wav(FMT, chunk(b"data", b"")))
    assert "zero-length audio" in refusal(wav(FMT, chunk(b"data", b""), chunk(b"LIST", b"abcd")))


def test_an_rf64_has_its_length_in_another_chunk() -> None:
    def rf64(size: int) -> bytes:
        ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, size, 0, 0))
        return b"RF64\xff\xff\xff\xffWAVE" + ds64 + FMT + chunk(b"data", PCM, 0xFFFF_FFFF)

    assert length(rf64(len(PCM))) == length(rf64(0)) == COUNT
    assert f"{len(PCM)} of {len(PCM) + 2} bytes" in refusal(rf64(len(PCM) + 2))
    assert "goes on" in refusal(rf64(len(PCM) // 2))


# --- other containers with a header --------------------------------------------------------------


def patched(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def unknown_aiff() -> bytes:
    content = patched(encode("AIFF"), 4, bytes(4))
    return patched(content, content.index(b"SSND") + 4, bytes(4))


def unknown_caf() -> bytes:
    content = encode("CAF")
    return patched(content, content.index(b"data") + 4, b"\xff" * 8)


def unknown_w64() -> bytes:
    content = encode("W64")
    return patched(content, content.index(b"data") + 16, b"\xff" * 8)


def unknown_au() -> bytes:
    return patched(encode("AU"), 8, b"\xff" * 4)


@pytest.mark.parametrize("make", [unknown_aiff, unknown_caf, unknown_w64, unknown_au])
def test_an_unknown_length_is_that_of_the_file(make: Callable[[], bytes]) -> None:
    right = decode(encode("WAV"), "a").pcm
    np.testing.assert_array_equal(decode(make(), "a").pcm, right)


def test_an_au_whose_sound_begins_after_its_end_has_none() -> None:
    content = patched(encode("AU"), 4, struct.pack(">II", 1 << 30, 0xFFFF_FFFF))
    assert "zero-length audio" in refusal(content)


def test_a_nist_file_has_as_many_samples_as_it_says() -> None:
    content = encode("NIST")
    assert length(content + b"junk") == COUNT
    assert "goes on for 8000 bytes" in refusal(content.replace(b" 8000\n", b" 4000\n"))


# --- FLAC ----------------------------------------------------------------------------------------


def with_total(content: bytes, total: int) -> bytes:
    first = content[21] & 0xF0 | total >> 32
    return patched(content, 21, bytes([first]) + (total & 0xFFFF_FFFF).to_bytes(4, "big"))


def test_a_flac_of_unknown_or_wrong_length_is_read_to_its_end() -> None:
    count = 600_000  # more than 127 frames: their numbers take two bytes
    content = encode("FLAC", count=count)
    right = decode(content, "a").pcm
    for total in (0, 1, count - 1):
        np.testing.assert_array_equal(decode(with_total(content, total), "a").pcm, right)
    assert "600000 of 600001 samples" in refusal(with_total(content, count + 1))
    assert "truncated audio: a holds" in refusal(with_total(content, (1 << 36) - 1))


def test_a_flac_of_unknown_length_cut_short_is_refused() -> None:
    content = with_total(encode("FLAC"), 0)
    for size in (len(content) - 1, len(content) - 2, len(content) // 2, 100, 60):
        refusal(content[:size])


def test_a_flac_with_tags_around_it() -> None:
    content = encode("FLAC")
    id3v2 = b"ID3\4\0\0\0\0\0\x0a" + bytes(10)
    assert length(id3v2 + content + b"TAG" + bytes(125)) == COUNT
    assert length((id3v2 + content) * 2) == 2 * COUNT
    assert length(content + b"\xde\xad") == COUNT  # by its header's word


def test_an_ogg_flac_is_checked_like_any_ogg() -> None:
    content = (FIXTURES / "flac.oga").read_bytes()
    assert length(content * 2) == 16_000
    assert "half a page" in refusal(content[:-1])


# --- Ogg -----------------------------------------------------------------------------------------


def pages(content: bytes) -> list[bytes]:
    starts = [at for at in range(len(content)) if content.startswith(b"OggS\0", at)]
    return [content[at:stop] for at, stop in zip(starts, [*starts[1:], len(content)], strict=True)]


def with_serial(content: bytes, serial: int) -> bytes:
    """The same stream under another serial number."""
    made = [patched(page, 14, serial.to_bytes(4, "little")) for page in pages(content)]
    return b"".join(patched(page, 22, ogg._checksum(page).to_bytes(4, "little")) for page in made)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chain_of_ogg_streams_is_read_whole(subtype: str) -> None:
    content = encode("OGG", subtype)
    assert length(content + with_serial(content, 7) + content) == 3 * COUNT


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_without_its_last_pages_is_refused(subtype: str) -> None:
    content = encode("OGG", subtype, count=160_000)
    found = pages(content)
    assert len(found) > 4
    for count in range(3, len(found)):
        assert "no page that is marked as the last" in refusal(b"".join(found[:count]))


def test_an_ogg_that_lacks_or_damages_a_page_is_refused() -> None:
    found = pages(encode("OGG", "OPUS", count=160_000))
    assert "lacks pages" in refusal(b"".join(found[:3] + found[4:]))
    content = bytearray(b"".join(found))
    content[-100] ^= 1
    assert "wrong checksum" in refusal(bytes(content))
    assert "no page of Ogg at byte" in refusal(b"".join([*found[:3], b"junk", *found[3:]]))
    assert length(b"".join(found) + b"TAG" + bytes(125)) == 160_000


def test_an_ogg_without_sound_is_refused() -> None:
    head = struct.pack("<4sBBqIIIBB", b"OggS", 0, 6, 0, 1, 0, 0, 1, 8) + b"\x80theora\0"
    content = patched(head, 22, ogg._checksum(head).to_bytes(4, "little"))
    assert "0 streams of sound" in refusal(content)


# --- MPEG audio ----------------------------------------------------------------------------------

MP3 = encode("MP3", count=32_000)
NOTE = 13  # where the note of an MPEG 2 frame of one channel begins: header, side information
PER_FRAME = 576


def frames(content: bytes) -> list[bytes]:
    at, found = 0, []
    while at < len(content):
        head = mpeg._head(content, at)
        assert head is not None
        found.append(content[at : at + head.size])
        at += head.size
    return found


NOTED, *SOUND = frames(MP3)
PLAIN = b"".join(SOUND)  # states no length
ID3V1 = b"TAG" + b"x" * 125
ID3V2 = b"ID3\4\0\0\0\0\1\x0a" + b"\xff\xfb\x90\x64" * 34 + b"xx"
APE = b"APETAGEX" + struct.pack("<IIII8x", 2000, 40, 1, 1 << 31) + b"y" * 8
APE += b"APETAGEX" + struct.pack("<IIII8x", 2000, 40, 1, 0)
LYRICS = b"LYRICSBEGIN" + b"la" * 50 + b"000111LYRICS200"


def test_an_mp3_without_a_note_has_all_of_its_frames() -> None:
    right = decode(MP3, "a").pcm
    plain = decode(PLAIN, "a").pcm
    assert len(plain) == len(SOUND) * PER_FRAME
    delay = next(
        skip
        for skip in range(2000)
        if np.allclose(plain[skip : skip + 999], right[:999], atol=1e-6)
    )
    np.testing.assert_allclose(plain[delay : delay + len(right)], right, atol=1e-6)


def test_an_mp3_may_state_a_wrong_number_of_frames() -> None:
    stated = int.from_bytes(NOTED[NOTE + 8 : NOTE + 12], "big")
    assert (NOTED[NOTE : NOTE + 4], stated) == (b"Xing", len(SOUND))

    def states(number: int) -> bytes:
        return patched(MP3, NOTE + 8, number.to_bytes(4, "big"))

    assert length(states(stated + 1)) == 32_000  # some encoders count the note
    assert 32_000 <= length(states(stated // 2)) < 34_000  # where its padding is, is then unknown
    assert f"{stated} of {stated + 2} frames" in refusal(states(stated + 2))


def test_the_note_of_a_fraunhofer_encoder_is_no_sound() -> None:
    note = b"VBRI" + struct.pack(">HHHII", 1, 0, 0, len(MP3), len(SOUND))
    longest = max(SOUND, key=len)
    noted = (longest[:4] + bytes(32) + note).ljust(len(longest), b"\0")
    assert length(noted + PLAIN) == len(SOUND) * PER_FRAME
    assert f"{len(SOUND)} frames" in refusal(noted + b"".join(SOUND[:-2]))


@pytest.mark.parametrize("tag", [ID3V1, ID3V2, APE, LYRICS, LYRICS + ID3V1, bytes(3000)])
def test_tags_of_an_mp3_are_no_sound(tag: bytes) -> None:
    assert length(MP3 + tag) == 32_000
    assert length(MP3 + tag + MP3) == 64_000
    assert length(PLAIN + tag + PLAIN) == 2 * len(SOUND) * PER_FRAME


def test_joined_mp3_without_notes_are_read_whole() -> None:
    assert length(PLAIN * 2) == 2 * len(SOUND) * PER_FRAME
    assert length(MP3 + PLAIN) >= 32_000 + len(SOUND) * PER_FRAME - 3 * PER_FRAME
    other = encode("MP3", rate=24_000)
    assert "16000 Hz x 1, 24000 Hz x 1" in refusal(PLAIN + b"".join(frames(other)[1:]))


def test_the_recording_of_a_broadcast_begins_within_a_frame() -> None:
    assert length(b"\xff\xf3 half" + PLAIN, "a.mp3") == len(SOUND) * PER_FRAME


def test_a_damaged_mp3_is_refused() -> None:
    half = len(SOUND) // 2
    middle = b"".join([*SOUND[:half], b"garbage!" * 9, *SOUND[half:]])
    assert "has 72 bytes at byte" in refusal(middle)
    lost = b"".join([*SOUND[:half], SOUND[half][:-9], *SOUND[half + 1 :]])
    assert refusal(lost).startswith("damaged audio: a has")
    assert length(PLAIN + b"garbage!" * 9) == len(SOUND) * PER_FRAME
    assert "goes on for 8000 bytes" in refusal(PLAIN + b"garbage!" * 1000)


def test_an_mp3_without_a_note_cut_short_is_refused() -> None:
    assert f"{len(SOUND) - 1} frames and a part of one" in refusal(PLAIN[:-1])
