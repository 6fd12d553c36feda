"""What each term of the driving costs looks like over what it depends on."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from foresee.driving.drivers.costs import Costs, beyond_edges, half_lane, ramp, shortfall, touching
from foresee.driving.drivers.plan_costs import expected_ramps
from foresee.driving.make_world import CAR
from foresee.report.page import Figure
from foresee.report.plots import BLUE, GREEN, ORANGE, VERMILLION, drawing
from foresee.storage import whole_file

COLOURS = (BLUE, GREEN, ORANGE, VERMILLION)
SPEEDS = (0.0, 10.0, 20.0, 30.0)  # [m/s]
DOUBTS = (0.0, 1.0, 3.0, 6.0)  # standard deviations of a gap [m]
LANE = 3.5  # [m]
POINTS = 201


def draw_costs(costs: Costs | None = None) -> Figure:
    """Draw every term over its argument, for a car on a lane of 3.5 m."""
    costs = Costs() if costs is None else costs
    with drawing(9.6, 5.6) as result:
        axes = result.canvas.subplots(2, 3)
        _proximity(axes[0, 0], costs)
        _lane(axes[0, 1])
        _off_road(axes[0, 2], costs)
        _progress(axes[1, 0], costs)
        _comfort(axes[1, 1], costs)
        _risk(axes[1, 2], costs)
    return Figure(
        result.svg,
        "Six curves: proximity, lane, off_road, progress, comfort and risk over what each depends on.",
        "**The terms, before they are weighted.** Proximity and risk are those of one vehicle on the own "
        f"lane; comfort is shown at {SPEEDS[2]:.0f} m/s, risk while the gap closes at 5 m/s.",
        wide=True,
    )


def draw_costs_under_doubt(costs: Costs | None = None) -> Figure:
    """Draw how the mean proximity over a gap, and its slope, change with the doubt about the gap."""
    costs = Costs() if costs is None else costs
    gap = _line(-12.0, 60.0)
    safe = costs.safe_distance(jnp.asarray(SPEEDS[2]), costs.headway)
    half = jnp.asarray(CAR[0])  # of both cars together

    def mean(gap: jax.Array, sd: float) -> jax.Array:
        place = gap + half
        return expected_ramps(place, jnp.full_like(place, sd), half, safe, safe)

    with drawing(9.2, 3.2) as result:
        upper, lower = result.canvas.subplots(1, 2)
        for colour, sd in zip(COLOURS, DOUBTS, strict=True):
            slope = jax.vmap(jax.grad(lambda gap, sd=sd: mean(gap, sd)))(gap)
            upper.plot(gap, mean(gap, sd), color=colour, label=f"{sd:g} m")
            lower.plot(gap, -slope, color=colour)
        _name(upper, "proximity, its mean", "mean gap [m]")
        _name(lower, "what a metre more takes off it [1/m]", "mean gap [m]")
        upper.legend(title="standard deviation")
    return Figure(
        result.svg,
        f"Mean proximity and its slope over the gap, for {len(DOUBTS)} standard deviations of the gap.",
        f"**Proximity under doubt**, at {SPEEDS[2]:.0f} m/s. Doubt rounds the corners: who may be "
        "near counts beyond the safe distance already, and even a gap that may be none has a way out.",
        wide=True,
    )


def write_costs(folder: str | Path, costs: Costs | None = None) -> tuple[Path, Path]:
    """Write both figures into a folder, on white, as `costs.svg` and `costs-under-doubt.svg`."""
    paths = Path(folder) / "costs.svg", Path(folder) / "costs-under-doubt.svg"
    for path, draw in zip(paths, (draw_costs, draw_costs_under_doubt), strict=True):
        head, rest = draw(costs).svg.split("<defs>", 1)
        white = '<rect width="100%" height="100%" fill="white"/>'
        with whole_file(path) as temporary:
            temporary.write_text(f"{head}{white}<defs>{rest}", encoding="utf-8")
    return paths


def _line(low: float, high: float) -> jax.Array:
    return jnp.linspace(low, high, POINTS)


def _name(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(label)
    axes.margins(x=0)


def _proximity(axes: Axes, costs: Costs) -> None:
    gap = _line(-2.0, 50.0)
    for colour, speed in zip(COLOURS, SPEEDS, strict=True):
        safe = costs.safe_distance(jnp.asarray(speed), costs.headway)
        axes.plot(gap, ramp(gap, safe), color=colour, label=f"{speed:g} m/s")
    _name(axes, "proximity", "gap to the vehicle ahead [m]")
    axes.legend(title="own speed")


def _lane(axes: Axes) -> None:
    offset = _line(-2.5, 2.5)
    axes.plot(offset, half_lane(offset, jnp.asarray(LANE)), color=BLUE)
    _name(axes, "lane", "distance from the middle, to the left [m]")


def _off_road(axes: Axes, costs: Costs) -> None:
    over, far = _line(-1.0, 2.0), jnp.full(POINTS, 10.0)
    reach = jnp.full(POINTS, 0.5 * CAR[1])
    axes.plot(over, beyond_edges(reach, reach - over, far) / costs.outside, color=BLUE)
    _name(axes, "off_road", "side of the body beyond the edge [m]")


def _progress(axes: Axes, costs: Costs) -> None:
    speed = _line(0.0, 35.0)
    for colour, reference in zip(COLOURS, SPEEDS[1:], strict=False):
        axes.plot(speed, shortfall(speed, jnp.asarray(reference)), color=colour, label=f"{reference:g} m/s")
    _name(axes, "progress", "speed along the lane [m/s]")
    axes.legend(title="reference speed")


def _comfort(axes: Axes, costs: Costs) -> None:
    speed, none, dt = jnp.full(POINTS, SPEEDS[2]), jnp.zeros(POINTS), 0.1
    value = _line(-6.0, 6.0)
    bend = value / speed**2
    kinds = {  # what is done, and what was done before
        "jerk [m/s³]": (jnp.stack([value * dt, none], -1), jnp.zeros((POINTS, 2))),
        "lateral jerk [m/s³]": (jnp.zeros((POINTS, 2)), jnp.stack([none, -bend * dt], -1)),
        "lateral acceleration [m/s²]": (jnp.stack([none, bend], -1),) * 2,
    }
    for colour, (kind, (action, before)) in zip(COLOURS, kinds.items(), strict=False):
        axes.plot(value, costs.discomfort(speed, action, before, dt), color=colour, label=kind)
    _name(axes, "comfort", "value")
    axes.legend(loc="upper center")


def _risk(axes: Axes, costs: Costs) -> None:
    gap, closing = _line(-2.0, 25.0), 5.0
    zero, soft = jnp.zeros(POINTS), jnp.broadcast_to(costs.softness, POINTS)
    both = jnp.full(POINTS, 2 * CAR[0]), jnp.full(POINTS, CAR[1])
    for colour, doubt in zip(COLOURS, DOUBTS, strict=True):
        sd = jnp.hypot(jnp.full(POINTS, doubt), soft)
        soon = [touching(gap - closing * t * costs.risk_horizon, sd, zero, soft, *both) for t in (0, 0.5, 1)]
        axes.plot(gap, np.max(soon, axis=0), color=colour, label=f"{doubt:g} m")
    _name(axes, "risk", "gap to the vehicle ahead [m]")
    axes.legend(title="sd of the gap")
