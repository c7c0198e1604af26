"""Language tags are reduced to their primary subtag, or refused with what is allowed."""

from __future__ import annotations

import pytest

from harness.errors import DatasetError
from harness.languages.tags import language_of, require_language


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en", "en"), ("EN", "en"), ("en-US", "en"), ("en_GB", "en"), ("eng", "en"),
        ("pt-BR", "pt"), ("zh-Hans-CN", "zh"), ("cmn", "zh"), ("iw", "he"), ("haw", "haw"),
    ],
)  # fmt: skip
def test_case_region_and_script_make_no_difference(tag: str, language: str) -> None:
    assert language_of(tag) == language


@pytest.mark.parametrize("tag", ["", "und", "mul", "english", "xx-", "x-mine", "qaa", "e n", "😀"])
def test_what_names_no_language_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="is not the tag of a language"):
        language_of(tag)
    with pytest.raises(DatasetError) as refused:
        require_language("line 3: language", tag, DatasetError)
    assert refused.value.what == "line 3: language"
    assert refused.value.value == tag
    assert "BCP 47" in (refused.value.allowed or "")
