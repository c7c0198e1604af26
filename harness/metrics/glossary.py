"""The README's glossary, made from the metrics' docstrings, so that the two cannot differ.

python -m harness.metrics.glossary README.md     rewrites the table between the markers
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.metrics.registry import all_metrics

BEGIN, END = "<!-- glossary: made by python -m harness.metrics.glossary -->", "<!-- /glossary -->"


def table() -> str:
    """One row a metric: name, unit, definition."""
    rows = [f"| `{m.name}` | {m.unit} | {_cell(m.definition)} |" for m in all_metrics()]
    return "\n".join(["| metric | unit | definition |", "|---|---|---|", *rows])


def with_glossary(text: str) -> str:
    """``text`` with the table between the markers made anew.

    Raises:
        ValueError: the markers are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(with_glossary(readme.read_text(encoding="utf-8")), encoding="utf-8")
