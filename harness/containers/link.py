"""What the readers of containers share: a piece for libsndfile, and the ways to refuse a file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePath

import msgspec

from harness.errors import DatasetError

ONE_CHANNEL = ("-af", "pan=mono|c0=c0")  # for ffmpeg
_JUNK_S = 0.1  # bytes after the sound that are neither sound nor tag: so much is passed over


class Link(msgspec.Struct, frozen=True, eq=False):
    """One stream of a file, in a form that libsndfile reads to its end.

    A file has several when files were joined byte by byte, or when an Ogg file is chained.
    """

    content: bytes  # a file by itself
    samples: int | None = None  # of each channel; None: as many as libsndfile states
    skip: int = 0  # samples before these, which an encoder put there
    checked: bool = True  # whether its stated length was compared with the file


def truncated(name: str, found: str) -> DatasetError:
    return DatasetError(
        f"truncated audio: {name} holds {found}",
        hint="copy or download the file again; if it is whole all the same: " + convert(name),
    )


def damaged(name: str, what: str) -> DatasetError:
    return DatasetError(
        f"damaged audio: {name} {what}",
        hint="copy or download the file again; if it sounds right: " + convert(name),
    )


def unreadable(name: str, reason: str, hint: str | None = None) -> DatasetError:
    return DatasetError(
        f"cannot decode {name} ({reason})",
        allowed="a complete file that libsndfile reads: wav, flac, mp3, ogg, opus, aiff and more",
        hint=hint or "play it in another program; " + convert(name),
    )


def convert(name: str, options: Sequence[str] = ()) -> str:
    """The command that makes a wav of a file, and of all that ffmpeg finds in it."""
    path = PurePath(name)
    mark = "-converted" if path.suffix.lower() == ".wav" else ""
    target = str(path.with_name(f"{path.stem}{mark}.wav")) if path.name else name
    return shlex.join(["ffmpeg", "-i", name, *options, target])


def check_rest(rest: bytes, bytes_per_s: float, name: str) -> None:
    """A ``DatasetError`` if what follows the sound might be sound.

    Args:
        rest: bytes after the stated end, no tag or chunk among them.
        bytes_per_s: of the sound.
    """
    if len(rest) > _JUNK_S * bytes_per_s and any(rest):
        raise DatasetError(
            f"{name} goes on for {len(rest)} bytes after the end that its header states",
            hint="listen whether that is sound, then: " + convert(name),
        )
