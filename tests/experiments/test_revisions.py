"""``compare --against``: a small checkout of the harness, two of its revisions side by side."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from traces import gpu_that_said

from harness.__main__ import main
from harness.clock import RealWorld
from harness.experiments import revisions as against
from harness.experiments.revisions import Side
from harness.machine.gpu import GpuTelemetry
from harness.runs.folder import Run, load_run

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("without_pngs")]

HERE = Path(__file__).parents[2]
QUICK = [
    "engine=scripted", "engine.jitter_ms=5", "replay.pace=virtual", "replay.compute_scale=0",
    "replay.repeats=2", "replay.frame_ms=500", "report.plots=false", "hydra.run.dir=out",
    "gate.rules=['ttft_ms p50 vs baseline: at most +5 % and +10 ms']",
]  # fmt: skip


def git(*arguments: str) -> str:
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(["git", *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of this harness with one commit, to be copied."""
    folder = tmp_path_factory.mktemp("against") / "checkout"
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("harness", "configs", "datasets"):
        shutil.copytree(HERE / name, folder / name, ignore=skip)
    shutil.copy(HERE / "pyproject.toml", folder)
    (folder / ".gitignore").write_text("__pycache__\nout*\nreports\n", encoding="utf-8")
    for command in (["init"], ["add", "--all"], ["commit", "--message", "one"]):
        git("-C", str(folder), *command)
    return folder


