"""Folders packed into one file each, small enough to bring back."""

from __future__ import annotations

import tarfile
from collections.abc import Collection
from pathlib import Path

_MOST_BYTES = 16 * 2**20


def pack(folder: Path, target: Path, names: Collection[str] = ()) -> None:
    """Pack a folder's files, or those of these names. Nothing is left of what is too large."""
    if not folder.is_dir():
        return
    part = target.with_suffix(".part")
    with tarfile.open(part, "w:gz", compresslevel=6) as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (not names or path.name in names):
                tar.add(path, path.relative_to(folder.parent))
    size = part.stat().st_size
    if size <= _MOST_BYTES:
        part.rename(target)
    else:
        part.unlink()
        print(f"{target.name} is not kept: {size / 2**20:.0f} MiB", flush=True)
