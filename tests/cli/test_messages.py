"""What the command line says where it cannot do, or has nothing to do, as it was asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.cli.compose import choices_of, compose_alone, to_config
from harness.cli.sweeping import Sweep
from harness.engines.null import NullOptions

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]

QUICK = ["engine=scripted", "replay.pace=virtual", "replay.compute_scale=0", "replay.repeats=1",
         "replay.frame_ms=500", "dataset.limit=1", "report.plots=false"]  # fmt: skip


def run(folder: str, *overrides: str) -> int:
    return main(["run", *QUICK, f"hydra.run.dir={folder}", *overrides])


@pytest.mark.parametrize("verb", ["run", "compare", "serve", "calibrate", "capacity"])
@pytest.mark.parametrize("override", ["+foo=1", "++dataset.foo=1", "~gate"])
def test_fields_are_neither_added_nor_removed(
    verb: str, override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, override]) == 2
    assert f"neither added nor removed: '{override}'" in capsys.readouterr().err


def test_hydra_can_be_added_to() -> None:
    assert run("out", "+hydra.job.env_set.HARNESS_TEST=1") == 0


@pytest.mark.parametrize(
    "value", ["é/x.jsonl", "my clips/x.jsonl", "~/x.jsonl", "a=b;c.jsonl", "it's here.jsonl"]
)
def test_a_value_is_taken_as_it_is_written(value: str) -> None:
    composed = compose_alone(["dataset=manifest", f"dataset.manifest={value}"])
    assert to_config(composed).dataset.manifest == value


@pytest.mark.parametrize(
    ("override", "clips"),
    [("dataset.clips=[a, 'b c']", ["a", "b c"]), ("dataset.clips=['é']", ["é"])],
)
def test_lists_and_quotes_are_still_read(override: str, clips: list[str]) -> None:
    assert to_config(compose_alone([override])).dataset.clips == clips


def test_a_folder_may_have_any_name() -> None:
    assert run("my rüns/it's one") == 0
    assert Path("my rüns/it's one/summary.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--nonsense"], ("no such option: '--nonsense'", "--json, --quiet, -m")),
        (["compare", "--nonsense"], ("no such option: '--nonsense'", "allowed: --json, --quiet\n")),
        (["run", "chunking=1word,6word"], ("'chunking=1word,6word'", "`compare` interleaves",
                                           "`run -m` runs one after the other")),
        (["compare", "seed=interval(0,1)"], ("'seed=interval(0,1)'", "allowed: FIELD=A,B",)),
        (["compare", "chunking=glob(7*)"], ("'chunking=glob(7*)'", "allowed: 1word, 2word, ")),
        (["compare", "gates=glob(*)"], ("no such config group: 'gates'", "did you mean gate?")),
        (["compare", "seed=glob(*)"], ("no such config group: 'seed'", "allowed: chunking, ")),
        (["run", "engine=scripted", "engine.first_ms=nan"], ("allowed: a finite number",)),
        (["run", "seed=-1"], ("config field seed: -1", "allowed: 0 or more")),
    ],
)  # fmt: skip
def test_a_refusal_names_what_is_allowed(
    arguments: list[str], says: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    complaint = capsys.readouterr().err
    assert all(words in complaint for words in says)
    assert "hydra" not in complaint.replace("--hydra-help", "")


def test_a_pattern_is_every_choice_that_it_matches() -> None:
    sweep = Sweep(["chunking=glob(?word)", "seed=1"])
    assert [arm.name for arm in sweep.arms] == ["1word", "2word", "3word", "6word"]
    assert sweep.fixed == ["seed=1"]
    words = Sweep(["chunking=glob(*, exclude=?word)"])
    assert {arm.overrides[0].partition("=")[2] for arm in words.arms} == {
        choice for choice in choices_of("chunking") if not choice.endswith("word")
    }
    (null,) = Sweep(["engine=glob(n*)"]).arms
    assert isinstance(to_config(compose_alone(null.overrides)).engine, NullOptions)


@pytest.mark.parametrize("verb", ["baseline", "rechunk"])
def test_usage_says_usage_once(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([verb])
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"usage: python -m harness {verb}")
    assert complaint.count("usage:") == 1


def test_a_gate_without_rules_says_that_there_is_nothing_to_judge(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("out", "--quiet") == 0
    assert main(["gate", "out"]) == 0
    said = "gate none has no rules: nothing to judge; name one with gate=ci\n"
    assert capsys.readouterr().out == said


def export(folder: str) -> int:
    return main(["export", folder, "--format", "bencher", "--out", "figures.json"])


def test_figures_of_a_killed_run_are_exported_with_exit_code_4(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("out") == 0
    assert export("out") == 0
    Path("figures.json").unlink()
    Path("out/summary.json").unlink()
    assert export("out") == 4
    assert "1 of 1 sessions were kept" in capsys.readouterr().err
    assert Path("figures.json").is_file()


def test_figures_of_an_invalid_run_are_exported_with_exit_code_4(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("out", "replay.timeout_s=0.01", "engine.first_ms=5000") == 4
    capsys.readouterr()
    assert export("out") == 4
    assert "warning: out is invalid: failed_clips" in capsys.readouterr().err


def test_of_a_run_without_sessions_nothing_is_exported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("out") == 0
    Path("out/summary.json").unlink()
    for name in ("events.jsonl", "clips.jsonl"):
        Path("out", name).write_bytes(b"")
    assert export("out") == 4
    assert "nothing to export" in capsys.readouterr().err
    assert not Path("figures.json").exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rules: [failed = 0", "a config file is not YAML"),
        ("rules:\n  - ttft_ms p50 vs baseline: at most +5 % and +10 ms", "stands in quotes"),
        ("arm: 6wrod\nrules: [failed = 0]", "none of that name: '6wrod'"),
    ],
)
def test_a_gate_that_cannot_be_asked(
    text: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine/gate").mkdir(parents=True)
    Path("mine/gate/x.yaml").write_text(f"# @package gate\nname: x\n{text}\n", encoding="utf-8")
    mine = f"hydra.searchpath=[file://{Path('mine').resolve()}]"
    assert run("out", "gate=x", mine) == 2
    assert complaint in capsys.readouterr().err
    assert not Path("out/events.jsonl").exists()


def test_a_comparison_does_not_go_into_a_runs_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("out") == 0
    assert main(["compare", *QUICK, "chunking=1word,6word", "hydra.run.dir=out"]) == 2
    assert "this folder holds a run already" in capsys.readouterr().err


def test_runs_that_lie_in_one_folder_are_no_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("here/a") == 0
    assert main(["gate", "here", "gate=ci"]) == 2
    assert "were not compared" in capsys.readouterr().err


def test_a_comparison_that_was_cut_off_can_be_judged(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *QUICK, "chunking=6word,1word", "hydra.run.dir=out"]) == 0
    Path("out/comparison.json").unlink()
    rule = "gate.rules=['failed = 0']"
    assert main(["gate", "out", "gate=none", rule]) == 0
    assert capsys.readouterr().out.count("PASS") >= 2


def test_a_gate_without_rules_is_no_gate(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine/gate").mkdir(parents=True)
    mine = f"hydra.searchpath=[file://{Path('mine').resolve()}]"
    for text in ("name: x\n", "{}\n"):
        Path("mine/gate/x.yaml").write_text(f"# @package gate\n{text}", encoding="utf-8")
        assert run("out", "gate=x", mine) == 2
        assert "has no rules" in capsys.readouterr().err
    assert run("out", "gate=x", mine, "gate.rules=['failed = 0']") == 0


def test_a_terminal_that_cannot_show_a_sign_costs_no_verdict() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "harness", "run", *QUICK, "hydra.run.dir=out"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr.decode()
    assert b"TTFT" in told.stdout


def test_nothing_to_decide_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("out", "replay.until=decided") == 2
    assert "no gate to decide" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_of_other_clips_are_compared_on_those_that_are_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder, more in (
        ("a", "dataset.limit=3"),
        ("b", "dataset.limit=4"),
        ("c", "dataset.tail_s=1"),
    ):
        assert run(folder, more, "dataset.limit=3" if folder == "c" else more) == 0
    capsys.readouterr()
    shared = {}
    for other in "bc":
        assert main(["report", "a", other, "--json", "--out", f"with-{other}"]) == 0
        found = json.loads(capsys.readouterr().out)["comparison"]["comparisons"][0]
        shared[other] = found["sessions"], {d["clips"] for d in found["differences"] if d["clips"]}
    assert shared == {"b": (3, {3}), "c": (0, set())}
