"""Gradient norms of a training run, to look at and to listen to. Start with `draw_gradient_norms`."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from foresee.errors import ShapeError
from foresee.report.page import Audio, Figure
from foresee.report.plots import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, drawing
from foresee.report.sound import PAUSE, TONE, Sound
from foresee.report.words import count

LINES = (BLUE, ORANGE, GREEN, PURPLE, SKY, BLACK, GREY)  # not the red that marks what is no number
MOST_COLUMNS = 500  # stretches of steps that a figure can show


def draw_gradient_norms(norms: Mapping[str, ArrayLike]) -> Figure:
    """Draw the gradient norm of every layer over the steps, as lines or, for many layers, as a map.

    Args:
        norms: one per step, by layer; what is no number is marked in red.

    Raises:
        ShapeError: if there is no layer, no step, or not the same number of steps in every layer.
    """
    shapes = {np.shape(values) for values in norms.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1 or 0 in next(iter(shapes)):
        raise ShapeError(
            f"draw_gradient_norms: expected one number per step for every layer, got shapes {sorted(shapes)}"
        )
    table = np.stack([np.asarray(values, float) for values in norms.values()])
    steps, medians, broken = _stretches(table)
    few = len(norms) <= len(LINES)
    with drawing(9.2, 3.3 if few else 1.3 + 0.21 * len(norms)) as result:
        axes = result.canvas.subplots()
        if few:
            _lines(axes, list(norms), steps, medians, broken)
        else:
            _map(result.canvas, axes, list(norms), steps, medians, broken)
        axes.set_xlabel("step")
    bad = ~np.isfinite(table)
    first = int(np.argmax(bad.any(axis=0)))
    verdict = (
        f" **{int(bad.any(axis=0).sum()):,} of {count(table.shape[1], 'step')} have a norm that is NaN or "
        f"infinite** (red), the first is step {first} in {list(norms)[int(np.argmax(bad[:, first]))]}."
        if bad.any()
        else " Every norm is finite."
    )
    shown = (
        "" if table.shape[1] <= MOST_COLUMNS else " Medians over stretches of neighbouring steps are shown."
    )
    return Figure(
        result.svg,
        f"Gradient norms of {len(norms)} layers over {table.shape[1]} steps.",
        f"**Euclidean norm of the gradient, layer by layer.**{verdict} Layers that fall far below the "
        f"others hardly learn; norms that grow without end announce that training is about to break.{shown}",
        wide=True,
    )


def sound_of(sound: Sound) -> Audio:
    """Return the block of a page that plays gradient norms."""
    all_of_them = sound.steps == tuple(range(len(sound.steps)))
    heard = "every step" if all_of_them else f"{len(sound.steps)} steps, spread evenly"
    layers = "; ".join(sound.layers)
    return Audio(
        sound.wav,
        "Gradient norms as tones",
        f"**The same to listen to** ({sound.seconds:.1f} s, {heard}). Every step is one tone of "
        f"{1000 * TONE:.0f} ms per layer and a silence of {1000 * PAUSE:.0f} ms. A norm of 1 is 440 Hz, "
        "ten times as much is one octave higher, a tenth one lower, from 27.5 Hz (1e-4 and less) to 7040 "
        "Hz (1e4 and more). A harsh buzz is a norm that is NaN or infinite. Layers in the order in which "
        f"they sound: {layers}.",
    )


def _stretches(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first step, the median norm and whether a norm was none, of at most so many stretches."""
    steps = table.shape[1]
    edges = np.linspace(0, steps, min(steps, MOST_COLUMNS) + 1).astype(int)
    medians = np.full((len(table), len(edges) - 1), np.nan)
    broken = np.zeros(medians.shape, bool)
    for place, (start, stop) in enumerate(pairwise(edges)):
        part = table[:, start:stop]
        good = np.isfinite(part)
        broken[:, place] = ~good.all(axis=1)
        for row in np.flatnonzero(good.any(axis=1)):
            medians[row, place] = np.median(part[row, good[row]])
    return edges[:-1], medians, broken


def _lines(axes: Axes, names: list[str], steps: np.ndarray, norms: np.ndarray, broken: np.ndarray) -> None:
    shown = np.where(norms > 0, norms, np.nan)
    for place, name in enumerate(names):
        marker = "o" if len(steps) < 2 else None
        look = {"color": LINES[place], "lw": 1.2, "marker": marker, "ms": 4}
        axes.plot(steps, shown[place], label=name, **look)
    axes.set_yscale("log")
    axes.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
    axes.set_ylabel("norm of the gradient")
    if broken.any():
        ends = np.append(steps, steps[-1] + 1)
        lost = np.append(broken.any(axis=0), False)
        over_all = {"transform": axes.get_xaxis_transform(), "step": "post", "color": VERMILLION, "lw": 0}
        axes.fill_between(ends, 0, 1, where=lost, alpha=0.12, zorder=0, label="NaN or infinite", **over_all)
        first = ends[int(np.argmax(lost))]
        axes.plot(
            first, 1.0, "x", color=VERMILLION, ms=8, mew=2.2, clip_on=False, transform=over_all["transform"]
        )
        axes.axvline(first, color=VERMILLION, lw=1.4)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))


def _map(
    canvas: Any, axes: Axes, names: list[str], steps: np.ndarray, norms: np.ndarray, broken: np.ndarray
) -> None:
    with np.errstate(divide="ignore"):
        power = np.log10(norms)
    good = power[np.isfinite(power)]
    low, high = (float(good.min()), float(good.max())) if good.size else (0.0, 1.0)
    power = np.where(np.isneginf(power), low, power)
    edges = np.append(steps, steps[-1] + max(1, int(np.diff(steps).max(initial=1))))
    lines = np.arange(len(names) + 1) - 0.5
    mesh = axes.pcolormesh(
        edges, lines, power, cmap="cividis", vmin=low, vmax=max(high, low + 1e-9), rasterized=True
    )
    if broken.any():
        marks = np.ma.masked_where(~broken, np.ones(broken.shape))
        axes.pcolormesh(
            edges, lines, marks, cmap=ListedColormap([VERMILLION]), vmin=0, vmax=1, rasterized=True
        )
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    bar = canvas.colorbar(mesh, ax=axes, pad=0.01, fraction=0.04)
    bar.set_label("log₁₀ of the norm")
    bar.outline.set_visible(False)
