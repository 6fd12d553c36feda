"""Learning the parameters of motion, sensor and prior from a batch of series, with standard errors."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from foresee.beliefs.belief import AbstractFilter
from foresee.errors import ForeseeError, OptionError, ShapeError
from foresee.filters.kalman import KalmanFilter
from foresee.filters.objective import AbstractObjective, Evidence, Series
from foresee.filters.parameters import concrete, plain, split
from foresee.filters.search import Search, curvature, delta_method, inverse, search

# Made once: a new one would be a new function to compile. The memory is long because the steps are few and
# the parameters of a filter differ in scale: with Optax's own 10, some searches take several times as many.
LBFGS = optax.lbfgs(memory_size=25)


class Tuned(eqx.Module):
    """What was learned, how sure one may be of it, and how the search went.

    Attributes:
        parameters: the best parameters, wrappers replaced by their arrays; hand them to `build`.
        wrapped: the same with their wrappers, to tune further from there.
        standard_errors: pytree like `parameters`; infinite where the data say nothing, zero for what was not
            learned. None if they were not asked for.
        covariance: covariance matrix of the free numbers (logarithms of positive ones) in the order of the
            pytree; a direction about which the data say nothing has zeros. None if errors were not asked for.
        loss: objective at the best parameters, per observed number.
        count: how many numbers were observed.
        history: the loss before every step of the best start; behind the last step the last one is repeated.
        steps: how many steps were taken.
        gradient_norm: largest component of the loss's gradient in the free numbers at the best parameters.
        converged: whether that is below the tolerance.
        finite: False if the search ran into a loss or gradient that is not finite; the parameters are then
            the best ones before.
        restart_losses: the loss that every start ended with.
    """

    parameters: PyTree
    wrapped: PyTree
    standard_errors: PyTree
    covariance: Float[Array, "n n"] | None
    loss: Float[Array, ""]
    count: Float[Array, ""]
    history: Float[Array, " steps"]
    steps: Int[Array, ""]
    gradient_norm: Float[Array, ""]
    converged: Bool[Array, ""]
    finite: Bool[Array, ""]
    restart_losses: Float[Array, " restarts"]

    @property
    def log_standard_errors(self) -> PyTree:
        """Standard errors of the logarithms of the parameters' sizes, the right scale for noise levels."""
        if self.standard_errors is None:
            return None
        return jax.tree.map(lambda error, value: error / jnp.abs(value), self.standard_errors, self.numbers)

    @property
    def numbers(self) -> PyTree:
        """The parameters that are floating point arrays; None in the places of all others."""
        return eqx.filter(self.parameters, eqx.is_inexact_array)

    def sample(self, *, key: PRNGKeyArray) -> PyTree:
        """Draw parameters that are about as plausible as the best ones (Laplace approximation)."""
        if self.covariance is None:
            raise OptionError("Tuned.sample: expected parameters that were tuned with errors=True")
        free, rest = split(self.wrapped)
        flat, unravel = ravel_pytree(free)
        values, vectors = jnp.linalg.eigh(self.covariance)
        noise = jnp.sqrt(jnp.maximum(values, 0)) * jax.random.normal(key, flat.shape, flat.dtype)
        return plain(eqx.combine(unravel(flat + vectors @ noise), rest))


