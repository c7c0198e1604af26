"""Variants by name: the harness's own, those of packages, those of this process."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from harness import registry
from harness.errors import ConfigError
from harness.registry import Registry

OURS = {"ours": "harness.errors:ConfigError"}


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> list[metadata.EntryPoint]:
    """Entry points that are installed, for the test to add to."""
    found: list[metadata.EntryPoint] = []
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: found)
    return found


def point(name: str, target: str) -> metadata.EntryPoint:
    return metadata.EntryPoint(name, target, "things")


def test_a_name_is_taken_once() -> None:
    things: Registry[object] = Registry("thing", OURS)
    things.add("mine")(object)
    with pytest.raises(ConfigError, match="exists already"):
        things.add("ours")
    with pytest.raises(ConfigError, match=r"(?s)no such thing.*allowed: ours, mine"):
        things.get("theirs")
    things.remove("mine")
    assert things.names() == ("ours",)


def test_nothing_is_imported_before_it_is_asked_for(points: list[metadata.EntryPoint]) -> None:
    points.append(point("broken", "nothing_here:Thing"))
    things: Registry[object] = Registry("thing", OURS, "things")
    assert things.names() == ("ours", "broken")
    assert things.outside() == ("broken",)
    assert things.get("ours") is ConfigError
    with pytest.raises(ConfigError, match="its thing 'broken' cannot be loaded: ModuleNotFound"):
        things.get("broken")
    assert list(things.broken()) == ["broken"]
    assert [name for name, _ in things.loaded()] == ["ours"]


def test_two_packages_may_not_share_a_name(points: list[metadata.EntryPoint]) -> None:
    points += [point("same", "json:loads"), point("same", "json:dumps")]
    things: Registry[object] = Registry("thing", OURS, "things")
    with pytest.raises(ConfigError, match="two packages have a thing of this name"):
        things.get("same")


def test_no_package_stops_what_is_ours(points: list[metadata.EntryPoint]) -> None:
    points.append(point("ours", "json:dumps"))
    things: Registry[object] = Registry("thing", OURS, "things")
    assert things.get("ours") is ConfigError
    assert things.origin("ours") is None
    assert "'ours' of json is not used" in str(things.broken()["ours"])


def test_a_module_that_exits_is_a_broken_one(
    points: list[metadata.EntryPoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exits_at_once.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    points.append(point("exits", "exits_at_once:Thing"))
    things: Registry[object] = Registry("thing", OURS, "things")
    with pytest.raises(ConfigError, match="its thing 'exits' cannot be loaded: SystemExit"):
        things.get("exits")


def test_where_a_variant_comes_from(points: list[metadata.EntryPoint]) -> None:
    points.append(point("theirs", "json:loads"))
    things: Registry[object] = Registry("thing", OURS, "things")
    assert things.origin("ours") is None
    theirs = things.origin("theirs")
    assert theirs is not None
    assert theirs.package == "json"
    things.add("mine")(pytest.fixture)
    mine = things.origin("mine")
    assert mine is not None
    assert (mine.package, mine.version) == ("pytest", metadata.version("pytest"))
