"""How to install what is missing: in a checkout with uv, anywhere else with pip."""

from __future__ import annotations

from pathlib import Path

_DEFAULT_GROUPS = frozenset({"embedded"})  # extras whose packages `uv sync` alone installs


def in_checkout() -> bool:
    """Whether the package is in a checkout (next to its ``pyproject.toml``), not installed."""
    return (Path(__file__).parents[1] / "pyproject.toml").is_file()


def install_hint(extra: str) -> str:
    """The command that installs an extra of this package (``embedded``, ``align``, ``hub``)."""
    if not in_checkout():
        return f"pip install 'streaming-stt-harness[{extra}]'"
    return "uv sync" if extra in _DEFAULT_GROUPS else f"uv sync --extra {extra}"


def reinstall_hint(package: str) -> str:
    """The command that replaces a damaged package, given as ``NAME==VERSION``."""
    if not in_checkout():
        return f"pip install --force-reinstall --no-deps {package}"
    return f"uv pip install --reinstall {package}"
