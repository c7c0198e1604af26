from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from harness.export.github import markdown, workflow_commands
from harness.export.junit import junit_xml
from harness.runs.records import RuleVerdict, Verdict

VERDICTS = {
    "1word": Verdict(
        status="fail",
        gate="ci",
        baseline="main",
        allowed=("python",),
        rules=(
            RuleVerdict(rule="failed = 0", status="pass", why="0 of 33 sessions failed"),
            RuleVerdict(rule="ttft_ms p50 <= 9 ms", status="fail", why="it is 12 ms", next="look"),
            RuleVerdict(rule="wer <= 0.1", status="inconclusive", why="too few", next="add 3"),
            RuleVerdict(rule="text parity", status="none", why="the reference itself"),
            RuleVerdict(
                rule="chunks >= 2", status="invalid", why="'a|b\x00<b>`\n100 %', late: driver"
            ),
        ),
    )
}


def parsed():
    return ET.fromstring(junit_xml(VERDICTS))  # noqa: S314 our own text


def test_junit_has_a_case_for_every_rule():
    suite = parsed().find("testsuite")
    assert suite.attrib == {
        "name": "1word", "tests": "5", "failures": "1", "errors": "2", "skipped": "1", "time": "0",
    }  # fmt: skip
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [r.rule for r in VERDICTS["1word"].rules]
    assert {case.get("classname") for case in cases} == {"gate.ci.1word"}
    assert [case[0].tag for case in cases] == ["system-out", "failure", "error", "skipped", "error"]
    failure = cases[1][0]
    assert failure.text == failure.get("message") == "FAIL: it is 12 ms. Next: look"


def test_junit_survives_what_transcripts_hold():
    assert "a|b?<b>" in parsed().findall(".//error")[1].text


def test_markdown_is_one_table_an_arm():
    text = markdown(VERDICTS)
    lines = text.splitlines()
    assert lines[0] == "### FAIL: 1word, gate ci against baseline main"
    assert "Compared although these differ: python." in lines
    assert r"| <code>ttft\_ms p50 &lt;= 9 ms</code> | FAIL | it is 12 ms | look |" in lines
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 1 + 5
    assert all(row.replace("\\|", "").count("|") == 5 for row in rows)


def test_markdown_takes_nothing_of_foreign_text_for_its_own():
    text = "![p](https://evil.example/x.png) @octocat [click](https://evil.example)"
    rule = RuleVerdict(rule=text, status="fail", why=text, next=text)
    verdict = Verdict(status="fail", gate=text, baseline=text, allowed=(text,), rules=(rule,))
    shown = markdown({text: verdict})
    assert shown.count("octocat") == shown.count("@<!-- -->octocat") == 7
    assert not re.search(r"(?<!\\)[\[\]!]", shown.replace("<!-- -->", ""))


def test_annotations_name_what_is_wrong_only():
    fail, inconclusive, invalid = workflow_commands(VERDICTS)
    assert fail == "::error title=1word%3A ttft_ms p50 <= 9 ms::FAIL: it is 12 ms. Next: look"
    assert inconclusive.startswith("::warning title=1word%3A wer <= 0.1::INCONCLUSIVE")
    assert "%0A100 %25" in invalid
    assert "\n" not in invalid
