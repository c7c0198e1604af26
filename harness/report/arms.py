"""The arms of a report: runs, each with a name that tells it from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import BaselineError
from harness.events import Trace
from harness.metrics import ClipMetrics
from harness.metrics.comparison import Comparison, Difference, compare_arms
from harness.report.text import DASH, shorten
from harness.runs.folder import Run
from harness.runs.records import Summary

MOST_DRAWN = 8  # arms of a timeline


@dataclass(frozen=True, slots=True)
class Arm:
    index: int  # position among the arms: gives colour, dash and marker
    label: str
    run: Run
    summary: Summary
    traces: dict[tuple[str, int], Trace]  # by clip and repeat
    clips: dict[tuple[str, int], ClipMetrics]  # by clip and repeat, in the order of the run
    comparison: Comparison | None  # with the first arm; None: this is the first

    def difference(self, metric: str, statistic: str) -> Difference | None:
        """To the first arm, this arm less that."""
        if self.comparison is None:
            return None
        wanted = (metric, statistic)
        return next(
            (d for d in self.comparison.differences if (d.metric, d.statistic) == wanted), None
        )

    def values(self, metric: str) -> list[float]:
        """Every value of a metric of :class:`ClipMetrics`; a series is pooled."""
        found: list[float] = []
        for clip in self.clips.values():
            value = clip.figure(metric)
            if isinstance(value, tuple):
                found.extend(value)
            elif value is not None:
                found.append(value)
        return found


def make_arms(runs: Sequence[Run], summaries: Sequence[Summary]) -> list[Arm]:
    """One arm a run, in order; each further one compared with the first.

    Args:
        summaries: of the same runs; made from the clips where the run did not finish.

    Raises:
        BaselineError: they were measured by different versions of the metrics.
    """
    _require_one_version(runs)
    labels = _labels([summary.arm for summary in summaries], [run.name for run in runs])
    return [
        Arm(
            index=index,
            label=label,
            run=run,
            summary=summary,
            traces={(t.session.clip, t.session.repeat): t for t in run.traces},
            clips={(c.clip, c.repeat): c for c in run.clips},
            comparison=_compare(runs[0], run) if index else None,
        )
        for index, (run, summary, label) in enumerate(zip(runs, summaries, labels, strict=True))
    ]


def _require_one_version(runs: Sequence[Run]) -> None:
    versions = [run.environment.metrics_version for run in runs]
    if len(set(versions)) > 1:
        said = (f"{v} in {run.folder}" for v, run in zip(versions, runs, strict=True))
        raise BaselineError(
            "runs that different versions of the metrics have measured are not compared",
            value=", ".join(said),
            hint="report each alone, or measure the recorded events of the older by this version:"
            " python -m harness rechunk RUN chunking=CHOICE",
        )


def _compare(first: Run, other: Run) -> Comparison:
    """On the clips of both; of other datasets, on those of the same length and text."""
    seed, why_not = other.environment.seed, None
    a, b = first.clips, other.clips
    if len({run.environment.dataset.sha256 for run in (first, other)}) > 1:
        same = {_identity(clip) for clip in a} & {_identity(clip) for clip in b}
        a, b = (tuple(c for c in clips if _identity(c) in same) for clips in (a, b))
        why_not = None if same else "other clips, or other sound or text of theirs"
    return compare_arms(a, b, seed=seed, why_not=why_not)


def _identity(clip: ClipMetrics) -> tuple[str, float, str]:
    return clip.clip, clip.duration_s, clip.reference


def _labels(choices: list[dict[str, str]], folders: list[str]) -> list[str]:
    """What differs between the arms; alone: the chunking; told apart by folder where nothing is."""
    keys = list(dict.fromkeys(key for choice in choices for key in choice))
    differing = [key for key in keys if len({choice.get(key) for choice in choices}) > 1]
    labels = [
        " · ".join(choice.get(key, DASH) for key in differing or ["chunking"]) for choice in choices
    ]
    repeated = {label for label, count in Counter(labels).items() if count > 1}
    shown = [
        shorten(f"{label} ({folder})" if label in repeated else label, 40)
        for label, folder in zip(labels, folders, strict=True)
    ]
    return [  # what was cut may be what told them apart
        f"{label} #{index}" if shown.count(label) > 1 else label
        for index, label in enumerate(shown, start=1)
    ]


def typical_session(arms: Sequence[Arm]) -> tuple[str, int] | None:
    """Clip and repeat of the session that the timeline draws; None: there is none to draw.

    It has the median TTFT of the first arm, of the sessions that show most.

    First choice: sessions in which every arm has a gap to show; else those with text in every arm.
    """
    arms = arms[:MOST_DRAWN]
    with_text = [
        key
        for key in arms[0].clips
        if all(
            key in arm.traces and key in arm.clips and arm.clips[key].ttft_ms is not None
            for arm in arms
        )
    ]
    with_gaps = [key for key in with_text if all(arm.clips[key].gap_ms for arm in arms)]
    chosen = with_gaps or with_text
    ttft = {key: arms[0].clips[key].ttft_ms or 0.0 for key in chosen}
    return (
        sorted(chosen, key=lambda key: (ttft[key], key))[(len(chosen) - 1) // 2] if chosen else None
    )
