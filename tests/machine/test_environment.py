"""What a run is bound to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.machine import environment
from harness.machine.environment import describe_machine, own_revision

HERE = Path(__file__).parents[2]


def test_the_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert describe_machine().cores == 1
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS
    assert describe_machine().cores == os.cpu_count()


@pytest.mark.e2e
def test_the_revision_is_not_that_of_a_project_it_is_installed_in(tmp_path: Path) -> None:
    site = tmp_path / ".venv" / "site-packages"
    shutil.copytree(
        HERE / "harness", site / "harness", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / ".gitignore").write_text(".venv\n", encoding="utf-8")
    git = ["git", "-c", "user.name=S", "-c", "user.email=s@example.org", "-C", str(tmp_path)]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "theirs"]):
        subprocess.run([*git, *arguments], check=True)
    asked = "from harness.machine.environment import own_revision;print(own_revision())"
    told = subprocess.run(
        [sys.executable, "-c", asked], check=True, capture_output=True, text=True,
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)},
    )  # fmt: skip
    assert told.stdout.strip() == "None"


def test_the_revision_of_a_checkout_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_git", lambda _, verb, *__: "" if verb == "status" else "abc")
    assert own_revision() == "abc"
