"""The network that foretells traffic: for every vehicle several ways on, with probabilities and doubt.

A vehicle and the ones around it are encoded as a set with attention (`foresee.worlds.agents`); from the
encoding come K ways on in the frame of its lane. Every way begins as a manner of driving, such as braking or
changing to the left, so that the same number means much the same in every network of an ensemble.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt32

from foresee.beliefs.gaussian import as_float
from foresee.driving.forecast import HORIZON, STEP
from foresee.driving.futures.encode import OTHER, OWN, Snapshot, encode
from foresee.worlds.agents import AgentEncoder
from foresee.worlds.trajectories import Trajectories, TrajectoryHead

TIMES = tuple(STEP * (i + 1) for i in range(round(HORIZON / STEP)))
# What every way begins as: acceleration [m/s²] and displacement to the left in the end [m].
MANNERS = ((0.0, 0.0), (-0.8, 0.0), (0.6, 0.0), (-2.0, 0.0), (0.0, 3.5), (0.0, -3.5))
SCALE = (10.0, 2.0)  # of displacements along and across [m]
SETTLING = 1.0  # in which a vehicle stops to drift across its lane, as far as the base goes [s]


class Row(NamedTuple):
    """One vehicle, as the network is told of it.

    Attributes:
        own, others, there: as in `foresee.driving.futures.encode.Encoded`.
        base: displacements along and across of who keeps on [m].
    """

    own: Float[Array, "*b 19"]
    others: Float[Array, "*b N 13"]
    there: Bool[Array, "*b N"]
    base: Float[Array, "*b T 2"]


def rows_of(scene: Snapshot) -> Row:
    """Return what the network is told of every vehicle of a scene."""
    numbers = encode(scene)
    return Row(numbers.own, numbers.others, numbers.there, keep_on(scene))


class FutureNetwork(eqx.Module):
    """Foretells K ways on for every vehicle of a scene.

    Args:
        width: size of the layers.
        dropout: probability that a feature is left out in training.
        key: source of the first weights.
    """

    encoder: AgentEncoder
    head: TrajectoryHead

    def __init__(self, *, width: int = 48, dropout: float = 0.1, key: PRNGKeyArray):
        first, second = jax.random.split(key)
        self.encoder = AgentEncoder(OWN, OTHER, width=width, dropout=dropout, key=first)
        head = TrajectoryHead(width, TIMES, modes=len(MANNERS), scale=SCALE, key=second)
        self.head = eqx.tree_at(lambda h: h.out.bias, head, _begin(head))

    def __call__(self, scene: Snapshot, *, key: PRNGKeyArray | None = None) -> Trajectories:
        """Return the ways on of all vehicles along and across their lanes [m], at `TIMES`.

        Args:
            scene: all vehicles now.
            key: source of what is left out; None where nothing is.
        """
        rows = rows_of(scene)
        keys = None if key is None else jax.random.split(key, len(rows.own))
        return jax.vmap(self.one, in_axes=(0, None if key is None else 0))(rows, keys)

    def one(self, row: "Row", key: PRNGKeyArray | None = None) -> Trajectories:
        """Return the ways on of one vehicle."""
        return self.head(self.encoder(row.own, row.others, row.there, key=key), row.base)

    def encoding(self, scene: Snapshot) -> Float[Array, "V W"]:
        """Return the encoding of every vehicle: what a situation is like, for telling strange ones."""
        rows = rows_of(scene)
        return jax.vmap(self.encoder)(rows.own, rows.others, rows.there)


class MaskedNetwork(eqx.Module):
    """A network some of whose units are left out, the same ones at every input (Gal and Ghahramani 2016).

    Attributes:
        network: with dropout on.
        seed: which units are left out, as the data of a key.
    """

    network: FutureNetwork
    seed: UInt32[Array, "*n K"]

    def one(self, row: "Row") -> Trajectories:
        """Return the ways on of one vehicle."""
        return self.network.one(row, jax.random.wrap_key_data(self.seed))

    def encoding(self, scene: Snapshot) -> Float[Array, "V W"]:
        """Return the encoding of every vehicle, with all units."""
        return eqx.nn.inference_mode(self.network).encoding(scene)


def keep_on(scene: Snapshot) -> Float[Array, "V T 2"]:
    """Return displacements of who keeps its speed along the lane and soon stops to drift across [m]."""
    c, s = jnp.cos(scene.lane_heading), jnp.sin(scene.lane_heading)
    along, across = c * scene.vx + s * scene.vy, c * scene.vy - s * scene.vx
    times = jnp.asarray(TIMES, scene.x.dtype)
    drift = SETTLING * (1 - jnp.exp(-times / SETTLING))
    return jnp.stack([along[:, None] * times, across[:, None] * drift], axis=-1)


def _begin(head: TrajectoryHead) -> Float[Array, " O"]:
    """Return the first bias of the last layer: each way's manner of driving."""
    bias = jnp.zeros(head.out.out_features).reshape(head.modes, -1)
    manner = jnp.asarray(MANNERS, bias.dtype)
    # Along: ½ a t², the coefficient of degree two; across: 3 τ² - 2 τ³, which ends level.
    bias = bias.at[:, 2].set(0.5 * manner[:, 0] * HORIZON**2 / SCALE[0])
    bias = bias.at[:, 3].set(3 * manner[:, 1] / SCALE[1])
    return bias.at[:, 5].set(-2 * manner[:, 1] / SCALE[1]).ravel()


class FutureModel(eqx.Module):
    """Networks drawn from a belief about their weights, which foretell together.

    The ways of the same number are joined into one Gaussian with the spread of their means on top of what
    each network doubts by itself (law of total variance), and their probabilities are averaged.

    Attributes:
        networks: stacked along a leading axis.
        stretch: factors of the standard deviations along and across at every time, learned on held-out
            scenes.
    """

    networks: FutureNetwork | MaskedNetwork
    stretch: Float[Array, "T 2"] = eqx.field(converter=as_float)

    def __init__(self, networks: FutureNetwork | MaskedNetwork, stretch: Array | float = 1.0):
        self.networks = networks
        self.stretch = jnp.broadcast_to(as_float(stretch), (len(TIMES), 2))

    def __call__(self, scene: Snapshot) -> "Foretold":
        """Return the joined ways on of all vehicles, and how far the networks disagree."""
        return jax.vmap(self.of_row)(rows_of(scene))

    def of_row(self, row: Row) -> "Foretold":
        """Return the joined ways on of one vehicle, and how far the networks disagree."""
        each = eqx.filter_vmap(lambda network: network.one(row))(self.networks)
        return joined(each, self.stretch)


class Foretold(NamedTuple):
    """What several networks foretell.

    Attributes:
        ways: the joined ways on of every vehicle.
        disagreement: standard deviation of the networks' means of each way, along and across [m].
    """

    ways: Trajectories
    disagreement: Float[Array, "*b K T 2"]


def joined(each: Trajectories, stretch: Float[Array, "T 2"]) -> Foretold:
    """Join what several networks say, way by way; the leading axis is that of the networks."""
    weights = jnp.exp(each.log_weights)
    share = weights / jnp.maximum(weights.sum(axis=0), 1e-12)
    share = share[..., None, None]
    mean = jnp.sum(share * each.means, axis=0)
    between = jnp.sum(share * (each.means - mean) ** 2, axis=0)
    within = jnp.sum(share * each.sds**2, axis=0)
    sds = stretch * jnp.sqrt(within + between)
    log_weights = jnp.log(jnp.maximum(weights.mean(axis=0), 1e-12))
    return Foretold(Trajectories(mean, sds, log_weights), jnp.sqrt(between + 1e-12))
