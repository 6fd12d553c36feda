"""A driver judged in closed loop, in many scenarios at once."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Bool, Int, PRNGKeyArray, Shaped

from foresee.driving.bootstrap import grouped_mean
from foresee.driving.contact import WORDS
from foresee.driving.driver import AbstractDriver, as_driver
from foresee.driving.intervals import Estimate
from foresee.driving.metrics import UNITS, Judged, judge
from foresee.driving.policies import Expert
from foresee.driving.scenario import Scenario, Scenarios
from foresee.driving.scores import OUTCOMES
from foresee.driving.sensing import AbstractSensing
from foresee.driving.simulate import MODES, Frame, Mode, check_mode, simulate
from foresee.driving.traffic_model import AbstractTraffic
from foresee.errors import ShapeError

CELLS = 640_000  # vehicles x frames x scenarios that are driven at a time: more do not fit into the caches
WORKERS = 2  # chunks under way at a time; one chunk by itself leaves most of a second core idle
KEPT = 48  # episodes that are kept for looking at, failed ones first
SHARES = {
    "fail_rate": "fail",
    "success_rate": "success",
    "at_fault_collisions": "at_fault_collision",
    "collisions": "overlap",
    "off_road": "offroad",
    "comfortable": "ego_is_comfortable",
    "time_to_collision_within_bound": "time_to_collision_within_bound",
}
MEANS = {
    "progress": "sdc_progression",
    "ade": "log_divergence",
    "ade_4s": "ade_4s",
    "jerk": "jerk",
    "nuplan_score": "nuplan_score",
}
Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Episodes:
    """Some of the episodes, to look at: all that failed come before those that did not.

    Attributes:
        scenario: their places among the scenarios.
        frames: where everybody was, in NumPy arrays with a leading axis; beliefs too if there were any.
    """

    scenario: Shaped[np.ndarray, " K"]
    frames: Frame


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What became of one driver in one kind of traffic.

    Attributes:
        driver: its name.
        mode: what the others did, as in `simulate`.
        scenarios: what was driven.
        table: one row per scenario: its name and group, the outcome in words, and every metric; a metric that
            needs a longer episode is null.
        values: name of a metric -> its value in every frame of every scenario; 0 where not counted.
        units: name of a metric -> its unit.
        counted: the frames that count.
        episodes: some of the episodes themselves.
        seconds: how long the evaluation took [s].
    """

    driver: str
    mode: Mode
    scenarios: Scenarios
    table: pl.DataFrame
    values: Mapping[str, Shaped[np.ndarray, "S T"]]
    units: Mapping[str, str]
    counted: Bool[np.ndarray, "S T"]
    episodes: Episodes
    seconds: float

    def summary(self, *, seed: int = 0) -> dict[str, Estimate]:
        """Return shares and means over the scenarios, with 95 % intervals by drawing groups again.

        Shares: `fail_rate`, `success_rate`, `at_fault_collisions`, `collisions`, `off_road`, `comfortable`,
        `time_to_collision_within_bound`. Means: `progress` (as a share of the expert's), `ade` [m] over the
        whole episode, `ade_4s` [m], `jerk` [m/s³], `nuplan_score`.

        Args:
            seed: of the draws.
        """
        groups = np.array(self.scenarios.groups)
        out = {}
        for name, column in (SHARES | MEANS).items():
            series = self.table[column]
            values = series.cast(pl.Float64).fill_null(0.0).to_numpy()
            there = series.is_not_null().to_numpy()
            out[name] = grouped_mean(values, groups, counted=there, is_share=name in SHARES, seed=seed)
        return out


