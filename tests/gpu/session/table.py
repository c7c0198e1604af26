"""The results of a session as text: a pure function of the lines of results.jsonl."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.gpu.session.cards import Card, card_of
from tests.gpu.session.results import Line

_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of figure that has a floor."""

    arms: str  # the arms whose names begin like this
    what: str  # what was timed
    figure: str  # its name in results.jsonl, in ms
    work: str  # the figure that says what must be read (..._gb) or computed (..._tflop)
    goal: str  # key of the card's goals; "": it has none


ROWS = (
    Row("3b.", "a token, p50", "step_p50", "step_gb", "3b.token"),
    Row("3b.", "a token's step on the device", "step_device_ms", "step_gb", "3b.token"),
    Row("3b.", "end of audio to first token, p50", "first_p50", "first_tflop", "3b.first"),
    Row("rt.", "a step, p50", "step_p50", "step_gb", "rt.step"),
    Row("rt.", "audio of a step to its token, p50", "first_p50", "step_gb", ""),
    Row("rt.", "a step on the device, full window", "full_step_ms", "full_step_gb", ""),
    Row("rt.", "a step of 32 sessions", "rows32_step_ms", "rows32_step_gb", "rt.rows32"),
)


@dataclass(frozen=True, slots=True)
class Reach:
    """What floors are made with."""

    tb_s: float | None  # memory bandwidth; None: not known
    tflop_s: float | None
    told: str  # where they come from

    def floor_ms(self, work: str, amount: float) -> float | None:
        """GB over TB/s, and TFLOP over TFLOP/s; None: nothing is known, or nothing was counted."""
        if work.endswith("_gb"):
            return amount / self.tb_s if amount and self.tb_s else None
        return amount / self.tflop_s * 1e3 if amount and self.tflop_s else None


@dataclass(slots=True)
class _Arm:
    status: str
    wall_s: float
    figures: Line


def table(lines: Sequence[Line]) -> str:
    """The session's table: figures beside floor and goal, then every arm with all its figures."""
    lines = _of_this_session(lines)
    arms = _arms(lines)
    begin: Line = next((line for line in lines if line["kind"] == "begin"), {})
    probed = arms["probe"].figures if "probe" in arms else {}
    card = card_of(probed.get("gpu") or begin.get("gpu"))
    reach = _reach(card, probed)
    is_tiny = bool(begin.get("tiny"))
    parts = [_heading(begin, probed), reach.told]
    if is_tiny:
        parts.append("Tiny models try the lane itself: no floor, no goal, no figure of a GPU.")
    else:
        parts.append(_floors(arms, card, reach))
    parts.append(_all_figures(arms))
    parts += _failed_tests(lines)
    parts.append(f"{max((line['at_s'] for line in lines), default=0):.0f} s in all")
    return "\n" + "\n".join(parts) + "\n"


def _of_this_session(lines: Sequence[Line]) -> list[Line]:
    """From the last call that was not ``second``: that one goes on with what there is."""
    begins = [
        index
        for index, line in enumerate(lines)
        if line["arm"] == "parent" and line["kind"] == "begin" and line["mode"] != "second"
    ]
    return list(lines[begins[-1] if begins else 0 :])


def _arms(lines: Iterable[Line]) -> dict[str, _Arm]:
    """Arms in their order; of one that was run again, the last time."""
    arms: dict[str, _Arm] = {}
    for line in lines:
        name, kind = line["arm"], line["kind"]
        if kind == "arm":
            arm = arms.setdefault(line["of"], _Arm("", 0.0, {}))
            arm.wall_s = line["wall_s"]
            if line["status"] != "failed" or not arm.status.startswith("failed"):
                arm.status = line["status"]  # the arm itself knows better why it failed
        elif name == "parent":
            continue
        elif kind == "begin":
            arms[name] = _Arm("not ended", 0.0, {})
        elif kind == "figure":
            arm = arms.setdefault(name, _Arm("", 0.0, {}))
            arm.figures |= {key: line[key] for key in line if key not in ("arm", "kind", "at_s")}
        elif kind == "end":
            arms[name].status = line["status"]
    return arms


def _heading(begin: Line, probed: Line) -> str:
    device = probed.get("gpu") or begin.get("gpu") or f"CPU {probed.get('cpu') or ''}".strip()
    packages = [f"{name} {probed[name]}" for name in ("torch", "transformers") if name in probed]
    setting = [f"clip of {begin[name]:g} s" for name in ("seconds",) if name in begin]
    weights = f"random {'tiny' if begin.get('tiny') else 'full-size'} weights"
    return ", ".join([device, *packages, weights, *setting])


def _reach(card: Card | None, probed: Line) -> Reach:
    """Measured where the probe has measured, else what the maker states."""
    measured = [probed[name] for name in ("copy_tb_s", "read_tb_s") if name in probed]
    tb_s = max(measured) if measured else card.tb_s if card else None
    product = probed.get("product_tflop_s")
    tflop_s = product if product is not None else card.tflop_s if card else None
    if tb_s is None or tflop_s is None:
        return Reach(tb_s, tflop_s, "no bandwidth is known: no floors (run the arm `probe`)")
    stated = f" (stated by the maker: {card.tb_s:g})" if card and measured else ""
    source = "measured here" if measured else "stated by the maker"
    told = f"memory {tb_s:.3g} TB/s, {source}{stated}; products {tflop_s:.3g} TFLOP/s"
    return Reach(tb_s, tflop_s, told)


def _floors(arms: dict[str, _Arm], card: Card | None, reach: Reach) -> str:
    shown = Table(box=None, pad_edge=False)
    for column in ("arm", "what", "ms", "floor ms", "x floor", "goal ms", "x goal"):
        shown.add_column(column, justify="left" if column in ("arm", "what") else "right")
    for row in ROWS:
        for name, arm in arms.items():
            value = arm.figures.get(row.figure)
            if not name.startswith(row.arms) or value is None:
                continue
            floor = reach.floor_ms(row.work, arm.figures.get(row.work) or 0.0)
            goal = card.goals_ms.get(row.goal) if card else None
            bounds = [text for bound in (floor, goal) for text in _bound(value, bound)]
            shown.add_row(name, row.what, f"{value:.2f}", *bounds)
    text = io.StringIO()
    Console(file=text, width=_WIDTH).print(shown)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join(["", *lines])


def _bound(value: float, bound: float | None) -> tuple[str, str]:
    return ("-", "-") if bound is None else (f"{bound:.2f}", f"{value / bound:.2f}")


def _all_figures(arms: dict[str, _Arm]) -> str:
    lines = [f"\n{'arm':14}{'wall s':>8}  status"]
    for name, arm in arms.items():
        lines.append(f"{name:14}{arm.wall_s:8.1f}  {arm.status}")
        texts = [f"{key}={value}" for key, value in arm.figures.items() if _is_shown(value)]
        line = "   "
        for text in texts:
            if len(line) + len(text) > _WIDTH:
                lines.append(line)
                line = "   "
            line += f" {text}"
        if texts:
            lines.append(line)
    return "\n".join(lines)


def _is_shown(value: object) -> bool:
    """Not what is empty, and no names of kernels: those are in results.jsonl."""
    is_names = isinstance(value, list) and any(isinstance(part, str) for part in value)
    return value not in (None, "", {}, []) and not is_names


def _failed_tests(lines: Iterable[Line]) -> list[str]:
    return [
        f"FAILED {line['test']}: {' '.join(line['last'])[:200]}"
        for line in lines
        if line["kind"] == "test" and line["outcome"] == "failed"
    ]