@pytest.fixture
def checkout(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of this harness with one commit; the current folder is in it."""
    folder = shutil.copytree(repository, tmp_path / "checkout", symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def starts(folder: Path) -> list[tuple[int, int, str]]:
    """(place in the whole, repeat, side) of every session."""
    return [
        (trace.session.order, trace.session.repeat, folder.name.partition("-")[0])
        for trace in load_run(folder).traces
    ]


@pytest.mark.e2e
def test_what_was_made_slower_since_a_revision_is_found(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(checkout / "configs/engine/scripted.yaml", "first_ms: 50", "first_ms: 90")
    commit = git("rev-parse", "HEAD")
    old, new = f"old-{commit[:9]}", f"new-{commit[:9]}+dirty"
    once = ["replay.repeats=1", "dataset.limit=6", "gate.confirm=false"]
    assert main(["compare", "--against", "HEAD", *QUICK, *once]) == 3
    captured = capsys.readouterr()
    assert "both sides in this environment" in captured.err
    assert json.loads(Path("out/comparison.json").read_text(encoding="utf-8"))["arms"] == [old, new]
    runs = [load_run(Path("out", name)) for name in (old, new)]
    assert [run.environment.git_revision for run in runs] == [commit, f"{commit}+dirty"]
    assert [run.config["engine"]["first_ms"] for run in runs] == [50, 90]
    assert runs[1].summary is not None
    assert runs[1].summary.verdict.rules[0].observed == pytest.approx(40, abs=5)
    assert [run.summary.validity for run in runs if run.summary] == [(), ()]
    whole = sorted(starts(runs[0].folder) + starts(runs[1].folder))
    assert len({order for order, _, _ in whole}) == len(whole) == 2 * 6
    blocks = [(repeat, side) for _, repeat, side in whole[::6]]
    assert blocks == [(0, "old"), (0, "new")]
    assert git("worktree", "list").count("\n") == 0
    assert main(["report", "out", "--json"]) == 3
    assert list(json.loads(capsys.readouterr().out)["arms"]) == [old, new]


@pytest.mark.e2e
def test_a_rule_that_names_no_arm_is_told_before_a_side_is_measured(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = git("rev-parse", "HEAD")[:9]
    rules = "gate.rules=['text parity vs arm main']"
    assert main(["compare", "--against", "HEAD", *QUICK, rules]) == 2
    assert f"allowed: old-{commit}, new-{commit}" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.slow
def test_a_gate_of_an_arm_that_is_not_there_is_told_after_the_first_repeat_at_the_latest(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--against", "HEAD", *QUICK, "gate.arm=6wrd"]) == 2
    assert "allowed: old-" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.e2e
def test_a_revision_that_cannot_run_says_why(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(checkout / "harness/cli/run.py", "def run(", "def walk(")
    git("commit", "--quiet", "--all", "--message", "broken")
    replace(checkout / "harness/cli/run.py", "def walk(", "def run(")
    assert main(["compare", "--against=HEAD", *QUICK]) == 2
    complaint = capsys.readouterr().err
    assert "could not measure" in complaint
    assert "AttributeError" in complaint
    assert git("worktree", "list").count("\n") == 0


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_says_why(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = checkout / "pyproject.toml"
    sound = project.read_text(encoding="utf-8")
    project.write_text("[project", encoding="utf-8")
    git("commit", "--quiet", "--all", "--message", "broken")
    project.write_text(sound, encoding="utf-8")
    assert main(["compare", "--against", "HEAD", *QUICK]) == 2
    assert "environment could not be made" in capsys.readouterr().err
    assert git("worktree", "list").count("\n") == 0


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """One repeat by each side, made by this process."""
    folder = tmp_path_factory.mktemp("blocks")
    ours = [option for option in QUICK if not option.startswith(("gate", "hydra"))]
    for side, first_ms in (("old", 50), ("new", 52), ("slow", 90)):
        run = [*ours, "replay.repeats=1", f"engine.first_ms={first_ms}"]
        assert main(["run", *run, f"hydra.run.dir={folder / side}"]) == 0
    return {side: load_run(folder / side) for side in ("old", "new", "slow")}


@pytest.fixture
def in_process(
    checkout: Path, blocks: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Every block is a run that this process has made; the sides that were asked for."""
    seen: list[str] = []

    def replay(self: Any, side: Side, repeat: int) -> Run:
        name = side.name.partition("-")[0]
        seen.append(name)
        block = blocks["slow" if name == "new" and side.name.endswith("+dirty") else name]
        host = tuple(msgspec.structs.replace(sample, pid=len(seen)) for sample in block.host)
        return msgspec.structs.replace(block, host=host)  # as of a process of its own

    monkeypatch.setattr(against._Blocks, "_replay", replay)
    return seen


def test_a_regression_is_confirmed_before_it_is_called_one(
    in_process: Sequence[str], checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(checkout / "configs/config.yaml", "# The root.", "# The very root.")
    assert main(["compare", "--against", "HEAD", *QUICK]) == 3
    assert in_process == ["old", "new", "new", "old"] * 2
    (old,) = (load_run(folder) for folder in Path("out").glob("old-*"))
    assert {sample.pid for sample in old.host} == {1, 4}
    assert {path.parent.parent.name for path in Path("out").rglob("summary.json")} == {
        "out", "confirm",
    }  # fmt: skip
    assert "confirmed by an interleaved re-run" in " ".join(capsys.readouterr().out.split())
    assert main(["gate", "out"]) == 3  # the old one is the reference, though "new" < "old"
    assert "confirmed by an interleaved re-run" in " ".join(capsys.readouterr().out.split())


def test_old_and_new_take_turns(in_process: Sequence[str]) -> None:
    assert main(["compare", "--against", "HEAD", *QUICK, "replay.repeats=3"]) == 0
    assert in_process == ["old", "new", "new", "old", "old", "new"]
    (folder,) = Path("out").glob("new-*")
    assert "dirty" not in folder.name
    run = load_run(folder)
    assert run.summary is not None
    assert (run.summary.repeats, len(run.clips)) == (3, 33)
    assert run.environment.warmup_sessions_discarded == 3


def test_one_repeat_on_a_gpu_that_lowered_its_clocks_is_enough(
    in_process: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = against._Blocks._replay

    def watched(self: Any, side: Side, repeat: int) -> Run:
        hot = side.name.startswith("new") and repeat == 0
        seen = gpu_that_said(("hardware_thermal",) if hot else ())
        return msgspec.structs.replace(replay(self, side, repeat), telemetry=seen)

    monkeypatch.setattr(against._Blocks, "_replay", watched)
    assert main(["compare", "--against", "HEAD", *QUICK]) == 4
    (old,), (new,) = (list(Path("out").glob(f"{side}-*")) for side in ("old", "new"))
    cool = load_run(old).telemetry
    assert isinstance(cool, GpuTelemetry)
    assert len(cool.samples) == 2
    assert "hardware_thermal 50%" in str(load_run(new).summary)


def test_a_revision_with_other_metrics_is_measured_by_ours(
    in_process: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = against._Blocks._replay

    def older(self: Any, side: Side, repeat: int) -> Run:
        block = replay(self, side, repeat)
        if side.name.startswith("new"):
            return block
        return msgspec.structs.replace(
            block, environment=msgspec.structs.replace(block.environment, metrics_version="0")
        )

    monkeypatch.setattr(against._Blocks, "_replay", older)
    assert main(["compare", "--against", "HEAD", *QUICK]) == 0


@pytest.mark.parametrize(("after", "kept"), [(1, 0), (3, 2)])
def test_an_interrupt_keeps_the_repeats_of_both_and_removes_the_worktree(
    in_process: list[str], after: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = against._Blocks._replay

    def interrupted(self: Any, side: Side, repeat: int) -> Run:
        if len(in_process) == after:
            raise KeyboardInterrupt
        return replay(self, side, repeat)

    monkeypatch.setattr(against._Blocks, "_replay", interrupted)
    assert main(["compare", "--against", "HEAD", *QUICK]) == 4
    assert len(list(Path("out").glob("*/summary.json"))) == kept
    assert git("worktree", "list").count("\n") == 0


@pytest.mark.slow
def test_a_cancelled_job_leaves_no_process_no_worktree_and_no_files(
    checkout: Path, tmp_path: Path
) -> None:
    """CI ends a job with SIGTERM, which only the process that it started gets."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    in_real_time = [o for o in QUICK if o not in ("replay.pace=virtual", "replay.compute_scale=0")]
    command = [sys.executable, "-P", "-m", "harness", "compare", "--against", "HEAD"]
    environment = os.environ | {"PYTHONPATH": str(checkout), "TMPDIR": str(scratch)}
    world = RealWorld()
    with subprocess.Popen(
        [*command, *in_real_time], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not list(scratch.glob("harness-*/*/run/run.log")):
            world.sleep_until_ns(world.now_ns() + 50_000_000)
        (child,) = psutil.Process(process.pid).children()
        assert "run" in child.cmdline()
        assert git("worktree", "list").count("\n") == 1
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=600)
        ended = not child.is_running()
        if not ended:
            child.kill()
    assert ended
    assert process.returncode == 4, complaints
    assert "interrupted: compare was not finished" in complaints
    assert git("worktree", "list").count("\n") == 0
    assert list(scratch.iterdir()) == []


def test_an_interrupt_while_the_worktree_is_made_removes_it(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = against._git

    def interrupted(folder: Path, *arguments: str) -> str:
        answer = done(folder, *arguments)
        if arguments[:2] == ("worktree", "add"):
            made = Path(arguments[3])
            done(folder, "worktree", "lock", str(made))  # as git does until it is complete
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(against, "_git", interrupted)
    assert main(["compare", "--against", "HEAD", *QUICK]) == 4
    assert git("worktree", "list").count("\n") == 0


def test_sigterm_is_an_interrupt_for_as_long_as_it_is_asked_to_be() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with pytest.raises(KeyboardInterrupt), against.sigterm_interrupts():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with against.sigterm_interrupts():  # whoever started this has decided otherwise
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_a_thread_no_signal_is_handled() -> None:
    seen: list[object] = []

    def enter() -> None:
        with against.sigterm_interrupts():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--against", "nobody"], "no such revision"),
        (["--against", "HEAD", "chunking=1word,6word"], "give each field one value"),
        (["--against", "HEAD", "replay.until=decided"], "replay.repeats=N"),
        (["--against", "HEAD", "gate.rules=['ttft_ms p50 <= 1 s']"], "ms"),
        (["--against", "HEAD", "--nonsense"], "no such option"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    arguments: list[str], says: str, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *QUICK[:-1], *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not list(Path("out").rglob("events.jsonl"))


def test_outside_a_checkout_there_are_no_revisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "--against", "HEAD", *QUICK]) == 2
    assert "not a git repository" in capsys.readouterr().err
    git("init", "--quiet")
    assert main(["compare", "--against", "HEAD", *QUICK]) == 2
    assert "no checkout of the harness" in capsys.readouterr().err
