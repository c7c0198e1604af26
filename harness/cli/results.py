"""What the verbs share once runs are finished: reading, printing, judging them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from harness.datasets import HubDataset, ManifestDataset
from harness.errors import ConfigError, DatasetError, StorageError, UsageError
from harness.export import github, junit
from harness.metrics import METRICS_VERSION
from harness.report import renew_texts, write_arms
from harness.report.arms import Arm, make_arms, typical_session
from harness.report.text import judged_by
from harness.runs.folder import ENVIRONMENT, Run, load_run, write_json, write_text
from harness.runs.names import inside
from harness.runs.reading import decode_json
from harness.runs.records import ArmNames, Summary, Verdict
from harness.runs.summarise import measured_again, summarise_run
from harness.text import visible
from harness.verdicts import exit_code, worst

if TYPE_CHECKING:
    from harness.audio import Samples

COMPARISON = "comparison.json"
STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "invalid": "red"}


def conclude(folders: Sequence[Path]) -> int:
    """Write the report of finished runs, print it; returns the worst verdict's exit code."""
    runs = [load_run(folder) for folder in folders]
    out = folders[0] if len(folders) == 1 else folders[0].parent
    wanted = runs[0].config["report"]
    arms = arms_from(runs)
    verdicts = [arm.summary.verdict for arm in arms]
    if len(arms) > 1:
        write_json(out / COMPARISON, _comparison(arms))
    keep(runs, verdicts, out)
    if wanted["plots"]:
        remake(arms, out, embed_audio=wanted["audio"], trace=wanted["trace"])
    print_arms(arms, out, wanted["show"])
    return publish(runs, verdicts, wanted["show"])


def arms_from(runs: Sequence[Run]) -> list[Arm]:
    """The runs, each compared with the first."""
    return make_arms(runs, [_summary(run) for run in runs])


def remake(
    arms: Sequence[Arm], out: Path, *, embed_audio: bool = False, trace: bool = False
) -> list[Path]:
    """Write the report; with waveforms where the clips are at hand."""
    drawn = typical_session(arms)
    audio = _audio_of(arms[0].run, None if embed_audio or drawn is None else drawn[0])
    return write_arms(arms, out, audio=audio, embed_audio=embed_audio, trace=trace)


def renew(runs: Sequence[Run], out: Path) -> None:
    """The report in ``out``, if there is one, states the runs' new verdicts; plots stay."""
    page = out / "report.html"
    if not page.is_file() and not (out / "report.md").is_file():
        return
    arms = arms_from(runs)
    # Sound that was put into the page stays in it.
    heard = page.is_file() and b"data:audio/" in page.read_bytes()
    if not renew_texts(arms, out, _audio_of(runs[0]) if heard else None):
        remake(arms, out, embed_audio=heard, trace=(out / "trace.json").is_file())


def _audio_of(run: Run, clip: str | None = None) -> dict[str, Samples] | None:
    """The clips' samples by id; None where they cannot be had on this machine.

    Args:
        clip: the only one that is wanted, where it can be read without the others.
    """
    from harness.datasets.load import load_dataset  # with libraries for sound

    config = run.config.get("dataset", {})
    kind = HubDataset if "path" in config else ManifestDataset
    if clip is not None and kind is ManifestDataset and config.get("loop_to_s") is None:
        config = config | {"clips": [clip], "limit": None}
    try:
        return {clip.id: clip.samples for clip in load_dataset(kind(**config)).clips}
    except (DatasetError, ConfigError, TypeError) as error:  # made elsewhere, or by another version
        _note(f"no waveforms: {str(error).splitlines()[0]}")
        return None


def _comparison(arms: Sequence[Arm]) -> dict[str, Any]:
    """``comparison.json``: every arm against the first, paired clip by clip."""
    return {
        "schema": 1,
        "metrics_version": arms[0].run.environment.metrics_version,
        "arms": [arm.run.name for arm in arms],
        "comparisons": [arm.comparison for arm in arms[1:]],
    }


def print_arms(arms: Sequence[Arm], folder: Path, show: str = "table") -> None:
    """Print the arms as ``table`` or ``json``, or nothing (``quiet``)."""
    if show == "json":
        answer = {
            "folder": str(folder),
            "arms": {arm.run.name: arm.summary for arm in arms},
            "comparison": _comparison(arms) if len(arms) > 1 else None,
        }
        print(msgspec.json.encode(answer).decode())  # noqa: T201 the answer
    if show != "table":
        return
    from harness.report.terminal import print_comparison, print_summary

    console = Console(highlight=False)
    page = folder / "report.html"
    again = shlex.join(["python", "-m", "harness", "report", str(folder)])
    step = f"open {page}" if page.is_file() else again
    if len(arms) == 1:
        print_summary(arms[0].summary, console, folder=folder, next_step=step)
    else:
        print_comparison(arms, console, folder=folder, next_step=step)


