"""Refitting the last layer on held-out features: logistic regression. Start with `fit_last_layer`."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from foresee.calibration.check import check_labels, check_table
from foresee.calibration.minimise import minimise
from foresee.errors import OptionError, ShapeError

PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


class LastLayer(eqx.Module):
    """A linear layer from features to logits.

    Attributes:
        weight: shape (classes, features), as in `equinox.nn.Linear`.
        bias: shape (classes,).
        penalty: precision of the weights' prior that was chosen.
        losses: negative log likelihood in nats of the rows left out, for every penalty tried.
        converged: whether the last search ended where the gradient vanishes.
    """

    weight: Float[Array, "classes features"]
    bias: Float[Array, " classes"]
    penalty: Float[Array, ""]
    losses: Float[Array, " penalties"]
    converged: Bool[Array, ""]

    def __call__(self, features: ArrayLike) -> Float[Array, "rows classes"]:
        """Return the logits of rows × features.

        Raises:
            ShapeError: if the number of features is another than was fitted.
            CalibrationError: if a feature is not finite.
        """
        table = check_table(features, "LastLayer", "features")
        if table.shape[1] != self.weight.shape[1]:
            raise ShapeError(f"LastLayer: expected {self.weight.shape[1]} features, got {table.shape}")
        return jnp.matmul(table, self.weight.T, precision="highest") + self.bias


def fit_last_layer(
    features: ArrayLike,
    labels: ArrayLike,
    classes: int,
    penalties: tuple[float, ...] = PENALTIES,
    folds: int = 5,
    *,
    key: PRNGKeyArray,
) -> LastLayer:
    """Return the linear layer that predicts labels best from features, by multinomial logistic regression.

    Features are standardised for the search. A normal prior holds the weights, not the bias, near zero; its
    precision is the one under which rows left out in turn are most likely. All penalties and folds are fitted
    in one compiled call, and the chosen one again on all rows.

    Args:
        features: shape (rows, features), of examples the network was not trained on.
        labels: shape (rows,).
        classes: number of classes.
        penalties: precisions to choose from, in rows; only one: nothing is left out.
        folds: parts that are left out in turn.
        key: source of the folds.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if a feature is not finite or a label out of range.
        OptionError: if there are fewer rows than folds, fewer than two folds, or a penalty is not positive.
    """
    table = check_table(features, "fit_last_layer", "features")
    rows = table.shape[0]
    labels = check_labels(labels, rows, classes, "fit_last_layer")
    if not penalties or not all(penalty > 0 for penalty in penalties):
        raise OptionError(f"fit_last_layer: expected penalties > 0, got {penalties}")
    if len(penalties) > 1 and not 2 <= folds <= rows:
        raise OptionError(f"fit_last_layer: expected 2 to {rows} folds, got {folds}")
    fold = jax.random.permutation(key, jnp.arange(rows) % folds)
    return _fit(table, labels, jnp.asarray(np.asarray(penalties), table.dtype), fold, classes, folds)


@eqx.filter_jit
def _fit(
    features: Float[Array, "rows features"],
    labels: Array,
    penalties: Float[Array, " penalties"],
    fold: Array,
    classes: int,
    folds: int,
) -> LastLayer:
    centre, spread = jnp.mean(features, axis=0), jnp.std(features, axis=0)
    unit = jnp.where(spread > 0, spread, 1.0)
    scaled = (features - centre) / unit
    several = penalties.shape[0] > 1
    # Fold −1 is nobody's: in its place no row is left out.
    left_out = jnp.arange(-1, folds if several else 0)
    counted = (fold != left_out[:, None]).astype(features.dtype)
    search = jax.vmap(partial(_search, scaled, labels, classes), in_axes=(0, None))

    def tried(penalty: Float[Array, ""]) -> tuple:
        parameters, converged = search(counted, penalty)
        rows = jax.vmap(_row_losses, in_axes=(0, None, None))(parameters, scaled, labels)
        loss = jnp.sum((1 - counted) * rows) / features.shape[0]
        return loss, converged[0], jax.tree.map(lambda leaf: leaf[0], parameters)

    # One penalty at a time: a batch of all would go on until the slowest of them is done.
    losses, converged, parameters = jax.lax.map(tried, penalties)
    best = jnp.argmin(losses)
    weight, bias = jax.tree.map(lambda leaf: leaf[best], parameters)
    weight = weight / unit
    return LastLayer(weight, bias - weight @ centre, penalties[best], losses, converged[best])


def _search(
    scaled: Float[Array, "rows features"],
    labels: Array,
    classes: int,
    counted: Float[Array, " rows"],
    penalty: Float[Array, ""],
) -> tuple[tuple[Array, Array], Bool[Array, ""]]:
    total = jnp.sum(counted) + penalty  # keeps the loss of the order of 1 however strong the prior is

    def loss(parameters: tuple[Array, Array]) -> Float[Array, ""]:
        prior = 0.5 * penalty * jnp.sum(parameters[0] ** 2)
        return (jnp.sum(counted * _row_losses(parameters, scaled, labels)) + prior) / total

    start = (jnp.zeros((classes, scaled.shape[1]), scaled.dtype), jnp.zeros(classes, scaled.dtype))
    return minimise(loss, start)


def _row_losses(
    parameters: tuple[Array, Array], scaled: Float[Array, "rows features"], labels: Array
) -> Float[Array, " rows"]:
    weight, bias = parameters
    chances = jax.nn.log_softmax(scaled @ weight.T + bias)
    return -jnp.take_along_axis(chances, labels[:, None], axis=1)[:, 0]
