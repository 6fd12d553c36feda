"""The box-constrained quadratic against looking at every set of active bounds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.planning import least_in_box


def by_enumeration(hessian, slope, lower, upper):
    """The least feasible point over all 3^m choices of free, lower and upper."""
    best, point = np.inf, np.zeros(len(slope))
    for choice in itertools.product((0, 1, 2), repeat=len(slope)):
        d = np.where(np.array(choice) == 1, lower, np.where(np.array(choice) == 2, upper, 0.0))
        free = np.array(choice) == 0
        if free.any():
            rest = slope[free] + hessian[np.ix_(free, ~free)] @ d[~free]
            d[free] = -np.linalg.solve(hessian[np.ix_(free, free)], rest)
        if (d < lower - 1e-12).any() or (d > upper + 1e-12).any():
            continue
        value = 0.5 * d @ hessian @ d + slope @ d
        if value < best:
            best, point = value, d
    return point


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_equals_enumeration(size):
    random = np.random.default_rng(size)
    count = 60
    roots = random.normal(size=(count, size, size))
    hessians = roots @ roots.transpose(0, 2, 1) + 0.05 * np.eye(size)
    slopes = 3 * random.normal(size=(count, size))
    lower = -random.uniform(0.1, 1, (count, size))
    upper = random.uniform(0.1, 1, (count, size))
    found = jax.jit(jax.vmap(least_in_box))(hessians, slopes, lower, upper)
    assert bool(found.solved.all())
    kinds = set()
    for index in range(count):
        expected = by_enumeration(hessians[index], slopes[index], lower[index], upper[index])
        np.testing.assert_allclose(found.point[index], expected, atol=1e-9)
        free = (expected > lower[index] + 1e-9) & (expected < upper[index] - 1e-9)
        kinds.add(int(free.sum()))
        inverse = np.zeros((size, size))
        inverse[np.ix_(free, free)] = np.linalg.inv(hessians[index][np.ix_(free, free)])
        np.testing.assert_allclose(found.inverse[index], inverse, atol=1e-8)
    assert len(kinds) > 1  # both free and bound ones were met


@pytest.mark.parametrize("size", [1, 2, 3])
def test_without_bounds_it_is_a_linear_system_and_an_indefinite_one_has_no_solution(size):
    random = np.random.default_rng(0)
    root = random.normal(size=(size, size))
    hessian, slope = root @ root.T + np.eye(size), random.normal(size=size)
    infinite = jnp.full(size, jnp.inf)
    found = least_in_box(jnp.asarray(hessian), jnp.asarray(slope), -infinite, infinite)
    np.testing.assert_allclose(found.point, -np.linalg.solve(hessian, slope), rtol=1e-9)
    assert not least_in_box(-jnp.asarray(hessian), jnp.asarray(slope), -infinite, infinite).solved
