"""The arms of a report: runs, each with a name that tells it from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.events import SessionKind, Trace
from harness.metrics import ClipMetrics, Summary
from harness.report.text import DASH, shorten
from harness.runs import Run


@dataclass(frozen=True, slots=True)
class Arm:
    index: int  # position among the arms: gives colour, dash and marker
    label: str
    run: Run
    summary: Summary
    traces: dict[tuple[str, int], Trace]  # by clip and repeat
    clips: dict[tuple[str, int], ClipMetrics]  # by clip and repeat, in the order of the run

    def values(self, metric: str) -> list[float]:
        """Every value of a metric of :class:`ClipMetrics`; a series is pooled."""
        found: list[float] = []
        for clip in self.clips.values():
            value = getattr(clip, metric)
            if isinstance(value, tuple):
                found.extend(value)
            elif value is not None:
                found.append(value)
        return found


def make_arms(runs: Sequence[Run], summaries: Sequence[Summary]) -> list[Arm]:
    """One arm a run, in order.

    Args:
        summaries: of the same runs; made from the clips where the run did not finish.
    """
    labels = _labels([summary.arm for summary in summaries], [run.name for run in runs])
    return [
        Arm(
            index=index,
            label=label,
            run=run,
            summary=summary,
            traces={(t.session.clip, t.session.repeat): t for t in run.traces},
            clips={(c.clip, c.repeat): c for c in run.clips},
        )
        for index, (run, summary, label) in enumerate(zip(runs, summaries, labels, strict=True))
    ]


def _labels(choices: list[dict[str, str]], folders: list[str]) -> list[str]:
    """What differs between the arms; alone: the chunking; told apart by folder where nothing is."""
    keys = list(dict.fromkeys(key for choice in choices for key in choice))
    differing = [key for key in keys if len({choice.get(key) for choice in choices}) > 1]
    labels = [
        " · ".join(choice.get(key, DASH) for key in differing or ["chunking"]) for choice in choices
    ]
    repeated = {label for label, count in Counter(labels).items() if count > 1}
    return [
        shorten(f"{label} ({folder})" if label in repeated else label, 40)
        for label, folder in zip(labels, folders, strict=True)
    ]


def request_ns(trace: Trace) -> int:
    """The request instant ``R``: end of the audio in a turn, onset of speech in a live session."""
    session = trace.session
    second = session.duration_s if session.kind is SessionKind.TURN else session.speech_onset_s
    return session.t0_ns + round(second * 1e9)
