"""FLAC (RFC 9639): the length is that of the last frame, whatever the header states.

A header that states none makes libsndfile fail; of joined files it reads the first.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

import msgspec

from harness.containers.link import Link, damaged, truncated, unreadable

_MARK = b"fLaC"
_BEGIN = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22", re.DOTALL)  # with the head of STREAMINFO
_HEADS = re.compile(rb"\xff[\xf8\xf9]", re.DOTALL)
_STREAMINFO = slice(8, 42)
_MOST_TOTAL = (1 << 36) - 1
_LAST_FRAME = 1 << 20  # bytes: the last frame is looked for in as many
_BLOCK_SIZES = {1: 192, **{code: 144 << code for code in range(2, 6)}}
_BLOCK_SIZES |= {code: 1 << code for code in range(8, 16)}
_RATE_BYTES = {12: 1, 13: 2, 14: 2}


class _Frame(msgspec.Struct, frozen=True):
    number: int  # of the frame, or of its first sample if the block size varies
    samples: int
    varies: bool

    def start(self, block_size: int) -> int:
        return self.number if self.varies else self.number * block_size


def links(content: bytes, name: str) -> Iterator[Link]:
    """The streams of a FLAC file, each with its true length.

    Raises:
        DatasetError: cut short or damaged.
    """
    starts = [match.start() for match in _BEGIN.finditer(content)]
    if not starts:
        raise unreadable(name, "FLAC without a stream's description")
    for start, stop in zip(starts, [*starts[1:], len(content)], strict=True):
        yield _link(_without_tag(content[start:stop]), name)


def _without_tag(stream: bytes) -> bytes:
    """The stream without an ID3v1 tag, or the ID3v2 tag of the next one."""
    if stream[-128:-125] == b"TAG":
        return stream[:-128]
    tag = stream.rfind(b"ID3", -_LAST_FRAME)
    if tag >= 0 and len(stream) - tag == id3_size(stream, tag):
        return stream[:tag]
    return stream


def id3_size(content: bytes, at: int) -> int:
    """Bytes of the ID3v2 tag that begins at ``at``."""
    head = content[at : at + 10].ljust(10, b"\0")
    size = functools.reduce(lambda total, byte: total << 7 | byte & 0x7F, head[6:], 0)
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _link(stream: bytes, name: str) -> Link:
    at = len(_MARK)
    last = False
    while not last and at + 4 <= len(stream):
        last = bool(stream[at] & 0x80)
        at += 4 + int.from_bytes(stream[at + 1 : at + 4], "big")
    first = _frame(stream, at)
    if first is None:
        raise (
            truncated(name, "no frame of sound")
            if at >= len(stream)
            else damaged(name, f"has no frame of FLAC at byte {at}")
        )
    info = int.from_bytes(stream[_STREAMINFO], "big") >> 128  # without the MD5
    stated, block_size = info & _MOST_TOTAL, info >> 112 & 0xFFFF
    end = _end(stream, at, stated, block_size)
    if end == 0:
        raise truncated(name, "half a frame at its end")
    samples = end - first.start(block_size)
    if samples < stated:
        raise truncated(name, f"{samples} of {stated} samples that its header declares")
    right = stream[:8] + _with_total(stream[_STREAMINFO], samples) + stream[42:]
    return Link(right, samples)


def _with_total(info: bytes, samples: int) -> bytes:
    value = int.from_bytes(info, "big") & ~(_MOST_TOTAL << 128) | samples << 128
    return value.to_bytes(len(info), "big")


def _end(stream: bytes, first: int, stated: int, block_size: int) -> int:
    """The number of the sample after the last; 0 if the last frame is not whole."""
    since = max(first, len(stream) - _LAST_FRAME)
    passed = 0
    for match in reversed(list(_HEADS.finditer(stream, since))):
        frame = _frame(stream, match.start())
        if frame is None:
            continue
        end = frame.start(block_size) + frame.samples
        if _crc16(stream[match.start() :]) == 0:
            return end
        passed = passed or (end if end == stated else 0)
    return passed  # whole by its header's word, then something else: the decoder checks it


def _frame(stream: bytes, at: int) -> _Frame | None:
    """The frame whose header is at a byte, if there is one."""
    head = stream[at : at + 16]
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8:
        return None
    number, size = _number(head[4:])
    used = 4 + size
    code = head[2] >> 4
    if not size or not code or head[3] & 1:
        return None
    samples = _BLOCK_SIZES.get(code, 0)
    if code in (6, 7):
        samples = int.from_bytes(head[used : used + code - 5], "big") + 1
        used += code - 5
    used += _RATE_BYTES.get(head[2] & 15, 0)
    if len(head) <= used or _crc8(head[:used]) != head[used]:
        return None
    return _Frame(number, samples, bool(head[1] & 1))


def _number(coded: bytes) -> tuple[int, int]:
    """A number coded as UTF-8 codes characters, up to 36 bits, and its bytes; 0 bytes: none."""
    ones = 8 - (~coded[0] & 0xFF).bit_length()
    if ones == 0:
        return coded[0], 1
    if ones in (1, 8) or any(byte & 0xC0 != 0x80 for byte in coded[1:ones]):
        return 0, 0
    value = coded[0] & (0x7F >> ones)
    for byte in coded[1:ones]:
        value = value << 6 | byte & 0x3F
    return value, ones


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc


def _table(bits: int, polynomial: int) -> tuple[int, ...]:
    top, table = 1 << bits - 1, []
    for byte in range(256):
        crc = byte << bits - 8
        for _ in range(8):
            crc = (crc << 1 ^ (polynomial if crc & top else 0)) & (2 * top - 1)
        table.append(crc)
    return tuple(table)


_CRC8, _CRC16 = _table(8, 0x07), _table(16, 0x8005)
