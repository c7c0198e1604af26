from __future__ import annotations

import copy
import json

import msgspec
import pytest
from verdicts.clips import ENVIRONMENT, environment_with, make_clips, spread, write_finished_run

from harness.config import Config, GateConfig, ReplayConfig
from harness.errors import BaselineError, UsageError
from harness.verdicts.baselines import (
    FIELDS,
    _slim,
    check_comparable,
    list_baselines,
    load_baseline,
    require_comparable,
    save_baseline,
)
from harness.verdicts.gates import judge

CLIPS = make_clips(spread(), gap_ms=(31.123456, 20.0), send_lateness_ms=(0.1,) * 200)


def changed(path, value):
    """The environment with another value, of any type, at a path."""

    def replaced(holder, keys):
        if not keys:
            return value
        key, *rest = keys
        if isinstance(holder, msgspec.Struct):
            return msgspec.structs.replace(holder, **{key: replaced(getattr(holder, key), rest)})
        return {**(holder or {}), key: replaced((holder or {}).get(key), rest)}

    return replaced(ENVIRONMENT, path.split("."))


def test_what_is_saved_judges_as_the_run_did(tmp_path):
    run = write_finished_run(tmp_path / "run", CLIPS)
    path = save_baseline("main", run, tmp_path / "baselines")
    baseline = load_baseline("main", tmp_path / "baselines")
    assert (path.name, baseline.name, baseline.run) == ("main.json", "main", "run")
    assert list_baselines(tmp_path / "baselines") == ("main",)
    rules = ["ttft_ms p50 vs baseline: at most +5 % and +10 ms", "wer_delta <= 0", "text parity"]
    gate = GateConfig(name="test", rules=rules)
    slower = make_clips(spread(slower=1.1))
    stored = judge(slower, gate, arm={}, baseline=baseline.clips)
    assert stored == judge(slower, gate, arm={}, baseline=CLIPS)


def test_a_baseline_is_small_and_a_line_a_session(tmp_path):
    path = save_baseline("main", write_finished_run(tmp_path / "run", CLIPS), tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3 + len(CLIPS)
    assert path.stat().st_size < 900 * len(CLIPS) + 1000
    assert _slim(CLIPS[0])["gap_ms"] == [31.123, 20.0]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"injected": True}, "made worse on purpose"),
        ({"config": Config(replay=ReplayConfig(repeats=9))}, "incomplete"),
    ],
)
def test_a_run_that_is_not_sound_is_no_baseline(tmp_path, facts, said):
    run = write_finished_run(tmp_path / "run", CLIPS, **facts)
    with pytest.raises(BaselineError, match=said):
        save_baseline("main", run, tmp_path)
    assert list_baselines(tmp_path) == ()


def test_an_unfinished_run_is_no_baseline(tmp_path):
    run = write_finished_run(tmp_path / "run", CLIPS)
    (run / "summary.json").unlink()
    with pytest.raises(BaselineError, match="did not finish"):
        save_baseline("main", run, tmp_path)


def test_a_run_of_other_metrics_is_no_baseline(tmp_path):
    run = write_finished_run(tmp_path / "run", CLIPS)
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    (run / "environment.json").write_text(
        json.dumps(environment | {"metrics_version": "1"}), encoding="utf-8"
    )
    with pytest.raises(BaselineError, match="measured by version 1 of the metrics"):
        save_baseline("main", run, tmp_path)


def test_a_baseline_is_not_replaced_by_accident(tmp_path):
    run = write_finished_run(tmp_path / "run", CLIPS)
    save_baseline("main", run, tmp_path)
    with pytest.raises(UsageError, match="of this name"):
        save_baseline("main", run, tmp_path)
    save_baseline("main", run, tmp_path, replace=True)


@pytest.mark.parametrize("name", ["", "../main", "a/b", ".hidden"])
def test_a_name_stays_in_the_folder(tmp_path, name):
    run = write_finished_run(tmp_path / "run", CLIPS)
    with pytest.raises(UsageError, match="name of a baseline"):
        save_baseline(name, run, tmp_path)


def test_a_baseline_that_is_not_there_is_guessed(tmp_path):
    save_baseline("main", write_finished_run(tmp_path / "run", CLIPS), tmp_path)
    with pytest.raises(BaselineError) as missing:
        load_baseline("mian", tmp_path)
    assert "did you mean main?" in str(missing.value)
    assert missing.value.exit_code == 4


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "main.json").write_text("{", encoding="utf-8")
    with pytest.raises(BaselineError, match=r"main\.json cannot be read"):
        load_baseline("main", tmp_path)


def test_the_same_environment_is_comparable():
    assert check_comparable(ENVIRONMENT, copy.deepcopy(ENVIRONMENT)) == []


@pytest.mark.parametrize("field", [name for name, _ in FIELDS if name != "packages"])
def test_every_field_of_the_table_is_compared(field):
    (mismatch, *_) = check_comparable(ENVIRONMENT, changed(field, "other"))
    assert mismatch.field in (field, field.split(".")[0])
    assert mismatch.run == "other"


@pytest.mark.parametrize("version", ["2.12.0", None])
def test_a_package_is_named_with_both_versions(version):
    (mismatch,) = check_comparable(ENVIRONMENT, changed("packages.torch", version))
    assert mismatch.field == "packages.torch"
    assert str(mismatch).startswith(f"packages.torch: '2.13.0' in the baseline, {version!r} here")


def test_what_is_being_compared_may_differ():
    environment = environment_with(git_revision="def", seed=1, made_at="later")
    assert check_comparable(ENVIRONMENT, environment) == []


def test_a_mismatch_is_refused_by_name_unless_it_is_allowed(tmp_path):
    save_baseline("main", write_finished_run(tmp_path / "run", CLIPS), tmp_path)
    baseline = load_baseline("main", tmp_path)
    other = changed("packages.torch", "2.12.0")
    with pytest.raises(BaselineError, match=r"packages\.torch") as refused:
        require_comparable(baseline, other)
    assert "--allow packages.torch" in refused.value.hint
    for field in ("packages.torch", "packages"):
        assert require_comparable(baseline, other, [field]) == ("packages.torch",)
    with pytest.raises(BaselineError):
        require_comparable(baseline, other, ["machine"])


@pytest.mark.parametrize("field", ["model.random_weights", "model", "simulated"])
def test_some_runs_are_never_compared(field):
    with pytest.raises(UsageError, match="never compared"):
        check_comparable(ENVIRONMENT, changed("model.random_weights", True), [field])


def test_a_field_that_is_none_cannot_be_allowed():
    with pytest.raises(UsageError) as refused:
        check_comparable(ENVIRONMENT, ENVIRONMENT, ["pakages"])
    assert "packages" in refused.value.allowed
