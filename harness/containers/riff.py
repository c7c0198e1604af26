"""Containers made of chunks or with one header: WAV and its kin, AIFF, CAF, AU, NIST SPHERE.

The length of the sound that they state is compared with the file. Programs that write into a pipe
leave a placeholder: then the sound is all that follows. libsndfile believes what is stated, and of
joined files it reads the first.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator

import msgspec

from harness.containers import mpeg
from harness.containers.link import Link, check_rest, convert, truncated, unreadable
from harness.errors import DatasetError

WAV = re.compile(rb"(?:RIFF|RF64|BW64)....WAVE", re.DOTALL)
_MPEG_TAGS = (0x50, 0x55)  # codecs of a wav: MPEG audio, layers I and II, and III
_PLACEHOLDERS = range(0x7FFF_0000, 0x1_0000_0000)  # of 32 bits: about 2 to 4 GiB
_FROM_DS64 = 0xFFFF_FFFF
_W64_HEAD = 40  # bytes before the first chunk
_FILES = (b"RIFF", b"RF64", b"BW64", b"FORM", b"caff", b"riff")  # how files begin, not chunks
_NIST_SIZES = ("sample_count", "sample_n_bytes", "channel_count")
_VOC_END, _VOC_TIMED = 0, (1, 2, 3, 6, 9)  # types of blocks: the end; sound, silence, repeat
_MOST_BYTES_PER_S = 192_000  # a header may state any number: 16 bits at 48 kHz, two channels
_LITTLE_BYTES_PER_S = 32_000  # where the header is not asked: 16 bits at 16 kHz


class _Chunk(msgspec.Struct, frozen=True):
    kind: bytes  # 4 letters
    start: int  # of its content
    size: int  # as stated


class _Layout(msgspec.Struct, frozen=True):
    """How chunks are written."""

    name_size: int  # bytes of a chunk's name, of which the first 4 are letters
    size: struct.Struct
    counts_head: bool  # whether the size includes the chunk's own head
    align: int  # to how many bytes a chunk is padded

    @property
    def head(self) -> int:
        return self.name_size + self.size.size

    def at(self, content: bytes, at: int) -> _Chunk | None:
        """The chunk whose head is at a byte; ``None``: no head of a chunk is there."""
        kind = content[at : at + 4]
        if at + self.head > len(content) or not re.fullmatch(rb"[ -~]{4}", kind):
            return None
        if kind in _FILES:
            return None
        (size,) = self.size.unpack_from(content, at + self.name_size)
        start = at + self.head
        return _Chunk(kind, start, size - self.head if self.counts_head else size)

    def after(self, content: bytes, chunk: _Chunk) -> int:
        """Where the next chunk is. Some programs leave the padding out."""
        end = chunk.start + chunk.size
        padded = end + -chunk.size % self.align
        return end if self.at(content, padded) is None and self.at(content, end) else padded


def _fits(content: bytes, chunk: _Chunk) -> bool:
    return 0 <= chunk.size <= len(content) - chunk.start


_RIFF = _Layout(4, struct.Struct("<I"), counts_head=False, align=2)
_W64 = _Layout(16, struct.Struct("<q"), counts_head=True, align=8)
_FORM = _Layout(4, struct.Struct(">I"), counts_head=False, align=2)
_CAF = _Layout(4, struct.Struct(">q"), counts_head=False, align=1)


class _Sound(msgspec.Struct, frozen=True):
    """The chunks of a file up to the sound, and the sound's true place."""

    chunks: dict[bytes, bytes]  # the content of those before and after it
    start: int
    size: int


