"""What earlier calls have finished on this machine: ``second`` leaves it out."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

from tests.gpu.session.results import Line, Options

ROOT = Path(__file__).parents[3]


class Earlier:
    """Arms that ended well, with their figures, of the same code and the same options.

    The file lies in the machine's folder for temporary files: it is gone when the machine is.
    """

    def __init__(self, options: Options) -> None:
        name = f"stt-gpu-session-{os.getuid()}.json"
        self._path = Path(tempfile.gettempdir()) / name
        self._key = _key(options)
        self._asks = options.mode == "second" and not options.only
        self._figures: dict[str, Line] = {}
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(kept, dict) and kept.get("key") == self._key:
            self._figures = kept["arms"]

    def figures_of(self, arm: str) -> Line | None:
        """None: the arm is to be run."""
        return self._figures.get(arm) if self._asks else None

    def add(self, arm: str, lines: list[Line]) -> None:
        """Args: lines: of the session so far."""
        figures: Line = {}
        for line in lines:
            if line["arm"] == arm and line["kind"] == "begin":
                figures = {}
            elif line["arm"] == arm and line["kind"] == "figure":
                figures |= {
                    name: line[name] for name in line if name not in ("arm", "kind", "at_s")
                }
        self._figures[arm] = figures
        text = json.dumps({"key": self._key, "arms": self._figures})
        self._path.write_text(text, encoding="utf-8")


def _key(options: Options) -> str:
    """The same for the same source files and options."""
    asked = (options.device, options.tiny, options.seconds, options.repeats)
    digest = hashlib.sha256(repr(asked).encode())
    for folder in ("harness", "tests/gpu"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
