"""A driver that is a small network: the vector of an observation in, acceleration and curvature out."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.driving import highway
from foresee.driving.driver import AbstractDriver
from foresee.driving.observe import CHANGE_TIME, Observation
from foresee.driving.steering import steer_to
from foresee.driving.vector import (
    ACCELERATION,
    ACROSS,
    ANGLE,
    CURVATURE,
    DISTANCE,
    PLAIN,
    SPEED,
    layout,
    vector,
)
from foresee.errors import OptionError, ShapeError

HARDEST, STRONGEST = 6.0, 3.0  # braking and accelerating that the network can ask for at most [m/s²]
FARTHEST_AIM = 1.5  # how far from the middle of its lane it can aim, in widths of the lane
SIDEWAYS = 1.5  # what it can add to the sideways acceleration of keeping to its aim, at most [m/s²]
SLOWEST = 5.0  # below this speed the added curvature is that of this one [m/s]
SHORT = 5.0  # a gap of this counts as half closed [m]
WIDTH, DEPTH = 64, 2
_PLACES = {name: index for index, name in enumerate(layout())}
_NUMBERS = len(_PLACES)
_NEIGHBOURS = 6


class Policy(AbstractDriver):
    """A network that says how hard to accelerate and where on the lane to go.

    The acceleration is bounded smoothly. The wheel keeps the lane as `view.keep_lane(aim)` does, with an aim
    that is learned (a lane's width to the left is a change to the left), plus a learned and bounded sideways
    acceleration. So a network that knows nothing yet rolls along its lane, and none can leave it by
    accident of its last layer. Besides the 59 numbers of `foresee.driving.vector` the network is shown, for
    each of the six around, how nearly its gap is closed and how fast, and how much braking that will take.

    It acts on these numbers alone, so it drives in `foresee.driving.environment` as well: `policy(numbers)`.

    `new_policy` makes one; many lie along a leading axis of every array, as `new_policies` makes them.

    Attributes:
        layers: the last one gives push, aim and sideways acceleration.
        name: what evaluations call it; `dataclasses.replace(policy, name="...")` gives another.
    """

    layers: tuple[eqx.nn.Linear, ...]
    name: str = eqx.field(static=True, default="policy")

    def start(self) -> None:
        """Return nothing: there is no memory."""

    def act(
        self, observation: Observation, memory: None, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "2"], None]:
        """Return acceleration [m/s²] and curvature [1/m]; nothing is drawn."""
        return self(vector(observation)), None

    def __call__(self, numbers: Float[Array, "59"]) -> Float[Array, "2"]:
        """Return acceleration [m/s²] and curvature [1/m] for an observation as a vector."""
        hidden = features(numbers)
        for layer in self.layers[:-1]:
            hidden = jax.nn.silu(layer(hidden))
        push, aim, aside = self.layers[-1](hidden)
        speed, offset = SPEED * _named(numbers, "speed"), ACROSS * _named(numbers, "offset")
        aim = FARTHEST_AIM * ACROSS * _named(numbers, "lane_width") * jnp.tanh(aim)
        angle, bend = ANGLE * _named(numbers, "angle"), CURVATURE * _named(numbers, "lane_curvature")
        curvature = steer_to(offset, angle, bend, speed, CHANGE_TIME, aim)
        curvature = curvature + SIDEWAYS * jnp.tanh(aside / SIDEWAYS) / jnp.maximum(speed, SLOWEST) ** 2
        return jnp.stack([bounded_acceleration(push), curvature])


def new_policy(width: int = WIDTH, depth: int = DEPTH, *, name: str = "policy", key: PRNGKeyArray) -> Policy:
    """Return a policy that knows nothing yet: it rolls along its lane.

    Args:
        width: neurons in a hidden layer.
        depth: number of hidden layers.
        name: what evaluations call it.
        key: the first weights.

    Raises:
        OptionError: if there is no hidden layer, or nothing in it.
    """
    if width < 1 or depth < 1:
        raise OptionError(f"expected at least one hidden layer of one neuron, got {depth} of {width}")
    sizes = [_NUMBERS + 2 * _NEIGHBOURS + 1, *[width] * depth, 3]
    keys = jax.random.split(key, depth + 1)
    layers = [eqx.nn.Linear(a, b, key=k) for a, b, k in zip(sizes[:-1], sizes[1:], keys, strict=True)]
    last = layers[-1]
    quiet = (0.1 * last.weight, jnp.zeros_like(last.weight[:, 0]))
    layers[-1] = eqx.tree_at(lambda layer: (layer.weight, layer.bias), last, quiet)
    return Policy(tuple(layers), name)


def new_policies(
    members: int, width: int = WIDTH, depth: int = DEPTH, *, name: str = "policy", key: PRNGKeyArray
) -> Policy:
    """Return so many new policies along a leading axis of every array."""
    keys = jax.random.split(key, members)
    return jax.vmap(lambda key: new_policy(width, depth, name=name, key=key))(keys)


def members_of(policies: Policy) -> int:
    """Return how many policies lie along a leading axis.

    Raises:
        ShapeError: if there is no such axis.
    """
    shape = policies.layers[-1].weight.shape
    if len(shape) != 3:
        raise ShapeError(f"expected policies along a leading axis, got a weight of shape {shape}")
    return shape[0]


def member(policies: Policy, number: int) -> Policy:
    """Return one of several policies that lie along a leading axis."""
    return jax.tree.map(lambda leaf: leaf[number], policies)


def bounded_acceleration(push: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Return an acceleration between the hardest braking and the strongest push; 0 for 0 [m/s²]."""
    middle, half = 0.5 * (STRONGEST - HARDEST), 0.5 * (STRONGEST + HARDEST)
    return middle + half * jnp.tanh(push / half + jnp.arctanh(-middle / half))


def features(numbers: Float[Array, "59"]) -> Float[Array, "72"]:
    """Return what the network is shown: the vector, and what braking will be needed for whom.

    The last numbers are closeness (1 at the bumper, 1/2 at 5 m) and closeness times the closing speed over
    10 m/s for each of the six places, and the braking that would just avoid the vehicle ahead, over 3 m/s².
    """
    around = numbers[5:PLAIN].reshape(_NEIGHBOURS, 4)
    exists, gap, closing = around[:, 0], jnp.maximum(DISTANCE * around[:, 1], 0.0), around[:, 3]
    near = exists * SHORT / (SHORT + gap)
    needed = (SPEED * jnp.maximum(closing[0], 0.0)) ** 2 / (2 * (gap[0] + 1.0)) / ACCELERATION
    needed = exists[0] * jnp.minimum(needed, 3.0)
    return jnp.concatenate([numbers, near, near * closing, needed[None]])


def highway_action(policy: Policy, numbers: Float[Array, "59"]) -> Float[Array, "2"]:
    """Return what a policy does as `foresee.driving.highway` takes it: two numbers in [-1, 1]."""
    action, speed = policy(numbers), SPEED * _named(numbers, "speed")
    sharpest = jnp.minimum(highway.SHARPEST, highway.SIDEWAYS / jnp.maximum(speed, 1.0) ** 2)
    return jnp.clip(jnp.stack([action[0] / highway.HARDEST, action[1] / sharpest]), -1.0, 1.0)


def _named(numbers: Float[Array, "59"], name: str) -> Float[Array, ""]:
    """Return one of the numbers of the vector, still divided by its scale."""
    return numbers[next(place for label, place in _PLACES.items() if label.split(" ")[0] == name)]
