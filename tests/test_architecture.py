"""Import direction is a rule of the house, and so is who may import what is heavy."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.synthetic import make_run, save_run

HOUSE = Path(__file__).parent.parent / "harness"

# Rooms (files and folders of harness/) by floor. A room may import from floors below and, as long
# as no circle comes of it, from its own. New rooms go here.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "addresses",
        "install_hint",
        "text",
        "validation",
        "containers",
        "keys",
        "languages",
        "display",
    ),
    ("audio", "events", "registry", "clock", "ticks", "stats"),
    ("chunking", "conditions", "metrics", "engines", "endpointers"),
    ("datasets",),
    ("config", "machine"),
    ("recorder", "microphone", "session", "replay", "runs"),
    ("verdicts", "report", "export", "serve"),
    ("experiments",),
    ("api", "cli"),
    ("__main__", "pytest_plugin"),  # a plugin starts the harness as a command does
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> list[Path]:
    return sorted(HOUSE.rglob("*.py"))


def dotted(path: Path) -> str:
    """``harness.chunking`` of ``harness/chunking/__init__.py``."""
    parts = ("harness", *path.relative_to(HOUSE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


@functools.cache
def imports(path: Path, *, everywhere: bool = True) -> list[str]:
    """Every imported module; those under TYPE_CHECKING too: an arrow is an arrow.

    Args:
        everywhere: also imports inside functions.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: list[str] = []
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
            names += (f"{node.module}.{alias.name}" for alias in node.names)
    return names


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle of the graph, from a node back to it; empty: there is none."""
    done: set[str] = set()

    def walk(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for following in sorted(graph.get(node, ())):
            if found := walk(following, [*way, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_no_room_imports_from_a_higher_floor(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    assert room in FLOOR_OF, f"{room} has no floor: add it to FLOORS"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "harness" and len(parts) > 1 and parts[1] in FLOOR_OF:
            assert FLOOR_OF[parts[1]] <= FLOOR_OF[room], f"{room} imports {name}"


def test_the_map_names_every_room() -> None:
    text = (HOUSE / "__init__.py").read_text(encoding="utf-8").partition("from __future__")[0]
    assert [room for room in FLOOR_OF if f"``{room}``" not in text] == []


def test_the_rooms_form_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in modules():
        rooms = {name.split(".")[1] for name in imports(path) if name.startswith("harness.")}
        graph.setdefault(room_of(path), set()).update(rooms & set(FLOOR_OF) - {room_of(path)})
    assert circle(graph) == []
    assert len(FLOORS) <= 11


def test_the_modules_form_no_circle() -> None:
    """Imports at the top of modules: those inside functions may wait for what imports them."""
    known = {dotted(path) for path in modules()}
    packages = {name for name in known if any(other.startswith(f"{name}.") for other in known)}

    def arrows(path: Path) -> set[str]:
        found = imports(path, everywhere=False)
        # `from harness.containers import flac` is an arrow to flac, not to the package's face
        through = {name.rpartition(".")[0] for name in found if name in known} & packages
        plain = {name.rpartition(".")[0] for name in found if name not in known}
        return (set(found) & known) - (through - plain)

    graph = {
        name: arrows(path) - {name} for name, path in ((dotted(path), path) for path in modules())
    }
    assert circle(graph) == []


def test_no_module_is_long_and_no_function_is() -> None:
    """At most 400 lines a module, 60 lines and 8 parameters a function."""
    found = []
    for path in modules():
        source = path.read_text(encoding="utf-8")
        if (lines := source.count("\n")) > 400:
            found.append(f"{path.name}: {lines} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                given = node.args
                taken = len([*given.posonlyargs, *given.args, *given.kwonlyargs])
                if (
                    length > 60
                    or taken - (given.args[:1] != [] and given.args[0].arg == "self") > 8
                ):
                    found.append(f"{path.name}: {node.name} ({length} lines, {taken} parameters)")
    assert found == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_only_the_command_line_knows_hydra(path: Path) -> None:
    if room_of(path) == "cli":
        return
    heavy = {name for name in imports(path) if name.split(".")[0] in ("hydra", "omegaconf")}
    assert not heavy


# What a verb has loaded when it is done; its own answer goes to stderr.
LOADED = """
import contextlib, sys
from harness.__main__ import main
with contextlib.redirect_stdout(sys.stderr):
    code = main(sys.argv[1:])
