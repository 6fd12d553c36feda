"""Evaluations made by hand, for tests of what is done with them: nothing is simulated."""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from foresee.driving.evaluate import Episodes, Evaluation
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import usual_manners
from foresee.driving.metrics import UNITS
from foresee.driving.scenario import Record, Scenario, Scenarios
from foresee.driving.simulate import Frame, Mode
from foresee.driving.world import Limits, World

VEHICLES, FRAMES, DT = 4, 60, 0.1
MOVING = ("x", "y", "heading", "speed", "acceleration", "curvature", "lane", "along", "offset")


def made_scenarios(count=5, scenes=2):
    """Two lanes; the ego (slot 0) behind slot 1 on the right one, slot 2 beside it, slot 3 far away."""
    road = straight_road(2, 400.0, spacing=20.0)
    start = np.array([50.0, 80.0, 60.0, 300.0])
    lane = np.array([1, 1, 0, 0])
    x = start + 10.0 * DT * np.arange(FRAMES)[:, None]
    zero, ones = np.zeros((FRAMES, VEHICLES)), np.ones(VEHICLES)
    columns = dict.fromkeys(MOVING, zero) | {
        "x": x,
        "along": x,
        "y": zero - 3.5 * lane,
        "speed": zero + 10.0,
        "lane": np.broadcast_to(lane, zero.shape).astype(np.int32),
    }
    columns = {name: jnp.asarray(values) for name, values in columns.items()}
    record = Record(**columns, present=jnp.ones((FRAMES, VEHICLES), bool))
    first = {name: values[0] for name, values in columns.items()}
    world = World(
        **first,
        length=jnp.asarray(4.0 * ones),
        width=jnp.asarray(1.8 * ones),
        alive=jnp.ones(VEHICLES, bool),
        target=first["lane"],
        since_change=jnp.asarray(100.0 * ones),
        faults=jnp.zeros(VEHICLES, jnp.int32),
        manners=usual_manners(VEHICLES),
        road=road,
        limits=Limits(),
        time=jnp.asarray(0.0),
    )
    one = Scenario(world, record, jnp.asarray(0), jnp.asarray(0), jnp.asarray(FRAMES - 1))
    stacked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), one)
    groups = tuple(f"s{k % scenes}" for k in range(count))
    return Scenarios(tuple(f"{group}/{k}" for k, group in enumerate(groups)), groups, stacked, DT)


def made_evaluation(driver="idm", mode: Mode = "replay", failing=(1,), off=(), scenarios=None, keep=True):
    """The ego hits slot 1 at 3 s where `failing`, and leaves the road at 2 s where `off`."""
    scenarios = scenarios or made_scenarios()
    record, count = scenarios.scenario.record, len(scenarios)
    fields = {name: np.array(getattr(record, name)) for name in MOVING}
    tick = np.arange(FRAMES)
    for k in failing:
        fields["x"][k, :, 0] += np.minimum(26.0 * tick / 30, 60.0)
    for k in off:
        fields["y"][k, :, 0] -= 1.7 * tick / 20
        fields["offset"][k, :, 0] -= 1.7 * tick / 20
    there = np.ones((count, FRAMES, VEHICLES), bool)
    moved = {name: jnp.asarray(values) for name, values in fields.items()}
    frames = Frame(**moved, alive=jnp.asarray(there), reactive=jnp.asarray(~there), beliefs=None)
    frames = jax.tree.map(np.asarray, frames)
    hit, out = (np.isin(np.arange(count), places) for places in (failing, off))
    values: dict[str, np.ndarray] = {name: np.zeros((count, FRAMES)) for name in UNITS}
    values["time_to_collision"] += 3.0 - 0.1 * np.arange(count)[:, None]
    values["overlap"] = hit[:, None] & (tick >= 30)
    values["offroad"] = out[:, None] & (tick >= 20)
    outcome = np.where(hit, "hit the vehicle ahead", np.where(out, "left the road", "did not fail"))
    failed_at = [3.0 if a else 2.0 if b else None for a, b in zip(hit, out, strict=True)]
    table = pl.DataFrame(
        {
            "scenario": scenarios.names,
            "group": scenarios.groups,
            "outcome": outcome.tolist(),
            "failed_at": pl.Series(failed_at, dtype=pl.Float64),
            "contact": np.where(hit, "hit with the front", "nothing").tolist(),
            "against": pl.Series([1 if each else None for each in hit], dtype=pl.Int64),
            "faults": np.zeros(count, np.int64),
            "fail": hit | out,
            "success": ~(hit | out),
            "at_fault_collision": hit,
            "overlap": hit,
            "offroad": out,
            "ego_is_comfortable": ~hit,
            "time_to_collision_within_bound": ~hit,
            "sdc_progression": 1.0 + 0.1 * hit,
            "log_divergence": 2.0 * hit,
            "ade_4s": pl.Series([1.0, *[None] * (count - 1)], dtype=pl.Float64),
            "jerk": 0.5 + hit,
            "nuplan_score": 1.0 - hit,
        }
    )
    places = np.arange(count if keep else 0)
    kept = Episodes(places, jax.tree.map(lambda leaf: leaf[places], frames))
    counted = np.ones((count, FRAMES), bool)
    return Evaluation(driver, mode, scenarios, table, values, UNITS, counted, kept, 0.5)


def made_evaluations(keep=True):
    """Expert, none and idm in replay and reactive traffic, among the same five scenarios."""
    scenarios = made_scenarios()
    fails: dict[tuple[str, Mode], tuple[tuple[int, ...], tuple[int, ...]]] = {
        ("expert", "replay"): ((), ()),
        ("expert", "reactive"): ((3,), ()),
        ("none", "replay"): ((0, 1), (2,)),
        ("none", "reactive"): ((0, 1), ()),
        ("idm", "replay"): ((1,), ()),
        ("idm", "reactive"): ((), ()),
    }
    return tuple(
        made_evaluation(driver, mode, failing, off, scenarios, keep)
        for (driver, mode), (failing, off) in fails.items()
    )


def companions():
    """Names of the vehicles of every made scenario."""
    return tuple((str(k), *"abc") for k in range(5))
