"""Who decides that a turn is over: silence by level, and Silero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import Config
from harness.datasets import ManifestDataset
from harness.datasets.load import load_dataset
from harness.endpointers import ENDPOINTERS, Endpointer, EndpointerOptions
from harness.endpointers.pauses import Pauses
from harness.endpointers.silence import SilenceEndpointer
from harness.endpointers.silero import SileroEndpointer
from harness.engines import Samples
from harness.errors import ConfigError

RATE = 16_000


def sound(*parts: tuple[float, float], level: float = 1.0) -> Samples:
    """Noise, part after part: (seconds, root mean square)."""
    drawn = np.random.default_rng(0)
    pieces = [drawn.normal(0, rms * level, round(s * RATE)) for s, rms in parts]
    return np.concatenate(pieces).astype(np.float32)


SPOKEN = ((0.3, 0.001), (1.0, 0.1), (0.4, 0.001), (1.0, 0.1), (1.5, 0.001))  # a pause of 400 ms


def decisions_s(endpointer: Endpointer, samples: Samples, frame: int = 320) -> list[float]:
    """At which seconds of the audio a turn was said to be over."""
    ends = range(0, len(samples), frame)
    return [
        round((at + frame) / RATE, 3) for at in ends if endpointer.push(samples[at : at + frame])
    ]


@pytest.mark.parametrize(
    ("silence_ms", "ends"), [(200, [1.5, 2.9]), (390, [1.7, 3.1]), (500, [3.2]), (1600, [])]
)
def test_silence_ends_a_turn_after_so_much_of_it(silence_ms: float, ends: list[float]) -> None:
    found = decisions_s(SilenceEndpointer(silence_ms=silence_ms).make(), sound(*SPOKEN))
    assert found == pytest.approx(ends, abs=0.021)  # a frame of 20 ms


@pytest.mark.parametrize("level", [0.02, 1.0, 8.0])
def test_the_level_of_the_recording_changes_nothing(level: float) -> None:
    samples = sound(*SPOKEN, level=level)
    found = decisions_s(SilenceEndpointer(silence_ms=500).make(), samples)
    assert found == decisions_s(SilenceEndpointer(silence_ms=500).make(), sound(*SPOKEN))


def test_nothing_ends_before_somebody_spoke() -> None:
    quiet = sound((5.0, 0.0001))
    click = sound((1.0, 0.0001), (0.05, 0.3), (3.0, 0.0001))
    for samples in (quiet, click):
        assert decisions_s(SilenceEndpointer(silence_ms=300).make(), samples) == []


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=40))
def test_pieces_do_not_matter(sizes: list[int]) -> None:
    samples = sound((0.2, 0.001), (0.3, 0.1), (0.5, 0.001))
    whole, pieces = (SilenceEndpointer(silence_ms=200).make() for _ in range(2))
    assert whole.push(samples)
    at, ended = 0, []
    for size in [*sizes, len(samples)]:
        ended.append(pieces.push(samples[at : at + size]))
        at += size
    assert ended.count(True) == 1


def test_a_turn_ends_once_for_one_silence() -> None:
    pauses = Pauses(30)
    assert [pauses.push(10, speech=True) for _ in range(10)] == [False] * 10
    assert [pauses.push(10, speech=False) for _ in range(6)] == [False, False, True, *[False] * 3]


def test_silero_hears_the_end_of_recorded_speech() -> None:
    pytest.importorskip("silero_vad")
    (clip,) = load_dataset(ManifestDataset(clips=["07-heaven"])).clips
    tail = sound((2.0, 0.0005))
    found = decisions_s(
        SileroEndpointer(silence_ms=500).make(), np.concatenate([clip.samples, tail])
    )
    assert found
    assert clip.speech_end_s + 0.3 <= found[-1] <= clip.speech_end_s + 0.9


def test_sessions_of_silero_share_no_state() -> None:
    pytest.importorskip("silero_vad")
    (clip,) = load_dataset(ManifestDataset(clips=["07-heaven"])).clips
    samples = np.concatenate([clip.samples, sound((2.0, 0.0005))])
    first, second = SileroEndpointer().make(), SileroEndpointer().make()
    first.push(samples[:RATE])
    assert decisions_s(second, samples) == decisions_s(SileroEndpointer().make(), samples)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (SilenceEndpointer, "silence_ms", 0), (SilenceEndpointer, "below_peak_db", -1),
        (SileroEndpointer, "threshold", 1.5), (SileroEndpointer, "silence_ms", 1e9),
    ],
)  # fmt: skip
def test_options_are_checked(kind: type[EndpointerOptions], field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"endpointer.{field}"):
        kind(**{field: value})


def test_names_are_those_of_the_registry() -> None:
    assert {name: ENDPOINTERS.get(name)().name for name in ENDPOINTERS.names()} == {
        name: name for name in ("none", "engine", "silence", "silero")
    }
    assert Config().endpointer.name == "none"
