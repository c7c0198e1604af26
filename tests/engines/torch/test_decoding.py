from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.engines.torch.decoding import KVCache, TokenText, greedy_tokens

END = 9


class Scripted:
    """Says the ids it was given, and counts what it was asked."""

    def __init__(self, *ids: int) -> None:
        self.ids = list(ids)
        self.taken: list[int] = []

    def prefill(self) -> torch.Tensor:
        return torch.tensor([self.ids[0]])

    def step(self, token: torch.Tensor) -> torch.Tensor:
        self.taken.append(int(token))
        return torch.tensor([self.ids[len(self.taken)]])


def test_every_token_is_yielded_the_end_too_and_no_step_follows_it():
    decoder = Scripted(3, 4, 5, END, 6)
    assert list(greedy_tokens(decoder, end=(END,), limit=100)) == [3, 4, 5, END]
    assert decoder.taken == [3, 4, 5]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_limit_costs_no_step_beyond_it(limit):
    decoder = Scripted(3, 4, 5, 6)
    assert list(greedy_tokens(decoder, end=(END,), limit=limit)) == [3, 4, 5][:limit]
    assert len(decoder.taken) == limit - 1


def test_a_token_is_there_before_the_next_one_is_computed():
    decoder = Scripted(3, 4, 5, END)
    tokens = greedy_tokens(decoder, end=(END,), limit=100)
    assert next(tokens) == 3
    assert decoder.taken == []
    assert next(tokens) == 4
    assert decoder.taken == [3]


def test_forced_ids_take_the_place_of_the_likely_ones_and_of_the_end():
    decoder = Scripted(1, 1, END, 1, 1)
    forced = torch.tensor([END, 4, 5, 6])
    assert list(greedy_tokens(decoder, end=(END,), limit=2, forced=forced)) == [END, 4, 5, 6]
    assert decoder.taken == [END, 4, 5]


def test_the_cache_returns_everything_written_so_far_per_layer():
    cache = KVCache(2, 1, 4, 1, device=torch.device("cpu"), dtype=torch.float32)

    def write(layer, *values):
        keys = torch.tensor(values, dtype=torch.float32).view(1, 1, -1, 1)
        return tuple(kept.flatten().tolist() for kept in cache.write(layer, keys, -keys))

    assert write(0, 1, 2) == ([1, 2], [-1, -2])
    assert write(1, 5, 6) == ([5, 6], [-5, -6])
    cache.advance(2)
    assert write(0, 3) == ([1, 2, 3], [-1, -2, -3])
    assert write(1, 7) == ([5, 6, 7], [-5, -6, -7])
    cache.clear()
    assert write(0, 8) == ([8], [-8])


@given(st.text(), st.lists(st.integers(0, 400)))
def test_text_is_exact_however_tokens_split_its_bytes(text, cuts):
    data = text.encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    stream = TokenText(pieces)
    said = [stream.push(index) for index in range(len(pieces))]
    assert "".join(said) == text
    assert stream.flush() == ""


def test_half_a_character_waits_and_a_special_token_says_nothing():
    stream = TokenText([b"caf", b"\xc3", b"\xa9", b""])
    assert [stream.push(token) for token in (0, 1, 3, 2)] == ["caf", "", "", "é"]


def test_a_character_that_never_got_its_rest_is_marked_at_the_end():
    stream = TokenText([b"a\xe2\x82"])
    assert stream.push(0) == "a"
    assert stream.flush() == "\N{REPLACEMENT CHARACTER}"
