"""Optimal assignment in compiled code: who gets which detection so that the gains add up to the most."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def assign(gain: Float[Array, "n M"]) -> Int[Array, " n"]:
    """Return the column of every row, or −1, such that the sum of gains is the largest.

    A pair without a positive gain is never made. Shortest augmenting paths with potentials (Jonker and
    Volgenant 1987; Kuhn 1955) on fixed shapes, so that it can be batched; for one large problem the host's
    sparse form in `foresee.tracking.graph` is faster.

    Args:
        gain: what is gained by giving a column to a row; −inf where that is impossible.
    """
    n, columns = gain.shape
    gain = jax.lax.stop_gradient(gain)
    # Every row has one column of its own, of cost zero: to stay without.
    infinite = jnp.asarray(jnp.inf, gain.dtype)
    alone = jnp.where(jnp.eye(n, dtype=bool), 0.0, infinite).astype(gain.dtype)
    cost = jnp.concatenate([jnp.where(gain > 0, -gain, infinite), alone], axis=1)
    total = columns + n

    def add(state, i):
        u, v, owner = state
        owner = owner.at[total].set(i)  # the path begins in a column of its own

        def search(path):
            u, v, least, way, used, j0 = path
            used = used.at[j0].set(True)
            row = owner[j0]
            reduced = cost[row] - u[row] - v[:total]
            better = ~used[:total] & (reduced < least)
            least, way = jnp.where(better, reduced, least), jnp.where(better, j0, way)
            open_ones = jnp.where(used[:total], infinite, least)
            j1 = jnp.argmin(open_ones)
            delta = open_ones[j1]
            u = u.at[owner].add(jnp.where(used, delta, 0.0))
            v = v - jnp.where(used, delta, 0.0)
            return u, v, jnp.where(used[:total], least, least - delta), way, used, j1

        start = (
            u,
            v,
            jnp.full(total, infinite),
            jnp.full(total, total),
            jnp.zeros(total + 1, bool),
            jnp.asarray(total),
        )
        u, v, _, way, _, last = jax.lax.while_loop(lambda path: owner[path[-1]] != n, search, start)

        def turn(step):
            owner, j = step
            before = way[j]
            return owner.at[j].set(owner[before]), before

        owner, _ = jax.lax.while_loop(lambda step: step[1] != total, turn, (owner, last))
        return (u, v, owner), None

    start = (jnp.zeros(n + 1, gain.dtype), jnp.zeros(total + 1, gain.dtype), jnp.full(total + 1, n))
    (_, _, owner), _ = jax.lax.scan(add, start, jnp.arange(n))
    column = jnp.full(n + 1, -1).at[owner[:columns]].set(jnp.arange(columns))[:n]
    won = jnp.take_along_axis(gain, jnp.maximum(column, 0)[:, None], axis=1)[:, 0] > 0
    return jnp.where((column >= 0) & won, column, -1)
