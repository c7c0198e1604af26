"""Import direction is a rule of the house, and so is who may import what is heavy."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "harness"

# Rooms by floor; a room may import from its own floor and from those below. New rooms go here.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "clock", "audio", "events", "config", "foreign_text", "keys"),
    ("dataset", "datasets_manifest", "datasets_hub", "chunking", "environment", "metrics"),
    ("decoding", "weights", "alignment", "alignment_ctc", "telemetry", "host", "engines"),
    ("replay", "recorder", "runs", "verdicts", "report", "summaries"),
    ("experiment", "arm", "shards", "serve"),
    ("cli",),
    ("__main__", "pytest_plugin"),  # a plugin starts the harness as a command does
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> list[Path]:
    return sorted(HOUSE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


@functools.cache
def imports(path: Path) -> list[str]:
    """Every imported module; those under TYPE_CHECKING too: an arrow is an arrow."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names += (f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_no_room_imports_from_a_higher_floor(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    assert room in FLOOR_OF, f"{room} has no floor: add it to FLOORS"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "harness" and len(parts) > 1 and parts[1] in FLOOR_OF:
            assert FLOOR_OF[parts[1]] <= FLOOR_OF[room], f"{room} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_only_the_command_line_knows_hydra(path: Path) -> None:
    if room_of(path) == "cli":
        return
    heavy = {name for name in imports(path) if name.split(".")[0] in ("hydra", "omegaconf")}
    assert not heavy


@pytest.mark.e2e
def test_a_report_is_made_without_torch_transformers_or_hydra() -> None:
    code = (
        "import sys, harness.cli.offline, harness.cli.judging\n"
        "print(sorted({'torch', 'transformers', 'hydra', 'omegaconf'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
