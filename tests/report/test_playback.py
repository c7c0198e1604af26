from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.chunking import Words, rechunk
from harness.report.arms import make_arms
from harness.report.playback import MOST_CLIPS, PlaybackClip, _recorded, playback
from harness.runs.folder import Run
from tests.metrics.test_shown import REVISED, interim
from tests.report.synthetic import make_arm_runs, make_run
from tests.traces import make_trace


def clips_of(runs: list[Run]) -> list[PlaybackClip]:
    return playback(make_arms(runs, [run.summary for run in runs]), audio=None)


def test_a_track_shows_the_recorded_chunks_at_their_instants() -> None:
    runs = make_arm_runs((1, 6), clips=2, repeats=1)
    (clip, _) = clips_of(runs)
    trace = runs[1].traces[0]
    track = clip.recorded[1]
    begin, shown = 0, []
    for end, at_ms in track.cuts:
        shown.append((track.text[begin:end], at_ms))
        begin = end
    assert shown == [
        (chunk.text, round((chunk.at_ns - trace.session.t0_ns) / 1e6)) for chunk in trace.chunks
    ]
    assert clip.request_ms == round(trace.session.duration_s * 1000)


def test_cuts_count_as_javascript_does() -> None:
    (clip,) = clips_of([make_run(Path(), clips=1, repeats=1, text=["one", "\U0001f600", "two"])])
    track = clip.recorded[0]
    units = track.text.encode("utf-16-le")
    ends = [end for end, _ in track.cuts]
    texts = [
        units[2 * a : 2 * b].decode("utf-16-le") for a, b in zip([0, *ends], ends, strict=False)
    ]
    assert [text.strip() for text in texts] == ["One", "\U0001f600", "two."]


def test_what_if_is_rechunk_of_the_first_arms_tokens() -> None:
    runs = make_arm_runs((1, 6), clips=1, repeats=1)
    (clip,) = clips_of(runs)
    trace = runs[0].traces[0]
    (track,) = (track for track in clip.what_if if track.name == "3word, what if")
    expected = rechunk(trace.tokens, trace.outcome.at_ns, Words(3))
    assert [at for _, at in track.cuts] == [
        round((chunk.at_ns - trace.session.t0_ns) / 1e6) for chunk in expected if chunk.text.strip()
    ]
    assert {track.name for track in clip.what_if}.isdisjoint({"1word, what if", "6word, what if"})


@pytest.mark.parametrize("clips", [MOST_CLIPS - 1, MOST_CLIPS + 30])
def test_large_runs_play_an_even_choice(clips: int) -> None:
    made = clips_of([make_run(Path(), clips=clips, repeats=1, words=3, frame_ms=1000)])
    assert len(made) == min(clips, MOST_CLIPS)
    assert (made[0].id, made[-1].id) == ("two_cities_000", f"two_cities_{clips - 1:03d}")


def test_failed_clips_are_not_played() -> None:
    assert clips_of([make_run(Path(), clips=2, repeats=1, fail_every=2)])[0].id == "two_cities_000"
    assert clips_of([make_run(Path(), clips=2, repeats=1, fail_every=1)]) == []


def test_play_back_shows_what_stayed_and_says_so() -> None:
    """Play-back only adds text: texts that replaced each other would stand side by side."""
    trace = interim(REVISED)
    arm = SimpleNamespace(label="interim")
    track = _recorded(arm, trace)  # type: ignore[arg-type]
    assert track.name == "interim, committed text only"
    assert track.text == trace.text
    appended = make_trace([("one", 2100)])
    assert _recorded(arm, appended).name == "interim"  # type: ignore[arg-type]
