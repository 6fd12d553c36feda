"""How every figure looks: one style, colours that colour-blind readers can tell apart, SVG out.

Colours: Okabe and Ito (2008).
"""

import io
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, BLACK = "#56B4E9", "#CC79A7", "#1b2026"
GREY, PALE = "#7d8791", "#e9ecef"
BAND_50, BAND_90 = "#80b8d8", "#cce3f0"  # blue on white at one half and one fifth

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a report looks the same everywhere
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": "#3a424b",
    "axes.edgecolor": "#9aa3ad",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.color": "#9aa3ad",
    "ytick.color": "#9aa3ad",
    "xtick.labelcolor": "#3a424b",
    "ytick.labelcolor": "#3a424b",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "ytick.minor.width": 0.5,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "legend.borderaxespad": 0.0,
    "legend.columnspacing": 1.4,
    "svg.fonttype": "path",
    "svg.hashsalt": "foresee",  # the same run gives the same bytes
}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


class Drawing:
    """A figure being drawn; `svg` is there once the `drawing` block has ended."""

    def __init__(self, canvas: Canvas):
        self.canvas = canvas
        self.svg = ""


@contextmanager
def drawing(
    width: float | int, height: float | int, margins: Mapping[str, float] | None = None
) -> Iterator[Drawing]:
    """Draw a figure of this size [inches] in the common style, without any state that outlives the block.

    Margins are left, right, bottom and top of the axes as shares of the figure; by default they fit.
    """
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(width, height), layout=None if margins else "constrained")
        if margins:
            canvas.subplots_adjust(**margins)
        FigureCanvasSVG(canvas)
        result = Drawing(canvas)
        yield result
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", dpi=170, metadata=NO_METADATA, transparent=True)
        result.svg = buffer.getvalue()


def in_lines(title: str, letters: int = 26) -> str:
    """Return the title of a small panel in lines that fit above it."""
    return "\n".join(textwrap.wrap(title, letters))


def legend_above(axes: Axes) -> None:
    """Put the legend above the axes, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.02), ncols=4)


def dots_within(axes: Axes, x: np.ndarray, y: np.ndarray, low: float, high: float) -> int:
    """Draw raw values as dots, those outside the limits as triangles; return how many these are."""
    axes.set_ylim(low, high)
    good = np.isfinite(y)
    inside = good & (y >= low) & (y <= high)
    axes.plot(x[inside], y[inside], ".", color=GREY, markersize=3.4, markeredgewidth=0, zorder=1.5)
    for edge, marker, out in ((high, "^", good & (y > high)), (low, "v", good & (y < low))):
        axes.plot(
            x[out],
            np.full(int(out.sum()), edge),
            marker,
            color=GREY,
            markersize=3,
            markeredgewidth=0,
            clip_on=False,
            zorder=1.5,
        )
    return int((good & ~inside).sum())
