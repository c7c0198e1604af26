"""``junit.xml``: one test case a rule, for CI systems.

JUnit as pytest writes it (`xunit2`), which GitHub's reporters, GitLab and Jenkins read; GitLab
shows an element's text and not its ``message``, so both carry the sentence. A rule that was not
kept is a ``failure``; one that could not be decided is an ``error``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from harness.runs.records import RuleVerdict, Verdict

_ELEMENTS = {"fail": "failure", "inconclusive": "error", "invalid": "error", "none": "skipped"}
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(verdicts: Mapping[str, Verdict]) -> str:
    """One suite an arm, one test case a rule.

    Args:
        verdicts: by the arm's name.
    """
    root = ET.Element("testsuites", name="streaming-stt-harness")
    for arm, verdict in verdicts.items():
        elements = [_ELEMENTS.get(rule.status, "") for rule in verdict.rules]
        suite = ET.SubElement(
            root, "testsuite", name=_xml(arm), tests=str(len(elements)), time="0",
            failures=str(elements.count("failure")), errors=str(elements.count("error")),
            skipped=str(elements.count("skipped")),
        )  # fmt: skip
        for rule, element in zip(verdict.rules, elements, strict=True):
            case = ET.SubElement(
                suite, "testcase", name=_xml(rule.rule), time="0",
                classname=_xml(f"gate.{verdict.gate}.{arm}"),
            )  # fmt: skip
            if element:
                said = _xml(sentence(rule))
                about = {"message": said}
                if element != "skipped":
                    about["type"] = rule.status
                ET.SubElement(case, element, about).text = said
            else:
                ET.SubElement(case, "system-out").text = _xml(rule.why)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text.decode() + "\n"


def _xml(text: str) -> str:
    """Without the control characters that XML cannot hold: transcripts are quoted in rules."""
    return _NOT_XML.sub("?", text)


def sentence(rule: RuleVerdict) -> str:
    return f"{rule.status.upper()}: {rule.why}" + (f". Next: {rule.next}" if rule.next else "")