def evaluate(
    driver: Any,
    scenarios: Scenarios,
    mode: Mode = "replay",
    *,
    sensing: AbstractSensing | None = None,
    traffic: AbstractTraffic | None = None,
    one_program: bool = False,
    key: PRNGKeyArray,
    keep: int = KEPT,
    progress: Progress | None = None,
) -> Evaluation:
    """Let a driver drive every scenario and judge what it did.

    Args:
        driver: an `AbstractDriver`, or any function from an observation to (acceleration, curvature).
        scenarios: the situations.
        mode: what the others do, as in `simulate`: "replay", "reactive", "mixed" or "learned".
        sensing: how the ego sees the others; None: exactly.
        traffic: the model that moves the others in "learned" traffic.
        one_program: whether all modes are compiled together, which saves time if a driver is evaluated in
            several of them, with the same traffic given.
        key: the randomness of sensing and driver.
        keep: number of episodes to keep for looking at, failed ones first.
        progress: called with the name of the step and the share of it that is done.

    Returns:
        A table of metrics, their values in every frame, and some of the episodes.

    Raises:
        OptionError: if the mode is unknown, or there is no model to move the others.
        ShapeError: if there is no scenario, or the driver is none.
    """
    begun = time.perf_counter()
    check_mode(mode, traffic)
    if not len(scenarios):
        raise ShapeError("expected at least one scenario, got none")
    name, driver, told = _name(driver), as_driver(driver), progress or (lambda step, share: None)
    count, size = len(scenarios), _chunk(scenarios)
    keys = jax.random.split(key, count)
    moving = jnp.asarray(MODES.index(mode)) if one_program else mode

    def drive(start: int) -> _Part:
        # The last chunk is filled up with copies, so that all have the shape that is compiled already.
        chosen = np.minimum(np.arange(start, start + size), count - 1)
        chunk = jax.tree.map(lambda leaf: leaf[chosen], scenarios.scenario)
        driven = _drive(driver, chunk, keys[chosen], sensing, traffic, moving, scenarios.dt)
        there = min(size, count - start)
        return _Part(chosen[:there], *jax.tree.map(lambda leaf: np.asarray(leaf)[:there], driven))

    told(name, 0.0)
    parts: list[tuple[Judged, np.ndarray]] = []
    kept: _Part | None = None
    with ThreadPoolExecutor(WORKERS) as pool:
        # The first one by itself, so that only one of them compiles.
        for part in chain([drive(0)], pool.map(drive, range(size, count, size))):
            kept = _keep(kept, part, keep)
            parts.append((part.judged, part.faults))
            told(name, (int(part.places[-1]) + 1) / count)
    judged, faults = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return Evaluation(
        name, mode, scenarios, _table(scenarios, judged, faults), judged.values, UNITS, judged.counted,
        _episodes(kept), time.perf_counter() - begun,
    )  # fmt: skip


class _Part(NamedTuple):
    """What became of some of the scenarios, in NumPy arrays."""

    places: Int[np.ndarray, " K"]
    judged: Judged
    faults: Int[np.ndarray, " K"]
    frames: Frame


@eqx.filter_jit
def _drive(
    driver: AbstractDriver,
    chunk: Scenario,
    keys: Array,
    sensing: AbstractSensing | None,
    traffic: AbstractTraffic | None,
    mode: Mode | Int[Array, ""],
    dt: float,
) -> tuple[Judged, Array, Frame]:
    def one(scenario: Scenario, key: Array) -> tuple[Judged, Array, Frame]:
        start = scenario.handover
        if isinstance(driver, Expert):
            scenario = eqx.tree_at(lambda s: s.handover, scenario, scenario.frames)
        episode = simulate(scenario, driver, mode=mode, dt=dt, sensing=sensing, traffic=traffic, key=key)
        judged = judge(episode, dt, handover=start)
        wrong = ~jnp.isfinite(episode.actions).all(axis=-1)
        # An action leads to the next frame; that of the last frame leads nowhere.
        wrong = wrong & judged.counted[1:] & judged.counted[:-1]
        return judged, wrong.sum(), episode.frames

    return jax.vmap(one)(chunk, keys)


def _chunk(scenarios: Scenarios) -> int:
    """Return how many scenarios are driven at a time: few shapes, for every one is compiled."""
    record = scenarios.scenario.record
    most = max(CELLS // max(record.x.shape[1] * record.x.shape[2], 1), 1)
    size = 1
    while 2 * size <= most and size < len(scenarios):
        size *= 2
    return size


def _keep(kept: _Part | None, part: _Part, most: int) -> _Part:
    """Keep episodes of what was kept and of one more part: failed ones first, then in order."""
    both = part if kept is None else jax.tree.map(lambda *leaves: np.concatenate(leaves), kept, part)
    order = np.lexsort((both.places, ~both.judged.scores["fail"]))[:most]
    return jax.tree.map(lambda leaf: leaf[order], both)


def _episodes(kept: _Part | None) -> Episodes:
    if kept is None:
        raise ShapeError("expected at least one scenario, got none")
    return Episodes(kept.places, kept.frames)


def _name(driver: Any) -> str:
    named = getattr(driver, "name", None) or getattr(driver, "__name__", None) or type(driver).__name__
    return str(named)


def _table(scenarios: Scenarios, judged: Judged, faults: np.ndarray) -> pl.DataFrame:
    columns = {
        "scenario": pl.Series(scenarios.names, dtype=pl.String),
        "group": pl.Series(scenarios.groups, dtype=pl.String),
        "outcome": pl.Series([OUTCOMES[code] for code in judged.outcome]),
        "failed_at": _optional(judged.failed_at * scenarios.dt, judged.failed_at >= 0),
        "contact": pl.Series([WORDS[code] for code in judged.contact]),
        "against": _optional(judged.against.astype(np.int64), judged.against >= 0),
        "faults": pl.Series(faults.astype(np.int64)),
    }
    for name, scores in judged.scores.items():
        values = scores.astype(float) if scores.dtype == np.float32 else scores
        columns[name] = (
            _optional(values, judged.defined[name]) if name in judged.defined else pl.Series(values)
        )
    return pl.DataFrame(columns)


def _optional(values: Any, there: Any) -> pl.Series:
    """A column that is null where there is nothing."""
    return pl.select(pl.when(pl.Series(there)).then(pl.Series(values))).to_series()
