"""The truck with its trailer against the study's lines."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.dynamics import TruckTrailer
from foresee.errors import ForeseeError


def test_equals_the_study_and_its_closed_forms():
    truck = TruckTrailer()
    x, y, a, b = 20.0, 3.0, 0.4, 0.1
    state = jnp.asarray([x, y, a, b])
    move = jax.jit(lambda state, steering: truck.move(state, steering))
    for steering in np.random.default_rng(0).uniform(-0.7, 0.7, 20):
        x, y = x - 0.1 * math.cos(a), y - 0.1 * math.sin(a)
        a, b = a - 0.1 * math.tan(steering), b - 0.1 / 4 * math.sin(a - b)
        state = move(state, jnp.asarray(steering))
    # Python's tuple assignment above reads the old a on its right hand side, as one Euler step must.
    np.testing.assert_allclose(state, [x, y, a, b], rtol=1e-12)
    straight = truck(jnp.asarray([10.0, 1.0, 0.0, 0.0]), None, 0.5).mean()
    np.testing.assert_allclose(straight, [9.5, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(truck.end(jnp.asarray([10.0, 1.0, 0.3, jnp.pi / 2])), [10.0, -3.0], atol=1e-12)
    # On a circle the trailer keeps its angle to the truck: tan u / L = sin(a - b) / d.
    circle = jnp.asarray([10.0, 1.0, 0.5, 0.0])
    turned = truck(circle, jnp.arctan(jnp.sin(0.5)[None] / 4)).mean()
    np.testing.assert_allclose(turned[2] - turned[3], 0.5, rtol=1e-12)
    with pytest.raises(ForeseeError):
        TruckTrailer(trailer=0.0)
