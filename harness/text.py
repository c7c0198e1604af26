"""Text that somebody else wrote (transcripts, names, errors), made fit to be shown."""

from __future__ import annotations

import re
import unicodedata

# Control, surrogate (a lone one cannot be encoded), format, line and paragraph separator.
_UNSEEN = frozenset({"Cc", "Cs", "Cf", "Zl", "Zp"})
# Of category Cf all the same: what scripts and emoji are spelt with, and signs around numbers.
_SPELT = frozenset("\u200c\u200d\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
_SPELT |= frozenset(map(chr, range(0x600, 0x606)))


class _Signs(dict[int, str]):
    """Code point -> what is shown of it, for ``str.translate``; found out when first seen."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character in "\n\t":
            sign = " "
        elif code < 0x20:
            sign = chr(0x2400 + code)
        elif code == 0x7F:
            sign = "\u2421"
        elif unicodedata.category(character) in _UNSEEN and character not in _SPELT:
            sign = "\ufffd"
        else:
            sign = character
        self[code] = sign
        return sign


_SIGNS = _Signs()

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~!@$&])")
# GitHub looks for @name and #1 in the text of the finished page, where neither a backslash nor an
# entity is left; a comment after the sign keeps it apart from the name.
_ESCAPED = {"<": "&lt;", "@": "@<!-- -->", "#": "\\#<!-- -->"}


def visible(text: str) -> str:
    """``text`` in one line, with a sign for every control and format character; as long as before.

    Covers C0, DEL, C1 (terminal escapes), bidirectional marks, tag characters, zero-width and other
    characters of no width but for what scripts spell with; a line break or a tab becomes a space.
    """
    return text.translate(_SIGNS)


def shorten(text: str, characters: int) -> str:
    """Visible text of at most so many characters, its end cut with an ellipsis.

    It is not cut between a letter and its marks.
    """
    text = visible(text[: characters + 1])
    if len(text) <= characters:
        return text
    end = characters - 1
    while end and unicodedata.category(text[end]).startswith("M"):
        end -= 1
    return text[: end or characters - 1] + "…"


# What makes a spreadsheet compute; the wide forms count in East Asian versions.
_FORMULA = re.compile(r"(^|[;|])(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")


def csv_cell(text: str) -> str:
    """``text`` as one line for a cell that a spreadsheet shows and does not compute.

    An apostrophe stands before a sign that would begin a formula, also where a program that
    separates cells by a semicolon would see another cell. Only for text: a number stays a number.
    """
    return _FORMULA.sub(r"\1\2'", visible(text))


def escape_markdown(text: str) -> str:
    """``text`` as one line of text: no markup, no HTML, no mention, no table cell of its own.

    An address that is written out may still become a link to itself.
    """
    return _MARKDOWN.sub(lambda m: _ESCAPED.get(m[0], "\\" + m[0]), visible(text))
