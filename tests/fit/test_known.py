"""What is known is not among what is trained, and gradients pass it by."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from foresee.fit import fit
from foresee.fit.known import Known, trainable


def test_known_parts_are_left_out_of_the_mask():
    tree = {"a": Known({"inside": jnp.ones(2)}), "b": jnp.ones(2), "c": jnp.arange(2), "d": jnp.tanh}
    mask = trainable(tree)
    assert mask["a"].value == {"inside": False}
    assert (mask["b"], mask["c"], mask["d"]) == (True, False, False)
    assert trainable(tree, lambda leaf: leaf is tree["c"])["c"]


def test_gradients_pass_by_the_arrays_of_a_known_function_and_reach_its_input():
    known = Known(jax.tree_util.Partial(jnp.multiply, jnp.asarray(3.0)))
    assert jax.grad(lambda x: known.fixed()(x))(2.0) == 3.0
    gradient = jax.grad(lambda known: known.fixed()(2.0))(known)
    assert jax.tree.leaves(gradient) == [0.0]


def test_fit_leaves_known_parts_alone_whatever_decays():
    model = (Known(jnp.ones(2)), jnp.zeros(2))
    rows = np.ones((4, 2))

    def loss(model, x, *, key):
        return jnp.sum((model[0].fixed() + model[1] - 3 * x) ** 2)

    decay = optax.adamw(0.1, weight_decay=0.5)
    after = fit(model, loss, rows, key=jax.random.key(0), optimizer=decay, epochs=5).model
    np.testing.assert_array_equal(after[0].value, [1.0, 1.0])
    assert np.all(np.asarray(after[1]) > 0.1)
