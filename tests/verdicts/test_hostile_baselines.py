"""300 baselines, calibrations and gates that were edited: a stated outcome each."""

# ruff: noqa: S311, PT017 nothing here is a secret; outcomes differ from try to try
from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from verdicts.clips import make_clips, spread, write_finished_run

from harness.errors import HarnessError
from harness.verdicts.baselines import load_baseline, save_baseline
from harness.verdicts.rules import parse_rules
from tests.mutations import bytes_changed, encoded, mutated


@pytest.mark.parametrize("seed", range(4))
def test_every_baseline_is_one_or_is_refused(tmp_path: Path, seed: int) -> None:
    run = write_finished_run(tmp_path / "run", make_clips(spread()))
    path = save_baseline("main", run, tmp_path)
    stored, drawn, refused = json.loads(path.read_text(encoding="utf-8")), random.Random(seed), 0
    for _ in range(50):
        content = encoded(mutated(stored, drawn))
        path.write_bytes(bytes_changed(content, drawn) if drawn.randrange(3) == 0 else content)
        try:
            load_baseline("main", tmp_path)
        except HarnessError as error:
            refused += 1
            assert "main.json" in str(error)
    assert refused > 10


RULES = (
    "ttft_ms p95 <= 900 ms", "wer <= 0.10", "gap_ms p95 between 0 ms and 300 ms",
    "ttft_ms p50 vs baseline: at most +5 % and +10 ms", "wer_delta <= 0.02 vs 6word",
    "ttft_ms p50 vs arm 6word: at least 3 times faster", "text parity vs 6word", "failed = 0",
    "goodput >= 0.95 of ttft_ms <= 900 ms and gap_ms p95 <= 300 ms", "memory_mib <= 900 MiB",
)  # fmt: skip
WORDS = (
    "", "<=", ">=", "p50", "p-1", "p101", "nan", "inf", "-1e300", "ms", "%", "vs", "arm", "\x00",
    "+", "1,5", "\u2264", "ttft_ms", "nobody", "baseline:", "9" * 400, "is", "\u202e",
)  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_one_or_names_the_word_that_is_wrong(rule: str) -> None:
    drawn, refused = random.Random(rule), 0
    for _ in range(100):
        words = rule.split()
        at = drawn.randrange(len(words))
        how = drawn.randrange(3)
        words[at : at + (how != 1)] = [] if how == 0 else [drawn.choice(WORDS)]
        try:
            parse_rules([" ".join(words)])
        except HarnessError as error:
            refused += 1
            assert "rule" in str(error)
    assert refused > 20
