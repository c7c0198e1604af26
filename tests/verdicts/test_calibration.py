from __future__ import annotations

import math
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from scipy import stats
from verdicts.clips import ENVIRONMENT, environment_with, make_clips, spread

from harness.errors import BaselineError, ConfigError, UsageError
from harness.verdicts import calibration
from harness.verdicts.calibration import (
    INJECTIONS,
    PowerPoint,
    Proof,
    as_markdown,
    calibrate,
    draw_power,
    expected_of,
    fingerprint,
    how_to_calibrate,
    load_calibration,
    noise_band,
    parse_calibrated,
    save_calibration,
    tail_rule,
    typical_ttft_ms,
)


def noisy_runs(count=4, sd=0.02):
    rng = np.random.default_rng(0)
    return [
        make_clips((np.array(spread()) * rng.normal(1, sd, (11, 3))).tolist()) for _ in range(count)
    ]


@pytest.fixture(scope="module")
def calibrated():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "TRIES", 40)
        patch.setattr(calibration, "EFFECTS", (0.0, 0.05, 0.10, 0.25))
        return calibrate(noisy_runs(), ENVIRONMENT)


def test_the_band_is_the_prediction_interval_of_a_difference():
    runs = [make_clips(spread(slower=factor)) for factor in (1.00, 1.02, 1.04)]
    spread_sd = np.std(np.log([1.00, 1.02, 1.04]), ddof=1)
    expected = math.expm1(stats.t.ppf(0.975, 2) * math.sqrt(2) * spread_sd)
    assert noise_band(runs, "ttft_ms") == pytest.approx(expected)


def test_the_curve_rises_from_no_false_alarm_to_certainty(calibrated):
    found = [point.found for point in calibrated.power]
    assert found[0] == 0
    assert found == sorted(found)
    assert found[-1] == 1
    assert calibrated.detectable in (0.10, 0.25)
    assert (calibrated.runs, calibrated.clips, calibrated.repeats) == (4, 11, 3)
    assert set(calibrated.bands) == {"ttft_ms p50", "final_ms p50"}


def test_an_effect_is_detectable_only_if_all_larger_ones_are(calibrated):
    from msgspec.structs import replace

    holes = replace(
        calibrated, power=(PowerPoint(0.05, 0.99), PowerPoint(0.1, 0.5), PowerPoint(0.25, 1.0))
    )
    assert holes.detectable == 0.25
    assert replace(holes, power=(PowerPoint(0.05, 0.2),)).detectable is None


def test_two_runs_tell_no_spread():
    with pytest.raises(UsageError, match="runs to calibrate from"):
        calibrate(noisy_runs(2), ENVIRONMENT)


OTHERS: dict[str, object] = {
    "machine": msgspec.structs.replace(ENVIRONMENT.machine, cores=64),
    "packages": ENVIRONMENT.packages | {"torch": "2.14.0"},
    "python": "3.13.0",
    "config_identity": "another chunking, engine, session or pace",
    "metrics_version": "another",
}


@pytest.mark.parametrize("field", OTHERS)
def test_a_calibration_is_of_one_machine_software_and_config(tmp_path, calibrated, field):
    save_calibration(calibrated, tmp_path)
    assert load_calibration(environment_with(**{field: OTHERS[field]}), 3, tmp_path) is None


def test_a_session_that_failed_takes_no_calibration_out_of_sight(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "TRIES", 2)
    runs = noisy_runs(4)
    found = calibrate([runs[0][1:], *runs[1:]], ENVIRONMENT, planned_repeats=3)
    assert found.repeats == 2
    save_calibration(found, tmp_path)
    assert load_calibration(ENVIRONMENT, 3, tmp_path) == found


@pytest.mark.parametrize("repeats", [1, 4])
def test_a_calibration_is_of_a_number_of_repeats(tmp_path, calibrated, repeats):
    save_calibration(calibrated, tmp_path)
    assert load_calibration(ENVIRONMENT, repeats, tmp_path) is None


def test_a_calibration_is_found_by_later_runs_of_the_same(tmp_path, calibrated):
    save_calibration(calibrated, tmp_path)
    later = {"git_revision": "def", "made_at": "later", "seed": 7, "injected": True, "name": "b"}
    assert load_calibration(environment_with(**later), 3, tmp_path) == calibrated


def test_what_was_not_measured_as_it_is_names_no_command():
    assert "gate a run of this chunking" in how_to_calibrate(environment_with(rechunked_from="run"))