def tune(
    parameters: PyTree,
    build: Callable[..., tuple],
    observations: PyTree,
    *,
    key: PRNGKeyArray,
    filter: AbstractFilter = KalmanFilter(),  # noqa: B008 (immutable)
    objective: AbstractObjective = Evidence(),  # noqa: B008 (immutable)
    seen: PyTree = None,
    inputs: PyTree = None,
    dt: Any = 1.0,
    context: PyTree = None,
    predict_first: bool = True,
    optimizer: optax.GradientTransformation = LBFGS,
    steps: int = 200,
    tolerance: float = 1e-4,
    patience: int = 20,
    restarts: int = 1,
    spread: float = 1.0,
    errors: bool | Literal["scores"] = True,
    log_prior: Callable[[PyTree], Array] | None = None,
) -> Tuned:
    """Learn parameters by gradient over a batch of series.

    Everything runs in one compiled loop. A second call with the same functions and other numbers of the same
    shape compiles nothing, so define `build` and the optimizer once.

    Args:
        parameters: where to start: a pytree of floating point arrays, equinox modules included. Wrap an array
            in `Positive`, `PositiveDefinite` or `Fixed` (with `equinox.tree_at` inside a module) where it may
            not take every value; plain arrays are free, everything that is not floating point stays.
        build: makes (motion, sensor, prior) of the parameters, wrappers replaced by arrays; for several
            sensors a tuple in the middle. Where the filter has parameters too,
            (filter, motion, sensor, prior). With `context` it is called as build(parameters, context of this
            series).
        observations: shape (series, T, m); a tuple of such arrays for several sensors.
        key: randomness of restarts, hidden rows and of filters that need it.
        filter: how beliefs are moved and corrected, unless `build` says it.
        objective: `Evidence` or `PredictionError`.
        seen: which rows (series, T) or components (series, T, m) were observed; None for all.
        inputs: inputs of the motion with leading axes (series, T).
        dt: seconds before every row: one number, or shape (series, T).
        context: anything `build` needs to know of a series, as its first observation; leading axis of series.
        predict_first: False if the prior already holds at the time of the first row.
        optimizer: any transformation of Optax; the default is L-BFGS with a line search.
        steps: largest number of steps.
        tolerance: stop when no component of the gradient exceeds this: of the loss per observed number, by
            the free numbers.
        patience: stop as well after so many steps without a better loss.
        restarts: how many starts are searched side by side; the first is `parameters`.
        spread: standard deviation of the other starts around the first, in the free numbers: for `Positive`
            1.0 means a factor of e.
        errors: whether to work out standard errors. True takes about as long as two steps per free number;
            "scores" estimates the information by the scores of the series (Berndt, Hall, Hall and Hausman
            1974), which takes as long as one step, and needs several times more series than free numbers.
        log_prior: log density of the parameters before any data, given the pytree that `build` gets. What is
            found is then the posterior mode, and the errors include what the prior says.

    Returns:
        The best parameters, their standard errors and how the search went. The errors come from the observed
        information for a likelihood (Efron and Hinkley 1978) and from the sandwich of curvature and the
        scores of the series otherwise (Huber 1967), which needs many independent series.

    Raises:
        ShapeError: if the shapes do not fit each other.
        ForeseeError: if the parameters or the loss are not finite at the start, or nothing is there to learn.
    """
    if steps < 1 or restarts < 1:
        raise OptionError(f"tune: expected steps ≥ 1 and restarts ≥ 1, got {steps} and {restarts}")
    if errors == "scores" and not objective.is_likelihood():
        raise OptionError(f'tune: expected a likelihood for errors="scores", got {type(objective).__name__}')
    parameters = concrete(parameters)
    free, _ = split(parameters)
    leaves = jax.tree.leaves(free)
    if not leaves:
        raise ForeseeError("tune: expected at least one floating point array that is not Fixed, got none")
    if not all(isinstance(leaf, Tracer) or np.isfinite(np.asarray(leaf)).all() for leaf in leaves):
        raise ForeseeError(f"tune: expected finite parameters to start from, got {plain(parameters)}")
    batch = as_batch(observations, seen, inputs, dt, context, predict_first)
    options = (steps, patience, restarts, errors)
    models = (build, filter, log_prior)
    tuned, start = _tune(parameters, models, batch, key, objective, optimizer, options, tolerance, spread)
    if not isinstance(start, Tracer) and not np.isfinite(np.asarray(start)):
        raise ForeseeError(f"tune: expected a finite loss at the start, got {start} at {plain(parameters)}")
    return tuned


def as_batch(
    observations: PyTree, seen: PyTree, inputs: PyTree, dt: Any, context: PyTree, predict_first: bool
) -> tuple[Series, PyTree, Any, Any]:
    """Check the shapes; return the series, the context and along which axes to map the two."""
    several = isinstance(observations, (tuple, list))
    values = tuple(jnp.asarray(one) for one in (observations if several else (observations,)))
    given = (None,) * len(values) if seen is None else tuple(seen) if several else (seen,)
    if len(given) != len(values):
        raise ShapeError(f"tune: expected seen for {len(values)} sensors, got {len(given)}")
    lead = values[0].shape[:2]
    for one in values:
        if one.ndim != 3 or one.shape[:2] != lead or 0 in lead:
            raise ShapeError(f"tune: expected observations of shape (series, T, m), got {one.shape}")
    flags = []
    for one, flag in zip(values, given, strict=True):
        flag = jnp.ones(lead, bool) if flag is None else jnp.asarray(flag, bool)
        if flag.shape not in (lead, one.shape):
            raise ShapeError(f"tune: expected seen of shape {lead} or {one.shape}, got {flag.shape}")
        flags.append(jnp.broadcast_to(flag if flag.ndim == 3 else flag[:, :, None], one.shape))
    for name, tree, shape in (("inputs", inputs, lead), ("context", context, lead[:1])):
        for leaf in jax.tree.leaves(tree):
            if jnp.shape(leaf)[: len(shape)] != shape:
                raise ShapeError(f"tune: expected {name} with leading axes {shape}, got {jnp.shape(leaf)}")
    dt = jnp.asarray(dt, values[0].dtype)
    if dt.shape not in ((), lead):
        raise ShapeError(f"tune: expected one dt or shape {lead}, got {dt.shape}")
    inputs, context = jax.tree.map(jnp.asarray, (inputs, context))
    series = Series(values, tuple(flags), inputs, dt, predict_first)
    axes = eqx.tree_at(lambda leaf: leaf.dt, jax.tree.map(lambda _: 0, series), 0 if dt.ndim else None)
    return series, context, axes, 0


