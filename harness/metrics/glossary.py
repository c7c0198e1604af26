"""The README's glossary, made from the metrics' docstrings, so that the two cannot differ.

python -m harness.metrics.glossary README.md     rewrites the table between the markers
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.metrics.registry import all_metrics

BEGIN, END = "<!-- glossary: made by python -m harness.metrics.glossary -->", "<!-- /glossary -->"

# What the definitions use; docs/guides/symbols.md has all of them.
SYMBOLS = {
    "t0": "the instant of audio time zero, as scheduled",
    "A(s)": "the instant at which the audio up to second s exists: t0 + s",
    "R": "the request instant, from which a person waits: A(end of the audio) in a turn session, "
    "A(onset of speech) in a live one",
    "t(x)": "the instant at which x happened; a definition such as *first chunk - R* means "
    "t(first chunk) - R",
}


def glossary() -> str:
    """The symbols, then a table: one row a metric, with name, unit and definition."""
    symbols = "; ".join(f"**{symbol}**: {meaning}" for symbol, meaning in SYMBOLS.items())
    rows = [f"| `{m.name}` | {m.unit} | {_cell(m.definition)} |" for m in all_metrics()]
    table = ["| metric | unit | definition |", "|---|---|---|", *rows]
    return "\n".join(
        [f"Symbols. {symbols}. More: [symbols.md](docs/guides/symbols.md).", "", *table]
    )


def with_glossary(text: str) -> str:
    """``text`` with the text between the markers made again.

    Raises:
        ValueError: the markers are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{glossary()}\n{END}{after}"


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(with_glossary(readme.read_text(encoding="utf-8")), encoding="utf-8")
