"""The first screen: is it faster, is the text still right, can it be trusted?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from harness.metrics import Distribution
from harness.metrics.comparison import Difference
from harness.report.arms import Arm
from harness.report.table import error_label, error_rate, error_words
from harness.report.text import interval, ms, ms_signed, n_of, percent, plural, points

Tone = Literal["good", "bad", "unsure", "plain"]


class Answer(msgspec.Struct, frozen=True):
    question: str
    tone: Tone
    short: str  # the answer in a few words
    details: tuple[str, ...]


def answers(arms: Sequence[Arm]) -> tuple[Answer, ...]:
    found: tuple[Answer, ...] = (_faster(arms), _right(arms))
    if any(arm.summary.validity for arm in arms):  # then no figure answers anything
        found = tuple(
            msgspec.structs.replace(answer, tone="unsure", short="Unknown: the run is INVALID")
            for answer in found
        )
    return (*found, _trusted(arms))


def _faster(arms: Sequence[Arm]) -> Answer:
    question = "Is it faster for the person who waits?"
    if len(arms) == 1:
        question = "How long does a person wait for text?"
    medians = [(_ttft(arm).p50, arm) for arm in arms]
    known = [(median, arm) for median, arm in medians if median is not None]
    if not known:
        why = [f"{arm.label}: no median, {_why(_ttft(arm), 'p50')}" for arm in arms]
        return Answer(question, "unsure", "Unknown", tuple(why))
    details = [_ttft_line(arm) for arm in arms]
    if len(arms) == 1:
        return Answer(question, "plain", f"First text after {ms(known[0][0])}", tuple(details))
    changes = [(arm, arm.difference("ttft_ms", "p50")) for arm in arms[1:]]
    details += (
        []
        if len(arms) > 3
        else [  # more arms: see the table
            f"{arm.label} minus {arms[0].label}: {ms_signed(change.difference)}"
            f" {interval(change.difference_ci95, ms_signed)}, paired over"
            f" {n_of(change.clips, change.of)} clips"
            for arm, change in changes
            if change is not None and change.difference is not None
        ]
    )
    if len(arms) > 2:
        median, best = min(known, key=lambda pair: pair[0])
        short = f"{best.label} is first, after {ms(median)}"
        return Answer(question, "plain", short, tuple(details))
    return Answer(question, *_sooner(arms[0], arms[1], changes[0][1]), tuple(details))


def _sooner(first: Arm, second: Arm, change: Difference | None) -> tuple[Tone, str]:
    if change is None or change.difference is None:
        return "unsure", "Unknown"
    low, high = change.difference_ci95 or (None, None)
    if low is None or high is None or low <= 0 <= high:
        return "unsure", "No difference beyond chance"
    winner = first if change.difference > 0 else second
    return "good", f"{winner.label} shows text {ms(abs(change.difference))} sooner"


def _ttft(arm: Arm) -> Distribution:
    figure = arm.summary.metrics["ttft_ms"]
    return figure if isinstance(figure, Distribution) else Distribution(unit="ms", n=0, of=0)


def _ttft_line(arm: Arm) -> str:
    figure = _ttft(arm)
    bounds = interval(figure.ci95.get("p50"), ms)
    p95 = f"p95 {ms(figure.p95)}" if figure.p95 is not None else f"no p95: {_why(figure, 'p95')}"
    median = f"median {ms(figure.p50)} {bounds}".strip()
    return f"{arm.label}: {median}, {p95}, n = {n_of(figure.n, figure.of)}"


def _why(figure: Distribution, statistic: str) -> str:
    return figure.why_null.get(statistic, "not measured")


def _right(arms: Sequence[Arm]) -> Answer:
    question = "Is the text still right?" if len(arms) > 1 else "Is the text right?"
    rates = [error_rate(arm.summary) for arm in arms]
    known = [rate.value for rate in rates if rate is not None and rate.value is not None]
    details = [_error_line(arm) for arm in arms]
    compared = [(arm, arm.comparison) for arm in arms if arm.comparison is not None]
    same = all(found.same_text == found.sessions for _, found in compared)
    details += [
        f"{arm.label}: same text as {arms[0].label} in {n_of(found.same_text, found.sessions)}"
        " sessions"
        for arm, found in compared
    ]
    if len(known) < len(arms):
        return Answer(question, "unsure", "Unknown for some arm", tuple(details))
    low, high = percent(min(known)), percent(max(known))
    rate = f"{error_label(arms)} {low}" + ("" if low == high else f" to {high}")
    if len(arms) == 1:
        return Answer(question, "plain", rate, tuple(details))
    if same:
        return Answer(question, "good", f"Same text, {rate}", tuple(details))
    return Answer(question, *_worse(arms, rate), tuple(details))


def _worse(arms: Sequence[Arm], rate: str) -> tuple[Tone, str]:
    """Texts differ: is one arm's error rate beyond chance above the first's?"""
    for arm in arms[1:]:
        change = arm.difference(error_label(arms).lower(), "value")
        low, high = (change.difference_ci95 if change else None) or (None, None)
        if change is None or low is None or high is None:
            return "unsure", f"Texts differ, {rate}"
        if low > 0 or high < 0:
            which = arm.label if low > 0 else arms[0].label
            return "bad", f"{which} has more errors: {points(abs(change.difference or 0.0))}"
    return "unsure", f"Texts differ, {rate}"


def _error_line(arm: Arm) -> str:
    figure = error_rate(arm.summary)
    if figure is None or figure.value is None:
        why = figure.why_null if figure is not None else None
        return f"{arm.label}: no {error_label([arm])}: {why or 'not measured'}"
    bounds = interval(figure.ci95, percent)
    return f"{arm.label}: {f'{percent(figure.value)} {bounds}'.strip()}, {error_words(arm.summary)}"


def _trusted(arms: Sequence[Arm]) -> Answer:
    question = "Can I trust it?"
    invalid = [(arm, notice) for arm in arms for notice in arm.summary.validity]
    warned = [(arm, notice) for arm in arms for notice in arm.summary.warnings]
    details = [f"{arm.label}: {notice}" for arm, notice in invalid]
    details += [_watch_line(arm) for arm in arms]
    details += [f"{arm.label}: {notice}" for arm, notice in warned]
    if invalid:
        return Answer(question, "bad", "INVALID: do not use these figures", tuple(details))
    reserves = [mark for mark in ("simulated", "injected", "random_weights") if _any(arms, mark)]
    reserves = [_MARKS[mark] for mark in reserves]
    if failed := sum(arm.summary.failed for arm in arms):
        reserves.append(f"{failed} of {plural(sum(len(a.clips) for a in arms), 'session')} failed")
    if warned:
        reserves.append(plural(len(warned), "warning"))
    if reserves:
        return Answer(question, "unsure", f"Valid, but {', '.join(reserves)}", tuple(details))
    return Answer(question, "good", "Valid", tuple(details))


_MARKS = {
    "simulated": "in simulated time",
    "injected": "made worse on purpose",
    "random_weights": "with random weights",
}


def _any(arms: Sequence[Arm], mark: str) -> bool:
    return any(getattr(arm.summary, mark) for arm in arms)


def _watch_line(arm: Arm) -> str:
    lateness = arm.summary.metrics.get("send_lateness_ms")
    text = f"{arm.label}: harness floor {ms(arm.summary.harness_floor_ms)}"
    if isinstance(lateness, Distribution) and lateness.n:
        name = "p99" if lateness.p99 is not None else "max"
        text += (
            f", frames sent {ms(lateness.p50)} late (p50), {ms(getattr(lateness, name))} ({name})"
        )
    return text
