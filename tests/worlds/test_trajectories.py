"""Mixtures of trajectories: densities, the likeliest one, what training asks of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from foresee.worlds.trajectories import (
    LEAST_SD,
    Trajectories,
    TrajectoryHead,
    mixture_likelihood,
    winner_takes_all,
)


@pytest.fixture(scope="module")
def fork():
    """Two ways: to the left, which is likelier, and to the right."""
    along = np.stack([np.arange(1.0, 4.0), np.arange(1.0, 4.0)], axis=-1)
    means = np.stack([along * [1, 0.5], along * [1, -0.5]])
    return Trajectories(jnp.asarray(means), jnp.full((2, 3, 2), 0.2), jnp.log(jnp.array([0.7, 0.3])))


def test_the_density_is_that_of_the_mixture(fork):
    x = np.array([[1.1, 0.4], [2.0, 1.1], [3.1, 1.4]])
    each = [norm.pdf(x, mean, 0.2).prod() for mean in np.asarray(fork.means)]
    np.testing.assert_allclose(fork.log_prob(jnp.asarray(x)), np.log(0.7 * each[0] + 0.3 * each[1]))
    assert jnp.allclose(fork.weights, jnp.array([0.7, 0.3]))


def test_the_likeliest_is_one_of_the_branches_and_the_mean_is_between(fork):
    np.testing.assert_allclose(fork.most_likely(), fork.means[0], atol=1e-3)
    np.testing.assert_allclose(fork.mean()[:, 1], 0.4 * fork.means[0, :, 1], rtol=1e-6)


def test_ways_that_overlap_have_their_likeliest_between_them():
    means = jnp.asarray([-0.1, 0.1, 5.0])[:, None, None] * jnp.ones((3, 4, 2))
    ways = Trajectories(means, jnp.full((3, 4, 2), 1.0), jnp.log(jnp.array([0.3, 0.3, 0.4])))
    # By itself the third way is the likeliest, yet the density is highest between the other two.
    np.testing.assert_allclose(ways.most_likely(rounds=50), jnp.zeros((4, 2)), atol=0.02)


def test_draws_follow_the_probabilities(fork):
    drawn = fork.points(4000, key=jax.random.key(0)).values
    share = float((drawn[:, -1, 1] > 0).mean())
    assert abs(share - 0.7) < 4 * np.sqrt(0.7 * 0.3 / 4000)
    left = drawn[drawn[:, -1, 1] > 0]
    np.testing.assert_allclose(left.std(axis=0), 0.2, rtol=0.1)


def test_the_losses_are_what_they_say_and_ignore_what_is_not_known(fork):
    truth = jnp.asarray([[1.0, -0.4], [2.0, -1.0], [9.0, 9.0]])
    there = jnp.asarray([True, True, False])
    known = np.asarray(fork.log_probs(truth))[:, :2].sum(axis=(1, 2)) / 2
    expected = -known[1] - 0.5 * np.log(0.3)
    np.testing.assert_allclose(winner_takes_all(fork, truth, there, cross_entropy=0.5), expected)
    mixed = -np.log(0.7 * np.exp(3 * known[0]) + 0.3 * np.exp(3 * known[1])) / 3
    np.testing.assert_allclose(mixture_likelihood(fork, truth, there), mixed, rtol=1e-6)
    nothing = jnp.zeros(3, bool)
    assert winner_takes_all(fork, truth, nothing) == 0
    assert np.isfinite(jax.grad(lambda x: mixture_likelihood(fork, x, nothing))(truth)).all()


def test_a_head_begins_where_the_agent_is_and_its_doubt_grows():
    head = TrajectoryHead(8, (0.001, 1.0, 2.0), modes=4, key=jax.random.key(0))
    base = jnp.zeros((3, 2)).at[1:, 0].set(jnp.array([10.0, 20.0]))
    ways = head(jax.random.normal(jax.random.key(1), (8,)), base)
    assert ways.means.shape == (4, 3, 2)
    np.testing.assert_allclose(ways.means[:, 0], 0.0, atol=0.05)
    assert (jnp.diff(ways.sds, axis=1) >= 0).all()
    assert (ways.sds >= LEAST_SD).all()
    np.testing.assert_allclose(jnp.exp(ways.log_weights).sum(), 1.0, rtol=1e-6)
