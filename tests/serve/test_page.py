"""The page in headless browsers: a clip, a microphone fed from a wav, and what it saves."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile

from harness.engines.scripted import ScriptedEngine
from harness.engines.scripted import ScriptedOptions as ScriptedConfig
from harness.errors import UsageError
from harness.events import Ended, ServedEngine, SessionKind
from harness.serve.saved import read_saved
from tests.browser import BROWSERS, Browser, browsing

from .serving import WORLD, Running, make_clip, serving

pytestmark = pytest.mark.e2e
in_browsers = pytest.mark.parametrize("name", BROWSERS)
TEXT = "one two three four five six seven eight"
CLIP = make_clip("clip-1", TEXT, duration_s=1.2)

TOLD = ServedEngine(random_weights=True, weights_sha256="ab" * 32, model_delay_ms=480.0)


def scripted(kind: SessionKind = SessionKind.TURN) -> ScriptedEngine:
    engine = ScriptedEngine(ScriptedConfig(first_ms=80, token_ms=30), WORLD, kind)
    engine.info = msgspec.structs.replace(engine.info, **msgspec.structs.asdict(TOLD))
    return engine


@contextlib.contextmanager
def opened(name: str, running: Running, folder: Path, *options: str) -> Iterator[Browser]:
    """The served page in a browser."""
    with browsing(name, folder, *options) as page:
        page.open(f"http://127.0.0.1:{running.port}/")
        yield page


def play(page: Browser, clip: str, lane_b: str = "6word") -> None:
    page.wait_for(f"[...document.querySelector('#source').options].some(o => o.value === '{clip}')")
    page.run(f"document.querySelector('#source').value = '{clip}'")
    page.run(f"document.querySelector('#lane-b').value = '{lane_b}'")
    page.run("document.querySelector('#start').click()")


def until_done(page: Browser) -> None:
    page.wait_for("/^(Done|Failed)/.test(document.querySelector('#status').textContent)")
    assert page.run("document.querySelector('#status').textContent") == "Done."


def server_ttft_ms(caplog: pytest.LogCaptureFixture) -> float:
    (line,) = [r.getMessage() for r in caplog.records if r.getMessage().startswith("TTFT")]
    return float(re.findall(r"[\d.]+", line)[0])


def check_ttft(ttft_ms: float, caplog: pytest.LogCaptureFixture) -> None:
    """As the server saw it, and the way there and back: on a busy machine more than on an idle one.

    What counted from the beginning of the audio would be more than a second longer.
    """
    assert -1 < ttft_ms - server_ttft_ms(caplog) < 1000


def saved_by(page: Browser, path: Path) -> Path:
    path.write_text(page.run("JSON.stringify(harness.session.saved())"), encoding="utf-8")
    return path


def check_requests(page: Browser, running: Running) -> None:
    assert page.errors == []
    for address in page.requests:
        assert re.match(rf"(http|ws)://127\.0\.0\.1:{running.port}/", address), address


@in_browsers
def test_a_clip_two_strategies_side_by_side(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "harness.serve")
    with (
        serving(scripted(), clips=(CLIP,)) as running,
        opened(name, running, tmp_path) as page,
    ):
        play(page, CLIP.id)
        until_done(page)
        figures: dict[str, Any] = {
            lane: page.run(f"harness.session.figures('{lane}')") for lane in ("1word", "6word")
        }
        saved, traces = read_saved(saved_by(page, tmp_path / "saved.json"))
        label = page.run("document.querySelector('#timeline').getAttribute('aria-label')")
        texts = page.run(
            "[...document.querySelectorAll('.transcript')].map(p => p.textContent.trim())"
        )
        check_requests(page, running)
    assert texts == [TEXT, TEXT]
    assert "1word: 8 chunks, first text" in label
    check_ttft(figures["1word"]["ttft_ms"], caplog)
    assert figures["6word"]["ttft_ms"] > figures["1word"]["ttft_ms"]
    assert saved.model == "scripted"
    assert saved.engine == TOLD
    for lane, trace in traces.items():
        assert trace.session.clip == CLIP.id
        assert trace.session.reference == trace.text == TEXT
        assert trace.session.model_delay_ms == 480
        assert "".join(chunk.text for chunk in trace.chunks) == TEXT
        assert isinstance(trace.outcome, Ended)
        assert len(trace.frames) == 60
        assert trace.finish is not None
        due_ns = trace.session.t0_ns + round(1.2e9)
        assert abs(trace.finish.due_ns - due_ns) < 1000
        first_ns = next(chunk.at_ns for chunk in trace.chunks if chunk.text.strip())
        assert (first_ns - due_ns) / 1e6 == pytest.approx(figures[lane]["ttft_ms"], abs=0.01)


# Firefox runs no audio graph on a machine without a sound device.
@pytest.mark.parametrize("name", BROWSERS[:1])
def test_the_microphone_fed_from_a_wav_by_keyboard_alone(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "harness.serve")
    wav = tmp_path / "spoken.wav"
    tone = np.sin(np.arange(48_000 * 3) * 2 * np.pi * 220 / 48_000) * 0.3
    soundfile.write(wav, tone, 48_000, subtype="PCM_16")
    with (
        serving(scripted()) as running,
        opened(name, running, tmp_path, f"--use-file-for-fake-audio-capture={wav}") as page,
    ):
        page.wait_for("document.querySelector('#lane-a').options.length > 1")
        page.run("document.querySelector('#start').focus()")
        page.press_enter()
        page.wait_for("document.activeElement.id === 'stop'")
        page.wait_for("harness.session.frames.length >= 40")
        page.press_enter()
        until_done(page)
        ttft_ms = page.run("harness.session.figures('1word').ttft_ms")
        _, traces = read_saved(saved_by(page, tmp_path / "saved.json"))
        focus = page.run("document.activeElement.id")
        check_requests(page, running)
    assert focus == "start"
    check_ttft(ttft_ms, caplog)
    trace = traces["1word"]
    assert trace.text == "one two three"
    assert trace.session.speech_end_s > 0.5  # the tone was heard


WHY = "[...document.querySelectorAll('.why li')].filter(l => !l.hidden).map(l => l.textContent)"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@in_browsers
def test_the_page_fits_a_telephone_and_says_why_a_button_is_disabled(
    name: str, tmp_path: Path
) -> None:
    clip = make_clip("a-long-name-" * 6, TEXT, duration_s=0.4)
    with (
        serving(scripted(), clips=(clip,)) as running,
        opened(name, running, tmp_path) as page,
    ):
        page.wait_for("!document.querySelector('#start').disabled")
        stop, save = page.run(WHY)
        assert stop == "Stop: no session is running."
        assert save == "Save this session: no session was recorded yet."
        play(page, clip.id)
        until_done(page)
        assert page.run(WHY) == ["Stop: no session is running."]
        for button in ("start", "stop", "save"):
            why = f"document.getElementById('{button}-why').hidden"
            assert page.run(f"document.getElementById('{button}').disabled !== {why}")
        page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        for width in (320, 390, 768, 1280):
            page.emulate(width=width)
            assert page.run(OVERFLOW) <= 0
            hinted = page.run("document.querySelector('.hint').getClientRects().length > 0")
            box = "document.getElementById('timeline-box')"
            assert page.run(f"{box}.scrollWidth > {box}.clientWidth") == hinted


@in_browsers
def test_live_sessions_show_text_while_the_audio_plays(name: str, tmp_path: Path) -> None:
    with (
        serving(scripted(SessionKind.LIVE), kind=SessionKind.LIVE, clips=(CLIP,)) as running,
        opened(name, running, tmp_path) as page,
    ):
        play(page, CLIP.id, lane_b="(none)")
        until_done(page)
        _, traces = read_saved(saved_by(page, tmp_path / "saved.json"))
    assert list(traces) == ["1word"]
    trace = traces["1word"]
    assert trace.text == TEXT
    assert trace.session.kind is SessionKind.LIVE
    assert trace.finish is not None
    assert trace.chunks[0].at_ns < trace.finish.sent_ns


@in_browsers
def test_a_server_that_goes_away_is_told(name: str, tmp_path: Path) -> None:
    with (
        serving(scripted(), clips=(CLIP,)) as running,
        opened(name, running, tmp_path) as page,
    ):
        play(page, CLIP.id)
        page.wait_for("harness.session?.frames.length > 3")
        running.server.config.grace_s = 0.0
        running.stop()
        page.wait_for("document.querySelector('#status').textContent.startsWith('Failed')")
        status = page.run("document.querySelector('#status').textContent")
        assert not page.run("document.querySelector('#start').disabled")
    assert status == "Failed: the server is shutting down (shutting_down)"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not a session"),
        (json.dumps({"schema": 2, "model": "", "client": "", "arms": {}}), "another version"),
        (json.dumps({"schema": 1, "model": "", "client": "", "arms": {"a": []}}), "not one"),
    ],
)
def test_what_is_not_a_saved_session(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "saved.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=complaint):
        read_saved(path)
