"""Out-of-distribution scores from features: Mahalanobis, nearest neighbours. Start with `fit_neighbours`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from foresee.calibration.check import check_labels, check_table, is_concrete
from foresee.calibration.ood import AbstractDetector, NetworkOutputs
from foresee.errors import CalibrationError, OptionError, ShapeError

BLOCK = 256  # rows whose distances to all others are in memory at once


class Mahalanobis(AbstractDetector):
    """Squared Mahalanobis distance of the features to the nearest class (Lee et al. 2018).

    Attributes:
        means: of the features of every class.
        whitening: lower triangular W; the squared length of W x is the Mahalanobis distance.
        centre: mean of all features, where the distance is relative; otherwise None.
        background: whitening of all features together, where the distance is relative; otherwise None.
    """

    means: Float[Array, "classes features"]
    whitening: Float[Array, "features features"]
    centre: Float[Array, " features"] | None = None
    background: Float[Array, "features features"] | None = None

    def __call__(self, outputs: NetworkOutputs) -> Float[Array, " rows"]:
        """Return one score per row, from features.

        Raises:
            CalibrationError: if the outputs hold no features.
            ShapeError: if there are more or fewer features than were fitted.
        """
        features = _features(outputs, self.means.shape[1], "Mahalanobis")
        # Both whitened first: one product for all classes.
        white, centres = features @ self.whitening.T, self.means @ self.whitening.T
        nearest = jnp.min(jax.lax.map(lambda row: jnp.sum((white - row) ** 2, axis=1), centres), axis=0)
        if self.centre is None or self.background is None:
            return nearest
        return nearest - jnp.sum(((features - self.centre) @ self.background.T) ** 2, axis=1)


def fit_mahalanobis(
    features: ArrayLike,
    labels: ArrayLike,
    classes: int,
    relative: bool = False,
    shrinkage: float | int | None = None,
) -> Mahalanobis:
    """Return class means and one covariance for all classes.

    Args:
        features: of training data, shape (rows, features).
        labels: shape (rows,), every class among them.
        classes: number of classes.
        relative: whether to take away the distance to all data together, which leaves what tells the classes
            from each other and helps where out-of-distribution data are near (Ren et al. 2021).
        shrinkage: how much of the covariance is replaced by a multiple of the identity of the same trace, 0
            to 1. None: as much as Ledoit and Wolf (2004, lemma 3.3) estimate to be best.

    Raises:
        ShapeError: if the shapes do not fit together.
        CalibrationError: if a feature is not finite, a label out of range, or a class without rows.
        OptionError: if the shrinkage is not between 0 and 1.
    """
    table = check_table(features, "fit_mahalanobis", "features")
    labels = check_labels(labels, table.shape[0], classes, "fit_mahalanobis")
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise OptionError(f"fit_mahalanobis: expected a shrinkage from 0 to 1, got {shrinkage}")
    if is_concrete(labels):
        missing = np.setdiff1d(np.arange(classes), np.asarray(labels))
        if missing.size:
            raise CalibrationError(f"fit_mahalanobis: expected rows of every class, got none of {missing[0]}")
    share = None if shrinkage is None else jnp.asarray(shrinkage, table.dtype)
    return _fit(table, labels, classes, relative, share)


@eqx.filter_jit
def _fit(
    features: Float[Array, "rows features"],
    labels: Array,
    classes: int,
    relative: bool,
    shrinkage: Float[Array, ""] | None,
) -> Mahalanobis:
    member = (labels == jnp.arange(classes)[:, None]).astype(features.dtype)
    means = member @ features / jnp.sum(member, axis=1, keepdims=True)
    whitening = _whitening(features - means[labels], shrinkage)
    if not relative:
        return Mahalanobis(means, whitening)
    centre = jnp.mean(features, axis=0)
    return Mahalanobis(means, whitening, centre, _whitening(features - centre, shrinkage))


def _whitening(
    residuals: Float[Array, "rows features"], shrinkage: Float[Array, ""] | None
) -> Float[Array, "features features"]:
    """Return the inverse Cholesky factor of the shrunk covariance of residuals."""
    rows, size = residuals.shape
    covariance = residuals.T @ residuals / rows
    level = jnp.trace(covariance) / size
    if shrinkage is None:
        spread = jnp.sum(covariance**2) - size * level**2
        # Σ over rows of ‖x xᵀ − S‖², with the square multiplied out.
        noise = (jnp.mean(jnp.sum(residuals**2, axis=1) ** 2) - jnp.sum(covariance**2)) / rows
        share = jnp.clip(noise / jnp.where(spread > 0, spread, 1.0), 0.0, 1.0)
    else:
        share = shrinkage
    # Dead units have no variance at all; the least that keeps the factor finite is added in any case.
    floor = 10 * size * jnp.finfo(residuals.dtype).eps * level + jnp.finfo(residuals.dtype).tiny
    identity = jnp.eye(size, dtype=residuals.dtype)
    shrunk = (1 - share) * covariance + (share * level + floor) * identity
    return jax.scipy.linalg.solve_triangular(jnp.linalg.cholesky(shrunk), identity, lower=True)


class Neighbours(AbstractDetector):
    """Distance to the k-th nearest training row, of features scaled to length one (Sun et al. 2022).

    Attributes:
        reference: features of training data.
        neighbour: k.
        normalised: whether features are scaled to length one.
    """

    reference: Float[Array, "training features"]
    neighbour: int = eqx.field(static=True)
    normalised: bool = eqx.field(static=True)

    def __call__(self, outputs: NetworkOutputs) -> Float[Array, " rows"]:
        """Return one score per row, from features.

        Raises:
            CalibrationError: if the outputs hold no features.
            ShapeError: if there are more or fewer features than were fitted.
        """
        features = _features(outputs, self.reference.shape[1], "Neighbours")
        features = _unit(features) if self.normalised else features
        lengths = jnp.sum(self.reference**2, axis=1)

        def nearest(row: Float[Array, " features"]) -> Float[Array, ""]:
            squares = lengths - 2 * jnp.matmul(self.reference, row, precision="highest")
            _, chosen = jax.lax.top_k(-squares, self.neighbour)
            # Once more by differences: near zero, those of squared lengths are rounding errors.
            away = jnp.sum((self.reference[chosen] - row) ** 2, axis=1)
            return jnp.sqrt(jnp.max(away))

        return jax.lax.map(nearest, features, batch_size=min(BLOCK, features.shape[0]))


def fit_neighbours(features: ArrayLike, neighbour: int = 50, normalised: bool = True) -> Neighbours:
    """Return the detector that compares with these features.

    Args:
        features: of training data, shape (rows, features). A thousand rows of every class are plenty.
        neighbour: which neighbour's distance is taken.
        normalised: whether features are scaled to length one first.

    Raises:
        ShapeError: if the features are no table.
        CalibrationError: if a feature is not finite.
        OptionError: if there are fewer rows than neighbours asked for.
    """
    table = check_table(features, "fit_neighbours", "features")
    if not 1 <= neighbour <= table.shape[0]:
        raise OptionError(f"fit_neighbours: expected a neighbour from 1 to {table.shape[0]}, got {neighbour}")
    return Neighbours(_unit(table) if normalised else table, neighbour, normalised)


def _unit(features: Float[Array, "rows features"]) -> Float[Array, "rows features"]:
    length = jnp.linalg.norm(features, axis=1, keepdims=True)
    return features / jnp.where(length > 0, length, 1.0)


def _features(outputs: NetworkOutputs, size: int, owner: str) -> Float[Array, "rows features"]:
    features = outputs.need("features", owner)
    if features.shape[1] != size:
        raise ShapeError(f"{owner}: expected {size} features, got {features.shape}")
    return features
