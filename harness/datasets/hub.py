"""Hugging Face datasets, by hub name or local folder, through the ``datasets`` library.

Audio is taken as the stored file and decoded by ``harness.audio``, so torchcodec is not needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.audio import read_file
from harness.datasets import HubDataset
from harness.datasets.manifest import Line
from harness.errors import DatasetError
from harness.install_hint import install_hint


def read_hub(config: HubDataset) -> Iterator[tuple[Line, bytes]]:
    """Each row as a manifest's line, with the content of its audio file.

    Raises:
        DatasetError: the library is not installed, the dataset cannot be had, or has no such
            configuration, split or column.
    """
    rows = _open(config)
    stop = len(rows) if config.limit is None else min(config.limit, len(rows))
    for index in range(stop):
        row = rows[index]
        audio, text = row[config.audio_column], row[config.text_column]
        if not isinstance(audio, dict) or not isinstance(text, str):
            raise DatasetError(
                f"row {index} of {config.path!r}: audio or text missing",
                hint="choose columns that every row fills, or set dataset.limit",
            )
        line = Line(
            id=f"row-{index:06d}",
            audio_filepath=audio["path"] or "",
            text=text,
            language=config.language,
            source=config.path if config.revision is None else f"{config.path}@{config.revision}",
            licence=rows.info.license or None,
        )
        content = audio["bytes"]
        yield line, read_file(Path(audio["path"])) if content is None else content


def _open(config: HubDataset) -> Any:
    """A ``datasets.Dataset`` whose audio column gives ``{"bytes": ..., "path": ...}``."""
    try:
        library: Any = importlib.import_module("datasets")
        load_dataset, errors = library.load_dataset, library.exceptions.DatasetsError
    except (ImportError, AttributeError) as error:  # AttributeError: it is this checkout's folder
        raise DatasetError(
            f"dataset=hub needs the extra `hub` ({error})",
            hint=install_hint("hub"),
        ) from error
    try:
        rows = load_dataset(
            config.path, config.config_name, split=config.split, revision=config.revision
        )
    except (errors, OSError, ValueError, ImportError) as error:
        reason = error.__cause__ or error
        raise DatasetError(
            f"cannot load {config.path!r}: {type(reason).__name__}: {reason}",
            allowed="a hub dataset that can be reached or is cached, or a folder of parquet files",
            hint="check dataset.path, dataset.split, dataset.config_name and the network "
            "(HF_HUB_OFFLINE=1: only the cache); recordings of your own need only dataset=manifest",
        ) from error
    for column in (config.audio_column, config.text_column):
        if column not in rows.column_names:
            raise DatasetError(
                f"dataset {config.path!r} has no column",
                value=column,
                allowed=", ".join(rows.column_names),
                hint="set dataset.audio_column and dataset.text_column",
            )
    try:
        return rows.cast_column(config.audio_column, library.Audio(decode=False))
    except (TypeError, ValueError, NotImplementedError) as error:  # pyarrow's errors are of these
        raise DatasetError(
            f"column {config.audio_column!r} of {config.path!r} holds no audio ({error})",
            hint="set dataset.audio_column",
        ) from error
