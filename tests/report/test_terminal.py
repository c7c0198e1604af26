import io
import itertools
import re
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from rich.console import Console

from harness.chunking import Words
from harness.report.arms import make_arms
from harness.report.terminal import print_comparison, print_summary
from harness.report.text import TIMES
from harness.runs.folder import Run
from tests.report.synthetic import make_arm_runs, make_run

FOLDER = Path("reports/runs/example")


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return make_arm_runs((1, 6), clips=7)


@pytest.fixture(scope="module")
def pair() -> list[Run]:
    """Two runs that are called anything."""
    return [make_run(Path(), Words(k), clips=7) for k in (1, 2)]


def printed(run_or_runs: Run | list[Run], width: int, **console_options: object) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, **console_options)
    if isinstance(run_or_runs, Run):
        print_summary(run_or_runs.summary, console, folder=FOLDER, next_step="look at it")
    else:
        arms = make_arms(run_or_runs, [run.summary for run in run_or_runs])
        print_comparison(arms, console, folder=FOLDER, next_step="look at it")
    return file.getvalue()


SUMMARY = f"""\

1word · whisper_tiny_en · two_cities · turn                          7 clips {TIMES} 3

                  p50                                 p95       max    n
TTFT         313.1 ms  █████████▊                329.4 ms  332.6 ms   21
"""


def test_summary_at_80_columns(runs: list[Run]) -> None:
    text = printed(runs[0], 80)
    assert text.splitlines()[:5] == SUMMARY.splitlines()
    for words in ("WER", "Verdict", "no gate", "valid · harness floor 0.11 ms · send lateness p50",
                  "reports/runs/example", "look at it"):  # fmt: skip
        assert words in text


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 140])
def test_nothing_is_wider_than_the_terminal(runs: list[Run], width: int) -> None:
    for text in (printed(runs[0], width), printed(runs, width)):
        assert max(len(line) for line in text.splitlines()) <= width


def words_of(text: str, start: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.lstrip().startswith(start))


def test_a_narrow_terminal_leaves_out_other_columns_than_n(runs: list[Run]) -> None:
    one, both = printed(runs[0], 40), printed(runs, 40)
    assert words_of(one, "p50") == ["p50", "p95", "n"]
    assert words_of(one, "TTFT") == ["TTFT", "313.1", "ms", "329.4", "ms", "21"]
    assert "no room for: max" in one
    assert words_of(both, "arm") == ["arm", "value", "n"]
    assert words_of(both, "TTFT p50") == ["TTFT", "p50", "1word", "313.1", "ms", "21"]
    assert "no room for: - 1word, ratio" in both


def table_of(runs: list[Run], width: int, *names: str) -> str:
    """What is printed above the facts for two arms of these names."""
    runs = [_named(run, name) for run, name in zip(runs, names, strict=True)]
    difference = make_arms(runs, [run.summary for run in runs])[1].difference("ttft_ms", "p50")
    table, _, facts = printed(runs, width).partition("\nno room for: ratio")
    assert f"{difference.difference:+.1f} ms" in table  # whatever the names
    assert all(name[:30] in facts for name in names)
    assert max(len(line) for line in table.splitlines()) <= width
    return table


def _named(run: Run, name: str) -> Run:
    """A run of another name, which is also its arm's."""
    arm = msgspec.structs.replace(run.environment.arm, chunking=name)
    environment = msgspec.structs.replace(run.environment, name=name, arm=arm)
    assert run.summary is not None
    summary = replace(run.summary, arm=msgspec.structs.asdict(arm))
    return replace(run, folder=Path(name), environment=environment, summary=summary)


@pytest.mark.parametrize("width", [70, 80])
def test_long_names_are_shortened_before_the_differences_are_left_out(
    pair: list[Run], width: int
) -> None:
    names = "1word (old-0123456789)", "2word (old-0123456789)", "1word (new-0123456789+dirty)"
    for first, second in itertools.combinations(names, 2):
        lines = table_of(pair, width, first, second).splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith("TTFT p50"))
        shown = [re.match(r"(?:TTFT p50)? +(\S+(?: \S+)*)  ", lines[at + i])[1] for i in (0, 1)]
        assert shown[0] != shown[1]
        assert all("…" in name for name in shown)


def test_names_that_differ_in_their_middles_alone_are_shown_whole_on_several_lines(
    pair: list[Run],
) -> None:
    table = table_of(pair, 70, *(f"the-same-beginning-{one}-and-the-same-end" for one in "AB"))
    assert "A-and-the-" in table
    assert "B-and-the-" in table
    assert "same-end" in table
    assert "…" not in table.partition("TTFT p50")[2]


def test_long_differences_get_their_intervals_below(pair: list[Run]) -> None:
    names = "a-name-of-19-letters", "another-of-18-lette"
    one_line, two_lines = (table_of(pair, width, *names) for width in (80, 66))
    assert re.search(r"\d ms \[", one_line)
    assert re.search(r"\d ms +\d+ *\n +\[[^ ]+, [^ ]+\]", two_lines)


def test_a_narrow_terminal_shows_of_how_many_where_some_failed() -> None:
    text = printed(make_run(Path(), clips=7, fail_every=3), 40)
    (ttft,) = (line for line in text.splitlines() if line.startswith("TTFT"))
    assert re.search(r" \d+ of 21 *$", ttft)


def test_piped_output_has_no_colour_codes_and_a_terminal_has(runs: list[Run]) -> None:
    assert "\x1b" not in printed(runs, 80)
    assert "\x1b[" in printed(runs, 80, force_terminal=True, color_system="standard")


def test_comparison_says_the_difference_and_that_the_text_is_the_same(runs: list[Run]) -> None:
    text = printed(runs, 100)
    arm = make_arms(runs, [run.summary for run in runs])[1]
    difference = arm.difference("ttft_ms", "p50")
    assert f"{difference.difference:+.1f} ms" in text
    assert f"{TIMES}{difference.ratio:.2f}" in text
    assert "the same in 21 of 21 sessions" in text


def test_a_terminal_without_unicode_gets_plain_bars(runs: list[Run]) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    print_summary(runs[0].summary, Console(file=file, width=80), folder=FOLDER, next_step="")
    file.seek(0)
    assert re.search(r"313.1 ms +####", file.read())


def test_a_verdict_says_how_many_rules_pass() -> None:
    rules = [
        {"rule": "ttft_ms p95 <= 300 ms", "status": "fail", "observed": 339.1, "limit": 300,
         "why": "above with certainty"},
        {"rule": "wer <= 0.08", "status": "pass", "observed": 0.0, "limit": 0.08, "why": ""},
    ]  # fmt: skip
    run = make_run(Path(), verdict={"status": "fail", "rules": rules}, clips=7)
    text = printed(run, 90)
    assert "FAIL  1 of 2 rules pass" in text


def test_an_invalid_run_says_so_with_the_remedy_and_never_passes() -> None:
    text = printed(make_run(Path(), clips=7, fail_every=3), 200)
    assert "INVALID" in text
    assert "failed_clips" in text
    assert "PASS" not in text


def test_too_few_samples_say_why_there_is_no_figure() -> None:
    text = printed(make_run(Path(), clips=1, repeats=1), 80)
    assert "no TTFT p50: n=1 < 2" in text


def test_hostile_names_cannot_act_on_the_terminal() -> None:
    run = make_run(Path(), Words(1), name="[red]\x1b[31m\x07\u202eevil", clips=2)
    for text in (printed(run, 120), printed([run, run], 120)):
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "\u202e" not in text
        assert "[red]␛[31m␇�evil" in text
