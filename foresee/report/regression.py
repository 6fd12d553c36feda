"""Figures of predicted distributions of numbers: PIT histograms, and bands inside and outside the data."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike
from matplotlib.colors import to_rgb
from scipy import stats

from foresee.errors import OptionError, ShapeError
from foresee.report.page import Figure
from foresee.report.plots import BLACK, BLUE, GREY, PALE, VERMILLION, drawing, legend_above
from foresee.report.words import PERCENT_SIGN, count

Bands = Mapping[float, tuple[ArrayLike, ArrayLike]]


def draw_pit(pit: ArrayLike, title: str = "", bins: int = 20) -> Figure:
    """Draw the histogram of probability integral transforms, with the band that a right doubt stays in.

    Args:
        pit: predicted probability of less than what came, shape (rows,).
        title: what stands above the axes.
        bins: number of bins of equal width.

    Raises:
        ShapeError: if there is no row.
        OptionError: if a value is not within 0 and 1.
    """
    values = np.ravel(np.asarray(pit, float))
    if not values.size:
        raise ShapeError("draw_pit: expected at least one row, got none")
    if not ((values >= 0) & (values <= 1)).all():
        wrong = values[~((values >= 0) & (values <= 1))][0]
        raise OptionError(f"draw_pit: expected values between 0 and 1, got {wrong:g}")
    counts, edges = np.histogram(values, bins=bins, range=(0, 1))
    shares = counts * bins / len(values)
    low, high = stats.binom(len(values), 1 / bins).ppf([0.025, 0.975]) * bins / len(values)
    with drawing(4.7, 3.0) as result:
        axes = result.canvas.subplots()
        axes.axhspan(low, high, color=PALE, zorder=0, label="where 95 % of the bars belong")
        axes.stairs(shares, edges, fill=True, color=BLUE, alpha=0.35, zorder=1)
        axes.stairs(shares, edges, color=BLUE, lw=1.3, zorder=2)
        axes.axhline(1, color=GREY, lw=0.9, ls=(0, (4, 3)), zorder=3)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.1 * max(float(shares.max()), high, 1.0))
        axes.set_xlabel("predicted probability of less than what came")
        axes.set_ylabel("rows over rows expected")
        if title:
            axes.set_title(title, pad=24)
        legend_above(axes)
    inside = int(((shares >= low) & (shares <= high)).sum())
    return Figure(
        result.svg,
        f"Histogram of probability integral transforms{f' of {title}' if title else ''} in {bins} bins.",
        f"**Is the whole distribution right?** {count(len(values), 'row')}; {inside} of {bins} bars are "
        "within the grey band (binomial). Flat is right. High at both ends: the doubt is too small; a "
        "hill in the middle: too large; higher on one side: a shift.",
    )


def draw_bands(
    inputs: ArrayLike,
    mean: ArrayLike,
    bands: Bands,
    data: tuple[ArrayLike, ArrayLike],
    inside: tuple[float, float] | None = None,
    truth: ArrayLike | None = None,
    noise: tuple[ArrayLike, ArrayLike] | None = None,
    title: str = "",
) -> Figure:
    """Draw a regression with its doubt, inside and outside the data.

    Args:
        inputs: where the model was asked, increasing, shape (places,).
        mean: what it said there.
        bands: lower and upper end by level, as {0.5: (low, high), 0.9: (low, high)}.
        data: inputs and targets it was trained on.
        inside: ends of the stretch that counts as inside the data; None: from the first to the last input.
        truth: what would have been right.
        noise: lower and upper end of the widest band if only the noise of the data is counted.
        title: what stands above the axes.
    """
    x, middle = np.ravel(np.asarray(inputs, float)), np.ravel(np.asarray(mean, float))
    seen_x, seen_y = (np.ravel(np.asarray(part, float)) for part in data)
    start, end = (float(seen_x.min()), float(seen_x.max())) if inside is None else inside
    with drawing(9.2, 3.6) as result:
        axes = result.canvas.subplots()
        for left, right in ((x[0], start), (end, x[-1])):
            if right > left:
                axes.axvspan(left, right, color=PALE, alpha=0.65, lw=0, zorder=0)
        widest_first = sorted(bands, reverse=True)
        for place, level in enumerate(widest_first):
            low, high = (np.asarray(part, float) for part in bands[level])
            axes.fill_between(
                x, low, high, color=_tint(place, len(bands)), lw=0, label=_level(level), zorder=1
            )
        if noise is not None:
            for k, edge in enumerate(noise):
                label = f"{_level(widest_first[0])}, noise alone" if k == 0 else None
                axes.plot(x, np.asarray(edge, float), color=BLUE, lw=0.9, ls=(0, (1, 1.5)), label=label)
        if truth is not None:
            axes.plot(
                x,
                np.asarray(truth, float),
                color=VERMILLION,
                lw=1.3,
                ls=(0, (4, 2)),
                label="truth",
                zorder=2.5,
            )
        axes.plot(x, middle, color=BLUE, lw=1.6, label="mean")
        axes.plot(seen_x, seen_y, "o", color=BLACK, alpha=0.55, ms=3, mew=0, label="data", zorder=3)
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(*_limits(bands[widest_first[0]], seen_y))
        axes.set_xlabel("input")
        axes.set_ylabel("target")
        if title:
            axes.set_title(title, pad=24)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.02), ncols=8)
    return Figure(
        result.svg,
        f"Predicted mean and bands{f' of {title}' if title else ''} with the data.",
        "**Bands inside and outside the data.** On white there were data, on grey none: there the bands "
        "should widen, as nothing was seen that could keep them narrow.",
        wide=True,
    )


def _level(level: float) -> str:
    return f"{100 * level:g}{PERCENT_SIGN} band"


def _tint(place: int, number: int) -> tuple[float, float, float]:
    """Return a shade of blue on white, the palest for the widest band."""
    share = 0.22 + 0.36 * place / max(number - 1, 1)
    red, green, blue = ((1 - share) + share * part for part in to_rgb(BLUE))
    return red, green, blue


def _limits(widest: tuple[ArrayLike, ArrayLike], seen: np.ndarray) -> tuple[float, float]:
    """Return limits that hold all data and the band, but let no band that runs away flatten the rest."""
    spread = max(float(np.ptp(seen)), 1e-9)
    low = max(float(np.min(np.asarray(widest[0]))), float(seen.min()) - 1.5 * spread)
    high = min(float(np.max(np.asarray(widest[1]))), float(seen.max()) + 1.5 * spread)
    low, high = min(low, float(seen.min())), max(high, float(seen.max()))
    return low - 0.04 * (high - low), high + 0.04 * (high - low)
