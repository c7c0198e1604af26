"""What this machine's noise hides: from runs of the same thing, to bands and power.

Runs of one and the same arm differ. Their spread gives the *noise band* (how far a later run may
lie from a baseline with nothing changed); their residuals, drawn again with a known effect added,
give the *power* of a rule (how often it finds the effect at the planned n). Then known delays are
injected into the engine (``INJECTIONS``) and the gate must find what the curve says it finds, and
must not fail on what its rule allows.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from scipy import special

from harness.config import CalibrateConfig, GateConfig
from harness.errors import BaselineError, ConfigError, StorageError, UsageError
from harness.machine.environment import Environment, identity
from harness.metrics import ClipMetrics
from harness.metrics.summary import samples_by_clip
from harness.runs.folder import write_json
from harness.runs.reading import decode_json
from harness.stats.estimates import percentile
from harness.verdicts.baselines import FIELDS, field_of
from harness.verdicts.gates import judge
from harness.verdicts.rules import BASELINE, parse_rules
from harness.verdicts.rules.no_worse import NoWorse

FOLDER = Path("reports/calibration")
LEAST_RUNS = 3  # the spread of two runs has one degree of freedom: its band is 13 sigma wide
EFFECTS = (0.0, 0.02, 0.05, 0.075, 0.10, 0.15, 0.25)
TRIES = 400
FOUND = 0.95  # an effect is detectable when so many of the tries find it
_ARM = {"arm": "calibration"}


class PowerPoint(msgspec.Struct, frozen=True):
    effect: float  # 0.10: ten per cent slower
    found: float  # share of tries in which the rule failed


class Injection(msgspec.Struct, frozen=True):
    """A known delay, as overrides of a run; `delay_ms` is the stated share of TTFT."""

    label: str
    effect: float  # the delay, as a share of TTFT
    tail_share: float = 1.0  # of the clips

    @property
    def arm(self) -> str:
        """The name of its arm, also of its folder."""
        return f"plus-{100 * self.effect:g}" + ("" if self.tail_share == 1 else "-tail")

    def delay_ms(self, ttft_ms: float) -> float:
        return round(self.effect * ttft_ms, 3)

    def overrides(self, ttft_ms: float) -> tuple[str, ...]:
        delay = f"inject.delay_ms={self.delay_ms(ttft_ms):.3f}"
        return (delay, f"inject.tail_share={self.tail_share:g}")


INJECTIONS = (
    Injection("+2 %", 0.02),
    Injection("+5 %", 0.05),
    Injection("+10 %", 0.10),
    Injection("+25 %", 0.25),
    Injection("+100 % on 5 % of the clips", 1.0, tail_share=0.05),
)


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's result for an injected delay."""

    injection: Injection
    status: str  # of the rule
    why: str
    expected: str  # fail | not fail | any (`expected_of`)

    @property
    def holds(self) -> bool:
        """The result is the expected one; an arm that is not valid proves nothing."""
        if self.expected == "any":
            return True
        return (self.status == "fail") == (self.expected == "fail") and self.status != "invalid"


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The noise of one configuration on one machine; what later gates of it use."""

    schema: int = 1
    fingerprint: str  # of machine, software, model, clips, configuration and repeats
    rule: str  # the rule whose power this is
    runs: int
    clips: int
    repeats: int
    bands: dict[str, float]  # "ttft_ms p50" -> relative change that is noise between two runs
    power: tuple[PowerPoint, ...]
    proofs: tuple[Proof, ...] = ()

    @property
    def detectable(self) -> float | None:
        """The smallest effect of the curve from which on it is found in 95 of 100 tries."""
        smallest = None
        for point in sorted(self.power, key=lambda point: -point.effect):
            if point.found < FOUND:
                break
            smallest = point.effect
        return smallest


def expected_of(injection: Injection, calibration: Calibration, ttft_ms: float) -> str:
    """What the gate has to say of an injection.

    ``fail``: the effect is one that the power curve calls detectable. ``not fail``: less than the
    rule allows. ``any``: in between, where chance decides, and of a tail, which the curve is not
    about.
    """
    rule = parse_calibrated(calibration.rule)
    if injection.tail_share < 1:
        return "any"
    if injection.effect * ttft_ms < max(rule.relative * ttft_ms, rule.absolute):
        return "not fail"
    smallest = calibration.detectable
    return "any" if smallest is None or injection.effect < smallest else "fail"


def parse_calibrated(text: str) -> NoWorse:
    """The rule whose power is found; the runs that are redrawn know nothing but their TTFT.

    Raises:
        ConfigError: another rule, or none.
    """
    (rule,) = parse_rules([text])
    if isinstance(rule, NoWorse) and rule.metric.name == "ttft_ms" and rule.reference == BASELINE:
        return rule
    raise ConfigError(
        "calibrate.rule", value=text,
        allowed="ttft_ms STATISTIC vs baseline: at most +NUMBER % and +NUMBER ms",
    )  # fmt: skip


def tail_rule(calibrated: str) -> str:
    """The same rule about the p99, where a delay of one session in twenty must be seen."""
    rule = parse_calibrated(calibrated)
    return calibrated.replace(f" {rule.statistic} ", " p99 ", 1)


def typical_ttft_ms(runs: Sequence[Sequence[ClipMetrics]]) -> float:
    """Mean over clips of the median TTFT over repeats and runs.

    Raises:
        UsageError: nothing answered, or in no time.
    """
    of_clip: dict[str, list[float]] = {}
    for run in runs:
        for clip, values in samples_by_clip("ttft_ms", run).items():
            of_clip.setdefault(clip, []).extend(values)
    levels = [percentile(values, 0.5) for values in of_clip.values()]
    typical = math.fsum(levels) / len(levels) if levels else 0.0
    if not 0 < typical < math.inf:
        raise UsageError(
            "runs to calibrate from", value=f"TTFT {typical:g} ms",
            allowed="an engine that answers every clip, and takes time to",
        )  # fmt: skip
    return typical


def fingerprint(environment: Environment, repeats: int) -> str:
    """What a calibration holds for: the runs that a baseline could be compared with, as long.

    Fewer repeats have more noise: their band would let regressions of a longer run pass.
    Conditions are in the identity of the config, as far as they change anything.
    """
    agreeing = [name for name, _ in FIELDS if name != "arm.conditions"]
    return identity([repeats, *(field_of(environment, name) for name in agreeing)])


def calibrate(
    runs: Sequence[Sequence[ClipMetrics]],
    environment: Environment,
    rule: str = CalibrateConfig.rule,
    *,
    planned_repeats: int | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Calibration:
    """The pure part: bands and power from runs of the same arm, one after the other.

    Args:
        planned_repeats: of each run; where a session failed a clip has fewer. None: none failed.

    Raises:
        UsageError: too few runs.
    """
    if len(runs) < LEAST_RUNS:
        raise UsageError("runs to calibrate from", value=len(runs), allowed=f"{LEAST_RUNS} or more")
    bands = {f"{name} p50": band for name in _metrics(runs) if (band := noise_band(runs, name))}
    groups = [samples_by_clip("ttft_ms", run) for run in runs]
    clips = min(map(len, groups))
    repeats = min(len(group) for run in groups for group in run.values())
    gate = GateConfig(name="calibration", rules=[rule], confidence=confidence)
    return Calibration(
        fingerprint=fingerprint(environment, planned_repeats or repeats),
        rule=rule,
        runs=len(runs),
        clips=clips,
        repeats=repeats,
        bands=bands,
        power=tuple(
            PowerPoint(effect, _found(groups, gate, bands, effect, repeats, seed))
            for effect in EFFECTS
        ),
    )


def _metrics(runs: Sequence[Sequence[ClipMetrics]]) -> list[str]:
    judged = ("ttft_ms", "first_token_ms", "response_ms", "final_ms", "gap_ms")
    return [name for name in judged if all(samples_by_clip(name, run) for run in runs)]


def noise_band(runs: Sequence[Sequence[ClipMetrics]], metric: str) -> float:
    """How far the mean per-clip median of a later run may lie from an earlier one, relative.

    A 95 % prediction interval for the difference of two runs: t with R - 1 degrees of freedom
    times the standard deviation of the R runs' logarithms, times sqrt(2).
    """
    groups = [samples_by_clip(metric, run) for run in runs]
    shared = set.intersection(*(set(group) for group in groups))
    levels = [math.fsum(percentile(g[clip], 0.5) for clip in shared) for g in groups]
    if min(levels) <= 0:
        return 0.0  # nothing took any time, and nothing varies
    spread = float(np.std(np.log(levels), ddof=1))
    return float(np.expm1(special.stdtrit(len(runs) - 1, 0.975) * math.sqrt(2) * spread))


def _found(
    runs: Sequence[Mapping[str, Sequence[float]]], gate: GateConfig, bands: Mapping[str, float],
    effect: float, repeats: int, seed: int,
) -> float:  # fmt: skip
    """Share of redrawn pairs of runs, one made slower, in which the gate's rule fails.

    A pair: two of the runs at random; clips drawn with replacement, the same in both; of each
    clip the level, and for the residuals the repeats of some clip of that run, kept together.
    """
    names = sorted(set.intersection(*(set(run) for run in runs)))
    levels = {name: percentile([v for run in runs for v in run[name]], 0.5) for name in names}
    rng = np.random.default_rng([seed, round(effect * 1e6)])
    failed = 0
    for _ in range(TRIES):
        drawn = rng.choice(names, len(names))
        arms = []
        for slower, run in zip((1.0, 1.0 + effect), rng.integers(len(runs), size=2), strict=True):
            blocks = rng.choice(names, len(names))
            arms.append(
                [
                    sample(f"{index}", repeat, slower * levels[name] * value / levels[block])
                    for index, (name, block) in enumerate(zip(drawn, blocks, strict=True))
                    for repeat, value in enumerate(runs[run][block][:repeats])
                ]
            )
        verdict = judge(arms[1], gate, arm=_ARM, baseline=arms[0], bands=bands)
        failed += verdict.status == "fail"
    return failed / TRIES


def sample(clip: str, repeat: int, ttft_ms: float) -> ClipMetrics:
    """A session of which only the TTFT is known."""
    return ClipMetrics(
        clip=clip, repeat=repeat, order=0, lane=0, session="turn", duration_s=1.0,
        reference="x", hypothesis="x", ttft_ms=ttft_ms,
    )  # fmt: skip


# --- kept and shown ------------------------------------------------------------------------------


def save_calibration(calibration: Calibration, folder: Path = FOLDER) -> Path:
    """Write ``FINGERPRINT.json``; an older one of the same fingerprint is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{calibration.fingerprint}.json"
    write_json(path, calibration)
    return path


