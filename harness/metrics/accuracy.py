"""Word and character errors, after a normaliser that is pinned and named with every run.

``environment.json`` has it as ``normalisers``, and runs of different ones are not compared.

Raw text is kept in the traces, so a result can be judged again under another normaliser.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version

import jiwer
import msgspec

from harness.metrics import Edits

with warnings.catch_warnings():  # its source has invalid escapes: a warning when first compiled
    warnings.simplefilter("ignore")
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

NORMALISER_PACKAGE = "whisper-normalizer"

_NORMALISERS = {True: EnglishTextNormalizer(), False: BasicTextNormalizer()}  # by "is English"


class AlignedWord(msgspec.Struct, frozen=True):
    """One step of the alignment of a hypothesis to its reference, after the normaliser."""

    edit: str  # equal | substitute | delete | insert
    reference: str | None  # None: inserted
    hypothesis: str | None  # None: deleted


def normaliser_id(language: str) -> str:
    """What error rates of this language were made with, such as ``whisper-normalizer 0.1.15 en``.

    Error rates under different ids are not comparable.
    """
    kind = "english" if language == "en" else "basic"
    return f"{NORMALISER_PACKAGE} {version(NORMALISER_PACKAGE)} {kind}"


def normaliser_ids(languages: Iterable[str]) -> list[str]:
    """Those of a run's clips, for its ``environment.json``."""
    return sorted({normaliser_id(language) for language in languages})


@lru_cache(maxsize=10_000)  # references come again with every repeat and arm
def normalise(text: str, language: str) -> str:
    """Whisper's normaliser: lower case, no punctuation; English also numbers, spelling, fillers.

    Args:
        language: ISO 639-1; ``en`` gets the English rules, all others the basic ones.
    """
    return " ".join(_NORMALISERS[language == "en"](text).split())


def word_edits(reference: str, hypothesis: str, language: str) -> Edits:
    """Fewest word edits from the reference to the hypothesis.

    An empty hypothesis is all deletions, an empty reference all insertions, both empty no edit.
    """
    return _edits(jiwer.process_words(*_normalised(reference, hypothesis, language)))


def char_edits(reference: str, hypothesis: str, language: str) -> Edits:
    """Fewest character edits, spaces between words included."""
    return _edits(jiwer.process_characters(*_normalised(reference, hypothesis, language)))


def aligned_words(reference: str, hypothesis: str, language: str) -> tuple[AlignedWord, ...]:
    """The alignment behind :func:`word_edits`, word by word, for reports."""
    output = jiwer.process_words(*_normalised(reference, hypothesis, language))
    (reference_words,), (hypothesis_words,) = output.references, output.hypotheses
    return tuple(
        AlignedWord(edit=step.type, reference=said, hypothesis=heard)
        for step in output.alignments[0]
        for said, heard in itertools.zip_longest(
            reference_words[step.ref_start_idx : step.ref_end_idx],
            hypothesis_words[step.hyp_start_idx : step.hyp_end_idx],
        )
    )


def total_edits(edits: Iterable[Edits]) -> Edits:
    """Edits summed over clips: corpus WER and CER are ``errors / reference`` of the sum."""
    clips = list(edits)
    return Edits(
        reference=sum(clip.reference for clip in clips),
        hits=sum(clip.hits for clip in clips),
        substitutions=sum(clip.substitutions for clip in clips),
        deletions=sum(clip.deletions for clip in clips),
        insertions=sum(clip.insertions for clip in clips),
    )


def _normalised(reference: str, hypothesis: str, language: str) -> tuple[str, str]:
    return normalise(reference, language), normalise(hypothesis, language)


def _edits(output: jiwer.WordOutput | jiwer.CharacterOutput) -> Edits:
    return Edits(
        reference=output.hits + output.substitutions + output.deletions,
        hits=output.hits,
        substitutions=output.substitutions,
        deletions=output.deletions,
        insertions=output.insertions,
    )
