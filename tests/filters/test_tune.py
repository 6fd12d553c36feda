import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize
from scipy.stats import binom, norm

from foresee.beliefs import Gaussian
from foresee.dynamics import ConstantVelocity, LinearGaussian, Position
from foresee.errors import CovarianceError, ForeseeError, OptionError, ShapeError
from foresee.filters import (
    Evidence,
    ExtendedKalmanFilter,
    Fixed,
    KalmanFilter,
    Positive,
    PositiveDefinite,
    PredictionError,
    pad,
    run,
    tune,
)
from foresee.filters.objective import Series
from foresee.filters.parameters import plain

KEY = jax.random.key(0)
STEP, NOISE = 0.4, 0.9  # variances of the walk and of the observations
TRACES = []


def build(parameters):
    """A random walk seen through noise."""
    TRACES.append(None)
    motion = LinearGaussian(jnp.eye(1), parameters["step"][None])
    return motion, Position(parameters["noise"][None], 1), Gaussian(jnp.zeros(1), jnp.eye(1))


def start():
    return {"step": Positive(1.0), "noise": Positive(2.0)}


def walks(seed, series=12, rows=25):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(series, 1)) + np.cumsum(np.sqrt(STEP) * rng.normal(size=(series, rows)), axis=1)
    return (x + np.sqrt(NOISE) * rng.normal(size=x.shape))[..., None]


def textbook_loss(logs, observations, seen):
    """Negative log evidence of the random walk, scalar by scalar."""
    step, noise = np.exp(logs)
    total = 0.0
    for values, flags in zip(observations[..., 0], seen, strict=True):
        mean, variance = 0.0, 1.0
        for y, flag in zip(values, flags, strict=True):
            variance += step
            if flag:
                s = variance + noise
                total += 0.5 * (np.log(2 * np.pi * s) + (y - mean) ** 2 / s)
                mean, variance = mean + variance / s * (y - mean), variance * noise / s
    return total


def second_differences(function, point, h=1e-3):
    size, result = len(point), np.zeros((len(point), len(point)))
    for i in range(size):
        for j in range(size):
            a, b = h * np.eye(size)[i], h * np.eye(size)[j]
            corners = [function(point + s * a + t * b) * s * t for s in (1, -1) for t in (1, -1)]
            result[i, j] = sum(corners) / (4 * h * h)
    return result


def test_the_optimum_and_its_errors_are_those_of_the_textbook():
    observations = walks(0)
    seen = np.random.default_rng(1).random(observations.shape[:2]) > 0.3
    tuned = tune(
        start(), build, np.where(seen[..., None], observations, 1e6), seen=seen, key=KEY, tolerance=1e-7
    )
    best = minimize(
        textbook_loss, np.zeros(2), args=(observations, seen), method="BFGS", options={"gtol": 1e-6}
    )
    got = np.log([tuned.parameters["step"], tuned.parameters["noise"]])
    np.testing.assert_allclose(got, best.x, atol=1e-4)
    np.testing.assert_allclose(tuned.loss * tuned.count, best.fun, rtol=1e-9)
    assert tuned.count == seen.sum()
    information = second_differences(lambda logs: textbook_loss(logs, observations, seen), best.x)
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    logs = tuned.log_standard_errors
    np.testing.assert_allclose([logs["step"], logs["noise"]], errors, rtol=1e-3)
    np.testing.assert_allclose(tuned.standard_errors["step"], tuned.parameters["step"] * errors[0], rtol=1e-3)
    assert tuned.converged
    assert tuned.finite
    assert tuned.history[0] > tuned.loss
    assert int(tuned.steps) < 50


def test_the_truth_is_found_and_the_errors_cover_it():
    """Intervals of 1, 1.96 and 3 standard errors contain the truth as often as a binomial count allows."""
    repetitions = 200
    batches = jnp.stack([walks(seed) for seed in range(repetitions)])
    tuned = jax.jit(jax.vmap(lambda batch: tune(start(), build, batch, key=KEY)))(batches)
    assert tuned.converged.all()
    for name, truth in (("step", STEP), ("noise", NOISE)):
        z = np.log(tuned.parameters[name] / truth) / tuned.log_standard_errors[name]
        for width in (1.0, 1.96, 3.0):
            share = norm.cdf(width) - norm.cdf(-width)
            low, high = binom.ppf([1e-4, 1 - 1e-4], repetitions, share)
            assert low <= (np.abs(z) < width).sum() <= high, (name, width)