print(code, *sorted({name for name in sys.modules if name.count(".") < 2}))
"""
HEAVY = {"torch", "transformers", "hydra", "omegaconf", "scipy.stats"}


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("verb", "unneeded"),
    [
        (["gate", "run"], {*HEAVY, "matplotlib"}),
        (["baseline", "save", "main", "run"], {*HEAVY, "matplotlib"}),
        (["export", "run", "--format=bencher", "--out=x.json"], {*HEAVY, "matplotlib"}),
        pytest.param(["report", "run"], HEAVY, marks=pytest.mark.slow),
    ],
    ids=["gate", "baseline", "export", "report"],
)
def test_a_verb_about_finished_runs_loads_only_what_it_needs(
    tmp_path: Path, verb: list[str], unneeded: set[str]
) -> None:
    """Each of them takes longer to load than a verdict to be found."""
    run = make_run(tmp_path, name="run", clips=6, repeats=1)
    run.config["gate"]["rules"] = ["failed = 0"]
    save_run(run, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *verb], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(HOUSE.parent)},
    )  # fmt: skip
    code, *loaded = done.stdout.split()
    assert code == "0", done.stderr
    assert not unneeded & set(loaded)
    assert "numpy" in loaded


# Modules and packages without a test file of their own name, and the file that tests them.
TESTED_IN = {
    # a family in one file: its members are tried against the same cases
    "chunking": "chunking/test_strategies.py",
    "containers": "test_containers.py",
    "verdicts/rules": "verdicts/test_rules.py",
    "engines/windows/policies": "engines/windows/test_engine.py",
    # parts of a page, or of an engine, that only make sense together
    "report": "report/test_report.py",
    "engines/whisper": "engines/whisper/test_engine.py",
    "engines/voxtral": "engines/voxtral/test_engine.py",
    "engines/remote": "engines/remote/test_session.py",
    "engines/torch": "engines/voxtral/test_engine.py",
    "export": "export/test_ci.py",
    "serve": "serve/test_app.py",
    "cli": "cli/test_run.py",
    # small, and used by what is named here
    "datasets/alignment_ctc": "datasets/test_alignment.py",
    "conditions/clean": "conditions/test_condition.py",
    "conditions/jitter": "conditions/test_network.py",
    "conditions/loss": "conditions/test_network.py",
    "datasets/hub": "datasets/test_load.py",
    "datasets/manifest": "datasets/test_load.py",
    "endpointers": "endpointers/test_endpointers.py",
    "engines/factory": "test_api.py",
    "engines/inject": "test_replay.py",
    "engines/null": "test_replay.py",
    "engines/python": "test_api.py",
    "engines/registry": "test_outside.py",
    "engines/sessions": "test_config.py",
    "engines/setting": "test_api.py",
    "experiments/calibrate": "cli/test_calibrate.py",
    "experiments/capacity": "cli/test_capacity.py",
    "experiments/progress": "experiments/test_run.py",
    "experiments/rig": "experiments/test_run.py",
    "experiments/saved": "serve/test_saved.py",
    "experiments/shards": "serve/test_shards.py",
    "metrics/budget": "metrics/test_latency.py",
    "metrics/corpus": "metrics/test_accuracy.py",
    "metrics/objective": "cli/test_jobs.py",
    "runs/objective": "cli/test_jobs.py",
    "metrics/instants": "metrics/test_latency.py",
    "metrics/metric": "test_outside.py",
    "metrics/registry": "test_outside.py",
    "session": "test_replay.py",
    "stats/bootstrap": "stats/test_estimates.py",
    "verdicts/load": "verdicts/test_capacity.py",
}


def test_every_module_has_a_test_file() -> None:
    """``harness/a/b.py`` is tested by ``tests/a/test_b.py``, or by a file that is named above."""
    tests = HOUSE.parent / "tests"
    untested, used = [], set()
    for path in modules():
        module = path.relative_to(HOUSE).with_suffix("")
        if module.name in ("__init__", "__main__"):
            continue
        if (tests / module.parent / f"test_{module.name}.py").is_file():
            continue
        named = [str(one) for one in (module, *module.parents) if str(one) in TESTED_IN]
        used.update(named[:1])
        if not named:
            untested.append(str(module))
    assert untested == [], "write tests for them; or name the file that tests them in TESTED_IN"
    assert set(TESTED_IN) - used == set(), "they have a test file: take them out of TESTED_IN"
    assert [name for name in TESTED_IN.values() if not (tests / name).is_file()] == []


def test_one_name_is_one_thing() -> None:
    """No two classes of the harness share a name, but for the API's run, which can be judged."""
    seen: dict[str, list[str]] = {}
    for path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                seen.setdefault(node.name, []).append(dotted(path))
    shared = {name: where for name, where in seen.items() if len(where) > 1}
    assert shared == {"Run": ["harness.api", "harness.runs.folder"]}
