"""``summary.json`` of a run, from what its folder holds and nothing else.

So a summary can be made again after a crash, and by another version of the metrics.
"""

from __future__ import annotations

from harness.metrics import METRICS_VERSION, Summary
from harness.metrics.summary import summarise
from harness.runs import Run
from harness.verdicts.validity import RunFacts, check_validity


def summarise_run(run: Run) -> Summary:
    """Metrics, validity and verdict of a run, finished or not."""
    environment, replayed = run.environment, run.config["replay"]
    facts = RunFacts(
        planned=environment["dataset"]["clips"] * replayed["repeats"],
        pace=replayed["pace"],
        gc_pauses_ns=tuple((pause.start_ns, pause.end_ns) for pause in run.gc_pauses),
        clock_resolution_ns=environment["clock_resolution_ns"],
    )
    validity, warnings = check_validity(run.traces, run.clips, facts)
    return Summary(
        schema=1,
        metrics_version=METRICS_VERSION,
        arm=environment["arm"],
        clips=environment["dataset"]["clips"],
        repeats=replayed["repeats"],
        failed=sum(clip.failed is not None for clip in run.clips),
        simulated=environment["simulated"],
        injected=environment["injected"],
        random_weights=environment["model"]["random_weights"],
        harness_floor_ms=environment["harness_floor_ms"],
        validity=validity,
        warnings=warnings,
        metrics=summarise(run.clips, seed=environment["seed"], pace=replayed["pace"]),
        verdict={"status": "invalid" if validity else "none", "rules": []},
    )
