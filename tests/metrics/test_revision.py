"""Text that is taken back: twelve sessions by hand, an independent count, and what must not change.

Audio from 0 to 2000 ms, spoken from 100 to 1900: R is 100 in live sessions, A(speech end) is 1900.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from harness.chunking import Interim, Tokens, Words, rechunk
from harness.events import (
    Chunk,
    Ended,
    FinishSent,
    Hypothesis,
    Session,
    SessionKind,
    Token,
    Trace,
    TurnEnded,
    Word,
)  # fmt: skip
from harness.metrics import ClipMetrics, Revised
from harness.metrics.instants import CENSORED, NO_ENDPOINTER
from harness.metrics.revision import revised
from harness.metrics.summary import summarise
from tests.traces import MS, Step, figures, interim, make_trace

LIVE = SessionKind.LIVE
Timings = Sequence[tuple[str, float]]


def measured(steps: Sequence[Step], words: Timings, **more: Any) -> ClipMetrics:
    reference = " ".join(text for text, _ in words)
    clip: ClipMetrics = figures(interim(steps, words=words, reference=reference, kind=LIVE, **more))
    return clip


def errors_at(clip: ClipMetrics) -> list[int | None]:
    """After 0, 250, 500, 1000 ms."""
    found = (clip.edits_at_0ms, clip.edits_at_250ms, clip.edits_at_500ms, clip.edits_at_1000ms)
    return [None if edits is None else edits.errors for edits in found]


def expect(clip: ClipMetrics, errors: list[int], **values: Any) -> None:
    seen = {name: getattr(clip, name) for name in values}
    assert seen == {k: pytest.approx(v) if isinstance(v, float) else v for k, v in values.items()}
    assert errors_at(clip) == errors


# --- twelve sessions by hand ----------------------------------------------------------------------

FIG_OAK_ELM: Timings = [("fig", 400), ("oak", 800), ("elm", 1200)]
GROWS: list[Step] = [
    (500, 0, "fig", False), (900, 0, "fig oak", False), (1300, 0, "fig oak elm", True),
]  # fmt: skip


def test_1_one_segment_that_grows() -> None:
    expect(
        measured(GROWS, FIG_OAK_ELM),
        [0, 0, 0, 0],
        first_text_ms=400, ttft_ms=400, first_stable_ms=400,  # 500 - 100
        word_shown_ms=(100, 100, 100),  # 500 - 400, 900 - 800, 1300 - 1200
        word_delay_ms=(100, 100, 100),
        word_final_ms=(900, 500, 100),  # all of them at 1300
        final_ms=-600, final_known_ms=-600,  # 1300 - 1900: text and final at once
        revised=Revised(updates=0, unstable=0, erased=0, words=3),
        # (500 - 0 + 900 - 2000/3 + 1300 - 4000/3) / 3
        yaal_ms=700 / 3,
        # From 200, 1000 long, over at 1000: (300 - 0 + 700 - 1000/3) / 2; 1100 is too late.
        long_yaal_ms=1000 / 3,
        mute_s=0.0, lost_after_pause=None, eot_ms=None, false_cutoffs=None, censored=None,
    )  # fmt: skip


def test_2_a_word_that_becomes_another() -> None:
    steps: list[Step] = [
        (500, 0, "fig oat", False), (900, 0, "fig oak", False), (1300, 0, "fig oak", True),
    ]  # fmt: skip
    expect(
        measured(steps, [("fig", 300), ("oak", 500)]),
        [0, 0, 0, 0],
        ttft_ms=400, first_stable_ms=400,
        word_shown_ms=(200, 400),  # "oak" first stands in its place at 900
        word_delay_ms=(200, 400),
        word_final_ms=(1000, 800),
        final_ms=-600,
        final_known_ms=-600,  # nothing changed at 1300, but only then it was final
        revised=Revised(updates=1, unstable=1, erased=1, words=2),  # "oat"
        mute_s=0.0,
    )  # fmt: skip


def test_3_capitals_and_commas_are_unstable_but_take_no_word_back() -> None:
    steps: list[Step] = [(500, 0, "fig oak", False), (900, 0, "Fig, oak", True)]
    expect(
        measured(steps, [("fig", 300), ("oak", 500)]),
        [0, 0, 0, 0],
        first_stable_ms=400,
        word_shown_ms=(200, 0), word_delay_ms=(200, 0), word_final_ms=(600, 400),
        final_known_ms=-1000,
        revised=Revised(updates=0, unstable=2, erased=0, words=2),  # "fig", and "oak" after it
    )  # fmt: skip


def test_4_a_last_word_that_grows_was_not_taken_back_but_was_not_stable_either() -> None:
    steps: list[Step] = [(500, 0, "some", False), (900, 0, "something new", True)]
    expect(
        measured(steps, [("something", 400), ("new", 600)]),
        [0, 0, 0, 0],
        ttft_ms=400, first_stable_ms=800,  # 900 - 100
        word_shown_ms=(500, 300), word_delay_ms=(500, 300), word_final_ms=(500, 300),
        revised=Revised(updates=0, unstable=0, erased=0, words=2),
    )  # fmt: skip


def test_5_everything_is_taken_back() -> None:
    steps: list[Step] = [
        (500, 0, "hello there", False), (900, 0, "", False), (1300, 0, "fig", True),
    ]  # fmt: skip
    expect(
        measured(steps, [("fig", 400)]),
        [0, 0, 0, 0],
        ttft_ms=400, first_stable_ms=1200,
        word_shown_ms=(900,), word_delay_ms=(900,), word_final_ms=(900,),
        final_known_ms=-600,
        revised=Revised(updates=1, unstable=2, erased=2, words=1),
    )  # fmt: skip


def test_6_finals_out_of_order() -> None:
    steps: list[Step] = [
        (500, 0, "fig", False), (700, 1, " oak", True), (900, 0, "fog", False),
        (1100, 0, "fig", True),
    ]  # fmt: skip
    expect(
        measured(steps, [("fig", 300), ("oak", 600)]),
        [0, 0, 0, 0],
        first_stable_ms=1000,  # 1100 - 100: it had been "fog"
        word_shown_ms=(200, 100),  # 500 - 300, 700 - 600
        word_delay_ms=(800, 100),  # the second place always said "oak"
        word_final_ms=(800, 500),  # 1100: what is after an open segment is not committed
        final_known_ms=-800,  # 1100: no segment is open any more
        # Both words follow the change, twice.
        revised=Revised(updates=2, unstable=4, erased=4, words=2),
    )  # fmt: skip


def test_7_an_empty_final() -> None:
    steps: list[Step] = [
        (500, 0, "fig", False), (700, 0, "fig", True), (900, 1, " hm", False), (1000, 1, "", True),
    ]  # fmt: skip
    expect(
        measured(steps, [("fig", 400)]),
        [0, 0, 0, 0],
        word_shown_ms=(100,), word_delay_ms=(100,), word_final_ms=(300,),
        final_known_ms=-900,  # 1000: the last change, and with it the last segment is closed
        revised=Revised(updates=1, unstable=1, erased=1, words=1),
    )  # fmt: skip


def test_8_without_interims_the_client_sees_what_is_committed() -> None:
    expect(
        measured(GROWS, FIG_OAK_ELM, chunking=Words(1)),
        [1, 1, 1, 0],  # the last word waits for the end of the stream, 2500 - 1900 = 600 after
        ttft_ms=1200, first_stable_ms=1200,
        word_shown_ms=(900, 500, 1300), word_delay_ms=(900, 500, 1300),
        word_final_ms=(900, 500, 1300),
        final_ms=600, final_known_ms=600,
        revised=Revised(updates=0, unstable=0, erased=0, words=3),
        takes_back=False, mute_s=0.0,
    )  # fmt: skip


PAUSES: Timings = [("fig", 300), ("oak", 700), ("elm", 1800)]  # 300 to 500, 700 to 1600


def test_9_ends_of_turn_inside_pauses() -> None:
    steps: list[Step] = [(500, 0, "fig", False), (1950, 0, "fig oak elm", True)]
    turns = (400, 650, 1000, 2200, 2250)  # in a pause; late for it; in the other; right, twice
    expect(
        measured(steps, PAUSES, endpointer="silence", turns=turns, tail_ms=300),
        [2, 0, 0, 0],  # at 1900 "fig" is shown, from 1950 on all of it
        eot_ms=300,  # 2200 - 1900
        false_cutoffs=(2, 2), censored=False,
        final_ms=50, final_known_ms=50,
        word_shown_ms=(200, 1250, 150), word_final_ms=(1650, 1250, 150),
    )  # fmt: skip


def test_10_an_end_of_turn_that_nobody_says() -> None:
    steps: list[Step] = [(1950, 0, "fig oak", False), (2600, 0, "fig oak elm", True)]
    # What the server says after we ended the audio, at 2500, it says because we did.
    clip = measured(
        steps, PAUSES, endpointer="engine", turns=(400, 2650), tail_ms=500, ended_ms=2700
    )
    expect(
        clip, [3, 1, 1, 0],
        eot_ms=None, final_ms=None, final_known_ms=None, censored=True, false_cutoffs=(1, 2),
        ttft_ms=1850, word_shown_ms=(1650, 1250, 800), word_final_ms=(2300, 1900, 800),
    )  # fmt: skip
    assert {clip.why_null[name] for name in ("eot_ms", "final_ms", "final_known_ms")} == {
        CENSORED.reason
    }


def test_11_an_end_of_turn_says_that_the_text_is_final() -> None:
    steps: list[Step] = [(500, 0, "fig", False), (1800, 0, "fig oak", False)]
    expect(
        measured(steps, [("fig", 300), ("oak", 1700)], endpointer="silero", turns=(600, 2100),
                 tail_ms=150),
        [0, 0, 0, 0],
        eot_ms=200, final_ms=-100, final_known_ms=200,  # 2100; the one at 600 came before "oak"
        word_final_ms=(2200, 800),  # open to the end, 2500
        false_cutoffs=(1, 1), censored=False,
    )  # fmt: skip


def test_12_speech_that_nothing_stands_for() -> None:
    # Pauses of 1000 ms after "fig" and of none between the others.
    words: Timings = [("fig", 300), ("oak", 1500), ("elm", 1700), ("yew", 1900)]
    expect(
        measured([(600, 0, "fig", False), (1950, 0, "fig yew", True)], words),
        [3, 2, 2, 2],
        mute_s=0.4,  # "oak elm": 1300 to 1700
        lost_after_pause=(2, 3),
        word_shown_ms=(300, 50), word_delay_ms=(300, 50), word_final_ms=(1650, 50),
        # From 100, 200 long, over at 1800: (500 - 0) / 1. From 1300, 600 long, over at 600: 1950 is
        # too late, so that nothing of it counts.
        long_yaal_ms=500.0,
    )  # fmt: skip


def test_ratios_of_a_run_are_sums_over_sums() -> None:
    two = measured([(500, 0, "fig oat", False), (900, 0, "fig oak", True)], [("fig", 300)])
    three = msgspec.structs.replace(measured(GROWS, FIG_OAK_ELM), clip="other")
    found = summarise([two, three], seed=0)
    assert found["upwr"].value == found["erasure"].value == 1 / 5  # type: ignore[union-attr]
    assert found["revisions_per_s"].value == 1 / 4  # type: ignore[union-attr]
    assert found["wer_at_0ms"].value == found["wer"].value  # type: ignore[union-attr]
    assert found["eot_ms"].why_null["p50"] == NO_ENDPOINTER.reason  # type: ignore[union-attr]
    assert found["censored"].why_null == NO_ENDPOINTER.reason


# --- an independent count -------------------------------------------------------------------------

VOCABULARY = ("fig", "oak", "Oak", "oak,", "elm", "elms", "some", "something", "-", "a")


def random_steps(seed: int, *, spaced: bool = False) -> list[Step]:
    """Segments that are guessed at, taken back, closed in or out of order, or never.

    Args:
        spaced: no segment goes on inside the last word of the one before.
    """
    r = random.Random(seed)  # noqa: S311
    texts = dict.fromkeys(range(r.randint(1, 4)), "")
    steps: list[Step] = []
    at_ms, opened, closed = 150.0, 0, set[int]()
    for _ in range(r.randint(1, 25)):
        at_ms += r.choice((0, 20, 100))
        segment = r.choice([s for s in texts if s not in closed and s <= opened] or [-1])
        if segment < 0:
            break
        words = texts[segment].split()[: r.randint(0, 6)]
        words += r.choices(VOCABULARY, k=r.randint(0, 3))
        # A segment of its own begins with a space, or goes on inside the word before.
        texts[segment] = (" " if segment and (spaced or r.random() < 0.9) else "") + " ".join(words)
        final = r.random() < 0.3
        steps.append((at_ms, segment, texts[segment], final))
        closed |= {segment} if final else set()
        opened = max(opened, segment + 1)
    return steps


def by_hand(steps: Sequence[Step]) -> tuple[int, int, int, int]:
    """Updates, unstable, erased, words: from whole texts, nothing kept between updates."""

    def words(text: str, *, plain: bool) -> list[str]:
        found = [word for word in text.split() if any(c.isalnum() for c in word)]
        return ["".join(filter(str.isalnum, word.lower())) if plain else word for word in found]

    def gone(before: list[str], after: list[str]) -> int:
        common = max(k for k in range(len(before) + 1) if before[:k] == after[:k])
        rest = before[common:]
        next_word = after[common:][:1]
        if len(rest) == 1 and next_word and next_word[0].startswith(rest[0]):
            return 0
        return len(rest)

    texts: dict[int, str] = {}
    shown = [""]
    for _, segment, text, _ in steps:
        texts[segment] = text
        shown.append("".join(texts[number] for number in sorted(texts)))
    updates = unstable = erased = 0
    for before, after in pairwise(shown):
        unstable += gone(words(before, plain=False), words(after, plain=False))
        lost = gone(words(before, plain=True), words(after, plain=True))
        erased += lost
        updates += lost > 0
    return updates, unstable, erased, len(words(shown[-1], plain=True))


def test_upwr_and_erasure_are_those_of_an_independent_count() -> None:
    compared = 0
    for seed in range(200):
        steps = random_steps(seed)
        counts = by_hand(steps)
        found = revised(interim(steps, kind=LIVE))
        if counts[-1]:
            assert isinstance(found, Revised)
            assert msgspec.structs.astuple(found) == counts, steps
            compared += counts[1] > 0
        else:
            assert not isinstance(found, Revised)
    assert compared > 100  # of them took something back


# --- what must not change -------------------------------------------------------------------------

REFERENCE: Timings = [("fig", 300), ("oak", 600), ("elm", 1000), ("something", 1500)]
MOVE = (
    "ttft_ms", "first_text_ms", "first_token_ms", "first_stable_ms", "final_ms", "final_known_ms",
    "eot_ms", "word_shown_ms", "word_delay_ms", "word_final_ms",
)  # fmt: skip
NOT_SHIFTED = ("revised", "wer", "cer", "mute_s", "hypothesis", "gap_ms", "chunks")


def shifted(value: Any, by: float) -> Any:
    if isinstance(value, tuple):
        return tuple(shifted(one, by) for one in value)
    return None if value is None else pytest.approx(value + by)


@pytest.mark.parametrize("chunking", [Interim(), Words(1), Tokens()])
def test_delaying_every_update_by_d_moves_every_delay_by_d(chunking: Any) -> None:
    d = 70
    for seed in range(100):
        steps = random_steps(seed)
        late = [(at + d, *rest) for at, *rest in steps]
        ends, both = (400.0, 2000.0), {"words": REFERENCE, "chunking": chunking}
        one: ClipMetrics = measured(
            steps,
            turns=ends,
            tail_ms=400,
            endpointer="silence",
            **both,  # type: ignore[arg-type]
        )
        other: ClipMetrics = measured(
            late, turns=[at + d for at in ends], tail_ms=400, endpointer="silence",  # type: ignore[arg-type]
            ended_ms=2500 + d, **both,
        )  # fmt: skip
        for name in MOVE:
            assert getattr(other, name) == shifted(getattr(one, name), d), (name, steps)
        for name in NOT_SHIFTED:
            assert getattr(other, name) == pytest.approx(getattr(one, name)), name


def test_interims_change_no_committed_text_and_make_no_word_stable_later() -> None:
    for seed in range(200):
        steps = random_steps(seed, spaced=True)
        with_them = measured(steps, REFERENCE)
        for strategy in (Words(1), Words(2), Tokens()):
            without = measured(steps, REFERENCE, chunking=strategy)
            assert without.hypothesis == with_them.hypothesis
            assert (without.wer, without.word_edits) == (with_them.wer, with_them.word_edits)
            assert (without.mute_s, without.match_rate) == (with_them.mute_s, with_them.match_rate)
            for name in ("first_stable_ms", "word_final_ms", "word_delay_ms"):
                now, before = getattr(with_them, name), getattr(without, name)
                assert (now is None) == (before is None)
                if isinstance(now, tuple):
                    assert all(a <= b for a, b in zip(now, before, strict=True)), (name, steps)
                elif now is not None:
                    assert now <= before, (name, steps)


def in_order(steps: Sequence[Step]) -> list[Step]:
    """The same guesses; every segment is closed, and after those before it."""
    found: list[Step] = []
    last, closed = dict[int, str](), 0
    for at, segment, text, final in steps:
        if segment >= closed:
            final_now = final and segment == closed
            found.append((at, segment, text, final_now))
            last[segment] = text
            closed += final_now
    return found + [(2200, s, last[s], True) for s in sorted(last) if s >= closed]


def test_without_its_interims_an_engine_has_the_figures_of_one_that_only_appends() -> None:
    for seed in range(100):
        steps = in_order(random_steps(seed))
        finals = [step for step in steps if step[3]]
        tokens = [(text, at) for at, _, text, _ in finals]
        for strategy in (Words(1), Tokens()):
            with_them = measured(steps, REFERENCE, chunking=strategy)
            without = measured(finals, REFERENCE, chunking=strategy)
            assert without == with_them
            more: dict[str, Any] = {"words": REFERENCE, "kind": LIVE, "ended_ms": 2500}
            more["reference"] = " ".join(text for text, _ in REFERENCE)
            appended = figures(make_trace(tokens, chunking=strategy, **more))
            for name in (*MOVE, "wer", "word_edits", "revised", "mute_s", "yaal_ms"):
                if name != "final_known_ms":
                    assert getattr(with_them, name) == getattr(appended, name), (name, steps)


def texts_of(seed: int, *, dots: bool = True) -> list[tuple[str, float]]:
    r = random.Random(seed)  # noqa: S311
    pieces = ("fig", " oak", " e", "lm", ".", " ", "", " uh", " something")
    pieces = pieces if dots else tuple(piece for piece in pieces if piece not in (".", " uh"))
    at = sorted(r.uniform(150, 2300) for _ in range(r.randint(0, 12)))
    return [(r.choice(pieces), round(instant)) for instant in at]


def test_of_an_engine_that_only_appends_every_metric_is_the_same_however_it_says_so() -> None:
    """Each piece a token, or a segment that is final at once: also ``dropping all interims``."""
    for seed in range(100):
        tokens = texts_of(seed)
        more: dict[str, Any] = {"words": REFERENCE, "kind": LIVE, "ended_ms": 2500}
        more["reference"] = " ".join(text for text, _ in REFERENCE)
        steps: list[Step] = [(at, k, text, True) for k, (text, at) in enumerate(tokens)]
        for strategy in (Words(1), Words(3), Tokens()):
            appended = figures(make_trace(tokens, chunking=strategy, **more))
            closed = figures(interim(steps, chunking=strategy, **more))
            # But for when the client knows that it is final: a final says so, a token does not.
            assert same(closed, appended) == same(appended, appended)
        # Not for a full stop that comes by itself, a part of a word only where text is appended;
        # nor for "uh" that becomes "uhfig", whose first letters count from the start only there.
        tokens = texts_of(seed, dots=False)
        steps = [(at, k, text, True) for k, (text, at) in enumerate(tokens)]
        appended = figures(make_trace(tokens, chunking=Tokens(), **more))
        shown = figures(interim(steps, **more))  # passed on as interims, of which none is open
        for name in (*MOVE, "wer", "revised", "gap_ms", "yaal_ms", "long_yaal_ms", "mute_s"):
            if name != "final_known_ms":
                assert getattr(shown, name) == getattr(appended, name), (name, tokens)


def same(clip: ClipMetrics, _: ClipMetrics) -> ClipMetrics:
    return msgspec.structs.replace(clip, final_known_ms=None)


def test_an_hour_of_interims_is_measured() -> None:
    """18,000 updates and 10,000 words: what is committed is not read again with every update."""
    words = [f"w{k}" for k in range(10_000)]
    every_ms = 360  # a word; one update every 200 ms
    steps, said = [], []
    for k in range(18_000):
        at_ms = 200 * (k + 1)
        count = min(at_ms // every_ms, len(words))
        segment, begin = count // 10, 10 * (count // 10)
        if count and not count % 10 and (at_ms - 200) // every_ms < count:
            said.append((at_ms, segment - 1, " " + " ".join(words[begin - 10 : begin]), True))
        guess = [*words[begin:count], "hm"] if k % 2 else words[begin:count]
        steps.append((at_ms, segment, "".join(f" {word}" for word in guess), False))
    events = sorted([*said, *steps], key=lambda step: (step[0], not step[3]))
    updates = tuple(Hypothesis(s, text, final, round(at * MS)) for at, s, text, final in events)
    end_ns = 3_600_100 * MS
    chunks = tuple(
        Chunk(i, u.text, u.at_ns, False, segment=u.segment, closes=u.final)
        for i, u in enumerate(updates)
    )
    trace = Trace(
        session=Session(
            clip="hour", repeat=0, order=0, lane=0, kind=LIVE, t0_ns=0, duration_s=3600.0,
            speech_onset_s=0.1, speech_end_s=3600.0, frame_ms=80, reference=" ".join(words),
            words=tuple(
                Word(w, k * every_ms / 1000, (k + 1) * every_ms / 1000)
                for k, w in enumerate(words)
            ),
        ),
        frames=(), finish=FinishSent(3_600_000 * MS, 3_600_000 * MS), tokens=(),
        chunks=(*chunks, Chunk(len(chunks), "", end_ns, True)), spans=(),
        outcome=Ended(end_ns), hypotheses=updates, turns_ended=(TurnEnded(0, "engine"),),
    )  # fmt: skip
    clip: ClipMetrics = figures(trace)
    # Every other update guesses "hm", which the next takes back.
    assert clip.revised is not None
    assert 8_900 < clip.revised.erased <= 9_000
    assert len(clip.word_shown_ms) == 10_000
    assert max(clip.word_shown_ms) <= 200


def test_a_token_and_what_is_left_of_its_segment_are_one_step() -> None:
    """An engine that commits part of what is open: nothing is taken back, nothing is later."""
    open_ = Hypothesis(0, "fig oak", False, 500 * MS)
    trace = make_trace([("fig", -400)], ended_ms=1500)  # at 600
    trace = msgspec.structs.replace(
        trace,
        hypotheses=(open_, Hypothesis(0, " oak", False, 600 * MS)),
    )
    chunks = rechunk(trace.updates, trace.outcome.at_ns, Interim())
    trace = msgspec.structs.replace(trace, chunks=chunks)
    assert isinstance(trace.tokens[0], Token)
    assert trace.text == "fig oak"
