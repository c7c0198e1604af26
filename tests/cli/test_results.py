from __future__ import annotations

import pytest

from harness.cli.results import print_verdicts
from harness.runs.records import RuleVerdict, Verdict

FOREIGN = "\x1b[2J\x1b]0;pwned [red]a[/red] [x]"
SHOWN = "␛[2J␛]0;pwned [red]a[/red] [x]"


def test_what_others_wrote_is_printed_as_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    rule = RuleVerdict(rule=f"failed = 0 {FOREIGN}", status="fail", why=FOREIGN, next=FOREIGN)
    verdict = Verdict(status="fail", gate=FOREIGN, baseline=FOREIGN, rules=(rule,))
    print_verdicts({FOREIGN: verdict})
    head, asked, why = capsys.readouterr().out.strip().splitlines()
    assert head == f"{SHOWN}: FAIL by gate {SHOWN}, against {SHOWN}"
    assert asked.rstrip() == f"  FAIL         failed = 0 {SHOWN}"
    assert why.strip() == f"{SHOWN}. Next: {SHOWN}"
