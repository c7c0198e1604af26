"""The report as files: the same figures everywhere, the same bytes again."""

import csv
import dataclasses
import io
import itertools
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from harness.errors import StorageError
from harness.events import SessionKind
from harness.machine.host import HostSample
from harness.report import write_report
from harness.report.arms import Arm, make_arms
from harness.report.causes import drift
from harness.report.exports import comparison_csv, markdown
from harness.report.page import page
from harness.report.perfetto import trace_json
from harness.report.style import Plot, inline_svg, styled
from harness.report.table import headline
from harness.report.terminal import print_comparison
from harness.report.text import DASH
from harness.report.timeline import clip_timeline
from harness.runs.folder import Run
from tests.report.synthetic import make_arm_runs, make_run, save_run

PLOTS = ("ttft", "paired", "budget", "timeline", "gaps", "words_per_chunk", "pareto", "wer",
         "drift", "send_lateness")  # fmt: skip


def arms_of(runs: list[Run]) -> list[Arm]:
    return make_arms(runs, [run.summary for run in runs])


class Text(HTMLParser):
    """What a reader of the page sees, and what could act in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.scripts = 0
        self.outside: list[str] = []  # addresses that the page would ask for
        self._silent = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in ("script", "style")
        self.scripts += tag == "script"
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            asks = name in ("src", "href", "xlink:href", "action", "data")
            if asks and value and not value.startswith(("#", "data:")):
                self.outside.append(value)

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [save_run(run, folder) for run in make_arm_runs((1, 6), clips=7)]


@pytest.fixture(scope="module")
def runs(folders: list[Path]) -> list[Run]:
    from harness.runs.folder import load_run

    return [load_run(folder) for folder in folders]


@pytest.fixture(scope="module")
def report(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    written = write_report(runs, out, trace=True)
    files = {path for path in out.rglob("*") if path.is_file()}
    assert set(written) == files
    return out


def test_it_has_every_file(report: Path) -> None:
    expected = {"report.html", "report.md", "comparison.csv", "trace.json", "plots/plots.json"}
    expected |= {f"plots/{name}.{kind}" for name in PLOTS for kind in ("svg", "png")}
    assert {str(path.relative_to(report)) for path in report.rglob("*.*")} == expected


REMAKE = """
import sys
from pathlib import Path
from typing import Any
from harness.report import write_report
from harness.runs.folder import load_run
write_report([load_run(Path(f)) for f in sys.argv[2:]], Path(sys.argv[1]), trace=True)
print([m for m in ("torch", "transformers", "hydra") if m in sys.modules])
"""


@pytest.mark.slow
def test_made_again_it_is_the_same_bytes_and_needs_neither_torch_nor_hydra(
    report: Path, folders: list[Path], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REMAKE, tmp_path, *folders],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONHASHSEED": "7", "MPLBACKEND": "svg", "TZ": "Asia/Tokyo"},
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
    names = sorted(path.relative_to(report) for path in report.rglob("*.*"))
    assert [n for n in names if (report / n).read_bytes() != (tmp_path / n).read_bytes()] == []


def test_page_markdown_csv_terminal_and_json_say_the_same(report: Path, runs: list[Run]) -> None:
    arms = arms_of(runs)
    seen = Text((report / "report.html").read_text(encoding="utf-8")).text
    for_pr = (report / "report.md").read_text(encoding="utf-8")
    file = io.StringIO()
    print_comparison(arms, Console(file=file, width=120), folder=report, next_step="")
    lines = list(
        csv.DictReader((report / "comparison.csv").read_text(encoding="utf-8").splitlines())
    )
    stored = [json.loads((run.folder / "summary.json").read_text(encoding="utf-8")) for run in runs]
    rows = headline(arms)
    assert {"TTFT p50", "TTFT p95", "First token p50", "Gap p50", "Response p50", "WER"} <= {
        row.label for row in rows
    }
    for row in rows:
        for arm, cell, difference in zip(arms, row.cells, row.differences, strict=True):
            assert cell.value == stored[arm.index]["metrics"][row.metric][row.statistic]
            for text in (seen, for_pr, file.getvalue()):
                assert row.show(cell.value) in text
                assert row.show_difference(difference) in text
            (line,) = (
                line for line in lines
                if (line["arm"], line["metric"], line["statistic"])
                == (arm.label, row.metric, row.statistic)
            )  # fmt: skip
            assert float(line["value"]) == cell.value
            if difference is not None:
                assert float(line["difference"]) == difference.difference


def test_the_waterfall_closes_on_every_clip(runs: list[Run]) -> None:
    for clip in itertools.chain(*(run.clips for run in runs)):
        parts = dict(clip.budget_ms)
        rest = parts.pop("unattributed")
        assert abs(rest) <= max(0.01 * clip.ttft_ms, 0.5)
        assert sum(parts.values()) + rest == pytest.approx(clip.ttft_ms, abs=1e-6)


def test_every_plot_is_well_formed_and_names_its_n(report: Path, runs: list[Run]) -> None:
    for_pr = (report / "report.md").read_text(encoding="utf-8")
    for name in PLOTS:
        svg = (report / "plots" / f"{name}.svg").read_text(encoding="utf-8")
        ET.fromstring(svg)  # noqa: S314 ours
        assert "<dc:date>" not in svg
    assert for_pr.count("n = 21") >= 4


def test_the_page_is_small_and_asks_for_nothing(report: Path) -> None:
    seen = Text((report / "report.html").read_text(encoding="utf-8"))
    assert seen.outside == []
    assert seen.scripts == 2  # the recorded text as JSON, and the player
    assert (report / "report.html").stat().st_size < 600_000


def test_trace_opens_as_chrome_trace_events_on_one_time_line(report: Path, runs: list[Run]) -> None:
    trace = json.loads((report / "trace.json").read_text(encoding="utf-8"))
    events = trace["traceEvents"]
    names = [e["args"]["name"] for e in events if e["name"] == "process_name"]
    assert names == ["1word", "6word"]
    first_ns = min(t.session.t0_ns for run in runs for t in run.traces)
    recorded = runs[1].traces[3]
    chunk = recorded.chunks[0]
    assert {
        "ph": "i", "s": "t", "name": chunk.text, "pid": 1, "tid": 4,
        "ts": (chunk.at_ns - first_ns) / 1000, "args": {"index": 0, "is_final": chunk.is_final},
    } in events  # fmt: skip
    spans = [e for e in events if e["ph"] == "X" and e["tid"] == 2]
    assert len(spans) == sum(len(t.spans) for run in runs for t in run.traces)
    assert all(e["ts"] >= 0 for e in events if "ts" in e)


def test_runs_of_different_processes_begin_at_the_same_zero(runs: list[Run]) -> None:
    shifted = json.loads(trace_json(arms_of([runs[0], make_run(Path(), place=10**6, clips=2)])))
    starts = [
        min(e["ts"] for e in shifted["traceEvents"] if "ts" in e and e["pid"] == pid)
        for pid in (0, 1)
    ]
    assert starts == [0.0, 0.0]


HOSTILE = (
    "<script>document.title='run'</script>",
    "</script><script>document.title='run'</script>",
    "\u202e\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \U0001f600\U0001f1e9\U0001f1ea",
    "nul\0esc\x1b[31m&amp;\"'`$x^2$ {{ 7*7 }} {% x %} | # [a](b) <img src=x onerror=alert(1)>",
    "w" * 10_000,
)


@pytest.fixture(scope="module")
def hostile() -> list[Run]:
    runs = [
        make_run(Path("<b>&\0"), name=name, clips=2, repeats=1, text=list(HOSTILE))
        for name in ("<i>1word</i>", "$6^{word}$|`*")
    ]
    rename = "<img src=x onerror=alert(1)>\u202e\0" + "n" * 300
    return [_renamed(run, rename) for run in runs]


def _renamed(run: Run, prefix: str) -> Run:
    from msgspec.structs import replace

    return replace(
        run,
        traces=tuple(
            replace(t, session=replace(t.session, clip=prefix + t.session.clip)) for t in run.traces
        ),
        clips=tuple(replace(c, clip=prefix + c.clip) for c in run.clips),
    )


@pytest.mark.e2e
@pytest.mark.usefixtures("without_pngs")
def test_hostile_text_is_shown_as_text_and_never_runs(hostile: list[Run], tmp_path: Path) -> None:
    write_report(hostile, tmp_path, trace=True)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    seen = Text(source)
    assert seen.scripts == 2
    assert seen.outside == []
    assert "<img" not in source
    assert "<script>document.title='run'</script>" in seen.text
    assert "</script><script>document.title='run'</script>" in seen.text
    assert "{{ 7*7 }}" in seen.text
    assert "nul␀esc␛[31m" in seen.text
    assert "w" * 10_000 in seen.text
    for path in tmp_path.rglob("*.*"):
        if path.suffix != ".png":
            assert not re.search("[\0\x1b\u202e]", path.read_text(encoding="utf-8")), path
        if path.suffix == ".svg":
            ET.parse(path)  # noqa: S314 ours
    json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    table = [
        line
        for line in (tmp_path / "report.md").read_text(encoding="utf-8").splitlines()
        if "TTFT p50" in line
    ]
    assert len(table) == 1
    assert len(re.findall(r"(?<!\\)\|", table[0])) == 4


CASES: dict[str, Callable[[], list[Run]]] = {
    "one arm": lambda: make_arm_runs((1,), clips=3),
    "eight arms": lambda: make_arm_runs((1, 2, 3, 4, 5, 6, 8, 12), clips=2, repeats=1),
    "one clip": lambda: make_arm_runs((1, 6), clips=1, repeats=1),
    "failed clips": lambda: make_arm_runs((1, 6), clips=3, fail_every=4),
    "all failed": lambda: make_arm_runs((1, 6), clips=2, fail_every=1),
    "live": lambda: make_arm_runs((1, 6), clips=2, kind=SessionKind.LIVE),
    "killed": lambda: [_killed(make_run(Path(), clips=3))],
    "empty": lambda: [_emptied(make_run(Path(), clips=3))],
}


QUICK = ("one clip", "live", "empty")


def _killed(run: Run) -> Run:
    from msgspec.structs import replace

    return replace(run, summary=None, traces=run.traces[:4], clips=run.clips[:4])


def _emptied(run: Run) -> Run:
    from msgspec.structs import replace

    return replace(run, summary=None, traces=(), clips=())


@pytest.mark.e2e
@pytest.mark.usefixtures("without_pngs")
@pytest.mark.parametrize(
    "case", [c if c in QUICK else pytest.param(c, marks=pytest.mark.slow) for c in CASES]
)
def test_every_kind_of_run_has_a_report(case: str, tmp_path: Path) -> None:
    write_report(CASES[case](), tmp_path)
    seen = Text((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert not re.search(r"\bnan\b|\bNone\b", seen)
    invalid = case in ("failed clips", "all failed", "killed", "empty")
    assert ("INVALID: do not use these figures" in seen) == invalid


def test_an_invalid_run_answers_nothing(runs: list[Run]) -> None:
    from harness.report.answers import answers

    invalid = make_arm_runs((1, 6), clips=7, validity=("late_replay: close other programs",))
    faster, right, trusted = answers(arms_of(invalid))
    assert faster.short == right.short == "Unknown: the run is INVALID"
    assert trusted.tone == "bad"
    assert "1word: late_replay: close other programs" in trusted.details
    assert [a.tone for a in answers(arms_of(runs))][:2] == ["good", "good"]


def test_a_difference_within_chance_is_no_winner() -> None:
    from harness.report.answers import answers

    same = make_arm_runs((1, 1), clips=7, token_ms=15.0)
    assert answers(arms_of(same))[0].short == "No difference beyond chance"


def test_arms_are_told_apart_by_what_differs() -> None:
    one, two = make_arm_runs((1, 6), clips=1)
    assert [arm.label for arm in arms_of([one, two])] == ["1word", "6word"]
    labels = [arm.label for arm in arms_of([one, one])]
    assert labels == ["1word (1word) #1", "1word (1word) #2"]


def test_the_sound_is_in_the_page_when_asked_for() -> None:
    arms = arms_of(make_arm_runs((1,), clips=1, repeats=1))
    clip = arms[0].run.traces[0].session
    samples = np.sin(np.linspace(0, 900, round(clip.duration_s * 16_000))).astype(np.float32)
    assert "data:audio/flac;base64," in page(arms, [], {clip.clip: samples})
    assert "data:audio/flac;base64," not in page(arms, [])


@pytest.mark.usefixtures("without_pngs")
def test_the_timeline_draws_the_waveform_when_the_samples_are_at_hand() -> None:
    arms = arms_of(make_arm_runs((1,), clips=1, repeats=1))
    clip = arms[0].run.traces[0].session
    samples = np.random.default_rng(0).normal(0, 0.1, round(clip.duration_s * 16_000))
    with styled():
        drawn = clip_timeline(arms, {clip.clip: samples.astype(np.float32)})
        plain = clip_timeline(arms)
    assert isinstance(drawn, Plot)
    assert len(drawn.svg) > len(plain.svg) + 5_000


@pytest.mark.usefixtures("without_pngs")
def test_the_timeline_speaks_of_gaps_where_there_are_some() -> None:
    with styled():
        some, none = (
            clip_timeline(arms_of(make_arm_runs((n,), clips=2, repeats=1))) for n in (1, 99)
        )
    assert "of the clips with gaps in every arm." in some.caption
    assert "of the clips with text in every arm." in none.caption
    assert f"longest gap {DASH}." in none.caption


@pytest.mark.usefixtures("without_pngs")
def test_a_colour_or_an_id_in_a_transcript_stays() -> None:
    runs = make_arm_runs((9,), clips=1, repeats=1, text=["#1b2330", "is", 'id="ink"', "dark"])
    with styled():
        svg = inline_svg(clip_timeline(arms_of(runs)))
    assert '>#1b2330 is id="ink" dark.</text>' in svg
    assert "var(--ink)" in svg
    assert not re.search('style="[^"]*#1b2330', svg)


def test_a_folder_that_cannot_be_written_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match=r"cannot write the report") as error:
        write_report(make_arm_runs((1,), clips=1, repeats=1), tmp_path / "file")
    assert "--out" in str(error.value)


def test_exports_need_no_plots(runs: list[Run]) -> None:
    arms = arms_of(runs)
    assert markdown(arms, []).startswith("# 1word against 6word\n")
    assert comparison_csv(arms).count("\n") > 20


def test_a_cell_of_the_csv_computes_nothing_and_a_number_stays_one(runs: list[Run]) -> None:
    arms = [dataclasses.replace(arm, label=f"=cmd|{arm.label}") for arm in arms_of(runs)]
    lines = list(csv.DictReader(io.StringIO(comparison_csv(arms))))
    assert {line["arm"] for line in lines} == {"'=cmd|1word", "'=cmd|6word"}
    assert min(float(line["difference"] or 0) for line in lines) < 0


@pytest.mark.usefixtures("without_pngs")
def test_what_the_process_held_stands_under_the_drift(tmp_path: Path) -> None:
    host = [HostSample(i * 10**9, 7, (100 << 20) + (i << 20), 0.0, 0.0, 2) for i in range(61)]
    few_clips: dict[str, Any] = {"clips": 3, "repeats": 2}
    one, six = (
        make_run(tmp_path, name=name, host=host, **few_clips) for name in ("1word", "6word")
    )

    def caption(*runs: Run) -> str:
        with styled():
            return drift(arms_of(list(runs))).caption

    held = "160 MiB at most, +60.0 MiB a minute [+60.0, +60.0]"
    assert f" Memory of the process: {held}. Points:" in caption(one, six)
    other = make_run(tmp_path, name="6word", host=host[:2], **few_clips)
    few = "101 MiB at most; no slope: 2 samples of memory; a slope needs 10"
    assert f" Memory of the process: 1word: {held}; 6word: {few}." in caption(one, other)
    assert "Memory" not in caption(make_run(tmp_path, **few_clips))


def test_headline_rows_of_text_that_is_taken_back_are_there_only_where_it_is(
    tmp_path: Path,
) -> None:
    runs = make_arm_runs((1, 6), tmp_path, kind=SessionKind.LIVE)
    names = {row.metric for row in headline(arms_of(runs))}
    ours = {
        "first_stable_ms", "word_shown_ms", "word_final_ms", "final_known_ms", "upwr", "erasure",
        "revisions_per_s", "wer_at_0ms", "wer_at_500ms",
    }  # fmt: skip
    assert not names & {*ours, "eot_ms", "false_cutoffs", "censored", "streaming_penalty"}
    clips = tuple(msgspec.structs.replace(clip, takes_back=True) for clip in runs[1].clips)
    shown = headline(arms_of([runs[0], msgspec.structs.replace(runs[1], clips=clips)]))
    assert {row.metric for row in shown} >= ours


def test_live_beside_turn_has_a_streaming_penalty_though_no_ttft_is_compared(
    tmp_path: Path,
) -> None:
    runs = [make_run(tmp_path, name=kind, kind=SessionKind(kind)) for kind in ("turn", "live")]
    rows = {row.metric: row for row in headline(arms_of(runs))}
    penalty = rows["streaming_penalty"]
    assert penalty.label == "Streaming penalty"
    assert [cell.value for cell in penalty.cells] == [None, 0.0]  # the same text here
    assert penalty.cells[1].ci95 == (0.0, 0.0)
    assert rows["ttft_ms"].differences == (None, None)
