"""The GPU lane on a CPU: its files, its time-outs, its table. All figures here are invented."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.engines.torch.ring_cache import RingCache
from harness.engines.voxtral.net import cache_shape as turn_shape
from harness.engines.voxtral.realtime_model import cache_shape as live_shape
from harness.engines.voxtral.weights import _build, random_config
from tests.gpu.session.cards import card_of
from tests.gpu.session.earlier import Earlier
from tests.gpu.session.engines import _live_work, _turn_work, step_weight_bytes
from tests.gpu.session.packing import pack
from tests.gpu.session.results import RESULTS, TABLE, Line, Options, Record, read_lines
from tests.gpu.session.table import table

ROOT = Path(__file__).parents[2]
STEP_MS = 80  # of Voxtral Realtime

BEGIN: Line = {"arm": "parent", "kind": "begin", "at_s": 0.0, "mode": "first", "seconds": 10.0}


def options(out: Path, mode: str = "first", **other: Any) -> Options:
    asked: dict[str, Any] = {
        "device": "cpu", "tiny": True, "seconds": 2.0, "repeats": 2, "budget_s": None,
        "stretch": 1.0, "only": (), "fresh": False, "began_ns": 0,
    }  # fmt: skip
    return Options(mode=mode, out=out, **asked | other)


def figures(arm: str, **values: Any) -> Line:
    return {"arm": arm, "kind": "figure", "at_s": 1.0, **values}


def ended(arm: str, status: str = "ok") -> Iterator[Line]:
    yield {"arm": arm, "kind": "end", "at_s": 2.0, "status": status}
    told = status.partition(":")[0]
    yield {"arm": "parent", "kind": "arm", "at_s": 3.0, "of": arm, "status": told, "wall_s": 2.0}


def row_of(text: str, what: str) -> list[str]:
    """The numbers of a row: ms, floor, x floor, goal, x goal."""
    (line,) = (line for line in text.splitlines() if what in line)
    return line.partition(what)[2].split()


# --- the table ------------------------------------------------------------------------------------


def test_a_figure_stands_beside_its_floor_by_measured_bandwidth_and_its_goal() -> None:
    lines = [
        BEGIN,
        figures("probe", gpu="NVIDIA H200", copy_tb_s=4.0, read_tb_s=3.0, product_tflop_s=500.0),
        figures("3b.graphs", step_p50=4.0, step_gb=8.0, first_p50=24.0, first_tflop=5.0),
        figures("rt.graphs32", rows32_step_ms=18.0, rows32_step_gb=18.0),
    ]
    text = table(lines)
    assert row_of(text, "a token, p50") == ["4.00", "2.00", "2.00", "2.30", "1.74"]
    assert row_of(text, "first token, p50") == ["24.00", "10.00", "2.40", "12.00", "2.00"]
    assert row_of(text, "a step of 32 sessions") == ["18.00", "4.50", "4.00", "9.00", "2.00"]
    assert "memory 4 TB/s, measured here (stated by the maker: 4.8)" in text


def test_without_a_probe_floors_are_by_what_the_maker_states() -> None:
    lines = [BEGIN, figures("probe", gpu="NVIDIA H100 80GB HBM3"), figures("rt.x", step_p50=10.0)]
    lines.append(figures("rt.x", step_gb=6.7))
    text = table(lines)
    assert row_of(text, "a step, p50") == ["10.00", "2.00", "5.00", "4.00", "2.50"]
    assert "memory 3.35 TB/s, stated by the maker" in text


def test_an_unknown_gpu_has_floors_and_no_goals() -> None:
    probed = figures("probe", gpu="Other", read_tb_s=1.0, product_tflop_s=100.0)
    text = table([BEGIN, probed, figures("3b.graphs", step_p50=9.0, step_gb=3.0)])
    assert row_of(text, "a token, p50") == ["9.00", "3.00", "3.00", "-", "-"]


def test_a_figure_without_bytes_or_bandwidth_has_no_floor() -> None:
    text = table([BEGIN, figures("3b.graphs", step_p50=9.0, step_gb=3.0)])
    assert row_of(text, "a token, p50") == ["9.00", "-", "-", "-", "-"]
    assert "no floors (run the arm `probe`)" in text


def test_tiny_models_have_neither_floors_nor_goals() -> None:
    lines = [BEGIN | {"tiny": True}, figures("3b.graphs", step_p50=9.0, step_gb=3.0)]
    text = table(lines)
    assert "no figure of a GPU" in text
    assert "x floor" not in text
    assert "step_p50=9.0" in text


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100 80GB HBM3"),
        ("NVIDIA H100 PCIe", None),  # another memory
        (None, None),
    ],
)
def test_a_card_is_found_by_its_name(name: str | None, found: str | None) -> None:
    card = card_of(name)
    assert (card.name if card else None) == found


def test_second_goes_on_with_what_first_has_left_and_first_begins_anew() -> None:
    old = figures("3b.graphs", old=1)
    first = [BEGIN, figures("probe", gpu="first's")]
    second = [BEGIN | {"mode": "second"}, figures("rt.compiled", new=1)]
    text = table([BEGIN, old, *first, *second])
    assert "old=1" not in text
    assert "gpu=first's" in text
    assert "new=1" in text


def test_an_arm_that_is_run_again_replaces_what_it_had() -> None:
    again: Line = {"arm": "micro", "kind": "begin", "at_s": 4.0}
    lines = [BEGIN, figures("micro", one=1), *ended("micro"), again, figures("micro", two=2)]
    text = table(lines)
    assert "one=1" not in text
    assert "two=2" in text
    assert "not ended" in text


def test_failed_arms_and_failed_tests_are_named_with_their_errors() -> None:
    test: Line = {
        "arm": "tests.a", "kind": "test", "at_s": 1.0, "test": "test_x[graphs]",
        "outcome": "failed", "last": ["E  assert 1 < 0"],
    }  # fmt: skip
    text = table([BEGIN, test, figures("3b.x"), *ended("3b.x", "failed: ValueError: no")])
    assert "failed: ValueError: no" in text
    assert "FAILED test_x[graphs]: E  assert 1 < 0" in text


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    Record("probe", options(tmp_path)).figure(cores=2)
    with (tmp_path / RESULTS).open("a") as file:
        file.write('{"arm": "probe", "ki')
    (line,) = read_lines(tmp_path)
    assert line["cores"] == 2


# --- what a step must read --------------------------------------------------------------------


def full_size(kind: Any) -> tuple[Any, Any]:
    """Configuration and weights, without memory."""
    config = random_config(kind, "full")
    loaded = SimpleNamespace(model=_build(config, torch.device("meta"), torch.bfloat16))
    return config, loaded


def cache(**shape: Any) -> RingCache:
    return RingCache(**shape, device=torch.device("meta"), dtype=torch.bfloat16)


def test_bytes_and_operations_of_the_full_size_3b() -> None:
    """Counted by hand, in millions: a layer has 107 weights, 30 of them, and the head 403."""
    config, loaded = full_size("voxtral")
    net: Any = SimpleNamespace(
        _cache=cache(**turn_shape(config.text_config, 1, 440)), _prompt_lengths={1: 388}
    )
    work = _turn_work(loaded, net)
    assert work["step_gb"] == pytest.approx(2 * (30 * 106.96 + 402.65) / 1e3 + 0.11, abs=0.01)
    # The encoder 1.9 for its weights and 0.4 for its attention, the prompt 2.5.
    assert work["first_tflop"] == pytest.approx(4.8, abs=0.1)


def test_bytes_of_a_full_size_realtime_step() -> None:
    """Weights, 0.2 GB of the encoder's keys and values a row, and 0.1 or 0.9 of the decoder's."""
    config, loaded = full_size("voxtral_realtime")
    made: Any = SimpleNamespace(
        _encoder_cache=cache(**live_shape(config.audio_config, 1, 4)),
        _decoder_cache=cache(**live_shape(config.text_config, 1, 1)),
    )
    work = _live_work(loaded, made)
    assert work["step_gb"] == pytest.approx(9.15, abs=0.03)
    assert work["full_step_gb"] - work["step_gb"] == pytest.approx(0.77, abs=0.02)
    assert step_weight_bytes(loaded) / 1e9 == pytest.approx(8.86, abs=0.03)


# --- what is kept ---------------------------------------------------------------------------------


def test_second_leaves_out_what_was_done_with_the_same_code_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Earlier(options(tmp_path)).add("probe", [figures("probe", cores=1), figures("3b.x", no=1)])
    assert Earlier(options(tmp_path)).figures_of("probe") is None  # `first` does all again
    assert Earlier(options(tmp_path, "second")).figures_of("probe") == {"cores": 1}
    assert Earlier(options(tmp_path, "second")).figures_of("3b.x") is None
    assert Earlier(options(tmp_path, "second", only=("probe",))).figures_of("probe") is None
    assert Earlier(options(tmp_path, "second", seconds=3.0)).figures_of("probe") is None


def test_only_named_files_are_packed_and_none_that_are_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    for name in ("kept.json", "other.bin"):
        (folder / name).write_text(name)
    pack(folder, tmp_path / "runs.tgz", {"kept.json"})
    listed = subprocess.run(["tar", "tzf", tmp_path / "runs.tgz"], capture_output=True, text=True)
    assert listed.stdout.split() == ["runs/kept.json"]
    monkeypatch.setattr("tests.gpu.session.packing._MOST_BYTES", 10)
    pack(folder, tmp_path / "large.tgz")
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["runs.tgz"]


# --- the lane -------------------------------------------------------------------------------------

# The lane with an arm that fails and one that never ends between real ones. It also looks whether
# anything that the parent does begins CUDA: its forks could not use the GPU.
LANE = """
import os, runpy, sys, threading
os.environ |= {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "OMP_NUM_THREADS": "1"}
import torch
begun = []
for name in ("_cuda_init", "_cuda_getDeviceCount"):
    setattr(torch._C, name, lambda name=name: begun.append(name) or 0)
