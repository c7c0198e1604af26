"""The root of all options: written whole, checked whole; what identifies a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

import pytest
import yaml

from harness.chunking import STRATEGIES, Chunker, Strategy, Words
from harness.config import (
    CapacityConfig,
    Config,
    GateConfig,
    ReplayConfig,
    config_yaml,
    outside_variants,
    variant_identity,
)
from harness.engines.null import NullOptions
from harness.engines.scripted import ScriptedOptions
from harness.engines.voxtral import VoxtralRealtimeModel
from harness.errors import ConfigError

GROUPS = ("chunking", "model", "engine", "session")


def test_config_yaml_holds_every_field() -> None:
    written = yaml.safe_load(config_yaml(Config()))
    assert written == asdict(Config())
    assert list(written) == [field.name for field in fields(Config)]


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        (ReplayConfig, {"pace": "backwards"}),
        (ReplayConfig, {"repeats": 0}),
        (ReplayConfig, {"streams": 0}),
        (ReplayConfig, {"frame_ms": 0.5}),
        (GateConfig, {"confidence": 1.0}),
        (CapacityConfig, {"goodput": 0.1}),
        (Config, {"seed": -1}),
    ],
)
def test_a_value_that_is_not_allowed_names_its_field(part: type, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        part(**wrong)
    ((name, value),) = wrong.items()
    assert name in refused.value.what
    assert refused.value.value == value
    assert refused.value.allowed


def test_no_more_streams_than_the_model_has_rows() -> None:
    model = VoxtralRealtimeModel(max_streams=2)
    assert Config(model=model, replay=ReplayConfig(streams=2)).replay.streams == 2
    with pytest.raises(ConfigError, match=r"(?s)replay.streams: 3.*max_streams=2"):
        Config(model=model, replay=ReplayConfig(streams=3))


def test_what_is_configured_otherwise_has_another_identity() -> None:
    first = Config(engine=NullOptions())
    others = [replace(first, chunking=Words(6)), replace(first, engine=ScriptedOptions())]
    identities = [str(variant_identity(config, GROUPS)) for config in (first, *others)]
    assert len(set(identities)) == 3
    same = replace(first, gate=GateConfig(name="ci"))
    assert str(variant_identity(same, GROUPS)) == identities[0]


def test_a_variant_from_outside_is_named_with_its_package() -> None:
    @STRATEGIES.add("whole")
    @dataclass
    class Whole(Strategy):
        def chunker(self) -> Chunker:
            return Words(99).chunker()

    try:
        assert outside_variants(Config()) == {}
        (found,) = outside_variants(Config(chunking=Whole())).values()
        assert (found.name, found.options) == ("whole", {})
        assert found.package.endswith("test_config")
    finally:
        STRATEGIES.remove("whole")
