"""The packages of docs/examples run as they are, and use nothing private."""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from pathlib import Path

import pytest

import harness
from harness.__main__ import main

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "pocketsphinx"
MODULE = "stt_pocketsphinx"
QUICK = [
    "dataset.limit=1", "replay.repeats=1", "replay.warmup=0", "replay.pace=virtual",
    "replay.compute_scale=0", "report.plots=false",
]  # fmt: skip


def test_the_engine_is_short_and_uses_only_what_is_public() -> None:
    source = (EXAMPLE / f"{MODULE}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    lines = {
        number
        for node in classes
        for number in range(node.lineno, (node.end_lineno or 0) + 1)
        if source.splitlines()[number - 1].strip()
    }
    assert len(lines) <= 60
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "harness"
    }
    assert used
    assert used <= set(harness._PUBLIC)
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [module for module in imported if module.startswith("harness")]


def test_its_entry_point_names_engine_options() -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, options = project["entry-points"]["harness.engines"]["pocketsphinx"].partition(":")
    assert module == MODULE
    tree = ast.parse((EXAMPLE / f"{MODULE}.py").read_text(encoding="utf-8"))
    assert options in [node.name for node in tree.body if isinstance(node, ast.ClassDef)]


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["turn", "live"])
def test_pocketsphinx_is_measured(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real recogniser on real speech: its text is right, and in a live session not all late."""
    pytest.importorskip("pocketsphinx")
    monkeypatch.chdir(EXAMPLE)
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    session = ["session=live", "engine.options.live=true"] if kind == "live" else []
    factory = f"engine.factory={MODULE}:make"
    folder = tmp_path / "run"
    assert main(["run", "engine=python", factory, *session, *QUICK, f"hydra.run.dir={folder}"]) == 0
    run = harness.load_run(folder)
    (clip,) = run.clips
    assert clip.hypothesis.startswith("it was")
    assert run.summary is not None
    assert run.summary["wer"].value <= 0.25  # of 12 words; exact text depends on the processor
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    assert environment["outside"]["engine"]["name"] == f"{MODULE}:make"
    if kind == "live":  # words are shown while later ones are spoken
        (trace,) = run.traces
        assert trace.tokens[0].at_ns < trace.tokens[-1].at_ns - 1_000_000_000
