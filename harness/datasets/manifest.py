"""Manifests: one JSON object a line, one line a clip, with the field names of NVIDIA NeMo.

::

    {"id": "a1", "audio_filepath": "a.flac", "offset": 0.0, "duration": 2.5, "text": "hello there"}

Everything that can be said about a manifest without opening its audio is checked here.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

import harness
from harness.audio import read_file
from harness.errors import DatasetError
from harness.events import Word
from harness.install_hint import install_hint
from harness.languages.tags import require_language
from harness.languages.units import composed, is_blank, spoken_words
from harness.metrics.words import bare

FOLDER_MANIFEST = "manifest.jsonl"  # what a folder's own manifest is called

_PACKAGE = "package:"
_EMBEDDED_SPEECH = "moonshine_voice"  # the package that the extra `embedded` brings
_SHOWN = 10  # problems of one manifest: the rest is counted, an error fits one screen
_HOW_TO_MAKE = (
    "write what is said in each recording into a .txt file beside it (a.wav, a.txt), then: "
    "python -m harness manifest {folder}"
)


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line. Times are seconds; of speech and words, from the start of the clip."""

    id: str = ""  # letters, digits, `_`, `.` and `-`, unique; "": made of the file's path
    audio_filepath: str  # from the manifest's folder, absolute, or `package:NAME/PATH`
    offset: float = 0.0  # where the clip begins in the file
    duration: float | None = None  # None: to the end of the file
    text: str  # what is said; "" for a clip of noise, in which nothing is
    language: str = "en"  # any tag: en-US is as good as en
    speech_onset_s: float | None = None  # None: found by energy, see `audio.speech_bounds`
    speech_end_s: float | None = None
    words: tuple[Word, ...] = ()  # when each word of `text` is spoken; empty: unknown
    sha256: str | None = None  # of the clip's PCM, see `audio.Recording.sha256`
    file_sha256: str | None = None  # of the audio file
    source: str | None = None  # where the recording comes from
    licence: str | None = None
    extra: dict[str, Any] = {}  # the user's own; anything unknown elsewhere is an error

    def problems(self) -> Iterable[DatasetError]:
        """What is wrong with the line by itself; field by field, value and what is allowed."""
        if not _is_id(self.id):
            yield DatasetError("id", value=self.id, allowed="letters, digits, `_`, `.` and `-`")
        try:
            require_language("language", self.language, DatasetError)
        except DatasetError as problem:
            yield problem
        if self.text and is_blank(self.text):
            yield DatasetError(
                "text", value=self.text, allowed='what is said, or "" where nothing is said'
            )
        if self.offset < 0:
            yield DatasetError("offset", value=self.offset, allowed="0 or more")
        if self.duration is not None and self.duration <= 0:
            yield DatasetError("duration", value=self.duration, allowed="above 0")
        for name in ("sha256", "file_sha256"):
            value = getattr(self, name)
            if value is not None and not re.fullmatch("[0-9a-f]{64}", value):
                yield DatasetError(name, value=value, allowed="64 lower-case hexadecimal digits")
        yield from self._time_problems()

    def _time_problems(self) -> Iterable[DatasetError]:
        onset_s, end_s = self.speech_onset_s or 0.0, self.speech_end_s
        if onset_s < 0 or (end_s is not None and end_s < onset_s):
            yield not_in_order(self.speech_onset_s, end_s)
        if not self.words:
            return
        timed = [said for word in self.words if (said := bare(word.text))]  # also a lone 。
        if timed != [bare(word) for word in spoken_words(self.text)]:
            yield DatasetError(
                "words",
                value=" ".join(word.text for word in self.words),
                allowed=f"the words of text, {' '.join(spoken_words(self.text))!r}: by character in"
                " scripts that are written without spaces",
                hint="text was changed? delete words from the line, then align again",
            )
        times_s = [0.0, *(time for word in self.words for time in (word.start_s, word.end_s))]
        if times_s != sorted(times_s):
            yield DatasetError("words", value=times_s[1:], allowed="times from 0, in order")


def not_in_order(
    onset_s: float | None, end_s: float | None, hint: str | None = None
) -> DatasetError:
    """The problem of speech that ends before it begins, or begins before the clip."""
    return DatasetError(
        "speech_onset_s, speech_end_s",
        value=(onset_s, end_s),
        allowed="0 <= onset <= end",
        hint=hint,
    )


