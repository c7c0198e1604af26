"""Ogg (RFC 3533): every page is checked, chained streams are taken apart.

libsndfile reads the first stream of a chain, and one that is cut short without complaint.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

from harness.containers import flac
from harness.containers.link import Link, damaged, truncated, unreadable

_PAGE = struct.Struct("<4sBBqIIIB")
_FIRST, _LAST = 2, 4  # flags of a stream's first and last page
_FLAC, _SPEEX = b"\x7fFLAC", b"Speex   "
_SOUND = (b"\x01vorbis", b"OpusHead", _SPEEX, _FLAC)  # how a stream of sound begins
_OGG_FLAC_HEADER = 9  # bytes before `fLaC` in its first packet
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Page(msgspec.Struct, frozen=True, eq=False):
    flags: int
    ends_at: int  # granule position, -1: no packet ends in it
    serial: int
    number: int
    sizes: bytes  # of the segments
    content: bytes  # the whole page

    @property
    def body(self) -> bytes:
        return self.content[_PAGE.size + len(self.sizes) :]


def links(content: bytes, name: str) -> Iterator[Link]:
    """The streams of an Ogg file, in order.

    Raises:
        DatasetError: cut short, pages missing or damaged, or no sound in it.
    """
    chain: list[list[_Page]] = []
    for page in _pages(content, name):
        # Streams that are interleaved all begin before any of them goes on.
        if not chain or (page.flags & _FIRST and not chain[-1][-1].flags & _FIRST):
            chain.append([])
        chain[-1].append(page)
    for pages in chain:
        stream = _stream_of_sound(pages, name)
        if stream[0].body.startswith(_SPEEX):
            raise unreadable(name, "Speex, which libsndfile does not read")
        _check(stream, name)
        whole = b"".join(page.content for page in stream)
        if stream[0].body.startswith(_FLAC):
            yield from flac.links(b"".join(_packets(stream))[_OGG_FLAC_HEADER:], name)
        else:
            yield Link(whole)


def _pages(content: bytes, name: str) -> Iterator[_Page]:
    at = 0
    while at < len(content):
        if content[at : at + 4] != b"OggS":
            if content.find(b"OggS", at) < 0:
                return  # a tag that some program appended
            raise damaged(name, f"has no page of Ogg at byte {at}")
        head_end = at + _PAGE.size
        if head_end > len(content):
            raise truncated(name, "half a page at its end")
        _, _, flags, ends_at, serial, number, checksum, count = _PAGE.unpack_from(content, at)
        sizes = content[head_end : head_end + count]
        end = head_end + count + sum(sizes)
        if len(sizes) < count or end > len(content):
            raise truncated(name, "half a page at its end")
        page = content[at:end]
        if _checksum(page) != checksum:
            raise damaged(name, f"has a wrong checksum in the page at byte {at}")
        yield _Page(flags, ends_at, serial, number, sizes, page)
        at = end


def _checksum(page: bytes) -> int:
    """CRC-32 with Ogg's conventions: bits in the other order than zlib's, no inversion."""
    blanked = page[:22] + bytes(4) + page[26:]
    crc = zlib.crc32(blanked.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{crc:032b}"[::-1], 2)


def _stream_of_sound(pages: list[_Page], name: str) -> list[_Page]:
    serials = [p.serial for p in pages if p.flags & _FIRST and p.body.startswith(_SOUND)]
    if len(serials) != 1:
        raise unreadable(name, f"an Ogg file with {len(serials)} streams of sound at once")
    return [page for page in pages if page.serial == serials[0]]


def _check(stream: list[_Page], name: str) -> None:
    if not stream[-1].flags & _LAST:
        raise truncated(name, "no page that is marked as the last")
    if [page.number - stream[0].number for page in stream] != list(range(len(stream))):
        raise damaged(name, "lacks pages")
    ends = [page.ends_at for page in stream if page.ends_at >= 0]
    if ends != sorted(ends):
        raise damaged(name, "has pages whose times go back")


def _packets(stream: list[_Page]) -> Iterator[bytes]:
    parts: list[bytes] = []
    for page in stream:
        body, at = page.body, 0
        for size in page.sizes:
            parts.append(body[at : at + size])
            at += size
            if size < 255:  # a packet's last segment
                yield b"".join(parts)
                parts = []
