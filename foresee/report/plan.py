"""The report of `foresee plan`: a map with the path through it. Start with `plan_page`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.colors import ListedColormap

from foresee.report.page import Figure, Items, Page, Section, Table, Text, Tile, Tiles
from foresee.report.plots import BLUE, GREEN, SKY, VERMILLION, drawing, legend_above
from foresee.report.words import count, number, significant

METHODS = {
    "jump_point": "jump-point search (Harabor and Grastien 2014): exact",
    "astar": "A* with the octile distance (Hart, Nilsson and Raphael 1968): exact",
    "any_angle": "Lazy Theta* (Nash, Koenig and Tovey 2010): any angle, short, not proved shortest",
    "cheapest": "A* over expected costs (Hart, Nilsson and Raphael 1968): exact",
}
MOST_PIXELS = 1200  # a side of the picture of a map; more are not seen


@dataclass(frozen=True, eq=False)
class PlanFindings:
    """What there is to show of a plan on a map.

    Attributes:
        summary: the numbers, under the names of summary.json.
        occupancy: probability that a cell is occupied.
        free: whether the robot's middle may enter a cell.
        cells: column and row along the path; empty where there is none.
        clearances: distance of each cell of the path from the nearest obstacle [cells].
        reached: which cells can be reached from the start; None where a path was found.
    """

    summary: dict[str, Any]
    occupancy: Float[np.ndarray, "rows columns"]
    free: Bool[np.ndarray, "rows columns"]
    cells: Int[np.ndarray, "steps 2"]
    clearances: Float[np.ndarray, " steps"]
    reached: Bool[np.ndarray, "rows columns"] | None = None


def plan_page(findings: PlanFindings) -> Page:
    """Return the report; every number in it comes from the summary."""
    s = findings.summary
    sections = [
        Section("What came out", (_tiles(s), Text(_verdict(s)))),
        Section("The map", (draw_plan(findings),)),
    ]
    if s["found"]:
        sections.append(Section("Room along the path", (draw_clearance(findings),)))
    sections.append(Section("How this was done", (Items(_how(s)), _numbers(s))))
    subtitle = (
        f"{s['map.source']}: {s['map.columns']:,} × {s['map.rows']:,} cells ({s['map.kind']}), from "
        f"{_place(s['start'])} to {_place(s['goal'])}."
    )
    title = "A path through the map" if s["found"] else "No path was found"
    return Page(title, subtitle, tuple(sections), f"foresee {s['version']}")


def plan_headlines(s: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of a run for the terminal, in the words of its report."""
    rows = [("map", f"{s['map.columns']:,} × {s['map.rows']:,} cells, {s['map.free']:,} free")]
    rows += [("from, to", f"{_place(s['start'])} → {_place(s['goal'])}"), ("outcome", s["outcome"])]
    if s["found"]:
        rows.append(("length", f"{number(s['length'], 4)} cells"))
        if s["method"] == "cheapest":
            rows.append(("expected cost", number(s["cost"], 4)))
    elif s["reached"] is not None:
        rows.append(("reached", f"{count(s['reached'], 'cell')}, the goal not among them"))
    rows += [("expanded", f"{s['expanded']:,}"), ("query", f"{significant(s['milliseconds'])} ms")]
    return rows


