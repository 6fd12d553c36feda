"""Driving on a highway among generated traffic as a task with a reward, for reinforcement learning."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.driving.make_road import straight_road
from foresee.driving.make_world import make_world, usual_manners
from foresee.driving.observe import Observation, observe
from foresee.driving.overlap import boxes, separation
from foresee.driving.reactive import change_lanes, follow, see, steer
from foresee.driving.road import Road
from foresee.driving.sensing import Beliefs, Sensing, know_exactly
from foresee.driving.vector import vector
from foresee.driving.world import World, step
from foresee.errors import OptionError

EGO = 0
DECIDING = 5  # steps between decisions of the others about lanes, left and right by turns
LARGEST = 10.0  # numbers of an observation are cut at this
OFF_ROAD = 0.3  # how far the body may be outside of the road [m]
FINISH = 5.0  # the road counts as driven this much before its end [m]
HARDEST, SHARPEST, SIDEWAYS = 5.0, 0.1, 4.0  # largest action: m/s², 1/m, and m/s² sideways at speed


class Reward(eqx.Module):
    """What a step of the task is worth: progress minus costs, each between 0 and 1 times its weight.

    Attributes:
        progress: for the distance along the lane, per step at `pace`.
        pace: the speed at which a step's progress counts as 1 [m/s].
        proximity: a ramp from 0 at a gap ahead of 1.5 s times the speed plus 1 m, to 1 at the bumper.
        lane: a triangle from 0 in the middle of a lane to 1 at its markings.
        comfort: squares of acceleration along (over 3 m/s²) and sideways (over 3 m/s²), at most 1.
        crash: once, for a collision or for leaving the road.

    Proximity and lane, and their weights, follow Henaff, Canziani and LeCun 2019, "Model-predictive policy
    learning with uncertainty regularization for driving in dense traffic", here in closed form and for the
    vehicle ahead only.
    """

    progress: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    pace: Float[Array, ""] = eqx.field(converter=as_float, default=30.0)
    proximity: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    lane: Float[Array, ""] = eqx.field(converter=as_float, default=0.2)
    comfort: Float[Array, ""] = eqx.field(converter=as_float, default=0.1)
    crash: Float[Array, ""] = eqx.field(converter=as_float, default=20.0)

    def __call__(self, view: Observation, crashed: Bool[Array, ""]) -> Float[Array, ""]:
        """Return the reward of the step that led to what is seen, which should be the truth."""
        forward = view.speed * jnp.cos(view.angle)
        near = jnp.clip(1 - view.ahead.gap / (1.5 * view.speed + 1.0), 0.0, 1.0)
        aside = jnp.clip(jnp.abs(view.offset) / (0.5 * view.lane_width), 0.0, 1.0)
        sideways = view.curvature * view.speed**2
        hard = jnp.clip((view.acceleration**2 + sideways**2) / 9.0, 0.0, 1.0)
        gained = self.progress * forward / self.pace
        return gained - self.proximity * near - self.lane * aside - self.comfort * hard - self.crash * crashed


class State(eqx.Module):
    """A moment of the task.

    Attributes:
        world: the traffic; the ego has slot 0. Its road is None, the task keeps it.
        beliefs: what the ego believes.
        tick: number of steps since the start.
        key: the randomness that is left.
    """

    world: World
    beliefs: Beliefs
    tick: Int[Array, ""]
    key: PRNGKeyArray


class Outcome(eqx.Module):
    """What a step brought.

    Attributes:
        observation: the vector that is seen, see `foresee.driving.vector`.
        reward: of the step.
        collision: the ego touches somebody.
        off_road: its body is outside of the road by more than 0.3 m.
        arrived: it is at the end of the road.
        timeout: the time is over.
        speed: its speed [m/s].
        along: its place on the road [m].
    """

    observation: Float[Array, "59"]
    reward: Float[Array, ""]
    collision: Bool[Array, ""]
    off_road: Bool[Array, ""]
    arrived: Bool[Array, ""]
    timeout: Bool[Array, ""]
    speed: Float[Array, ""]
    along: Float[Array, ""]


class Highway(eqx.Module):
    """A straight highway with reactive traffic in which one vehicle is to be driven to the end.

    At the start the vehicles stand in rows, one per lane and row, as many as there are, about `spacing`
    metres apart, each moved by up to 0.3 times that. Speeds are uniform from 22 to 28 m/s, desired speeds
    from 26 to 34 m/s, headways from 1 to 2 s, politeness from 0 to 0.5. The ego is in one of the first two
    rows. An action has two numbers in [-1, 1]: acceleration over 5 m/s², and curvature over the sharpest,
    which is 0.1/m or 4 m/s² sideways.

    Args:
        lanes: number of lanes.
        length: length of the road [m].
        vehicles: how many there are, with the ego.
        duration: time after which an episode is cut off [s].
        dt: length of a step [s].
        spacing: least and largest mean distance between rows, drawn for every episode [m].
        sensing: how the ego sees the others; None: exactly.
        reward: what a step is worth.

    Raises:
        OptionError: if there is no vehicle, or the rows do not fit on the road.
    """

    road: Road
    sensing: Sensing | None
    reward: Reward
    spacing: Float[Array, "2"]
    dt: Float[Array, ""]
    steps: Int[Array, ""]
    vehicles: int = eqx.field(static=True)
    lanes: int = eqx.field(static=True)

    def __init__(
        self,
        lanes: int = 4,
        length: float | int = 1200.0,
        vehicles: int = 30,
        duration: float | int = 40.0,
        dt: float | int = 0.1,
        spacing: tuple[float | int, float | int] = (35.0, 60.0),
        sensing: Sensing | None = None,
        reward: Reward | None = None,
    ):
        self.lanes, self.vehicles = lanes, vehicles
        if vehicles < 1:
            raise OptionError(f"expected at least one vehicle, got {vehicles}")
        if not (spacing[0] > 25.0 and spacing[1] >= spacing[0] and self._rows() * spacing[1] < length):
            raise OptionError(
                f"expected {self._rows()} rows more than 25 m apart on a road of {length} m, got {spacing}"
            )
        self.road = straight_road(lanes, length, spacing=20.0)
        self.sensing, self.reward = sensing, Reward() if reward is None else reward
        self.spacing, self.dt = as_float(jnp.asarray(spacing)), as_float(dt)
        self.steps = jnp.asarray(round(duration / dt), jnp.int32)

    def blank(self) -> State:
        """Return a state of no meaning, from which only a restart leads on."""
        key = jax.random.key(0)
        world = eqx.filter_eval_shape(self._draw, key)
        world = eqx.tree_at(lambda w: w.road, world, None)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), world)
        nobody = jnp.zeros(self.vehicles, bool)
        mean, covariance = jnp.zeros((self.vehicles, 4)), jnp.zeros((self.vehicles, 4, 4))
        return State(zeros, Beliefs(mean, covariance, nobody, nobody), jnp.zeros((), jnp.int32), key)

    def advance(
        self,
        state: State,
        action: Float[Array, "2"],
        restart: Bool[Array, ""] | bool,
        *,
        key: PRNGKeyArray,
    ) -> tuple[State, Outcome]:
        """Take a step with an action, or begin anew: both in one function, so that one compilation does both.

        Args:
            state: the moment before.
            action: acceleration and curvature, each within [-1, 1].
            restart: whether a new episode is to begin instead.
            key: the new episode's randomness, if one begins.
        """
        drawing, beginning = jax.random.split(key)
        fresh = self._draw(drawing)
        moved = self._move(state, action)
        world = jax.tree.map(lambda new, old: jnp.where(restart, new, old), _bare(fresh), _bare(moved))
        world = eqx.tree_at(lambda w: w.road, world, self.road, is_leaf=lambda leaf: leaf is None)
        tick = jnp.where(restart, 0, state.tick + 1)
        chosen = jnp.where(restart, jax.random.key_data(beginning), jax.random.key_data(state.key))
        sensed, rest = jax.random.split(jax.random.wrap_key_data(chosen))
        true = know_exactly(world, EGO)
        if self.sensing is None:
            beliefs = true
        else:
            known = state.beliefs.known & jnp.logical_not(restart)
            beliefs = eqx.tree_at(lambda b: b.known, state.beliefs, known)
            beliefs = self.sensing.update(beliefs, world, EGO, self.dt, key=sensed)
        return State(_bare(world), beliefs, tick, rest), self._judge(world, beliefs, true, tick)

    def _move(self, state: State, action: Float[Array, "2"]) -> World:
        """Let everybody drive for a step."""
        world = eqx.tree_at(lambda w: w.road, state.world, self.road, is_leaf=lambda leaf: leaf is None)
        deciding = jnp.full(self.vehicles, state.tick % DECIDING == 0).at[EGO].set(False)
        # Under `vmap` nothing is saved by not looking aside in between, so one look serves both purposes.
        side = (state.tick // DECIDING) % 2
        seen = see(world, side)
        wanted = follow(world, seen, self.dt)
        world = change_lanes(world, seen, wanted, side, deciding)
        actions = jnp.stack([wanted, steer(world)], axis=-1)
        action = jnp.clip(action, -1.0, 1.0)
        sharpest = jnp.minimum(SHARPEST, SIDEWAYS / jnp.maximum(world.speed[EGO], 1.0) ** 2)
        own = jnp.stack([action[0] * HARDEST, action[1] * sharpest]).astype(actions.dtype)
        world = step(world, actions.at[EGO].set(own), self.dt)
        return eqx.tree_at(lambda w: w.target, world, world.target.at[EGO].set(world.lane[EGO]))

    def _draw(self, key: PRNGKeyArray) -> World:
        """Draw the traffic in which an episode begins."""
        cells, count = self._rows() * self.lanes, self.vehicles
        order, jitter, speed, desired, headway, polite, (ego, spread) = jnp.split(
            jax.random.uniform(key, (cells + 5 * count + 2,)), cells + count * np.arange(6)
        )
        # The ego's cell comes first, the others in random order.
        own = (ego * min(2 * self.lanes, cells)).astype(jnp.int32)
        cell = jnp.argsort(order.at[own].set(-1.0))[:count]
        apart = self.spacing[0] + (self.spacing[1] - self.spacing[0]) * spread
        along = (cell // self.lanes + 0.5 + 0.6 * (jitter - 0.5)) * apart
        manners = replace(
            usual_manners(count, desired_speed=26.0 + 8.0 * desired),
            headway=1.0 + headway,
            politeness=0.5 * polite,
        )
        return make_world(self.road, cell % self.lanes, along, 22.0 + 6.0 * speed, manners=manners)

    def _judge(self, world: World, beliefs: Beliefs, true: Beliefs, tick: Int[Array, ""]) -> Outcome:
        """Return what is seen and what happened in a moment."""
        seen = observe(world, EGO, beliefs)
        exact = seen if self.sensing is None else observe(world, EGO, true)
        others = boxes(world)
        own = tuple(values[EGO] for values in others)
        touching = (separation(own, others) <= 0) & world.alive  # pyright: ignore[reportArgumentType]
        collision = touching.at[EGO].set(False).any()
        half = 0.5 * (seen.length * jnp.abs(jnp.sin(seen.angle)) + seen.width * jnp.abs(jnp.cos(seen.angle)))
        off_road = jnp.minimum(seen.edge_left, seen.edge_right) < half - OFF_ROAD
        return Outcome(
            jnp.clip(vector(seen), -LARGEST, LARGEST),
            self.reward(exact, collision | off_road),
            collision,
            off_road,
            seen.to_end < FINISH,
            tick >= self.steps,
            seen.speed,
            seen.along,
        )

    def _rows(self) -> int:
        return -(-self.vehicles // self.lanes)


def _bare(world: World) -> World:
    """Return a world without its road, which would be copied for every episode."""
    return eqx.tree_at(lambda w: w.road, world, None)
