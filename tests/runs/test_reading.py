"""Reading ends in a record or in one sentence that names the file and the place."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from harness.errors import StorageError
from harness.runs.reading import (
    MOST,
    MOST_YAML_BYTES,
    decode_json,
    decode_lines,
    decode_yaml,
    refuse_absurd,
)


class Thing(msgspec.Struct):
    schema: int
    name: str


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "thing.json"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"schema": 1}', "missing required field `name`"),
        (b'{"schema": 1, "name": 3}', "got `int` - at `$.name`"),
        (b'{"schema": 99, "name": "a"}', "a schema that this version does not know"),
        (b'{"name": "a"}', "missing required field `schema`"),
        (b"[]", "Expected `object`"),
        (b"\xff", "cannot be read"),
        (b'{"schema": 1, "name": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_record_is_named(path: Path, content: bytes, says: str) -> None:
    path.write_bytes(content)
    with pytest.raises(StorageError) as refused:
        decode_json(path, Thing)
    assert str(path) in refused.value.what
    assert says in refused.value.what
    assert "\n" not in refused.value.what


def test_a_record_may_have_no_schema(path: Path) -> None:
    path.write_bytes(b'{"schema": 99, "name": "a"}')
    assert decode_json(path, Thing, versioned=False) == Thing(99, "a")
    with pytest.raises(StorageError, match="cannot be read"):
        decode_json(path.with_name("none.json"), Thing)


def test_a_line_is_named_by_its_number_and_a_torn_last_one_left_out(path: Path) -> None:
    assert decode_lines(path, Thing) == []
    good = b'{"schema": 1, "name": "a"}\n'
    path.write_bytes(good + b'{"schema": 1, "na')
    assert decode_lines(path, Thing) == [Thing(1, "a")]
    path.write_bytes(good + b"[]\n" + good)
    with pytest.raises(StorageError, match="line 2 cannot be read"):
        decode_lines(path, Thing)


def test_yaml_is_read_plain_and_bounded(path: Path) -> None:
    path.write_text("schema: 1\nname: a\nmore: 2\n")
    mapping, thing = decode_yaml(path, Thing)
    assert (mapping["more"], thing) == (2, Thing(1, "a"))
    path.write_text("schema: 1\nname: &x a\nmore: *x\n")
    with pytest.raises(StorageError, match="references"):
        decode_yaml(path, Thing)
    path.write_text("#" * (MOST_YAML_BYTES + 1))
    with pytest.raises(StorageError, match="too large"):
        decode_yaml(path, Thing)


@pytest.mark.parametrize("value", [2 * MOST, -2 * MOST, math.inf, math.nan, (1.0, math.inf)])
def test_a_figure_that_no_clock_shows_is_refused(value: object) -> None:
    refuse_absurd("a file", [("figure", 1.0), ("text", "1e300"), ("none", None)])
    with pytest.raises(StorageError, match="a file: figure cannot be"):
        refuse_absurd("a file", [("figure", value)])
