"""The guides run as they are written: every Python block and every command, in order.

A block after ``<!-- not run: reason -->`` is not run; its commands must still name a verb and
choices that compose. A block whose first line is ``# NAME.EXT`` is saved as that file. Commands
run in virtual time on a few clips, with the scripted engine unless they choose another.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
import soundfile

from harness.__main__ import main
from harness.cli import VERBS
from harness.cli.compose import compose_alone, to_config
from harness.datasets import ManifestDataset
from harness.datasets.load import load_dataset

DOCS = Path(__file__).parent.parent / "docs"
GUIDES = sorted((DOCS / "guides").glob("*.md"))
BLOCK = re.compile(r"(<!-- not run: [^\n]+ -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
QUICK = [
    "replay.pace=virtual", "replay.compute_scale=0", "replay.repeats=1", "replay.warmup=0",
    "dataset.limit=2", "report.plots=false",
]  # fmt: skip

pytest_plugins = ["pytester"]


class Block(NamedTuple):
    skipped: bool
    language: str
    text: str

    @property
    def file(self) -> str:
        """The name of the file that it is; empty: none."""
        match = re.match(r"# ([\w./-]+\.\w+)\n", self.text)
        return match[1] if match else ""

    def commands(self) -> list[list[str]]:
        """Arguments of every `python -m harness`."""
        lines = self.text.splitlines() if self.language == "bash" else []
        return [
            shlex.split(line.partition("python -m harness ")[2], comments=True)
            for line in lines
            if "python -m harness " in line
        ]


def blocks(guide: Path) -> list[Block]:
    text = guide.read_text(encoding="utf-8")
    return [Block(bool(skip), *rest) for skip, *rest in BLOCK.findall(text)]


def quick(command: list[str]) -> list[str]:
    """The command as it is measured here: in a moment, without a model."""
    verb, *given = command
    if verb not in ("run", "compare"):
        return command
    settled = [name.partition("=")[0] for name in given]
    engine = [] if "engine" in settled else ["engine=scripted"]
    streams = ["replay.repeats=2"] if "replay.streams" in settled else []
    return [verb, *engine, *QUICK, *streams, *given]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the clips and configs that the guides speak of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (clip,) = load_dataset(ManifestDataset(limit=1)).clips
    (tmp_path / "my_clips").mkdir()
    soundfile.write(tmp_path / "my_clips" / "a.wav", clip.samples, 16_000)
    (tmp_path / "my_clips" / "a.txt").write_text(clip.text, encoding="utf-8")
    shutil.copytree(DOCS / "examples" / "configs", tmp_path / "stt_configs")
    return tmp_path


@pytest.mark.e2e
@pytest.mark.usefixtures("undrawn_plots")
@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_runs_as_it_is_written(
    guide: Path, folder: Path, pytester: pytest.Pytester
) -> None:
    monkeypatch = pytester._monkeypatch
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"__name__": "__main__"}
    tests = []
    for block in blocks(guide):
        if block.skipped:
            continue
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if block.file.startswith("test_"):
            tests.append(folder / block.file)
        elif block.language == "python" and block.file:
            monkeypatch.delitem(sys.modules, Path(block.file).stem, raising=False)
            import_module(Path(block.file).stem)
        elif block.language == "python":
            exec(compile(block.text, guide.name, "exec"), names)  # noqa: S102
        for command in block.commands():
            code = main(quick(command))
            judged = any("gate" in argument for argument in command)  # two clips decide little
            assert code in ((0, 3, 4) if judged else (0,)), command
    for block in blocks(guide):
        sys.modules.pop(Path(block.file).stem, None)
    for test in tests:
        done = pytester.runpytest_inprocess(
            str(test), f"--rootdir={folder}", "--disable-plugin-autoload",
            "-p", "harness.pytest_plugin", "-p", "no:cacheprovider",
        )  # fmt: skip
        done.assert_outcomes(passed=test.read_text(encoding="utf-8").count("def test_"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_what_is_not_run_names_a_verb_and_configs_that_compose(guide: Path) -> None:
    skipped = [c for block in blocks(guide) if block.skipped for c in block.commands()]
    for verb, *arguments in skipped:
        assert verb in VERBS
        if verb in ("run", "compare", "serve"):
            to_config(compose_alone([a for a in arguments if not a.startswith("hydra.")]))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_local_links_lead_somewhere(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not link.startswith("http"):
            assert (guide.parent / link).exists(), link


def test_every_guide_is_linked_from_the_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert [guide.name for guide in GUIDES if f"docs/guides/{guide.name}" not in readme] == []
