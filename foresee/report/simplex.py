"""Paths of single samples over the simplex of three class probabilities. Start with `draw_simplex`."""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from matplotlib.axes import Axes

from foresee.errors import CalibrationError, ShapeError
from foresee.report.page import Figure
from foresee.report.plots import BLACK, BLUE, GREEN, GREY, VERMILLION, drawing
from foresee.report.words import count

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
COLOURS = (BLUE, VERMILLION, GREEN)
MOST = 60  # paths in one figure; more hide each other
TOLERANCE = 1e-3  # of sums of probabilities


def draw_simplex(
    trajectories: ArrayLike, labels: ArrayLike | None = None, classes: Sequence[str] = ("0", "1", "2")
) -> Figure:
    """Draw how the predicted probabilities of samples move while a model is trained, for three classes.

    Args:
        trajectories: probabilities, shape (times, samples, 3).
        labels: true classes, shape (samples,), which give the colours.
        classes: names of the classes.

    Raises:
        ShapeError: if there are not three classes, or not one label per sample.
        CalibrationError: if probabilities are negative, or do not sum to one where they are numbers.
    """
    table, truth = _checked(trajectories, labels, classes)
    samples = table.shape[1]
    shown = np.unique(np.linspace(0, samples - 1, min(samples, MOST)).astype(int))
    with drawing(4.7, 4.0) as result:
        axes = result.canvas.subplots()
        _frame(axes, classes)
        for index in shown:
            path = table[:, index]
            path = path[np.isfinite(path).all(axis=1)] @ CORNERS
            if not len(path):
                continue
            colour = BLUE if truth is None else COLOURS[truth[index]]
            axes.plot(*path.T, color=colour, lw=0.8, alpha=0.5, zorder=2)
            axes.plot(*path[0], "o", ms=4, mec=colour, mfc="white", mew=1.0, zorder=3)
            axes.plot(*path[-1], "o", ms=5, mec="white", mfc=colour, mew=0.5, zorder=4)
    colours = " The colour is that of the true class." if truth is not None else ""
    fewer = f" ({len(shown)} of {samples:,} are shown)" if len(shown) < samples else ""
    lost = int((~np.isfinite(table).all(axis=(0, 2))).sum())
    broken = f" **{count(lost, 'path')} ended in NaN.**" if lost else ""
    return Figure(
        result.svg,
        f"Paths of {len(shown)} samples over the simplex of {', '.join(classes)} during training.",
        f"**Samples on their way{fewer}.** Hollow: before training; filled: at the end. A corner is "
        "certainty, the middle is not knowing, and the thin lines divide which class is most "
        f"probable.{colours}{broken}",
    )


def _checked(
    trajectories: ArrayLike, labels: ArrayLike | None, classes: Sequence[str]
) -> tuple[Float[np.ndarray, "times samples 3"], np.ndarray | None]:
    table = np.asarray(trajectories, float)
    if table.ndim != 3 or table.shape[-1] != 3 or 0 in table.shape or len(classes) != 3:
        raise ShapeError(
            f"draw_simplex: expected probabilities of shape (times, samples, 3) and 3 names of classes, got "
            f"{table.shape} and {len(classes)}"
        )
    good = np.isfinite(table).all(axis=2)
    if (table[good] < 0).any() or (np.abs(table[good].sum(axis=1) - 1) > TOLERANCE).any():
        raise CalibrationError(
            "draw_simplex: expected probabilities that sum to one, got others (are these logits?)"
        )
    if labels is None:
        return table, None
    truth = np.asarray(labels)
    if truth.shape != (table.shape[1],) or not np.isin(truth, (0, 1, 2)).all():
        raise ShapeError(
            f"draw_simplex: expected labels 0 to 2 of shape ({table.shape[1]},), got {truth.shape}"
        )
    return table, truth.astype(int)


def _frame(axes: Axes, classes: Sequence[str]) -> None:
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_xlim(-0.12, 1.12)
    axes.set_ylim(-0.08, 0.95)
    centre = CORNERS.mean(axis=0)
    for corner in range(3):
        ends = CORNERS[[corner, (corner + 1) % 3]]
        axes.plot(*ends.T, color="#9aa3ad", lw=0.9, zorder=1)
        axes.plot(*np.stack([centre, ends.mean(axis=0)]).T, color=GREY, lw=0.7, ls=(0, (4, 3)), zorder=1)
        for share in (0.25, 0.5, 0.75):
            # Where the probability of this corner's class is `share`.
            others = np.delete(np.arange(3), corner)
            line = share * CORNERS[corner] + (1 - share) * CORNERS[others]
            axes.plot(*line.T, color="#e9ecef", lw=0.6, zorder=0)
    places = ((-0.02, -0.02, "right", "top"), (1.02, -0.02, "left", "top"), (0.5, 0.89, "center", "bottom"))
    for name, (x, y, side, above) in zip(classes, places, strict=True):
        axes.text(x, y, f"all {name}", ha=side, va=above, color=BLACK, fontsize=9)