def _find_sound(
    content: bytes, layout: _Layout, at: int, kind: bytes, name: str
) -> tuple[_Sound, bytes]:
    """The sound and the bytes after it that belong to no chunk.

    Args:
        at: where the first chunk is.
        kind: of the chunk with the sound.
    """
    chunks: dict[bytes, bytes] = {}
    sound: tuple[int, int] | None = None
    while (chunk := layout.at(content, at)) is not None:
        if chunk.kind == kind:
            if sound is not None:
                raise unreadable(
                    name,
                    f"it has two chunks of sound, {kind.decode()!r}",
                    hint=f"if the first is all that you want: {convert(name)}",
                )
            size = _true_size(content, layout, chunk, chunks, name)
            sound = chunk.start, size
            chunk = _Chunk(kind, chunk.start, size)
        elif not _fits(content, chunk):
            break
        else:
            chunks[chunk.kind] = content[chunk.start : chunk.start + chunk.size]
        at = layout.after(content, chunk)
    if sound is None:
        raise unreadable(name, f"it has no chunk of sound, {kind.decode()!r}")
    return _Sound(chunks, *sound), content[at:]


def _true_size(
    content: bytes, layout: _Layout, chunk: _Chunk, before: dict[bytes, bytes], name: str
) -> int:
    rest = len(content) - chunk.start
    size = chunk.size
    if size == _FROM_DS64 and len(before.get(b"ds64", b"")) >= 16:
        (size,) = struct.unpack_from("<q", before[b"ds64"], 8)
    if size <= 0:
        # A placeholder, unless chunks follow: then there is no sound.
        after = layout.at(content, chunk.start)
        return 0 if size == 0 and after is not None and _fits(content, after) else rest
    if size > rest:
        if size not in _PLACEHOLDERS and size < 1 << 62:
            raise truncated(name, f"{rest} of {size} bytes that its header declares")
        return rest
    return size


def _as_wav(sound: _Sound, content: bytes, name: str) -> Iterator[Link]:
    """The same sound in a file with the chunks that matter, each with its right length."""
    form = sound.chunks.get(b"fmt ", b"")
    samples = memoryview(content)[sound.start : sound.start + sound.size]
    if len(form) >= 16 and int.from_bytes(form[:2], "little") in _MPEG_TAGS and sound.size:
        yield from mpeg.links(bytes(samples), name)
        return
    parts: list[bytes | memoryview] = [b"WAVE"]
    for kind, body in ((b"fmt ", form), (b"fact", sound.chunks.get(b"fact")), (b"data", samples)):
        if body is not None:
            parts += [kind, struct.pack("<I", len(body)), body, b"\0" * (len(body) % 2)]
    yield Link(b"".join([b"RIFF", struct.pack("<I", sum(map(len, parts))), *parts]))


def _check_wav_rest(sound: _Sound, rest: bytes, name: str) -> None:
    form = sound.chunks.get(b"fmt ", b"").ljust(16, b"\0")
    check_rest(rest, min(int.from_bytes(form[8:12], "little"), _MOST_BYTES_PER_S), name)


def wav_links(content: bytes, name: str) -> Iterator[Link]:
    """The recordings of a WAV, RF64 or BW64 file: several if files were joined.

    Raises:
        DatasetError: cut short, or no sound in it.
    """
    starts = [match.start() for match in WAV.finditer(content)]
    for start, stop in zip(starts, [*starts[1:], len(content)], strict=True):
        part = content[start:stop]
        sound, rest = _find_sound(part, _RIFF, 12, b"data", name)
        _check_wav_rest(sound, rest, name)
        yield from _as_wav(sound, part, name)


def w64_links(content: bytes, name: str) -> Iterator[Link]:
    """A Sony Wave64 file, whose chunks are those of a wav."""
    sound, rest = _find_sound(content, _W64, _W64_HEAD, b"data", name)
    _check_wav_rest(sound, rest, name)
    yield from _as_wav(sound, content, name)


