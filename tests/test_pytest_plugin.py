"""The plugin as a user's test suite sees it, in a pytest of its own."""

from __future__ import annotations

import pytest
from verdicts.clips import ENVIRONMENT, make_clips, spread, write_finished_run

from harness.config import Config, ReplayConfig
from harness.verdicts.baselines import save_baseline
from harness.verdicts.calibration import Calibration, fingerprint, save_calibration

pytest_plugins = ["pytester"]

TEST = """
from pathlib import Path

def test_it(stt_run):
    stt_run({folder!r}).check({arguments})
"""


@pytest.fixture
def outcome(pytester, tmp_path):
    """Run one test that checks a finished run of 11 clips around 351 ms."""

    def run(arguments, clips=None, **facts):
        clips = clips or make_clips(spread())
        folder = write_finished_run(tmp_path / "run", clips, **facts)
        pytester.makepyfile(TEST.format(folder=str(folder), arguments=arguments))
        return pytester.runpytest(
            "--disable-plugin-autoload", "-p", "harness.pytest_plugin", "-p", "no:cacheprovider"
        )

    return run


def test_rules_that_hold_pass(outcome):
    outcome('"ttft_ms p50 <= 500 ms", "failed = 0"').assert_outcomes(passed=1)


def test_a_failure_says_what_was_seen(outcome):
    result = outcome('"ttft_ms p50 <= 200 ms", "failed = 0"')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["FAIL: *run", "  FAIL  ttft_ms p50 <= 200 ms", "*is 351 ms*"])
    result.stdout.no_fnmatch_line("*failed = 0*")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('"tftt_ms p50 <= 1 ms"', "did you mean ttft_ms?"),
        ("", "no rule was given"),
        ('"failed = 0", baseline="nothere"', "nothere"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(outcome, arguments, told):
    result = outcome(arguments)
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert told in text
    assert "harness/" not in text.replace("harness/pytest_plugin", "")


def test_undecided_fails_unless_told_otherwise(outcome):
    outcome('"ttft_ms p95 <= 900 ms"').assert_outcomes(failed=1)


def test_undecided_may_skip(outcome):
    outcome('"ttft_ms p95 <= 900 ms", undecided="skip"').assert_outcomes(skipped=1)


def test_a_rule_that_was_not_asked_does_not_pass(outcome):
    result = outcome('"failed = 0", "text parity"')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["NOT ASKED: *run", "  NOT ASKED  text parity", "*baseline*"])


@pytest.mark.parametrize(
    "rule", ["text parity", "ttft_ms p50 vs baseline: at most +5 % and +10 ms"]
)
def test_a_rule_that_stands_alone_without_its_baseline_does_not_pass(outcome, rule):
    result = outcome(f'"{rule}"')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INCONCLUSIVE: *run", "*baseline*"])


def test_a_rule_that_was_not_asked_may_skip(outcome):
    outcome('"failed = 0", "text parity", undecided="skip"').assert_outcomes(skipped=1)


def test_an_invalid_run_does_not_pass(outcome):
    result = outcome('"ttft_ms p50 <= 500 ms"', validity=("the driver was late",))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INVALID: *", "*the driver was late*"])


def test_a_baseline_is_read_and_must_agree(outcome, tmp_path):
    old = write_finished_run(tmp_path / "old", make_clips(spread(slower=0.9)), python="3.13.0")
    save_baseline("main", old, tmp_path / "kept")
    rule = '"ttft_ms p50 vs baseline: at most +5 % and +10 ms"'
    where = f'baseline="main", baselines=Path({str(tmp_path / "kept")!r})'
    result = outcome(f"{rule}, {where}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*python: '3.13.0' in the baseline, '3.12.1' here*"])


def test_a_difference_may_be_allowed(outcome, tmp_path):
    old = write_finished_run(tmp_path / "old", make_clips(spread(slower=0.9)), python="3.13.0")
    save_baseline("main", old, tmp_path / "kept")
    rule = '"ttft_ms p50 vs baseline: at most +5 % and +10 ms"'
    where = f'baseline="main", baselines=Path({str(tmp_path / "kept")!r})'
    result = outcome(f'{rule}, {where}, allow=["python"]')
    result.stdout.fnmatch_lines(["*+11.1 %, +35.1 ms*"])


def vs_baseline(tmp_path):
    """The arguments of a rule that a baseline 11.1 % faster breaks."""
    old = write_finished_run(tmp_path / "old", make_clips(spread(slower=0.9)))
    save_baseline("main", old, tmp_path / "kept")
    rule = '"ttft_ms p50 vs baseline: at most +5 % and +10 ms"'
    return f'{rule}, baseline="main", baselines=Path({str(tmp_path / "kept")!r})'


def test_a_regression_says_how_to_confirm_it(outcome, tmp_path):
    result = outcome(vs_baseline(tmp_path))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*next: confirm it*compare --against abc*gate.rules=*"])


def test_the_noise_of_the_machine_is_allowed_for_as_by_the_command(outcome, tmp_path):
    noise = Calibration(
        fingerprint=fingerprint(ENVIRONMENT, 3), rule="", runs=3, clips=11, repeats=3,
        bands={"ttft_ms p50": 0.15}, power=(),
    )  # fmt: skip
    save_calibration(noise)
    outcome(vs_baseline(tmp_path)).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("replayed", "told"),
    [(ReplayConfig(), "failed"), (ReplayConfig(until="decided", most_repeats=6), "skipped")],
)
def test_a_run_until_decided_spends_its_share_only(outcome, replayed, told):
    # 10 of 12 above the limit: p = 0.019
    clips = make_clips([[float(i)] for i in range(12)])
    asked = '"ttft_ms p50 <= 1.5 ms", undecided="skip"'
    outcome(asked, clips, config=Config(replay=replayed)).assert_outcomes(**{told: 1})


@pytest.mark.e2e
def test_runs_can_be_made(pytester):
    overrides = [
        "model=none",
        "engine=null",
        "replay.pace=virtual",
        "replay.repeats=1",
        "dataset.limit=2",
    ]
    pytester.makepyfile(f"""
        def test_it(stt_run):
            stt_run(overrides={overrides!r}).check("failed = 0")
            stt_run(overrides={overrides!r}).check("failed = 0")
    """)
    pytester.runpytest_subprocess(
        "--disable-plugin-autoload", "-p", "harness.pytest_plugin", "-p", "no:cacheprovider"
    ).assert_outcomes(passed=1)
