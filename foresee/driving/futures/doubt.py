"""How unsure the learned world is of what comes next around a driver: what MPUR minds.

Networks of an ensemble part where the recordings did not tell. How far they part about the ego and those
next to it depends on where the ego is and how it moves, so a policy can learn to stay where they agree.
After Henaff, Canziani, LeCun (2019), section 3. There a model's own states are carried on, and doubt grows
with the steps; here every state is exact, and what is doubted is what follows from it, so that one normaliser
does for all steps.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.driving.futures.encode import BEFORE, Snapshot
from foresee.driving.futures.lanes import lane_numbers
from foresee.driving.futures.network import TIMES, FutureModel, FutureNetwork, rows_of
from foresee.driving.futures.traffic import Traffic, nothing_seen, remember, seen_exactly
from foresee.driving.scenario import Scenario, Scenarios
from foresee.driving.traffic_model import AbstractTraffic
from foresee.driving.world import World
from foresee.errors import RecordingError

EGO, NEAR, AMONG = 0, 2, 8  # slot of the ego, how many of those next to it count, and among how many
HORIZON = 3.0  # the doubt is about where everybody will be so much later [s]
HINGE = 0.5  # so many deviations above the usual cost nothing, as in Henaff's code


class Past(AbstractTraffic):
    """Remembers where everybody was, and moves nobody: for doubt in replayed traffic.

    Args:
        dt: time between steps [s].
    """

    dt: float = eqx.field(static=True, default=0.2)

    def start(self, world: World) -> Traffic:
        """Return that nothing was seen yet."""
        return nothing_seen(world, self.dt)

    def act(self, world: World, memory: Traffic, *, key: PRNGKeyArray) -> tuple[Float[Array, "V 2"], Traffic]:
        """Return no action, and the memory."""
        return jnp.zeros((world.vehicles, 2), world.x.dtype), remember(world, memory)


class Doubt(eqx.Module):
    """Doubt about what comes next, beyond what is usual along recorded ways.

    Attributes:
        model: the networks.
        mean, deviation: of the variance along recorded ways [m²].
        hinge: so many deviations above the mean cost nothing.
        dt: time between steps [s].
    """

    model: FutureModel
    mean: Float[Array, ""] = eqx.field(converter=as_float, default=0.0)
    deviation: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    hinge: Float[Array, ""] = eqx.field(converter=as_float, default=HINGE)
    dt: float = eqx.field(static=True, default=0.2)

    def __call__(self, world: World, memory: Traffic, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """Return how many deviations the variance is above the usual and the hinge, at least 0.

        Args:
            world: the traffic after a step, with the ego in slot 0.
            memory: what a traffic model remembers of the steps before.
            key: not used.
        """
        scene = seen_exactly(world, remember(world, memory), self.dt, AMONG)
        variance = disagreement(self.model, scene)
        return jax.nn.relu((variance - self.mean) / self.deviation - self.hinge)


def disagreement(model: FutureModel, scene: Snapshot) -> Float[Array, ""]:
    """Return the variance between networks of where the ego and those next to it are expected [m²].

    Args:
        model: the networks.
        scene: the ego in slot 0, the others in the order of their distance.
    """
    count = min(NEAR + 1, scene.x.shape[0])
    rows = jax.tree.map(lambda leaf: leaf[:count], rows_of(scene))
    at = TIMES.index(HORIZON)

    def expected_place(network: FutureNetwork) -> Float[Array, "N 2"]:
        ways = jax.vmap(network.one)(rows)
        return jnp.einsum("nk,nki->ni", ways.weights, ways.means[:, :, at])

    # Not by what the model joins, and one after the other: that gradient crashes XLA 0.10 within a training.
    members = jax.tree.leaves(eqx.filter(model.networks, eqx.is_array))[0].shape[0]
    one_by_one = (
        jax.tree.map(lambda leaf, k=k: leaf[k] if eqx.is_array(leaf) else leaf, model.networks)
        for k in range(members)
    )
    places = jnp.stack([expected_place(network) for network in one_by_one])
    apart = jnp.sum((places - places.mean(axis=0)) ** 2, axis=-1).mean(axis=0)
    there = scene.known[:count]
    return jnp.sum(jnp.where(there, apart, 0.0)) / jnp.maximum(there.sum(), 1)


def fit_doubt(model: FutureModel, windows: Scenarios) -> Doubt:
    """Return the doubt of a world, with what is usual along the recorded ways of windows.

    Args:
        model: the networks.
        windows: as `foresee.driving.drivers.rollout.windows` cuts them, with the ego in slot 0.

    Raises:
        RecordingError: if the windows are too short for the past that networks look at.
    """
    dt = float(windows.dt)
    before = round(BEFORE[-1] / dt)
    if windows.scenario.record.x.shape[1] <= before:
        raise RecordingError(f"expected windows of more than {BEFORE[-1]:g} s to fit doubt to, got less")
    variances, there = _along(model, windows.scenario, before, dt)
    if not there.any():
        raise RecordingError(f"expected the ego to be there for {BEFORE[-1]:g} s in a window, got it in none")
    usual = variances[there]
    return Doubt(model, jnp.mean(usual), jnp.maximum(jnp.std(usual), 1e-6), dt=dt)


@eqx.filter_jit
def _along(
    model: FutureModel, windows: Scenario, before: int, dt: float
) -> tuple[Float[Array, " N"], Bool[Array, " N"]]:
    """Return the variance in some frames of every window that have a past, and whether the ego is there."""

    def one(window: Scenario) -> tuple[Array, Array]:
        last = window.record.x.shape[0] - 1
        frames = jnp.asarray([before, (before + last) // 2, last])
        variances = jax.lax.map(lambda frame: disagreement(model, _scene(window, frame, dt)), frames)
        return variances, window.record.present[frames, EGO] & (frames <= window.frames)

    variances, there = jax.lax.map(one, windows)
    return variances.ravel(), there.ravel()


def _scene(window: Scenario, frame: Array, dt: float) -> Snapshot:
    record, world = jax.tree.map(lambda leaf: leaf[:, :AMONG], window.record), window.world
    now: Any = jax.tree.map(lambda leaf: leaf[frame], record)
    lags = frame - jnp.asarray([round(each / dt) for each in BEFORE])
    nothing = jnp.zeros_like(now.x)
    return Snapshot(
        x=now.x,
        y=now.y,
        vx=now.speed * jnp.cos(now.heading),
        vy=now.speed * jnp.sin(now.heading),
        before_x=record.x[lags],
        before_y=record.y[lags],
        before_seen=record.present[lags] & now.present,
        position_sd=nothing,
        velocity_sd=nothing,
        length=world.length[:AMONG],
        width=world.width[:AMONG],
        offset=now.offset,
        known=now.present,
        **lane_numbers(world.road, now.lane, now.along),
    )