def test_other_numbers_of_the_same_shape_compile_nothing():
    tune(start(), build, walks(1), key=KEY)
    before = len(TRACES)
    tune({"step": Positive(0.1), "noise": Positive(0.3)}, build, walks(2), key=jax.random.key(1))
    assert len(TRACES) == before


@pytest.mark.parametrize("objective", [Evidence(), PredictionError(ahead=2, dropout=0.3, draws=2)], ids=str)
def test_the_gradient_is_the_finite_difference(objective):
    observations = jnp.asarray(walks(3)[0])
    seen = jnp.arange(len(observations))[:, None] % 5 > 0
    series = Series((observations,), (seen,), None, jnp.asarray(1.0), True)
    flat, unravel = ravel_pytree({"P": PositiveDefinite(jnp.eye(2)), **start()})

    def loss(point):
        values = plain(unravel(point))
        motion = ConstantVelocity(values["step"], 1)
        model = motion, Position(values["noise"][None], 2), Gaussian(jnp.zeros(2), values["P"])
        return objective(KalmanFilter(), model, series, key=KEY)[0]

    directions = 1e-5 * np.eye(flat.size)
    differences = [(loss(flat + d) - loss(flat - d)) / 2e-5 for d in directions]
    np.testing.assert_allclose(jax.grad(loss)(flat), differences, rtol=1e-5, atol=1e-6)


def test_predictions_further_ahead_are_those_of_a_run_that_sees_no_more():
    """Hiding the row in between turns a prediction two rows ahead into one of one row."""
    observations = jnp.asarray(walks(4, rows=6)[0])
    motion = ConstantVelocity(0.3, 1)
    model = motion, Position(jnp.ones(1), 2), Gaussian(jnp.zeros(2), jnp.eye(2))
    series = Series((observations,), (jnp.ones((6, 1), bool),), None, jnp.linspace(0.5, 2, 6), True)
    total, count = PredictionError(ahead=3)(KalmanFilter(), model, series, key=KEY)
    expected = 0.0
    for row in range(2, 6):
        seen = (jnp.arange(6) < row - 2)[:, None]
        outcome = run(KalmanFilter(), *model, observations, seen=seen, dt=series.dt)
        expected += (outcome.predicted.location[row, 0] - observations[row, 0]) ** 2
    assert count == 4
    np.testing.assert_allclose(total, expected, rtol=1e-10)


def test_everything_a_series_can_bring_reaches_the_filter():
    """Modules as parameters, two sensors, irregular times, flags, a prior of its own for every series."""
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(3, 8, 1)), rng.normal(size=(3, 8, 2))
    seen = rng.random((3, 8)) > 0.3, rng.random((3, 8, 2)) > 0.3
    dt, begin = rng.uniform(0.1, 2, (3, 8)), rng.normal(size=(3, 2))
    motion = eqx.tree_at(lambda m: m.acceleration_density, ConstantVelocity(0.5, 1), replace_fn=Positive)
    sensors = Position(jnp.ones(1), 2), LinearGaussian(jnp.eye(2), PositiveDefinite(0.3 * np.eye(2)).array())
    sensors = eqx.tree_at(lambda s: s[0].covariance, sensors, replace_fn=Positive)
    sensors = eqx.tree_at(lambda s: s[1].covariance, sensors, replace_fn=PositiveDefinite)
    sensors = eqx.tree_at(lambda s: s[1].matrix, sensors, replace_fn=Fixed)

    def build_own(parameters, context):
        return *parameters, Gaussian(context, jnp.eye(2))

    options = {"seen": seen, "dt": dt, "context": begin, "key": KEY, "filter": ExtendedKalmanFilter()}
    tuned = tune((motion, sensors), build_own, (first, second), steps=3, **options)
    evidence, count = 0.0, seen[0].sum() + seen[1].sum()
    moving, looking = plain((motion, sensors))
    for i in range(3):
        prior = Gaussian(begin[i], np.eye(2))
        flags = tuple(flag[i] for flag in seen)
        outcome = run(KalmanFilter(), moving, looking, prior, (first[i], second[i]), seen=flags, dt=dt[i])
        evidence += outcome.log_evidence
    np.testing.assert_allclose(tuned.history[0], -evidence / count, rtol=1e-9)
    learned, (_, other) = tuned.parameters
    assert isinstance(learned, ConstantVelocity)
    assert learned.dimensions == 1
    assert learned.acceleration_density != 0.5
    np.testing.assert_array_equal(other.matrix, np.eye(2))
    np.testing.assert_array_equal(tuned.standard_errors[1][1].matrix, np.zeros((2, 2)))
    assert np.linalg.eigvalsh(other.covariance).min() > 0
    assert tuned.loss < tuned.history[0]


