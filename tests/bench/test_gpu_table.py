"""The GPU table's script on a CPU with tiny models, and what a step of our loop waits for."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.gpu_table import main

pytestmark = [
    pytest.mark.slow,
    # Length in transformers' streaming mode is the stream's; it warns of it all the same.
    pytest.mark.filterwarnings("ignore:Using the model-agnostic default:UserWarning"),
]

STEP_MS = 80


def test_the_table_runs_anywhere_and_shows_that_generate_is_a_step_late(
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = ["--size", "tiny", "--device", "cpu", "--seconds", "2", "--repeats", "2"]
    rows = main([*small, "--streams", "1", "2", "--no-compile"])
    arms = [(row.model, row.arm) for row in rows]
    assert arms == [
        (model, arm)
        for model in ("3B", "Realtime")
        for arm in ("generate(), eager", "our loop, eager")
    ]
    assert all(row.first_ms and row.step_ms for row in rows)
    printed = capsys.readouterr().out
    assert printed.rstrip().splitlines()[-4].startswith("3B")
    # From the audio of a step to its token, paced: ours is compute, generate() awaits a chunk more.
    generated, ours = (np.median(row.first_ms) for row in rows[2:])
    assert generated - ours > STEP_MS / 2