def _summary(run: Run) -> Summary:
    if run.summary is None:
        raise StorageError(f"the run in {run.folder} did not finish: it has no summary.json")
    return run.summary


def keep(runs: Sequence[Run], verdicts: Sequence[Verdict], out: Path) -> None:
    """Write ``junit.xml`` and GitHub's summary of the step: before anything is shown."""
    by_arm = _by_arm(runs, verdicts)
    write_text(out / "junit.xml", junit.junit_xml(by_arm))
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if os.environ.get("GITHUB_ACTIONS") == "true" and summary:
        _append(Path(summary), github.markdown(by_arm))


def publish(runs: Sequence[Run], verdicts: Sequence[Verdict], show: str = "table") -> int:
    """Print the verdicts, annotate on GitHub; returns the exit code."""
    by_arm = _by_arm(runs, verdicts)
    if show == "table":
        print_verdicts(by_arm)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print("\n".join(github.workflow_commands(by_arm)))  # noqa: T201 read by the runner
    return exit_code(worst([verdict.status for verdict in verdicts]))


def _by_arm(runs: Sequence[Run], verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
    return {run.name: verdict for run, verdict in zip(runs, verdicts, strict=True)}


def _append(path: Path, text: str) -> None:
    """For people only: a summary that cannot be written changes no verdict."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        _note(f"no step summary: {error}")


def print_verdicts(by_arm: dict[str, Verdict]) -> None:
    """Every rule of every arm that was judged, with why and what to do."""
    console = Console(highlight=False)
    for arm, verdict in by_arm.items():
        if not verdict.rules:
            continue
        by = judged_by(verdict)
        console.print(Text(f"\n{visible(arm)}: {verdict.status.upper()} {visible(by)}"))
        for rule in verdict.rules:
            status = rule.status.upper() if rule.status != "none" else "NOT ASKED"
            asked = f"  {status:<13}{visible(rule.rule)}"
            console.print(Text(asked, style=STYLES.get(rule.status, "dim")))
            why = rule.why + (f". Next: {rule.next}" if rule.next else "")
            console.print(Padding(Text(visible(why)), (0, 0, 0, 15)))


def arms_of(folder: Path) -> list[Path]:
    """The run itself, or the arms of a comparison in the order in which they were compared."""
    arms = sorted(path.parent for path in folder.glob("*/events.jsonl"))
    if (folder / "events.jsonl").is_file() or not arms:
        return [folder]
    if not (folder / COMPARISON).is_file():
        return _in_their_order(arms)  # cut off before it was written
    names = decode_json(folder / COMPARISON, ArmNames).arms
    try:
        return [inside(folder, name, "an arm") for name in names]
    except UsageError as error:
        raise StorageError(
            f"{folder / COMPARISON} cannot be read: {error.what}", value=error.value,
            allowed=error.allowed, hint="was it edited by hand? Name the arms' folders instead",
        ) from error  # fmt: skip


def _in_their_order(arms: list[Path]) -> list[Path]:
    """As they were compared, by what the first says of the go; else in the order of their names."""
    environment = arms[0] / ENVIRONMENT
    names = decode_json(environment, dict).get("arms_of_this_go") if environment.is_file() else None
    by_name = {arm.name: arm for arm in arms}
    if not isinstance(names, list) or sorted(map(str, names)) != sorted(by_name):
        return arms
    return [by_name[name] for name in names]


def finished(run: Run) -> Run:
    """The run with a summary: a killed run's is made now, from the clips that it kept."""
    version = run.environment.metrics_version
    if version != METRICS_VERSION:
        _note(f"{run.folder} was measured by version {version} of the metrics, this harness has"
              f" {METRICS_VERSION}: a metric may be defined otherwise")  # fmt: skip
    if run.summary is not None:
        return measured_again(run)
    summary = summarise_run(run)
    kept, planned = len(run.clips), summary.clips * summary.repeats
    _note(
        f"{run.folder} did not finish: it was stopped before summary.json was written. {kept} of"
        f" {planned} sessions were kept, and what follows is made from them. Next: measure again"
    )
    return msgspec.structs.replace(run, summary=summary)


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)  # noqa: T201 for people
