"""config.yaml, rendered from the dataclasses, says what Hydra composed."""

from __future__ import annotations

import pytest
import yaml
from omegaconf import OmegaConf

from harness.cli.compose import choices_of, compose_alone, groups, to_config
from harness.config import config_yaml
from tests.cli.verbs import MUST_BE_GIVEN


@pytest.mark.parametrize("group", groups())
def test_config_yaml_is_what_was_composed(group: str) -> None:
    for choice in choices_of(group):
        given = MUST_BE_GIVEN.get(f"{group}={choice}", [])
        composed = compose_alone([f"{group}='{choice}'", *given])
        by_omegaconf = yaml.safe_load(OmegaConf.to_yaml(composed, resolve=True))
        assert yaml.safe_load(config_yaml(to_config(composed))) == by_omegaconf
