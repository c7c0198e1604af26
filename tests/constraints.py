"""Makes constraints.txt, for pip, of the exact versions in pyproject.toml.

uv run python tests/constraints.py
"""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEAD = "# Tested versions, made from pyproject.toml by tests/constraints.py: pip install . -c FILE"


def constraints_text(pyproject: str) -> str:
    """The file's text, from that of ``pyproject.toml``."""
    pins = tomllib.loads(pyproject)["tool"]["uv"]["constraint-dependencies"]
    return "\n".join([HEAD, *pins, ""])


if __name__ == "__main__":
    made = constraints_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (ROOT / "constraints.txt").write_text(made, encoding="utf-8")
