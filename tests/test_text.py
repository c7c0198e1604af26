from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.text import csv_cell, escape_markdown, shorten, visible

JOINERS = "\u200c\u200d"


@given(st.text())
def test_visible_text_has_no_character_that_acts(text: str) -> None:
    shown = visible(text)
    assert len(shown) == len(text)  # offsets into the text stay valid
    unseen = {"Cc", "Cs", "Cf", "Zl", "Zp"}
    assert not any(unicodedata.category(c) in unseen for c in shown if c not in JOINERS)
    shown.encode("utf-8")


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "M", "Zs"))))
def test_visible_keeps_all_other_text(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    "unseen", ["\u200b", "\u061c", "\u2028", "\u2029", "\u00ad", "\ufeff", "\u202e", "\U000e0041"]
)
def test_what_has_no_width_is_seen(unseen: str) -> None:
    assert visible(f"a{unseen}b") == "a\ufffdb"


@pytest.mark.parametrize("text", ["\u0645\u06cc\u200c\u062e\u0648", "\U0001f468\u200d\U0001f4bb"])
def test_what_scripts_are_spelt_with_stays(text: str) -> None:
    assert visible(text) == text


def test_signs_of_numbers_are_seen_already() -> None:
    assert visible("\u06dd\u0661 \u0600") == "\u06dd\u0661 \u0600"


def test_controls_have_their_own_signs() -> None:
    assert visible("a\0b\x1b[31m\x7f\n\t\x9b") == "a\u2400b\u241b[31m\u2421  \ufffd"


@pytest.mark.parametrize(
    "text",
    [
        "![p](https://evil.example/x.png) @octocat [click](https://evil.example)",
        "<img src=x onerror=alert(1)> <!-- a --> &amp; &#64;x",
        "# a *b* _c_ `d` ~~e~~ $f$ | g \\| h \\< i",
        "[a]: https://evil.example",
    ],
)
def test_markdown_shows_foreign_text_as_it_is(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("strikethrough").parseInline(escape_markdown(text))
    parts = tokens[0].children
    assert {part.type for part in parts} <= {"text", "text_special", "html_inline"}
    assert {part.content for part in parts if part.type == "html_inline"} <= {"<!-- -->"}
    assert "".join(part.content for part in parts if part.type != "html_inline") == text


def test_nobody_is_notified() -> None:
    # GitHub finds names in the text of the page that is made, entities and backslashes decoded.
    assert escape_markdown("@octocat, a/b#1") == "@<!-- -->octocat, a/b\\#<!-- -->1"


@pytest.mark.parametrize("sign", [*"=+-@", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
@pytest.mark.parametrize("before", ["", " ", "\t", "\r", "\n", "a;", "a|", "a; "])
def test_no_cell_begins_a_formula(before: str, sign: str) -> None:
    shown = csv_cell(f"{before}{sign}cmd|' /C calc'!A0")
    for separator in ";|\t":
        for cell in shown.split(separator):
            assert not cell.strip().startswith(sign)
    assert "\n" not in shown


@pytest.mark.parametrize("text", ["1word", "a-b", "ttft_ms", "x=1,y=2", "6word (run-3)", ""])
def test_other_cells_stay(text: str) -> None:
    assert csv_cell(text) == text


def test_shortened_text_is_visible() -> None:
    assert shorten("a\x1b[2J" + "b" * 10**6, 8) == "a\u241b[2Jbb…"
    assert shorten("short", 8) == "short"


def test_a_text_is_not_cut_between_a_letter_and_its_marks() -> None:
    assert shorten("नमस्ते दुनिया", 6) == "नमस्…"
    assert shorten("नमस्ते", 6) == "नमस्ते"
    assert shorten("a" + "\u0301" * 50, 6) == "a" + "\u0301" * 4 + "…"
