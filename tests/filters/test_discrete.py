"""Hidden Markov models against the enumeration of every path."""

import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from foresee.beliefs import Categorical
from foresee.errors import ForeseeError, ShapeError
from foresee.filters.discrete import backward, forward, forward_backward, viterbi

T, K = 5, 3
BOTH = pytest.mark.parametrize("parallel", [False, True])


def _case(changing=False, seed=0, forbidden=False):
    random = np.random.default_rng(seed)
    shape = (T, K) if changing else (K,)
    transition = random.dirichlet(np.ones(K), size=shape)
    if forbidden:
        transition[..., 0, 2] = 0.0
        transition[..., 2, 1] = 0.0
        transition /= transition.sum(-1, keepdims=True)
    return random.dirichlet(np.ones(K)), transition, random.normal(size=(T, K)) * 2


def _enumerated(prior, transition, likelihoods, seen, predict_first):
    """Log p(path, y₁..yₜ) of all K^T paths, shape (K, K, K, K, K), with t rows of observations."""
    moves = transition if transition.ndim == 3 else np.tile(transition, (T, 1, 1))
    first = prior @ moves[0] if predict_first else prior

    def table(rows):
        joint = np.full((K,) * T, -np.inf)
        for path in itertools.product(range(K), repeat=T):
            p = first[path[0]]
            for t in range(1, T):
                p = p * moves[t][path[t - 1], path[t]]
            logs = sum(likelihoods[t, path[t]] for t in range(rows) if seen[t])
            with np.errstate(divide="ignore"):
                joint[path] = np.log(p) + logs
        return joint

    return [table(rows) for rows in range(T + 1)]


def _log_sum(joint, axis=None):
    return np.logaddexp.reduce(joint, axis=tuple(range(joint.ndim)) if axis is None else axis)


def _marginal(joint, t):
    """Log p(xₜ | ...) from the joint table."""
    axes = tuple(axis for axis in range(T) if axis != t)
    return _log_sum(joint, axis=axes) - _log_sum(joint)


@jax.jit(static_argnames=("predict_first", "parallel"))
def _all(prior, transition, likelihoods, seen, predict_first, parallel):
    arguments, options = (prior, transition, likelihoods), {"seen": seen, "predict_first": predict_first}
    return *forward_backward(*arguments, **options, parallel=parallel), viterbi(*arguments, **options)


@BOTH
@pytest.mark.parametrize("changing", [False, True])
@pytest.mark.parametrize("predict_first", [False, True])
@pytest.mark.parametrize("hole", [None, (2,), (0, 4), tuple(range(T))])
@pytest.mark.parametrize("forbidden", [False, True])
def test_everything_equals_enumeration(parallel, changing, predict_first, hole, forbidden):
    prior, transition, likelihoods = _case(changing, forbidden=forbidden)
    seen = np.array([hole is None or t not in hole for t in range(T)])
    tables = _enumerated(prior, transition, likelihoods, seen, predict_first)
    poisoned = np.where(seen[:, None], likelihoods, np.nan)
    smoothed, run, (path, log_prob) = _all(
        Categorical(jnp.log(prior)),
        jnp.asarray(transition),
        jnp.asarray(poisoned),
        None if hole is None else jnp.asarray(seen),
        predict_first,
        parallel,
    )
    total = _log_sum(tables[T])
    assert_allclose(run.log_evidence, total, atol=1e-10)
    for t in range(T):
        assert_allclose(run.predicted.log_weights[t], _marginal(tables[t], t), atol=1e-10)
        assert_allclose(run.filtered.log_weights[t], _marginal(tables[t + 1], t), atol=1e-10)
        assert_allclose(smoothed.log_weights[t], _marginal(tables[T], t), atol=1e-10)
        step = _log_sum(tables[t + 1]) - _log_sum(tables[t])
        assert_allclose(run.log_evidences[t], step, atol=1e-10)
    assert_array_equal(run.log_evidences[~seen], 0.0)
    assert_allclose(run.last.log_weights, run.filtered.log_weights[-1])
    assert_allclose(log_prob, tables[T].max(), atol=1e-10)
    assert_allclose(tables[T][tuple(np.asarray(path))], tables[T].max(), atol=1e-10)


def test_gradient_of_the_evidence_is_the_expected_log_derivative():
    prior, transition, likelihoods = _case()
    belief = Categorical(jnp.log(prior))

    def evidence(shift, parallel=False):
        moved = jnp.asarray(likelihoods).at[2, 1].add(shift)
        return forward(belief, jnp.asarray(transition), moved, parallel=parallel).log_evidence

    # d log p(y) / d log p(y₂ | x₂ = 1) = p(x₂ = 1 | y).
    smoothed, _ = forward_backward(belief, jnp.asarray(transition), jnp.asarray(likelihoods))
    for parallel in (False, True):
        gradient = jax.jit(jax.grad(lambda s, parallel=parallel: evidence(s, parallel)))(0.0)
        assert_allclose(gradient, jnp.exp(smoothed.log_weights[2, 1]), rtol=1e-8)


