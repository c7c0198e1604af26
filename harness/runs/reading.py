"""Reading a run's files: every problem is one sentence that names the file and the field.

Whatever is in a file, reading it ends in a record or in :class:`~harness.errors.StorageError`:
unknown schemas, wrong types, missing fields, broken UTF-8, nesting without end, absurd numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from harness.errors import StorageError

T = TypeVar("T")

SCHEMA = 1  # of every JSON file that this version writes and reads
MOST_YAML_BYTES = 1_000_000
MOST = 1e15  # no clock, counter or ratio of ours shows more
_HINT = "was it edited by hand, or made by another version of the harness?"


class _Versioned(msgspec.Struct):
    schema: int


def decode_json(path: Path, kind: type[T], *, versioned: bool = True) -> T:
    """The record in a JSON file.

    Args:
        versioned: the file says which schema it has, and it must be ours.

    Raises:
        StorageError: the file cannot be read, or is not such a record.
    """
    content = read_bytes(path)
    if versioned:
        found = _decode(path, content, _Versioned).schema
        if found != SCHEMA:
            raise StorageError(
                f"{path} has a schema that this version does not know",
                value=found, allowed=str(SCHEMA),
                hint="read it with the version of the harness that wrote it",
            )  # fmt: skip
    return _decode(path, content, kind)


def decode_lines(path: Path, kind: Any) -> list[Any]:
    """The records in a file of JSON lines; none where there is no file.

    A last line without its end was being written when the run was killed: it is left out.

    Raises:
        StorageError: a line is not such a record.
    """
    if not path.is_file():
        return []
    *lines, _torn = read_bytes(path).split(b"\n")
    decoder = msgspec.json.Decoder(kind)
    records = []
    for number, line in enumerate(lines, start=1):
        if line:
            with_place = f"{path}, line {number}"
            records.append(_guarded(with_place, lambda line=line: decoder.decode(line)))
    return records


def decode_yaml(path: Path, kind: type[T]) -> tuple[dict[str, Any], T]:
    """The mapping in a YAML file, and the part of it that ``kind`` describes.

    Raises:
        StorageError: it cannot be read, holds references, or is not what ``kind`` says.
    """
    content = read_bytes(path)
    if len(content) > MOST_YAML_BYTES:
        raise StorageError(f"{path} is too large", value=len(content), allowed=f"{MOST_YAML_BYTES}")

    def load() -> tuple[dict[str, Any], T]:
        found = yaml.load(content.decode(), Loader=_PlainLoader)  # noqa: S506 a SafeLoader
        return found, msgspec.convert(found, kind)

    read: tuple[dict[str, Any], T] = _guarded(str(path), load)
    return read


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}") from error


def refuse_absurd(where: str, figures: Iterable[tuple[str, Any]]) -> None:
    """Numbers that no clock or counter of ours shows.

    Raises:
        StorageError: one of ``figures``, (name, value) pairs, is beyond +-1e15 or not finite.
    """
    for name, value in figures:
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, int | float) and not (
                math.isfinite(number) and abs(number) <= MOST
            ):
                raise StorageError(
                    f"{where}: {name} cannot be", value=number, allowed=f"-{MOST:g} to {MOST:g}",
                    hint=_HINT,
                )  # fmt: skip


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Without references: a few of them stand for more than memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds references (*), which no config of ours does")
        return super().compose_node(parent, index)


def _decode(path: Path, content: bytes, kind: type[T]) -> T:
    read: T = _guarded(str(path), lambda: msgspec.json.decode(content, type=kind))
    return read


def _guarded(where: str, read: Any) -> Any:
    try:
        return read()
    except RecursionError:
        why = "it is nested too deeply"
    except (msgspec.MsgspecError, yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        why = " ".join(str(error).split())
    raise StorageError(f"{where} cannot be read: {why[:300]}", hint=_HINT)
