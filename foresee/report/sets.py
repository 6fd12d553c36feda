"""Figures of prediction sets: how large they are, and how often they hold the true class."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.ticker import PercentFormatter

from foresee.report.page import Figure
from foresee.report.plots import BLUE, GREEN, GREY, PALE, VERMILLION, drawing, legend_above
from foresee.report.words import PERCENT_SIGN

LOOKS = {"lac": (BLUE, "o"), "aps": (VERMILLION, "s"), "raps": (GREEN, "^")}
LARGEST = 12  # sizes shown one by one; the last bar holds all larger ones
PERCENT = PercentFormatter(1.0, decimals=0, symbol=PERCENT_SIGN)


def draw_set_sizes(sets: Mapping[str, Bool[np.ndarray, "rows classes"]]) -> Figure:
    """Draw how many classes the sets of every kind hold."""
    sizes = {name: made.sum(axis=1) for name, made in sets.items()}
    most = min(max(int(each.max()) for each in sizes.values()), LARGEST)
    more = any(int(each.max()) > LARGEST for each in sizes.values())
    width = 0.8 / len(sizes)
    with drawing(4.7, 3.3) as result:
        axes = result.canvas.subplots()
        for place, (name, each) in enumerate(sizes.items()):
            shares = np.bincount(np.minimum(each, most), minlength=most + 1) / len(each)
            x = np.arange(most + 1) + (place - 0.5 * (len(sizes) - 1)) * width
            label = f"{name.upper()}: {each.mean():.2f}"
            axes.bar(x, shares, 0.92 * width, color=LOOKS[name][0], linewidth=0, label=label)
        ticks = [*(str(size) for size in range(most)), f"{most}+" if more else str(most)]
        axes.set_xticks(range(most + 1), ticks)
        axes.yaxis.set_major_formatter(PERCENT)
        axes.grid(axis="y", color=PALE, lw=0.7)
        axes.set_xlabel("classes in the set (the legend has the means)")
        axes.set_ylabel("share of rows")
        legend_above(axes)
    return Figure(
        result.svg,
        f"How many classes the sets hold, for {', '.join(sets)}.",
        "**How large the sets are.** One class is an answer, several are a shortlist, all of them say "
        "nothing. An empty set says that no class looks as usual: its row is unlike the others.",
    )


def draw_coverage(by_level: Mapping[str, Float[np.ndarray, "levels 4"]]) -> Figure:
    """Draw how often sets hold the true class, less the level that was asked for, with its exact band.

    Args:
        by_level: level, coverage and the ends of its band, by kind of set.
    """
    with drawing(4.7, 3.3) as result:
        axes = result.canvas.subplots()
        levels, _, low, high = next(iter(by_level.values())).T
        places = np.arange(len(levels))
        bars = {"color": PALE, "linewidth": 0, "zorder": 0, "label": "exact 95 % band"}
        axes.bar(places, 100 * (high - low), 0.8, bottom=100 * (low - levels), **bars)
        axes.axhline(0, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=1)
        for place, (name, table) in enumerate(by_level.items()):
            colour, marker = LOOKS[name]
            x = places + (place - 0.5 * (len(by_level) - 1)) * 0.2
            axes.plot(
                x,
                100 * (table[:, 1] - table[:, 0]),
                marker,
                color=colour,
                ms=4.5,
                label=name.upper(),
                zorder=3,
            )
        axes.use_sticky_edges = False
        axes.set_xticks(places, [f"{100 * level:g}" for level in levels])
        axes.set_xlabel(f"level asked for [{PERCENT_SIGN.strip()}]")
        axes.set_ylabel("coverage − level [percentage points]")
        legend_above(axes)
    return Figure(
        result.svg,
        f"Coverage of the sets less the level, for {', '.join(by_level)}.",
        "**Does 90 % mean 90 %?** How often sets made for each level hold the true class, less that "
        "level. The grey bars are where it is in 95 of 100 draws if all rows are alike (beta-binomial: it "
        "counts the chance of both halves).",
    )
