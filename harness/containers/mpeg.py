"""MPEG audio (MP1, MP2, MP3): the length is that of the frames which are there.

A file states its length at most in a note (a frame marked `Xing`, `Info` or `VBRI`); without one
libsndfile estimates, and then reads silence or stops early. So each stream is handed over without
its note and with a few frames more than it has, which makes every estimate too long; what was
added is not read. Encoder delay and padding are cut as mpg123 cuts them.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from harness.containers.flac import id3_size
from harness.containers.link import Link, check_rest, damaged, truncated, unreadable

_DECODER_DELAY = 529  # samples
_LAYER_1, _LAYER_2, _LAYER_3 = 1, 2, 3
_KBPS = {  # by MPEG version 1 or not, and layer
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = (44_100, 48_000, 32_000)
_RATE_SHIFT = {3: 0, 2: 1, 0: 2}  # version 1, 2, 2.5
_TAG_SIZES = {b"TAG+": 227, b"TAG": 128}
_NOTES = (b"Xing", b"Info", b"VBRI")
_NOTE_WITHIN = 48  # bytes of a frame, in which its note begins


class _Head(msgspec.Struct, frozen=True):
    """A frame's header."""

    size: int  # bytes of the frame
    samples: int  # of each channel
    kbps: int
    kind: tuple[int, int, int, bool]  # version, layer, rate, mono: the same in a whole stream


class _Note(msgspec.Struct, frozen=True):
    frames: int | None  # that the stream has; None: not stated
    delay: int | None = None  # samples that the encoder put before the sound; None: not stated
    padding: int = 0  # and after it


