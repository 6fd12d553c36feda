import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.driving.make_road import straight_road
from foresee.driving.pad_road import pad_road
from foresee.errors import OptionError


def test_a_padded_road_is_the_same_road():
    road = straight_road(2, 100.0, curvature=0.01)
    padded = pad_road(road, lanes=4, samples=80, successors=2, predecessors=3)
    assert padded.line.shape == (4, 80, 4)
    assert padded.predecessors.shape == (4, 3)
    at = jnp.asarray([[50.0, 10.0], [99.0, 60.0], [-3.0, -2.0]])
    find = jax.jit(lambda road: jax.vmap(road.nearest)(*at.T))
    for one, other in zip(find(road), find(padded), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    with pytest.raises(OptionError, match="at least"):
        pad_road(road, lanes=1, samples=80)
