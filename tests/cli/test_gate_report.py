"""``gate`` leaves no report behind that states another verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.report import renew_texts
from harness.verdicts.baselines import save_baseline

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]

QUICK = ["engine=scripted", "replay.pace=virtual", "replay.compute_scale=0", "replay.repeats=1",
         "replay.frame_ms=500", "dataset.limit=8", "--quiet"]  # fmt: skip
FAILS = "gate.rules=[chunks >= 12]"


def run(folder: str, *more: str) -> int:
    return main(["run", *QUICK, f"hydra.run.dir={folder}", *more])


def test_the_report_states_the_new_verdict_and_keeps_its_plots() -> None:
    assert run("out", "chunking=6word") == 0
    plots = {path: path.read_bytes() for path in Path("out/plots").iterdir()}
    before = Path("out/report.html").read_text(encoding="utf-8")
    assert "no gate was asked for" in Path("out/report.md").read_text(encoding="utf-8")
    assert main(["gate", "out", FAILS]) == 3
    page = Path("out/report.html").read_text(encoding="utf-8")
    for text in (page, Path("out/report.md").read_text(encoding="utf-8")):
        assert "FAIL" in text
        assert "no gate was asked for" not in text
    assert "chunks &gt;= 12" in page
    assert page.count("<svg") == before.count("<svg")
    assert {path: path.read_bytes() for path in Path("out/plots").iterdir()} == plots
    assert "FAIL" in Path("out/junit.xml").read_text(encoding="utf-8")


def test_nothing_is_drawn_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("out") == 0

    def refused(*_: object) -> None:
        raise AssertionError("drawn")

    monkeypatch.setattr("harness.report.draw_plots", refused)
    assert main(["gate", "out", "gate.rules=[chunks >= 1]"]) == 0


def test_plots_of_an_older_harness_are_drawn_again() -> None:
    assert run("out") == 0
    Path("out/plots/plots.json").unlink()
    assert main(["gate", "out", "gate.rules=[chunks >= 1]"]) == 0
    assert Path("out/plots/plots.json").is_file()
    assert "PASS" in Path("out/report.md").read_text(encoding="utf-8")


def test_a_run_without_a_report_gets_none() -> None:
    assert run("out", "report.plots=false") == 0
    assert main(["gate", "out", "gate.rules=[chunks >= 1]"]) == 0
    assert not Path("out/report.md").exists()


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc/passwd", ".."])
def test_a_plots_name_is_a_plain_name(name: str) -> None:
    assert run("out") == 0
    index = Path("out/plots/plots.json")
    kept = json.loads(index.read_text(encoding="utf-8"))
    kept["plots"][0] |= {"name": name, "why": None}
    index.write_text(json.dumps(kept), encoding="utf-8")
    assert renew_texts([], Path("out")) is False


def test_a_page_that_can_be_heard_still_can() -> None:
    assert run("out", "report.audio=true", "dataset.limit=1") == 0
    assert main(["gate", "out", "gate.rules=[chunks >= 1]"]) in (0, 4)
    assert "data:audio/flac" in Path("out/report.html").read_text(encoding="utf-8")


# --- whoever names a baseline is answered ---


def test_a_baseline_is_judged_by_ci_where_no_gate_was_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("old", "report.plots=false") == 0
    assert run("new", "report.plots=false", "engine.first_ms=120", "gate=none") == 0
    save_baseline("main", Path("old"))
    assert main(["gate", "new", "--baseline", "main", "--allow", "config_identity"]) in (3, 4)
    seen = capsys.readouterr()
    assert "judged by gate=ci" in seen.err
    assert "ttft_ms p50 vs baseline: at most +5 % and +10 ms" in seen.out


@pytest.mark.parametrize(
    "argv",
    [
        ["gate", "out", "--baseline", "main", "gate.rules=[chunks >= 1]"],
        ["gate", "out", "--baseline", "main", "gate=none"],
        ["run", *QUICK, "gate.baseline=main", "hydra.run.dir=other"],
        ["run", *QUICK, "gate.baseline=main", "gate.rules=[chunks >= 1]", "hydra.run.dir=other"],
    ],
)
def test_a_baseline_that_nothing_compares_with_is_refused(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("out", "report.plots=false") == 0
    save_baseline("main", Path("out"))
    assert main(argv) == 2
    assert "no rule of gate" in capsys.readouterr().err
    assert not Path("other").exists()


LOADED = """
import sys
from harness.__main__ import main
code = main(sys.argv[1:])
print(code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_a_report_is_renewed_without_matplotlib() -> None:
    assert run("out", "gate.rules=[chunks >= 1]") == 0
    root = Path(__file__).parents[2]
    before = Path("out/report.html").stat().st_mtime_ns
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "gate", "out"], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    )  # fmt: skip
    code, *loaded = done.stdout.splitlines()[-1].split()
    assert code == "0", done.stderr
    assert not {"matplotlib", "torch", "hydra"} & set(loaded)
    assert Path("out/report.html").stat().st_mtime_ns > before
