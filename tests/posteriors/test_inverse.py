"""The smuggler's den: a temperature is felt, where does the heat come from? Truth by quadrature."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.beliefs import DiagonalGaussian, Points
from foresee.beliefs.belief import AbstractConditional
from foresee.errors import OptionError, PosteriorError, ShapeError
from foresee.posteriors.hamiltonian import Hmc, Nuts
from foresee.posteriors.inverse import (
    Box,
    InverseProblem,
    allocate,
    cells,
    infer,
    mode_by_kde,
    probability,
)
from foresee.posteriors.priors import Independent, Laplace, LogNormal, Uniform, constrain, unconstrain

KEY = jax.random.key(0)
REGION = Box([-1.5, -0.5], [-0.5, 0.5])
traces = []


class Thermometer(AbstractConditional):
    """Feels the signal times the distance, with noise."""

    noise: jax.Array

    def __call__(self, x, u=None, dt=1.0):
        traces.append(1)
        return DiagonalGaussian(x["signal"] * jnp.sqrt(jnp.sum(x["place"] ** 2)), self.noise**2)


def den(place):
    signal = DiagonalGaussian(jnp.asarray(9.5), jnp.asarray(0.25))
    return InverseProblem(Independent({"place": place, "signal": signal}), Thermometer(jnp.asarray(1.5)))


FLAT = den(Uniform([-2.0, -2.0], [2.0, 2.0]))
PEAKED = den(Laplace([-1.5, 1.0], [0.1, 0.1]))


def quadrature(log_prior, observation, points=800, half=2.0):
    """Return the grid and its normalised weights, with the signal integrated out in closed form."""
    edge = 2 * half / points
    axis = -half + edge * (np.arange(points) + 0.5)
    x1, x2 = np.meshgrid(axis, axis, indexing="ij")
    square = x1**2 + x2**2
    variance = 1.5**2 + 0.5**2 * square
    misfit = (observation - 9.5 * np.sqrt(square)) ** 2 / variance
    log_joint = log_prior(x1, x2) - 0.5 * (misfit + np.log(2 * np.pi * variance))
    joint = np.exp(log_joint) * edge**2
    return x1, x2, joint / joint.sum(), np.log(joint.sum())


def flat(x1, x2):
    return np.full_like(x1, -np.log(16.0))


def peaked(x1, x2):
    return -10 * (abs(x1 + 1.5) + abs(x2 - 1.0)) - 2 * np.log(0.2)


def inside(x1, x2):
    return (x1 > -1.5) & (x1 < -0.5) & (x2 > -0.5) & (x2 < 0.5)


def of_place(function):
    return lambda x: function(x["place"])


@pytest.fixture(scope="module")
def samples():
    return infer(FLAT, 10.0, key=KEY)


def test_the_quadrature_gives_the_published_numbers():
    x1, x2, weights, evidence = quadrature(flat, 10.0)
    assert evidence == pytest.approx(-3.126318, abs=1e-4)
    assert weights[inside(x1, x2)].sum() == pytest.approx(0.156106, abs=5e-4)
    x1, x2, weights, evidence = quadrature(peaked, 10.0, half=4.0)
    assert evidence == pytest.approx(-6.919186, abs=1e-3)
    assert weights[inside(x1, x2)].sum() == pytest.approx(0.045622, abs=5e-4)


def test_the_flat_prior_gives_a_ring(samples):
    assert (samples.r_hat["place"] < 1.02).all()
    found = probability(samples, of_place(REGION))
    assert abs(found.value - 0.156106) < 3.5 * found.standard_error
    assert found.standard_error < 0.008
    belief = samples.belief().push(lambda x: x["place"])
    assert np.allclose(np.sqrt(np.diagonal(belief.covariance())), 0.77666, atol=0.03)
    assert (abs(samples.draws["place"]) < 2).all()
    assert jnp.linalg.norm(mode_by_kde(belief, 0.6)) == pytest.approx(1.04972, abs=0.06)


def test_a_second_observation_compiles_nothing(samples):
    before = len(traces)
    other = infer(eqx.tree_at(lambda m: m.likelihood.noise, FLAT, jnp.asarray(1.5)), 7.0, key=KEY)
    assert len(traces) == before
    x1, x2, weights, _ = quadrature(flat, 7.0)
    found = probability(other, of_place(REGION))
    assert abs(found.value - weights[inside(x1, x2)].sum()) < 3.5 * found.standard_error
    assert eqx.tree_equal(infer(FLAT, 10.0, key=KEY), samples)


def test_the_peaked_prior_gives_the_published_moments():
    samples = infer(PEAKED, 10.0, sampler=Hmc(), start={"place": [-1.5, 1.0], "signal": 9.5}, key=KEY)
    found = probability(samples, of_place(REGION))
    assert abs(found.value - 0.045622) < 3.5 * found.standard_error
    belief = samples.belief().push(lambda x: x["place"])
    assert np.allclose(belief.mean(), [-1.14580, 0.84193], atol=0.015)
    assert np.allclose(np.sqrt(np.diagonal(belief.covariance())), [0.21655, 0.17652], atol=0.012)
    assert np.allclose(mode_by_kde(belief, 0.6), [-1.1088, 1.0], atol=0.12)


def test_the_search_is_shared_out_as_the_probability_is(samples):
    places = samples.belief().push(lambda x: x["place"])
    regions = cells([-2, -2], [2, 2], [4, 4])
    hours = allocate(places, regions, 100)
    x1, x2, weights, _ = quadrature(flat, 10.0)
    exact = [
        weights[(x1 > b.low[0]) & (x1 < b.high[0]) & (x2 > b.low[1]) & (x2 < b.high[1])].sum()
        for b in regions
    ]
    assert hours.sum() == 100
    assert np.allclose(hours, 100 * np.asarray(exact), atol=3)
    assert allocate(samples, [of_place(region) for region in regions], 100).tolist() == hours.tolist()
    assert allocate(places, regions, 0).tolist() == [0] * 16


def test_weighted_points_give_probability_mode_and_shares():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, 1))  # of N(0, 1), weighted to N(1, 1)
    belief = Points(jnp.asarray(draws), jnp.asarray(draws[:, 0]))
    found = probability(belief, Box([1.0], [9.0]))
    assert abs(found.value - 0.5) < 4 * found.standard_error
    assert mode_by_kde(belief)[0] == pytest.approx(1.0, abs=0.2)
    nowhere = probability(belief, Box([8.0], [9.0]))
    assert (nowhere.value, nowhere.standard_error) == (0, 1 / belief.effective_size())
    uneven = Points(jnp.asarray([[0.5], [1.5], [2.5]]), jnp.log(jnp.asarray([0.25, 0.25, 0.5])))
    assert allocate(uneven, cells([0], [3], [3]), 5).tolist() == [1, 1, 3]


def test_coordinates_without_bounds_keep_the_density():
    prior = Independent(
        {"a": Uniform([0.0, 1.0], [1.0, 3.0]), "b": LogNormal(0.5, 0.3), "c": Laplace(0.0, 2.0)}
    )
    x = {"a": jnp.asarray([0.2, 2.5]), "b": jnp.asarray(1.3), "c": jnp.asarray(-4.0)}
    z = unconstrain(prior, x)
    back, log_slope = constrain(prior, z)
    assert all(np.allclose(back[name], x[name]) for name in x)
    slopes = [jax.jacfwd(lambda v, n=name: constrain(prior, {**z, n: v})[0][n])(z[name]) for name in x]
    exact = sum(np.linalg.slogdet(np.atleast_2d(slope))[1] for slope in slopes)
    assert log_slope == pytest.approx(exact)
    draws = prior.points(4000, key=KEY)
    assert all(np.allclose(draws.mean()[name], prior.mean()[name], atol=0.15) for name in x)
    grid = jnp.linspace(-12, 12, 4001)
    for density in (LogNormal(0.5, 0.3), Laplace(0.0, 1.0), Uniform(-1.0, 3.0)):
        total = jnp.sum(jnp.exp(jax.vmap(density.log_prob)(grid))) * (grid[1] - grid[0])
        assert total == pytest.approx(1.0, abs=3e-3)
    assert prior.log_prob({**x, "a": jnp.asarray([1.2, 2.0])}) == -jnp.inf


def test_bad_input_is_told_apart():
    few = {"sampler": Nuts(20), "chains": 2, "draws": 8, "key": KEY}
    with pytest.raises(PosteriorError, match="finite observation"):
        infer(FLAT, float("nan"), **few)
    with pytest.raises(PosteriorError, match="inside the prior's support"):
        infer(FLAT, 10.0, start={"place": [3.0, 0.0], "signal": 9.5}, **few)
    with pytest.raises(ShapeError, match="observation of shape"):
        infer(FLAT, [10.0, 9.0], **few)
    with pytest.raises(ShapeError, match="expected values for"):
        infer(FLAT, 10.0, start={"place": [1.0, 0.0]}, **few)
    with pytest.raises(OptionError, match="at least 2 chains"):
        infer(FLAT, 10.0, chains=1, key=KEY)
    with pytest.raises(OptionError, match="low < high"):
        Uniform([0.0], [0.0])
    with pytest.raises(OptionError, match="positive, finite scale"):
        Laplace([0.0], [-1.0])
    with pytest.raises(ShapeError, match="one shape"):
        LogNormal([0.0], [1.0, 1.0])
    with pytest.raises(ShapeError, match="pytree of densities"):
        Independent({"a": 1.0})
    points = Points(jnp.zeros((3, 2)))
    with pytest.raises(OptionError, match="regions and a budget"):
        allocate(points, [], 3)
    with pytest.raises(PosteriorError, match="holds some of the points"):
        allocate(points, [REGION], 3)
    with pytest.raises(ShapeError, match="bounds of one shape"):
        Box([0.0], [1.0, 2.0])
    with pytest.raises(ShapeError, match="as many bounds"):
        cells([0], [1], [2, 2])
    with pytest.raises(OptionError, match="counts ≥ 1"):
        cells([0], [1], [0])
