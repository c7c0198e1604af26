"""A field that holds text takes the characters that were typed, wherever they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import MISSING

from harness.cli import own_configs
from harness.cli.compose import as_override, compose_alone, text_fields_of_all, to_config
from harness.cli.sweeping import Sweep
from harness.cli.typed_text import Text, as_typed, field_of, load_yaml, text_fields, unquoted
from harness.config import Config
from harness.engines.remote.options import RealtimeOptions

ODD = ["1_1", "2026_01", "1.10", "1e3", "true", "NULL", "0x1F", "1_000.5", "inf", "nan", ".5", "01",
       "-1", "a:b", "it's", "C:\\x", "a b", "[x]", "é", "no", "~", "$x"]  # fmt: skip


def config(*overrides: str) -> Config:
    return to_config(compose_alone(list(overrides)))


@pytest.mark.parametrize("typed", ODD)
def test_a_text_is_what_was_typed(typed: str) -> None:
    parser = OverridesParser.create()
    read = parser.parse_override(as_override(f"dataset.name={typed}")).value()
    assert getattr(read, "text", read) == typed
    listed = parser.parse_override(as_override(f"dataset.clips=[{typed}, b]")).value()
    assert [getattr(one, "text", one) for one in listed] == [typed, "b"]


def test_fields_of_every_kind_of_text_at_once() -> None:
    url, rule = "ws://[::1]:8000/v1", "ttft_ms p50 vs baseline: at most +5 % and +10 ms"
    made = config(
        "engine=realtime", "model=none", "engine.model=null", f"engine.url={url}", "seed=1_1",
        "dataset.clips=[1_1,1e3,'2_2',true]", "dataset.name=C:\\", "replay.frame_ms=1e1",
        f"gate.rules=[{rule}]", "gate.baseline='null'", "gate.arm=null", "gate.allow=[]",
    )  # fmt: skip
    assert (made.engine.model, made.engine.url) == ("null", url)
    assert (made.dataset.clips, made.dataset.name) == (["1_1", "1e3", "2_2", "true"], "C:\\")
    assert (made.gate.rules, made.gate.baseline, made.gate.arm) == ([rule], "null", None)
    assert (made.seed, made.replay.frame_ms, made.gate.allow) == (11, 10, [])  # numbers stay


@pytest.mark.parametrize(("typed", "revision"), [("1e3", "1e3"), ("null", None)])
def test_a_revision_may_look_like_a_number(typed: str, revision: str | None) -> None:
    assert config(f"model.revision={typed}").model.revision == revision


def test_several_values_stay_several() -> None:
    sweep = Sweep(["dataset.name=1_1,a/b,'c,d'", "dataset.clips=choice([1_1],[1e3])"])
    assert [arm.overrides for arm in sweep.arms][:3] == [
        ["dataset.name='1_1'", "dataset.clips=['1_1']"],
        ["dataset.name='1_1'", "dataset.clips=['1e3']"],
        ["dataset.name=a/b", "dataset.clips=['1_1']"],
    ]
    assert [arm.name for arm in sweep.arms][4] == "name=c_d-clips=_1_1"
    assert len(Sweep(["chunking=glob(*word)"]).arms) == 4


@pytest.mark.parametrize("override", ["chunking=6word", "dataset.clips=[a, 'b c']", "seed=3"])
def test_what_needs_no_quotes_gets_none(override: str) -> None:
    assert as_override(override) == override


@given(st.text(st.characters(min_codepoint=32, exclude_characters="\x7f$"), min_size=1))
def test_typed_twice_is_typed_once(text: str) -> None:
    once = as_typed(text, Text())
    assert as_typed(once, Text()) == once


@given(st.text("ab1_.,'\"\\[](){}:= ", max_size=12))
def test_hydra_reads_any_quoted_text_back(text: str) -> None:
    quoted = as_typed("'" + text.replace("\\", "").replace("'", "\\'") + "'", Text())
    read = OverridesParser.create().parse_override(f"dataset.name={quoted}").value()
    assert getattr(read, "text", read) == text.replace("\\", "")
    assert unquoted(quoted) == text.replace("\\", "")


OWN = """\
name: 1.10
clips: [1_1, 1e3, true]
manifest: 2026_01
limit: 1_1
defaults:
  - /schema/dataset@_here_: manifest
"""


def test_a_file_of_ones_own_is_read_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset/2024_01.yaml").write_text(OWN, encoding="utf-8")
    with own_configs.taken_from(["--config-dir", str(tmp_path), "dataset=2024_01"]) as argv:
        dataset = to_config(compose_alone(argv)).dataset
    assert dataset.name == "1.10"
    assert dataset.clips == ["1_1", "1e3", "true"]
    assert dataset.manifest == "2026_01"
    assert dataset.limit == 11  # a number is read as one


def test_a_file_for_the_root_is_too(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    content = "# @package _global_\ngate:\n  baseline: 2026_01\n  arm: null\nseed: 7\n"
    (tmp_path / "experiment/mine.yaml").write_text(content, encoding="utf-8")
    with own_configs.taken_from(["--config-dir", str(tmp_path), "experiment=mine"]) as argv:
        made = to_config(compose_alone(argv))
    assert (made.gate.baseline, made.gate.arm, made.seed) == ("2026_01", None, 7)


def test_which_fields_hold_text_is_known_from_the_classes() -> None:
    known = text_fields_of_all()
    assert known["dataset.clips"] == Text(many=True)
    assert known["gate.baseline"] == Text(optional=True)
    assert known["engine.model"] == known["hydra.run.dir"] == Text()
    assert known["objective"] == Text(optional=True)
    assert "replay.repeats" not in known
    assert field_of("gate.rules.0", known) == Text()
    assert field_of("hydra.job.env_set.NAME", known) == Text()


def test_a_name_that_is_no_text_everywhere_is_left_to_hydra() -> None:
    class Odd:
        __annotations__ = {"url": int}

    both = text_fields([("engine", RealtimeOptions), ("engine", Odd)])
    assert "engine.url" not in both
    assert "engine.model" in both
    assert as_typed(MISSING, Text()) == MISSING


def test_yaml_texts_only_where_texts_are_wanted() -> None:
    known = {"a": Text(), "b": Text(many=True), "m": Text(by_name=True), "o": Text(optional=True)}
    text = "a: null\nb: [1_1, x]\nm: {k: 1e3}\no: null\nn: 1_1\n'q': '2'\n"
    assert load_yaml(text, yaml.SafeLoader, "", known) == {
        "a": "null", "b": ["1_1", "x"], "m": {"k": "1e3"}, "o": None, "n": 11, "q": "2",
    }  # fmt: skip
    assert load_yaml("", yaml.SafeLoader, "", known) is None
