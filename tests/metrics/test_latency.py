"""Hand-made traces with whole milliseconds: every figure is an exact equality."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.chunking import (
    EagerFirst,
    Sentences,
    Tokens,
    Words,
)
from harness.events import SessionKind
from harness.metrics import ClipMetrics
from harness.metrics.latency import as_recorded, clip_metrics
from harness.metrics.registry import all_metrics
from tests.traces import make_trace

HELLO = (("hello", 2100), (" big", 2115), (" wor", 2120), ("ld", 2125))


def test_turn_latencies_count_from_the_end_of_the_audio():
    clip = clip_metrics(make_trace(HELLO, ended_ms=2130))

    assert clip.first_token_ms == 100
    assert clip.ttft_ms == 115  # "hello" is whole once " big" begins
    assert clip.gap_ms == (5, 10)
    assert clip.response_ms == 130
    assert clip.final_ms == 230  # speech ended 0.1 s before the audio
    assert clip.flush_ms == 130
    assert clip.gap_per_word_ms == 7.5
    assert clip.chunks == 3


def test_six_words_wait_for_the_end_of_a_short_text():
    clip = clip_metrics(make_trace(HELLO, ended_ms=2130, chunking=Words(6)))

    assert (clip.first_token_ms, clip.ttft_ms, clip.response_ms) == (100, 130, 130)
    assert clip.gap_ms == ()
    assert clip.gap_per_word_ms is None
    assert clip.why_null["gap_per_word_ms"] == "no word after the first chunk"
    assert clip.hold_ms == (15,)  # "hello" was whole at 2115


def test_a_word_in_several_chunks_is_one_word():
    pieces = [
        ("I", 2010),
        (" un", 2020),
        ("der", 2030),
        ("stand", 2040),
        (" ", 2050),
        ("you", 2060),
    ]
    by_token = clip_metrics(make_trace(pieces, chunking=Tokens()))
    by_word = clip_metrics(make_trace(pieces, ended_ms=2060))

    assert by_token.gap_per_word_ms == 25  # 50 ms for "understand" and "you"
    assert by_word.gap_per_word_ms == 20  # from 2020, when "I" was whole
    one_word = make_trace([(" un", 2010), ("der", 2030)], chunking=Tokens())
    assert clip_metrics(one_word).gap_per_word_ms is None


def test_hold_counts_from_the_token_that_made_the_first_word_whole():
    tokens = [("a", 2010), (" b", 2020), (" c", 2030), (" d", 2040), (" e", 2050)]
    two_words = clip_metrics(make_trace(tokens, chunking=Words(2), ended_ms=2060))

    assert two_words.hold_ms == (10, 10, 10)


def test_hold_is_zero_where_nothing_waits_for_whole_words():
    assert clip_metrics(make_trace(HELLO, chunking=Tokens())).hold_ms == (0, 0, 0, 0)
    assert clip_metrics(make_trace(HELLO)).hold_ms == (0, 0, 0)


def test_a_part_of_a_word_is_held_from_the_token_of_its_last_character():
    tokens = [("wo", 2010), ("r", 2020), ("d ", 2040)]
    clip = clip_metrics(make_trace(tokens, chunks=[("wor", 2025), ("d ", 2040)]))

    assert clip.hold_ms == (5, 0)


def test_blank_tokens_and_chunks_are_not_text():
    tokens = [("", 2010), (" ", 2020), ("hi", 2030), ("", 2040)]
    clip = clip_metrics(make_trace(tokens, chunking=Tokens(), ended_ms=2050))

    assert (clip.first_token_ms, clip.ttft_ms, clip.gap_ms, clip.chunks) == (30, 30, (), 1)


def test_live_latencies_count_from_the_onset_of_speech():
    clip = clip_metrics(make_trace([("hi", 300), (" you", 500)], kind=SessionKind.LIVE))

    assert clip.first_token_ms == 200
    assert clip.ttft_ms == 400
    assert clip.response_ms is None
    assert clip.why_null["response_ms"] == "only in turn sessions"


def test_text_before_the_speech_is_a_negative_latency_not_zero():
    clip = clip_metrics(make_trace([("hi", 40), (" you", 60)], kind=SessionKind.LIVE))

    assert (clip.first_token_ms, clip.ttft_ms) == (-60, -40)


def test_no_text_is_missing_not_zero():
    clip = clip_metrics(make_trace([("", 2010)], reference="hello", ended_ms=2020))

    assert clip.ttft_ms is None
    assert clip.why_null["ttft_ms"] == clip.why_null["final_ms"] == "no text"
    assert clip.flush_ms == 20
    assert clip.wer == 1


def test_a_failed_clip_has_no_latency_and_is_all_deletions():
    clip = clip_metrics(make_trace(HELLO, reference="hello big world", failed="timeout"))

    assert clip.failed == "timeout"
    assert clip.hypothesis == "hello big world"
    assert (clip.ttft_ms, clip.gap_ms, clip.flush_ms, clip.budget_ms) == (None, (), None, None)
    assert clip.why_null["ttft_ms"] == clip.why_null["budget_ms"] == "failed: timeout"
    assert (clip.word_edits.deletions, clip.wer, clip.cer) == (3, 1, 1)
    assert len(clip.send_lateness_ms) == 101


def test_send_lateness_counts_every_frame_and_the_end_of_audio():
    clip = clip_metrics(make_trace(HELLO, late_ms=3))

    assert clip.send_lateness_ms == (3,) * 101


def test_random_weights_have_no_error_rate():
    clip = clip_metrics(make_trace(HELLO), random_weights=True)

    assert (clip.wer, clip.word_edits) == (None, None)
    assert "random weights" in clip.why_null["wer"]


def test_budget_adds_up_to_the_ttft():
    spans = [
        ("queue", 2002, 2003),
        ("features", 2003, 2010),
        ("encoder", 2010, 2080),
        ("prefill", 2080, 2099),
        ("decode", 2099, 2114),
        ("decode", 2114, 2125),
    ]
    budget = clip_metrics(make_trace(HELLO, spans=spans, late_ms=1, ended_ms=2130)).budget_ms

    assert budget == {
        "send_late": 1,
        "queue": 1,
        "features": 7,
        "encoder": 70,
        "prefill": 19,
        "decode": 1,  # up to the first token
        "hold": 15,
        "delivery": 0,
        "unattributed": 1,
    }


def test_the_way_to_a_server_and_back_is_delivery():
    spans = [("queue", 2001, 2003), ("encoder", 2003, 2080), ("prefill", 2080, 2095)]
    tokens = [("It", 2100), (" is", 2120)]
    spans += [("delivery", 2095, 2100), ("delivery", 2118, 2120)]
    clip = clip_metrics(make_trace(tokens, spans=spans, late_ms=1, ended_ms=2130))

    assert clip.delivery_ms == (5, 2)
    assert clip.budget_ms == {
        "send_late": 1,
        "queue": 2,
        "encoder": 77,
        "prefill": 15,
        "hold": 20,
        "delivery": 5,
        "unattributed": 0,
    }
    assert clip.why_null.get("delivery_ms") is None
    local = clip_metrics(make_trace(tokens, ended_ms=2130))
    assert local.why_null["delivery_ms"] == "the server did not report its times"


def test_what_was_done_before_t0_or_while_text_came_is_not_on_its_way():
    spans = [("setup", 1990, 2040), ("encoder", 2040, 2100), ("delivery", 2090, 2100)]
    clip = clip_metrics(make_trace([("It ", 2100)], spans=spans, ended_ms=2130))

    assert clip.budget_ms == {"encoder": 50, "hold": 0, "delivery": 10, "unattributed": 40}


def test_text_at_the_request_itself_has_a_budget():
    spans = [("encoder", 1900, 2000)]
    clip = clip_metrics(make_trace([("It ", 2000)], spans=spans, ended_ms=2130))

    assert (clip.ttft_ms, sum(clip.budget_ms.values())) == (0, 0)


def test_budget_counts_overlapping_spans_once():
    spans = [("encoder", 2000, 2090), ("host_read", 2080, 2100), ("injected", 2090, 2100)]
    budget = clip_metrics(make_trace(HELLO, spans=spans, ended_ms=2130)).budget_ms

    assert (budget["encoder"], budget["host_read"], "injected" in budget) == (90, 10, False)
    assert budget["unattributed"] == 0


def test_compute_is_what_the_engine_did_not_what_it_waited_for():
    spans = [("setup", -50, -10), ("queue", 2000, 2020), ("encoder", 2020, 2050)]
    spans += [("decode", 2040, 2060), ("injected", 2060, 2100)]
    clip = clip_metrics(make_trace(HELLO, spans=spans))

    assert clip.compute_ms == 40
    assert clip.setup_ms == 40


def test_a_step_that_sessions_took_together_is_shared_by_them():
    spans = [("queue", 2000, 2020), ("encoder", 2020, 2050), ("decode", 2040, 2080)]
    trace = make_trace(HELLO, spans=spans)
    shared = tuple(msgspec.structs.replace(span, shared_by=4) for span in trace.spans[1:])
    clip = clip_metrics(msgspec.structs.replace(trace, spans=(trace.spans[0], *shared)))

    assert clip.compute_ms == 60 / 4
    assert clip.budget_ms == clip_metrics(trace).budget_ms  # who waits, waits for all of it


@pytest.mark.parametrize(
    ("version", "streams", "known"), [("3", 8, True), ("2", 1, True), ("2", 8, False)]
)
def test_older_recordings_do_not_say_who_shared_a_step(version, streams, known):
    clip = clip_metrics(make_trace(HELLO, spans=[("encoder", 2020, 2050)]))
    found = as_recorded(clip, version, streams)

    assert found.compute_ms == (30 if known else None)
    assert ("compute_ms" in found.why_null) != known
    assert found.ttft_ms == clip.ttft_ms


def test_an_engine_without_spans_has_no_budget():
    clip = clip_metrics(make_trace(HELLO))

    assert clip.budget_ms is None
    assert clip.why_null["budget_ms"] == "the engine reports no compute spans"


def test_live_budget_says_how_long_audio_was_waited_for():
    spans = [("encoder", 200, 240), ("decode", 240, 300)]
    trace = make_trace([("hi", 300), (" you", 350)], kind=SessionKind.LIVE, spans=spans)

    budget = clip_metrics(trace).budget_ms

    assert budget["wait"] == 100  # onset of speech at 100
    assert sum(budget.values()) == 250


def test_live_the_end_of_the_audio_is_nothing_that_text_waits_for():
    spans = [("encoder", 200, 240), ("decode", 2010, 2020)]
    trace = make_trace([("hi ", 2020)], kind=SessionKind.LIVE, spans=spans, late_ms=5)

    assert clip_metrics(trace).budget_ms == {
        "encoder": 40, "decode": 10, "wait": 1870, "hold": 0, "delivery": 0, "unattributed": 0,
    }  # fmt: skip


def test_words_that_grow_after_they_were_shown_are_rewrites():
    assert clip_metrics(make_trace(HELLO)).split_words == 0
    assert clip_metrics(make_trace(HELLO, chunking=Tokens())).split_words == 1


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([" un", "believ", "able"], 1),
        ([" un", "", "able"], 1),
        (["a b", "c d", "e"], 2),
        (["a", " ", "b"], 0),
        ([" ", "a b", " "], 0),
    ],
)
def test_a_word_that_is_cut_several_times_is_rewritten_once(pieces, words):
    chunks = [(text, 2010 + 10 * i) for i, text in enumerate(pieces)]
    assert clip_metrics(make_trace(chunks, chunks=chunks)).split_words == words


def test_every_metric_has_a_definition_and_a_place_in_the_clip_record():
    fields = {field.name for field in msgspec.structs.fields(ClipMetrics)}
    for metric in all_metrics():
        assert metric.definition
        assert metric.scope == "corpus" or metric.name in fields
    assert len({metric.name for metric in all_metrics()}) == len(all_metrics())


texts = st.lists(st.sampled_from(["a", " b", "c ", ".", " ", "", " dé", "ñ"]), max_size=12)
strategies = st.sampled_from([Words(1), Words(6), EagerFirst(2), Sentences(), Tokens()])


@given(texts, strategies, st.integers(1, 50))
def test_whatever_the_tokens_the_parts_agree(pieces, chunking, step_ms):
    tokens = [(text, 2010 + i * step_ms) for i, text in enumerate(pieces)]
    spans = [("decode", 2000, 2010 + len(pieces) * step_ms)]
    clip = clip_metrics(make_trace(tokens, chunking=chunking, spans=spans, reference="a"))

    assert len(clip.hold_ms) == clip.chunks
    assert all(hold >= 0 for hold in clip.hold_ms)
    if clip.ttft_ms is None:
        assert clip.chunks == 0 or not any(map(str.isalnum, "".join(pieces)))
        return
    assert clip.first_text_ms <= clip.ttft_ms
    assert clip.first_text_ms + sum(clip.gap_ms) == pytest.approx(clip.final_ms - 100)
    assert clip.ttft_ms >= clip.first_token_ms
    assert sum(clip.budget_ms.values()) == pytest.approx(clip.ttft_ms)


@given(texts.filter(lambda pieces: any(map(str.isalnum, "".join(pieces)))), strategies,
       st.integers(0, 500))  # fmt: skip
def test_delaying_every_token_by_d_adds_exactly_d(pieces, chunking, delay_ms):
    def measured(delay: int) -> ClipMetrics:
        tokens = [(text, 2010 + 10 * i + delay) for i, text in enumerate(pieces)]
        return clip_metrics(make_trace(tokens, chunking=chunking))

    now, late = measured(0), measured(delay_ms)

    for name in (
        "ttft_ms",
        "first_text_ms",
        "first_token_ms",
        "response_ms",
        "final_ms",
        "flush_ms",
    ):
        assert getattr(late, name) == getattr(now, name) + delay_ms
    assert (late.gap_ms, late.hold_ms, late.wer) == (now.gap_ms, now.hold_ms, now.wer)