def raise_all(problems: Sequence[DatasetError], where: str, *, every: bool = False) -> None:
    """Raise what was found, if anything was, as one error.

    Args:
        problems: of which the first are told in full.
        where: in what they were found.
        every: whether the rest are named, a line each, or only counted.
    """
    if not problems:
        return
    if len(problems) == 1:
        raise DatasetError(f"{where}: {problems[0]}")
    texts = [str(problem) for problem in problems[:_SHOWN]]
    rest = [str(problem).split("\n", 1)[0] for problem in problems[_SHOWN:]]
    if rest:
        texts += rest if every else [f"... and {len(rest)} more"]
    raise DatasetError("\n".join([f"{where}: {len(problems)} problems", *texts]))


def at_line(path: Path, number: int, problem: DatasetError) -> DatasetError:
    """The same problem, with where it is."""
    return DatasetError(
        f"{path.name}:{number}: {problem.what}",
        value=problem.value,
        allowed=problem.allowed,
        hint=problem.hint,
    )


def find_manifest(name: str) -> Path:
    """The manifest that a config means: a file, a folder that holds one, or one in ``datasets/``.

    Raises:
        DatasetError: there is none; says how to make one.
    """
    try:
        path = Path(name).expanduser()
        is_folder = path.is_dir()
    except (RuntimeError, OSError) as error:  # ~NAME of nobody, no HOME; a name that is too long
        raise DatasetError(
            f"no such manifest ({error})",
            value=name,
            hint="write the path in full; a name that begins with ~ is written ./~NAME",
        ) from error
    if is_folder:
        if (path / FOLDER_MANIFEST).is_file():
            return path / FOLDER_MANIFEST
        raise DatasetError(
            "no manifest in folder",
            value=name,
            allowed=f"a folder with a {FOLDER_MANIFEST}",
            hint=_HOW_TO_MAKE.format(folder=shlex.quote(name)),
        )
    if path.is_file():
        return path
    shipped = _shipped_folder()
    if (shipped / name).is_file():
        return shipped / name
    if path.exists():
        raise DatasetError(
            "a manifest must be a regular file: a pipe or device may have no end",
            value=name,
            hint="save what it gives into a file",
        )
    raise DatasetError(
        "no such manifest",
        value=name,
        allowed="a path, or one of " + ", ".join(sorted(p.name for p in shipped.glob("*.jsonl"))),
        hint="check dataset.manifest",
    )


def _shipped_folder() -> Path:
    """The copy of ``datasets/`` that the wheel carries, else the checkout's.

    In that order: beside an installed package, ``datasets`` is Hugging Face's library.
    """
    package = Path(harness.__file__).parent
    installed = package / "_datasets"
    return installed if installed.is_dir() else package.parent / "datasets"


def read_manifest(path: Path) -> dict[int, Line]:
    """Its clips by line number, which counts from 1.

    Raises:
        DatasetError: what ``parse_manifest`` raises, or every problem that it found.
    """
    lines, problems = parse_manifest(path)
    problems.raise_all()
    return lines


