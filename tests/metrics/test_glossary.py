"""The glossary defines every symbol that its definitions use."""

from __future__ import annotations

import re
from pathlib import Path

from harness.metrics.glossary import SYMBOLS, glossary
from harness.metrics.registry import all_metrics

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "symbols.md"
USED = {"t0": r"\bt0\b", "A(s)": r"\bA\(", "R": r"(?<![\w`])R(?![\w`])", "t(x)": r"\bt\("}


def test_every_symbol_that_definitions_use_is_defined_before_them() -> None:
    definitions = " ".join(metric.definition for metric in all_metrics())
    used = {symbol for symbol, pattern in USED.items() if re.search(pattern, definitions)}
    assert used <= set(SYMBOLS)
    before, _, table = glossary().partition("\n\n")
    assert all(f"**{symbol}**" in before for symbol in SYMBOLS)
    assert table.count("\n") == len(all_metrics()) + 1
    capitals = set(re.findall(r"(?<![\w.`'-])([A-Z])(?![\w`'])", definitions))
    assert capitals <= {"R", "A"}, "a symbol that the glossary does not define"


def test_the_guide_has_the_same_symbols() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert all(f"| {symbol} |" in text for symbol in SYMBOLS)
