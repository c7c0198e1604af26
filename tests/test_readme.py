"""What the README says is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from harness.cli import VERBS
from harness.cli.compose import compose_alone, to_config
from harness.metrics.glossary import with_glossary

README = Path(__file__).parent.parent / "README.md"


def commands() -> list[list[str]]:
    """Every `python -m harness ...` of the README, split as a shell would."""
    text = README.read_text(encoding="utf-8")
    found = re.findall(r"python -m harness +([^`\n]*)", text)
    return [shlex.split(command, comments=True) for command in found]


def test_the_glossary_is_that_of_the_docstrings() -> None:
    text = README.read_text(encoding="utf-8")
    assert with_glossary(text) == text


def test_it_names_the_two_commands() -> None:
    text = README.read_text(encoding="utf-8")
    assert "pip install uv && uv run python -m harness run chunking=1word" in text
    assert "uv run nox -s tests" in text


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_names_a_verb_and_configs_that_compose(command: list[str]) -> None:
    verb, *arguments = command
    assert verb in (*VERBS, "VERB", "--help"), verb
    if verb not in ("run", "compare", "serve"):
        return
    text = re.sub(r"--against \S+", "", " ".join(arguments))
    overrides = [a for a in shlex.split(text) if not a.startswith(("-", "hydra."))]
    single = [re.sub(r"=([^,]+),.*", r"=\1", override) for override in overrides]
    to_config(compose_alone(single))


def test_outputs_are_there_and_local_links_lead_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    assert not re.findall(r"<!-- output: (\w+) -->\n```\n```", text)
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (README.parent / link).exists(), link
