"""Word timings by forced alignment: when each word of a known text is spoken.

Two aligners: pocketsphinx, whose package carries an English model and dictionary, and any CTC
model of a hub or folder (``alignment_ctc``). A word is what ``spoken_words`` says it is; its
punctuation stays in the record and is not pronounced. Numerals are an error, since how they are
said is not in the text.
"""

from __future__ import annotations

import importlib
import unicodedata
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from harness.audio import RATE_HZ, Samples, speech_bounds
from harness.datasets.load import Clip, read_clips
from harness.datasets.manifest import (
    LineProblems,
    find_manifest,
    parse_manifest,
    write_manifest,
)
from harness.errors import DatasetError
from harness.events import Word
from harness.install_hint import install_hint
from harness.languages.units import composed, pattern, spoken_words

_FRAMES_PER_S = 100  # of pocketsphinx
_CLIPS_PER_PAGE = 12  # of a plot
_LETTERS = r"\p{L}[\p{L}\p{M}]*"
_SPOKEN = rf"{_LETTERS}(?:'{_LETTERS})*"
_PAD_S = 0.5  # digital silence put before and after, else the last word may swallow the pause


class Aligner(Protocol):
    name: str  # library or model with its version: the provenance of the timings

    def align(self, samples: Samples, text: str) -> tuple[Word, ...]:
        """When each of ``spoken_words(text)`` is spoken, seconds from the first sample.

        Raises:
            DatasetError: words that cannot be pronounced, or a text that the audio does not hold.
        """


class PocketsphinxAligner:
    """English, by pronouncing dictionary: a word that it lacks is an error."""

    def __init__(self) -> None:
        try:
            library: Any = importlib.import_module("pocketsphinx")
        except ImportError as error:
            raise DatasetError(
                f"alignment needs the extra `align` ({error})",
                hint=install_hint("align"),
            ) from error
        self.name = f"pocketsphinx {version('pocketsphinx')}, its en-us model"
        self._decoder = library.Decoder(samprate=RATE_HZ, lm=None, loglevel="FATAL")

    def align(self, samples: Samples, text: str) -> tuple[Word, ...]:
        words = spoken_words(text)
        if not words:
            return ()
        pieces = [pronounced(word) for word in words]
        flat = [piece for group in pieces for piece in group]
        unknown = [piece for piece in flat if self._decoder.lookup_word(piece) is None]
        if unknown:
            raise DatasetError(
                "not in the pronouncing dictionary",
                value=" ".join(dict.fromkeys(unknown)),
                allowed="English words",
                hint="write them as they are spoken, or align with a CTC model, which spells",
            )
        segments = self._segments(samples, " ".join(flat))
        if len(segments) != len(flat):
            raise DatasetError(
                "the audio does not hold the text", value=text, hint="listen to it; correct text"
            )
        aligned = []
        for word, group in zip(words, pieces, strict=True):
            mine, segments = segments[: len(group)], segments[len(group) :]
            aligned.append(Word(text=word, start_s=mine[0][0], end_s=mine[-1][1]))
        return tuple(aligned)

    def _segments(self, samples: Samples, text: str) -> list[tuple[float, float]]:
        """Start and end of each word of ``text``, in seconds; empty when no path fits."""
        pad = np.zeros(round(_PAD_S * RATE_HZ), np.float32)
        pcm = np.concatenate([pad, samples, pad]).clip(-1, 1) * 32767
        self._decoder.set_align_text(text)
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.astype("<i2").tobytes(), full_utt=True)
        self._decoder.end_utt()
        return [
            (
                part.start_frame / _FRAMES_PER_S - _PAD_S,
                (part.end_frame + 1) / _FRAMES_PER_S - _PAD_S,
            )
            for part in self._decoder.seg() or ()
            if not part.word.startswith(("<", "["))  # silence and noise
        ]