def test_a_broken_calibration_is_named(tmp_path):
    (tmp_path / f"{fingerprint(ENVIRONMENT, 3)}.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BaselineError, match="cannot be read"):
        load_calibration(ENVIRONMENT, 3, tmp_path)


def test_an_injection_is_a_share_of_the_measured_ttft():
    tail = INJECTIONS[-1]
    assert tail.overrides(350.0) == ("inject.delay_ms=350.000", "inject.tail_share=0.05")
    assert [i.effect for i in INJECTIONS[:-1]] == [0.02, 0.05, 0.10, 0.25]


def test_the_page_shows_bands_power_and_proofs(calibrated):
    from msgspec.structs import replace

    proof = Proof(
        injection=INJECTIONS[2], status="fail", why="ttft_ms p50 went up", expected="fail"
    )
    text = as_markdown(replace(calibrated, proofs=(proof,)))
    assert "| 0 % | 0.0 % |" in text
    assert "| +10 % | fail | fail: ttft_ms p50 went up | yes |" in text
    assert "Not found with so many clips and repeats: none." in text
    assert "| `ttft_ms p50` |" in text


def test_the_curve_is_drawn(calibrated):
    drawn = {}
    axes = SimpleNamespace(
        plot=lambda x, y, **_: drawn.update(x=x, y=y),
        axhline=lambda y, **_: drawn.update(line=y),
        set_xlabel=lambda _: None, set_ylabel=lambda _: None, set_ylim=lambda *_: None,
    )  # fmt: skip
    draw_power(calibrated, axes)
    assert drawn["x"] == [0.0, 5.0, 10.0, 25.0]
    assert drawn["y"][-1] == 100.0
    assert drawn["line"] == 95.0


@pytest.mark.parametrize(
    ("injection", "smallest", "expected"),
    [
        (INJECTIONS[0], 0.10, "not fail"),  # +2 %: the rule allows 5 %
        (INJECTIONS[1], 0.10, "any"),  # +5 %: what it allows
        (INJECTIONS[2], 0.10, "fail"),
        (INJECTIONS[2], 0.15, "any"),  # below what the curve finds
        (INJECTIONS[3], 0.15, "fail"),
        (INJECTIONS[3], None, "any"),
        (INJECTIONS[4], 0.10, "any"),  # a tail
    ],
)
def test_a_gate_has_to_find_what_the_curve_finds_and_nothing_that_is_allowed(
    calibrated, injection, smallest, expected
):
    from msgspec.structs import replace

    power = (PowerPoint(0.0, 0.0),) + (() if smallest is None else (PowerPoint(smallest, 1.0),))
    if smallest is None:
        power = (PowerPoint(0.25, 0.5),)
    assert expected_of(injection, replace(calibrated, power=power), 350.0) == expected


def test_ten_milliseconds_of_a_short_wait_are_allowed(calibrated):
    assert expected_of(INJECTIONS[2], calibrated, 80.0) == "not fail"  # 8 ms


@pytest.mark.parametrize(
    ("expected", "status", "holds"),
    [
        ("fail", "fail", True), ("fail", "inconclusive", False), ("fail", "invalid", False),
        ("not fail", "pass", True), ("not fail", "fail", False), ("not fail", "invalid", False),
        ("any", "fail", True), ("any", "inconclusive", True),
    ],
)  # fmt: skip
def test_when_a_proof_holds(expected, status, holds):
    proof = Proof(injection=INJECTIONS[0], status=status, why="", expected=expected)
    assert proof.holds is holds


@pytest.mark.parametrize("text", ["failed = 0", "gap_ms p50 vs baseline: at most +5 % and +10 ms"])
def test_only_rules_about_ttft_are_calibrated(text):
    with pytest.raises(ConfigError, match=r"calibrate\.rule"):
        parse_calibrated(text)


def test_the_tail_is_judged_by_the_p99():
    rule = "ttft_ms p50 vs baseline: at most +5 % and +10 ms"
    assert tail_rule(rule) == "ttft_ms p99 vs baseline: at most +5 % and +10 ms"


def test_an_engine_that_takes_no_time_cannot_be_calibrated():
    assert typical_ttft_ms([make_clips([[100.0, 120.0], [300.0, 300.0]])]) == 200.0
    with pytest.raises(UsageError, match="takes time"):
        typical_ttft_ms([make_clips([[0.0], [0.0]])])
    with pytest.raises(UsageError, match="answers every clip"):
        typical_ttft_ms([make_clips([[None]])])
