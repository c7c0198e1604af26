"""Word and character errors, after a normaliser that is pinned and named with every run.

``environment.json`` has it as ``normalisers``, and runs of different ones are not compared.

Words are the units of ``languages.units``: grapheme clusters in scripts without spaces, where the
error rate is told as CER. Characters are grapheme clusters in all scripts. Invisible characters,
and whether letters are composed (NFC, NFD), are never an error.

Raw text is kept in the traces, so a result can be judged again under another normaliser.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version

import msgspec
from rapidfuzz.distance import Levenshtein

from harness.languages.tags import language_of
from harness.languages.units import (
    begins_apart,
    clusters_of,
    compatible,
    composed,
    join_words,
    pattern,
    spoken_words,
    units_of,
    without_loose_marks,
)
from harness.metrics import Edits
from harness.metrics.words import align

with warnings.catch_warnings():  # its source has invalid escapes: a warning when first compiled
    warnings.simplefilter("ignore")
    from whisper_normalizer.basic import BasicTextNormalizer
    from whisper_normalizer.english import EnglishTextNormalizer

NORMALISER_PACKAGE = "whisper-normalizer"

_ENGLISH, _BASIC = EnglishTextNormalizer(), BasicTextNormalizer(preserve_marks=True)
# Languages in which the small letter of I has no dot.
_DOTLESS = dict.fromkeys(("tr", "az"), str.maketrans({"I": "\u0131", "\u0130": "i"}))


class AlignedWord(msgspec.Struct, frozen=True):
    """One step of the alignment of a hypothesis to its reference, after the normaliser."""

    edit: str  # equal | substitute | delete | insert
    reference: str | None  # None: inserted
    hypothesis: str | None  # None: deleted


def normaliser_id(language: str) -> str:
    """What error rates of this language were made with, such as ``whisper-normalizer 0.1.15 en``.

    Error rates under different ids are not comparable.
    """
    kind = "english" if language_of(language) == "en" else "basic, marks kept"
    return f"{NORMALISER_PACKAGE} {version(NORMALISER_PACKAGE)} {kind}"


def normaliser_ids(languages: Iterable[str]) -> list[str]:
    """Those of a run's clips, for its ``environment.json``."""
    return sorted({normaliser_id(language) for language in languages})


@lru_cache(maxsize=10_000)  # references come again with every repeat and arm
def normalise(text: str, language: str) -> str:
    """Whisper's normaliser: lower case, no punctuation; English also numbers, spelling, fillers.

    Combining marks are kept, but English has none. No space is left beside a grapheme cluster of a
    script without spaces.

    Args:
        language: a tag; ``en`` gets the English rules, all others the basic ones.
    """
    language = language_of(language)
    text = composed(text)
    if language == "en":
        text = _ENGLISH(text)
    else:
        text = _BASIC(text.translate(_DOTLESS.get(language, {})))
    if not text.isascii():
        text = without_loose_marks(compatible(pattern(r"\p{Me}").sub("", text)))
    return "".join(join_words(spoken_words(text)))


@lru_cache(maxsize=64)  # a clip's text is asked for at several instants, and is often the same
def word_edits(reference: str, hypothesis: str, language: str) -> Edits:
    """Fewest word edits from the reference to the hypothesis, aligned as in ``words``.

    An empty hypothesis is all deletions, an empty reference all insertions, both empty no edit.
    """
    said, heard = _counted(reference, language), _counted(hypothesis, language)
    steps = align(said, heard)
    pairs = [(i, j) for i, j in steps if i is not None and j is not None]
    hits = sum(said[i] == heard[j] for i, j in pairs)
    return Edits(
        reference=len(said),
        hits=hits,
        substitutions=len(pairs) - hits,
        deletions=len(said) - len(pairs),
        insertions=len(heard) - len(pairs),
    )


@lru_cache(maxsize=10_000)  # references come again, as in `normalise`
def _counted(text: str, language: str) -> tuple[str, ...]:
    """The words that error rates count."""
    return tuple(units_of(normalise(text, language)))


@lru_cache(maxsize=64)
def char_edits(reference: str, hypothesis: str, language: str) -> Edits:
    """Fewest edits of grapheme clusters, spaces between words included."""
    said = clusters_of(normalise(reference, language))
    heard = clusters_of(normalise(hypothesis, language))
    kinds = [edit.tag for edit in Levenshtein.editops(said, heard)]
    substitutions, deletions = kinds.count("replace"), kinds.count("delete")
    return Edits(
        reference=len(said),
        hits=len(said) - substitutions - deletions,
        substitutions=substitutions,
        deletions=deletions,
        insertions=kinds.count("insert"),
    )


def aligned_words(reference: str, hypothesis: str, language: str) -> tuple[AlignedWord, ...]:
    """The alignment behind :func:`word_edits`, word by word, for reports."""
    said, heard = _counted(reference, language), _counted(hypothesis, language)
    return tuple(
        _aligned(None if i is None else said[i], None if j is None else heard[j])
        for i, j in align(said, heard)
    )


def _aligned(said: str | None, heard: str | None) -> AlignedWord:
    if said is None or heard is None:
        return AlignedWord("insert" if said is None else "delete", said, heard)
    return AlignedWord("equal" if said == heard else "substitute", said, heard)


def told_as_cer(references: Iterable[str]) -> bool:
    """Whether most of what is said is of scripts without spaces: errors are told as CER there."""
    words = [word for text in references for word in spoken_words(text)]
    return 2 * sum(map(begins_apart, words)) > len(words)


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
