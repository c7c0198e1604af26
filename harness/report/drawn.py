"""Drawings that are finished: their words, their place in the page, and how they are found again.

Imports no matplotlib: a page whose verdict has changed is made again from drawings in its folder.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.errors import StorageError, UsageError
from harness.runs.folder import write_json
from harness.runs.names import inside
from harness.runs.reading import decode_json, read_bytes

ARM_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#b65a90", "#4b5563", "#c98a00", "#3a9bd9", "#87872b",
)  # fmt: skip
INK, MUTED, GRID, PAPER, BAD = "#1b2330", "#5d6878", "#dce1e8", "#ffffff", "#b3261e"

# A colour in a drawing -> the page's CSS variable for it.
INKS = {
    INK: "--ink", MUTED: "--muted", GRID: "--grid", PAPER: "--paper", BAD: "--bad",
    **{colour: f"--arm-{index}" for index, colour in enumerate(ARM_COLOURS)},
}  # fmt: skip

_INK = re.compile("|".join(INKS))

TITLE_IN = 0.34  # a strip at the top that holds the title; the page, which has headings, cuts it
TITLE_GID = "plot-title"


@dataclass(frozen=True, slots=True)
class Plot:
    """One drawing with the words that go with it."""

    name: str  # the files' stem
    title: str  # what is shown
    caption: str  # how to read it, with n; also the text for who cannot see it
    svg: str
    png: bytes


@dataclass(frozen=True, slots=True)
class NoPlot:
    """A drawing that these runs have no data for."""

    name: str
    title: str
    why: str


_TAG = re.compile(r"<[^<>]*>")  # in texts and attributes matplotlib escapes both brackets


def _for_page(tag: str, used: Container[str]) -> str:
    """One tag of a drawing, without an id that nothing refers to, in the page's colours."""
    tag = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", tag)
    # Colours are in style="" only in matplotlib's SVG, where var() works.
    return re.sub(r' style="[^"]*"', lambda style: _INK.sub(_variable, style[0]), tag)


def _variable(ink: re.Match[str]) -> str:
    return f"var({INKS[ink[0]]})"


def inline_svg(plot: Plot) -> str:
    """The drawing as an element of the page: no title strip, the page's colours, no stray ids."""
    svg = plot.svg[plot.svg.index("<svg") :]
    svg = re.sub(rf'<g id="{TITLE_GID}">.*?</g>', "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)[\")]", svg))
    svg = _TAG.sub(lambda tag: _for_page(tag[0], used), svg)
    width_pt, height_pt = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
    cut_pt = TITLE_IN * 72
    head = (
        f'<svg class="plot" viewBox="0 {cut_pt:g} {width_pt:g} {height_pt - cut_pt:g}"'
        ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        ' role="presentation" focusable="false">'
    )
    return re.sub(r"\n\s*", "\n", head + svg[svg.index(">") + 1 :])


# --- found again ----------------------------------------------------------------------------------

_INDEX = "plots.json"  # beside the drawings


class _Words(msgspec.Struct):
    """What is kept of a drawing beside its files; of one that there is none of, why."""

    name: str
    title: str
    caption: str = ""
    why: str | None = None


class _Index(msgspec.Struct):
    schema: int
    plots: list[_Words]


def write_index(plots: Sequence[Plot | NoPlot], folder: Path) -> Path:
    """Keep the words of drawings in their folder; returns the file."""
    words = [
        _Words(plot.name, plot.title, why=plot.why)
        if isinstance(plot, NoPlot)
        else _Words(plot.name, plot.title, plot.caption)
        for plot in plots
    ]
    write_json(folder / _INDEX, _Index(1, words))
    return folder / _INDEX


def read_drawn(folder: Path) -> list[Plot | NoPlot] | None:
    """The drawings in a folder, in the order of the page; None: not all of them are there."""
    plots: list[Plot | NoPlot] = []
    try:
        for one in decode_json(folder / _INDEX, _Index).plots:
            if one.why is not None:
                plots.append(NoPlot(one.name, one.title, one.why))
                continue
            svg = read_bytes(inside(folder, f"{one.name}.svg", "a plot")).decode()
            plots.append(Plot(one.name, one.title, one.caption, svg, png=b""))
    except (StorageError, UsageError, UnicodeDecodeError):
        return None
    return plots
