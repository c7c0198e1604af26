"""Names that come from files, configs and commands, before a path is made of them."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import UsageError

_LONGEST_BYTES = 255  # of one name, in every file system in use
_SAFE = 60  # characters of a name of ours: three of them in a path are no problem anywhere


def inside(folder: Path, name: str, what: str) -> Path:
    """``folder / name``, for a name that is one and no path.

    Args:
        what: the thing that has the name, for the error.

    Raises:
        UsageError: it names another folder (``..``, a slash, a link out of ``folder``), or no file
            can be called so.
    """
    plain = (
        name not in ("", ".", "..")
        and not re.search(r"[/\\\x00-\x1f\x7f]", name)
        and len(name.encode(errors="surrogatepass")) <= _LONGEST_BYTES
    )
    path = folder / name if plain else folder
    if not plain or path.resolve().parent != folder.resolve():
        raise UsageError(
            f"the name of {what} must be a plain name, inside of {folder}", value=name,
            allowed="one name, without a slash, that is neither . nor .. nor a link elsewhere",
        )  # fmt: skip
    return path


def safe_name(text: str) -> str:
    """``text`` as a short name of a file or folder that every shell and file system takes."""
    name = re.sub(r"[^\w.+=-]+", "_", text).strip("._-") or "_"
    return name if len(name) <= _SAFE else name[: _SAFE - 1].rstrip("._-") + "_"


def distinct(names: list[str]) -> list[str]:
    """``names``, of which equal ones get a number at the end."""
    taken: set[str] = set()
    found = []
    for name in names:
        number, one = 2, name
        while one.casefold() in taken:
            one = f"{name}_{number}"
            number += 1
        taken.add(one.casefold())
        found.append(one)
    return found
