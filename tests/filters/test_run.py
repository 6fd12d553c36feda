"""Running filters over series: missing, continued, fused, padded, compiled once, or far from the origin."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from foresee.beliefs import AbstractConditional, DiagonalGaussian, Gaussian
from foresee.dynamics import AbstractLinear, ConstantVelocity, LinearGaussian, Position
from foresee.errors import ShapeError
from foresee.filters import ExtendedKalmanFilter, KalmanFilter, UnscentedKalmanFilter, pad, run

FILTERS = [KalmanFilter(), ExtendedKalmanFilter(), UnscentedKalmanFilter()]
every_filter = pytest.mark.parametrize("filter", FILTERS, ids=lambda f: type(f).__name__)
RNG = np.random.default_rng(11)
T = 12
MOTION, SENSOR = ConstantVelocity(0.5), Position(jnp.asarray([[0.5, 0.1], [0.1, 0.3]]), 4)
PRIOR = Gaussian(jnp.asarray([1.0, -1.0, 0.5, 0.0]), jnp.diag(jnp.asarray([2.0, 2.0, 1.0, 1.0])))
Y = jnp.asarray(np.cumsum(RNG.normal(size=(T, 2)), 0))


def parts(result):
    return result.predicted, result.filtered, result.log_evidences, result.last


def assert_same(one, other, tolerance=1e-11):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@every_filter
def test_unseen_rows_equal_rows_that_are_not_there(filter):
    """Deleting an unseen row and adding its duration to the next row's gives the same beliefs."""
    dt, seen = RNG.uniform(0.1, 1.0, T), np.ones(T, bool)
    seen[[0, 4, 5, 9]] = False
    masked = run(
        filter, MOTION, SENSOR, PRIOR, jnp.where(seen[:, None], Y, jnp.nan), seen=seen, dt=jnp.asarray(dt)
    )
    ends = np.cumsum(dt)[seen]
    deleted = run(filter, MOTION, SENSOR, PRIOR, Y[seen], dt=jnp.asarray(np.diff(ends, prepend=0.0)))
    assert_same(jax.tree.map(lambda leaf: leaf[seen], masked.filtered), deleted.filtered)
    np.testing.assert_allclose(masked.log_evidence, deleted.log_evidence, rtol=1e-12)
    np.testing.assert_array_equal(masked.log_evidences[~seen], 0.0)


@every_filter
def test_unseen_components_equal_a_smaller_sensor(filter):
    seen = jnp.broadcast_to(jnp.asarray([False, True]), (T, 2))
    second = LinearGaussian(jnp.asarray([[0.0, 1.0, 0.0, 0.0]]), SENSOR.covariance[1:, 1:])
    masked = run(filter, MOTION, SENSOR, PRIOR, Y.at[:, 0].set(jnp.nan), seen=seen)
    assert_same(masked, run(filter, MOTION, second, PRIOR, Y[:, 1:]))


@every_filter
def test_several_sensors_equal_one_that_stacks_them(filter):
    """Two sensors with their own masks, so of different rates, against one with block-diagonal noise."""
    other = LinearGaussian(jnp.asarray(RNG.normal(size=(1, 4))), jnp.asarray([[0.7]]), jnp.asarray([0.3]))
    z = jnp.asarray(RNG.normal(size=(T, 1)))
    seen, sparse = jnp.asarray(RNG.random((T, 2)) > 0.3), jnp.arange(T) % 3 == 1
    fused = run(filter, MOTION, (SENSOR, other), PRIOR, (Y, z), seen=(seen, sparse), dt=0.7)
    stacked = LinearGaussian(
        jnp.concatenate([jnp.eye(2, 4), other.matrix]),
        jax.scipy.linalg.block_diag(SENSOR.covariance, other.covariance),
        jnp.asarray([0.0, 0.0, 0.3]),
    )
    both = jnp.concatenate([seen, sparse[:, None]], 1)
    wanted = run(filter, MOTION, stacked, PRIOR, jnp.concatenate([Y, z], 1), seen=both, dt=0.7)
    assert_same(fused, wanted)