class LineProblems:
    """What is wrong with the lines of a manifest, told at once and in their order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._of: dict[int, list[DatasetError]] = {}  # by line number

    def __contains__(self, number: int) -> bool:
        return number in self._of

    @property
    def numbers(self) -> set[int]:
        return set(self._of)

    def add(self, number: int, problem: DatasetError) -> None:
        self._of.setdefault(number, []).append(at_line(self._path, number, problem))

    def raise_all(self, *, every: bool = False) -> None:
        in_order = [problem for number in sorted(self._of) for problem in self._of[number]]
        raise_all(in_order, str(self._path), every=every)


def parse_manifest(path: Path) -> tuple[dict[int, Line], LineProblems]:
    """The lines that parse, by number, and the problems of these and of the others.

    A problem: a line is not JSON, misses a field, has one that is unknown or out of range, or
    repeats an id.

    Raises:
        DatasetError: a file that is not UTF-8, or without a line.
    """
    try:
        text = read_file(path, hint="check dataset.manifest").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path} is not UTF-8 text ({error})", hint="save it as UTF-8"
        ) from error
    lines: dict[int, Line] = {}
    problems = LineProblems(path)
    for number, row in enumerate(re.split("\r\n?|\n", text), start=1):
        if not row.strip():
            continue
        try:
            line = msgspec.json.decode(row, type=Line)
        except msgspec.DecodeError as error:
            problems.add(number, _not_a_line(row, error))
            continue
        if not line.id:
            line = msgspec.structs.replace(line, id=id_of(line.audio_filepath))
        lines[number] = line
        for problem in line.problems():
            problems.add(number, problem)
    if not text.strip():
        raise DatasetError(
            "no clips in manifest", value=str(path), allowed="one JSON object a line"
        )
    counts = Counter(line.id for line in lines.values())
    for number, line in lines.items():
        if counts[line.id] > 1:
            problems.add(number, DatasetError("id", value=line.id, allowed="each id once"))
    return lines, problems


def id_of(audio_filepath: str) -> str:
    """An id made of a file's path, less its suffix; `_` where no letter or digit is left."""
    path = PurePosixPath(audio_filepath)
    stem = composed(path.with_suffix("").as_posix() if path.name else "")
    spaced = "".join(char if _is_written(char) else " " for char in stem)
    name = "_".join(spaced.split()).strip("_")
    return name if _is_id(name) else f"_{name}"


def _is_id(text: str) -> bool:
    begins = bool(text) and (text[0].isalnum() or text[0] == "_")
    return begins and all(_is_written(char) or char in ".-" for char in text)


def _is_written(char: str) -> bool:
    """Whether a character is of a word. Vowel signs count: without them words of India merge."""
    return char.isalnum() or char == "_" or unicodedata.category(char).startswith("M")


def _not_a_line(row: str, error: msgspec.DecodeError) -> DatasetError:
    if not isinstance(error, msgspec.ValidationError):
        return DatasetError(f"not JSON ({error})", value=row[:60], allowed="one JSON object a line")
    return DatasetError(
        str(error),
        allowed="fields "
        + ", ".join(Line.__struct_fields__)
        + "; audio_filepath and text are required",
        hint="the spelling; your own fields go into extra",
    )


def locate_audio(line: Line, manifest: Path) -> Path:
    """The file that a line means; whether it exists is for the reader to see.

    Raises:
        DatasetError: no path, one that leaves the manifest's folder, or a package that is not
            installed.
    """
    name = line.audio_filepath
    path = PurePosixPath(name.removeprefix(_PACKAGE))
    if ".." in path.parts or "\0" in name or not path.parts:
        raise DatasetError(
            "audio_filepath",
            value=name,
            allowed="a file in or below the manifest's folder, an absolute path, "
            "or package:NAME/PATH; without `..`, so that the folder can be moved as a whole, "
            "and without NUL",
        )
    if not name.startswith(_PACKAGE):
        return manifest.parent / path
    package = path.parts[0]
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise DatasetError(
            f"audio_filepath {name!r}: the package {package} is not installed",
            hint=install_hint("embedded")
            if package == _EMBEDDED_SPEECH
            else f"install the package that has the module {package}",
        )
    return Path(spec.submodule_search_locations[0]).joinpath(*path.parts[1:])


def write_manifest(path: Path, lines: Iterable[Line], *, after: bytes = b"") -> None:
    """Write a whole manifest; whoever reads meanwhile sees the old one or the new one.

    Args:
        path: of the manifest.
        lines: one a clip.
        after: lines as they are written already, which stay in front of the new ones.

    Raises:
        DatasetError: the folder cannot be written to.
    """
    part = path.with_name(path.name + ".part")
    rows = [msgspec.json.encode(_set_fields(line)) + b"\n" for line in lines]
    if after and not after.endswith(b"\n"):
        after += b"\n"
    try:
        part.write_bytes(b"".join([after, *rows]))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DatasetError(
            f"cannot write {path} ({error.strerror})",
            hint="check the folder's permissions and space",
        ) from error


def _set_fields(line: Line) -> dict[str, Any]:
    return {
        name: value
        for name, value in msgspec.structs.asdict(line).items()
        if value not in (None, (), {})
    }
