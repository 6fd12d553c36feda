"""What tuning minimises: the negative log evidence, or the error of predictions k rows ahead."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from foresee.beliefs.belief import AbstractBelief, AbstractFilter
from foresee.errors import OptionError
from foresee.filters.run import Run, run


class Series(eqx.Module):
    """One series and how it is to be filtered; or a batch of them, to be mapped over.

    Attributes:
        observations: tuple with one array (T, m) per sensor.
        seen: tuple with one boolean array (T, m) per sensor.
        inputs: inputs of the motion with T rows, or None.
        dt: seconds before every row, (T,) or one number.
        predict_first: whether the prior lies one row before the first.
    """

    observations: tuple[Float[Array, "*series T _"], ...]
    seen: tuple[Bool[Array, "*series T _"], ...]
    inputs: PyTree
    dt: Any
    predict_first: bool = eqx.field(static=True)


class AbstractObjective(eqx.Module):
    """What is minimised: a total over the numbers that were observed, divided by how many they are."""

    @abc.abstractmethod
    def __call__(
        self, filter: AbstractFilter, model: tuple, series: Series, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the total for one series and the count it is to be divided by."""

    @abc.abstractmethod
    def is_likelihood(self) -> bool:
        """Tell whether the total is a negative log likelihood, whose curvature is an information matrix."""


def filtered(filter: AbstractFilter, model: tuple, series: Series, seen: tuple, key: PRNGKeyArray) -> Run:
    """Run the filter over one series with these flags."""
    motion, sensor, prior = model
    one = not isinstance(sensor, (tuple, list))
    return run(
        filter,
        motion,
        sensor,
        prior,
        series.observations[0] if one else series.observations,
        seen=seen[0] if one else seen,
        inputs=series.inputs,
        dt=series.dt,
        predict_first=series.predict_first,
        key=key,
    )


class Evidence(AbstractObjective):
    """Negative log evidence, −log p(y₁..y_T), in nats per observed number (Särkkä 2013, eq. 12.5)."""

    def __call__(
        self, filter: AbstractFilter, model: tuple, series: Series, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the negative log evidence and the count of observed numbers."""
        outcome = filtered(filter, model, series, series.seen, key)
        count = sum(jnp.sum(flags) for flags in series.seen)
        return -outcome.log_evidence, jnp.asarray(count, outcome.log_evidences.dtype)

    def is_likelihood(self) -> bool:
        """Tell that this is a negative log likelihood."""
        return True


class PredictionError(AbstractObjective):
    """Mean squared error of what the sensor is predicted to say some rows ahead.

    A part of the rows can be hidden from the filter at random and still be asked for, so that what is learned
    copes with gaps. Which rows are hidden is drawn once and stays the same while tuning, so that the loss
    does not flicker.

    Args:
        ahead: how many rows ahead; 1 is the prediction before every update.
        dropout: probability with which a row is hidden from the filter.
        draws: in how many independent ways rows are hidden.
    """

    ahead: int = eqx.field(static=True, default=1)
    dropout: float = eqx.field(static=True, default=0.0)
    draws: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        """Check the options."""
        if self.ahead < 1 or self.draws < 1 or not 0 <= self.dropout < 1:
            raise OptionError(
                "PredictionError: expected ahead ≥ 1, draws ≥ 1 and 0 ≤ dropout < 1, "
                f"got {self.ahead}, {self.draws} and {self.dropout}"
            )

    def __call__(
        self, filter: AbstractFilter, model: tuple, series: Series, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the sum of squared errors and the count of predicted numbers."""
        rows = series.observations[0].shape[0]
        if self.ahead > rows:
            raise OptionError(f"PredictionError: expected ahead ≤ {rows} rows, got {self.ahead}")

        def one_draw(index: Array) -> tuple[Array, Array]:
            hide_key, run_key = jax.random.split(jax.random.fold_in(key, index))
            shown = jax.random.uniform(hide_key, (rows,)) >= self.dropout
            flags = tuple(seen & shown[:, None] for seen in series.seen)
            outcome = filtered(filter, model, series, flags, run_key)
            return squared_errors(filter, model, series, outcome.predicted, self.ahead, run_key)

        if self.draws == 1:
            return one_draw(jnp.zeros((), int))
        total, count = jax.vmap(one_draw)(jnp.arange(self.draws))
        return jnp.sum(total), jnp.sum(count)

    def is_likelihood(self) -> bool:
        """Tell that this is no likelihood."""
        return False


def squared_errors(
    filter: AbstractFilter,
    model: tuple,
    series: Series,
    predicted: AbstractBelief,
    ahead: int,
    key: PRNGKeyArray,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Return the sum of squared errors `ahead` rows ahead, and how many numbers were predicted."""
    motion, sensor, _ = model
    sensors = tuple(sensor) if isinstance(sensor, (tuple, list)) else (sensor,)
    starts = series.observations[0].shape[0] - ahead + 1

    def error(belief: AbstractBelief, start: Array) -> tuple[Array, Array]:
        for step in range(1, ahead):
            row = start + step
            u = jax.tree.map(lambda leaf, row=row: leaf[row], series.inputs)
            dt = series.dt[row] if jnp.ndim(series.dt) else series.dt
            belief = filter.predict(belief, motion, u, dt, key=jax.random.fold_in(key, row))
        total, count = jnp.zeros(()), jnp.zeros(())
        for one, values, seen in zip(sensors, series.observations, series.seen, strict=True):
            flags = seen[start + ahead - 1]
            y = jnp.where(flags, values[start + ahead - 1], 0.0)
            difference = jnp.where(flags, one(belief.mean()).residual(y), 0.0)
            total, count = total + jnp.sum(difference**2), count + jnp.sum(flags)
        return total, count

    first = jax.tree.map(lambda leaf: leaf[:starts], predicted)
    total, count = jax.vmap(error)(first, jnp.arange(starts))
    return jnp.sum(total), jnp.sum(count)
