"""Names from files and configs are plain names, and paths stay inside."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.runs.names import distinct, inside, safe_name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "a\0b", "a\nb", "x" * 256, "é" * 128],
)
def test_what_is_no_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="the name of an arm must be a plain name"):
        inside(tmp_path, name, "an arm")


@pytest.mark.parametrize("name", ["1word", "का", "a b", "...", "-rf", "old-1+dirty", "x" * 255])
def test_what_is_one(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name, "an arm") == tmp_path / name


def test_a_link_elsewhere_is_no_name_inside(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/arm").symlink_to(tmp_path / "other")
    with pytest.raises(UsageError):
        inside(tmp_path / "folder", "arm", "an arm")
    (tmp_path / "linked").symlink_to(tmp_path / "folder")  # the folder itself may be one
    assert inside(tmp_path / "linked", "x", "an arm") == tmp_path / "linked/x"


@given(st.text(max_size=300))
def test_a_safe_name_is_short_and_plain(text: str) -> None:
    name = safe_name(text)
    assert 0 < len(name) <= 60
    inside(Path.cwd(), name, "it")
    assert safe_name(name) == name


def test_names_that_would_be_one_get_numbers() -> None:
    assert distinct(["a", "b", "A", "a", "a_2"]) == ["a", "b", "A_2", "a_3", "a_2_2"]
