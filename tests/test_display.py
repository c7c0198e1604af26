"""The display: text that is appended, replaced, made final, taken back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.chunking import (
    Interim,
    Sentences,
    Tokens,
    Words,
    offered,
    parse_strategy,
    rechunk,
)
from harness.display import Display, TakenBack
from harness.events import Hypothesis, Token


def test_an_open_segment_is_replaced_and_a_final_one_is_committed() -> None:
    display = Display()
    assert display.hypothesis(0, "It was", final=False) == ""
    assert (display.shown, display.committed) == ("It was", "")
    assert display.hypothesis(0, "It was the best. ", final=True) == "It was the best. "
    assert display.hypothesis(1, "It", final=False) == ""
    assert (display.shown, display.committed) == ("It was the best. It", "It was the best. ")


def test_finals_out_of_order_wait_for_those_before_them() -> None:
    display = Display()
    display.hypothesis(0, "one", final=False)
    assert display.hypothesis(1, "two ", final=True) == ""
    assert display.shown == "onetwo "
    assert display.hypothesis(0, "one ", final=True) == "one two "
    assert display.committed == "one two "


def test_tokens_come_before_what_is_open() -> None:
    display = Display()
    display.hypothesis(0, " best of", final=False)
    display.token("the")
    assert display.shown == "the best of"


def test_the_end_commits_what_is_open() -> None:
    display = Display()
    display.hypothesis(0, "one ", final=False)
    display.hypothesis(1, "two", final=True)
    assert display.end() == "one two"
    assert (display.committed, display.open) == ("one two", "")


def test_an_empty_final_removes_a_segment() -> None:
    display = Display()
    display.hypothesis(0, "uh", final=False)
    assert display.hypothesis(0, "", final=True) == ""
    assert display.shown == ""


def test_a_final_said_again_changes_nothing() -> None:
    display = Display()
    display.hypothesis(0, "one ", final=True)
    assert display.hypothesis(0, "one ", final=True) == ""
    assert display.committed == "one "


@pytest.mark.parametrize("waits", [False, True])
def test_what_is_final_is_never_changed(waits: bool) -> None:
    display = Display()
    if waits:  # for an earlier segment that is open
        display.hypothesis(0, "zero ", final=False)
    display.hypothesis(1, "one ", final=True)
    with pytest.raises(TakenBack, match="segment 1 was final as 'one ' and became 'two '"):
        display.hypothesis(1, "two ", final=False)


def test_nothing_comes_before_what_is_committed() -> None:
    display = Display()
    display.hypothesis(2, "two ", final=True)
    with pytest.raises(TakenBack, match="segment 1 came after segment 2 was final"):
        display.hypothesis(1, "one ", final=False)


# --- what clients get ---

UPDATES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["", "a", "a b ", "b. ", " c d"]), st.booleans()),
    max_size=12,
)


def played(steps: list[tuple[int, str, bool]]) -> list[Token | Hypothesis]:
    """Those of the steps that the display takes."""
    display, kept = Display(), list[Token | Hypothesis]()
    for at_ns, (segment, text, final) in enumerate(steps):
        try:
            display.hypothesis(segment, text, final=final)
        except TakenBack:
            continue
        kept.append(Hypothesis(segment, text, final, at_ns))
    return kept


@given(UPDATES)
def test_every_strategy_releases_the_committed_text(steps: list[tuple[int, str, bool]]) -> None:
    updates, display = played(steps), Display()
    for update in updates:
        assert isinstance(update, Hypothesis)
        display.hypothesis(update.segment, update.text, final=update.final)
    display.end()
    for strategy in (Words(1), Words(6), Tokens(), Sentences()):
        chunks = rechunk(updates, 100, strategy)
        assert "".join(chunk.text for chunk in chunks) == display.committed
        assert all(chunk.segment is None for chunk in chunks)


@given(UPDATES)
def test_interim_passes_on_every_update(steps: list[tuple[int, str, bool]]) -> None:
    updates = played(steps)
    *chunks, last = rechunk(updates, 100, Interim())
    assert [(c.segment, c.text, c.closes, c.at_ns) for c in chunks] == [
        (u.segment, u.text, u.final, u.at_ns) for u in updates if isinstance(u, Hypothesis)
    ]
    assert (last.text, last.segment, last.is_final) == ("", None, True)


def test_clients_of_a_page_are_not_offered_what_takes_text_back() -> None:
    assert "interim" not in [strategy.name for strategy in offered()]
    with pytest.raises(ValueError, match="no chunking strategy is called 'interim'"):
        parse_strategy("interim")


@given(st.lists(st.sampled_from(["a", " b", " c d", ". ", ""]), max_size=8))
def test_of_an_engine_that_only_appends_interim_is_token(texts: list[str]) -> None:
    tokens = [Token(text, at_ns) for at_ns, text in enumerate(texts)]
    assert rechunk(tokens, 100, Interim()) == rechunk(tokens, 100, Tokens())
