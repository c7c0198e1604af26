from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from harness.config import GateConfig
from harness.errors import ConfigError
from harness.verdicts.rules import KINDS, parse_rules
from harness.verdicts.rules.delta import Delta
from harness.verdicts.rules.every_clip import EveryClip
from harness.verdicts.rules.every_slope import EverySlope
from harness.verdicts.rules.faster import Faster
from harness.verdicts.rules.goodput import Goodput
from harness.verdicts.rules.no_worse import NoWorse
from harness.verdicts.rules.text_parity import TextParity
from harness.verdicts.rules.within import Within

ROOT = Path(__file__).parents[2]
GATES = sorted((ROOT / "configs" / "gate").glob("*.yaml"))


def parse(text):
    (rule,) = parse_rules([text])
    assert rule.text == text
    return rule


def test_a_limit():
    rule = parse("ttft_ms p95 <= 900 ms")
    assert isinstance(rule, Within)
    assert (rule.metric.name, rule.statistic, rule.low, rule.high) == ("ttft_ms", "p95", None, 900)
    assert parse("ttft_ms mean >= 1.5 ms").low == 1.5


def test_a_range():
    rule = parse("ttft_ms p50 between 50 ms and 100 ms")
    assert (rule.low, rule.high) == (50, 100)


def test_a_corpus_ratio_is_its_own_statistic():
    rule = parse("wer <= 0.08")
    assert (rule.metric.name, rule.statistic, rule.high) == ("wer", None, 0.08)


def test_a_slope_is_asked_of_every_session():
    rule = parse("lag_slope_ms_per_min <= 300 ms/min")
    assert isinstance(rule, EverySlope)
    assert (rule.metric.name, rule.high) == ("lag_slope_ms_per_min", 300)
    assert isinstance(parse("lag_slope_ms_per_min p50 <= 300 ms/min"), Within)


def test_a_comparison_has_both_floors():
    rule = parse("ttft_ms p50 vs baseline: at most +5 % and +10 ms")
    assert isinstance(rule, NoWorse)
    assert (rule.reference, rule.relative, rule.absolute) == ("baseline", 0.05, 10)


def test_a_factor_against_another_arm():
    rule = parse("ttft_ms p50 vs arm 6word: at least 3 times faster")
    assert isinstance(rule, Faster)
    assert (rule.reference, rule.times) == ("6word", 3)


def test_accuracy_and_text():
    rule = parse("wer_delta <= 0.005")
    assert isinstance(rule, Delta)
    assert (rule.reference, rule.high) == ("baseline", 0.005)
    assert parse("cer_delta <= 0.1 vs arm b").reference == "b"
    assert isinstance(parse("text parity"), TextParity)
    assert parse("text parity vs arm 6word").reference == "6word"


def test_memory():
    rule = parse("memory_mib <= 1500 MiB")
    assert (rule.figure, rule.unit, rule.high) == ("memory_mib", "MiB", 1500)
    assert parse("memory_slope_mib_per_min <= 0.5 MiB/min").high == 0.5
    assert parse("gpu_memory_mib <= 24000 MiB").figure == "gpu_memory_mib"
    with pytest.raises(ConfigError, match="the unit of gpu_memory_mib"):
        parse("gpu_memory_mib <= 24 GiB")


def test_goodput_is_of_each_session_s_own_figures():
    rule = parse("goodput >= 0.95 of ttft_ms between 1 ms and 900 ms and gap_ms p95 <= 300 ms")
    assert isinstance(rule, Goodput)
    assert rule.least == 0.95
    seen = [(o.metric.name, o.statistic, o.low, o.high) for o in rule.objectives]
    assert seen == [("ttft_ms", None, 1, 900), ("gap_ms", "p95", None, 300)]


def test_facts_of_every_clip():
    assert parse("failed = 0") == EveryClip(text="failed = 0", fact="failed")
    assert parse("chunks >= 2").least == 2
    assert parse("first text before end of audio").fact == "first_text"


def test_spaces_do_not_matter():
    assert parse("wer<=0.08").high == 0.08
    assert parse("ttft_ms p50 vs baseline : at most +5% and +10 ms").relative == 0.05


def test_an_arm_that_is_called_by_a_field_can_be_named():
    assert parse("wer_delta<=0.1  vs  arm  pad_s=0").reference == "pad_s=0"
    rule = parse("ttft_ms p50 vs arm 1word-threads=2: at least 3 times faster")
    assert rule.reference == "1word-threads=2"