def test_padding_changes_nothing():
    observations = walks(6, series=3)
    short = [jnp.asarray(observations[i, :rows]) for i, rows in enumerate((25, 10, 17))]
    padded, seen = pad(short)
    tuned = tune(start(), build, padded, seen=seen, key=KEY, steps=1, errors=False)
    flags = [np.ones((1, len(one)), bool) for one in short]
    total = sum(
        textbook_loss(np.log([1.0, 2.0]), one[None], flag) for one, flag in zip(short, flags, strict=True)
    )
    np.testing.assert_allclose(tuned.loss * (25 + 10 + 17), total, rtol=1e-9)


def test_restarts_get_away_from_where_the_gradient_vanishes():
    nowhere = {"step": Positive(1e-12), "noise": Positive(1e12)}
    alone = tune(nowhere, build, walks(7), key=KEY, tolerance=1e-2, errors=False, optimizer=optax.adam(0.3))
    many = tune(
        nowhere, build, walks(7), key=KEY, restarts=8, spread=15.0, errors=False, optimizer=optax.adam(0.3)
    )
    assert many.restart_losses.shape == (8,)
    assert many.loss == many.restart_losses.min()
    assert many.loss < alone.loss - 0.1


def test_what_the_data_do_not_tell_has_an_infinite_error():
    def ignorant(parameters):
        return build(parameters["known"])

    tuned = tune({"known": start(), "idle": jnp.ones(2)}, ignorant, walks(8), key=KEY)
    assert np.isinf(tuned.standard_errors["idle"]).all()
    assert np.isfinite(tuned.standard_errors["known"]["step"])
    assert tuned.covariance is not None
    assert jnp.isfinite(tuned.covariance).all()
    drawn = jax.vmap(lambda key: tuned.sample(key=key))(jax.random.split(KEY, 2000))
    spread = np.std(np.log(drawn["known"]["step"]))
    np.testing.assert_allclose(spread, tuned.log_standard_errors["known"]["step"], rtol=5 / np.sqrt(2 * 2000))


def test_a_search_that_leaves_the_finite_keeps_the_last_good_parameters():
    def fragile(parameters):
        broken = jnp.where(parameters["step"] < 0.6, jnp.nan, parameters["step"])
        return build(parameters | {"step": broken})

    tuned = tune(start(), fragile, walks(9), key=KEY, optimizer=optax.sgd(3.0), errors=False)
    assert not tuned.finite
    assert not tuned.converged
    assert np.isfinite(tuned.loss)
    assert np.isfinite(tuned.history).all()
    assert tuned.parameters["step"] >= 0.6
    assert tuned.loss <= tuned.history[0]


def test_squared_error_gives_the_gain_and_errors_by_the_sandwich():
    """Only the ratio of the noises moves the predictions, so it is found and their common scale is not."""
    series = walks(10, series=200)
    tuned = tune(
        start() | {"noise": Fixed(jnp.asarray(NOISE))}, build, series, objective=PredictionError(), key=KEY
    )
    z = (tuned.parameters["step"] - STEP) / tuned.standard_errors["step"]
    assert tuned.converged
    assert abs(z) < 4
    assert 0.01 < tuned.log_standard_errors["step"] < 0.5


