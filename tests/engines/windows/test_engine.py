"""Live sessions over a scripted engine of whole utterances: exact texts, windows and instants."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.clock import VirtualWorld
from harness.datasets import ManifestDataset
from harness.datasets.load import load_dataset
from harness.display import Display
from harness.engines import EngineInfo
from harness.engines.sessions import AlignAttSession, LiveSession
from harness.engines.torch.worker import Laps, LocalEngine
from harness.engines.windows.engine import LiveEngine
from harness.engines.windows.policies import (
    WindowToken,
    is_punctuation,
    last_word_end,
    starts_word,
)
from harness.engines.windows.policies.align_att import AlignAtt
from harness.engines.windows.policies.local_agreement import LocalAgreement
from harness.events import SessionKind
from harness.metrics.accuracy import word_edits

MS = 1_000_000
RATE_HZ = 16_000

# Token -> when it has been spoken, in seconds.
SPEECH = [(" it", 0.3), (" was", 0.5), (" a", 0.6), (" ta", 0.9), ("le", 1.1), (".", 1.2)]
SPEECH += [(" of", 1.9), (" two", 2.4), (" ci", 2.9), ("ties", 3.25), (".", 3.4)]


class Utterances(LocalEngine):
    """Knows what is said when; at the end of a window it hears the word that goes on wrong.

    A pass takes ``encode_ms``, each token ``token_ms`` more.
    """

    new_event = None

    def __init__(self, world, speech=SPEECH, *, encode_ms=0, token_ms=0, longest_s=30.0) -> None:
        super().__init__(world, "utterances")
        self.info = EngineInfo(model="utterances", kinds=(SessionKind.TURN,))
        self.world, self.worker = world, self._worker
        texts = sorted({text for text, _ in speech} | {" uh"})
        self.token_bytes = [text.encode() for text in texts]
        self._ids = {text: index for index, text in enumerate(texts)}
        self._speech = speech
        self._encode_ns, self._token_ns = encode_ms * MS, token_ms * MS
        self._longest_s = longest_s
        self.passes: list[tuple[float, str, float]] = []  # seconds heard, prefix, window's begin

    def transcribe_window(self, samples, prefix, laps, limit):
        begin_s = round(float(samples[0]) * 100, 3)  # see `recording`
        end_s = begin_s + len(samples) / RATE_HZ
        assert len(samples) <= self._longest_s * RATE_HZ
        before = b"".join(self.token_bytes[i] for i in prefix).decode()
        self.passes.append((round(end_s, 3), before, begin_s))
        self.world.sleep_until_ns(self.world.now_ns() + self._encode_ns)
        laps.lap("encoder")
        for text, at_s in self._heard(begin_s, end_s, len(prefix))[:limit]:
            self.world.sleep_until_ns(self.world.now_ns() + self._token_ns)
            laps.lap("decode")
            yield WindowToken(self._ids[text], text.encode(), at_s - begin_s)

    def _heard(self, begin_s, end_s, known):
        there = [(text, at_s) for text, at_s in self._speech if begin_s < at_s <= end_s][known:]
        going_on = any(end_s < at_s < end_s + 0.3 for _, at_s in self._speech)
        return [*there, (" uh", end_s)] if going_on else there


def recording(seconds: float) -> np.ndarray:
    """Each sample says when it is: its instant in seconds, over 100."""
    return (np.arange(round(seconds * RATE_HZ)) / RATE_HZ / 100).astype(np.float32)


class Heard:
    def __init__(self, world) -> None:
        self.world = world
        self.tokens: list[tuple[str, int]] = []  # text, ms
        self.spans: list[tuple[str, float, float]] = []
        self.outcome: str | None = None
        self.display = Display()
        self.shown: list[tuple[str, float]] = []  # after each hypothesis: all of it, ms

    def ready(self) -> None:
        pass

    def token(self, text, at_ns=None, after_ns=None) -> None:
        self.tokens.append((text, self.world.now_ns() / MS))
        self.display.token(text)

    def hypothesis(self, segment, text, final, at_ns=None, after_ns=None) -> None:
        self.display.hypothesis(segment, text, final=final)
        self.shown.append((self.display.shown, self.world.now_ns() / MS))

    def span(self, name, start_ns, end_ns, shared_by=1) -> None:
        self.spans.append((name, start_ns / MS, end_ns / MS))

    def ended(self) -> None:
        self.outcome = "ended"

    def failed(self, error) -> None:
        self.outcome = error

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.tokens)


def session(
    config,
    *,
    seconds=4.0,
    frame_ms=20,
    speech=SPEECH,
    audio=None,
    kind=Utterances,
    **engine_options,
):
    """Feed a recording as it is spoken; returns the engine and what was heard."""
    world = VirtualWorld()
    engine = kind(world, speech, **engine_options)
    heard = Heard(world)
    stream = LiveEngine(engine, config).open(heard)
    driver = world.timeline("driver", costs=False)
    audio = recording(seconds) if audio is None else audio
    frame = round(frame_ms * RATE_HZ / 1000)
    for begin in range(0, len(audio), frame):
        piece = audio[begin : begin + frame]
        due_ns = (begin + len(piece)) * 1_000_000_000 // RATE_HZ
        driver.call_at(due_ns, lambda piece=piece: stream.feed(piece))
    driver.call_at(len(audio) * 1_000_000_000 // RATE_HZ, stream.finish)
    driver.call_at(10**13, driver.stop)
    driver.run()
    engine.close()
    return engine, heard


ALL = "".join(text for text, _ in SPEECH)


def test_local_agreement_says_what_two_passes_agree_on_token_by_token():
    engine, heard = session(LiveSession(), encode_ms=100, token_ms=10)

    assert heard.outcome == "ended"
    assert heard.tokens == [
        # The pass at 1 s had nothing to agree with. At 2 s each word is said once the next has
        # come and it is over in both: " ta" was followed by " uh" and then by "le".
        (" it", 2120), (" was", 2130), (" a", 2140),
        (" ta", 3130), ("le", 3130), (".", 3140), (" of", 3150),
        (" two", 4120),
        # The pass at 4 s ends at 4140; the last one commits all it hears.
        (" ci", 4250), ("ties", 4260), (".", 4270),
    ]  # fmt: skip
    assert [heard_s for heard_s, _, _ in engine.passes] == [1, 2, 3, 4, 4]
    assert [prefix for _, prefix, _ in engine.passes] == [
        "", "", " it was a", " it was a tale. of", " it was a tale. of two",
    ]  # fmt: skip


def test_align_att_says_what_attends_to_audio_that_is_over():
    _, heard = session(AlignAttSession(guard_ms=500), encode_ms=100, token_ms=10)

    # At 1 s: up to 0.5 s is safe; " a" attends to 0.6 s and ends the pass after three tokens.
    # At 2 s: " of" at 1.9 s does; at 3 s " ci" at 2.9 s does.
    assert heard.tokens[:7] == [
        (" it", 1120), (" was", 1130), (" a", 2120), (" ta", 2140), ("le", 2140), (".", 2150),
        (" of", 3120),
    ]  # fmt: skip
    assert heard.text == ALL


def test_an_engine_that_is_too_slow_decodes_every_step_all_the_same():
    fast, early = session(LiveSession(), encode_ms=100)
    slow, late = session(LiveSession(), encode_ms=1500)

    assert slow.passes == fast.passes
    assert late.text == early.text
    # Pass i begins when pass i - 1 ends: 0.5 s more behind each second.
    ends = [end for name, _, end in late.spans if name == "encoder"]
    assert ends == [2500, 4000, 5500, 7000, 8500]
    queued = [end - start for name, start, end in late.spans if name == "queue"]
    assert queued == [0, 500, 1000, 1500, 3000]


@settings(max_examples=20)
@given(
    st.sampled_from([LiveSession, AlignAttSession]),
    st.sampled_from([200, 333, 640, 1000]),
    st.sampled_from([10, 20, 70, 80]),
    st.sampled_from([0, 90, 2500]),
)
def test_the_text_is_whole_and_does_not_depend_on_frames_or_speed(kind, step_ms, frame_ms, slow):
    config = kind(step_ms=step_ms)
    _, heard = session(config, frame_ms=frame_ms, encode_ms=slow, seconds=3.7)
    _, plain = session(config, seconds=3.7)

    assert heard.outcome == "ended"
    assert [text for text, _ in heard.tokens] == [text for text, _ in plain.tokens]
    if kind is AlignAttSession:  # two steps may agree on a word cut short; it then stays
        assert heard.text == ALL


def long_speech(seconds: int, sentence_words: int):
    """Two words a second, with a full stop after each sentence."""
    speech = []
    for index in range(1, 2 * seconds):
        speech.append((f" w{index}", index / 2))
        if index % sentence_words == 0:
            speech.append((".", index / 2))
    return speech


@pytest.mark.parametrize("config", [LiveSession(trim_s=10), AlignAttSession(trim_s=10)])
def test_a_long_session_is_cut_at_ends_of_sentences(config):
    speech = long_speech(60, 6)
    engine, heard = session(config, seconds=60.0, speech=speech)

    assert heard.text == "".join(text for text, _ in speech)
    windows = [heard_s - begin_s for heard_s, _, begin_s in engine.passes]
    assert max(windows) <= 15
    begins = sorted({begin_s for _, _, begin_s in engine.passes})
    assert begins == [0, 9, 18, 27, 36, 45, 54]  # a sentence is 3 s long


def test_a_long_session_without_sentences_is_cut_between_words():
    speech = long_speech(60, 1000)
    engine, heard = session(LiveSession(), seconds=60.0, speech=speech)

    assert heard.text == "".join(text for text, _ in speech)
    assert 25 < max(heard_s - begin_s for heard_s, _, begin_s in engine.passes) <= 30


class Fickle(Utterances):
    """Never says the same twice."""

    def _heard(self, begin_s, end_s, known):
        text = " a" if len(self.passes) % 2 else " it"
        return [(text, begin_s + 1.0), (" was", begin_s + 2.0)]


def test_what_no_two_passes_agree_on_is_said_when_the_window_is_full():
    engine, heard = session(LiveSession(), seconds=70.0, kind=Fickle)

    assert heard.outcome == "ended"
    assert max(heard_s - begin_s for heard_s, _, begin_s in engine.passes) == 30
    assert sorted({begin_s for _, _, begin_s in engine.passes}) == [0, 30, 60]
    assert heard.text.count(" was") == 3


class Looping(Utterances):
    def _heard(self, begin_s, end_s, known):
        return [(" it", begin_s)] * 1000


def test_a_loop_is_ended_by_what_speech_can_have():
    _, heard = session(LiveSession(), seconds=4.0, kind=Looping)

    assert heard.outcome == "ended"
    assert len(heard.tokens) == 4 * 8 + 8


@pytest.mark.parametrize("config", [LiveSession, AlignAttSession])
def test_what_is_not_committed_yet_is_shown_on_request(config):
    _, plain = session(config(step_ms=500))
    _, heard = session(config(step_ms=500, interim=True))
    assert heard.tokens == plain.tokens  # neither another text nor another instant
    assert plain.shown == []
    assert heard.display.open == ""  # nothing is left that was never committed
    assert heard.display.committed == heard.text
    first_ms = {  # since when the display has had so many words
        count: next(at for text, at in heard.shown if len(text.split()) >= count)
        for count in (1, 2, 3)
    }
    for count, (_, committed_ms) in zip((1, 2, 3), plain.tokens, strict=False):
        assert first_ms[count] <= committed_ms


def test_an_interim_that_is_confirmed_never_flickers():
    _, heard = session(LiveSession(step_ms=500, interim=True))
    words = [text.replace(" uh", "").split() for text, _ in heard.shown]
    for before, after in pairwise(words):
        assert after[: len(before) - 1] == before[:-1]  # the last word may go on


def test_silence_is_not_decoded():
    engine, heard = session(LiveSession(), audio=np.zeros(40 * RATE_HZ, np.float32))

    assert (engine.passes, heard.text, heard.outcome) == ([], "", "ended")


@pytest.mark.parametrize("config", [LiveSession(), AlignAttSession()])
@pytest.mark.parametrize("attended_s", [0.0, 0.5, 29.0])
def test_no_window_is_too_long_wherever_the_attention_is(config, attended_s):
    """Cutting where it says may free too little; the audio that was heard is then over."""

    class Staring(Utterances):
        def transcribe_window(self, samples, prefix, laps, limit):
            for token in super().transcribe_window(samples, prefix, laps, limit):
                yield WindowToken(token.id, token.text, attended_s)

    speech = long_speech(70, 1000)
    engine, heard = session(config, seconds=70.0, speech=speech, kind=Staring)

    assert heard.outcome == "ended"  # the engine refuses more than 30 s
    begins = [begin_s for _, _, begin_s in engine.passes]
    assert begins == sorted(begins)
    ends = [end_s for end_s, _, _ in engine.passes]
    assert all(begin_s <= end_s for begin_s, end_s in zip(begins[1:], ends, strict=False))


def test_a_window_that_begins_anew_begins_with_a_word():
    """Some models leave out the white space before the first word of what they hear."""

    class Bare(Fickle):
        def transcribe_window(self, samples, prefix, laps, limit):
            for index, token in enumerate(super().transcribe_window(samples, prefix, laps, limit)):
                bare = not prefix and index == 0
                yield WindowToken(self._bare(token.id), token.text.lstrip(), 1.0) if bare else token

        def _bare(self, index):
            text = self.token_bytes[index].lstrip()
            if text not in self.token_bytes:
                self.token_bytes.append(text)
            return self.token_bytes.index(text)

    _, heard = session(LiveSession(), seconds=70.0, kind=Bare)

    assert heard.text.split()[1::2] == ["was"] * 3
    assert set(heard.text.split()[::2]) <= {"a", "it"}
    assert not heard.text.startswith(" ")


def test_speech_after_a_long_silence_is_heard():
    audio = recording(40.0)
    audio[: 33 * RATE_HZ] = 0
    speech = [(text, 34 + at_s) for text, at_s in SPEECH]

    class Late(Utterances):
        def transcribe_window(self, samples, prefix, laps, limit):
            begin_s = float(samples[-1]) * 100 - len(samples) / RATE_HZ
            timed = (np.arange(len(samples)) / RATE_HZ + begin_s) / 100
            yield from super().transcribe_window(timed, prefix, laps, limit)

    engine, heard = session(LiveSession(), audio=audio, speech=speech, kind=Late)

    assert heard.text == ALL
    assert engine.passes[0][0] == 34


def test_nothing_is_told_after_close():
    world = VirtualWorld()
    heard = Heard(world)
    stream = LiveEngine(Utterances(world), AlignAttSession()).open(heard)
    note = heard.token

    def close_at_once(text, at_ns=None, after_ns=None):
        note(text)
        stream.close()

    heard.token = close_at_once
    driver = world.timeline("driver", costs=False)
    driver.call_at(0, lambda: stream.feed(recording(3.0)))
    driver.call_at(10**12, driver.stop)
    driver.run()

    assert (heard.text, heard.outcome) == (" it", None)


def test_the_engine_says_what_it_became():
    info = LiveEngine(Utterances(VirtualWorld()), AlignAttSession(step_ms=640)).info

    assert info.kinds == (SessionKind.LIVE,)
    assert info.cadence_ms == 640
    assert info.details["policy"] == "align_att"


def tokens_of(*texts, at=0.0):
    return [WindowToken(hash(text), text.encode(), at) for text in texts]


def passes_of(policy, *passes):
    """What each pass commits, given in full and from the same window."""
    said = []
    for texts in passes:
        policy.begin(10.0)
        tokens = tokens_of(*texts)
        counts = [policy.push(tokens[: i + 1]) for i in range(len(tokens))]
        assert counts == sorted(counts)
        said.append("".join(texts[: policy.end(tokens)]))
        assert counts == [] or counts[-1] <= policy_end(said[-1], texts)
    return said


def policy_end(said, texts):
    return next(i for i in range(len(texts) + 1) if "".join(texts[:i]) == said)


def test_agreement_is_on_words_that_are_over_in_both():
    agreement = LocalAgreement()

    assert passes_of(agreement, [" un"], [" un", "til"], ["til", " it"]) == ["", "", ""]
    assert passes_of(LocalAgreement(), [" a", " b"], [" a", " b", " c"]) == ["", " a b"]
    assert passes_of(LocalAgreement(), [" a", " b"], [" a", " c"]) == ["", " a"]
    assert passes_of(LocalAgreement(), [" a", "."], [" a", ",", " b"]) == ["", " a"]
    assert passes_of(LocalAgreement(), [], [" a"], [" a"]) == ["", "", " a"]


def test_agreement_counts_from_what_was_committed():
    said = passes_of(LocalAgreement(), [" a", " b", " c"], [" a", " b", " d"], [" d", " e"])

    assert said == ["", " a b", " d"]


def test_a_full_stop_at_the_end_of_the_audio_is_held():
    policy = AlignAtt(500)
    policy.begin(10.0)
    tokens = tokens_of(" a", " b", ".", at=1.0)

    assert [policy.push(tokens[:i]) for i in (1, 2, 3)] == [0, 1, 2]
    assert policy.wants_more()
    assert policy.end(tokens) == 2


def test_attention_near_the_end_of_the_audio_ends_the_pass():
    policy = AlignAtt(500)
    policy.begin(10.0)
    tokens = [*tokens_of(" a", " b", at=9.0), *tokens_of("c", at=9.6)]

    assert [policy.push(tokens[:i]) for i in (1, 2, 3)] == [0, 1, 1]
    assert not policy.wants_more()
    assert policy.end(tokens) == 1  # "c" goes on the word of " b"


@given(st.lists(st.sampled_from([" a", "b", ".", " "]), max_size=6), st.integers(0, 6))
def test_a_word_is_never_cut(texts, at_most):
    tokens = tokens_of(*texts)
    end = last_word_end(tokens, min(at_most, len(tokens)))

    assert 0 <= end <= min(at_most, len(tokens))
    assert end in (0, len(tokens)) or texts[end] != "b"


@pytest.fixture(scope="module")
def whisper():
    from harness.engines.torch.options import TorchOptions
    from harness.engines.whisper import WhisperModel
    from harness.engines.whisper.engine import load_whisper

    engine = load_whisper(WhisperModel(), TorchOptions(threads=1), VirtualWorld())
    yield engine
    engine.close()


def in_window(whisper, samples, prefix=()):
    import torch

    laps = Laps(whisper.world, lambda *_: None, 0)
    with torch.inference_mode():
        return list(whisper.transcribe_window(samples, prefix, laps, 99))


@pytest.mark.e2e
def test_whisper_goes_on_from_a_forced_prefix_and_attends_to_what_it_says(whisper):
    clip = load_dataset(ManifestDataset(clips=["02-age"])).clips[0]
    whole = in_window(whisper, clip.samples)
    rest = in_window(whisper, clip.samples, [token.id for token in whole[:6]])

    assert b"".join(token.text for token in whole).decode().strip().lower().startswith("it was the")
    assert [token.id for token in rest] == [token.id for token in whole[6:]]
    for token, word in zip(whole[:5], clip.words, strict=False):  # a token a word
        assert token.text.decode().strip().lower() == word.text.lower()
        assert word.start_s - 0.3 < token.attended_s < word.end_s + 0.3


@pytest.mark.slow
@pytest.mark.parametrize("config", [LiveSession(step_ms=1500), AlignAttSession(step_ms=1500)])
def test_whisper_live_hears_what_was_said(whisper, config):
    clip = load_dataset(ManifestDataset(clips=["02-age"])).clips[0]
    world = whisper.world
    heard = Heard(world)
    stream = LiveEngine(whisper, config).open(heard)
    driver = world.timeline("driver", costs=False)
    driver.call_soon(lambda: (stream.feed(clip.samples), stream.finish()))
    driver.call_at(world.now_ns() + 10**13, driver.stop)
    driver.run()

    assert heard.outcome == "ended"
    assert word_edits(clip.text, heard.text, "en").errors <= 1
    assert {name for name, _, _ in heard.spans} == {
        "queue", "features", "encoder", "prefill", "decode",
    }  # fmt: skip


# --- other scripts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "starts", "punctuation"),
    [
        (b" it", True, False),
        (b"it", False, False),
        (b".", True, True),
        ("।".encode(), True, True),
        ("ी".encode(), False, False),  # a vowel sign goes on with the letter before it
        ("天气".encode(), True, False),
        ("น".encode(), True, False),
        ("。".encode(), True, True),
        ("天".encode()[:2], False, False),  # pieces of a character
        ("天".encode()[2:], False, False),
        ("\u200b".encode(), False, False),
        (b"", False, False),
    ],
)
def test_where_a_word_begins(text: bytes, starts: bool, punctuation: bool) -> None:
    token = WindowToken(id=0, text=text, attended_s=0.0)
    assert (starts_word(token), is_punctuation(token)) == (starts, punctuation)


def test_chinese_is_committed_before_the_pass_ends() -> None:
    tokens = [
        WindowToken(id=i, text=t.encode(), attended_s=0.1 * i) for i, t in enumerate("今天天气")
    ]
    policy = AlignAtt(guard_ms=500)
    policy.begin(5.0)
    assert [policy.push(tokens[: n + 1]) for n in range(len(tokens))] == [0, 1, 2, 3]
