"""Texts that are plainly not of the stated language are doubted; others are not."""

from __future__ import annotations

import pytest

from harness.languages.scripts import language_doubts

GERMAN = "die Größe der Wände überrascht müde Gäste und schöne Vögel"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "it was the best of times"),
        ("en", "a café with a view of the sea and of the long white road to the town"),
        ("de", GERMAN),
        ("ja", "今日はカレーを食べます"),
        ("zh", "我用 iPhone 打电话给你的朋友"),
        ("en", ""),
    ],
)
def test_a_text_of_its_language_is_not_doubted(language: str, text: str) -> None:
    assert language_doubts([(language, text)]) == []


@pytest.mark.parametrize(
    ("language", "text", "says"),
    [
        ("en", "сегодня хорошая погода", "0 of 20 letters"),
        ("ru", "the weather is fine today", "language 'ru' (Cyrl)"),
        ("en", GERMAN, "have letters that English lacks"),
    ],
)
def test_a_text_of_another_language_is_doubted_with_counts(
    language: str, text: str, says: str
) -> None:
    (doubt,) = language_doubts([(language, text)])
    assert says in doubt


def test_each_language_is_judged_by_all_its_texts() -> None:
    texts = [("en", "it was the best of times"), ("ru", "the weather is fine"), ("en", "да")]
    (doubt,) = language_doubts(texts)
    assert "'ru'" in doubt
