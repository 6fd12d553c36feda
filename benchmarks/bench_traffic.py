"""Traffic: vehicle-steps per second, what they cost as a world grows, the gradient, and sane physics."""

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp

from benchmarks import measure
from benchmarks.peers import traffic as peers
from foresee.driving.flow import flow, flow_many
from foresee.driving.idm import equilibrium_gap
from foresee.driving.make_road import ring_road, straight_road
from foresee.driving.make_world import make_world, sample_manners, usual_manners
from foresee.driving.overlap import overlaps
from foresee.driving.world import World

CLAIM = "at least 2 million vehicle-steps a second in 100 worlds of 50 vehicles, safety metrics included"
STEPS = 100
DTYPE = jnp.float32


def worlds(count: int, vehicles: int, key: int = 0) -> World:
    """Return worlds like those of the peers: three lanes, vehicles 40 m apart, all drivers different."""
    road = straight_road(3, peers.ROAD, spacing=10.0)

    def one(key) -> World:
        drawn, placed = jax.random.split(key)
        rank = jnp.arange(vehicles) // 3
        along = 50.0 + peers.SPACING * rank + 10.0 * jax.random.uniform(placed, (vehicles,))
        manners = sample_manners(vehicles, key=drawn)
        speed = jnp.full(vehicles, peers.SPEED)
        return make_world(road, jnp.arange(vehicles) % 3, along, speed, manners=manners)

    many = jax.vmap(one)(jax.random.split(jax.random.key(key), count))
    single = jax.tree.map(_smaller, eqx.tree_at(lambda w: w.road, many, road))
    return single


