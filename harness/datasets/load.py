"""Datasets: recorded clips with their text, checked as a whole before anything is timed.

``load_dataset`` reads what a config names: a manifest (``manifest``) or a Hugging Face
dataset (``hub``). All problems of a manifest are told at once.
"""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from harness.audio import (
    RATE_HZ,
    SHORTEST_SPEECH_MS,
    Recording,
    Samples,
    decode,
    read_file,
    refuse_cancelled,
    refuse_silence,
    speech_bounds,
)
from harness.datasets import HubDataset, ManifestDataset
from harness.datasets.hub import read_hub
from harness.datasets.manifest import (
    Line,
    LineProblems,
    find_manifest,
    locate_audio,
    not_in_order,
    parse_manifest,
    raise_all,
)
from harness.errors import DatasetError
from harness.events import Word
from harness.languages.tags import language_of
from harness.languages.units import composed, spoken_words

_SHOWN_TEXT = 60  # characters of a text in an error
_ROUNDING_S = 0.01  # manifests give times rounded to this or better


class Clip(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A recording, as it is replayed."""

    id: str
    samples: Samples  # [n]
    duration_s: float  # of the samples
    text: str  # what is said
    speech_onset_s: float  # 0 with speech_end_s 0: nothing is said
    speech_end_s: float
    language: str  # the primary subtag
    words: tuple[Word, ...]  # when each word is spoken; empty: unknown
    pcm_sha256: str  # of the sound before resampling, see `audio.Recording.sha256`


class Dataset(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    name: str  # how reports call it
    clips: tuple[Clip, ...]
    sha256: str  # identity: ids, sounds and texts, in order
    timings_sha256: str  # when speech begins and ends, and each word: what latencies count from
    sources: tuple[str, ...] = ()  # where the recordings come from, each once, as the manifest says
    licences: tuple[str, ...] = ()  # likewise


def load_dataset(config: ManifestDataset | HubDataset) -> Dataset:
    """Every clip that the config chooses, decoded and checked.

    Raises:
        DatasetError: no such dataset, or everything found wrong with its lines and audio.
    """
    return _from_hub(config) if isinstance(config, HubDataset) else _from_manifest(config)


def _from_manifest(config: ManifestDataset) -> Dataset:
    path = find_manifest(config.manifest)
    parsed, problems = parse_manifest(path)
    lines = _choose(parsed, config)
    read = read_clips(path, lines, problems)
    for number, clip in read.items():
        if problem := _lacks_speech(clip):
            problems.add(number, problem)
    problems.raise_all()
    _require_known(config.clips, parsed)
    clips = list(read.values())
    if config.loop_to_s is not None:
        clips = [_loop(clips, config.loop_to_s, config.loop_gap_s)]
    return _make_dataset(config, clips, list(lines.values()))


def read_clips(path: Path, lines: dict[int, Line], problems: LineProblems) -> dict[int, Clip]:
    """The clips of a manifest's lines, by number; what hinders one is added to ``problems``.

    Args:
        path: of the manifest.
        lines: those to read. One that has a problem already is read only to find more.
    """
    files = _AudioFiles(path)
    clips: dict[int, Clip] = {}
    for number, line in lines.items():
        try:
            file = files.open(line)
            if number not in problems:  # its cut and times can be trusted
                clips[number] = _make_clip(line, file)
        except DatasetError as problem:
            problems.add(number, problem)
    return clips


def _lacks_speech(clip: Clip) -> DatasetError | None:
    if clip.speech_end_s > 0 or not spoken_words(clip.text):
        return None
    hint = (
        'listen to it; record it again, or write "" as its text; if somebody does speak, write '
        "speech_onset_s and speech_end_s into its line, by hand or with the verb align"
    )
    return no_speech(clip.id, clip.text, hint)


def no_speech(name: str, text: str, hint: str) -> DatasetError:
    """The problem of a text in whose recording nobody seems to speak."""
    return DatasetError(
        f"no speech found in {name}, whose text is",
        value=text if len(text) <= _SHOWN_TEXT else text[: _SHOWN_TEXT - 3] + "...",
        allowed=f"speech that stands out from the noise for {SHORTEST_SPEECH_MS} ms or more",
        hint=hint,
    )


def _from_hub(config: HubDataset) -> Dataset:
    clips: list[Clip] = []
    lines: list[Line] = []
    problems: list[DatasetError] = []
    for line, content in read_hub(config):
        lines.append(line)
        try:
            clip = _make_clip(line, decode(content, line.id))
            if missing := _lacks_speech(clip):
                raise missing
            clips.append(clip)
        except DatasetError as problem:
            problems.append(problem)
    raise_all(problems, config.path)
    if not clips:
        raise DatasetError(f"no rows in {config.path!r}, split", value=config.split)
    return _make_dataset(config, clips, lines)


def _make_dataset(
    config: ManifestDataset | HubDataset, clips: list[Clip], lines: list[Line]
) -> Dataset:
    if config.tail_s > 0:
        clips = [_with_tail(clip, config.tail_s) for clip in clips]
    return Dataset(
        name=config.name,
        clips=tuple(clips),
        sha256=_sha256_of([[clip.id, clip.pcm_sha256, clip.text] for clip in clips]),
        timings_sha256=_sha256_of(
            [[clip.id, clip.speech_onset_s, clip.speech_end_s, clip.words] for clip in clips]
        ),
        sources=tuple(dict.fromkeys(line.source for line in lines if line.source)),
        licences=tuple(dict.fromkeys(line.licence for line in lines if line.licence)),
    )


def _choose(lines: dict[int, Line], config: ManifestDataset) -> dict[int, Line]:
    """The lines with the ids of ``config.clips``, then the first ``config.limit`` of those."""
    wanted = set(map(composed, config.clips))  # as typed: letters may be composed otherwise
    chosen = [
        (number, line)
        for number, line in lines.items()
        if not wanted or composed(line.id) in wanted
    ]
    return dict(chosen[: config.limit])


def _require_known(clips: list[str], lines: dict[int, Line]) -> None:
    ids = [line.id for line in lines.values()]
    known = set(map(composed, ids))
    unknown = [clip for clip in clips if composed(clip) not in known]
    if unknown:
        raise DatasetError(
            "dataset.clips: no such clip",
            value=", ".join(unknown),
            allowed=", ".join(ids[:20]) + (f", ... ({len(ids)} in all)" if len(ids) > 20 else ""),
        )


class _AudioFiles:
    """The audio of a manifest's lines; a file that several lines in a row cut is read once."""

    def __init__(self, manifest: Path) -> None:
        self._manifest = manifest
        self._path: Path | None = None
        self._sha256 = ""
        self._recording: Recording | None = None

    def open(self, line: Line) -> Recording:
        """The whole file that ``line`` names."""
        path = locate_audio(line, self._manifest)
        if path != self._path or self._recording is None:
            content = read_file(path)
            self._recording = decode(content, str(path))
            self._path, self._sha256 = path, hashlib.sha256(content).hexdigest()
        _check_sha256("file_sha256", line.file_sha256, self._sha256)
        return self._recording


def _check_sha256(field: str, wanted: str | None, found: str) -> None:
    if wanted is not None and wanted != found:
        raise DatasetError(
            f"{field}: checksum mismatch, the audio has",
            value=found,
            allowed=wanted,
            hint="get the audio that the manifest was made for; if it was changed on purpose, "
            f"write the new {field} into the line",
        )


def _make_clip(line: Line, file: Recording) -> Clip:
    # No cut of a file is longer; a product of the largest floats would be infinite.
    most_s = file.duration_s + 1
    start = round(min(line.offset, most_s) * file.rate_hz)
    stop = len(file.pcm)
    if line.duration is not None:
        stop = start + round(min(line.duration, most_s) * file.rate_hz)
    if start >= len(file.pcm) or stop > len(file.pcm) + _ROUNDING_S * file.rate_hz:
        raise DatasetError(
            "offset, duration",
            value=(line.offset, line.duration),
            allowed=f"within the file, which lasts {file.duration_s:g} s",
        )
    cut = file.cut(start, stop)
    sha256 = cut.sha256()
    _check_sha256("sha256", line.sha256, sha256)
    samples = usable_samples(cut, line.id)
    duration_s = len(samples) / RATE_HZ
    found = speech_bounds(samples)
    onset_s = found.onset_s if line.speech_onset_s is None else line.speech_onset_s
    end_s = found.end_s if line.speech_end_s is None else line.speech_end_s
    if end_s < onset_s:  # one is the line's: a line that names both has been checked
        other = "speech_onset_s" if line.speech_onset_s is None else "speech_end_s"
        raise not_in_order(onset_s, end_s, hint=f"{other} was found by energy: name both")
    last_s = max([onset_s, end_s, *(word.end_s for word in line.words)])
    if last_s > duration_s + _ROUNDING_S:
        raise DatasetError(
            "speech_onset_s, speech_end_s, words", value=last_s, allowed=f"at most {duration_s:g} s"
        )
    return Clip(
        id=line.id,
        samples=samples,
        duration_s=duration_s,
        text=line.text,
        speech_onset_s=onset_s,
        speech_end_s=end_s,
        language=language_of(line.language),
        words=line.words,
        pcm_sha256=sha256,
    )


def usable_samples(recording: Recording, name: str) -> Samples:
    """[n] at 16 kHz, n > 0.

    Raises:
        DatasetError: nothing is left at 16 kHz, only silence, or channels that cancel each other.
    """
    samples = recording.samples()
    if len(samples) == 0:
        raise DatasetError("zero-length audio", value=name, allowed="a sample or more at 16 kHz")
    refuse_cancelled(recording, samples, name)
    refuse_silence(samples, name)
    return samples


def _loop(clips: list[Clip], at_least_s: float, gap_s: float) -> Clip:
    """One long session: the clips over and over, digital silence between, none at its ends."""
    gap = np.zeros(round(gap_s * RATE_HZ), np.float32)
    parts: list[Samples] = []
    session: list[tuple[float, Clip]] = []  # when each clip begins, in seconds
    length = -len(gap)
    for clip in itertools.cycle(clips):
        length += len(gap)
        session.append((length / RATE_HZ, clip))
        parts += [clip.samples, gap]
        length += len(clip.samples)
        if length >= at_least_s * RATE_HZ:
            break
    speech = [(at_s, clip) for at_s, clip in session if clip.speech_end_s > 0]
    timed = all(clip.words or not spoken_words(clip.text) for clip in clips)
    sounds = [clip.pcm_sha256 for _, clip in session]
    return Clip(
        id=f"loop-{at_least_s:g}s",
        samples=np.concatenate(parts[:-1]),
        duration_s=length / RATE_HZ,
        text=" ".join(clip.text for _, clip in session if clip.text),
        speech_onset_s=speech[0][0] + speech[0][1].speech_onset_s if speech else 0.0,
        speech_end_s=speech[-1][0] + speech[-1][1].speech_end_s if speech else 0.0,
        language=clips[0].language,
        words=tuple(_shift(word, at_s) for at_s, clip in session for word in clip.words)
        if timed
        else (),
        pcm_sha256=_sha256_of([gap_s, *sounds]),
    )


def _with_tail(clip: Clip, tail_s: float) -> Clip:
    """The clip and digital silence after it; where its speech ends stays."""
    samples = np.concatenate([clip.samples, np.zeros(round(tail_s * RATE_HZ), np.float32)])
    return msgspec.structs.replace(
        clip,
        samples=samples,
        duration_s=len(samples) / RATE_HZ,
        pcm_sha256=_sha256_of([tail_s, clip.pcm_sha256]),
    )


def _shift(word: Word, by_s: float) -> Word:
    return Word(text=word.text, start_s=word.start_s + by_s, end_s=word.end_s + by_s)


def _sha256_of(parts: list[Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
