"""Runs in languages of other scripts, from a manifest to the report."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import harness
from harness.__main__ import main
from harness.languages.units import join_words
from harness.report.arms import make_arms
from harness.report.playback import _track
from harness.report.text import ms
from harness.report.tradeoffs import WhatIf
from harness.runs.folder import load_run

QUICK = harness.ReplayConfig(pace="virtual", compute_scale=0.0, repeats=1, warmup=0)
ZH = list("今天天气很好我们去公园")
HI = ["नमस्ते", "दुनिया", "की", "बात"]


def manifest(folder: Path, words: list[str], language: str, text: str = "") -> Path:
    """A clip of 3 s, in which a word is said every 200 ms."""
    rng = np.random.default_rng(0)
    soundfile.write(folder / "a.wav", rng.uniform(-0.3, 0.3, 48_000), 16_000)
    timed = [
        {"text": word, "start_s": 0.2 * i, "end_s": 0.2 * i + 0.2} for i, word in enumerate(words)
    ]
    line = {
        "audio_filepath": "a.wav", "text": text or "".join(join_words(words)),
        "language": language, "words": timed, "speech_onset_s": 0.0, "speech_end_s": 2.9,
    }  # fmt: skip
    path = folder / "manifest.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    return path


def run(path: Path, chunking: Any = None, **fields: Any) -> Any:
    fields = {
        "engine": harness.ScriptedOptions(first_ms=80),
        "session": harness.LiveSession(),
        **fields,
    }
    config = harness.Config(
        model=harness.NoModel(), replay=QUICK, chunking=chunking or harness.Words(1),
        dataset=harness.ManifestDataset(name="mine", manifest=str(path)), **fields,
    )  # fmt: skip
    return harness.run(config, folder=path.parent / "run")


@pytest.mark.parametrize(
    ("words", "language", "told"), [(ZH, "zh-CN", "cer"), (HI, "hin", "wer")], ids=["zh", "hi"]
)
def test_every_timed_word_has_its_delay(
    tmp_path: Path, words: list[str], language: str, told: str
) -> None:
    """A grapheme is shown once the next one has begun, 200 ms later; the last one at the end."""
    found = run(manifest(tmp_path, words, language))
    (clip,) = found.clips
    assert clip.match_rate == 1
    assert clip.word_delay_ms[:-1] == pytest.approx([280] * (len(words) - 1), abs=0.001)
    assert clip.ttft_ms == pytest.approx(480, abs=0.001)
    assert clip.ttft_floor_ms == pytest.approx(200, abs=0.001)
    assert (clip.wer, clip.cer, clip.split_words) == (0, 0, 0)
    assert clip.chunks == len(words)
    assert found.summary.error_rate == told


@pytest.mark.parametrize("session", [harness.LiveSession(), harness.TurnSession()])
@pytest.mark.parametrize("engine", [harness.ScriptedOptions(), harness.NullOptions()])
def test_engines_that_know_the_text_say_it_word_by_word(
    tmp_path: Path, session: Any, engine: Any
) -> None:
    found = run(manifest(tmp_path, ZH, "zh"), harness.Words(6), session=session, engine=engine)
    (trace,) = found.traces
    assert [token.text for token in trace.tokens] == ZH
    assert [chunk.text for chunk in trace.chunks] == ["".join(ZH[:6]), "".join(ZH[6:])]


def test_words_can_be_dropped_on_purpose(tmp_path: Path) -> None:
    found = run(
        manifest(tmp_path, ZH, "zh"), session=harness.TurnSession(),
        inject=harness.InjectConfig(drop_words=3),
    )  # fmt: skip
    (clip,) = found.clips
    assert clip.hypothesis == "".join(ZH[3:])
    assert (clip.word_edits.deletions, clip.word_edits.errors) == (3, 3)


@pytest.mark.parametrize(
    ("language", "text", "warned"),
    [
        ("en", "Das ist sehr schön", True),
        ("de", "Das ist sehr schön", False),
        ("en", "नमस्ते दुनिया", True),
        ("hi", "नमस्ते दुनिया", False),
    ],
)
def test_a_text_of_another_language_is_a_warning(
    tmp_path: Path, language: str, text: str, warned: bool
) -> None:
    summary = run(manifest(tmp_path, text.split(), language)).summary
    assert any(warning.startswith("other_language: ") for warning in summary.warnings) is warned
    assert summary.validity == ()


def test_reports_tell_cer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(manifest(tmp_path, ZH, "zh"))
    assert main(["report", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "CER" in shown
    assert "WER" not in shown
    assert f"0 errors in {len(ZH)} characters" in shown
    markdown = (tmp_path / "run/report.md").read_text(encoding="utf-8")
    assert "CER" in markdown
    assert "WER" not in markdown.replace("FEWER", "")


def test_noise_before_the_first_word_is_nowhere_a_first_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log, the page and the metrics have one TTFT: a chunk of noise comes first."""
    with caplog.at_level(logging.INFO):
        path = manifest(tmp_path, ["uh", "[laughs]", "it", "was"], "en")
        found = run(path, session=harness.TurnSession())
    (trace,) = found.traces
    (clip,) = found.clips
    assert [chunk.text for chunk in trace.chunks[:3]] == ["uh", " [laughs]", " it"]
    ttft_ms = (trace.chunks[2].at_ns - trace.session.t0_ns) / 1e6 - 3000
    assert clip.ttft_ms == pytest.approx(ttft_ms) != clip.first_text_ms
    assert f"TTFT: {ttft_ms:.1f} ms" in caplog.text
    assert _track("arm", trace, trace.chunks).ttft == ms(ttft_ms)
    what_if = WhatIf(make_arms([load_run(tmp_path / "run")], [found.summary])[0])
    assert what_if.median_ms(1) == pytest.approx(ttft_ms)
