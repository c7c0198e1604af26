from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.chunking import (
    EagerFirst,
    Sentences,
    Strategy,
    Timed,
    Tokens,
    Words,
    rechunk,
)
from harness.chunking.messages import chunk_messages
from harness.errors import ConfigError
from harness.events import Token
from harness.languages.units import words_of

MS = 1_000_000

strategies: st.SearchStrategy[Strategy] = st.one_of(
    st.builds(Words, st.integers(1, 8)),
    st.builds(EagerFirst, st.integers(1, 8)),
    st.just(Tokens()),
    st.just(Sentences()),
    st.builds(Timed, st.floats(0.1, 500)),
)
# Mostly of few characters: a token of several words must be frequent, not a matter of luck. Then
# those that meet in a word of any script: letters, marks, joiners, stops, invisible characters.
ANY_SCRIPT = (
    'ab ."\u3002\uff01\u300d\u300c今天か\u3099\u30fcน้ำา'
    "ကော្ក"
    "की\u0964\u0301بَ\u200b\u200d\u00ad\ufeff\U0001f469"
)
texts = st.text("ab .\n\u3000", max_size=8) | st.text(ANY_SCRIPT, max_size=6) | st.text(max_size=6)
token_streams = st.lists(
    st.tuples(texts, st.integers(0, 300 * MS)), max_size=40
)  # (text, time since the token before)


def tokens_of(pieces: list[tuple[str, int]]) -> list[Token]:
    at_ns, tokens = 0, []
    for text, gap_ns in pieces:
        at_ns += gap_ns
        tokens.append(Token(text=text, at_ns=at_ns))
    return tokens


def every_ms(texts: list[str], step_ms: int = 10) -> list[Token]:
    return [Token(text=text, at_ns=(i + 1) * step_ms * MS) for i, text in enumerate(texts)]


def released(texts: list[str], config: Strategy) -> list[tuple[str, float]]:
    """What is released and when (ms) for tokens 10 ms apart, ended 10 ms after the last."""
    tokens = every_ms(texts)
    chunks = rechunk(tokens, (len(tokens) + 1) * 10 * MS, config)
    return [(chunk.text, chunk.at_ns / MS) for chunk in chunks]