def load_calibration(
    environment: Environment, repeats: int, folder: Path = FOLDER
) -> Calibration | None:
    """The calibration that holds for a run of so many planned repeats; None where there is none.

    Raises:
        BaselineError: the file cannot be read.
    """
    path = folder / f"{fingerprint(environment, repeats)}.json"
    if not path.is_file():
        return None
    try:
        return decode_json(path, Calibration)
    except StorageError as error:
        raise BaselineError(
            error.what, value=error.value, allowed=error.allowed, hint="run calibrate again"
        ) from error


def how_to_calibrate(environment: Environment) -> str:
    """For a run without a calibration: the command that makes the one it would use."""
    if environment.rechunked_from:
        return "calibrate and gate a run of this chunking; recorded tokens are not measured again"
    not_asked = ("gate", "report", "inject", "replay.until", "replay.most_repeats")
    asked = [o for o in environment.overrides if not o.startswith(not_asked)]
    return shlex.join(["python", "-m", "harness", "calibrate", *asked])


def as_markdown(calibration: Calibration) -> str:
    """Bands, power and proofs as tables."""
    c = calibration
    smallest = "none of these" if c.detectable is None else f"+{100 * c.detectable:g} %"
    lines = [
        f"{c.runs} runs of the same, {c.clips} clips x {c.repeats} repeats each.",
        f"Smallest effect found in at least {100 * FOUND:g} % of {TRIES} tries: {smallest}.",
        "", "| figure | noise between runs |", "|---|---|",
        *(f"| `{name}` | {100 * band:.1f} % |" for name, band in c.bands.items()),
        "", f"| slower by | found by `{c.rule}` |", "|---|---|",
        *(f"| {100 * point.effect:g} % | {100 * point.found:.1f} % |" for point in c.power),
    ]  # fmt: skip
    if c.proofs:
        lines += [
            "",
            "| injected into the engine | had to | verdict | holds |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {p.injection.label} | {p.expected} | {p.status}: {p.why} | {_holds(p)} |"
            for p in c.proofs
        ]
        missed = [
            p.injection.label for p in c.proofs if p.expected != "not fail" and p.status != "fail"
        ]
        lines += ["", f"Not found with so many clips and repeats: {', '.join(missed) or 'none'}."]
    return "\n".join(lines) + "\n"


def _holds(proof: Proof) -> str:
    if proof.expected == "any":
        return "-"  # nothing was promised
    return "yes" if proof.holds else "**no**"


def draw_power(calibration: Calibration, axes: Any) -> None:
    """Draw the power curve onto matplotlib ``axes``."""
    effects = [100 * point.effect for point in calibration.power]
    axes.plot(effects, [100 * point.found for point in calibration.power], marker="o")
    axes.axhline(100 * FOUND, linestyle=":")
    axes.set_xlabel("TTFT made slower by (%)")
    axes.set_ylabel("found (%)")
    axes.set_ylim(-3, 103)
