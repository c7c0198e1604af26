"""A manifest made of a folder of recordings, each with its text beside it.

Every file of the folder that might be a recording or a text ends up as a clip, among what was left
out as it is meant to be, or among the problems: none is passed over in silence.
"""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path, PurePosixPath

import msgspec

from harness.audio import decode, read_file, speech_bounds
from harness.containers import FOREIGN_SUFFIXES, SUFFIXES
from harness.datasets.load import no_speech, usable_samples
from harness.datasets.manifest import (
    FOLDER_MANIFEST,
    Line,
    id_of,
    raise_all,
    read_manifest,
    write_manifest,
)
from harness.errors import DatasetError
from harness.languages.scripts import language_doubts
from harness.languages.tags import language_of, require_language
from harness.languages.units import composed, spoken_words

_TEXT_SUFFIX = ".txt"
_MOST_TEXT = 1 << 20  # bytes of one text
_MACOS_FOLDER = "__MACOSX"  # what its archives hold beside the files


class LeftOut(msgspec.Struct, frozen=True):
    path: str  # from the folder
    why: str  # on one line


class FolderManifest(msgspec.Struct, frozen=True):
    """What became of a folder."""

    path: Path  # of the manifest
    added: int  # clips written now
    kept: int  # clips that it had before
    left_out: tuple[LeftOut, ...]  # files that are not meant to be clips
    problems: tuple[DatasetError, ...]  # of files that are, and cannot be used
    doubts: tuple[str, ...] = ()  # what shows that the texts are of another language


def manifest_from_folder(
    folder: Path | str, *, language: str = "en", add: bool = False
) -> FolderManifest:
    """Write ``manifest.jsonl`` into a folder of recordings, each with its text beside it.

    ``a.wav`` (or any other file that libsndfile reads; also in folders below) needs ``a.txt``,
    UTF-8, with what is said; an empty file says that nothing is: noise, for silence is an error.
    Sounds are pinned by checksum, speech onset and end by ``audio.speech_bounds``.

    Args:
        folder: that is searched, and in which the manifest is written.
        language: of the clips, a tag such as ``en`` or ``pt-BR``.
        add: to a manifest that exists: what it lists stays as it is, and is not read again.

    Raises:
        DatasetError: no folder, no recording of use in it, or a manifest that may not be changed.
    """
    folder = Path(folder)
    path = folder / FOLDER_MANIFEST
    require_language("language", language, DatasetError, hint="--language TAG")
    if not folder.is_dir():
        raise DatasetError("no such folder", value=str(folder), hint="name one with recordings")
    before = _lines_before(path, folder, add=add)
    files = _Files(folder, {_from_folder(line.audio_filepath, folder) for line in before})
    lines: list[Line] = []
    for name in files.recordings:
        try:
            lines.append(_line_of(folder, name, files.text_of(name), language))
        except DatasetError as problem:
            files.problems.append(problem)
    lines = _distinct(lines, {line.id for line in before}, files.problems)
    if not lines and not before:
        raise_all(files.problems, str(folder), every=True)
        passed = [f"{left.path} ({left.why})" for left in files.left_out]
        raise DatasetError(
            "no recordings in folder",
            value=str(folder),
            allowed=", ".join(SUFFIXES),
            hint=f"left out: {'; '.join(passed)}" if passed else "name a folder with recordings",
        )
    if lines:
        write_manifest(path, lines, after=read_file(path) if before else b"")
    return FolderManifest(
        path=path,
        added=len(lines),
        kept=len(before),
        left_out=tuple(files.left_out),
        problems=tuple(files.problems),
        doubts=tuple(language_doubts((language_of(language), line.text) for line in lines)),
    )


def _lines_before(path: Path, folder: Path, *, add: bool) -> list[Line]:
    if not path.exists():
        return []
    if not add:
        command = shlex.join(["python", "-m", "harness", "manifest", "--add", str(folder)])
        raise DatasetError(
            "there is a manifest already",
            value=str(path),
            hint=f"to add the recordings that it lacks: {command}; to begin anew, delete it",
        )
    return list(read_manifest(path).values())


def _from_folder(audio_filepath: str, folder: Path) -> PurePosixPath:
    """A path of a manifest's line as it is from the manifest's folder."""
    path = PurePosixPath(audio_filepath)
    whole = PurePosixPath(folder.resolve().as_posix())
    return path.relative_to(whole) if path.is_relative_to(whole) else path


def _stem(path: PurePosixPath) -> tuple[PurePosixPath, str]:
    """What a recording and its text share, however their names are composed."""
    return path.parent, composed(path.stem)


