"""Live Whisper over real speech: real weights, real words, the algorithm's own delay."""

from __future__ import annotations

import math
import statistics

import pytest
from rapidfuzz.distance import Levenshtein

from harness.__main__ import main
from harness.engines.sessions import LiveSession
from harness.events import Trace
from harness.metrics.instants import Missing, audio_ns
from harness.metrics.live import word_delays
from harness.metrics.shown import shown_words
from harness.metrics.words import bare
from harness.runs.folder import Run, load_run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", params=[2, pytest.param(11, marks=pytest.mark.slow)])
def arms(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Run]:
    """1word and 6word of the same recorded tokens; compute costs nothing."""
    folder = tmp_path_factory.mktemp("live")
    overrides = ["session=live", "replay.pace=virtual", "replay.compute_scale=0",
                 "replay.repeats=1", "replay.warmup=0", f"dataset.limit={request.param}",
                 "engine.threads=1", "report.plots=false"]  # fmt: skip
    run, again = str(folder / "run"), str(folder / "again")
    assert main(["run", *overrides, f"hydra.run.dir={run}"]) == 0
    assert main(["rechunk", run, "chunking=1word,6word", "--out", again]) == 0
    return {name: load_run(folder / "again" / name) for name in ("1word", "6word")}


def delays_by_characters(trace: Trace) -> dict[float, float]:
    """End of a word -> its delay in ms, matched another way: by characters, in whatever words."""
    said, shown = trace.session.words, shown_words(trace)

    def letters(texts: list[str]) -> tuple[str, list[int]]:
        owners = [index for index, text in enumerate(texts) for _ in bare(text)]
        return "".join(map(bare, texts)), owners

    reference, of_reference = letters([word.text for word in said])
    heard, of_heard = letters([word.text for word in shown])
    found = {}
    equal = [op for op in Levenshtein.opcodes(reference, heard) if op.tag == "equal"]
    for j, word in enumerate(shown):
        partners = [
            of_reference[op.src_start + k - op.dest_start]
            for op in equal
            for k in range(op.dest_start, op.dest_end)
            if of_heard[k] == j
        ]
        if partners:
            i = statistics.mode(partners)
            found[said[i].end_s] = (word.shown_ns - audio_ns(trace, said[i].end_s)) / 1e6
    return found


def test_word_delays_agree_with_an_alignment_of_characters(arms: dict[str, Run]) -> None:
    run = arms["1word"]
    apart: list[float] = []
    spoken = 0
    for trace in run.traces:
        spoken += len(trace.session.words)
        others, ours = delays_by_characters(trace), word_delays(trace)
        assert not isinstance(ours, Missing)
        apart += [abs(word.delay_ms - others.get(word.end_s, math.inf)) for word in ours]
    assert len(apart) >= 0.9 * spoken
    assert statistics.median(apart) <= 20
    assert sum(ms <= 20 for ms in apart) >= 0.95 * len(apart)


def test_six_words_cost_what_speaking_them_takes(arms: dict[str, Run]) -> None:
    """Time to first text, against the shift that the word times alone predict."""
    one, six = (arms[name].clips for name in ("1word", "6word"))
    assert [clip.hypothesis for clip in one] == [clip.hypothesis for clip in six]

    def shift(metric: str) -> float:
        means = [statistics.fmean(getattr(c, metric) for c in clips) for clips in (one, six)]
        return means[1] - means[0]

    # Text comes once a step: which step a word is first shown in, a clip's sound decides.
    assert shift("ttft_ms") == pytest.approx(shift("ttft_floor_ms"), abs=LiveSession().step_ms)
