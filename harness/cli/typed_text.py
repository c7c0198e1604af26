"""Fields that hold text take the characters that were typed: ``1_1`` is a name, and not 11.

Hydra's grammar and YAML read a value before they know its field: ``2026_01`` becomes 202601,
``1e3`` a float, ``null`` nothing. Which fields hold text is known from the dataclasses; what is
typed for one of them is quoted before Hydra reads it, and kept as it stands in a YAML file.
Imports no Hydra.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, NamedTuple

import yaml


class Text(NamedTuple):
    """How a field holds text."""

    many: bool = False  # a list of texts
    by_name: bool = False  # a mapping to texts
    optional: bool = False  # `null` means: none


def text_fields(classes: Iterable[tuple[str, type]]) -> dict[str, Text]:
    """``dataset.clips`` -> how it holds text, for every text field of ``classes``.

    Args:
        classes: (path, dataclass that may stand there); the root's path is empty. Where several
            may, and not all of them hold text in a field of one name, the field is left out.
    """
    found: dict[str, set[Text | None]] = {}
    for path, kind in classes:
        for name, text in _fields(path, kind):
            found.setdefault(name, set()).add(text)
    return {name: _widest(texts) for name, texts in found.items() if None not in texts}  # type: ignore[arg-type]


def _widest(texts: set[Text]) -> Text:
    return Text(*(any(flags) for flags in zip(*texts, strict=True)))


def _fields(path: str, kind: type) -> Iterator[tuple[str, Text | None]]:
    try:
        hints = typing.get_type_hints(kind)
    except (NameError, TypeError, AttributeError):  # a class of another package's, oddly annotated
        return
    for name, hint in hints.items():
        full = f"{path}.{name}" if path else name
        if is_dataclass(hint) and isinstance(hint, type):
            yield from _fields(full, hint)
        else:
            yield full, _text_of(hint)


def _text_of(hint: Any) -> Text | None:
    inner = [one for one in typing.get_args(hint) if one is not type(None)]
    origin = typing.get_origin(hint)
    if hint is str:
        return Text()
    if origin in (typing.Union, types.UnionType) and len(inner) == 1:
        found = _text_of(inner[0])
        return None if found is None else found._replace(optional=True)
    if origin is list and inner == [str]:
        return Text(many=True)
    if origin is dict and inner == [str, str]:
        return Text(by_name=True)
    return None


def field_of(key: str, known: Mapping[str, Text]) -> Text | None:
    """How ``key`` holds text; a place in a list (``gate.rules.0``) or a mapping is text itself."""
    if key in known:
        return known[key]
    parent = known.get(key.rpartition(".")[0])
    return Text() if parent is not None and (parent.many or parent.by_name) else None


# --- the command line -----------------------------------------------------------------------------

# Hydra's functions that list values, whose arguments are values of the field; and all others.
_LISTING = re.compile(r"(choice|sort|shuffle|str)\((.*)\)", re.DOTALL)
_FUNCTION = re.compile(r"(range|interval|glob|tag|int|float|bool|json_str)\(.*\)", re.DOTALL)
_KEYWORD = re.compile(r"\s*\w+\s*=")
_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_ESCAPED = re.compile(r"\\([\\()\[\]{}:=,\s])")
_PLAIN = re.compile(r"[\w/.:$%*@?|+-]+", re.ASCII)  # what Hydra's grammar takes without quotes
# ... and would read as a number, a truth or nothing.
_OTHER = re.compile(r"[+-]?([\d._]+(e[+-]?[\d_]+)?|inf|nan)|true|false|null", re.IGNORECASE)


def as_typed(value: str, text: Text) -> str:
    """``value`` so that Hydra's grammar reads the text that was typed.

    Several values, separated by commas, stay several; what is quoted already stays as it is.
    """
    return ",".join(_one(part, text) for part in _split(value))


def _one(part: str, text: Text) -> str:
    stripped = part.strip()
    if (listing := _LISTING.fullmatch(stripped)) is not None:
        arguments = (a if _KEYWORD.match(a) else _one(a, text) for a in _split(listing[2]))
        return f"{listing[1]}({','.join(arguments)})"
    if _FUNCTION.fullmatch(stripped) or (text.optional and stripped == "null"):
        return stripped
    if text.many or text.by_name:
        return _several(stripped, text)
    return _quoted(part)


def _several(value: str, text: Text) -> str:
    """A list or a mapping with its texts quoted; what is neither is left to Hydra to refuse."""
    ends = "[]" if text.many else "{}"
    if not (len(value) > 1 and value[0] == ends[0] and value[-1] == ends[1]):
        return value
    parts = _split(value[1:-1]) if value[1:-1].strip() else []
    if text.many:
        quoted = [_quoted(part) for part in parts]
        same = quoted == [part.strip() for part in parts]
        return value if same else f"[{','.join(quoted)}]"
    pairs = (part.partition(":") for part in parts)
    return "{" + ",".join(f"{key}{colon}{_quoted(item)}" for key, colon, item in pairs) + "}"


def _quoted(part: str) -> str:
    stripped = part.strip()
    if _QUOTED.fullmatch(stripped) or (
        _PLAIN.fullmatch(stripped) and not _OTHER.fullmatch(stripped)
    ):
        return stripped
    plain = _ESCAPED.sub(r"\1", stripped)
    # A backslash is itself, but for those before a quote.
    return "'" + re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + m[2].replace("'", "\\'"), plain) + "'"


def unquoted(value: str) -> str:
    """The text that :func:`as_typed` quoted, for a label."""
    if not _QUOTED.fullmatch(value):
        return value
    return re.sub(r"\\(['\"\\])", r"\1", value[1:-1])


def _split(value: str) -> list[str]:
    """At the commas outside of quotes and, where they are balanced, of brackets."""
    parts, depth = _split_at_commas(value, brackets=True)
    return parts if depth == 0 else _split_at_commas(value, brackets=False)[0]


def _split_at_commas(value: str, *, brackets: bool) -> tuple[list[str], int]:
    parts: list[str] = []
    start = place = depth = 0
    fresh = True  # where a value begins, and a quote opens
    while place < len(value):
        sign = value[place]
        quote = _QUOTED.match(value, place) if fresh else None
        if quote is not None or sign == "\\":
            place = quote.end() if quote is not None else place + 2
            fresh = False
            continue
        if sign == "," and depth == 0:
            parts.append(value[start:place])
            start = place + 1
        elif brackets and sign in "[{(":
            depth += 1
        elif brackets and sign in "]})":
            depth -= 1
        fresh = sign in ",[{(:" or (fresh and sign.isspace())
        place += 1
    return [*parts, value[start:]], depth


# --- YAML -----------------------------------------------------------------------------------------

_TAG = "tag:yaml.org,2002:"
_READ_OTHERWISE = {_TAG + name for name in ("int", "float", "bool", "timestamp")}


def load_yaml(content: str, loader: type[Any], package: str, known: Mapping[str, Text]) -> Any:
    """What a YAML file holds, its text fields as they are written.

    Args:
        loader: the class that reads everything else.
        package: the path of the file's fields, such as ``dataset``; empty: they are the root's.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    reader = loader(content)
    try:
        node = reader.get_single_node()
        if node is None:
            return None
        _keep_texts(node, package, known)
        return reader.construct_document(node)
    finally:
        reader.dispose()


def _keep_texts(node: yaml.Node, path: str, known: Mapping[str, Text]) -> None:
    text = field_of(path, known)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(key.value)
            if path == "" or name != "defaults":
                _keep_texts(value, f"{path}.{name}" if path else name, known)
            if name == "defaults":
                _keep_choices(value)
    elif isinstance(node, yaml.SequenceNode) and text is not None and text.many:
        for one in node.value:
            _keep(one, Text())
    elif text is not None:
        _keep(node, text)


def _keep_choices(node: yaml.Node) -> None:
    """``defaults: [gate: 2024_01]``: the names of files."""
    for one in node.value if isinstance(node, yaml.SequenceNode) else ():
        for _, value in one.value if isinstance(one, yaml.MappingNode) else ():
            _keep(value, Text(optional=True))


def _keep(node: yaml.Node, text: Text) -> None:
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return
    nothing = node.tag == f"{_TAG}null" and node.value == "null" and not text.optional
    if node.tag in _READ_OTHERWISE or nothing:
        node.tag = f"{_TAG}str"
