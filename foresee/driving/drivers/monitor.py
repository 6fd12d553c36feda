"""A watch on any driver: it says how likely the driver is to fail soon, and takes over before that happens.

Three kinds of signs are joined: that the situation is unlike those the networks learned from, that the
networks doubt what comes next, and that what the driver is about to do is likely to end in somebody's way.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.calibration.distances import Mahalanobis
from foresee.calibration.ood import NetworkOutputs
from foresee.driving.driver import AbstractDriver
from foresee.driving.drivers.plan import Plan, Way, for_each, roll_out, way_of
from foresee.driving.drivers.proposals import Nearby, nearby
from foresee.driving.drivers.risk import overlap_probability
from foresee.driving.drivers.scoring import following, standing
from foresee.driving.drivers.tracking import Course, Tracker
from foresee.driving.futures.learned import Learned, Outlook
from foresee.driving.futures.network import TIMES, rows_of
from foresee.driving.observe import Observation
from foresee.driving.policies import LaneKeeper
from foresee.dynamics.check import check_not_negative, check_positive

SIGNS = (
    "risk",  # log probability of touching somebody within 3 s, acceleration and place on the lane kept
    "steered_risk",  # the same within 2 s, acceleration and curvature kept
    "closing",  # the same if from some time on all went straight on for another second
    "outside",  # how far the body then gets out of the road [m]
    "needed",  # log of one more than the braking that is needed not to touch the vehicle ahead [m/s²]
    "doubt_others",  # log of how far the networks disagree in 3 s about who is near [m]
    "doubt_own",  # log of how far they disagree about the ego [m]
    "unusual",  # how improbable it is that a recorded driver would do so [nat]
    "eyes",  # standard deviation of the positions of who is near [m]
    "unfamiliar",  # log of the Mahalanobis distance of the ego's encoding to those in training
)
FIRST, SECOND = np.triu_indices(len(SIGNS))  # of products
FARTHEST = 4.0  # signs farther from their mean count as this many standard deviations
AHEAD, STEP = 3.0, 0.25  # how far the risk is looked for, and time between its points [s]
SOON = 3.0  # to fail within this time is what the score is about [s]
STEERED = 8  # points up to which a curvature is kept
LOOKED_AT = 8  # so many vehicles are looked at
NEAR = 4  # of which so many are near
RAREST = 1e-4  # probabilities below count as this
CLOSEST = 0.5  # gaps below count as this [m]
SAME = 0.01  # probabilities that differ by less are taken as the same
LEAST_DOUBT = 1e-3  # [m]
MOST_UNUSUAL = 50.0  # squared distances in standard deviations above count as this


class Facts(NamedTuple):
    """What is seen of one moment: all signs but the last one, and the encoding that it is made of."""

    signs: Float[Array, "*b S"]
    encoding: Float[Array, "*b W"]


class Fallback(eqx.Module):
    """Stays in its lane and brakes, no harder than it takes.

    It drives as a careful lane keeper does, or brakes by the least of some decelerations with which the
    probability of touching somebody is tolerable, or is least if none is. An alarm may mean that what is
    foretold is wrong: it brakes at least so that it could stop behind the vehicle ahead if that one braked
    hard. The acceleration changes gently unless the danger is near.

    Args:
        keeper: drives where there is no danger.
        brakes: decelerations, the mildest first [m/s²].
        tolerance: probability of touching somebody that is accepted.
        jerk: of what is not urgent [m/s³].
        urgency: probability from which on any jerk is right.
        theirs: deceleration that the vehicle ahead is taken to be able to stop with [m/s²].
        hard: deceleration from which on any jerk is right [m/s²].
    """

    keeper: LaneKeeper = eqx.field(default_factory=lambda: LaneKeeper(caution=jnp.asarray(1.0)))
    brakes: Float[Array, " B"] = eqx.field(default_factory=lambda: jnp.asarray([1.0, 2.5, 5.0, 8.0]))
    tolerance: Float[Array, ""] = eqx.field(converter=as_float, default=0.05)
    jerk: Float[Array, ""] = eqx.field(converter=as_float, default=4.0)
    urgency: Float[Array, ""] = eqx.field(converter=as_float, default=0.2)
    theirs: Float[Array, ""] = eqx.field(converter=as_float, default=7.0)
    hard: Float[Array, ""] = eqx.field(converter=as_float, default=3.5)

    def __check_init__(self) -> None:
        """Check the numbers that can be looked at."""
        check_positive(self, "jerk", "theirs", "hard")
        check_not_negative(self, "tolerance", "urgency")

    def __call__(
        self, view: Observation, way: Way, around: Nearby, interval: Array, key: PRNGKeyArray
    ) -> Float[Array, "2"]:
        """Return acceleration [m/s²] and curvature [1/m]."""
        action, _ = self.keeper.act(view, None, key=key)
        levels = jnp.concatenate([jnp.maximum(action[0], -self.brakes[-1])[None], -self.brakes])
        risks = for_each(carried_on(view, way, levels), lambda plan: risk_of(view, plan, around))
        # The lane keeper may brake harder than some of these.
        tolerable = risks <= jnp.maximum(self.tolerance, risks.min() + SAME)
        needed = self.to_stop(view)
        wanted = jnp.minimum(levels[jnp.argmax(tolerable)], jnp.minimum(levels[0], -needed))
        urgent = (risks[0] > self.urgency) | (needed > self.hard)
        most = jnp.where(urgent, jnp.inf, self.jerk * interval)
        change = jnp.clip(wanted - view.acceleration, -most, self.jerk * interval)
        return jnp.stack([view.acceleration + change, action[1]])

    def to_stop(self, view: Observation) -> Float[Array, ""]:
        """Return the deceleration with which one stops behind the vehicle ahead, if that one stops [m/s²]."""
        ahead = view.ahead
        gap = jnp.maximum(ahead.gap - ahead.gap_sd - self.keeper.standstill, CLOSEST)
        speed = jnp.maximum(view.speed - ahead.closing - ahead.speed_sd, 0.0)
        needed = view.speed**2 / (2 * (gap + speed**2 / (2 * self.theirs)))
        return jnp.minimum(needed, self.brakes[-1])


class Monitor(eqx.Module):
    """What the signs mean, and what is done about them; `foresee.driving.drivers.monitor_fit` makes one.

    Attributes:
        forecaster: foretells everybody.
        familiar: tells how far an encoding is from those in training.
        centre, scale: mean and standard deviation of every sign of `SIGNS` in what it was learned from.
        weights: what each of them, and every product of two, is worth in log odds to fail soon.
        bias: log odds where all are at their means.
        threshold: log odds above which there is an alarm; infinite for never.
        hold: the fallback drives at least so long after an alarm [s].
        interval: time between two decisions [s].
        fallback: drives then.
    """

    forecaster: Learned
    familiar: Mahalanobis
    centre: Float[Array, " S"]
    scale: Float[Array, " S"]
    weights: Float[Array, " P"]
    bias: Float[Array, ""] = eqx.field(converter=as_float, default=0.0)
    threshold: Float[Array, ""] = eqx.field(converter=as_float, default=jnp.inf)
    hold: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    interval: Float[Array, ""] = eqx.field(converter=as_float, default=0.1)
    fallback: Fallback = eqx.field(default_factory=Fallback)

    def __check_init__(self) -> None:
        """Check the numbers that can be looked at."""
        check_positive(self, "interval")
        check_not_negative(self, "hold")

    def signs(self, facts: Facts) -> Float[Array, "*b S"]:
        """Return all signs, in the order of `SIGNS`."""
        rows = facts.encoding.reshape(-1, facts.encoding.shape[-1])
        away = self.familiar(NetworkOutputs(features=rows)).reshape(facts.encoding.shape[:-1])
        return jnp.concatenate([facts.signs, jnp.log(jnp.maximum(away, RAREST))[..., None]], axis=-1)

    def score(self, facts: Facts) -> Float[Array, "*b"]:
        """Return the log odds that the driver fails soon."""
        return self.table(facts) @ self.weights + self.bias

    def table(self, facts: Facts) -> Float[Array, "*b P"]:
        """Return what the log odds are a weighted sum of: the signs, in standard deviations, and products."""
        signs = jnp.clip((self.signs(facts) - self.centre) / self.scale, -FARTHEST, FARTHEST)
        return jnp.concatenate([signs, signs[..., FIRST] * signs[..., SECOND]], axis=-1)


class Watching(NamedTuple):
    """What a monitored driver remembers: what the driver and the forecaster do, and how long it is held back.

    Attributes:
        driver, forecaster: their memories.
        left: time for which the fallback goes on driving [s].
        score: the last log odds to fail soon.
    """

    driver: Any
    forecaster: Any
    left: Float[Array, ""]
    score: Float[Array, ""]


class Monitored(AbstractDriver):
    """Any driver under watch: after an alarm the fallback drives until none was raised for a while.

    If the driver itself brakes harder than the fallback would, it is let brake.

    Attributes:
        driver: who drives.
        monitor: who watches.
        name: what evaluations call it.
    """

    driver: AbstractDriver
    monitor: Monitor
    name: str = eqx.field(static=True)

    def __init__(self, driver: AbstractDriver, monitor: Monitor, name: str | None = None):
        self.driver, self.monitor = driver, monitor
        self.name = f"{getattr(driver, 'name', type(driver).__name__)}_monitored" if name is None else name

    def start(self) -> Watching:
        """Return both memories, and that there was no alarm."""
        none = jnp.zeros(())
        return Watching(self.driver.start(), self.monitor.forecaster.start(), none, none)

    def act(
        self, observation: Observation, memory: Watching, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "2"], Watching]:
        """Return what the driver does, or the fallback."""
        monitor = self.monitor
        first, second = jax.random.split(key)
        action, driver = self.driver.act(observation, memory.driver, key=first)
        outlook, forecaster = monitor.forecaster.look(observation, memory.forecaster)
        way, around = way_of(observation), vehicles_around(observation, outlook)
        score = monitor.score(facts_of(monitor.forecaster, observation, outlook, way, around, action))
        left = jnp.maximum(memory.left - monitor.interval, 0.0)
        left = jnp.where(score > monitor.threshold, monitor.hold, left)
        safe = monitor.fallback(observation, way, around, monitor.interval, second)
        safe = safe.at[0].min(action[0])
        held = left > 0.5 * monitor.interval
        return jnp.where(held, safe, action), Watching(driver, forecaster, left, score)


def times_ahead() -> Float[Array, " T"]:
    """Return the times at which the risk is looked at, from now on [s]."""
    return jnp.arange(round(AHEAD / STEP) + 1) * STEP


def vehicles_around(view: Observation, outlook: Outlook) -> Nearby:
    """Return the nearest vehicles, with their futures at the times at which the risk is looked at."""
    return nearby(view, outlook.futures, times_ahead(), LOOKED_AT)


def carried_on(view: Observation, way: Way, accelerations: Float[Array, " P"]) -> Plan:
    """Return where accelerations [m/s²] lead if the ego stays where it is across the lane."""
    times = times_ahead()
    count = (accelerations.shape[0], 2)
    ends = times[jnp.asarray([0, -1])]
    along = jnp.broadcast_to(view.speed * ends, count)
    course = Course(ends, along, jnp.broadcast_to(view.offset, count), jnp.ones(count))
    at_once = Tracker(lag=jnp.asarray(0.1), jerk=jnp.asarray(100.0))
    return at_once.plan(view, way, course, accelerations, jnp.zeros_like(accelerations), times)


def risk_of(
    view: Observation, plan: Plan, around: Nearby, seconds: float | Float[Array, ""] = 0.0
) -> Float[Array, ""]:
    """Return how probable it is, at the worst of a plan's times, to touch somebody by one's own fault.

    Args:
        view: what is seen.
        plan: what the ego does.
        around: the others, at the times of the plan or at more of them.
        seconds: how long all go straight on from each of the times [s].
    """
    own = plan.x, plan.y, plan.heading, view.length, view.width
    others = around.futures.at(plan.times), around.lengths, around.widths
    touched = overlap_probability(*own, *others, speed=plan.speed, seconds=seconds)
    return jnp.where(following(view, around), 0.0, touched.max(axis=0)).max()


def facts_of(
    forecaster: Learned,
    view: Observation,
    outlook: Outlook,
    way: Way,
    around: Nearby,
    action: Float[Array, "2"],
) -> Facts:
    """Return the signs of one moment, in which the driver is about to do something."""
    kept = carried_on(view, way, action[:1])
    steered = roll_out(view, jnp.broadcast_to(action, (STEERED, 2)), STEP)
    known = outlook.scene.known[:NEAR]
    doubt = _disagreement(outlook)
    gap = jnp.maximum(view.ahead.gap - view.ahead.gap_sd, CLOSEST)
    needed = jnp.maximum(view.ahead.closing, 0.0) ** 2 / (2 * gap)
    signs = [
        _log(for_each(kept, lambda plan: risk_of(view, plan, around))[0]),
        _log(risk_of(view, steered, around)),
        _log(for_each(kept, lambda plan: risk_of(view, plan, around, 1.0))[0]),
        jnp.clip(standing(view, steered, way).outside.max(), -1.0, 1.0),
        jnp.log1p(needed),
        jnp.log(jnp.max(jnp.where(known, doubt[:NEAR], LEAST_DOUBT))),
        jnp.log(doubt[-1]),
        for_each(kept, lambda plan: _unusual(outlook, plan))[0],
        jnp.max(jnp.where(known, outlook.scene.position_sd[:NEAR], 0.0)),
    ]
    row = jax.tree.map(lambda leaf: leaf[-1], rows_of(outlook.scene))
    first = jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, forecaster.model.networks)
    return Facts(jnp.stack(signs), first.encode(row))


def _disagreement(outlook: Outlook) -> Float[Array, " N"]:
    """Return how far the networks disagree about where each vehicle will be [m]."""
    apart = outlook.foretold.disagreement[:, :, TIMES.index(AHEAD)]
    weights = jnp.exp(outlook.foretold.ways.log_weights)
    return jnp.sqrt(jnp.sum(weights[..., None] * apart**2, axis=(1, 2)) + LEAST_DOUBT**2)


def _unusual(outlook: Outlook, plan: Plan) -> Float[Array, ""]:
    """Return how much less probable the end of a plan is than what recorded drivers would do, in nats."""
    own = outlook.own.at(plan.times[-1:])
    x, y, heading, sd = (leaf[0, :, 0] for leaf in (own.x, own.y, own.heading, own.along_sd))
    away = jnp.cos(heading) * (plan.x[-1] - x) + jnp.sin(heading) * (plan.y[-1] - y)
    weight = jnp.log(jnp.maximum(own.weights[0], RAREST))
    return -jax.nn.logsumexp(weight - 0.5 * jnp.minimum((away / jnp.maximum(sd, 0.5)) ** 2, MOST_UNUSUAL))


def _log(probability: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.log(jnp.maximum(probability, RAREST))
