"""Sessions that ended only because we ended the audio: with too many of them, no end is judged.

Their text was final and their turn was over because the microphone was closed, not because anybody
heard that the speaker was done. A median would not show them.
"""

from __future__ import annotations

from harness.metrics.metric import Metric
from harness.verdicts.rules.rule import Clips, ComparingRule, Material, Rule
from harness.verdicts.wording import say

LET_IT_END = (
    "see why the turn's end is not said, or keep the microphone open for longer: replay.tail_s"
)


def too_many_censored(rule: Rule, material: Material) -> str:
    """Why a rule on how sessions end is not kept, whatever the others show; empty: it may be."""
    metric = getattr(rule, "metric", None)
    if not isinstance(metric, Metric) or not metric.needs_end:
        return ""
    judged = {"": material.clips}
    if isinstance(rule, ComparingRule):
        references = material.references
        wanted = [name for name in references if rule.reference in (None, name)]
        judged |= {f" of {name}": references[name] for name in wanted}
    for whose, clips in judged.items():
        count, share = _censored(clips)
        if share > material.most_censored:
            return (
                f"{count} of {len(clips)} sessions{whose} ended only because the audio was ended"
                f" (censored), allowed {say(material.most_censored, '1')} (gate.most_censored)"
            )
    return ""


def _censored(clips: Clips) -> tuple[int, float]:
    count = sum(clip.censored is True for clip in clips)
    return count, count / len(clips) if clips else 0.0