@every_filter
@pytest.mark.parametrize("first", [False, True])
def test_going_on_equals_one_uninterrupted_run(filter, first):
    dt = jnp.asarray(RNG.uniform(0.1, 1.0, T))
    whole = run(filter, MOTION, SENSOR, PRIOR, Y, dt=dt, predict_first=first)
    head = run(filter, MOTION, SENSOR, PRIOR, Y[:5], dt=dt[:5], predict_first=first)
    tail = run(filter, MOTION, SENSOR, PRIOR, Y[5:], dt=dt[5:], after=head)
    for part in ("predicted", "filtered", "log_evidences"):
        joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), getattr(head, part), getattr(tail, part))
        for a, b in zip(jax.tree.leaves(joined), jax.tree.leaves(getattr(whole, part)), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(jax.tree.leaves(tail.last), jax.tree.leaves(whole.last), strict=True):
        np.testing.assert_array_equal(a, b)
    assert tail.rows == whole.rows == T


@every_filter
def test_without_predicting_first_the_prior_is_the_first_prediction(filter):
    later = run(filter, MOTION, SENSOR, PRIOR, Y, predict_first=False)
    np.testing.assert_array_equal(later.predicted.location[0], PRIOR.location)
    moved = filter.predict(PRIOR, MOTION)
    later = run(filter, MOTION, SENSOR, moved, Y, predict_first=False)
    assert_same(parts(later), parts(run(filter, MOTION, SENSOR, PRIOR, Y)))


@every_filter
def test_padded_batch_equals_a_loop(filter):
    series = [Y[:3], Y[2:11], Y[4:9]]
    y, seen = pad(series)
    assert y.shape == (3, 9, 2)
    together = jax.vmap(lambda y, seen: run(filter, MOTION, SENSOR, PRIOR, y, seen=seen))(y, seen)
    for i, values in enumerate(series):
        alone = run(filter, MOTION, SENSOR, PRIOR, values)
        rows = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        length = len(values)
        assert_same(jax.tree.map(lambda leaf, n=length: leaf[:n], rows.filtered), alone.filtered)
        np.testing.assert_allclose(rows.log_evidence, alone.log_evidence, rtol=1e-12)


@every_filter
def test_gradients_equal_finite_differences(filter):
    seen = jnp.asarray(RNG.random((T, 2)) > 0.3)

    def evidence(values):
        motion = ConstantVelocity(values[0])
        prior = Gaussian(values[2:6], PRIOR.covariance * values[6])
        sensor = Position(values[1] * SENSOR.covariance, 4)
        return run(filter, motion, sensor, prior, Y, seen=seen).log_evidence

    at = jnp.asarray([0.5, 1.2, 1.0, -1.0, 0.5, 0.0, 1.5])
    slopes = jax.grad(evidence)(at)
    evaluate = jax.jit(evidence)
    numeric = [(evaluate(at.at[i].add(1e-5)) - evaluate(at.at[i].add(-1e-5))) / 2e-5 for i in range(7)]
    np.testing.assert_allclose(slopes, numeric, rtol=1e-6, atol=1e-7)


def test_other_values_and_other_data_of_the_same_shape_trace_nothing():
    traces = []

    class Counted(AbstractConditional):
        variance: jax.Array

        def __call__(self, x, u=None, dt=1.0):
            traces.append(None)
            return DiagonalGaussian(0.9 * x, self.variance * jnp.ones(4))

    for filter in FILTERS[1:]:
        traces.clear()
        run(filter, Counted(jnp.asarray(0.1)), SENSOR, PRIOR, Y)
        first = len(traces)
        for value in (0.2, 3.0):
            run(filter, Counted(jnp.asarray(value)), Position(value * SENSOR.covariance, 4), PRIOR, Y + value)
        assert first > 0
        assert len(traces) == first


def test_other_values_trace_nothing_in_linear_models():
    traces = []

    class Counted(AbstractLinear):
        variance: jax.Array

        def linear(self, u=None, dt=1.0):
            traces.append(None)
            return LinearGaussian(0.9 * jnp.eye(4), self.variance * jnp.ones(4))

        def __call__(self, x, u=None, dt=1.0):
            return self.linear(u, dt)(x)

    run(KalmanFilter(), Counted(jnp.asarray(0.1)), SENSOR, PRIOR, Y)
    first = len(traces)
    for value in (0.2, 3.0):
        run(
            KalmanFilter(),
            Counted(jnp.asarray(value)),
            Position(value * SENSOR.covariance, 4),
            PRIOR,
            Y + value,
        )
    assert first > 0
    assert len(traces) == first


def single(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)


@every_filter
def test_float32_in_float32_out(filter):
    motion, sensor, prior, y = single((MOTION, SENSOR, PRIOR, Y))
    result = run(filter, motion, sensor, prior, y, dt=0.5)
    floats = [leaf for leaf in jax.tree.leaves(result) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in floats} == {jnp.dtype(jnp.float32)}
    assert_same(parts(result), parts(run(filter, MOTION, SENSOR, PRIOR, Y, dt=0.5)), tolerance=2e-5)


@pytest.mark.parametrize("filter", FILTERS[::2], ids=lambda f: type(f).__name__)
def test_float32_over_a_hundred_thousand_steps(filter):
    """Positive definite to the end, and within 10⁻³ of float64 on the same data."""
    y = jnp.asarray(np.random.default_rng(12).normal(size=(100_000, 2)), jnp.float32)
    motion, sensor = ConstantVelocity(0.01), Position(jnp.asarray([0.01, 1.0]), 4)
    dt = 0.125  # exact in both precisions
    motion, sensor, prior = models = single((motion, sensor, PRIOR))
    got = run(filter, motion, sensor, prior, y, dt=dt)
    motion, sensor, prior = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), models)
    wanted = run(filter, motion, sensor, prior, y.astype(jnp.float64), dt=dt)
    covariances = np.asarray(got.filtered.covariance[:: T * 7], float)
    assert np.linalg.eigvalsh(covariances).min() > 0
    np.testing.assert_allclose(got.log_evidence, wanted.log_evidence, rtol=1e-3)
    np.testing.assert_allclose(got.last.covariance, wanted.last.covariance, rtol=1e-3, atol=1e-6)
    deviations = np.sqrt(np.diagonal(wanted.filtered.covariance, axis1=1, axis2=2))
    assert (np.abs(got.filtered.location - wanted.filtered.location) / deviations).max() < 1e-2