@pytest.mark.parametrize(
    ("text", "at", "allowed"),
    [
        ("ttft_ms p95 <= 900 s", "'s'", "ms, the unit of ttft_ms"),
        ("ttft_ms p95 <= 900 parsecs", "'parsecs'", "ms, the unit of ttft_ms"),
        ("ttft_ms p95 <= 900", "ends too early", "ms, the unit of ttft_ms"),
        ("ttft_ms p95 <= 0.9s", "'0.9s'", "a number"),
        ("ttft_ms q95 <= 9 ms", "'q95'", "p50, p95, p99"),
        ("ttft_ms p0 <= 9 ms", "'p0'", "p50"),
        ("ttft_ms p100 <= 9 ms", "'p100'", "p50"),
        ("ttft_ms p95 < 9 ms", "'<'", "<=, >=, between"),
        ("ttft_ms p95 <= nan ms", "'nan'", "a number"),
        ("ttft_ms p95 <= 9 ms always", "'always'", "nothing more"),
        ("ttft_ms p50 between 9 ms and 8 ms", "'ms'", "the larger quantity last"),
        ("ttft_ms p50 vs baseline: at most +5 %", "ends too early", "and"),
        ("ttft_ms p50 vs baseline: at most 5 % and 10 ms", "'5'", "with its sign"),
        ("ttft_ms p50 vs baseline: at least 0 times faster", "'0'", "above 0"),
        ("wer p50 <= 1", "'p50'", "<=, >="),
        ("wer <= 8 %", "'%'", "nothing more"),
        ("failed = 1", "'1'", "0"),
        ("chunks >= 1.5", "'1.5'", "whole number"),
        ("wer_delta <= 1 vs arm", "ends too early", "name of an arm"),
        ("match_rate mean vs arm b: at least 2 times faster", "'least'", "no latency"),
        ("split_words mean vs arm b: at least 2 times faster", "'least'", "no latency"),
        ("goodput >= 1 of ttft_ms <= 9 ms", "'1'", "a share below 1"),
        ("goodput >= 95 %", "'95'", "a share below 1"),
        ("goodput >= 0.9 ttft_ms <= 9 ms", "'ttft_ms'", "of"),
        ("goodput >= 0.9 of wer <= 0.1", "'wer'", "ttft_ms"),
        ("goodput >= 0.9 of ttft_ms p95 <= 9 ms", "'p95'", "<=, >=, between"),
        ("goodput >= 0.9 of gap_ms <= 9 ms", "'<='", "p50, p95, p99"),
        ("goodput >= 0.9 of ttft_ms <= 9 ms and", "ends too early", "ttft_ms"),
        ("", "ends too early", "ttft_ms"),
    ],
)
def test_a_rule_that_is_none_is_refused_by_word(text, at, allowed):
    with pytest.raises(ConfigError) as refused:
        parse_rules([text])
    assert repr(text) in refused.value.what
    assert at in refused.value.what
    assert allowed in refused.value.allowed
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("tfft_ms p95 <= 9 ms", "ttft_ms"),
        ("ttft p95 <= 9 ms", "ttft_ms"),
        ("wer_dleta <= 1", "wer_delta"),
        ("ttft_ms p50 vs basline: at most +5 % and +10 ms", "baseline"),
    ],
)
def test_a_misspelt_word_is_guessed(text, meant):
    with pytest.raises(ConfigError, match=f"did you mean {meant}"):
        raise_with_hint(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("ttft_ms p95 =< 9 ms", "<="),
        ("ttft_ms p95 => 9 ms", ">="),
        ("ttft_ms p95 > 9 ms", ">="),
        ("wer =< 0.1", "<="),
        ("wer_delta =< 0.1", "<="),
        ("lag_slope_ms_per_min =< 300 ms/min", "<="),
        ("chunks => 2", ">="),
    ],
)
def test_an_operator_the_other_way_round_is_guessed_in_its_direction(text, meant):
    with pytest.raises(ConfigError, match=f"did you mean {meant}"):
        raise_with_hint(text)


@pytest.mark.parametrize("text", ["chunks =< 2", "wer == 0.1", "wer_delta => 0.1"])
def test_an_operator_that_is_not_allowed_there_is_not_guessed(text):
    with pytest.raises(ConfigError) as refused:
        parse_rules([text])
    assert "did you mean" not in refused.value.hint


def raise_with_hint(text):
    try:
        parse_rules([text])
    except ConfigError as error:
        raise ConfigError(str(error)) from error


@pytest.mark.parametrize("path", GATES, ids=lambda path: path.stem)
def test_every_shipped_gate_parses(path):
    gate = GateConfig(**yaml.safe_load(path.read_text(encoding="utf-8")))
    assert gate.name == path.stem
    assert bool(parse_rules(gate.rules)) == (path.stem != "none")


# --- the kinds ------------------------------------------------------------------------------------


def test_each_kind_is_one_class_with_its_grammar():
    for name, kind in KINDS.items():
        assert kind.__module__ == f"harness.verdicts.rules.{name}"
        assert kind.forms
    openings = [opening for kind in KINDS.values() for opening in kind.openings]
    assert len(openings) == len(set(openings))


def test_every_form_of_every_kind_is_in_the_methodology():
    grammar = (ROOT / "docs" / "methodology.md").read_text(encoding="utf-8").split("```")[1]
    documented = {re.split(r"\s{2,}", line)[0] for line in grammar.splitlines() if line}
    forms = {form for kind in KINDS.values() for form in kind.forms}
    symbols = {"STATISTIC", "QUANTITY", "RATIO", "MEMORY", "REFERENCE", "OBJECTIVE"}
    assert documented == forms | symbols


def test_the_example_gate_has_a_rule_of_every_kind():
    text = (ROOT / "configs" / "gate" / "example.yaml").read_text(encoding="utf-8")
    shown = yaml.safe_load(re.sub(r"^(\s*)# (- .*)$", r"\1\2", text, flags=re.MULTILINE))
    assert {rule.kind for rule in parse_rules(shown["rules"])} == set(KINDS)