@given(token_streams, strategies)
def test_text_is_kept_exactly_and_nothing_is_released_early(
    pieces: list[tuple[str, int]], config: Strategy
) -> None:
    tokens = tokens_of(pieces)
    ended_ns = (tokens[-1].at_ns if tokens else 0) + 5
    chunks = rechunk(tokens, ended_ns, config)
    assert "".join(c.text for c in chunks) == "".join(t.text for t in tokens)
    assert [c.index for c in chunks] == list(range(len(chunks)))
    assert [c.is_final for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert [c.at_ns for c in chunks] == sorted(c.at_ns for c in chunks)
    seen = ""
    for chunk in chunks:
        seen += chunk.text
        there_by_then = "".join(t.text for t in tokens if t.at_ns <= chunk.at_ns)
        assert there_by_then.startswith(seen)


@given(token_streams, strategies.filter(lambda c: not isinstance(c, Tokens)))
def test_no_word_is_ever_split(pieces: list[tuple[str, int]], config: Strategy) -> None:
    tokens = tokens_of(pieces)
    chunks = rechunk(tokens, 10**12, config)
    text = "".join(chunk.text for chunk in chunks)
    inside = {at for word in words_of(text) for at in range(word.start + 1, word.end)}
    assert not inside & set(itertools.accumulate(len(chunk.text) for chunk in chunks))


@given(
    st.text(ANY_SCRIPT, max_size=30), st.data(), strategies.filter(lambda c: c.kind() != "token")
)
def test_pieces_that_a_text_comes_in_change_no_chunk(
    text: str, data: st.DataObject, config: Strategy
) -> None:
    if isinstance(config, Timed):
        config = Timed(1e6)  # by time, it depends on when the pieces came
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    whole, cut = (
        [chunk.text for chunk in rechunk(every_ms(tokens), 10**12, config)]
        for tokens in (list(text), pieces)
    )
    assert whole == cut


@given(token_streams, st.integers(1, 8))
def test_n_words_are_released_together(pieces: list[tuple[str, int]], words: int) -> None:
    *full, final = rechunk(tokens_of(pieces), 10**12, Words(words))
    assert all(len(list(words_of(chunk.text))) == words for chunk in full)
    assert len(list(words_of(final.text))) <= words


@given(token_streams, st.floats(0.1, 500))
def test_timed_holds_no_whole_word_longer_than_stated(
    pieces: list[tuple[str, int]], every: float
) -> None:
    tokens = tokens_of(pieces)
    released_chars = 0
    for chunk in rechunk(tokens, 10**12, Timed(every))[:-1]:
        word_end = released_chars + next(words_of(chunk.text)).end
        arrived = itertools.accumulate(len(t.text) for t in tokens)
        whole_ns = next(t.at_ns for t, n in zip(tokens, arrived, strict=True) if n > word_end)
        assert chunk.at_ns - whole_ns <= round(every * MS)
        released_chars += len(chunk.text)


def test_chunks_are_numbered_in_order_when_one_token_brings_several_words() -> None:
    chunks = rechunk(every_ms([" a b c d", " e f g"]), 10**9, Words(1))
    assert [chunk.index for chunk in chunks] == [0, 1, 2, 3, 4, 5, 6]


def test_a_word_is_whole_once_the_next_begins_or_the_stream_ends() -> None:
    assert released([" It", "'s", ",", " the", " end"], Words(1)) == [
        (" It's,", 40),
        (" the", 50),
        (" end", 60),
    ]


def test_six_words_wait_for_six() -> None:
    texts = [" a", " b", " c", " d", " e", " f", " g", " h"]
    assert released(texts, Words(6)) == [(" a b c d e f", 70), (" g h", 90)]


def test_several_words_in_one_token_are_released_at_once() -> None:
    assert released(["one two three four "], Words(1)) == [
        ("one", 10), (" two", 10), (" three", 10), (" four", 10), (" ", 20),
    ]  # fmt: skip


def test_eager_first_releases_one_then_n() -> None:
    texts = [" a", " b", " c", " d", " e"]
    assert released(texts, EagerFirst(2)) == [(" a", 20), (" b c", 40), (" d e", 60)]


def test_tokens_pass_through_and_empty_ones_are_no_chunk() -> None:
    assert released([" un", "", "real"], Tokens()) == [(" un", 10), ("real", 30), ("", 40)]


def test_sentences_end_with_their_mark_and_what_closes_it() -> None:
    texts = [' "Is', " it", '?"', " It", " is", ".", " Yes"]
    assert released(texts, Sentences()) == [
        (' "Is it?"', 40),
        (" It is.", 70),
        (" Yes", 80),
    ]


def test_timed_flushes_whole_words_when_time_is_up() -> None:
    texts = [" a", " b", " c", " d", " e"]
    # " a" is whole at 20; 15 ms later " a" and " b" (whole at 30) go; " c" is whole at 40.
    assert released(texts, Timed(15)) == [(" a b", 35), (" c d", 55), (" e", 60)]


def test_time_that_is_up_when_something_comes_is_up_before_it() -> None:
    texts = [" a", " b", " c", " d"]
    # " a" is whole at 20 and due at 30, as " c" makes " b" whole.
    assert released(texts, Timed(10)) == [(" a", 30), (" b", 40), (" c", 50), (" d", 50)]


def test_a_word_stays_held_when_asked_too_soon() -> None:
    chunker = Timed(15).chunker()
    assert chunker.tick(0) == []
    chunker.push(" a b", 10 * MS)
    assert chunker.tick(25 * MS - 1) == []
    assert chunker.tick(25 * MS) == [" a"]


def test_a_fresh_chunker_is_made_for_every_session() -> None:
    config = Words(2)
    first, second = config.chunker(), config.chunker()
    first.push(" one two three", 0)
    assert second.flush() == ""


@pytest.mark.parametrize(
    ("config", "name", "label"),
    [
        (Words(1), "1word", "1-word"),
        (EagerFirst(), "eager_first", "eager-first-6-word"),
        (EagerFirst(3), "eager_first_3", "eager-first-3-word"),
        (Tokens(), "token", "token"),
        (Sentences(), "sentence", "sentence"),
        (Timed(), "timed", "200-ms"),
        (Timed(50), "timed_50ms", "50-ms"),
    ],
)
def test_names(config: Strategy, name: str, label: str) -> None:
    assert (config.name, config.label) == (name, label)


def test_messages_carry_the_first_latency_on_every_chunk_once_known() -> None:
    chunks = rechunk(every_ms(["", " I", " am"], 75), 300 * MS, Words(1))
    request_ns = 149_680_000  # 75.32 ms before the first
    first, last = chunk_messages(chunks, request_ns)
    assert (first.text, first.is_final, first.chunk_index) == ("I", False, 0)
    assert (first.first_token_latency_ms, first.processing_time_ms) == (75, 75.3)
    assert (last.text, last.is_final, last.first_token_latency_ms) == ("am", True, 75)
    assert last.processing_time_ms == 150.3
    assert last.success


def test_blank_chunks_do_not_end_the_wait() -> None:
    chunks = rechunk(every_ms([" ", "I"]), 50 * MS, Tokens())
    assert [m.first_token_latency_ms for m in chunk_messages(chunks, 0)] == [None, 20, 20]


@pytest.mark.parametrize("make", [Words, EagerFirst, Timed])
def test_nothing_at_a_time_is_refused(make: type) -> None:
    with pytest.raises(ConfigError, match=r"chunking\..*0"):
        make(0)


# --- scripts without spaces ----------------------------------------------------------------------


def chunks_of(texts: list[str], config: Strategy) -> list[str]:
    return [text for text, _ in released(texts, config)]


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("今天天气", list("今天天气")),
        ("か\u3099き\u30fc", ["か\u3099", "き", "\u30fc"]),
        (
            "น้ำไทย",
            ["น้ำ", "ไ", "ท", "ย"],
        ),
        ("我用 iPhone打", ["我", "用", " iPhone", "打"]),
        ("今\u200b天", ["今\u200b", "天"]),
        ("\ufeff今天", ["\ufeff今", "天"]),
        ("की बात", ["की", " बात"]),
    ],
)
def test_one_word_is_one_grapheme_cluster_in_scripts_without_spaces(
    text: str, chunks: list[str]
) -> None:
    assert chunks_of(list(text), Words(1)) == chunks
    assert chunks_of([text], Words(1)) == chunks