def test_the_filter_and_a_prior_over_the_parameters_can_be_learned_with():
    def iterated(parameters):
        return ExtendedKalmanFilter(), *build(parameters)

    def firm(parameters):
        return -0.5 * jnp.sum((jnp.log(parameters["step"]) / 1e-3) ** 2)

    tuned = tune(start(), iterated, walks(11), key=KEY, log_prior=firm, errors="scores")
    np.testing.assert_allclose(tuned.parameters["step"], 1.0, atol=0.01)
    np.testing.assert_allclose(tuned.log_standard_errors["step"], 1e-3, rtol=0.02)


def test_the_floor_holds():
    quiet = np.zeros((4, 25, 1))
    parameters = {"step": Positive(1.0, floor=0.01), "noise": Positive(1.0, floor=0.02)}
    tuned = tune(parameters, build, quiet, key=KEY, errors=False)
    np.testing.assert_allclose([tuned.parameters["step"], tuned.parameters["noise"]], [0.01, 0.02], rtol=0.1)
    assert tuned.parameters["step"] > 0.01
    further = tune(tuned.wrapped, build, quiet, key=KEY, errors=False)
    np.testing.assert_allclose(further.history[0], tuned.loss, rtol=1e-9)


def test_wrappers_start_where_they_are_told():
    matrix = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.4], [0.1, -0.4, 0.5]])
    np.testing.assert_allclose(PositiveDefinite(matrix).array(), matrix, rtol=1e-12)
    np.testing.assert_allclose(Positive([0.5, 3.0], floor=0.1).array(), [0.5, 3.0], rtol=1e-12)


def test_wrappers_refuse_what_is_out_of_range():
    with pytest.raises(ForeseeError, match="above"):
        Positive([1.0, -1.0])
    with pytest.raises(ForeseeError, match="above"):
        Positive(np.nan)
    with pytest.raises(CovarianceError, match="positive definite"):
        PositiveDefinite([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(CovarianceError, match="positive definite"):
        PositiveDefinite([[1.0, 0.5], [0.0, 1.0]])
    with pytest.raises(ShapeError, match="square"):
        PositiveDefinite(np.ones((2, 3)))


def test_errors_name_what_was_expected():
    observations = walks(12)
    with pytest.raises(ForeseeError, match="finite parameters"):
        tune({"step": jnp.asarray(jnp.nan), "noise": jnp.asarray(1.0)}, build, observations, key=KEY)
    with pytest.raises(ForeseeError, match="finite loss"):
        tune({"step": jnp.asarray(-9.0), "noise": jnp.asarray(1.0)}, build, observations, key=KEY, steps=1)
    with pytest.raises(ForeseeError, match="not Fixed"):
        tune({"step": Fixed(jnp.asarray(1.0)), "noise": 3}, build, observations, key=KEY)
    with pytest.raises(ShapeError, match=r"series, T, m"):
        tune(start(), build, observations[0], key=KEY)
    with pytest.raises(ShapeError, match="seen of shape"):
        tune(start(), build, observations, seen=np.ones(25, bool), key=KEY)
    with pytest.raises(ShapeError, match="one dt"):
        tune(start(), build, observations, dt=np.ones(25), key=KEY)
    with pytest.raises(ShapeError, match="context with leading"):
        tune(start(), build, observations, context=np.ones(3), key=KEY)
    with pytest.raises(OptionError, match="steps"):
        tune(start(), build, observations, steps=0, key=KEY)
    with pytest.raises(OptionError, match="dropout"):
        PredictionError(dropout=1.0)
    with pytest.raises(OptionError, match="ahead"):
        tune(start(), build, observations, objective=PredictionError(ahead=26), key=KEY)
    with pytest.raises(OptionError, match="likelihood"):
        tune(start(), build, observations, objective=PredictionError(), errors="scores", key=KEY)