class _Files:
    """The files of a folder by what they are for; those that are for nothing, and why."""

    def __init__(self, folder: Path, seen: set[PurePosixPath]) -> None:
        self.recordings: list[PurePosixPath] = []  # to be read
        self.left_out: list[LeftOut] = []
        self.problems: list[DatasetError] = []
        self._texts: dict[tuple[PurePosixPath, str], PurePosixPath] = {}
        names = [
            PurePosixPath(path.relative_to(folder).as_posix())
            for path in sorted(folder.rglob("*"))
            if not path.is_dir()
        ]
        foreign: list[PurePosixPath] = []
        for name in names:
            self._sort(name, seen, foreign)
        taken = {_stem(name) for name in [*self.recordings, *seen]}
        for name in foreign:  # read only to say what it is, where a text waits for it
            if _stem(name) in taken:
                self._leave_out(name, "libsndfile does not read it; another file of its name is")
            elif _stem(name) in self._texts:
                self.recordings.append(name)
            else:
                self._leave_out(name, "libsndfile does not read it, and it has no text")
        heard = {_stem(name) for name in [*self.recordings, *seen]}
        for stem, name in self._texts.items():
            if stem not in heard:
                self._leave_out(name, _why_unheard(name, names))

    def text_of(self, name: PurePosixPath) -> PurePosixPath:
        return self._texts.get(_stem(name), name.with_suffix(_TEXT_SUFFIX))

    def _sort(
        self, name: PurePosixPath, seen: set[PurePosixPath], foreign: list[PurePosixPath]
    ) -> None:
        suffix = name.suffix.lower()
        if suffix not in (*SUFFIXES, *FOREIGN_SUFFIXES, _TEXT_SUFFIX):
            return
        if any(part.startswith(".") or part == _MACOS_FOLDER for part in name.parts):
            self._leave_out(name, "hidden")
        elif suffix == _TEXT_SUFFIX:
            if self._texts.setdefault(_stem(name), name) != name:
                self._leave_out(name, f"{self._texts[_stem(name)].name} has its name too")
        elif name in seen:
            return
        elif suffix in SUFFIXES:
            self.recordings.append(name)
        else:
            foreign.append(name)

    def _leave_out(self, name: PurePosixPath, why: str) -> None:
        self.left_out.append(LeftOut(str(name), why))


def _why_unheard(text: PurePosixPath, names: list[PurePosixPath]) -> str:
    beside = [name.name for name in names if _stem(name) == _stem(text) and name != text]
    if not beside:
        return "a text without a recording beside it"
    return f"a text without a recording: {', '.join(beside)} has no suffix of one"


def _line_of(folder: Path, name: PurePosixPath, text_name: PurePosixPath, language: str) -> Line:
    unreadable = "make it a file that can be read (a link: to one that is there), or take it away"
    _check_name(name)
    path = folder / name
    recording = decode(read_file(path, hint=unreadable), str(path))
    samples = usable_samples(recording, str(path))
    try:
        content = read_file(folder / text_name, hint="", most=_MOST_TEXT)
        text = " ".join(content.decode("utf-8-sig").split())
    except (DatasetError, UnicodeDecodeError) as error:
        reason = error.what if isinstance(error, DatasetError) else f"not UTF-8: {error}"
        raise DatasetError(
            f"no text for {path} ({reason})",
            hint=f"write what is said into {text_name}, as UTF-8",
        ) from error
    speech = speech_bounds(samples)
    if spoken_words(text) and speech.end_s == 0:
        raise no_speech(str(path), text, f"listen to it; record it again, or empty {text_name}")
    return Line(
        id=id_of(str(name)),
        audio_filepath=str(name),
        duration=round(recording.duration_s, 6),
        text=text,
        language=language,
        speech_onset_s=speech.onset_s,
        speech_end_s=speech.end_s,
        sha256=recording.sha256(),
    )


def _check_name(name: PurePosixPath) -> None:
    try:
        str(name).encode()
    except UnicodeEncodeError as error:
        shown = str(name).encode("utf-8", "replace").decode()
        raise DatasetError(
            f"the name {shown} is not UTF-8", hint="give the file another name"
        ) from error


def _distinct(lines: list[Line], before: set[str], problems: list[DatasetError]) -> list[Line]:
    """The lines whose ids are their own."""
    counts = Counter([*before, *(line.id for line in lines)])
    problems += [
        DatasetError(
            "recordings whose names differ too little",
            value=line.audio_filepath,
            allowed=f"one recording for the id {line.id!r}",
            hint="give it another name, and its text",
        )
        for line in lines
        if counts[line.id] > 1
    ]
    return [line for line in lines if counts[line.id] == 1]
