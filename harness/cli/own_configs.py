"""``--config-dir DIR``: a user's own config groups, searched before ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError

OPTION = "--config-dir"
_folder: Path | None = None


def folder() -> Path | None:
    """The folder that this command was given; None: it was given none."""
    return _folder


def as_arguments() -> list[str]:
    """The option again, for a command that this one starts."""
    return [] if _folder is None else [OPTION, str(_folder)]


@contextmanager
def taken_from(argv: list[str]) -> Iterator[list[str]]:
    """Use the folder that ``argv`` names, if any, in the block; yields the other arguments.

    Raises:
        UsageError: no such folder, no value, or the option is given twice.
    """
    global _folder  # noqa: PLW0603 one command, one folder: Hydra's plugins are global as well
    before = _folder
    _folder, others = _split(argv)
    try:
        yield others
    finally:
        _folder = before


def _split(argv: list[str]) -> tuple[Path | None, list[str]]:
    named: list[str] = []
    others: list[str] = []
    left = iter(argv)
    for argument in left:
        name, equals, value = argument.partition("=")
        if name != OPTION:
            others.append(argument)
        else:
            named.append(value if equals else next(left, ""))
    if not named:
        return None, others
    found = Path(named[0]).expanduser()
    if len(named) > 1 or not named[0] or not found.is_dir():
        raise UsageError(
            f"{OPTION} must name one folder that exists, with groups of your own in it",
            value=", ".join(named) or "nothing",
            allowed=f"{OPTION} FOLDER, where FOLDER/chunking/NAME.yaml makes chunking=NAME",
            hint="docs/guides/configs.md shows such a folder",
        )
    return found.resolve(), others
