"""Recorded clips: options of datasets here; ``load`` reads what they name.

``manifest`` reads and writes manifests, ``hub`` Hugging Face datasets; ``alignment`` finds where
each word lies in the audio.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.errors import ConfigError
from harness.languages.tags import require_language
from harness.registry import Registry
from harness.validation import require, require_number


@dataclass
class ManifestDataset:
    name: str = "two_cities"  # how reports call it
    manifest: str = "two_cities.jsonl"  # a path, or a file in datasets/
    limit: int | None = None  # use the first n clips only
    clips: list[str] = field(default_factory=list)  # use these ids only; empty: all
    loop_to_s: float | None = None  # join the clips, over and over, into one session this long
    loop_gap_s: float = 1.0  # silence between the clips that are joined
    tail_s: float = 0.0  # silence after each: what an endpointer waits before the audio ends

    def __post_init__(self) -> None:
        if self.limit is not None:
            require_number("dataset.limit", self.limit, 1)
        if self.loop_to_s is not None:
            require_number("dataset.loop_to_s", self.loop_to_s, 0, 14_400, above=True)
        require_number("dataset.loop_gap_s", self.loop_gap_s, 0, 60)
        require(
            self.loop_to_s is not None or self.loop_gap_s == 1.0,
            "dataset.loop_gap_s", self.loop_gap_s, "1 unless dataset.loop_to_s is given",
        )  # fmt: skip
        require_number("dataset.tail_s", self.tail_s, 0, 60)


@dataclass
class HubDataset:
    """A Hugging Face dataset with an ``audio`` and a text column."""

    name: str  # how reports call it
    path: str  # hub name or local folder
    split: str = "test"
    config_name: str | None = None  # the dataset's own configuration, such as a language
    revision: str | None = None
    audio_column: str = "audio"
    text_column: str = "text"
    language: str = "en"  # of every clip; any tag, kept as its primary subtag
    limit: int | None = None  # use the first n clips only
    tail_s: float = 0.0  # silence after each: what an endpointer waits before the audio ends

    def __post_init__(self) -> None:
        if self.limit is not None:
            require_number("dataset.limit", self.limit, 1)
        require_number("dataset.tail_s", self.tail_s, 0, 60)
        self.language = require_language(
            "config field dataset.language", self.language, ConfigError
        )


DatasetOptions = ManifestDataset | HubDataset
DATASETS: Registry[type[DatasetOptions]] = Registry(
    "dataset",
    {"manifest": "harness.datasets:ManifestDataset", "hub": "harness.datasets:HubDataset"},
)
