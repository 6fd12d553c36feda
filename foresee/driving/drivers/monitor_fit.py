"""Learning what the signs of a monitor mean, and when they are alarming. Start with `fit_monitor`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from foresee.calibration.distances import Mahalanobis, fit_mahalanobis
from foresee.calibration.minimise import minimise
from foresee.calibration.threshold import Threshold, fit_threshold
from foresee.driving.arenas import Arena
from foresee.driving.bootstrap import grouped_mean
from foresee.driving.driver import AbstractDriver
from foresee.driving.drivers.monitor import FIRST, SIGNS, SOON, Facts, Monitor, facts_of, vehicles_around
from foresee.driving.drivers.plan import way_of
from foresee.driving.futures.learned import Learned
from foresee.driving.intervals import Estimate
from foresee.driving.metrics import judge
from foresee.driving.observe import observe
from foresee.driving.scenario import Scenario
from foresee.driving.scores import REACHED, STUCK
from foresee.driving.sensing import AbstractSensing, know_exactly
from foresee.driving.simulate import Frame, Mode, simulate
from foresee.driving.world import World
from foresee.errors import CalibrationError

CHUNK = 32  # scenarios that are driven at a time
LEAST_SCALE = 1e-3  # of a sign
PENALTY = 1e-3  # on squared weights, in nats per row
DRAWS = 500  # of episodes, for intervals


@dataclass(frozen=True, eq=False)
class Scored:
    """What a monitor said of every frame of episodes that a driver drove without it.

    Attributes:
        score: log odds to fail soon.
        soon: whether the driver then failed within the next 3 s; to make no progress is no such failure.
        counted: frames that count: those before a failure.
        failed: episodes that failed.
        groups: episodes of the same group are not independent.
    """

    score: Float[np.ndarray, "S T"]
    soon: Bool[np.ndarray, "S T"]
    counted: Bool[np.ndarray, "S T"]
    failed: Bool[np.ndarray, " S"]
    groups: tuple[str, ...]

    def auroc(self, *, seed: int = 0) -> Estimate:
        """Return the area under the ROC curve of "will fail within 3 s" over frames.

        Its 95 % interval is that of drawing groups of episodes again. NaN if nothing failed, or everything.

        Args:
            seed: of the draws.
        """
        order = np.argsort(self.score[self.counted], kind="stable")
        soon = self.soon[self.counted][order]
        _, group = np.unique(np.asarray(self.groups), return_inverse=True)
        member = np.broadcast_to(group[:, None], self.counted.shape)[self.counted][order]
        number = group.max() + 1
        rows = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), DRAWS)
        value = _area(soon, np.ones(len(soon)))
        areas = [_area(soon, row[member].astype(float)) for row in rows]
        low, high = np.nanquantile(areas, [0.025, 0.975]) if np.isfinite(value) else (np.nan, np.nan)
        return Estimate(value, float(low), float(high))

    def highest(self) -> Float[np.ndarray, " S"]:
        """Return the highest score of every episode."""
        return np.where(self.counted, self.score, -np.inf).max(axis=1)

    def false_alarms(self, threshold: float) -> Estimate:
        """Return the share of the episodes without a failure in which there is an alarm at any time."""
        harmless = ~self.failed & self.counted.any(axis=1)
        alarms = (self.highest() > threshold).astype(float)
        return grouped_mean(alarms, np.asarray(self.groups), counted=harmless, is_share=True)


@dataclass(frozen=True, eq=False)
class FittedMonitor:
    """A monitor, and what is known of how good it is.

    Attributes:
        monitor: the monitor.
        threshold: where it raises an alarm, with the rate of false alarms that this was made for.
        auroc: of "will fail within 3 s", in the episodes that it was learned from.
        false_alarms: share of the harmless episodes, of those that the threshold is from, with an alarm.
        episodes: number of episodes that it was learned from.
        failures: number of these that failed.
    """

    monitor: Monitor
    threshold: Threshold
    auroc: Estimate
    false_alarms: Estimate
    episodes: int
    failures: int


def fit_monitor(
    driver: AbstractDriver,
    learning: Sequence[Arena],
    calibration: Sequence[Arena],
    *,
    forecaster: Learned,
    false_alarm: float = 0.05,
    key: PRNGKeyArray,
) -> FittedMonitor:
    """Let a driver drive, and learn from its failures what announces them.

    The signs and their products are joined by a logistic regression, in which frames before a failure weigh
    as much in all as the others. A false alarm is an episode without a failure, but with an alarm.

    Args:
        driver: who is to be watched.
        learning: what the signs are learned from: first, traffic such as the networks have learned from,
            which is what counts as familiar; then situations in which the driver fails now and then.
        calibration: other situations, from whose harmless episodes the threshold is made.
        forecaster: foretells everybody.
        false_alarm: share of harmless episodes in which there may be an alarm.
        key: the randomness of sensing and driver.

    Raises:
        CalibrationError: if no episode failed or all did, or too few were harmless for the rate.
    """
    keys = iter(jax.random.split(key, len(learning) + len(calibration)))
    taught = [drive_watched(driver, forecaster, arena, key=next(keys)) for arena in learning]
    held = [drive_watched(driver, forecaster, arena, key=next(keys)) for arena in calibration]
    calm = taught[0].facts.encoding[taught[0].counted & ~taught[0].soon]
    familiar = fit_mahalanobis(calm, np.zeros(len(calm), int), 1)
    monitor = _learned(_blank(forecaster, familiar), taught)
    rated = _joined([_scored(monitor, part) for part in held])
    harmless = ~rated.failed & rated.counted.any(axis=1)
    threshold = fit_threshold(rated.highest()[harmless], false_alarm)
    monitor = replace(monitor, threshold=threshold.value)
    seen = _joined([_scored(monitor, part) for part in taught])
    false_alarms = rated.false_alarms(float(threshold.value))
    return FittedMonitor(
        monitor, threshold, seen.auroc(), false_alarms, len(seen.failed), int(seen.failed.sum())
    )


def monitor_scores(driver: AbstractDriver, monitor: Monitor, arena: Arena, *, key: PRNGKeyArray) -> Scored:
    """Return what a monitor says of every frame while a driver drives without it.

    Args:
        driver: who is watched.
        monitor: who watches, but does nothing.
        arena: what is driven.
        key: the randomness of sensing and driver.
    """
    return _scored(monitor, drive_watched(driver, monitor.forecaster, arena, key=key))


@dataclass(frozen=True, eq=False)
class Watched:
    """What was seen in every frame of episodes; the rest as in `Scored`."""

    facts: Facts
    soon: Bool[np.ndarray, "S T"]
    counted: Bool[np.ndarray, "S T"]
    failed: Bool[np.ndarray, " S"]
    groups: tuple[str, ...]


def drive_watched(driver: AbstractDriver, forecaster: Learned, arena: Arena, *, key: PRNGKeyArray) -> Watched:
    """Let a driver drive all situations of an arena, and note what there was to be seen.

    Args:
        driver: who drives.
        forecaster: foretells everybody.
        arena: what is driven.
        key: the randomness of sensing and driver.
    """
    scenarios = arena.scenarios
    count, keys = len(scenarios), jax.random.split(key, len(scenarios))
    size = min(CHUNK, count)
    parts = []
    for start in range(0, count, size):
        # The last ones are filled up with copies, so that all have the shape that is compiled already.
        chosen = np.minimum(np.arange(start, start + size), count - 1)
        chunk = jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], scenarios.scenario)
        driven = _drive(driver, forecaster, chunk, keys[chosen], arena.sensing, arena.mode, scenarios.dt)
        there = min(size, count - start)
        parts.append(jax.tree.map(lambda leaf, there=there: np.asarray(leaf)[:there], driven))
    facts, failed_at, counted = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    ahead = failed_at[:, None] - np.arange(counted.shape[1])
    failed = failed_at >= 0
    soon = failed[:, None] & (ahead > 0) & (ahead <= round(SOON / scenarios.dt))
    return Watched(facts, soon, counted & (~failed[:, None] | (ahead > 0)), failed, scenarios.groups)


@eqx.filter_jit
def _drive(
    driver: AbstractDriver,
    forecaster: Learned,
    chunk: Scenario,
    keys: Array,
    sensing: AbstractSensing | None,
    mode: Mode,
    dt: float,
) -> tuple[Facts, Array, Array]:
    def one(scenario: Scenario, key: Array) -> tuple[Facts, Array, Array]:
        episode = simulate(scenario, driver, mode=mode, dt=dt, sensing=sensing, key=key)
        judged = judge(episode, dt)
        hurt = (judged.outcome != REACHED) & (judged.outcome != STUCK)

        def look(memory: Any, moment: tuple[Frame, Array]) -> tuple[Any, Facts]:
            frame, action = moment
            world = _world_at(scenario.world, frame)
            beliefs = know_exactly(world, scenario.ego) if frame.beliefs is None else frame.beliefs
            view = observe(world, scenario.ego, beliefs)
            outlook, memory = forecaster.look(view, memory)
            around = vehicles_around(view, outlook)
            return memory, facts_of(forecaster, view, outlook, way_of(view), around, action)

        frames = jax.tree.map(lambda leaf: leaf[:-1], episode.frames)
        _, facts = jax.lax.scan(look, forecaster.start(), (frames, episode.actions))
        return facts, jnp.where(hurt, judged.failed_at, -1), judged.counted[:-1]

    return jax.vmap(one)(chunk, keys)


def _world_at(world: World, frame: Frame) -> World:
    """Return the traffic of a frame, as far as a driver can see it."""
    shown = ("x", "y", "heading", "speed", "acceleration", "curvature", "alive", "lane", "along", "offset")
    return replace(world, **{name: getattr(frame, name) for name in shown})


def _blank(forecaster: Learned, familiar: Mahalanobis) -> Monitor:
    none = jnp.zeros(len(SIGNS))
    return Monitor(forecaster, familiar, none, none + 1, jnp.zeros(len(SIGNS) + len(FIRST)))


def _learned(monitor: Monitor, taught: Sequence[Watched]) -> Monitor:
    """Return a monitor whose weights are those of a logistic regression."""
    soon = np.concatenate([part.soon[part.counted] for part in taught])
    if soon.all() or not soon.any():
        raise CalibrationError(
            "fit_monitor: expected some episodes that fail and some that do not, got "
            f"{int(soon.sum())} of {len(soon)} frames within {SOON:g} s before a failure"
        )
    kinds = [Facts(part.facts.signs[part.counted], part.facts.encoding[part.counted]) for part in taught]
    facts = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *kinds)
    return _regressed(monitor, facts, jnp.asarray(soon))


@eqx.filter_jit
def _regressed(monitor: Monitor, facts: Facts, soon: Bool[Array, " N"]) -> Monitor:
    signs = monitor.signs(facts)
    monitor = replace(monitor, centre=signs.mean(axis=0), scale=jnp.maximum(signs.std(axis=0), LEAST_SCALE))
    table = monitor.table(facts)
    share = soon.mean()
    weight = jnp.where(soon, 0.5 / share, 0.5 / (1 - share))

    def loss(parameters: tuple[Array, Array]) -> Array:
        odds = table @ parameters[0] + parameters[1]
        return jnp.mean(weight * (jax.nn.softplus(odds) - soon * odds)) + PENALTY * jnp.sum(
            parameters[0] ** 2
        )

    begin = jnp.zeros(table.shape[1], table.dtype), jnp.zeros((), table.dtype)
    (weights, bias), _ = minimise(loss, begin)
    # Both kinds weighed the same in all; their true shares are put back.
    bias = bias + jnp.log(share / (1 - share))
    return replace(monitor, weights=weights, bias=bias)


def _scored(monitor: Monitor, part: Watched) -> Scored:
    score = np.asarray(eqx.filter_jit(Monitor.score)(monitor, part.facts))
    return Scored(score, part.soon, part.counted, part.failed, part.groups)


def _joined(parts: Sequence[Scored]) -> Scored:
    """Put the episodes of several arenas together, shorter ones with frames that do not count."""
    frames = max(part.score.shape[1] for part in parts)

    def filled(name: str) -> np.ndarray:
        rows = [getattr(part, name) for part in parts]
        return np.concatenate([np.pad(row, ((0, 0), (0, frames - row.shape[1]))) for row in rows])

    failed = np.concatenate([part.failed for part in parts])
    groups = tuple(f"{number} {group}" for number, part in enumerate(parts) for group in part.groups)
    return Scored(filled("score"), filled("soon"), filled("counted"), failed, groups)


def _area(soon: Bool[np.ndarray, " N"], weight: Float[np.ndarray, " N"]) -> float:
    """Return the area under the ROC curve of rows in ascending order of their scores."""
    positive, negative = weight * soon, weight * ~soon
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - 0.5 * negative
    return float((positive * below).sum() / pairs) if pairs > 0 else float("nan")