@eqx.filter_jit
def _tune(parameters, models, batch, key, objective, optimizer, options, tolerance, spread):
    build, filter, log_prior = models
    steps, patience, restarts, errors = options
    series, context, axes, context_axis = batch
    free, rest = split(parameters)
    start, unravel = ravel_pytree(free)
    objective_key, restart_key = jax.random.split(key)
    keys = jax.random.split(objective_key, series.observations[0].shape[0])

    def assemble(flat: Array) -> PyTree:
        return eqx.combine(unravel(flat), rest)

    def total(flat: Array, item: Series, of_series: PyTree, item_key: Array) -> tuple[Array, Array]:
        values = plain(assemble(flat))
        model = build(values) if context is None else build(values, of_series)
        own, model = (model[0], model[1:]) if len(model) == 4 else (filter, model)
        return objective(own, model, item, key=item_key)

    def of_all(function: Callable, flat: Array) -> Any:
        return jax.vmap(function, in_axes=(None, axes, context_axis, 0))(flat, series, context, keys)

    def totals(flat: Array) -> tuple[Array, Array]:
        """Return total and count of every series."""
        return of_all(total, flat)

    def penalty(flat: Array) -> Array:
        return jnp.zeros(()) if log_prior is None else -log_prior(plain(assemble(flat)))

    def loss(flat: Array) -> Array:
        each, count = totals(flat)
        return (jnp.sum(each) + penalty(flat)) / jnp.maximum(jnp.sum(count), 1)

    def with_scores(flat: Array) -> tuple[Array, Array, Array]:
        """Return the loss, its gradient, and the gradient of every series, from one pass through all."""
        (each, count), scores = of_all(jax.value_and_grad(total, has_aux=True), flat)
        more, slope = jax.value_and_grad(penalty)(flat)
        share = 1.0 / jnp.maximum(jnp.sum(count), 1)
        return share * (jnp.sum(each) + more), share * (jnp.sum(scores, axis=0) + slope), scores

    def one_start(first: Array) -> Search:
        transformation = optax.with_extra_args_support(optimizer)
        extra = with_scores if errors == "scores" else None
        return search(loss, first, transformation, steps, patience, tolerance, extra)

    def information(end: Search) -> tuple[Array, Array | None]:
        if errors != "scores":
            return curvature(totals, end.best, objective.is_likelihood())
        scores = with_scores(end.best)[2] if end.scores is None else end.scores
        return scores.T @ scores, None

    starts = start + spread * jax.random.normal(restart_key, (restarts, start.size), start.dtype).at[0].set(0)
    ends = jax.vmap(one_start)(starts) if restarts > 1 else jax.tree.map(lambda x: x[None], one_start(start))
    winner = jnp.argmin(ends.best_loss)
    end = jax.tree.map(lambda leaf: leaf[winner], ends)
    wrapped = assemble(end.best)
    covariance = standard_errors = None
    if errors:
        bread, meat = information(end)
        covariance, unknown = inverse(bread + jax.hessian(penalty)(end.best), meat)
        standard_errors = delta_method(lambda flat: plain(assemble(flat)), end.best, covariance, unknown)
    tuned = Tuned(
        plain(wrapped),
        wrapped,
        standard_errors,
        covariance,
        end.best_loss,
        jnp.sum(totals(end.best)[1]),
        end.history,
        end.step,
        end.gradient_norm,
        end.gradient_norm <= tolerance,
        end.finite,
        ends.best_loss,
    )
    return tuned, ends.history[0, 0]