def test_six_words_are_six_grapheme_clusters() -> None:
    text = "今天天气很好我们"
    assert chunks_of(list(text), Words(6)) == [text[:6], text[6:]]


def test_a_cluster_is_held_until_the_next_one_begins() -> None:
    """The second token completes the first one's letter."""
    assert released(["か", "\u3099", "き"], Words(1)) == [
        ("か\u3099", 30), ("き", 40),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "sentences",
    [
        ["你好\u3002", "我来了\uff01", "是吗\uff1f", "是"],
        ["他说\uff1a\u300c好\u3002\u300d", "走了"],
        ["好\uff01\uff1f", "走"],
        ['好\u3002"', "走"],
        ["好\u3002", '"Yes" 走'],
        ["好!", "走.", " OK"],
        ["है\u0964", " वह"],
        ['He said "no."', " Then he left."],
    ],
)
def test_full_stops_of_all_scripts_end_sentences(sentences: list[str]) -> None:
    text = "".join(sentences)
    assert chunks_of(list(text), Sentences()) == sentences
    assert chunks_of([text], Sentences()) == sentences


def test_invisible_text_does_not_end_the_wait() -> None:
    chunks = rechunk(every_ms(["\ufeff", "\u200bI"]), 50 * MS, Tokens())
    assert [m.first_token_latency_ms for m in chunk_messages(chunks, 0)] == [None, 20, 20]
