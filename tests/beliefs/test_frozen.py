"""Points whose values hold more than arrays, as stacked networks do."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.beliefs import Points, expected, resample
from foresee.beliefs.frozen import freeze
from foresee.errors import ShapeError

KEY = jax.random.key(0)


def networks():
    def make(key):
        return eqx.nn.Sequential([eqx.nn.MLP(2, 1, 3, 1, key=key), eqx.nn.Dropout(0.1, inference=True)])

    return eqx.filter_vmap(make)(jax.random.split(KEY, 4))


def test_freeze_and_join():
    network = eqx.nn.MLP(2, 1, 3, 1, activation=jnp.tanh, key=KEY)
    arrays, frozen = freeze(network)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(arrays))
    assert hash(frozen.leaves) == hash(freeze(network)[1].leaves)
    x = jnp.ones(2)
    np.testing.assert_array_equal(frozen.join(arrays)(x), network(x))
    assert freeze({"a": np.ones(2), "b": 3.0})[1].join({"a": 1, "b": None}) == {"a": 1, "b": 3.0}


def test_networks_are_points_that_any_jit_takes():
    belief = Points(networks(), jnp.log(jnp.asarray([0.1, 0.2, 0.3, 0.4])))
    x = jnp.asarray([0.3, -1.0])
    by_hand = [
        belief.common.join(jax.tree.map(lambda leaf, i=i: leaf[i], belief.values))(x) for i in range(4)
    ]
    outputs = jax.jit(lambda belief, x: belief.push(lambda network: network(x)))(belief, x)
    np.testing.assert_allclose(outputs.values, jnp.stack(by_hand), rtol=1e-12)
    np.testing.assert_allclose(outputs.mean(), belief.expect(lambda network: network(x)), rtol=1e-12)
    assert belief.sample(key=KEY)(x).shape == (1,)
    assert belief.mean()(x).shape == (1,)
    assert belief.points(5, key=KEY).push(lambda network: network(x)).values.shape == (5, 1)
    assert resample(belief, key=KEY).push(lambda network: network(x)).values.shape == (4, 1)
    np.testing.assert_allclose(
        expected(belief, lambda network: network(x), 4000, key=KEY), outputs.mean(), atol=0.1
    )


def test_points_need_an_array():
    with pytest.raises(ShapeError, match="one common leading axis"):
        Points({"a": 1.0})