def aiff_links(content: bytes, name: str) -> Iterator[Link]:
    """An AIFF or AIFF-C file."""
    sound, rest = _find_sound(content, _FORM, 12, b"SSND", name)
    check_rest(rest, _LITTLE_BYTES_PER_S, name)
    parts: list[bytes | memoryview] = [content[8:12]]
    samples = memoryview(content)[sound.start : sound.start + sound.size]
    for kind in (b"FVER", b"COMM", b"SSND"):
        body = samples if kind == b"SSND" else sound.chunks.get(kind)
        if body is not None:
            parts += [kind, struct.pack(">I", len(body)), body, b"\0" * (len(body) % 2)]
    yield Link(b"".join([b"FORM", struct.pack(">I", sum(map(len, parts))), *parts]))


def caf_links(content: bytes, name: str) -> Iterator[Link]:
    """An Apple Core Audio file."""
    sound, rest = _find_sound(content, _CAF, 8, b"data", name)
    check_rest(rest, _LITTLE_BYTES_PER_S, name)
    at = sound.start - 8
    yield Link(content[:at] + struct.pack(">q", sound.size) + content[sound.start :])


def au_links(content: bytes, name: str) -> Iterator[Link]:
    """A Sun or NeXT file."""
    order = ">" if content.startswith(b".snd") else "<"
    start, size = struct.unpack_from(order + "II", content.ljust(12, b"\0"), 4)
    rest = max(len(content) - start, 0)
    if size == 0 or size in _PLACEHOLDERS:
        size = rest
    if size > rest:
        raise truncated(name, f"{rest} of {size} bytes that its header declares")
    check_rest(content[start + size :], _LITTLE_BYTES_PER_S, name)
    yield Link(content[:8] + struct.pack(order + "I", size) + content[12 : start + size])


def nist_links(content: bytes, name: str) -> Iterator[Link]:
    """A NIST SPHERE file."""
    head = re.match(rb"NIST_1A\s+(\d+)\s", content)
    start = int(head[1]) if head else 0
    header = content[:start].decode("latin-1")
    fields = dict(re.findall(r"^(\w+) -\w+ (\S+)", header, re.MULTILINE))
    try:
        size = math.prod(int(fields.get(field, 1)) for field in _NIST_SIZES)
    except ValueError as error:
        raise unreadable(name, f"NIST SPHERE, {error}") from error
    # What is compressed has another length, and libsndfile says that it does not read it.
    if "sample_count" in fields and fields.get("sample_coding", "pcm") in ("pcm", "ulaw", "alaw"):
        if len(content) - start < size:
            found = max(len(content) - start, 0)
            raise truncated(name, f"{found} of {size} bytes that its header declares")
        check_rest(content[start + size :], _LITTLE_BYTES_PER_S, name)
        content = content[: start + size]
    yield Link(content)


def voc_links(content: bytes, name: str) -> Iterator[Link]:
    """A Creative Voice file. Of several blocks libsndfile takes the heads for sound."""
    at = int.from_bytes(content[20:22], "little")
    kinds: list[int] = []
    while at < len(content) and content[at] != _VOC_END:
        kinds.append(content[at])
        size = int.from_bytes(content[at + 1 : at + 4], "little")
        at += 4 + size
        if at > len(content):
            raise truncated(name, f"{len(content) - at + size} of {size} bytes of its last block")
    if sum(kind in _VOC_TIMED for kind in kinds) > 1:
        raise unreadable(name, "a VOC of several blocks, which libsndfile reads wrongly")
    check_rest(content[at + 1 :], _LITTLE_BYTES_PER_S, name)
    yield Link(content[: at + 1])


def plain_links(content: bytes, name: str) -> Iterator[Link]:
    """A file of any other kind: whole unless a second file begins in its middle.

    Raises:
        DatasetError: files were joined.
    """
    again = content.find(content[:24], 1) if len(content) >= 48 and any(content[:24]) else -1
    if again >= 0:
        raise DatasetError(
            f"{name}: a second file begins at byte {again}; only the first would be read",
            hint="take them apart, or join what they hold with another program",
        )
    yield Link(content, checked=False)
