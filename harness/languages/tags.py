"""Language tags (BCP 47), reduced to the primary subtag: ``en-US``, ``EN``, ``eng`` are ``en``."""

from __future__ import annotations

import re
from functools import lru_cache

from harness.errors import HarnessError

_ALLOWED = "the tag of a language (BCP 47, ISO 639), such as en, de, pt-BR or zh"
_HINT = "the list: https://www.iana.org/assignments/language-subtag-registry"
# Registered, and no language: undetermined, several, none, uncoded.
_NO_LANGUAGE = frozenset({"und", "root", "mul", "zxx", "mis"})
_PRIVATE = re.compile(r"q[a-t][a-z]|x-.*")
_SPELT = re.compile(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*", re.ASCII)
_USUAL = frozenset({"en", "de", "fr", "es", "it", "pt", "nl", "hi", "ar", "ja", "zh", "ko", "ru"})


@lru_cache(maxsize=1_000)
def language_of(tag: str) -> str:
    """The primary subtag, in its shortest form: two letters where the language has two.

    Case, region, script, ``_`` for ``-`` and withdrawn codes (``iw``) make no difference.

    Raises:
        ValueError: it is not the tag of a language; the text says what is allowed.
    """
    if tag in _USUAL:
        return tag  # without loading a table of all languages
    from langcodes import Language, standardize_tag, tag_is_valid
    from langcodes.tag_parser import LanguageTagError

    try:
        valid = _SPELT.fullmatch(tag) is not None and tag_is_valid(tag)
        language = Language.get(standardize_tag(tag, macro=True)).language if valid else None
    except LanguageTagError:
        language = None
    if language is None or language in _NO_LANGUAGE or _PRIVATE.fullmatch(language):
        raise ValueError(f"{tag[:40]!r} is not the tag of a language; allowed: {_ALLOWED}")
    return language


def require_language(what: str, tag: str, error: type[HarnessError], hint: str = _HINT) -> str:
    """:func:`language_of`, for what a user stated.

    Args:
        what: names the field, for the error.

    Raises:
        error: it is not the tag of a language.
    """
    try:
        return language_of(tag)
    except ValueError:
        raise error(what, value=tag, allowed=_ALLOWED, hint=hint) from None
