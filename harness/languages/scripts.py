"""When a text is plainly not of the language that is stated, so that its error rate misleads."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from harness.languages.units import composed, pattern, words_of

# Less of a language's own script than this, and its texts are another's; names and loan words of a
# foreign script are far fewer.
OWN_SCRIPT_SHARE = 0.5
# A German text has an umlaut or sharp s in every tenth word, an English one has none; of French and
# Spanish words with accents, a few are used in English (café, fiancé, jalapeño).
FOREIGN_WORDS_SHARE = 0.03
_LOANED = frozenset("éèêëñçïîôâàá")
_FEWEST_LETTERS = 3
# ISO 15924 codes for several scripts at once.
_SEVERAL = {
    "Jpan": ("Hani", "Hira", "Kana"), "Hrkt": ("Hira", "Kana"), "Kore": ("Hang", "Hani"),
    "Hans": ("Hani",), "Hant": ("Hani",), "Hanb": ("Hani", "Bopo"),
}  # fmt: skip


def language_doubts(texts: Iterable[tuple[str, str]]) -> list[str]:
    """What shows that texts are not of their stated languages: a sentence a language, or nothing.

    Args:
        texts: (language as :func:`~harness.languages.tags.language_of` gives it, text).
    """
    by_language: dict[str, list[str]] = {}
    for language, text in texts:
        by_language.setdefault(language, []).append(composed(text))
    found = (_doubt(language, said) for language, said in by_language.items())
    return [doubt for doubt in found if doubt is not None]


def _doubt(language: str, texts: list[str]) -> str | None:
    scripts = _scripts(language)
    letters = sum(len(pattern(r"\p{L}").findall(text)) for text in texts)
    if not scripts or letters < _FEWEST_LETTERS:
        return None
    own = "".join(rf"\p{{sc={script}}}" for script in scripts)
    mine = sum(len(pattern(rf"[\p{{L}}&&[{own}\u30fc\uff70]]").findall(text)) for text in texts)
    if mine < OWN_SCRIPT_SHARE * letters:
        return (
            f"{mine} of {letters} letters in the texts are of the script of the stated language"
            f" {language!r} ({', '.join(sorted(scripts))})"
        )
    return _english_doubt(texts) if language == "en" else None


def _english_doubt(texts: list[str]) -> str | None:
    """Its normaliser takes marks off letters: *schön* and *schon* are the same word to it."""
    words = [word.text for text in texts for word in words_of(text)]
    foreign = [word for word in words if pattern(r"[\p{Latin}--[a-zA-Z]]").search(word)]
    plainly = len(foreign) > 1 or any(
        letter not in _LOANED
        for word in foreign
        for letter in pattern(r"[\p{Latin}--[a-zA-Z]]").findall(word.lower())
    )
    if not plainly or len(foreign) < FOREIGN_WORDS_SHARE * len(words):
        return None
    return (
        f"{len(foreign)} of {len(words)} words have letters that English lacks, such as"
        f" {foreign[0][:40]!r}, and the stated language is 'en', whose normaliser ignores the marks"
    )


@lru_cache(maxsize=100)
def _scripts(language: str) -> frozenset[str]:
    """Those the language is written in, by their ISO 15924 codes; empty: not known."""
    if language == "en":
        return frozenset({"Latn"})
    from langcodes.data_dicts import LIKELY_SUBTAGS

    codes = {
        tag.split("-")[1]
        for tag in LIKELY_SUBTAGS.values()
        if tag.split("-")[0] == language and tag.count("-") > 1
    }
    scripts = {script for code in codes for script in _SEVERAL.get(code, (code,))}
    return frozenset(script for script in scripts if _is_known(script))


def _is_known(script: str) -> bool:
    import regex

    try:
        pattern(rf"\p{{sc={script}}}")
    except regex.error:
        return False
    return True
