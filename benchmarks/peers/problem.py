"""The linear problem that all Kalman filters get, and the two ways of running a function over it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Filtered, NotSupported


@dataclass(frozen=True)
class Linear:
    """Constant velocity in the plane, positions observed; every row is predicted by `dt` and then updated.

    Attributes:
        observations: shape (T, 2), or (series, T, 2) for a batch.
        seen: None, or which rows (…, T) or components (…, T, 2) were observed.
        prior_mean, prior_covariance: one step before the first row; in a batch shared, or one per series.
    """

    density: float
    variances: np.ndarray
    prior_mean: np.ndarray
    prior_covariance: np.ndarray
    observations: np.ndarray
    seen: np.ndarray | None = None
    dt: float = 1.0

    @property
    def batched(self) -> bool:
        """Whether there are many series."""
        return self.observations.ndim == 3

    @property
    def own_priors(self) -> bool:
        """Whether every series has a prior of its own."""
        return self.prior_covariance.ndim == 3

    @property
    def rows_missing(self) -> bool:
        """Whether whole rows, but no single components, are missing."""
        return self.seen is not None and self.seen.ndim == self.observations.ndim - 1

    @property
    def components_missing(self) -> bool:
        """Whether single components are missing."""
        return self.seen is not None and self.seen.ndim == self.observations.ndim

    def matrices(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return F, Q, H and R."""
        dt, dtype = self.dt, self.observations.dtype
        transition = np.kron([[1, dt], [0, 1]], np.eye(2))
        noise = self.density * np.kron([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]], np.eye(2))
        found = (transition, noise, np.eye(2, 4), np.diag(self.variances))
        return tuple(np.asarray(matrix, dtype) for matrix in found)

    def first_row(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and covariance predicted for the first row, where libraries begin there."""
        transition, noise, _, _ = self.matrices()
        return self.prior_mean @ transition.T, transition @ self.prior_covariance @ transition.T + noise

    def with_nan(self) -> np.ndarray:
        """Return the observations with NaN in every unseen place."""
        if self.seen is None:
            return self.observations
        flags = self.seen if self.components_missing else self.seen[..., None]
        return np.where(flags, self.observations, np.nan).astype(self.observations.dtype)

    def one_by_one(self, most: int) -> list["Linear"]:
        """Return the first series of a batch as problems of their own."""
        if not self.batched:
            return [self]
        series = range(min(most, len(self.observations)))
        return [
            replace(
                self,
                observations=self.observations[i],
                seen=None if self.seen is None else self.seen[i],
                prior_mean=self.prior_mean[i] if self.own_priors else self.prior_mean,
                prior_covariance=self.prior_covariance[i] if self.own_priors else self.prior_covariance,
            )
            for i in series
        ]

    def head(self, rows: int) -> "Linear":
        """Return the first rows only."""
        return replace(
            self,
            observations=self.observations[..., :rows, :],
            seen=None
            if self.seen is None
            else self.seen[..., :rows, :]
            if self.components_missing
            else self.seen[..., :rows],
        )


def simulate(
    rows: int,
    series: int | None = None,
    *,
    missing: str = "none",
    own_priors: bool = False,
    dtype: Any = np.float64,
) -> Linear:
    """Draw a problem: smooth bounded paths with noise, and 10 % missing rows or components where wanted."""
    random = np.random.default_rng(0)
    shape = (rows,) if series is None else (series, rows)
    width = random.uniform(10, 30, (*shape[:-1], 1, 2))
    time = np.arange(rows)[:, None]
    path = width * np.sin(time * np.array([0.02, 0.013]))  # from the origin, where every prior has its mean
    observations = path + random.normal(size=(*shape, 2)) * np.sqrt([1.0, 0.5])
    seen = {"none": None, "rows": shape, "components": (*shape, 2)}[missing]
    covariance = np.diag([10.0, 10.0, 4.0, 4.0])
    mean = np.zeros(4)
    if own_priors:
        covariance = covariance * random.uniform(0.5, 2.0, (series, 1, 1))
        mean = np.zeros((series, 4))
    return Linear(
        density=0.05,
        variances=np.array([1.0, 0.5], dtype),
        prior_mean=mean.astype(dtype),
        prior_covariance=covariance.astype(dtype),
        observations=observations.astype(dtype),
        seen=None if seen is None else random.random(seen) > 0.1,
    )


def compiled(
    function: Callable, problem: Linear, parameters: Any, prior: tuple, data: tuple
) -> Callable[[], Filtered]:
    """Compile `function(parameters, prior, data)` for one series, mapped over the series of a batch.

    Parameters are arguments and not constants, as they are where they get tuned. The parts of `data` that are
    None are left out of the mapping, and so is a shared prior.
    """
    if problem.batched:
        axes = (None, 0 if problem.own_priors else None, 0)
        function = jax.vmap(function, in_axes=axes)
    function = jax.jit(function)
    arguments = jax.tree.map(jnp.asarray, (parameters, prior, data))
    return lambda: Filtered(*jax.block_until_ready(function(*arguments)))


def looped(
    problem: Linear, most: int, one: Callable[[Linear], Callable[[], tuple]]
) -> Callable[[], Filtered]:
    """Run a filter that knows one series only, series after series, over the first ones of a batch."""
    works = [one(single) for single in problem.one_by_one(most)]

    def work() -> Filtered:
        results = [single() for single in works]
        if not problem.batched:
            return Filtered(*results[0])
        columns = [None if column[0] is None else np.stack(column) for column in zip(*results, strict=True)]
        return Filtered(*columns)

    return work


def refuse_missing(problem: Linear, make: Callable[[Linear], Callable[[], Filtered]]) -> None:
    """Raise NotSupported, after trying what NaN for a missing row does to the rows that come after."""
    if problem.seen is None:
        return
    seen = np.ones(20, bool)
    seen[5] = False
    sample = replace(simulate(20), seen=seen)
    means = np.asarray(make(replace(sample, observations=sample.with_nan(), seen=None))().means)
    if np.isfinite(means).all():
        raise NotSupported("takes NaN without spoiling what follows, but offers no mask")
    raise NotSupported("no mask; one NaN made every later row NaN when it was tried here")
