"""Overrides become a config, or one screen that says what is allowed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.cli.compose import VARIANTS, choices_of, compose_alone, groups, to_config
from harness.cli.sweeping import Sweep
from harness.engines.null import NullOptions
from harness.errors import ConfigError
from tests.cli.verbs import MUST_BE_GIVEN, one_clip

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rnu"], "did you mean run?"),
        (["chunking=1word"], "a verb comes first"),
        (["run", "chunking=7word"], "did you mean 6word?"),
        (["run", "chunking.words=0"], "chunking.words: 0"),
        (["run", "chunking=timed", "chunking.every_ms=-1"], "above 0"),
        (["run", "replay.repets=3"], "did you mean replay.repeats?"),
        (["run", "enigne=null"], "did you mean engine?"),
        (["run", "replay.repeats=many"], "replay.repeats"),
        (["run", "replay.pace=warp"], "realtime, flood, virtual"),
        (["run", "replay.compute_scale=0"], "replay.pace=virtual"),
        (["run", "engine=null", "engine.threads=2"], "engine.threads"),
        (["run", "engine=null", "model=whisper_tiny_en"], "leave model=... out"),
        (["run", "engine.device=tpu"], "cpu, cuda, cuda:N, mps"),
        (["run", "engine.dtype=int8"], "float32, bfloat16, float16"),
        (["run", "dataset.manifest=nowhere.jsonl"], "no such manifest"),
        (["run", "dataset.clips=[nobody]"], "nobody"),
        (["run", "model=voxtral_mini_4b_realtime", "replay.streams=9"], "model.max_streams=8"),
        (["run", "chunking=[1"], "config group chunking: '[1'"),
        (["run", "engine=scripted", "session=live", "dataset.manifest=bare.jsonl"], "align"),
        (["run", "hydra.run.dir=file/run"], "another with hydra.run.dir"),
        (["compare", "chunking=1word"], "compare needs two arms"),
        (["compare", "engine=null", "dataset.limit=1,2"], "must share dataset"),
        (["compare", "engine=null", "replay.repeats=1,2"], "must share replay.repeats"),
        (
            ["compare", "engine=null", "replay.until=repeats,decided", "gate=ci"],
            "must share replay.until",
        ),
        (["run", "engine=scripted", "inject.tail_share=0.1"], "1, unless inject.delay_ms"),
        (["run", "engine=null", "dataset.loop_gap_s=7"], "1 unless dataset.loop_to_s"),
        (["run", "engine=null", "replay.most_repeats=9"], "10 unless replay.until=decided"),
        (["report", "nowhere"], "no run in this folder"),
        (["rechunk", "nowhere", "chunking=6word"], "no run in this folder"),
        (["rechunk", "nowhere", "engine=null"], "rechunk changes the chunking"),
    ],
)
def test_what_cannot_be_done_is_one_screen_and_exit_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("in the way", encoding="utf-8")
    two_cities = Path(__file__).parents[2] / "datasets/two_cities.jsonl"
    bare = json.loads(two_cities.read_text(encoding="utf-8").splitlines()[0])
    bare.pop("words", None)
    Path("bare.jsonl").write_text(json.dumps(bare) + "\n", encoding="utf-8")
    assert main(arguments) == 2
    complaint = capsys.readouterr().err
    assert says in complaint
    assert "Traceback" not in complaint
    assert complaint.count("\n") < 24
    assert not list(Path().rglob("summary.json"))


@pytest.mark.parametrize("group", groups())
def test_every_choice_composes_and_every_variant_can_be_chosen(group: str) -> None:
    """A schema that no file in configs/ uses could not be reached by anyone."""
    chosen = set()
    for choice in choices_of(group):
        given = MUST_BE_GIVEN.get(f"{group}={choice}", [])
        config = to_config(compose_alone([f"{group}='{choice}'", *given]))
        chosen.add(type(getattr(config, group, None)))
        for field in given:
            with pytest.raises(ConfigError, match=rf"{field.partition('=')[0]} must be given"):
                to_config(compose_alone([f"{group}='{choice}'"]))
    variants = {kind for _, kind in VARIANTS[group].loaded()} if group in VARIANTS else set()
    assert variants <= chosen


@pytest.mark.parametrize("verb", ["run", "compare", "serve", "calibrate", "capacity"])
@pytest.mark.parametrize("override", ["+foo=1", "++dataset.foo=1", "~gate"])
def test_fields_are_neither_added_nor_removed(
    verb: str, override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, override]) == 2
    assert f"neither added nor removed: '{override}'" in capsys.readouterr().err


def test_hydra_can_be_added_to() -> None:
    assert one_clip("out", "+hydra.job.env_set.HARNESS_TEST=1") == 0


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