def draw_plan(findings: PlanFindings) -> Figure:
    """Draw the map, what of it can be entered, and the path."""
    s, occupancy = findings.summary, findings.occupancy
    rows, columns = occupancy.shape
    every = -(-max(rows, columns) // MOST_PIXELS)
    width = 7.5
    height = float(np.clip(width * rows / columns, 2.0, 10.0)) + 0.9
    with drawing(width, height) as figure:
        axes = figure.canvas.add_subplot()
        edges = (-0.5, columns - 0.5, rows - 0.5, -0.5)
        axes.imshow(
            _thinned(occupancy, every), extent=edges, cmap="Greys", vmin=0, vmax=1.25, interpolation="nearest"
        )
        kept_off = ~findings.free & (occupancy < s["threshold"])
        for mask, colour in ((kept_off, "#f2dfce"), (findings.reached, "#cce3f0")):
            if mask is not None and mask.any():
                shown = np.ma.masked_equal(_thinned(mask.astype(float), every) > 0, False)
                axes.imshow(shown, extent=edges, cmap=ListedColormap([colour]), interpolation="nearest")
        if len(findings.cells):
            axes.plot(findings.cells[:, 0], findings.cells[:, 1], color=BLUE, label="path")
        axes.plot(*s["start"], "o", color=GREEN, markersize=6, label="start", linestyle="none")
        axes.plot(*s["goal"], "s", color=VERMILLION, markersize=6, label="goal", linestyle="none")
        axes.set(xlabel="column [cells]", ylabel="row from the top [cells]", aspect="equal")
        axes.set_xlim(-0.5, columns - 0.5)
        axes.set_ylim(rows - 0.5, -0.5)
        legend_above(axes)
    caption = "Dark cells are obstacles, the darker the surer."
    if kept_off.any():
        caption += " Orange cells are free, but the robot's middle has to keep off them."
    if findings.reached is not None:
        caption += f" Blue is **all that can be reached** from the start, {count(s['reached'], 'cell')}."
    alt = (
        f"Map of {columns} by {rows} cells with start {_place(s['start'])}, goal {_place(s['goal'])} and "
        + (f"a path of length {number(s['length'], 2)}." if s["found"] else "no path.")
    )
    return Figure(figure.svg, alt, caption, wide=True)


def draw_clearance(findings: PlanFindings) -> Figure:
    """Draw how far from the nearest obstacle the path is, along its length."""
    steps = np.diff(findings.cells, axis=0)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])
    with drawing(7.5, 2.6) as figure:
        axes = figure.canvas.add_subplot()
        axes.fill_between(along, findings.clearances, color=SKY, alpha=0.35, linewidth=0)
        axes.plot(along, findings.clearances, color=BLUE)
        axes.set(xlabel="length along the path [cells]", ylabel="to the nearest obstacle [cells]")
        axes.set_ylim(bottom=0)
    caption = (
        f"From middle of cell to middle of cell; the least is {number(float(findings.clearances.min()), 2)}."
    )
    return Figure(figure.svg, f"Distance from obstacles along the path. {caption}", caption, wide=True)


def _thinned(values: np.ndarray, every: int) -> np.ndarray:
    """Return the largest of each square of cells, so that thin walls stay."""
    if every == 1:
        return values
    rows, columns = -(-values.shape[0] // every), -(-values.shape[1] // every)
    padded = np.zeros((rows * every, columns * every))
    padded[: values.shape[0], : values.shape[1]] = values
    return padded.reshape(rows, every, columns, every).max(axis=(1, 3))


def _place(place: list[int]) -> str:
    return f"{place[0]},{place[1]}"


def _tiles(s: Mapping[str, Any]) -> Tiles:
    if s["found"]:
        octile = significant(s["length"] / s["octile"] if s["octile"] else 1.0)
        first = Tile("length", f"{number(s['length'], 2)} cells", f"{octile} times that on an empty map")
    else:
        first = Tile("path", "none", s["outcome"])
    return Tiles(
        (
            first,
            Tile("one query, warm", f"{significant(s['milliseconds'])} ms", f"median of {s['repeats']}"),
            Tile("expanded", f"{s['expanded']:,}", "cells or corners that the search looked around from"),
        )
    )


def _verdict(s: Mapping[str, Any]) -> str:
    if s["outcome"] == "out of time":
        return f"**The time was up** after {s['seconds.allowed']:g} s: whether there is a path is not known."
    if not s["found"]:
        return (
            f"**There is no path.** That is proved: all {count(s['reached'], 'cell')} that can be reached "
            "from the start were searched, and the goal is not among them."
        )
    if s["method"] == "any_angle":
        return "The path is short, but that there is no shorter one is not proved."
    what = "cheaper" if s["method"] == "cheapest" else "shorter"
    return f"That there is no **{what}** path along the grid is proved by the search."


def _how(s: Mapping[str, Any]) -> tuple[str, ...]:
    items = [
        f"{METHODS[s['method']]}.",
        "Steps go to the eight neighbours of a cell; a diagonal step needs both cells beside it free.",
        f"Cells occupied with probability {s['threshold']:g} or more are obstacles.",
    ]
    if s["radius"]:
        items.append(f"The robot is round, with a radius of {s['radius']:g} cells.")
    if s["method"] == "cheapest":
        items.append(
            f"A cell's length inside an obstacle costs {s['collision']:g} cells of free length more."
        )
    return tuple(items)


def _numbers(s: Mapping[str, Any]) -> Table:
    rows = [
        (name, str(s[name])) for name in ("map.free", "found", "length", "cost", "expanded", "milliseconds")
    ]
    return Table(("name in summary.json", "value"), tuple(rows))
