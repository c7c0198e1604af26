"""A text that is plainly not of its stated language is told; one that may be is not."""

from __future__ import annotations

import pytest

from harness.languages.scripts import language_doubts

GERMAN = "Das ist schon sehr schön, sagte er und ging über die Straße."


@pytest.mark.parametrize(
    ("language", "text", "told"),
    [
        ("en", GERMAN, "letters that English lacks, such as 'schön,'"),
        ("en", "schön", "1 of 1 words"),
        ("en", "Le café est déjà fermé", "3 of 5 words"),
        ("en", "\u043f\u0440\u0438\u0432\u0435\u0442", "0 of 6 letters"),
        ("en", "नमस्ते दुनिया", "'en' (Latn)"),
        ("hi", "hello there", "'hi'"),
        ("zh", "hello there", "'zh'"),
        ("zh", "今日はとても良いです", "3 of 10 letters"),
    ],
)  # fmt: skip
def test_plainly_another_language(language: str, text: str, told: str) -> None:
    (doubt,) = language_doubts([(language, text)])
    assert told in doubt


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "It was the best of times"),
        ("en", "We met at the café on the corner last night"),
        ("en", ""),
        ("en", "42 - 17"),
        ("de", GERMAN),
        ("de", "It was the best of times"),  # of its script: nobody can tell by that
        ("hi", "नमस्ते OK"),
        ("zh", "我用 iPad 打电话给你"),
        ("ja", "ス\u30fcパ\u30fcへ行く"),
        ("ko", "한국어"),
        ("sr", "Zdravo svete"),
        ("sr", "\u0417\u0434\u0440\u0430\u0432\u043e"),
        ("tlh", "nuqneH"),  # of no known script
    ],
)
def test_what_may_be_of_its_language(language: str, text: str) -> None:
    assert language_doubts([(language, text)]) == []


def test_each_language_is_judged_by_all_its_texts() -> None:
    texts = [
        ("en", "It was the best of times"),
        ("hi", "OK"),
        ("hi", "नमस्ते"),
    ]
    assert language_doubts(texts) == []
    assert len(language_doubts([*texts, ("zh", "hello")])) == 1
