"""Scores of what a network, or several, said: their formulas, one signature, and float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, softmax

import foresee.calibration as c

random = np.random.default_rng(0)
LOGITS = 3 * random.normal(size=(7, 4))
MEMBERS = random.dirichlet(np.ones(4), (5, 7))
FEATURES = random.normal(size=(7, 3))
P, MEAN = softmax(LOGITS, 1), MEMBERS.mean(0)


def entropy(p):
    return -(p * np.log(p)).sum(-1)


CASES = {
    "entropy": (c.Entropy(), {"logits": LOGITS}, entropy(P)),
    "entropy of members": (c.Entropy(), {"member_probabilities": MEMBERS}, entropy(MEAN)),
    "max-softmax": (c.MaxSoftmax(), {"logits": LOGITS}, 1 - P.max(1)),
    "energy": (c.Energy(2.0), {"logits": LOGITS}, -2 * logsumexp(LOGITS / 2, axis=1)),
    "mutual information": (
        c.MutualInformation(),
        {"member_probabilities": MEMBERS},
        entropy(MEAN) - entropy(MEMBERS).mean(0),
    ),
    "variance": (c.EnsembleVariance(), {"member_probabilities": MEMBERS}, MEMBERS.var(0).sum(1)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_formula_also_compiled_in_single_precision(name):
    detector, parts, expected = CASES[name]
    np.testing.assert_allclose(detector(c.NetworkOutputs(**parts)), expected, rtol=1e-10)
    single = {part: jnp.asarray(values, jnp.float32) for part, values in parts.items()}
    detector = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), detector)
    got = jax.jit(lambda detector, parts: detector(c.NetworkOutputs(**parts)))(detector, single)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)


def test_rows_of_which_the_network_is_all_but_certain_still_differ_in_single_precision():
    logits = jnp.asarray([[40.0, 0.0, 0.0], [50.0, 0.0, 0.0]], jnp.float32)
    scores = c.MaxSoftmax()(c.NetworkOutputs(logits=logits))
    assert scores[0] > scores[1] > 0


def test_members_that_hold_a_class_impossible():
    members = np.asarray([[[1.0, 0.0]], [[0.0, 1.0]]])
    outputs = c.NetworkOutputs(member_probabilities=members)
    np.testing.assert_allclose(c.MutualInformation()(outputs), np.log(2))
    same = c.NetworkOutputs(member_probabilities=members[[0, 0]])
    assert float(c.MutualInformation()(same)[0]) == 0