def pronounced(word: str) -> list[str]:
    """What of a word is spoken, lower-case: ``"Well-known,"`` gives ``["well", "known"]``.

    Raises:
        DatasetError: it holds a numeral.
    """
    if any(unicodedata.category(character).startswith("N") for character in word):
        raise DatasetError(
            "a numeral in text", value=word, hint="write numbers as they are spoken: `two`, not `2`"
        )
    plain = composed(word).lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    found: list[str] = pattern(_SPOKEN).findall(plain)
    return found


def align_clip(samples: Samples, text: str, aligner: Aligner) -> tuple[Word, ...]:
    """The aligner's words, held within the clip and rounded to the millisecond."""
    last_s = len(samples) / RATE_HZ
    return tuple(
        Word(
            text=word.text,
            start_s=round(min(max(word.start_s, 0.0), last_s), 3),
            end_s=round(min(max(word.end_s, 0.0), last_s), 3),
        )
        for word in aligner.align(samples, text)
    )


class Aligned(msgspec.Struct, frozen=True):
    """What became of a manifest."""

    clips: tuple[Clip, ...]  # with their new timings
    problems: LineProblems  # of the lines that stay as they were


def align_manifest(manifest: str, aligner: Aligner) -> Aligned:
    """Write word timings, speech onset and end into a manifest; all its other fields are kept.

    ``extra.aligned_by`` records the aligner. The file is replaced as a whole, after every clip has
    been tried; a line whose audio or text cannot be aligned stays as it was.

    Raises:
        DatasetError: lines that do not parse, or that nothing could be aligned: every reason.
    """
    path = find_manifest(manifest)
    lines, problems = parse_manifest(path)
    if not problems.numbers <= lines.keys():
        problems.raise_all()  # a manifest written again would lack what does not parse
    aligned: list[Clip] = []
    for number, clip in read_clips(path, lines, problems).items():
        try:
            words = align_clip(clip.samples, clip.text, aligner)
        except DatasetError as problem:
            problems.add(number, problem)
            continue
        sound = speech_bounds(clip.samples)  # of a clip in which nothing is said
        timings = {
            "words": words,
            "speech_onset_s": words[0].start_s if words else sound.onset_s,
            "speech_end_s": words[-1].end_s if words else sound.end_s,
        }
        extra = lines[number].extra | {"aligned_by": aligner.name}
        lines[number] = msgspec.structs.replace(lines[number], **timings, extra=extra)
        aligned.append(msgspec.structs.replace(clip, **timings))
    if not aligned:
        problems.raise_all(every=True)
    write_manifest(path, lines.values())
    return Aligned(tuple(aligned), problems)


def plot_words(clips: Sequence[Clip], folder: Path) -> list[Path]:
    """Draw waveforms with a box a word, to be checked by eye; ``words-01.png`` and so on."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    pages: list[Path] = []
    for first in range(0, len(clips), _CLIPS_PER_PAGE):
        page = clips[first : first + _CLIPS_PER_PAGE]
        figure = Figure(figsize=(14, 1.7 * len(page)), layout="constrained")
        for axes, clip in zip(figure.subplots(len(page), squeeze=False)[:, 0], page, strict=True):
            _plot_clip(axes, clip)
        pages.append(folder / f"words-{len(pages) + 1:02d}.png")
        figure.savefig(pages[-1], dpi=100)
    return pages


def _plot_clip(axes: Any, clip: Clip) -> None:
    peak = float(np.abs(clip.samples).max()) or 1.0
    axes.plot(np.arange(len(clip.samples)) / RATE_HZ, clip.samples / peak, lw=0.3, color="0.3")
    for index, word in enumerate(clip.words):
        color = ("tab:blue", "tab:orange")[index % 2]
        axes.axvspan(word.start_s, word.end_s, alpha=0.25, color=color)
        axes.text((word.start_s + word.end_s) / 2, 1.05, word.text, ha="center", fontsize=7)
    axes.set(xlim=(0, clip.duration_s), ylim=(-1, 1.3), yticks=[], ylabel=clip.id)
    axes.tick_params(labelsize=7)
