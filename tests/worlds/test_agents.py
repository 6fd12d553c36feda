"""The set encoder: no order of the others changes anything, and nobody who is not there counts."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.errors import OptionError
from foresee.worlds.agents import AgentEncoder


@pytest.fixture(scope="module")
def encoder():
    return AgentEncoder(3, 2, width=8, heads=2, key=jax.random.key(0))


def numbers(seed=0, others=5):
    draw = np.random.default_rng(seed)
    there = np.array([True, True, False, True, False])[:others]
    return jnp.asarray(draw.normal(size=3)), jnp.asarray(draw.normal(size=(others, 2))), jnp.asarray(there)


def textbook(encoder, own, others, there):
    """The same in plain NumPy, with a loop over the others."""

    def linear(layer, x):
        out = np.asarray(layer.weight) @ x
        return out if layer.bias is None else out + np.asarray(layer.bias)

    def silu(x):
        return x / (1 + np.exp(-x))

    me = silu(linear(encoder.own_in, own))
    messages = []
    for other, is_there in zip(others, there, strict=True):
        if is_there:
            first = silu(linear(encoder.other_in, other) + linear(encoder.own_mid, me))
            messages.append(silu(linear(encoder.other_mid, first)))
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        query = linear(encoder.ask, me)[part]
        scores = np.array([linear(encoder.answer, m)[part] @ query / 2.0 for m in messages])
        weights = np.exp(scores - scores.max())
        weights = weights / weights.sum()
        heads.append(sum(w * linear(encoder.tell, m)[part] for w, m in zip(weights, messages, strict=True)))
    largest = np.max(messages, axis=0)
    hidden = silu(linear(encoder.join, np.concatenate([me, *heads, largest])))
    return me + silu(linear(encoder.out, hidden))


def test_the_encoding_is_the_textbook_one(encoder):
    own, others, there = numbers()
    expected = textbook(encoder, np.asarray(own), np.asarray(others), np.asarray(there))
    np.testing.assert_allclose(encoder(own, others, there), expected, rtol=1e-6)


def test_no_order_of_the_others_changes_it_and_the_absent_do_not_count(encoder):
    own, others, there = numbers()
    order = jnp.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(
        encoder(own, others[order], there[order]), encoder(own, others, there), rtol=1e-9
    )
    changed = others.at[2].set(1e3)
    np.testing.assert_array_equal(encoder(own, changed, there), encoder(own, others, there))


def test_alone_on_the_road_everything_stays_finite(encoder):
    own, others, there = numbers()
    value, slope = jax.value_and_grad(lambda x: encoder(x, others, there & False).sum())(own)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_dropout_needs_a_key_and_is_reproducible(encoder):
    own, others, there = numbers()
    one, same = (encoder(own, others, there, key=jax.random.key(3)) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, encoder(own, others, there))
    still = eqx.nn.inference_mode(encoder)
    np.testing.assert_allclose(still(own, others, there), encoder(own, others, there))


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(OptionError, match="3 heads can divide, got 8"):
        AgentEncoder(3, 2, width=8, heads=3, key=jax.random.key(0))