@pytest.mark.parametrize("spread", [1.0, 0.1])
@pytest.mark.parametrize("far", [1e4, 1e5])
def test_float32_evidence_does_not_depend_on_where_the_map_begins(far, spread):
    """Against float64 on the same rounded data, also for a run that is continued half-way."""
    rng, rows = np.random.default_rng(13), 200
    path = np.array([far, -far]) + np.cumsum(rng.normal(size=(rows, 2)), 0)
    y = jnp.asarray(path + spread * rng.normal(size=(rows, 2)), jnp.float32)
    motion, sensor = ConstantVelocity(0.5), Position(jnp.full(2, spread**2), 4)
    prior = Gaussian(jnp.asarray([far, -far, 0.0, 0.0]), PRIOR.covariance)
    models = single((motion, sensor, prior))
    motion, sensor, prior = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), models)
    wanted = run(KalmanFilter(), motion, sensor, prior, y.astype(jnp.float64)).log_evidence
    motion, sensor, prior = models
    got = run(KalmanFilter(), motion, sensor, prior, y)
    assert got.log_evidences.dtype == jnp.float32
    np.testing.assert_allclose(got.log_evidence, wanted, rtol=2e-5)
    head = run(KalmanFilter(), motion, sensor, prior, y[:100])
    tail = run(KalmanFilter(), motion, sensor, prior, y[100:], after=head)
    np.testing.assert_array_equal(tail.log_evidences, got.log_evidences[100:])


def test_errors_name_what_was_expected_and_what_came():
    def refused(message, *, sensor: Any = SENSOR, y: Any = Y, **options):
        with pytest.raises(ShapeError, match=message):
            run(KalmanFilter(), MOTION, sensor, PRIOR, y, **options)

    refused(r"expected observations of shape \(T, m\), got \(12,\)", y=Y[:, 0])
    refused(r"expected seen with 12 rows, got shape \(5,\)", seen=jnp.ones(5, bool))
    refused(r"expected seen of shape \(12,\) or \(12, 2\), got \(12, 3\)", seen=jnp.ones((T, 3), bool))
    refused(r"expected dt with 12 rows, got shape \(3,\)", dt=jnp.ones(3))
    refused(r"expected inputs with 12 rows, got shape \(2, 1\)", inputs=jnp.ones((2, 1)))
    refused("expected observations and seen for 2 sensors, got 1 and 2", sensor=(SENSOR, SENSOR), y=(Y,))
    refused("expected at least one row, got none", y=Y[:0])
    with pytest.raises(ShapeError, match="at least one series, got none"):
        pad([])
