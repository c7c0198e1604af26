"""How every plot looks: one palette, one type size, one way to a file.

The arm colours are Okabe and Ito's, which stay apart for colour-blind readers (their yellow, too
pale on white, is replaced by an olive of Tol's muted scheme); a line style and a marker tell arms
apart where colour cannot. Figures are drawn once, on white; the page swaps the exact colours below
for CSS variables (``INKS``), which is how one drawing serves light, dark and paper.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no display, whatever MPLBACKEND says

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from harness.report.drawn import (
    ARM_COLOURS,
    BAD,
    GRID,
    INK,
    INKS,
    MUTED,
    PAPER,
    TITLE_GID,
    TITLE_IN,
    NoPlot,
    Plot,
    inline_svg,
)
from harness.report.text import shorten

__all__ = [  # with what is defined below: all that a drawing needs
    "ARM_COLOURS", "ARM_DASHES", "ARM_MARKERS", "BAD", "GRID", "INK", "INKS", "MUTED", "PAPER",
    "WIDTH_IN", "NoPlot", "Plot", "finish", "inline_svg", "legend", "legend_height_in",
    "new_figure", "styled", "write_plot",
]  # fmt: skip

ARM_DASHES: tuple[Any, ...] = (
    "-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)),
    (0, (3, 1)), (0, (8, 2)), (0, (1, 2)), (0, (4, 1, 1, 1, 1, 1)),
)  # fmt: skip
ARM_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")

WIDTH_IN = 7.5

_RC: dict[Any, Any] = {
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.labelsize": 9, "axes.linewidth": 0.8,
    "axes.spines.right": False, "axes.spines.top": False, "axes.axisbelow": True,
    "axes.grid": True, "axes.titlesize": 9.5, "axes.titlelocation": "left",
    "axes.titleweight": "bold", "axes.titlecolor": INK, "axes.unicode_minus": True,
    "figure.facecolor": PAPER, "axes.facecolor": "none", "savefig.facecolor": PAPER,
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9,
    "grid.color": GRID, "grid.linewidth": 0.8, "legend.frameon": False, "legend.fontsize": 9,
    "legend.handlelength": 2.2, "legend.borderaxespad": 0.2, "legend.labelcolor": INK,
    "lines.linewidth": 1.6, "text.color": INK, "text.parse_math": False,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5,
    "xtick.major.size": 3, "ytick.major.size": 0, "svg.fonttype": "none",
    "svg.hashsalt": "harness", "path.simplify": True, "hatch.linewidth": 0.6,
}  # fmt: skip


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib under this module's settings, whatever the user's own are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def new_figure(title: str, height_in: float) -> Figure:
    """A figure of the page's width whose title strip is left free by the layout."""
    total_in = height_in + TITLE_IN
    figure = Figure(figsize=(WIDTH_IN, total_in), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(
        rect=(0.004, 0, 0.99, 1 - TITLE_IN / total_in), w_pad=0.04, h_pad=0.05, wspace=0.03,
        hspace=0.03,
    )  # fmt: skip
    figure.text(
        0.008, 1 - 0.09 / total_in, shorten(title, 90), fontsize=11.5, fontweight="bold", va="top",
        gid=TITLE_GID,
    )  # fmt: skip
    return figure


def legend(axes: Axes, *, columns: int = 1) -> None:
    """A legend above the plotting area, outside it, so that it never covers data."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.005, 1.0), ncols=columns)


def legend_height_in(entries: int, columns: int = 1) -> float:
    return 0.19 * -(-entries // columns) + 0.1


def finish(name: str, title: str, caption: str, figure: Figure) -> Plot:
    """Render a figure: the same bytes from the same data, whenever it is made."""
    svg, png = io.StringIO(), io.BytesIO()
    with warnings.catch_warnings():
        # Any script may occur in a transcript: a glyph that the bundled font lacks is a box in the
        # PNG, and left to the reader's fonts in the SVG.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        # Not by `savefig`, which draws every figure once more to find out what it has to lay out.
        figure.set_dpi(144)
        # Measures each text once, for the layout and the PNG.
        canvas: Any = FigureCanvasAgg(figure)
        _settle_layout(figure)
        canvas.print_png(png, metadata={"Software": None})
        with mpl.rc_context({"svg.hashsalt": name}):  # ids differ between drawings of one page
            canvas = FigureCanvasSVG(figure)
            canvas.print_svg(
                svg, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
            )
    return Plot(name, title, caption, svg.getvalue(), png.getvalue())


def _settle_layout(figure: Figure) -> None:
    """Lay out once, to five digits: the solver's last ones depend on addresses in memory."""
    engine: Any = figure.get_layout_engine()
    engine.execute(figure)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(v, 5) for v in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))


def write_plot(plot: Plot, folder: Path) -> list[Path]:
    """Write a drawing as SVG and PNG.

    Raises:
        OSError: it could not be written.
    """
    svg, png = folder / f"{plot.name}.svg", folder / f"{plot.name}.png"
    svg.write_text(plot.svg, encoding="utf-8")
    png.write_bytes(plot.png)
    return [svg, png]
