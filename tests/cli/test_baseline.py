"""The verb ``baseline``, and runs against a stored one."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.machine.environment import git_revision
from tests.cli.verbs import (
    ONCE,
    RULES,
    noisy,
    once,
    regression,
    verdict,
)

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]


def test_a_baseline_is_saved_listed_shown_and_compared_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert noisy("run", "old") == 0
    assert main(["baseline", "save", "main", "old"]) == 0
    assert main(["baseline", "list"]) == 0
    assert main(["baseline", "show", "main"]) == 0
    assert "main" in capsys.readouterr().out
    assert noisy("run", "new", "gate=ci", "gate.baseline=main") == 0
    assert verdict("new")["baseline"] == "main"
    assert noisy("run", "slow", "engine.first_ms=390", "gate=ci") == 0  # not asked of a run alone
    assert main(["gate", "slow", "--baseline", "main"]) == 4  # another config: refused
    assert "config_identity" in capsys.readouterr().err
    assert main(["gate", "slow", "--baseline", "main", "--allow", "config_identity"]) == 3
    assert main(["report", "slow"]) == 3
    for name in ("report.md", "report.html"):
        page = Path("slow", name).read_text(encoding="utf-8").replace("\\_", "_")
        assert "by gate ci, against main (although these differ: config_identity)" in page
    assert main(["gate", "new", "--baseline", "missing"]) == 4


def test_a_missing_baseline_stops_a_run_before_anything_is_timed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert noisy("run", "out", "gate=ci", "gate.baseline=nobody") == 4
    assert "no such baseline" in capsys.readouterr().err
    assert not Path("out/clips.jsonl").exists() or not Path("out/clips.jsonl").read_bytes()


def test_allowed_is_said_only_of_what_differs() -> None:
    assert noisy("run", "old", "replay.repeats=5") == 0
    assert main(["baseline", "save", "main", "old"]) == 0
    rules = "gate.rules=['ttft_ms p50 vs baseline: at most +5 % and +10 ms']"
    ours = ["replay.repeats=5", "gate.baseline=main", rules]
    assert noisy("run", "out", *ours, "gate.allow=[packages,gpu]") == 0
    assert verdict("out")["allowed"] == []


def test_a_refused_baseline_leaves_nothing_behind() -> None:
    assert noisy("run", "out", "gate=ci", "gate.baseline=nobody") == 4
    assert not Path("out").exists()
    assert noisy("run", "out", "gate=ci") == 0


@pytest.mark.parametrize("made_of", ["0123456789abcdef", "0123456789abcdef+dirty", None])
def test_a_regression_against_a_stored_baseline_says_how_to_confirm_it(
    made_of: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.machine.environment.git_revision", lambda _: made_of)
    assert once("run", "old") == 0
    assert main(["baseline", "save", "main", "old"]) == 0
    monkeypatch.setattr("harness.machine.environment.git_revision", git_revision)
    stored = Path("reports/baselines/main.json")
    faster = json.loads(stored.read_text(encoding="utf-8"))
    for clip in faster["clips"]:
        clip["ttft_ms"] -= 38
    stored.write_text(json.dumps(faster), encoding="utf-8")
    assert once("run", "new", RULES, "gate.baseline=main") == 3
    what = regression("new")["next"]
    if made_of is None:
        assert "compare --against REVISION" in what
        return
    assert ("not in git" in what) == made_of.endswith("+dirty")
    command = shlex.split(what.partition(": ")[2].partition(" (the baseline")[0])
    assert command[:6] == ["python", "-m", "harness", "compare", "--against", "0123456789abcdef"]
    assert command[6:] == [*ONCE, RULES]


def test_a_regression_of_another_config_is_not_confirmed_by_the_revision() -> None:
    assert once("run", "old") == 0
    assert main(["baseline", "save", "main", "old"]) == 0
    allowed = ["gate.baseline=main", "gate.allow=[config_identity]"]
    assert once("run", "new", RULES, "engine.first_ms=388", *allowed) == 3
    assert regression("new")["next"] == "measure both configs in one comparison: compare"


def test_a_regression_by_another_gate_is_confirmed_by_that_gate() -> None:
    assert once("run", "old") == 0
    assert main(["baseline", "save", "main", "old"]) == 0
    stored = Path("reports/baselines/main.json")
    stored.write_text(
        stored.read_text(encoding="utf-8").replace('"ttft_ms":3', '"ttft_ms":2'), encoding="utf-8"
    )
    assert once("run", "new", "gate=ci") == 0
    assert main(["gate", "new", RULES, "--baseline", "main"]) == 3
    what = regression("new")["next"].partition(": ")[2].partition(" (the baseline")[0]
    assert shlex.split(what)[-2:] == ["gate=ci", RULES]
