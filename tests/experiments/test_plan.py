"""What makes two runs runs of the same thing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.chunking import Words
from harness.conditions.jitter import Jitter
from harness.conditions.telephone import Telephone
from harness.config import Config, GateConfig, ReplayConfig, ReportConfig
from harness.engines.inject import InjectConfig
from harness.engines.null import NullOptions
from harness.engines.scripted import ScriptedOptions
from harness.engines.sessions import LiveSession
from harness.experiments.plan import config_identity

BASE = Config(engine=NullOptions())


@pytest.mark.parametrize(
    "other",
    [
        {"chunking": Words(6)},
        {"engine": ScriptedOptions()},
        {"session": LiveSession()},
        {"conditions": Telephone()},
        {"conditions": Jitter(seed=1)},
        {"replay": ReplayConfig(frame_ms=40)},
        {"replay": ReplayConfig(streams=2)},
        {"replay": ReplayConfig(pace="flood")},
    ],
    ids=str,
)
def test_what_is_replayed_otherwise_is_another_thing(other: dict[str, object]) -> None:
    assert config_identity(replace(BASE, **other)) != config_identity(BASE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        {"gate": GateConfig(name="ci", rules=["failed = 0"])},
        {"report": ReportConfig(plots=False)},
        {"replay": ReplayConfig(repeats=9, warmup=0)},
        {"inject": InjectConfig(delay_ms=50)},  # made worse: compared with what it was made from
        {"seed": 7},
    ],
    ids=str,
)
def test_how_often_and_how_it_is_judged_is_not_part_of_it(other: dict[str, object]) -> None:
    assert config_identity(replace(BASE, **other)) == config_identity(BASE)  # type: ignore[arg-type]