@BOTH
def test_gradients_are_finite_with_forbidden_transitions_and_hidden_nan(parallel):
    _, transition, likelihoods = _case(forbidden=True)
    likelihoods[1] = np.nan
    seen = jnp.asarray([True, False, True, True, True])

    def evidence(transition, likelihoods):
        belief = Categorical(jnp.array([0.0, -jnp.inf, -jnp.inf]))
        return forward(
            belief, transition, likelihoods, seen=seen, predict_first=False, parallel=parallel
        ).log_evidence

    gradients = jax.jit(jax.grad(evidence, (0, 1)))(jnp.asarray(transition), jnp.asarray(likelihoods))
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_batch_equals_loop():
    cases = [_case(seed=seed) for seed in range(3)]
    prior, transition, likelihoods = (jnp.asarray(np.stack(column)) for column in zip(*cases, strict=True))

    def one(prior, transition, likelihoods):
        smoothed, run = forward_backward(Categorical(jnp.log(prior)), transition, likelihoods)
        return smoothed.log_weights, run.log_evidence

    batch = jax.jit(jax.vmap(one))(prior, transition, likelihoods)
    for i in range(3):
        for got, alone in zip(batch, one(prior[i], transition[i], likelihoods[i]), strict=True):
            assert_allclose(got[i], alone, atol=1e-12)


def test_a_run_can_stop_and_go_on():
    prior, transition, likelihoods = _case()
    belief = Categorical(jnp.log(prior))
    whole = forward(belief, jnp.asarray(transition), jnp.asarray(likelihoods))
    head = forward(belief, jnp.asarray(transition), jnp.asarray(likelihoods[:2]))
    tail = forward(head.last, jnp.asarray(transition), jnp.asarray(likelihoods[2:]))
    assert_allclose(tail.filtered.log_weights, whole.filtered.log_weights[2:], atol=1e-14)
    assert_allclose(head.log_evidence + tail.log_evidence, whole.log_evidence, rtol=1e-12)


@BOTH
def test_one_row(parallel):
    prior, transition, likelihoods = _case()
    smoothed, run = forward_backward(
        Categorical(jnp.log(prior)), jnp.asarray(transition), jnp.asarray(likelihoods[:1]), parallel=parallel
    )
    assert_allclose(run.log_evidence, np.log((prior @ transition) @ np.exp(likelihoods[0])), rtol=1e-12)
    assert_allclose(smoothed.log_weights, run.filtered.log_weights)


def test_long_float32_series_neither_underflow_nor_part_from_the_parallel_form():
    length = 3000
    random = np.random.default_rng(3)
    transition = np.array([[0.999, 0.001, 0.0], [0.0, 0.99, 0.01], [0.01, 0.0, 0.99]])
    likelihoods = random.normal(size=(length, K)) * 30 - 1000
    belief = Categorical(jnp.zeros(K, jnp.float32))
    arguments = (belief, jnp.asarray(transition, jnp.float32), jnp.asarray(likelihoods, jnp.float32))
    serial, serial_run = jax.jit(forward_backward)(*arguments)
    tree, tree_run = jax.jit(lambda *a: forward_backward(*a, parallel=True))(*arguments)
    truth = forward(Categorical(jnp.zeros(K)), jnp.asarray(transition), jnp.asarray(likelihoods))
    assert serial_run.log_evidences.dtype == jnp.float32
    assert_allclose(serial_run.log_evidence, truth.log_evidence, rtol=1e-6)
    assert_allclose(tree_run.log_evidence, truth.log_evidence, rtol=1e-6)
    assert_allclose(np.exp(tree.log_weights), np.exp(serial.log_weights), atol=2e-3)
    assert_allclose(np.exp(serial.log_weights).sum(1), 1.0, atol=1e-5)


def test_an_impossible_observation_has_no_evidence_and_is_no_nan():
    transition = jnp.asarray([[1.0, 0.0], [0.0, 1.0]])
    likelihoods = jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0], [0.0, 0.0]])
    belief = Categorical(jnp.zeros(2))
    run = forward(belief, transition, likelihoods)
    assert_allclose(run.log_evidences, [np.log(0.5), -np.inf, 0.0])
    assert_array_equal(run.filtered.log_weights[1], run.predicted.log_weights[1])
    tree = forward(belief, transition, likelihoods, parallel=True)
    assert tree.log_evidence == -np.inf
    assert not np.isnan(tree.filtered.log_weights).any()
    assert not np.isnan(backward(run, transition).log_weights).any()
    assert viterbi(belief, transition, likelihoods)[1] == -np.inf


BAD = [
    ((jnp.eye(2), jnp.zeros((T, K))), ShapeError, r"\(3, 3\) or \(5, 3, 3\), got \(2, 2\)"),
    ((jnp.tile(jnp.eye(3), (4, 1, 1)), jnp.zeros((T, K))), ShapeError, r"got \(4, 3, 3\)"),
    ((jnp.eye(3), jnp.zeros((T, 2))), ShapeError, r"shape \(T, 3\) with T ≥ 1, got \(5, 2\)"),
    ((jnp.eye(3), jnp.zeros((0, 3))), ShapeError, r"got \(0, 3\)"),
    ((0.9 * jnp.eye(3), jnp.zeros((T, K))), ForeseeError, "sum to 1.*off by 0.1"),
    ((jnp.array([[2.0, -1, 0], [0, 1, 0], [0, 0, 1]]), jnp.zeros((T, K))), ForeseeError, "smallest -1"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_errors_name_what_was_expected_and_what_came(monkeypatch, arguments, error, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for function in (forward, viterbi):
        with pytest.raises(error, match=message):
            function(Categorical(jnp.zeros(K)), *arguments)


def test_seen_of_another_length_is_an_error(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ShapeError, match=r"seen of shape \(5,\), got \(4,\)"):
        forward(Categorical(jnp.zeros(K)), jnp.eye(3), jnp.zeros((T, K)), seen=jnp.ones(4, bool))