torch.cuda._device_count_nvml = lambda: 0
import pytest
from tests.gpu.session import plan
from tests.gpu.session.parent import Arm

def fails(record):
    record.figure(before=1)
    raise ValueError("a fault\\nin two lines")

def never_ends(record):
    record.figure(before=2)
    threading.Event().wait()

def collects(record):
    names = [f"tests/gpu/{name}" for name in (*plan.TESTS_A, *plan.TESTS_B, *plan.TESTS_C)]
    command = ["--collect-only", "-W", "default", "-p", "no:cacheprovider", *names]
    record.figure(code=int(pytest.main(command)))

arms = {arm.name: arm for arm in plan.MODES["first"]}
plan.MODES["first"] = (
    arms["probe"], Arm("fails", fails, 60, 0), Arm("never_ends", never_ends, 1, 0),
    Arm("collects", collects, 60, 0), arms["micro"], arms["3b.graphs"], arms["rt.graphs32"],
)
try:
    runpy.run_module("tests.gpu.session", run_name="__main__", alter_sys=True)
finally:
    print("CUDA begun by", begun)
"""


def run_lane(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command, "--tiny", "--repeats", "2", "--out", str(folder / "out")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
    )


def figures_of(folder: Path, arm: str) -> Line:
    found: Line = {}
    for line in read_lines(folder / "out"):
        if line["arm"] == arm and line["kind"] == "figure":
            found |= line
    return found


@pytest.mark.e2e
def test_arms_that_fail_or_are_stopped_keep_their_figures_and_stop_no_other(
    tmp_path: Path,
) -> None:
    done = run_lane(tmp_path, "-c", LANE, "first", "--seconds", "1")
    assert done.returncode == 1, done.stderr
    assert done.stdout.rstrip().endswith("CUDA begun by []")
    lines = read_lines(tmp_path / "out")
    statuses = {line["of"]: line["status"] for line in lines if line["kind"] == "arm"}
    assert statuses == {
        "probe": "ok",
        "fails": "failed",
        "never_ends": "timed out",
        "collects": "ok",
        "micro": "ok",
        "3b.graphs": "ok",
        "rt.graphs32": "ok",
    }
    assert figures_of(tmp_path, "fails")["before"] == 1
    assert figures_of(tmp_path, "never_ends")["before"] == 2
    assert figures_of(tmp_path, "collects")["code"] == 0  # every test of the plan is there
    assert figures_of(tmp_path, "probe")["read_tb_s"] > 0
    assert figures_of(tmp_path, "micro")["head_32rows_us"] > 0
    assert figures_of(tmp_path, "micro")["attend_64_default_layer_us"] > 0
    turn = figures_of(tmp_path, "3b.graphs")
    for name in ("first_p50", "step_p50", "words6_p50", "step_device_ms", "encode_wall_ms"):
        assert turn[name] > 0
    live = figures_of(tmp_path, "rt.graphs32")
    for name in ("step_p50", "full_step_ms", "rows4_step_ms", "live4_p99"):
        assert live[name] > 0
    text = (tmp_path / "out" / TABLE).read_text()
    assert "failed: ValueError: a fault in two lines" in text
    assert "timed out" in text
    assert f"first_p50={turn['first_p50']}" in text


@pytest.mark.e2e
@pytest.mark.slow
def test_a_token_of_ours_is_a_step_earlier_than_that_of_generate(tmp_path: Path) -> None:
    arms = ("rt.graphs", "rt.generate", "3b.generate")
    done = run_lane(tmp_path, "-m", "tests.gpu.session", "first", "--fresh", "--only", *arms)
    assert done.returncode == 0, (tmp_path / "out" / "log.txt").read_text()
    assert figures_of(tmp_path, "3b.generate")["first_p50"] > 0
    ours, generated = (figures_of(tmp_path, arm) for arm in arms[:2])
    # Of a step's audio, paced: ours is compute alone, generate() awaits one chunk more.
    assert generated["first_p50"] - ours["first_p50"] > STEP_MS / 2
