"""Clearances of many candidates against NumPy."""

import numpy as np
import pytest

from foresee.errors import ShapeError
from foresee.planning import clearances


def test_equals_numpy_and_says_what_does_not_fit():
    random = np.random.default_rng(0)
    paths, centres = random.normal(size=(40, 7, 2)), 3 * random.normal(size=(7, 5, 2))
    radii = random.uniform(0.1, 0.5, 5)
    apart = np.linalg.norm(paths[:, :, None] - centres[None], axis=-1) - radii - 0.2
    found = clearances(paths, centres, radii, margin=0.2)
    np.testing.assert_allclose(found, apart.min(axis=2), atol=1e-5)
    assert (found < 0).any()
    with pytest.raises(ShapeError, match="expected trajectories"):
        clearances(paths, centres[:3], radii)
