"""The page in headless browsers: no console error, no request, playing at the recorded pace."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.report import write_report
from harness.runs.folder import Run
from tests.browser import BROWSERS, Browser, browsing
from tests.report.synthetic import make_arm_runs, make_run

pytestmark = pytest.mark.e2e
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
AGREES_MS = 500  # on a busy machine; at another pace it would be seconds


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return make_arm_runs((1, 6), clips=3, repeats=1)


@pytest.fixture(scope="module")
def report(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    write_report(runs, out)
    return out / "report.html"


@pytest.fixture(scope="module", params=BROWSERS)
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    with browsing(request.param, tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def browser(started: Browser, report: Path) -> Browser:
    """With the report open."""
    started.emulate(width=1280)
    started.open(report)
    return started


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test may leave an error on the console or a request behind."""
    yield
    if "started" in request.fixturenames:
        opened: Browser = request.getfixturevalue("started")
        errors, requests = opened.errors[:], opened.requests[:]
        opened.errors.clear()
        opened.requests.clear()
        assert (errors, requests) == ([], [])


SHOWN = """[...document.querySelectorAll('#{side} .shown span')].map(
  (s) => [s.textContent, Number(s.dataset.at), Number(s.dataset.shown)])"""


PLAY_TO_THE_END = """new Promise((ended) => {
  const button = document.getElementById('play-button');
  button.click();
  const timer = setInterval(() => {
    if (button.textContent === 'Play') { clearInterval(timer); ended(); }
  }, 20);
})"""


def shown(browser: Browser, side: str) -> list[list[Any]]:
    return browser.run(SHOWN.replace("{side}", side))


def test_text_plays_when_the_client_saw_it(browser: Browser, runs: list[Run]) -> None:
    browser.run(PLAY_TO_THE_END)
    for side, run in zip(("left", "right"), runs, strict=True):
        trace = run.traces[0]
        expected = [(c.text, (c.at_ns - trace.session.t0_ns) / 1e6) for c in trace.chunks]
        played = shown(browser, side)
        assert [text for text, _, _ in played] == [text for text, _ in expected]
        late = [on_screen - at for (_, _, on_screen), (_, at) in zip(played, expected, strict=True)]
        assert min(late) >= -1
        assert sorted(late)[len(late) // 2] <= AGREES_MS
    told = browser.run("document.querySelector('#right .told').textContent")
    assert told.startswith(f"first text after {runs[1].clips[0].ttft_ms:.1f} ms")


def test_any_recorded_strategy_can_be_chosen_and_sought(browser: Browser) -> None:
    choose = """(() => {
      const select = document.querySelector('#right select');
      select.value = [...select.options].findIndex((o) => o.text === '3word, what if');
      select.dispatchEvent(new Event('change'));
      const position = document.getElementById('position');
      position.value = position.max;
      position.dispatchEvent(new Event('input'));
    })()"""
    browser.run(choose)
    played = shown(browser, "right")
    assert all(len(text.split()) == 3 for text, _, _ in played[:-1])
    whole = "".join(text for text, _, _ in shown(browser, "left"))
    assert "".join(text for text, _, _ in played) == whole
    browser.run("""(() => { const p = document.getElementById('position');
      p.value = p.min; p.dispatchEvent(new Event('input')); })()""")
    assert shown(browser, "right") == []


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_never_scrolls_sideways(browser: Browser, width: int) -> None:
    for scheme in browser.schemes:
        browser.emulate(width=width, scheme=scheme)
        assert browser.run(OVERFLOW) <= 0


HIDDEN_BY_SCROLLING = """[...document.querySelectorAll('figure .scroll')].map((plot) => [
  plot.scrollWidth > plot.clientWidth,
  plot.parentElement.querySelector('.hint').getClientRects().length > 0])"""


@pytest.mark.parametrize("width", [390, 560, 590, 1280])
def test_a_plot_that_is_wider_than_the_screen_says_that_it_scrolls(
    browser: Browser, width: int
) -> None:
    browser.emulate(width=width)
    plots = browser.run(HIDDEN_BY_SCROLLING)
    assert len(plots) > 5
    assert all(scrolls == hinted for scrolls, hinted in plots)
    assert plots[0][0] == (browser.run("document.documentElement.clientWidth") < 584)


def test_the_first_card_is_the_verdict(browser: Browser, tmp_path: Path) -> None:
    rule = {"rule": "ttft_ms p50 vs baseline: at most +5 % and +10 ms", "status": "fail",
            "why": "slower", "next": "", "observed": 30.0, "limit": 15.0, "old": 300.0,
            "new": 330.0, "unit": "ms"}  # fmt: skip
    passed = {"rule": "failed = 0", "status": "pass", "why": "none failed"}
    verdict = {"status": "fail", "gate": "ci", "baseline": "main", "rules": [passed, rule]}
    write_report([make_run(tmp_path, clips=2, verdict=verdict)], tmp_path)
    browser.open(tmp_path / "report.html")
    for width in (390, 1280):
        browser.emulate(width=width)
        assert browser.run(OVERFLOW) <= 0
        card = browser.run("document.querySelector('main > section').innerText")
        assert card.startswith("FAIL")
        positions = [card.find(text) for text in ("300 ms", "330 ms (+30.0 ms)", "<= 315 ms")]
        assert -1 not in positions
        assert positions == sorted(positions)
    seen = browser.run("document.querySelector('.verdict .rules').getBoundingClientRect().bottom")
    assert seen < 800  # without scrolling


def test_everything_can_be_reached_by_keyboard(browser: Browser) -> None:
    reachable = browser.run(
        "[...document.querySelectorAll('a,button,select,input,summary,[tabindex]')]"
        ".filter((e) => e.tabIndex >= 0).length"
    )
    interactive = browser.run("document.querySelectorAll('a,button,select,input,summary').length")
    assert reachable >= interactive > 10
    assert browser.run("[...document.querySelectorAll('[role=img]')].every((e) => e.ariaLabel)")
    labelled = "[...document.querySelectorAll('select,input')].every((e) => e.labels.length > 0)"
    assert browser.run(labelled)


def test_clips_can_be_filtered(browser: Browser) -> None:
    browser.run("""(() => { const f = document.getElementById('clip-filter');
      f.value = 'errors'; f.dispatchEvent(new Event('change')); })()""")
    visible = "[...document.querySelectorAll('details.clip')].filter((d) => !d.hidden).length"
    assert browser.run(visible) == 1  # the builder gives every fourth clip a wrong word
    assert browser.run("document.getElementById('clip-count').textContent") == "1 of 3"


def test_hostile_text_never_runs(started: Browser, tmp_path: Path) -> None:
    runs = "document.title='run'"
    text = [f"<script>{runs}</script>", "<img", "src=x", f"onerror={runs}>", "\u202enul\0"]
    text.append("w" * 10_000)
    write_report(make_arm_runs((1, 6), clips=1, repeats=1, text=text), tmp_path)
    started.emulate(width=360)
    started.open(tmp_path / "report.html")
    assert started.run("document.title") == "1word against 6word"
    assert started.run("document.querySelectorAll('img').length") == 0
    started.run("""(() => { const p = document.getElementById('position');
      p.value = p.max; p.dispatchEvent(new Event('input')); })()""")
    assert "<img src=x" in started.run("document.querySelector('#left .shown').textContent")
    assert started.run(OVERFLOW) <= 0
