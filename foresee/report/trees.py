"""Planners in the plane: obstacles, what was grown among them, the path, and how it got shorter."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.patches import Circle, Polygon

from foresee.planning import Obstacles, TreePath
from foresee.report.page import Figure
from foresee.report.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, drawing, legend_above
from foresee.report.words import count, number

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)


def draw_tree(obstacles: Obstacles, path: TreePath) -> Figure:
    """Draw obstacles, the tree that was grown among them, and the path.

    Args:
        obstacles: what must not be touched.
        path: what a planner has returned.
    """
    with drawing(5.4, 5.4) as figure:
        axes = figure.canvas.add_subplot()
        _draw_obstacles(axes, obstacles)
        children = np.flatnonzero(path.parents >= 0)
        if len(children):
            edges = np.stack([path.nodes[path.parents[children]], path.nodes[children]], axis=1)
            axes.add_collection(LineCollection(list(edges), colors=SKY, linewidths=0.5, zorder=1))
        if path.found:
            axes.plot(path.points[:, 0], path.points[:, 1], color=BLUE, label="path", zorder=3)
            axes.plot(*path.points[0], "o", color=GREEN, label="start", linestyle="none", zorder=4)
            axes.plot(*path.points[-1], "s", color=VERMILLION, label="goal", linestyle="none", zorder=4)
            legend_above(axes)
        axes.set(xlabel="x", ylabel="y", aspect="equal")
        axes.set_xlim(obstacles.low[0], obstacles.high[0])
        axes.set_ylim(obstacles.low[1], obstacles.high[1])
    what = f"a path of length {number(path.length, 2)}" if path.found else f"no path: {path.outcome}"
    caption = f"**{what[0].upper()}{what[1:]}**, {count(path.expanded, 'point')} tried."
    return Figure(figure.svg, f"Obstacles in the plane, a tree among them, and {what}.", caption)


def draw_lengths(paths: Mapping[str, TreePath], best: float | None = None) -> Figure:
    """Draw how paths got shorter with time.

    Args:
        paths: what planners have returned, by name.
        best: length of the shortest path, where it is known.
    """
    with drawing(5.4, 3.4) as figure:
        axes = figure.canvas.add_subplot()
        for place, (name, path) in enumerate(paths.items()):
            seconds, lengths = _steps(path)
            axes.step(seconds, lengths, where="post", color=COLOURS[place % len(COLOURS)], label=name)
        if best is not None:
            axes.axhline(best, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), label="shortest")
        axes.set(xlabel="time [s]", ylabel="length of the path", xscale="log")
        legend_above(axes)
    found = {name: number(path.length, 2) for name, path in paths.items()}
    alt = "Length of the path against time; at the end " + ", ".join(f"{k}: {v}" for k, v in found.items())
    return Figure(figure.svg, f"{alt}.", "The length of the shortest path found so far.")


def _steps(path: TreePath) -> tuple[Float[np.ndarray, " times"], Float[np.ndarray, " times"]]:
    """Return when the path became how long, up to the end of the search."""
    seconds, lengths = path.history.T if len(path.history) else (np.zeros(0), np.zeros(0))
    last = path.milliseconds / 1e3
    return np.append(seconds, last), np.append(lengths, lengths[-1] if len(lengths) else np.nan)


def _draw_obstacles(axes: Axes, obstacles: Obstacles) -> None:
    shapes = [Circle((x, y), radius) for x, y, radius in obstacles.discs]
    shapes += [Polygon(corners) for corners in obstacles.polygons]
    axes.add_collection(PatchCollection(shapes, facecolor="#565e66", edgecolor="none", zorder=2))
    if obstacles.blocked is not None:
        rows, columns = obstacles.blocked.shape
        edges = (-0.5, columns - 0.5, -0.5, rows - 0.5)
        axes.imshow(
            obstacles.blocked,
            extent=edges,
            origin="lower",
            cmap="Greys",
            vmin=0,
            vmax=1.5,
            interpolation="nearest",
        )
