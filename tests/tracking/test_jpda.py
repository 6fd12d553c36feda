"""Marginals of association by messages against all associations, one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.tracking import graph
from foresee.tracking.jpda import marginals, others

solve = jax.jit(marginals, static_argnums=1)


def enumerated(log_weight):
    """Sum over every association: probability of pairs, of tracks and detections alone, and the log sum."""
    n, m = log_weight.shape
    weight = np.exp(log_weight)
    pairs, alone, unclaimed, total = np.zeros((n, m)), np.zeros(n), np.zeros(m), 0.0

    def go(i, left, product, chosen):
        nonlocal total, pairs
        if i == n:
            total += product
            for row, column in enumerate(chosen):
                if column < 0:
                    alone[row] += product
                else:
                    pairs[row, column] += product
            for column in left:
                unclaimed[column] += product
            return
        go(i + 1, left, product, [*chosen, -1])
        for j in left:
            if weight[i, j] > 0:
                go(i + 1, left - {j}, product * weight[i, j], [*chosen, j])

    go(0, frozenset(range(m)), 1.0, [])
    return pairs / total, alone / total, unclaimed / total, np.log(total)


def by_graph(log_weight, rounds):
    rows, columns = np.nonzero(log_weight > -np.inf)
    start = np.searchsorted(rows, np.arange(len(log_weight) + 1))
    values = np.asarray(log_weight)[rows, columns]
    probable, alone, unclaimed, total = graph.marginals(start, columns, values, log_weight.shape[1], rounds)
    pairs = np.zeros(log_weight.shape)
    pairs[rows, columns] = probable
    return pairs, alone, unclaimed, total


def close(got, wanted, **tolerance):
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


def test_exact_where_the_graph_has_no_loop():
    log_weight = np.full((4, 4), -np.inf)
    for i, j, value in [(0, 0, 1.0), (0, 1, -0.5), (1, 1, 2.0), (2, 2, 4.0), (2, 1, 0.3), (3, 3, -3.0)]:
        log_weight[i, j] = value
    wanted = enumerated(log_weight)
    close(solve(log_weight, 20), wanted, rtol=1e-12, atol=1e-14)
    close(by_graph(log_weight, 20), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("spread", [0.5, 1.5, 3.0])
def test_close_where_it_has(spread):
    rng = np.random.default_rng(3)
    for _ in range(6):
        log_weight = rng.normal(0.5, spread, (4, 5))
        exact, loopy = enumerated(log_weight), solve(log_weight, 60)
        close(by_graph(log_weight, 60), loopy, rtol=1e-4, atol=1e-5)
        # Published errors on such dense problems are a few percent (Williams and Lau 2014, fig. 4).
        assert np.abs(np.asarray(loopy[0]) - exact[0]).max() < 0.12
        np.testing.assert_allclose(loopy[3], exact[3], atol=0.15)
        np.testing.assert_allclose(np.asarray(loopy[0]).sum(axis=1) + loopy[1], 1.0, rtol=1e-12)


def test_two_equal_tracks_share_what_both_claim():
    pairs, _, unclaimed, total = solve(jnp.log(jnp.full((2, 1), 1e9)), 40)
    np.testing.assert_allclose(pairs[:, 0], 0.5, rtol=1e-3)
    assert unclaimed[0] < 1e-4
    assert np.isfinite(total)


def test_a_large_weight_does_not_drown_a_small_one_in_float32():
    values = jnp.asarray([[1e9, 0.25, 0.5], [0.5, 1e-3, 2e9]], jnp.float32)
    np.testing.assert_allclose(others(values, 1)[0, 0], 0.75, rtol=1e-6)
    np.testing.assert_allclose(others(values, 0)[1], [1e9, 0.25, 0.5], rtol=1e-6)


def test_gradient_of_the_sum_is_the_probability_of_the_pair():
    """∂ log Z / ∂ log w = p, which Bethe's form keeps at the fixed point of the messages."""
    log_weight = jnp.asarray(np.random.default_rng(0).normal(0, 1, (3, 4)))
    slope = jax.grad(lambda values: marginals(values, 200)[3])(log_weight)
    np.testing.assert_allclose(slope, solve(log_weight, 200)[0], atol=1e-8)
