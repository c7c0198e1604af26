"""Recorded tokens under another strategy: exactly what a run of that strategy records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.chunking import Timed, Words
from harness.experiments.progress import Progress
from harness.experiments.rechunk import rechunk_run
from harness.experiments.run import run_arms
from harness.runs.folder import load_run
from tests.experiments.test_run import BASE, plans


def test_a_strategy_applied_later_releases_the_same_chunks(tmp_path: Path) -> None:
    for strategy in (Words(6), Timed(every_ms=70.5)):
        folder = tmp_path / strategy.name
        run_arms(plans(folder, token=BASE, own=replace(BASE, chunking=strategy)), Progress())
        source, own = load_run(folder / "token"), load_run(folder / "own")
        again = load_run(rechunk_run(source, strategy, folder / "again"))
        ours = {(t.session.clip, t.session.repeat): t for t in again.traces}
        for trace in own.traces:
            made = ours[trace.session.clip, trace.session.repeat]
            t0s = trace.session.t0_ns, made.session.t0_ns
            assert [(c.text, c.at_ns - t0s[0], c.is_final) for c in trace.chunks] == [
                (c.text, c.at_ns - t0s[1], c.is_final) for c in made.chunks
            ]
        assert again.environment.rechunked_from == str(source.folder)
        assert again.environment.arm.chunking == strategy.name
        assert again.environment.config_identity != source.environment.config_identity