def _smaller(leaf: jax.Array) -> jax.Array:
    return leaf.astype(DTYPE) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def timed(work: Callable[[], object], options: measure.Options) -> tuple[float, float, float, int]:
    """Return seconds of the first call, least and median seconds of later ones, and their number."""
    begin = time.perf_counter()
    work()
    first, spent, times = time.perf_counter() - begin, 0.0, []
    while len(times) < options.fewest or (spent < 4 * options.seconds and len(times) < options.rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
        spent += times[-1]
    return first, min(times), statistics.median(times), len(times)


def speed(report: measure.Report) -> None:
    """Compare vehicle-steps per second for 1, 100 and 1,000 worlds."""
    options, vehicles = report.options, 50
    steps = 10 if options.quick else STEPS
    rows, rates = [], {}
    for count in (1, 4) if options.quick else (1, 100, 1000):
        many = worlds(count, vehicles)
        first, least, median, repeats = timed(
            lambda w=many, n=steps: jax.block_until_ready(flow_many(w, n)), options
        )
        work = count * vehicles * steps
        rates[count] = work / least
        _, watch = flow_many(many, steps)
        report.gate(f"{count} worlds: no collision", not bool(watch.collided.any()))
        rows.append(("foresee, metrics on", count, work / least, work / median, repeats, first))
    turns = 1 if options.quick else 3
    for name, run in (
        ("libsumo", lambda: peers.libsumo(vehicles, steps, metrics=False)),
        ("libsumo, metrics on", lambda: peers.libsumo(vehicles, steps, metrics=True)),
        ("highway-env", lambda: peers.highway_env(vehicles, steps)),
    ):
        if options.peers is not None and not any(p in name for p in options.peers):
            continue
        try:
            values = [run() for _ in range(turns)]
        except ImportError as error:
            report.console.print(f"{name} not run: {error}")
            continue
        rates[name] = max(values)
        # A batch of worlds runs one after the other there, so its rate is that of one.
        rows.append((name, "any", max(values), statistics.median(values), turns, None))
    columns = ["", "worlds", "best vehicle-steps/s", "median", "repeats", "first call s"]
    report.table("50 vehicles a world, 10 steps a simulated second", columns, rows)
    if not options.quick:
        report.target("2e6 vehicle-steps/s at 100 worlds, as seconds for 1e6", 1e6 / rates[100], 0.5)
        for name in ("libsumo", "libsumo, metrics on"):
            if name in rates:
                report.target(f"a tenth of {name}'s time at 100 worlds", rates[name] / rates[100], 0.1)


def growth(report: measure.Report) -> None:
    """Measure the cost of a step as the number of vehicles in one world grows."""
    rows = []
    for vehicles in (20, 40) if report.options.quick else (50, 200, 1000, 5000):
        many = worlds(1, vehicles)
        steps = 10 if report.options.quick else STEPS
        _, least, median, repeats = timed(
            lambda w=many, n=steps: jax.block_until_ready(flow_many(w, n)), report.options
        )
        rows.append(
            (
                f"{vehicles:,}",
                1e6 * least / steps,
                1e9 * least / steps / vehicles,
                1e6 * median / steps,
                repeats,
            )
        )
    columns = ["vehicles", "µs per step", "ns per vehicle-step", "median µs", "repeats"]
    report.table("one world of growing size", columns, rows)
    if not report.options.quick:
        log = jnp.log(5000.0) / jnp.log(1000.0)
        ratio = rows[-1][1] / rows[-2][1]
        report.target("5,000 against 1,000 vehicles: n log n is 6.2", ratio, float(1.5 * 5 * log))


def gradient(report: measure.Report) -> None:
    """Differentiate a rollout of many worlds and compare with finite differences in float64."""
    count, steps = (2, 10) if report.options.quick else (64, 50)
    road = ring_road(2, 400.0)

    def loss(headway, along, speed):
        def one(along, speed):
            manners = sample_manners(10, key=jax.random.key(0))
            world = make_world(
                road, jnp.arange(10) % 2, along, speed, manners=replace(manners, headway=headway)
            )
            after, _ = flow(world, steps)
            return jnp.sum(after.speed**2) + jnp.sum(after.offset)

        return jnp.mean(jax.vmap(one)(along, speed))

    keys = jax.random.split(jax.random.key(1), 3)
    along = 70.0 * (jnp.arange(10) // 2) + 5 * jax.random.uniform(keys[0], (count, 10))
    speed = 12.0 + 3 * jax.random.uniform(keys[1], (count, 10))
    headway = 1.2 + 0.5 * jax.random.uniform(keys[2], (10,))
    both = jax.jit(jax.value_and_grad(loss))
    first, least, median, repeats = timed(
        lambda: jax.block_until_ready(both(headway, along, speed)), report.options
    )
    slope = both(headway, along, speed)[1]
    away = jax.random.normal(keys[2], (10,))
    ahead, behind = (both(headway + sign * 1e-5 * away, along, speed)[0] for sign in (1, -1))
    difference, expected = float(slope @ away), float(ahead - behind) / 2e-5
    error = abs(difference - expected) / abs(expected)
    report.gate("gradient equals the finite difference within 1e-4", error < 1e-4, f"{error:.1e}")
    columns = ["", "worlds", "steps", "least s", "median s", "repeats", "first call s", "relative error"]
    row = ("value and gradient", count, steps, least, median, repeats, first, error)
    report.table("gradient through a rollout of 10 vehicles a world, float64", columns, [row])


def physics(report: measure.Report) -> None:
    """Count what must not happen in a thousand worlds of a minute each."""
    count, steps = (4, 20) if report.options.quick else (1000, 600)
    road = straight_road(3, 3000.0, ramp=(300.0, 600.0), spacing=4.0)

    def one(key):
        drawn, placed = jax.random.split(key)
        on_ramp = jnp.arange(30) < 6
        lane = jnp.where(on_ramp, 3, jnp.arange(30) % 3)
        along = jnp.where(on_ramp, 10 + 28.0 * jnp.arange(30), 30.0 * (jnp.arange(30) // 3))
        along = along + 8 * jax.random.uniform(placed, (30,))
        return make_world(road, lane, along, jnp.full(30, 17.0), manners=sample_manners(30, key=drawn))

    many = jax.vmap(one)(jax.random.split(jax.random.key(2), count))
    many = jax.tree.map(_smaller, eqx.tree_at(lambda w: w.road, many, road))
    after, watch = flow_many(many, steps)
    touching = jax.vmap(lambda x: overlaps(x) & x.alive & x.alive[:, None])(
        eqx.tree_at(lambda w: w.road, after, jax.tree.map(lambda leaf: jnp.stack([leaf] * count), road))
    )
    collided, off = int(watch.collided.sum()), int(watch.off_road.sum())
    report.gate(
        "a ramp, 1,000 worlds, 60 s: no collision", collided == 0 and not bool(touching.any()), str(collided)
    )
    report.gate("nobody leaves the road sideways", off == 0, str(off))
    merged = float(((after.lane < 3) | ~after.alive)[:, :6].mean())
    columns = [
        "",
        "collisions",
        "off the road",
        "least time to collision s",
        "hardest braking m/s²",
        "merged",
    ]
    row = (
        "three lanes and a ramp",
        collided,
        off,
        float(watch.least_ttc.min()),
        float(watch.hardest_brake.max()),
        merged,
    )
    report.table(f"{count:,} worlds of 30 vehicles for {steps / 10:.0f} s", columns, [row])


def diagram(report: measure.Report) -> None:
    """Compare the flow on a ring with the equilibrium of the driver model, and see where waves appear.

    Calm drivers accelerate with 3 m/s² and are stable at every density; jumpy ones, with .5 m/s² and a
    headway of 1.2 s, are not. One vehicle begins 30 % slower than the others; ten minutes.
    """
    length, most, steps = 3000.0, 120, 100 if report.options.quick else 6000
    road = ring_road(1, length, spacing=10.0)
    calm = replace(usual_manners(most), strength=jnp.full(most, 3.0), comfort=jnp.full(most, 3.0))
    jumpy = replace(calm, strength=jnp.full(most, 0.5), headway=jnp.full(most, 1.2))
    counts, speeds = (6, 15, 30, 45, 60, 75, 90, 105, 120), jnp.linspace(0.0, 33.3, 5000)
    made, theory = [], []
    for manners in (calm, jumpy):
        wanted = equilibrium_gap(jax.tree.map(lambda leaf: leaf[0], manners), speeds)
        for count in counts:
            even = jnp.interp(length / count - 4.7, wanted, speeds)
            theory.append(float(even))
            along = (jnp.arange(most) * length / count + 1.0) % length
            speed = jnp.full(most, even).at[0].multiply(0.7)
            there = jnp.arange(most) < count
            made.append(make_world(road, jnp.zeros(most, int), along, speed, alive=there, manners=manners))
    many = eqx.tree_at(lambda w: w.road, jax.tree.map(lambda *leaves: jnp.stack(leaves), *made), road)
    after, _ = flow_many(jax.tree.map(_smaller, many), steps)
    mean = jnp.mean(after.speed, axis=1, where=after.alive)
    spread = jnp.std(after.speed, axis=1, where=after.alive)
    rows = []
    for place, count in enumerate(counts):
        density, jump = 1000 * count / length, place + len(counts)
        flows = (3.6 * density * float(mean[place]), 3.6 * density * theory[place])
        waves = (3.6 * density * float(mean[jump]), 3.6 * density * theory[jump], float(spread[jump]))
        rows.append((f"{density:g} vehicles/km", *flows, float(spread[place]), *waves))
    columns = ["", "flow per hour", "theory", "speed sd m/s", "jumpy: flow", "theory, even", "speed sd"]
    report.table("the fundamental diagram of one lane", columns, rows)
    if not report.options.quick:
        worst = max(abs(row[1] / row[2] - 1) for row in rows)
        report.gate("calm traffic flows as in theory within .5 %", worst < 0.005, f"{worst:.1e}")
        report.gate("waves appear in jumpy traffic", max(row[6] for row in rows) > 3.0)


def main(arguments: list[str] | None = None) -> int:
    """Measure speed, growth and gradient, and check the physics."""
    options = measure.options(__doc__, arguments)
    if not options.quick:
        jax.config.update(
            "jax_num_cpu_devices", os.cpu_count() or 1
        )  # a device per core, which worlds are spread over
    report = measure.Report("traffic", CLAIM, options)
    speed(report)
    growth(report)
    gradient(report)
    physics(report)
    diagram(report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
