"""``report.html``: one file that needs nothing else, neither a server nor the network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import msgspec
from markupsafe import Markup

from harness.metrics import METRICS_VERSION
from harness.metrics.budget import budget_ms
from harness.metrics.registry import all_metrics
from harness.report.answers import answers
from harness.report.arms import Arm
from harness.report.clips import clip_views
from harness.report.drawn import NoPlot, Plot, inline_svg
from harness.report.facts import facts, marks
from harness.report.instrument import instrument
from harness.report.playback import playback
from harness.report.table import headline, show_ratio
from harness.report.text import DASH, TIMES, ms, n_of, percent, plural
from harness.report.verdict import card, word
from harness.stats.estimates import percentile
from harness.text import visible
from harness.verdicts.calibration import how_to_calibrate, load_calibration

if TYPE_CHECKING:  # it imports what draws
    from harness.report.timeline import Audio

_TEMPLATES = Path(__file__).parent / "templates"


def page(arms: Sequence[Arm], plots: Sequence[Plot | NoPlot], audio: Audio | None = None) -> str:
    """The page's text.

    Args:
        audio: clips to embed, so that the page plays them.
    """
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template("report.html")
        .render(
            arms=arms,
            title=" against ".join(arm.label for arm in arms),
            facts=facts(arms),
            marks=marks(arms),
            card=card(arms),
            answers=answers(arms),
            rows=headline(arms),
            plots=[
                (plot, Markup(inline_svg(plot)))  # noqa: S704 matplotlib escapes the texts in it
                for plot in plots
                if isinstance(plot, Plot)
            ],
            not_drawn=[plot for plot in plots if isinstance(plot, NoPlot)],
            clips=clip_views(arms),
            environments=_environments(arms),
            spreads=[_repeat_spread(arm) for arm in arms],
            instrument=instrument(arms),
            calibrations=[_calibration(arm) for arm in arms],
            metrics=all_metrics(),
            budget=" ".join((budget_ms.__doc__ or "").split()),
            measured_by=arms[0].run.environment.metrics_version,
            defined_by=METRICS_VERSION,
            playback=_script_json(playback(arms, audio)),
            style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),  # noqa: S704 ours
            script=Markup(script),  # noqa: S704 ours
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"ms": ms, "plural": plural}
    made.globals |= {"show_ratio": show_ratio, "n_of": n_of, "word": word}
    made.globals |= {"DASH": DASH, "TIMES": TIMES}
    return made


def _shown(value: Any) -> Any:
    """Foreign text cannot act: what is not our own markup is made visible, then escaped."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _script_json(value: object) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = msgspec.json.encode(value).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 has no sign that HTML knows


def _environments(arms: Sequence[Arm]) -> list[tuple[str, list[str], bool]]:
    """(key, its value in every arm, whether they differ)."""
    flat = [dict(_flatten(msgspec.to_builtins(arm.run.environment))) for arm in arms]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    rows = [(key, [one.get(key, DASH) for one in flat]) for key in keys]
    return [(key, values, len(set(values)) > 1) for key, values in rows]


def _flatten(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flatten(inner, f"{path}{key}.")
        else:
            yield f"{path}{key}", DASH if inner is None else str(inner)


def _calibration(arm: Arm) -> str:
    """By how much this machine is known to vary from run to run."""
    known = load_calibration(arm.run.environment, arm.run.config["replay"]["repeats"])
    band = None if known is None else known.bands.get("ttft_ms p50")
    if known is None or band is None:
        return f"not calibrated: {how_to_calibrate(arm.run.environment)}"
    found = "no effect of those tried" if known.detectable is None else percent(known.detectable)
    runs = plural(known.runs, "run")
    return f"TTFT p50 varies by {percent(band)} between runs; {found} is found reliably; {runs}"


def _repeat_spread(arm: Arm) -> tuple[float | None, int]:
    """Median over clips of the range of TTFT between repeats, and the clips it is from."""
    by_clip: dict[str, list[float]] = {}
    for metrics in arm.clips.values():
        if metrics.ttft_ms is not None:
            by_clip.setdefault(metrics.clip, []).append(metrics.ttft_ms)
    spreads = [max(v) - min(v) for v in by_clip.values() if len(v) > 1]
    return (percentile(spreads, 0.5) if spreads else None), len(spreads)
