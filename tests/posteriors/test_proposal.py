"""Two beacons tell distances, so a mirrored place fits as well: separated modes of unequal weight."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.beliefs import DiagonalGaussian
from foresee.errors import OptionError
from foresee.posteriors.hamiltonian import Hmc
from foresee.posteriors.inverse import InverseProblem, infer, probability
from foresee.posteriors.proposal import GlobalLocal, Proposal, log_mean

BEACONS = np.array([[-1.0, 0.0], [1.0, 0.0]])
DISTANCES = np.array([2.3, 2.2])


class Beacons(eqx.Module):
    """Distances to two beacons, in metres."""

    places: jax.Array
    noise: jax.Array

    def __call__(self, x):
        distances = jnp.sqrt(jnp.sum((x - self.places) ** 2, axis=1))
        return DiagonalGaussian(distances, self.noise**2)


MODEL = InverseProblem(
    DiagonalGaussian([0.0, 0.5], [4.0, 4.0]), Beacons(jnp.asarray(BEACONS), jnp.full(2, 0.1))
)


def north(x):
    return x[1] > 0


def truth(distances):
    """Return the probability of the northern half and the log evidence by quadrature."""
    axis = np.linspace(-6, 6, 1200)  # 1 cm apart, and the noise is 10 cm
    x1, x2 = np.meshgrid(axis, axis, indexing="ij")
    log_joint = -0.5 * (x1**2 + (x2 - 0.5) ** 2) / 4 - np.log(2 * np.pi * 4)
    for (a, b), distance in zip(BEACONS, distances, strict=True):
        misfit = (np.hypot(x1 - a, x2 - b) - distance) / 0.1
        log_joint -= 0.5 * misfit**2 + np.log(0.1 * np.sqrt(2 * np.pi))
    joint = np.exp(log_joint)
    return joint[x2 > 0].sum() / joint.sum(), np.log(joint.sum() * (axis[1] - axis[0]) ** 2)


@pytest.fixture(scope="module")
def sampler():
    return GlobalLocal(Hmc(8, 200))


@pytest.mark.parametrize("distances", [DISTANCES, DISTANCES + 0.5])
def test_both_modes_are_found_with_their_weights(sampler, distances):
    share, evidence = truth(distances)
    samples = infer(MODEL, distances, sampler=sampler, key=jax.random.key(1))
    found = probability(samples, north)
    assert all(r_hat < 1.02 for r_hat in samples.r_hat)
    assert abs(found.value - share) < 3.5 * found.standard_error
    assert found.standard_error < 0.012
    assert samples.log_evidence is not None
    assert samples.jumps is not None
    assert abs(samples.log_evidence.value - evidence) < 3.5 * samples.log_evidence.standard_error
    assert samples.log_evidence.standard_error < 0.02
    assert (samples.jumps > 0.3).all()


def test_local_moves_alone_stay_where_they_are():
    share, _ = truth(DISTANCES)
    away, seemingly_fine = [], []
    for seed in range(6):
        samples = infer(MODEL, DISTANCES, sampler=Hmc(8, 200), key=jax.random.key(seed))
        found = probability(samples, north)
        away.append(abs(float(found.value) - share))
        seemingly_fine.append(bool(samples.converged))
    # The share is that of the chains that started in the north: a multiple of one quarter.
    assert np.mean(away) > 0.1
    assert any(seemingly_fine)  # where all chains start in one mode nothing tells that another one exists


def test_a_known_proposal_is_not_fitted_and_a_bad_one_does_no_harm():
    bad = Proposal(jnp.zeros(1), jnp.asarray([[0.5, -1.0]]), 3 * jnp.eye(2)[None])
    samples = infer(MODEL, DISTANCES, sampler=GlobalLocal(Hmc(8, 200), proposal=bad), key=jax.random.key(2))
    found = probability(samples, north)
    assert abs(found.value - truth(DISTANCES)[0]) < 4 * found.standard_error
    assert samples.jumps is not None
    assert (samples.jumps < 0.2).all()


def test_the_proposal_draws_from_the_density_it_states():
    proposal = Proposal(
        jnp.log(jnp.asarray([0.3, 0.7])),
        jnp.asarray([[0.0, 0.0], [3.0, 1.0]]),
        jnp.asarray([[[1.0, 0.0], [0.5, 0.4]], [[0.3, 0.0], [0.0, 2.0]]]),
    )
    axis = jnp.linspace(-40, 40, 801)
    grid = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    density = jnp.exp(jax.jit(lambda grid: proposal.log_probs(grid))(grid)) * 0.01
    assert density.sum() == pytest.approx(1.0, abs=2e-3)
    draws = jax.jit(lambda key: proposal.draw(20000, key=key))(jax.random.key(0))
    assert np.allclose(draws.mean(axis=0), density @ grid, atol=0.06)
    centred = grid - density @ grid
    assert np.allclose(np.cov(draws.T), (centred * density[:, None]).T @ centred, rtol=0.1, atol=0.1)
    assert proposal.log_prob(grid[7]) == pytest.approx(float(proposal.log_probs(grid)[7]))


def test_the_evidence_is_the_mean_weight():
    weights = np.random.default_rng(0).exponential(size=(200, 500))
    found = jax.vmap(log_mean)(jnp.log(weights) - 700)
    assert np.allclose(found.value + 700, np.log(weights.mean(axis=1)))
    assert np.std(found.value) == pytest.approx(float(np.mean(found.standard_error)), rel=0.15)


def test_bad_options_are_told():
    for components, population, rounds in ((0, 2048, 8), (12, 2048, 0), (12, 100, 8)):
        with pytest.raises(OptionError, match="GlobalLocal: expected"):
            GlobalLocal(Hmc(8, 200), components, population, rounds)
