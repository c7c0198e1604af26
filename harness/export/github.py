"""GitHub: annotations of a workflow, and Markdown for a job's summary or a pull request."""

from __future__ import annotations

from collections.abc import Mapping

from harness.export.junit import sentence
from harness.runs.records import Verdict
from harness.text import escape_markdown


def markdown(verdicts: Mapping[str, Verdict]) -> str:
    """For a job summary or a comment on a pull request; names and texts in it as text."""
    lines: list[str] = []
    for arm, verdict in verdicts.items():
        against = (
            f" against baseline {escape_markdown(verdict.baseline)}" if verdict.baseline else ""
        )
        by = f"gate {escape_markdown(verdict.gate)}{against}"
        lines += [f"### {verdict.status.upper()}: {escape_markdown(arm)}, {by}", ""]
        if verdict.allowed:
            differ = escape_markdown(", ".join(verdict.allowed))
            lines += [f"Compared although these differ: {differ}.", ""]
        if verdict.rules:
            lines += ["| rule | verdict | why | next |", "|---|---|---|---|"]
            lines += [
                f"| <code>{rule}</code> | {status} | {why} | {then} |"
                for rule, status, why, then in (
                    map(escape_markdown, (r.rule, r.status.upper(), r.why, r.next))
                    for r in verdict.rules
                )
            ]
            lines.append("")
    return "\n".join(lines)


def workflow_commands(verdicts: Mapping[str, Verdict]) -> list[str]:
    """Workflow commands, to be printed when ``GITHUB_ACTIONS`` is set; nothing for what passed."""
    lines = []
    for arm, verdict in verdicts.items():
        for rule in verdict.rules:
            if rule.status in ("fail", "inconclusive", "invalid"):
                kind = "error" if rule.status == "fail" else "warning"
                title = _command(f"{arm}: {rule.rule}").replace(":", "%3A").replace(",", "%2C")
                lines.append(f"::{kind} title={title}::{_command(sentence(rule))}")
    return lines


def _command(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
