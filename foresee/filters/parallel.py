"""Kalman filtering and smoothing of one long series in parallel over time.

Särkkä and García-Fernández 2021, "Temporal parallelization of Bayesian smoothers".
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from foresee import linalg
from foresee.beliefs.conditioning import decorrelated, seen_components
from foresee.beliefs.gaussian import Gaussian
from foresee.dynamics.linear import AbstractLinear, LinearGaussian
from foresee.errors import ShapeError
from foresee.filters.kalman import KalmanFilter
from foresee.filters.origin import differences, near, restored
from foresee.filters.run import Run, as_streams, check_rows, run
from foresee.filters.smoother import backward, transitions


class Stretch(NamedTuple):
    """What a stretch of rows says about its end and its start x, with x = origin + δ (the paper's lemma 8).

    The end given the start and the stretch's observations is N(A δ + b, C); the likelihood of the
    observations given the start is proportional to exp(ηᵀ δ − δᵀ J δ / 2).
    """

    matrix: Float[Array, "n n"]
    offset: Float[Array, " n"]
    covariance: Float[Array, "n n"]
    information_vector: Float[Array, " n"]
    information: Float[Array, "n n"]


def run_parallel(
    motion: AbstractLinear,
    sensor: Any,
    prior: Gaussian,
    observations: PyTree,
    *,
    seen: PyTree = None,
    inputs: PyTree = None,
    dt: Any = 1.0,
    predict_first: bool = True,
    blocks: int | None = None,
) -> Run:
    """Return what `run` with a `KalmanFilter` returns, computed in parallel over time.

    The rows are cut into blocks. All blocks are condensed side by side, each row after row; an associative
    scan joins them to the belief at the start of every block; and all blocks are filtered side by side from
    there. This is about four times the arithmetic of `run`: for one series of 10,000 rows it takes half the
    time of `run` on one CPU core, for many series `jax.vmap` of `run` is better.

    Args:
        motion: linear motion model.
        sensor: linear sensor, or a tuple of several.
        prior: belief before the first row.
        observations: as for `run`.
        seen: as for `run`.
        inputs: as for `run`.
        dt: as for `run`.
        predict_first: as for `run`.
        blocks: number of blocks. None for about √T, which suits a CPU; T, one block per row, is the
            associative scan of the paper, whose depth is logarithmic, for devices with thousands of lanes.

    Raises:
        ShapeError: if the shapes of the arguments do not fit each other, or the number of blocks is not
            within 1..T.
        ValueError: if a model is not linear or has angles.
    """
    sensors, series, flags = as_streams(sensor, observations, seen)
    rows = check_rows(sensors, series, flags, inputs, dt)
    for model in (motion, *sensors):
        if not isinstance(model, AbstractLinear):
            raise ValueError(f"run_parallel: expected linear models, got {type(model).__name__}")
    return _run_parallel(
        motion, sensors, prior, series, flags, inputs, dt, predict_first, _block_count(blocks, rows)
    )


@eqx.filter_jit
def _run_parallel(motion, sensors, prior, series, flags, inputs, dt, predict_first, blocks) -> Run:
    origin = near(KalmanFilter(), prior, motion, sensors, None)
    if origin is None:
        raise ValueError("run_parallel: expected models and a prior without angles, over a vector; use run")
    prior, motion, sensors, series = differences(origin, prior, motion, sensors, series, inputs, dt)
    table = (series, flags, inputs, dt if jnp.ndim(dt) else None)
    return restored(origin, _joined(motion, sensors, prior, dt, table, predict_first, blocks))


def _joined(motion, sensors, prior, dt, table, predict_first, blocks) -> Run:
    """Filter by blocks; a prior that holds at the first row already is corrected by that row beforehand."""
    if predict_first:
        return _blocked(motion, sensors, prior, dt, table, blocks)
    first, rest = (jax.tree.map(lambda leaf, cut=cut: leaf[cut], table) for cut in (slice(1), slice(1, None)))
    head = _filter(motion, sensors, prior, dt, first, predict_first=False)
    if rest[0][0].shape[0] == 0:
        return head
    tail = _blocked(motion, sensors, head.last, dt, rest, blocks)
    predicted, filtered, evidences = jax.tree.map(
        lambda one, many: jnp.concatenate([one, many]),
        (head.predicted, head.filtered, head.log_evidences),
        (tail.predicted, tail.filtered, tail.log_evidences),
    )
    return Run(predicted, filtered, evidences, tail.last, head.rows + tail.rows)


def _filter(motion, sensors, prior, dt, table, predict_first: bool = True) -> Run:
    series, flags, inputs, durations = table
    given = {"seen": flags, "inputs": inputs, "dt": dt if durations is None else durations}
    return run(KalmanFilter(), motion, sensors, prior, series, predict_first=predict_first, **given)


def _blocked(motion, sensors, prior, dt, table, blocks: int) -> Run:
    series, flags, inputs, durations = table
    rows = series[0].shape[0]
    blocks, padding = _division(rows, blocks)
    if padding:  # nobody looks at the rows behind the end
        flags = tuple(jnp.ones(rows, bool) if flag is None else flag for flag in flags)
    table = jax.tree.map(lambda leaf: _in_blocks(leaf, padding, blocks), (series, flags, inputs, durations))
    origin = prior.vector()
    condensed = jax.vmap(lambda rows: _condense(motion, sensors, origin, dt, rows))(table)
    starts = _starts(prior, condensed, origin)
    result = jax.vmap(lambda start, rows: _filter(motion, sensors, start, dt, rows))(starts, table)
    flat = (result.predicted, result.filtered, result.log_evidences)
    predicted, filtered, evidences = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:rows], flat)
    last = jax.tree.map(lambda leaf: leaf[-1], filtered)
    return Run(predicted, filtered, evidences, last, jnp.asarray(rows))


def _in_blocks(leaf: Array, padding: int, blocks: int) -> Array:
    padded = jnp.pad(leaf, ((0, padding), *((0, 0),) * (leaf.ndim - 1)))
    return padded.reshape(blocks, -1, *leaf.shape[1:])


def _condense(motion, sensors, origin: Array, dt, rows) -> Stretch:
    """Return what one block of rows says about its start and its end."""
    nothing = jnp.zeros((origin.shape[0], origin.shape[0]), origin.dtype)
    empty = Stretch(jnp.eye(origin.shape[0], dtype=origin.dtype), origin, nothing, nothing[0], nothing)

    def step(stretch: Stretch, row) -> tuple[Stretch, None]:
        ys, seens, u, duration = row
        model = motion.linear(u, dt if duration is None else duration)
        covariance = linalg.sandwich(model.matrix, stretch.covariance)
        noise = jnp.diag(model.covariance) if model.covariance.ndim == 1 else model.covariance
        moved = Stretch(
            linalg.matmul(model.matrix, stretch.matrix),
            model.apply(stretch.offset),
            covariance + noise,
            stretch.information_vector,
            stretch.information,
        )
        for sensor, y, seen in zip(sensors, ys, seens, strict=True):
            moved = _observe(moved, sensor.linear(), y, seen)
        return moved, None

    return jax.lax.scan(step, empty, rows)[0]


def _observe(stretch: Stretch, model: LinearGaussian, y: Array, seen: Any) -> Stretch:
    """Add one observation, component by component as in `condition`."""
    flags = seen_components(seen, y.shape[0])
    innovation = y - model.apply(stretch.offset)
    if flags is not None:
        innovation = jnp.where(flags, innovation, 0.0)
    rows, noise = model.matrix, model.covariance
    if noise.ndim == 2:
        rows, noise, innovation = decorrelated(rows, noise, innovation, flags)
    matrix, offset, covariance, vector, information = stretch
    shift = jnp.zeros_like(offset)
    for i in range(y.shape[0]):
        row = rows[i]
        spread = linalg.matvec(covariance, row)
        precision = 1.0 / (jnp.sum(row * spread) + noise[i])
        if flags is not None:
            precision = jnp.where(flags[i], precision, 0.0)
        surprise = innovation[i] - jnp.sum(row * shift)
        slope = linalg.matvec(matrix.T, row)
        vector = vector + slope * (precision * surprise)
        information = information + precision * slope[:, None] * slope
        gain = spread * precision
        shift = shift + gain * surprise
        matrix = matrix - gain[:, None] * slope
        reduced = covariance - gain[:, None] * spread
        reduced_spread = linalg.matvec(reduced, row)
        covariance = reduced - reduced_spread[:, None] * gain + noise[i] * gain[:, None] * gain
    return Stretch(matrix, offset + shift, covariance, vector, information)


def _starts(prior: Gaussian, condensed: Stretch, origin: Array) -> Gaussian:
    """Return the belief at the start of every block."""
    n = origin.shape[0]
    nothing = jnp.zeros((n, n), origin.dtype)
    known = Stretch(nothing, origin, prior.covariance, nothing[0], nothing)
    chain = jax.tree.map(lambda one, many: jnp.concatenate([one[None], many[:-1]]), known, condensed)
    ends = jax.lax.associative_scan(jax.vmap(lambda one, two: _join(one, two, origin)), chain)
    return jax.vmap(lambda location, covariance: Gaussian(location, covariance))(ends.offset, ends.covariance)


def _join(one: Stretch, two: Stretch, origin: Array) -> Stretch:
    """Return what two stretches say together, the second following the first.

    The paper's eq. 13 has (I + C J)⁻¹ of a product that is not symmetric; with C = L Lᵀ it is I − L W⁻¹ Lᵀ J
    for the positive definite W = I + Lᵀ J L.
    """
    factor = linalg.cholesky(one.covariance)
    joint = linalg.matmul(factor.T, two.information)
    inner = linalg.matmul(joint, factor) + jnp.eye(origin.shape[0], dtype=origin.dtype)
    root = linalg.solve_lower(linalg.cholesky(linalg.symmetrize(inner)), factor.T)
    middle = linalg.matmul(root.T, root)
    surprise = two.information_vector - linalg.matvec(two.information, one.offset - origin)
    meeting = one.offset - origin + linalg.matvec(middle, surprise)
    pull = linalg.matmul(two.information, one.matrix)
    through = one.matrix - linalg.matmul(middle, pull)
    back = surprise - linalg.matvec(two.information, linalg.matvec(middle, surprise))
    return Stretch(
        linalg.matmul(two.matrix, through),
        linalg.matvec(two.matrix, meeting) + two.offset,
        linalg.symmetrize(linalg.sandwich(two.matrix, middle) + two.covariance),
        linalg.matvec(one.matrix.T, back) + one.information_vector,
        linalg.symmetrize(linalg.matmul(pull.T, through) + one.information),
    )


def smooth_parallel(
    motion: AbstractLinear,
    run: Run,
    *,
    inputs: PyTree = None,
    dt: Any = 1.0,
    blocks: int | None = None,
) -> Gaussian:
    """Return what `smooth` with a `KalmanFilter` returns, computed in parallel over time.

    On a CPU `smooth` is the faster of the two; this one is for devices with thousands of lanes.

    Args:
        motion: the motion model of the run.
        run: what `run` or `run_parallel` returned.
        inputs: as for `smooth`.
        dt: as for `smooth`.
        blocks: as for `run_parallel`.

    Raises:
        ShapeError: if the number of blocks is not within 1..T.
    """
    return _smooth_parallel(motion, run, inputs, dt, _block_count(blocks, run.log_evidences.shape[0]))


@eqx.filter_jit
def _smooth_parallel(motion, run, inputs, dt, blocks) -> Gaussian:
    filtered, rows = run.filtered, run.log_evidences.shape[0] - 1
    if rows == 0:
        return filtered
    motion, table = transitions(motion, run, inputs, dt)
    # In d, the smoothed minus the filtered mean, d = G (d' + correction') is free of large offsets.
    corrections = filtered.location[1:] - run.predicted.location[1:]
    blocks, padding = _division(rows, blocks)
    table = (table, corrections, jnp.ones(rows, bool))
    table = jax.tree.map(lambda leaf: _in_blocks(leaf, padding, blocks), table)
    n, dtype = filtered.location.shape[1], filtered.location.dtype
    nothing = jnp.zeros((n, n), dtype)
    neutral = (jnp.eye(n, dtype=dtype), jnp.zeros(n, dtype), nothing)

    def condense(later, row):
        (before, after, u, duration), correction, real = row
        duration = dt if duration is None else duration
        gain, rest, noise = backward(KalmanFilter(), motion, before, after, u, duration)
        covariance = linalg.matmul(rest, rest.T) + linalg.sandwich(gain, noise)
        step = (gain, linalg.matvec(gain, correction), covariance)
        step = jax.tree.map(lambda one, other: jnp.where(real, one, other), step, neutral)
        return _chain(later, step), step

    def follow(later, step):
        earlier = _chain(later, step)
        return earlier, earlier

    condensed, steps = jax.vmap(lambda block: jax.lax.scan(condense, neutral, block, reverse=True))(table)
    end = (nothing, jnp.zeros(n, dtype), filtered.covariance[-1])
    chain = jax.tree.map(lambda many, one: jnp.concatenate([many[1:], one[None]]), condensed, end)
    ends = jax.lax.associative_scan(jax.vmap(_chain), chain, reverse=True)
    _, (_, shifts, covariances) = jax.vmap(lambda end, block: jax.lax.scan(follow, end, block, reverse=True))(
        ends, steps
    )
    location = filtered.location.at[:-1].add(shifts.reshape(-1, n)[:rows])
    covariance = filtered.covariance.at[:-1].set(covariances.reshape(-1, n, n)[:rows])
    return eqx.tree_at(lambda belief: (belief.location, belief.covariance), filtered, (location, covariance))


def _chain(later: tuple, earlier: tuple) -> tuple[Array, Array, Array]:
    """Return the earlier of two backward maps applied after the later one."""
    gain, shift, covariance = earlier
    return (
        linalg.matmul(gain, later[0]),
        linalg.matvec(gain, later[1]) + shift,
        linalg.sandwich(gain, later[2]) + covariance,
    )


def _block_count(blocks: int | None, rows: int) -> int:
    if blocks is None:
        return max(1, round(math.sqrt(rows)))
    if not 1 <= blocks <= rows:
        raise ShapeError(f"expected between 1 and {rows} blocks for {rows} rows, got {blocks}")
    return blocks


def _division(rows: int, blocks: int) -> tuple[int, int]:
    """Return the number of blocks of equal size, and how many rows are missing in the last one."""
    size = math.ceil(rows / min(blocks, rows))
    blocks = math.ceil(rows / size)
    return blocks, blocks * size - rows