class _Stream:
    """The frames of one stream."""

    def __init__(self, head: _Head, note: _Note | None) -> None:
        self.head = head
        self.note = note
        self.frames: list[bytes] = []

    def link(self, name: str) -> Link:
        found = len(self.frames)
        stated = self.note.frames if self.note else None
        if found == 0 or (stated is not None and stated > found + 1):  # some count the note too
            raise truncated(name, f"{found} of {stated} frames that its header declares")
        longest = max(map(len, self.frames))
        lacking = (found + 2) * longest - sum(map(len, self.frames))
        more = self.frames[-1] * (lacking // len(self.frames[-1]) + 1)
        skip = end = 0
        if self.note is not None and self.note.delay is not None:
            skip = self.note.delay + _DECODER_DELAY
            # Frames that the note does not count: its padding lies somewhere before them.
            counted = stated is None or found <= stated + 1
            end = max(0, self.note.padding - _DECODER_DELAY) if counted else 0
        samples = found * self.head.samples - skip - end
        return Link(b"".join([*self.frames, more]), max(samples, 0), skip)


def is_mpeg(content: bytes) -> bool:
    """Whether a file begins with frames of MPEG audio."""
    return _begins(content, 0)


def links(content: bytes, name: str) -> Iterator[Link]:
    """The streams of a file: more than one if files were joined.

    Raises:
        DatasetError: cut short or damaged, or no such file.
    """
    stream: _Stream | None = None
    found = False
    at = 0
    while at < len(content):
        if size := _tag_size(content, at):
            if content.startswith(b"ID3", at) and stream is not None:
                yield stream.link(name)
                stream = None
            at += size
            continue
        if stream is None and not _begins(content, at):
            at = _find(content, at)  # a recording of a broadcast begins anywhere
            continue
        head = _head(content, at)
        if head is None or at + head.size > len(content):
            _check_rest(content, at, head, stream, name)
            break
        frame = content[at : at + head.size]
        note = _note(frame) if head.kind[1] == _LAYER_3 else None
        if stream is None or note is not None or head.kind != stream.head.kind:
            if stream is not None:
                yield stream.link(name)
            stream = _Stream(head, note)
            found = True
        if note is None:
            stream.frames.append(frame)
        at += head.size
    if not found:
        raise unreadable(name, "no frame of MPEG audio in it")
    if stream is not None:
        yield stream.link(name)


def _begins(content: bytes, at: int) -> bool:
    """Whether frames begin at a byte: three in a row, for any two bytes may look so."""
    for follows in range(3):
        head = _head(content, at)
        if head is None:
            return follows > 0 and _tag_size(content, at) > 0
        at += head.size
        if at >= len(content):
            return True
    return True


def _find(content: bytes, at: int) -> int:
    """Where the next frames begin; without any, the end."""
    while (at := content.find(b"\xff", at)) >= 0:
        if _begins(content, at):
            return at
        at += 1
    return len(content)


def _head(content: bytes, at: int) -> _Head | None:
    word = int.from_bytes(content[at : at + 4].ljust(4, b"\0"), "big")
    version, layer, rate = word >> 19 & 3, 4 - (word >> 17 & 3), word >> 10 & 3
    code, padding = word >> 12 & 15, word >> 9 & 1
    if word >> 21 != 0x7FF or version == 1 or layer == 4 or rate == 3 or word & 3 == 2:
        return None
    if code in (0, 15):  # 0: free format, of which frames do not say their size
        return None
    kbps = _KBPS[version == 3, layer][code - 1]
    rate_hz = _RATES_HZ[rate] >> _RATE_SHIFT[version]
    if layer == _LAYER_1:
        samples = 384
        size = (12_000 * kbps // rate_hz + padding) * 4
    else:
        samples = 1152 if layer == _LAYER_2 or version == 3 else 576
        size = samples // 8 * 1000 * kbps // rate_hz + padding
    return _Head(size, samples, kbps, (version, layer, rate_hz, word >> 6 & 3 == 3))


def _tag_size(content: bytes, at: int) -> int:
    """Bytes of the tag that begins at ``at``, or of the zeros; 0: neither."""
    if content[at : at + 3] == b"ID3":
        return id3_size(content, at)
    if content[at : at + 8] == b"APETAGEX":
        return 32 + int.from_bytes(content[at + 12 : at + 16], "little")
    if content[at : at + 11] == b"LYRICSBEGIN":
        end = content.find(b"LYRICS200", at)
        return end + 9 - at if end >= 0 else 0
    for mark, size in _TAG_SIZES.items():
        if content.startswith(mark, at):
            return size
    if content.startswith(b"\0", at):
        rest = content[at : at + 65_536]
        return len(rest) - len(rest.lstrip(b"\0"))
    return 0


def _note(frame: bytes) -> _Note | None:
    """What a frame notes about its stream; ``None``: it is one of sound."""
    found = [at for mark in _NOTES if (at := frame.find(mark, 4, _NOTE_WITHIN)) >= 0]
    if not found:
        return None
    at = found[0]
    if frame.startswith(b"VBRI", at):
        return _Note(int.from_bytes(frame[at + 14 : at + 18], "big"))
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    frames = int.from_bytes(frame[at + 8 : at + 12], "big") if flags & 1 else None
    encoder = at + 8 + sum(size for bit, size in enumerate((4, 4, 100, 4)) if flags >> bit & 1)
    both = int.from_bytes(frame[encoder + 21 : encoder + 24], "big")
    if len(frame) < encoder + 24 or not frame[encoder : encoder + 4].strip(b"\0"):
        return _Note(frames)
    return _Note(frames, both >> 12, both & 0xFFF)


def _check_rest(
    content: bytes, at: int, head: _Head | None, stream: _Stream | None, name: str
) -> None:
    """A ``DatasetError`` if what is neither tag nor whole frame might be sound.

    Args:
        at: where it begins.
        head: of a frame that begins there and is not whole.
        stream: that it follows.
    """
    if stream is None:
        return
    if head is not None and head.kind == stream.head.kind:
        stated = stream.note.frames if stream.note else None
        if stated is None or len(stream.frames) < stated:
            raise truncated(name, f"{len(stream.frames)} frames and a part of one")
        return
    after = _find(content, at)
    if after < len(content):
        raise damaged(name, f"has {after - at} bytes at byte {at} that are no frame of MPEG audio")
    if b"APETAGEX" not in content[-32 - 128 :]:  # its first version has no header
        check_rest(content[at:], stream.head.kbps * 125, name)
