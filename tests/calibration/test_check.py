"""Wrong input is named: what was expected, what came, and where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import foresee.calibration as c
from foresee.errors import CalibrationError, OptionError, ShapeError

P = np.full((6, 2), 0.5)
Y = np.asarray([0, 1, 0, 1, 0, 1])
Z = np.asarray([[0.3, -1.0], [1.0, 2.0]] * 3)
KEY = jax.random.key(0)


def holed(array, value):
    out = array.copy()
    out[1, 0] = value
    return out


NAN = holed(Z, np.nan)
WRONG = {
    "label out of range": (
        lambda: c.calibration_error(P, Y + 1),
        CalibrationError,
        "labels 0 to 1, got 2 in row 1",
    ),
    "negative label": (lambda: c.brier_score(P, Y - 1), CalibrationError, "got -1 in row 0"),
    "labels that are no integers": (
        lambda: c.accuracy(P, Y * 1.0),
        CalibrationError,
        "integer labels, got float",
    ),
    "sum is not one": (
        lambda: c.accuracy(holed(P, 0.7), Y),
        CalibrationError,
        "sum to one, got 1.2 in row 1",
    ),
    "negative probability": (lambda: c.sharpness(Z), CalibrationError, "≥ 0, got -1 in row 0"),
    "labels too few": (lambda: c.accuracy(P, Y[:5]), ShapeError, r"labels of shape \(6,\), got \(5,\)"),
    "no rows": (lambda: c.accuracy(P[:0], Y[:0]), ShapeError, r"got \(0, 2\)"),
    "one class": (lambda: c.accuracy(np.ones((6, 1)), Y), ShapeError, "at least 2 classes"),
    "a vector": (lambda: c.accuracy(P[0], Y), ShapeError, r"got \(2,\)"),
    "NaN logits": (lambda: c.calibrate(NAN, Y), CalibrationError, r"finite logits, got nan at \[1, 0\]"),
    "infinite logits": (lambda: c.fit_vector(holed(Z, -np.inf), Y), CalibrationError, "got -inf"),
    "NaN when called": (lambda: c.calibrate(Z, Y)(NAN), CalibrationError, "finite logits"),
    "probabilities for logits": (lambda: c.calibrate(P, Y), CalibrationError, "log_probabilities"),
    "logits for probabilities": (lambda: c.log_probabilities(Z), CalibrationError, "are these logits"),
    "no such method": (
        lambda: c.calibrate(Z, Y, "magic"),
        OptionError,
        "temperature, vector, platt, isotonic",
    ),
    "labels all alike": (lambda: c.fit_platt(Z, 0 * Y), CalibrationError, "both kinds, got only 0"),
    "Platt of three": (lambda: c.fit_platt(np.eye(3), Y[:3]), CalibrationError, "log_prob|2 classes"),
    "other classes": (lambda: c.fit_isotonic(Z, Y)(np.eye(3)), ShapeError, "logits of 2 classes"),
    "traced isotonic": (lambda: jax.jit(c.fit_isotonic)(Z, Y), CalibrationError, "outside of jit"),
    "penalty": (lambda: c.fit_vector(Z, Y, -1.0), OptionError, "penalty ≥ 0"),
    "no bins": (lambda: c.calibration_error(P, Y, 0), OptionError, "at least 1 bin"),
    "binning": (lambda: c.reliability(P, Y, level=1.5), OptionError, "level between 0 and 1"),
    "AUROC of one kind": (lambda: c.auroc(Z[:, 0], 0 * Y), CalibrationError, "got only 0"),
    "AUROC of other labels": (lambda: c.auroc(Z[:, 0], 2 * Y), CalibrationError, "0 and 1, got 2"),
    "AUROC of a NaN": (lambda: c.auroc(NAN[:, 0], Y), CalibrationError, "finite scores"),
    "DeLong of one row": (lambda: c.auroc_interval(Z[:3, 0], Y[:3]), CalibrationError, "2 rows of both"),
    "recall": (lambda: c.false_alarm_rate(Z[:, 0], Y, 1.0), OptionError, "hit between"),
    "bootstrap rows": (
        lambda: c.bootstrap_interval(c.accuracy, P, Y[:5], key=KEY),
        ShapeError,
        "common number",
    ),
    "bootstrap draws": (
        lambda: c.bootstrap_interval(c.accuracy, P, Y, draws=1, key=KEY),
        OptionError,
        "2 draws",
    ),
    "deviation": (lambda: c.crps_gaussian(Z[:, 0], 0 * Y, Z[:, 1]), CalibrationError, "positive standard"),
    "weights": (lambda: c.nll_mixture(-P, P, P, Y), CalibrationError, "weights ≥ 0"),
    "mixture shapes": (lambda: c.crps_mixture(P, P[:, :1], P, Y), ShapeError, "one shape"),
    "rows of samples": (lambda: c.crps_samples(P[:5], Y), ShapeError, "samples of 6 rows"),
    "fair score of one": (lambda: c.crps_samples(P[:, :1], Y, fair=True), ShapeError, "at least 2 samples"),
    "NaN ends": (lambda: c.coverage(NAN[:, 0], Z[:, 0], Y), CalibrationError, "NaN"),
    "ends": (lambda: c.coverage(Z[:5, 0], Z[:5, 0], Y), ShapeError, "ends of shape"),
    "PIT": (lambda: c.fit_quantiles(2.0 * Y), CalibrationError, "from 0 to 1"),
    "folds": (lambda: c.fit_last_layer(Z, Y, 2, folds=9, key=KEY), OptionError, "2 to 6 folds"),
    "penalties": (lambda: c.fit_last_layer(Z, Y, 2, penalties=(0.0,), key=KEY), OptionError, "penalties > 0"),
    "what is missing": (
        lambda: c.Energy()(c.NetworkOutputs(features=Z)),
        CalibrationError,
        "Energy: .* with logits",
    ),
    "neither": (lambda: c.Entropy()(c.NetworkOutputs(features=Z)), CalibrationError, "logits or member"),
    "members": (
        lambda: c.MutualInformation()(c.NetworkOutputs(logits=Z)),
        CalibrationError,
        "with member_probabilities",
    ),
    "members' sum": (
        lambda: c.NetworkOutputs(member_probabilities=P[None] * 2),
        CalibrationError,
        "sum to one",
    ),
    "members' shape": (lambda: c.NetworkOutputs(member_probabilities=P), ShapeError, "members, rows"),
    "unequal rows": (lambda: c.NetworkOutputs(Z, Z[:5]), ShapeError, "one number of rows"),
    "a class without rows": (lambda: c.fit_mahalanobis(Z, Y, 3), CalibrationError, "none of 2"),
    "shrinkage": (lambda: c.fit_mahalanobis(Z, Y, 2, shrinkage=2.0), OptionError, "from 0 to 1"),
    "neighbours": (lambda: c.fit_neighbours(Z, 7), OptionError, "from 1 to 6"),
    "other features": (
        lambda: c.fit_neighbours(Z, 1)(c.NetworkOutputs(features=np.eye(3))),
        ShapeError,
        "2 features",
    ),
    "equal entropies": (
        lambda: c.fit_entropy_density(c.NetworkOutputs(logits=0 * Z)),
        CalibrationError,
        "all alike",
    ),
    "rate unattainable": (
        lambda: c.fit_threshold(Z[:, 0], 0.01),
        CalibrationError,
        "at least 99 scores, got 6",
    ),
    "rate with confidence": (
        lambda: c.fit_threshold(Z[:, 0], 0.05, 0.95),
        CalibrationError,
        "confidence 0.95 needs at least 59",
    ),
    "level unattainable": (
        lambda: c.conformal_sets(P, Y, 0.9),
        CalibrationError,
        "with 6 rows; it needs at least 9",
    ),
    "level by class": (
        lambda: c.conformal_sets(P, Y, 0.8, by_class=True),
        CalibrationError,
        "4 rows of every class, got 3 of class 0",
    ),
    "no key": (lambda: c.conformal_sets(P, Y, 0.5, c.Adaptive()), OptionError, "a key, as Adaptive"),
    "intervals' level": (lambda: c.conformal_intervals(Z[:, 0], Y, 0.95), CalibrationError, "at least 19"),
    "scales": (lambda: c.conformal_intervals(Z[:, 0], Y, 0.5, 0 * Y), CalibrationError, "positive scales"),
    "quantiles' rows": (lambda: c.conformal_quantiles(Z[:, 0], Z[:5, 1], Y), ShapeError, "upper quantiles"),
    "rates": (lambda: c.adaptive_conformal(rates=-1.0), OptionError, "positive rates"),
    "band": (lambda: c.coverage_band(5, 10, 0.9), CalibrationError, "at least 9"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_named(name):
    call, error, text = WRONG[name]
    with pytest.raises(error, match=text):
        call()


def test_traced_arrays_pass():
    assert np.isfinite(jax.jit(c.accuracy)(jnp.asarray(P), jnp.asarray(Y)))


def test_probabilities_are_told_from_logits():
    assert c.is_probabilities(P)
    assert not c.is_probabilities(Z)
    assert not c.is_probabilities(np.log(P))


def test_log_probabilities_are_logits_and_zeros_are_clipped():
    table = jnp.asarray([[0.25, 0.75], [0.0, 1.0]], jnp.float32)
    logits = c.log_probabilities(table)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(jax.nn.softmax(logits), table, atol=1e-6)
