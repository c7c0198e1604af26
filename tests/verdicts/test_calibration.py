from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from verdicts.clips import ENVIRONMENT, make_clips, spread

from harness.errors import BaselineError, UsageError
from harness.verdicts import calibration
from harness.verdicts.calibration import (
    INJECTIONS,
    PowerPoint,
    Proof,
    as_markdown,
    calibrate,
    draw_power,
    fingerprint,
    load_calibration,
    noise_band,
    save_calibration,
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


def test_a_calibration_is_of_one_machine(tmp_path, calibrated):
    save_calibration(calibrated, tmp_path)
    assert load_calibration(ENVIRONMENT, tmp_path) == calibrated
    other = ENVIRONMENT | {"machine": ENVIRONMENT["machine"] | {"cores": 64}}
    assert fingerprint(other) != fingerprint(ENVIRONMENT)
    assert load_calibration(other, tmp_path) is None


def test_a_broken_calibration_is_named(tmp_path):
    (tmp_path / f"{fingerprint(ENVIRONMENT)}.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BaselineError, match="cannot be read"):
        load_calibration(ENVIRONMENT, tmp_path)


def test_an_injection_is_a_share_of_the_measured_ttft():
    tail = INJECTIONS[-1]
    assert tail.overrides(350.0) == ("inject.delay_ms=350.000", "inject.tail_share=0.05")
    assert [i.effect for i in INJECTIONS[:-1]] == [0.02, 0.05, 0.10, 0.25]


def test_the_page_shows_bands_power_and_proofs(calibrated):
    from msgspec.structs import replace

    proof = Proof(INJECTIONS[2], "fail", "ttft_ms p50 went up")
    text = as_markdown(replace(calibrated, proofs=(proof,)))
    assert "| 0 % | 0.0 % |" in text
    assert "| +10 % | fail: ttft_ms p50 went up |" in text
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
