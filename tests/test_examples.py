"""The packages of docs/examples run as they are, and use nothing private."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from websockets.asyncio.server import ServerConnection

import harness
from harness.__main__ import main
from tests.engines.fake_vllm import running

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
ENGINES = {"pocketsphinx": "stt_pocketsphinx", "faster_whisper": "stt_faster_whisper"}
PACKAGES = [*ENGINES, "variants"]
MODULES = sorted(path for name in PACKAGES for path in (EXAMPLES / name).glob("*.py"))
CONFIGS = sorted((EXAMPLES / "variants" / "configs").rglob("*.yaml"))
QUICK = [
    "dataset.limit=1", "replay.repeats=1", "replay.warmup=0", "replay.pace=virtual",
    "replay.compute_scale=0", "report.plots=false",
]  # fmt: skip
KEY = "a-key-of-twenty-letters"


def project(package: str) -> dict[str, Any]:
    return tomllib.loads((EXAMPLES / package / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_variant_is_short_and_uses_only_what_is_public(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
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
    assert used <= {*harness._PUBLIC, "metric_function"}
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [module for module in imported if module.startswith("harness")]


@pytest.mark.parametrize("package", PACKAGES)
def test_entry_points_name_what_is_there(package: str) -> None:
    for points in project(package)["entry-points"].values():
        for target in points.values():
            module, _, attribute = target.partition(":")
            tree = ast.parse((EXAMPLES / package / f"{module}.py").read_text(encoding="utf-8"))
            named = [n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
            assert attribute in named


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("engine", "kind"),
    [("pocketsphinx", "turn"), ("pocketsphinx", "live"), ("faster_whisper", "turn")],
)
def test_a_recogniser_is_measured(
    engine: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real recogniser on real speech: its text is right, and in a live session not all late."""
    pytest.importorskip(engine)
    module = ENGINES[engine]
    monkeypatch.chdir(EXAMPLES / engine)
    monkeypatch.syspath_prepend(EXAMPLES / engine)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, module, raising=False)
    session = ["session=live", "engine.options.live=true"] if kind == "live" else []
    factory = f"engine.factory={module}:make"
    folder = tmp_path / "run"
    assert main(["run", "engine=python", factory, *session, *QUICK, f"hydra.run.dir={folder}"]) == 0
    run = harness.load_run(folder)
    (clip,) = run.clips
    assert clip.hypothesis.strip().lower().startswith("it was")
    assert run.summary is not None
    assert run.summary["wer"].value <= 0.25  # of 12 words; exact text depends on the processor
    assert run.environment.outside["engine"]["name"] == f"{module}:make"
    if kind == "live":  # words are shown while later ones are spoken
        (trace,) = run.traces
        assert trace.tokens[0].at_ns < trace.tokens[-1].at_ns - 1_000_000_000


# --- a chunking strategy, a metric and a protocol: one file and one YAML each ---------------------


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder on the path with the package `variants` in it, as pip leaves it."""
    site = tmp_path / "site"
    facts = project("variants")
    info = site / f"stt_harness_variants-{facts['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {facts['name']}\nVersion: {facts['version']}\n"
    )
    groups = facts["entry-points"].items()
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
            for group, points in groups
        )
    )
    for path in (EXAMPLES / "variants").glob("*.py"):
        (site / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return site


def run_installed(site: Path, *arguments: str) -> Path:
    """``run`` with the package's configs, from an empty folder; returns the run's folder."""
    own = ["--config-dir", str(EXAMPLES / "variants" / "configs")]
    paths = os.pathsep.join([str(site), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", *own, "hydra.run.dir=run", *QUICK, *arguments],
        cwd=site.parent, env=os.environ | {"PYTHONPATH": paths, "PCM_KEY": KEY},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode in (0, 4), done.stdout + done.stderr
    return site.parent / "run"


@pytest.mark.e2e
def test_a_chunking_strategy_is_one_file_and_one_yaml(installed: Path) -> None:
    run = harness.load_run(run_installed(installed, "engine=scripted", "chunking=short_clause"))
    assert run.environment.arm.chunking == "clause_most_words=4"
    assert run.environment.outside["chunking"] == {
        "name": "clause", "package": "stt-harness-variants", "version": "0.1.0",
        "options": {"most_words": 4},
    }  # fmt: skip
    (trace,) = run.traces
    chunks = [chunk.text for chunk in trace.chunks]
    assert "".join(chunks) == trace.text
    assert max(len(chunk.split()) for chunk in chunks) <= 4
    assert all(len(c.split()) == 4 or c.rstrip()[-1] in ",;:.?!" for c in chunks[:-1])


@pytest.mark.e2e
def test_a_metric_with_its_gate_is_one_file_and_one_yaml(installed: Path) -> None:
    run = harness.load_run(run_installed(installed, "engine=scripted", "gate=few_messages"))
    (trace,) = run.traces
    assert run.summary is not None
    (_, rule) = run.summary.verdict.rules
    assert rule.rule == "chunks_per_s p50 <= 5 1/s"
    expected = sum(bool(c.text.strip()) for c in trace.chunks) / trace.session.duration_s
    assert rule.observed == pytest.approx(expected)


async def answer(link: ServerConnection) -> None:
    """A server of the protocol: says how many bytes of audio it heard."""
    assert link.request is not None
    assert link.request.headers["X-Key"] == KEY
    heard = 0
    async for frame in link:
        assert isinstance(frame, bytes)
        heard += len(frame)
        if not frame:
            break
    await link.send(json.dumps({"text": f"{heard} bytes", "final": False}))
    await link.send(json.dumps({"text": f"{heard} bytes", "final": True}))


@pytest.mark.e2e
def test_a_protocol_is_one_file_and_one_yaml(installed: Path) -> None:
    with running(answer) as url:
        folder = run_installed(
            installed, "engine=pcm_server", f"engine.url={url}", "engine.api_key_env=PCM_KEY",
            "replay.pace=flood", "replay.compute_scale=1",
        )  # fmt: skip
    run = harness.load_run(folder)
    (trace,) = run.traces
    assert not trace.failed, trace.outcome
    assert trace.text == f"{2 * round(trace.session.duration_s * 16_000)} bytes"
    assert run.environment.outside["protocol"]["package"] == "stt-harness-variants"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_config_of_the_package_is_tried_here(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))
    source = Path(__file__).read_text(encoding="utf-8")
    assert f"{path.parent.name}={path.stem}" in source
