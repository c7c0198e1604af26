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
from matplotlib.ticker import AutoLocator

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
_PNG_DPI = 120  # 900 pixels: what a page that shows Markdown gives a picture
_PNG_COMPRESSION = 4  # of 9: a third of the time for a tenth more bytes
_MOST_TICKS = 7  # of an axis; each is measured and drawn three times

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
    "text.hinting": "none",
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
        figure.set_dpi(_PNG_DPI)
        _thin_ticks(figure)
        # Measures each text once, for the layout and the PNG.
        canvas: Any = FigureCanvasAgg(figure)
        _settle_layout(figure)
        canvas.print_png(png, metadata={"Software": None},
                         pil_kwargs={"compress_level": _PNG_COMPRESSION})  # fmt: skip
        mpl.rcParams["svg.hashsalt"] = name  # ids differ between drawings of one page
        canvas = FigureCanvasSVG(figure)
        canvas.print_svg(
            svg, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return Plot(name, title, caption, svg.getvalue(), png.getvalue())


def _thin_ticks(figure: Figure) -> None:
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            locator = axis.get_major_locator()
            if isinstance(locator, AutoLocator):
                locator.set_params(nbins=_MOST_TICKS)


def _settle_layout(figure: Figure) -> None:
    """Lay out once, to five digits: the solver's last ones depend on addresses in memory."""
    engine: Any = figure.get_layout_engine()
    around = figure.legends or figure.get_supxlabel() or figure.get_supylabel()
    if len(figure.axes) == 1 and not around:  # needs no solver, which measures everything twice
        figure.set_layout_engine("none")
        _settle_single(figure, figure.axes[0], engine.get())
        return
    engine.execute(figure)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(_rounded(axes.get_position().bounds))


def _settle_single(figure: Figure, axes: Axes, wanted: dict[str, Any]) -> None:
    """Put one plotting area where its labels, ticks and legend just have room around it.

    Args:
        wanted: ``rect`` in parts of the figure, and the pads in inches.
    """
    left, bottom, wide, high = wanted["rect"]
    axes.set_position((left + 0.08, bottom + 0.14, wide - 0.1, high - 0.2))  # about where it ends
    canvas: Any = figure.canvas
    needed, box = axes.get_tightbbox(canvas.get_renderer(), for_layout_only=True), axes.bbox
    assert needed is not None  # noqa: S101 axes are visible
    width, height = figure.bbox.width, figure.bbox.height
    pad_x, pad_y = (wanted[name] * figure.dpi for name in ("w_pad", "h_pad"))
    x0 = left + (box.x0 - needed.x0 + pad_x) / width
    y0 = bottom + (box.y0 - needed.y0 + pad_y) / height
    x1 = left + wide - (needed.x1 - box.x1 + pad_x) / width
    y1 = bottom + high - (needed.y1 - box.y1 + pad_y) / height
    # Where the labels are, relative to the area: else every drawing measures all ticks for it.
    below = axes.xaxis.label.get_position()[1] - box.y0
    beside = axes.yaxis.label.get_position()[0] - box.x0
    axes.set_position(_rounded((x0, y0, x1 - x0, y1 - y0)))
    axes.xaxis.set_label_coords(0.5, round(below / axes.bbox.height, 5))
    axes.yaxis.set_label_coords(round(beside / axes.bbox.width, 5), 0.5)


def _rounded(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, bottom, width, height = (round(value, 5) for value in bounds)
    return left, bottom, width, height


def write_plot(plot: Plot, folder: Path) -> list[Path]:
    """Write a drawing as SVG and PNG.

    Raises:
        OSError: it could not be written.
    """
    svg, png = folder / f"{plot.name}.svg", folder / f"{plot.name}.png"
    svg.write_text(plot.svg, encoding="utf-8")
    png.write_bytes(plot.png)
    return [svg, png]
