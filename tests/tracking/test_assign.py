"""Assignment, compiled and sparse, against SciPy's dense solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from foresee.tracking.assign import assign
from foresee.tracking.graph import assign as sparse_assign

compiled = jax.jit(assign)


def gains(seed, rows, columns, density):
    rng = np.random.default_rng(seed)
    gain = rng.normal(1.0, 2.0, (rows, columns))
    return np.where(rng.random(gain.shape) < density, gain, -np.inf)


def best(gain):
    """Largest sum of gains: a pair without gain is worth as much as staying without."""
    positive = np.where(gain > 0, gain, 0.0)
    return positive[linear_sum_assignment(positive, maximize=True)].sum()


def worth(gain, column):
    chosen = np.flatnonzero(column >= 0)
    assert len(set(column[chosen])) == len(chosen)
    values = gain[chosen, column[chosen]]
    assert (values > 0).all()
    return values.sum()


def by_graph(gain, rows=None, owner=None):
    edges = [np.flatnonzero(row > -np.inf) for row in gain]
    start = np.concatenate([[0], np.cumsum([len(row) for row in edges])])
    flat = np.concatenate(edges).astype(np.int64)
    values = np.concatenate([row[where] for row, where in zip(gain, edges, strict=True)])
    column = np.full(len(gain), -1)
    owner = np.full(gain.shape[1], -1) if owner is None else owner
    sparse_assign(start, flat, values, np.arange(len(gain)) if rows is None else rows, column, owner)
    for j, row in enumerate(owner):
        assert row < 0 or row >= len(gain) or column[row] == j
    return column


@pytest.mark.parametrize("density", [0.15, 0.5, 1.0])
def test_both_forms_reach_the_best_sum(density):
    for seed in range(25):
        gain = gains(seed, 9, 7, density)
        np.testing.assert_allclose(worth(gain, np.asarray(compiled(gain))), best(gain), rtol=1e-12)
        np.testing.assert_allclose(worth(gain, by_graph(gain)), best(gain), rtol=1e-12)
    large = gains(99, 300, 350, 4 / 350)
    np.testing.assert_allclose(worth(large, by_graph(large)), best(large), rtol=1e-12)


def test_ties_and_nothing_to_give():
    np.testing.assert_array_equal(compiled(jnp.full((3, 2), -jnp.inf)), -1)
    same = np.ones((4, 3))
    for column in (np.asarray(compiled(same)), by_graph(same)):
        assert worth(same, column) == 3.0


def test_what_has_an_owner_is_not_given_again():
    gain = np.array([[5.0, 1.0]])
    np.testing.assert_array_equal(by_graph(gain, owner=np.array([7, -1])), [1])


def test_batches_equal_one_by_one():
    batch = np.stack([gains(seed, 6, 5, 0.6) for seed in range(8)])
    together = jax.vmap(assign)(jnp.asarray(batch))
    for gain, column in zip(batch, np.asarray(together), strict=True):
        np.testing.assert_allclose(worth(gain, column), best(gain), rtol=1e-12)
