"""What the scripted engine refuses; its instants are tested with the replay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.chunking import Interim, Tokens
from harness.clock import VirtualWorld
from harness.endpointers import EngineEndpointer
from harness.engines.scripted import ScriptedEngine, ScriptedOptions
from harness.errors import ConfigError
from harness.events import Failed, SessionKind, Trace
from harness.metrics.latency import clip_metrics
from harness.replay import Planned, ReplayArm, replay
from harness.session import Pacing
from tests.conftest import make_clip


def test_a_turn_cannot_be_answered_before_it_ends() -> None:
    config = ScriptedOptions(first_ms=-1)
    message = r"engine.first_ms: -1\n  allowed: 0 or more\n  next: .*session=live"
    with pytest.raises(ConfigError, match=message) as caught:
        ScriptedEngine(config, VirtualWorld(), SessionKind.TURN)
    assert caught.value.exit_code == 2
    ScriptedEngine(config, VirtualWorld(), SessionKind.LIVE).close()
    ScriptedEngine(ScriptedOptions(first_ms=0), VirtualWorld(), SessionKind.TURN).close()


# --- scripts ---


def scripted_by(tmp_path: Path, steps: object) -> ScriptedEngine:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(steps), encoding="utf-8")
    return ScriptedEngine(ScriptedOptions(script=str(path)), VirtualWorld(), SessionKind.LIVE)


def test_a_script_says_updates_finals_and_ends_of_turn(tmp_path: Path) -> None:
    world = VirtualWorld()
    path = tmp_path / "script.json"
    steps = [
        {"at_s": 0.3, "event": "speech_started"},
        {"at_s": 0.5, "segment": 0, "text": "It was the time"},
        {"at_s": 1.25, "event": "turn_ended"},
        {"at_s": 0.9, "segment": 0, "text": "It was the best. ", "final": True},
        {"at_s": 1.0, "text": "Yes."},
    ]
    path.write_text(json.dumps(steps), encoding="utf-8")
    engine = ScriptedEngine(ScriptedOptions(script=str(path)), world, SessionKind.LIVE)
    pacing = Pacing(
        frame_ms=20, kind=SessionKind.LIVE, timeout_s=5, endpointer=EngineEndpointer(), tail_s=3
    )
    kept: list[Trace] = []
    arm = ReplayArm(engine, lambda: Interim().chunker(), pacing)
    replay(world, [arm], [Planned(0, make_clip("x", 1.0), 0)], 1, lambda _, t: kept.append(t))
    (trace,) = kept

    def at_s(at_ns: int) -> float:
        return (at_ns - trace.session.t0_ns) / 1e9

    assert [(h.segment, h.text, h.final, at_s(h.at_ns)) for h in trace.hypotheses] == [
        (0, "It was the time", False, 0.5), (0, "It was the best. ", True, 0.9),
    ]  # fmt: skip
    assert [(t.text, at_s(t.at_ns)) for t in trace.tokens] == [("Yes.", 1.0)]
    assert [at_s(e.at_ns) for e in trace.speech_started] == [0.3]
    assert [(at_s(e.at_ns), e.by) for e in trace.turns_ended] == [(1.25, "engine")]
    assert trace.text == "It was the best. Yes."
    assert trace.finish is not None
    assert at_s(trace.finish.sent_ns) == 1.25


@pytest.mark.parametrize(
    "steps",
    [{}, [{"at_s": 1}], [{"text": "a"}], [{"at_s": 1, "text": "a", "event": "turn_ended"}],
     [{"at_s": 1, "text": "a", "segmnt": 1}], [{"at_s": "x", "text": "a"}]],
)  # fmt: skip
def test_a_script_that_is_none_is_refused(tmp_path: Path, steps: object) -> None:
    with pytest.raises(ConfigError, match=r"engine\.script"):
        scripted_by(tmp_path, steps)


def test_text_that_changes_after_it_was_final_fails_the_session(tmp_path: Path) -> None:
    engine = scripted_by(
        tmp_path,
        [{"at_s": 0.2, "segment": 0, "text": "a", "final": True},
         {"at_s": 0.4, "segment": 0, "text": "b"}],
    )  # fmt: skip
    kept: list[Trace] = []
    pacing = Pacing(frame_ms=20, kind=SessionKind.LIVE, timeout_s=5)
    arm = ReplayArm(engine, lambda: Tokens().chunker(), pacing)
    plan = [Planned(0, make_clip("x", 1.0), 0)]
    replay(engine._world, [arm], plan, 1, lambda _, trace: kept.append(trace))
    assert isinstance(kept[0].outcome, Failed)
    assert "text changed after it was final: segment 0" in kept[0].outcome.error
    assert clip_metrics(kept[0]).failed is not None
