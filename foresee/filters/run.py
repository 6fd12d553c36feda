"""Running a filter over a series: missing parts, irregular times, several sensors, stop and go on."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from foresee.beliefs.belief import AbstractBelief, AbstractConditional, AbstractFilter
from foresee.beliefs.gaussian import Gaussian
from foresee.beliefs.mixture import Mixture
from foresee.dynamics.linear import AbstractLinear
from foresee.errors import ShapeError
from foresee.filters.imm import InteractingMultipleModel
from foresee.filters.origin import Origin, differences, near, restored
from foresee.filters.particle import ParticleFilter

BEGIN = 2**32 - 1  # stands for the time before the first row where rows are folded into a key


class Run(eqx.Module):
    """What a filter believed at every row of a series.

    Attributes:
        predicted: the belief at every row before its observation; every leaf has a leading axis of T rows.
        filtered: the belief at every row after its observation.
        log_evidences: log p(yₜ | y₁..yₜ₋₁), the seen part of every row.
        last: the belief to go on from.
        rows: number of rows run so far, counted over all stretches of a continued run.
        origin: the point from which a linear run was counted to keep float32 exact; None for other runs.
    """

    predicted: Any  # the kind of belief that the filter keeps
    filtered: Any
    log_evidences: Float[Array, " T"]
    last: Any
    rows: Int[Array, ""]
    origin: Origin | None = None

    @property
    def log_evidence(self) -> Float[Array, ""]:
        """Log p(y₁..y_T) of everything that was seen."""
        return jnp.sum(self.log_evidences, axis=-1)


def run(
    filter: AbstractFilter,
    motion: AbstractConditional | tuple,
    sensor: Any,
    prior: AbstractBelief,
    observations: PyTree,
    *,
    seen: PyTree = None,
    inputs: PyTree = None,
    dt: Any = 1.0,
    predict_first: bool = True,
    key: PRNGKeyArray | None = None,
    after: Run | None = None,
) -> Run:
    """Filter a series of observations.

    Every row is predicted over its own duration and then updated. Batches of series are `jax.vmap` of this
    function; series of different lengths go through `pad`. Parameters are leaves of `motion`, `sensor` and
    `prior`, so a second call with other values or other data of the same shape compiles nothing.

    Args:
        filter: how beliefs are moved and corrected.
        motion: p(xₜ | xₜ₋₁, u); a tuple of them, one per mode, for `InteractingMultipleModel`.
        sensor: p(yₜ | xₜ), or a tuple of several sensors that are fused in this order at every row.
        prior: belief before the first row.
        observations: shape (T, m); for a tuple of sensors a tuple of such arrays on the same rows.
        seen: which rows (T,) or components (T, m) were observed; a tuple for several sensors. None for all.
            What stands in unseen places has no influence.
        inputs: known inputs of the motion, a pytree of arrays with T rows.
        dt: seconds from the row before to this one: one number or one per row.
        predict_first: False if the prior already holds at the time of the first row.
        key: randomness for filters that need it.
        after: an earlier stretch of the same series to continue; its `last` belief takes the place of
            `prior`, and the result is the same as that of one uninterrupted run.

    Returns:
        The beliefs of every row, the log evidence, and what is needed to go on.

    Raises:
        ShapeError: if the shapes of the arguments do not fit each other.
    """
    sensors, series, flags = as_streams(sensor, observations, seen)
    rows = check_rows(sensors, series, flags, inputs, dt)
    start, origin = jnp.zeros((), int), None
    if after is not None:
        prior, start, origin, predict_first = after.last, after.rows, after.origin, True
    return _run(
        filter, motion, sensors, prior, series, flags, inputs, dt, rows, predict_first, key, start, origin
    )


@eqx.filter_jit
def _run(
    filter, motion, sensors, prior, series, flags, inputs, dt, rows, predict_first, key, start, origin
) -> Run:
    motion, sensors = _frozen(motion, sensors, inputs, dt)
    prior = _with_angles(prior, motion, inputs, dt)
    origin = near(filter, prior, motion, sensors, origin)
    if origin is not None:
        prior, motion, sensors, series = differences(origin, prior, motion, sensors, series, inputs, dt)
    prior = _begun(filter, prior, key)
    result = _scan(filter, motion, sensors, prior, series, flags, inputs, dt, rows, predict_first, key, start)
    return result if origin is None else restored(origin, result)


def _scan(filter, motion, sensors, prior, series, flags, inputs, dt, rows, predict_first, key, start) -> Run:

    def correct(belief, ys, seens, row_key):
        total = jnp.zeros(())
        for index, (model, y, flag) in enumerate(zip(sensors, ys, seens, strict=True)):
            sub = None if row_key is None else jax.random.fold_in(row_key, index + 1)
            belief, log_evidence = filter.update(belief, model, y, flag, key=sub)
            total = log_evidence if index == 0 else total + log_evidence
        return belief, total

    def step(belief, row):
        ys, seens, u, duration, index = row
        row_key = None if key is None else jax.random.fold_in(key, index)
        sub = None if row_key is None else jax.random.fold_in(row_key, 0)
        predicted = filter.predict(belief, motion, u, dt if duration is None else duration, key=sub)
        filtered, log_evidence = correct(predicted, ys, seens, row_key)
        return filtered, (predicted, filtered, log_evidence)

    index = None if key is None else start + jnp.arange(rows)
    table = (series, flags, inputs, dt if jnp.ndim(dt) else None, index)
    if predict_first:
        last, (predicted, filtered, evidences) = jax.lax.scan(step, prior, table)
        return Run(predicted, filtered, evidences, last, start + rows)
    first, others = (jax.tree.map(lambda leaf, cut=cut: leaf[cut], table) for cut in (0, slice(1, None)))
    row_key = None if key is None else jax.random.fold_in(key, start)
    corrected, log_evidence = correct(prior, first[0], first[1], row_key)
    last, (predicted, filtered, evidences) = jax.lax.scan(step, corrected, others)
    predicted, filtered, evidences = jax.tree.map(
        lambda one, many: jnp.concatenate([jnp.asarray(one)[None], many]),
        (prior, corrected, log_evidence),
        (predicted, filtered, evidences),
    )
    return Run(predicted, filtered, evidences, last, start + rows)


def as_streams(sensor: Any, observations: PyTree, seen: PyTree) -> tuple[tuple, tuple, tuple]:
    """Return sensors, observations and flags as tuples of equal length."""
    if not isinstance(sensor, (tuple, list)):
        sensor, observations, seen = (sensor,), (observations,), (seen,)
    if seen is None:
        seen = (None,) * len(sensor)
    if not len(sensor) == len(observations) == len(seen):
        raise ShapeError(
            f"run: expected observations and seen for {len(sensor)} sensors, "
            f"got {len(observations)} and {len(seen)}"
        )
    flags = tuple(None if flag is None else jnp.asarray(flag, bool) for flag in seen)
    return tuple(sensor), tuple(jnp.asarray(values) for values in observations), flags


def check_rows(sensors: tuple, series: tuple, flags: tuple, inputs: PyTree, dt: Any) -> int:
    """Check that all series have the same number of rows and return it."""
    for values in series:
        if values.ndim < 2:
            raise ShapeError(f"run: expected observations of shape (T, m), got {values.shape}")
    rows = series[0].shape[0]
    named = [("observations", values) for values in series]
    named += [("seen", flag) for flag in flags if flag is not None]
    named += [("inputs", leaf) for leaf in jax.tree.leaves(inputs)]
    named += [("dt", dt)] if jnp.ndim(dt) else []
    for name, value in named:
        if jnp.shape(value)[:1] != (rows,):
            raise ShapeError(f"run: expected {name} with {rows} rows, got shape {jnp.shape(value)}")
    for values, flag in zip(series, flags, strict=True):
        if flag is not None and flag.shape not in (values.shape[:1], values.shape):
            raise ShapeError(
                f"run: expected seen of shape {values.shape[:1]} or {values.shape}, got {flag.shape}"
            )
    if rows == 0:
        raise ShapeError("run: expected at least one row, got none")
    return rows


def _frozen(
    motion: AbstractConditional | tuple, sensors: tuple, inputs: PyTree, dt: Any
) -> tuple[Any, tuple]:
    """Compute the matrices of linear models once, outside the loop, where they do not change."""
    if inputs is None and jnp.ndim(dt) == 0:
        motion = _fixed(motion, dt)
    return motion, tuple(_fixed(model, 1.0) for model in sensors)


def _fixed(model: Any, dt: Any) -> Any:
    if isinstance(model, (tuple, list)):  # one model per mode
        return tuple(_fixed(part, dt) for part in model)
    return model.linear(None, dt) if isinstance(model, AbstractLinear) else model


def _with_angles(prior: Any, motion: AbstractConditional | tuple, inputs: PyTree, dt: Any) -> Any:
    """Let a Gaussian prior know which components of the state are angles, as the motion model does."""
    if isinstance(prior, Mixture) and isinstance(prior.components, Gaussian):
        modes = eqx.filter_vmap(lambda one: _with_angles(one, motion, inputs, dt))(prior.components)
        return Mixture(modes, prior.log_weights)
    if not isinstance(prior, Gaussian):
        return prior
    first = jax.tree.map(lambda leaf: leaf[0], inputs)
    model = motion[0] if isinstance(motion, (tuple, list)) else motion
    outcome = eqx.filter_eval_shape(model, prior.location, first, dt[0] if jnp.ndim(dt) else dt)
    return Gaussian(prior.location, prior.covariance, getattr(outcome, "circular", ()))


def _begun(filter: AbstractFilter, prior: Any, key: PRNGKeyArray | None) -> Any:
    """Turn a prior into the kind of belief that the filter keeps."""
    if isinstance(filter, InteractingMultipleModel):
        return filter.begin(prior)
    if isinstance(filter, ParticleFilter):
        return filter.begin(prior, key=None if key is None else jax.random.fold_in(key, BEGIN))
    return prior


def pad(series: list[Float[Array, "_ m"]]) -> tuple[Float[Array, "batch T m"], Bool[Array, "batch T"]]:
    """Stack series of different lengths: return the padded observations and which rows are real.

    Args:
        series: arrays of shape (Tᵢ, m).

    Returns:
        Observations with zeros behind every end, and the mask for `run`'s `seen`. A filter that runs on past
        the end of a series only predicts there and adds nothing to the evidence.
    """
    if not series:
        raise ShapeError("pad: expected at least one series, got none")
    longest = max(len(values) for values in series)
    stacked = [jnp.pad(jnp.asarray(values), ((0, longest - len(values)), (0, 0))) for values in series]
    lengths = jnp.asarray([len(values) for values in series])
    return jnp.stack(stacked), jnp.arange(longest)[None, :] < lengths[:, None]
