"""The verdict comes first, in the page and in report.md, with old, new and allowed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.events import Ticks
from harness.report.arms import Arm, make_arms, typical_session
from harness.report.exports import comparison_csv, markdown
from harness.report.facts import facts, marks
from harness.report.instrument import instrument, values_of
from harness.report.page import page
from harness.report.text import DASH
from harness.report.verdict import RuleRow, card
from harness.runs.folder import Run
from tests.report.synthetic import make_arm_runs, make_run

SLOWER = {
    "rule": "ttft_ms p50 vs baseline: at most +5 % and +10 ms", "status": "fail", "why": "slower",
    "next": "look", "observed": 30.0, "limit": 15.0, "old": 300.0, "new": 330.0, "unit": "ms",
}  # fmt: skip
WITHIN = {"rule": "wer <= 0.10", "status": "pass", "why": "few", "observed": 0.02, "limit": 0.1,
          "unit": "1"}  # fmt: skip
COUNTED = {"rule": "failed = 0", "status": "pass", "why": "none", "observed": 0.0, "limit": 0.0,
           "unit": "sessions"}  # fmt: skip
UNDECIDED = {"rule": "gap_ms p95 <= 90 ms", "status": "inconclusive", "why": "few clips",
             "next": "more clips", "observed": 88.1, "limit": 90.0, "unit": "ms"}  # fmt: skip


def failing(*rules: dict[str, Any], status: str = "fail") -> dict[str, Any]:
    return {"status": status, "gate": "ci", "baseline": "main", "rules": list(rules)}


def arms_of(*runs: Run) -> list[Arm]:
    return make_arms(runs, [run.summary for run in runs if run.summary is not None])


def changed(run: Run, *, environment: dict[str, Any] | None = None, **summary: Any) -> Run:
    assert run.summary is not None
    return msgspec.structs.replace(
        run,
        environment=msgspec.structs.replace(run.environment, **(environment or {})),
        summary=msgspec.structs.replace(run.summary, **summary),
    )


def one(verdict: dict[str, Any] | None = None, **options: Any) -> Run:
    return make_run(Path(), clips=2, repeats=1, verdict=verdict, **options)


def shown(rule: dict[str, Any]) -> RuleRow:
    found = card(arms_of(one(failing(rule))))
    (row,) = (*found.open, *found.rest)
    return row


def test_what_failed_comes_first_then_what_is_undecided() -> None:
    found = card(arms_of(one(failing(COUNTED, UNDECIDED, WITHIN, SLOWER))))
    assert (found.status, found.short) == ("fail", "FAIL")
    assert [row.status for row in found.open] == ["fail", "inconclusive"]
    assert [row.rule for row in found.rest] == ["failed = 0", "wer <= 0.10"]
    assert found.counts == "4 rules: 1 failed, 1 undecided, 2 passed"


@pytest.mark.parametrize(
    ("rule", "old", "new", "allowed"),
    [
        (SLOWER, "300 ms", "330 ms (+30.0 ms)", "<= 315 ms"),
        (WITHIN, DASH, "0.02", "<= 0.10"),
        (COUNTED, DASH, "0 sessions", "none"),
        (COUNTED | {"observed": 1.0}, DASH, "1 session", "none"),
        (UNDECIDED, DASH, "88.1 ms", "<= 90 ms"),
        (
            {"rule": "wer_delta <= 0.02", "status": "fail", "why": "", "observed": 0.05,
             "limit": 0.02, "old": 0.04, "new": 0.09, "unit": "1"},
            "0.04", "0.09 (+0.05)", "<= 0.06",
        ),
        (
            {"rule": "ttft_ms p50 vs arm 6word: at least 3 times faster", "status": "fail",
             "why": "", "observed": 2.0, "limit": 3.0, "old": 600.0, "new": 300.0, "unit": "1"},
            "600 ms", "300 ms", "<= 200 ms (3 times faster)",
        ),
        # Judged by a version that kept the change alone.
        (SLOWER | {"old": None, "new": None}, DASH, "+30.0 ms", "<= +15.0 ms"),
    ],
)  # fmt: skip
def test_old_new_and_allowed(rule: dict[str, Any], old: str, new: str, allowed: str) -> None:
    row = shown(rule)
    assert (row.old, row.new, row.allowed) == (old, new, allowed)


def test_the_old_value_of_a_limit_is_the_first_arms() -> None:
    first, second = make_arm_runs((1, 6), clips=3, verdict=failing(WITHIN, status="pass"))
    rows = card(arms_of(first, second)).rest
    assert [row.arm for row in rows] == ["1word", "6word"]
    assert rows[0].old == DASH
    assert rows[1].old != DASH


def test_why_an_arm_is_invalid_is_said_once() -> None:
    invalid = make_run(
        Path(), clips=2, validity=("late_replay: close other programs",),
        verdict=failing(SLOWER | {"status": "invalid"}, status="invalid"),
    )  # fmt: skip
    found = card(arms_of(invalid))
    assert found.short == "INVALID"
    assert found.why_invalid == ("late_replay: close other programs",)
    assert found.open == ()


@pytest.mark.parametrize(
    ("status", "title"),
    [("fail", "# FAIL: 1word"), ("pass", "# PASS: 1word"), ("inconclusive", "# INCONCLUSIVE: "),
     ("none", "# 1word")],
)  # fmt: skip
def test_report_md_begins_with_the_verdict(status: str, title: str) -> None:
    run = one(failing(SLOWER | {"status": status}, status=status))
    assert markdown(arms_of(run), []).startswith(title)


def test_report_md_has_the_failing_rules_before_any_figure() -> None:
    text = markdown(arms_of(one(failing(COUNTED, SLOWER))), [])
    rules = [line for line in text.splitlines() if line.startswith("| **")]
    assert [line.split(" | ")[0] for line in rules] == ["| **FAIL**", "| **PASS**"]
    assert rules[0].endswith("| 300 ms | 330 ms (+30.0 ms) | &lt;= 315 ms |")
    assert text.index("| **PASS**") < text.index("TTFT p50")
    assert "No gate" not in text


def test_a_page_without_a_gate_says_so() -> None:
    assert "No gate was asked for" in page(arms_of(one()), [])


def test_what_must_be_known_first_stands_before_the_verdict() -> None:
    run = changed(one(failing(SLOWER)), injected=True, random_weights=True, simulated=True)
    run.config["inject"]["delay_ms"] = 120.0
    said = marks(arms_of(run))
    assert said == [
        "Made worse on purpose (inject.delay_ms=120): not the engine's own speed and text.",
        "Random weights: the text means nothing.",
        "Simulated time: no latency was measured.",
    ]
    whole = page(arms_of(run), [])
    assert whole.index("Made worse on purpose (inject") < whole.index('class="status"')
    text = markdown(arms_of(run), [])
    assert text.index("Made worse on purpose") < text.index("**FAIL**")


def test_a_mark_of_some_arms_names_them() -> None:
    plain, worse = make_arm_runs((1, 6), clips=2)
    said = marks(arms_of(plain, changed(worse, simulated=True)))
    assert said == ["6word: simulated time: no latency was measured."]


@pytest.mark.parametrize(
    ("environment", "revision"),
    [
        ({}, "not recorded"),
        ({"git_revision": "a" * 40 + "+dirty"}, f"harness {'a' * 12} (with changes not in git)"),
        ({"git_revision": "a" * 40, "revision": "v2.1"}, "v2.1"),
    ],
)
def test_date_revision_and_machine_stand_by_the_title(
    environment: dict[str, Any], revision: str
) -> None:
    arms = arms_of(changed(one(), environment=environment))
    assert facts(arms) == [
        ("measured", "2026-01-01 00:00 UTC"),
        ("revision", revision),
        ("machine", "AMD EPYC, 2 cores"),
    ]
    header = page(arms, []).partition("</header>")[0]
    assert "2026-01-01 00:00 UTC" in header
    assert revision in header


def test_bars_are_drawn_only_where_there_is_something_to_compare() -> None:
    assert 'class="bar"' not in page(arms_of(one()), [])
    assert 'class="bar"' in page(arms_of(*make_arm_runs((1, 6), clips=2)), [])


def test_messages_a_second_stand_in_tables_and_csv() -> None:
    arms = arms_of(*make_arm_runs((1, 6), clips=3))
    figures = [arm.summary["messages_per_s"] for arm in arms]
    values = [figure.value for figure in figures if hasattr(figure, "value")]
    assert values[0] > values[1] > 0
    row = next(line for line in markdown(arms, []).splitlines() if "Messages/s" in line)
    assert f"{values[0]:.2f} /s" in row
    assert re.search(r"^6word,messages_per_s,value,1/s,", comparison_csv(arms), re.MULTILINE)
    assert "Messages/s" in page(arms, [])


def test_the_instrument_is_shown_or_said_not_to_be_recorded() -> None:
    run = one()
    (lateness, lag, receipt) = instrument(arms_of(run))
    assert lateness.arms[0].startswith("p50 0.")
    assert lag.arms == receipt.arms == ("not recorded",)
    ticks = (Ticks("loop", 0, 20_000_000, tuple(1000 * i for i in range(1, 21))),)
    seen = msgspec.structs.replace(
        run,
        traces=tuple(msgspec.structs.replace(t, ticks=ticks) for t in run.traces),
        clips=tuple(msgspec.structs.replace(c, receipt_error_ms=(0.25, 0.5)) for c in run.clips),
    )
    arms = arms_of(seen)
    (_, lag, receipt) = instrument(arms)
    assert lag.arms == ("p50 10.0 ms, p95 19.0 ms, max 20.0 ms; n = 40",)
    assert receipt.arms == ("p50 0.25 ms, p95 0.50 ms, max 0.50 ms; n = 4",)
    assert sorted(values_of(arms[0], "receipt_error_ms")) == [0.25, 0.25, 0.5, 0.5]
    assert "Receipt error" in page(arms, [])


def test_only_the_clip_that_is_drawn_is_read_unless_the_page_plays_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from harness.cli import results
    from harness.datasets import ManifestDataset
    from harness.errors import DatasetError

    asked: list[ManifestDataset] = []

    def load(config: ManifestDataset) -> None:
        asked.append(config)
        raise DatasetError("not here")

    monkeypatch.setattr("harness.datasets.load.load_dataset", load)
    monkeypatch.setattr(results, "write_arms", lambda *_, **__: [])
    arms = arms_of(make_run(tmp_path, clips=3, repeats=1))
    results.remake(arms, tmp_path)
    results.remake(arms, tmp_path, embed_audio=True)
    drawn = typical_session(arms)
    assert drawn is not None
    assert [config.clips for config in asked] == [[drawn[0]], []]
