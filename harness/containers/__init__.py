"""What is in an audio file, whatever its header states about its length.

``links`` recognises the container by its first bytes, finds the true end of the sound, takes joined
files apart, and hands over pieces that libsndfile reads to their end. A file of which that cannot
be done is refused by name, with the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePath

from harness.containers import flac, mpeg, ogg, riff
from harness.containers.link import ONE_CHANNEL, Link, convert, truncated, unreadable

__all__ = [
    "FOREIGN_SUFFIXES",
    "ONE_CHANNEL",
    "SUFFIXES",
    "Link",
    "convert",
    "links",
    "truncated",
    "unreadable",
]

# fmt: off
# Of files that libsndfile reads; by the content, a suffix only finds them in a folder.
SUFFIXES = (
    ".wav", ".wave", ".bwf", ".flac", ".mp3", ".mp2", ".mp1", ".mpga", ".ogg", ".oga", ".opus",
    ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".nist", ".voc",
    ".avr", ".paf", ".pvf", ".xi", ".wve", ".sf", ".ircam", ".htk", ".sds", ".8svx", ".16sv",
)
# Of files with sound that libsndfile does not read.
FOREIGN_SUFFIXES = (
    ".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".aac", ".adts", ".alac", ".webm", ".weba", ".mkv",
    ".mka", ".wma", ".asf", ".amr", ".awb", ".ape", ".wv", ".tta", ".spx", ".ra", ".rm", ".avi",
    ".flv", ".dsf", ".ac3", ".eac3", ".dts",
)
# fmt: on

_Reader = Callable[[bytes, str], Iterator[Link]]
_READERS: tuple[tuple[Callable[[bytes], object], _Reader], ...] = (
    (riff.WAV.match, riff.wav_links),
    (lambda head: head.startswith(b"riff\x2e\x91\xcf\x11"), riff.w64_links),
    (lambda head: head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"), riff.aiff_links),
    (lambda head: head.startswith(b"caff"), riff.caf_links),
    (lambda head: head.startswith((b".snd", b"dns.")), riff.au_links),
    (lambda head: head.startswith(b"NIST_1A"), riff.nist_links),
    (lambda head: head.startswith(b"Creative Voice"), riff.voc_links),
    (lambda head: head.startswith(b"OggS"), ogg.links),
    (lambda head: head.startswith(b"fLaC"), flac.links),
)
# Where a signature is, what it is, and what the file then is.
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "MP4 or M4A, which libsndfile does not read"),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska, which libsndfile does not read"),
    (0, b"ADIF", "AAC, which libsndfile does not read"),
    (0, b"\xff\xf1", "AAC, which libsndfile does not read"),
    (0, b"\xff\xf9", "AAC, which libsndfile does not read"),
    (0, b"\x30\x26\xb2\x75", "WMA or ASF, which libsndfile does not read"),
    (0, b"#!AMR", "AMR, which libsndfile does not read"),
    (0, b"\x02#!SILK", "SILK, which libsndfile does not read"),
    (0, b"#!SILK", "SILK, which libsndfile does not read"),
    (0, b"wvpk", "WavPack, which libsndfile does not read"),
    (0, b"MAC ", "Monkey's Audio, which libsndfile does not read"),
    (0, b"TTA1", "True Audio, which libsndfile does not read"),
    (0, b".RMF", "RealMedia, which libsndfile does not read"),
    (
        0,
        b"\x00\x05\x16\x07",
        "AppleDouble: metadata that macOS stores for a file, without its sound",
    ),
)
_LFS_POINTER = b"version https://git-lfs."


def links(content: bytes, name: str) -> Iterator[Link]:
    """The streams of a file, in order, each to its true end.

    Args:
        content: of the file.
        name: how errors call it.

    Raises:
        DatasetError: no audio, or of a kind that libsndfile does not read; cut short or damaged,
            as far as its container shows.
    """
    if not content:
        raise unreadable(name, "the file is empty")
    if content.startswith(_LFS_POINTER):
        raise unreadable(name, "a pointer of Git LFS instead of the file", hint="git lfs pull")
    if content.startswith(b"ID3"):
        after = content[flac.id3_size(content, 0) :]
        return flac.links(after, name) if after.startswith(b"fLaC") else mpeg.links(content, name)
    for begins, reader in _READERS:
        if begins(content[:16]):
            return reader(content, name)
    if mpeg.is_mpeg(content):
        return mpeg.links(content, name)
    for at, signature, what in _FOREIGN:
        if content.startswith(signature, at):
            raise unreadable(name, what)
    if PurePath(name).suffix.lower() in (".mp3", ".mp2", ".mp1", ".mpga"):
        return mpeg.links(content, name)  # it begins with something else
    return riff.plain_links(content, name)
