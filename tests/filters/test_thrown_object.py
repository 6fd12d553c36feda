import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import bench_thrown_object as study
from foresee.filters import KalmanFilter
from foresee.filters.parameters import plain

MOVE = np.eye(4) + np.eye(4, k=2)
PUSH = np.array([[0.5, 0], [0, 0.5], [1, 0], [0, 1]])


def textbook(path, seen, fill_gaps):
    """One-step predictions of the study's default filter, matrix by matrix."""
    x, covariance, predictions = np.zeros(4), np.eye(4), []
    look, noise = np.eye(2, 4), 0.01 * np.eye(2)
    for y, flag in zip(path, seen, strict=True):
        x = MOVE @ x
        covariance = MOVE @ covariance @ MOVE.T + PUSH @ PUSH.T
        predictions.append(look @ x)
        if not flag and not fill_gaps:
            continue
        y = y if flag else look @ x
        gain = covariance @ look.T @ np.linalg.inv(look @ covariance @ look.T + noise)
        x = x + gain @ (y - look @ x)
        covariance = (np.eye(4) - gain @ look) @ covariance
    return np.array(predictions)


def throw(dx, dy):
    x, y, path = 0.0, 0.0, []
    for _ in range(study.ROWS):
        path.append((x, y))
        x, y, dy = x + dx, y + dy, dy - 1
    return np.array(path)


def test_a_throw_is_the_one_of_the_study():
    dx, dy = np.array([2.0, 3.5]), np.array([4.0, 7.1])
    expected = [throw(*step) for step in zip(dx, dy, strict=True)]
    np.testing.assert_allclose(study.throw(jnp.asarray(dx), jnp.asarray(dy)), expected, atol=1e-12)
    path = np.asarray(study.states(jnp.asarray(dx), jnp.asarray(dy)))
    moved = path[:, :-1] @ MOVE.T + PUSH @ [0.0, -1.0]
    np.testing.assert_allclose(moved, path[:, 1:], atol=1e-12)


def test_the_textbook_figure():
    path = throw(2.8, 4.8)
    error = np.mean((textbook(path, np.ones(10, bool), fill_gaps=True) - path) ** 2)
    assert error == pytest.approx(1.872, abs=5e-4)
    assert study.textbook() == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("fill_gaps", [True, False])
def test_gaps_are_treated_as_in_the_textbook(fill_gaps):
    dx, dy = study.fresh(20, jax.random.key(0))
    seen = jax.random.uniform(jax.random.key(1), (20, 10)) > 0.4
    filter = study.PredictionAsObservation() if fill_gaps else KalmanFilter()
    model = study.from_scalars(plain(study.starts()["scalars"]))
    got = study.score(filter, model, study.states(dx, dy), study.throw(dx, dy), seen)
    paths = [throw(float(a), float(b)) for a, b in zip(dx, dy, strict=True)]
    errors = [
        textbook(path, flags, fill_gaps) - path for path, flags in zip(paths, np.asarray(seen), strict=True)
    ]
    np.testing.assert_allclose(got.squared_error, np.mean(np.square(errors)), rtol=1e-9)


def on_the_grid(case, parameters):
    """Score a case on the whole 40 × 40 × 50 grid and on as many fresh throws."""
    dx, dy = (jnp.repeat(one, 50) for one in study.grid(40))
    fresh = study.fresh(len(dx), jax.random.key(2))
    for index, one in enumerate(((dx, dy), fresh)):
        seen = study.hide((len(dx), study.ROWS), jax.random.key(3 + index))
        model = case.build(parameters)
        yield study.score(case.filter, model, study.states(*one), study.throw(*one), seen, case.first_row)


def tuned_on_a_small_grid(case, size=10):
    dx, dy = study.grid(size)
    seen = study.hide((size * size, study.ROWS), jax.random.key(5))
    return study.learn(case, study.throw(dx, dy), seen, steps=300)


CASES = {case.name: case for case in study.cases()}


@pytest.mark.parametrize(
    ("name", "low", "high"), [("study, default", 8.8, 9.8), ("gaps skipped, default", 4.9, 5.5)]
)
def test_where_the_study_starts(name, low, high):
    case = CASES[name]
    grid, fresh = on_the_grid(case, plain(study.starts()[case.start]))
    assert low < grid.squared_error < high
    assert low < fresh.squared_error < high


def test_where_the_study_ends():
    case = CASES["study, scalars tuned"]
    parameters, tuned = tuned_on_a_small_grid(case)
    grid, _ = on_the_grid(case, parameters)
    assert 5.2 < grid.squared_error < 5.8
    assert tuned.finite


def test_where_one_gets_by_modelling_gaps_gravity_and_the_prior():
    case = CASES["with gravity and prior, evidence"]
    parameters, tuned = tuned_on_a_small_grid(case)
    grid, fresh = on_the_grid(case, parameters)
    assert 0.25 < grid.squared_error < 0.31
    assert 0.24 < fresh.squared_error < 0.30
    np.testing.assert_allclose(parameters["gravity"], [0.0, -1.0], atol=0.02)
    error = tuned.standard_errors["gravity"]
    assert np.all((error > 0) & (error < 0.01))
    assert fresh.nll < 0 < next(on_the_grid(CASES["study, default"], plain(study.starts()["scalars"]))).nll
