"""What is missing is installed by uv in a checkout, by pip elsewhere; extras and pins agree."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from harness import install_hint
from tests.constraints import constraints_text

ROOT = Path(__file__).parent.parent


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package as pip installs it: no pyproject.toml beside it."""
    monkeypatch.setattr(
        install_hint, "__file__", str(tmp_path / "site-packages" / "harness" / "install_hint.py")
    )
    return install_hint


@pytest.mark.parametrize(
    ("extra", "command"),
    [
        ("embedded", "uv sync"),
        ("align", "uv sync --extra align"),
        ("hub", "uv sync --extra hub"),
    ],
)
def test_in_a_checkout_uv_installs_it(extra: str, command: str) -> None:
    assert install_hint.install_hint(extra) == command


@pytest.mark.parametrize("extra", ["embedded", "align", "hub"])
def test_elsewhere_pip_installs_it(installed: ModuleType, extra: str) -> None:
    assert installed.install_hint(extra) == f"pip install 'streaming-stt-harness[{extra}]'"


def test_a_damaged_package_is_replaced(installed: ModuleType) -> None:
    assert installed.reinstall_hint("a==1") == "pip install --force-reinstall --no-deps a==1"


def test_the_extra_pins_what_the_group_pins() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extra = pyproject["project"]["optional-dependencies"]["embedded"]
    assert extra == pyproject["dependency-groups"]["embedded"]
    assert set(extra) <= set(pyproject["tool"]["uv"]["constraint-dependencies"])


def test_constraints_for_pip_are_those_of_uv() -> None:
    """If not: `uv run python tests/constraints.py`."""
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert (ROOT / "constraints.txt").read_text(encoding="utf-8") == constraints_text(pyproject)
