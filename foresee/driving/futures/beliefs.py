"""Networks that foretell, drawn from a belief about one network's weights, in the place of an ensemble.

By dropout that is left on; or after Perone et al. (2021), "L2M: Practical posterior Laplace approximation
with optimization-driven second moment estimation", which costs one number that held-out vehicles choose.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from foresee.driving.futures.network import FutureModel, FutureNetwork, MaskedNetwork, Row
from foresee.posteriors.dropout import dropout
from foresee.posteriors.l2m import l2m_curvature
from foresee.worlds.trajectories import mixture_likelihood

SCALES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)  # of the curvature, for held-out vehicles to choose from
PRECISION = 10.0  # of every weight before anything was learned
MOST = 1024  # vehicles that choose


def drawn(belief: Any, count: int, *, key: PRNGKeyArray) -> FutureNetwork:
    """Return networks drawn from a belief of `foresee.posteriors` about the weights of one, stacked.

    Args:
        belief: what is believed of the weights; its `sample` is a network.
        count: how many to draw.
        key: the randomness.
    """
    return eqx.filter_vmap(lambda one: belief.sample(key=one))(jax.random.split(key, count))


def dropout_networks(network: FutureNetwork, count: int, *, key: PRNGKeyArray) -> MaskedNetwork:
    """Return networks that each leave out some of the units, as in training, stacked.

    Args:
        network: one that was trained with dropout.
        count: how many.
        key: chooses the units.

    Raises:
        PosteriorError: if it has no dropout.
    """
    left_on = dropout(network, masks="network").network()
    seeds = jax.random.key_data(jax.random.split(key, count))
    return eqx.filter_vmap(lambda seed: MaskedNetwork(left_on, seed))(seeds)


def l2m_networks(
    network: FutureNetwork,
    optimizer_state: PyTree,
    rows: int,
    batch_size: int,
    held_out: tuple[Any, ...],
    count: int,
    *,
    key: PRNGKeyArray,
) -> FutureNetwork:
    """Return networks drawn from L2M's belief, as wide as held-out vehicles are best foretold with.

    Args:
        network: the trained network.
        optimizer_state: what Adam remembered in the end.
        rows: how many vehicles it learned from.
        batch_size: vehicles in a step.
        held_out: vehicles that it did not learn from, as a `foresee.driving.futures.learn.Lesson`.
        count: how many networks to draw.
        key: the randomness, the same for every width.

    Raises:
        PosteriorError: if the state holds no second moments, or a batch all rows.
    """
    curvature = l2m_curvature(network, optimizer_state, rows, batch_size=batch_size)
    some = jax.tree.map(lambda leaf: leaf[:MOST], held_out)

    @eqx.filter_jit
    def tried(scale: Float[Array, ""]) -> tuple[FutureNetwork, Float[Array, ""]]:
        networks = drawn(curvature.belief(PRECISION, scale), count, key=key)
        model = FutureModel(networks)

        def loss(row: Row, truth: Array, scored: Array) -> Array:
            return mixture_likelihood(model.of_row(row).ways, truth, scored)

        return networks, jax.vmap(loss)(*some).mean()

    found = [tried(jnp.asarray(scale)) for scale in SCALES]
    losses = [float(loss) if jnp.isfinite(loss) else float("inf") for _, loss in found]
    return found[losses.index(min(losses))][0]
