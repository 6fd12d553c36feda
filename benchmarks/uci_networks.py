"""The networks of the UCI benchmark, and how those of all splits are trained side by side."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from foresee.fit import fit
from foresee.fit.known import Known
from foresee.posteriors.likelihood import HeteroscedasticLikelihood, call
from foresee.posteriors.randomized_prior import RandomizedPrior
from foresee.posteriors.standardise import Scales, Standardised, scales

HIDDEN, EPOCHS, LARGE = 50, 40, 2000


@dataclass(frozen=True)
class Problem:
    """A set with its splits.

    Attributes:
        name: of the set.
        x: inputs.
        y: targets, one column.
        train: training rows of every split, in random order.
        test: test rows of every split.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    train: np.ndarray
    test: np.ndarray

    @property
    def held_back(self) -> int:
        """How many training rows are held back to choose by."""
        return self.train.shape[1] // 5


class Candidate(eqx.Module):
    """A network in the units of the data.

    Attributes:
        network: the network between the scales of its own training rows.
        least: least standard deviation that it can state.
    """

    network: Standardised
    least: Known

    def likelihood(self) -> HeteroscedasticLikelihood:
        """Return what the outputs mean."""
        return HeteroscedasticLikelihood(self.least.fixed())

    def __call__(self, x, *, key=None):
        """Return mean and deviation."""
        return call(self.network, x, key=key)


@dataclass(frozen=True)
class Trained:
    """Networks as trained.

    Attributes:
        models: candidates with leading axes of the settings and of members.
        states: the optimiser's, with the same leading axes.
        least: least standard deviation in standardised units, one for every entry of the settings.
        seen: training rows of every entry of the settings.
        batch: rows in a step.
    """

    models: Candidate
    states: Any
    least: np.ndarray
    seen: np.ndarray
    batch: int

    def first(self) -> "Trained":
        """Return the same with the first member alone."""
        models, states = jax.tree.map(
            lambda leaf: leaf[:, :1] if isinstance(leaf, np.ndarray) else leaf, (self.models, self.states)
        )
        return Trained(models, states, self.least, self.seen, self.batch)


def loss(model: Candidate, example, *, key):
    """Return the negative log density of one example."""
    x, y = example
    return model.likelihood().loss(model(x, key=key), y)


def plain(inputs: int, key) -> Any:
    """Return the network of the published table."""
    return eqx.nn.MLP(inputs, 2, HIDDEN, 1, jax.nn.relu, key=key)


def with_prior(inputs: int, key) -> Any:
    """Return the same network plus a random one that is not trained."""
    base, prior = jax.random.split(key)
    return RandomizedPrior(plain(inputs, base), plain(inputs, prior), 1.0)


def with_dropout(inputs: int, key) -> Any:
    """Return the same network with dropout."""
    first, second = jax.random.split(key)
    layers = (
        eqx.nn.Linear(inputs, HIDDEN, key=first),
        eqx.nn.Lambda(jax.nn.relu),
        eqx.nn.Dropout(0.05),
        eqx.nn.Linear(HIDDEN, 2, key=second),
    )
    return eqx.nn.Sequential(layers)


@dataclass(frozen=True)
class Method:
    """What a belief is made of: `members` networks for every split."""

    name: str
    make: Callable[..., Any]
    members: int
    bootstrap: bool = False
    drops: bool = False


ENSEMBLE = Method("deep ensemble of 5", plain, 5)
SINGLE = Method("one network", plain, 1)
PRIORS = Method("randomized priors, 5", with_prior, 5, bootstrap=True)
DROPOUT = Method("dropout, 50 passes", with_dropout, 1, drops=True)


@functools.cache
def optimizer(steps: int) -> Callable[[Any], optax.GradientTransformation]:
    """Return AdamW as a function of its hyperparameters; its rate falls to nothing along a cosine."""

    def make(given):
        def rate(step):
            return -given["rate"] * 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(step / steps, 1.0)))

        decay = optax.add_decayed_weights(given["decay"])
        return optax.chain(optax.scale_by_adam(), decay, optax.scale_by_schedule(rate))

    return make


def trained(problem: Problem, method: Method, rows: np.ndarray, settings: dict, seed: Any) -> Trained:
    """Return trained candidates, with leading axes of the settings and of members.

    Args:
        problem: the set.
        method: what networks there are.
        rows: training rows for every entry of the settings, shape (entries, rows).
        settings: rate, decay and least deviation (in standardised units), one number for every entry.
        seed: source of randomness, whole numbers.
    """
    entries, count = rows.shape
    models = entries * method.members
    batch = 32 if count < LARGE else 128
    rng = np.random.default_rng(seed)
    known = _scales(problem, rows, method.members)
    given = {
        name: jnp.asarray(np.repeat(values, method.members), jnp.float32) for name, values in settings.items()
    }
    seen = np.repeat(rows, method.members, axis=0)
    if method.bootstrap:
        seen = np.take_along_axis(seen, rng.integers(0, count, seen.shape), axis=1)
    networks = _networks(method.make, problem.x.shape[1], models, rng)
    least = Known(given.pop("least") * known.target_deviations[:, 0])
    start = Candidate(_between(networks, known), least)
    fitted = fit(
        start,
        loss,
        (jnp.asarray(problem.x, jnp.float32), jnp.asarray(problem.y, jnp.float32)),
        key=jax.random.key(int(rng.integers(2**31))),
        optimizer=optimizer(EPOCHS * -(-count // batch)),
        epochs=EPOCHS,
        batch_size=batch,
        members=models,
        rows=seen,
        hyperparameters=given,
    )

    def apart(leaf):
        # On the host: with JAX every shape would be one more program to compile.
        if not eqx.is_array(leaf):
            return leaf
        return np.asarray(leaf).reshape(entries, method.members, *leaf.shape[1:])

    models, states = jax.tree.map(apart, (fitted.model, fitted.optimizer_state))
    return Trained(models, states, np.asarray(settings["least"], np.float32), rows, batch)


def _scales(problem: Problem, rows: np.ndarray, members: int) -> Scales:
    """Return the scales of every entry's rows, once for every member."""
    known = [scales(problem.x[chosen], problem.y[chosen]) for chosen in rows]
    return jax.tree.map(
        lambda *leaves: jnp.asarray(np.repeat(np.stack(leaves), members, axis=0), jnp.float32), *known
    )


def _networks(make: Callable, inputs: int, count: int, rng: np.random.Generator) -> Any:
    """Return networks stacked, with the weights that Equinox would draw.

    They are drawn on the host, because compiling Equinox's own draws takes longer than some of the trainings.
    """

    def drawn(layer):
        if not isinstance(layer, eqx.nn.Linear):
            return layer
        reach = 1 / np.sqrt(layer.in_features)

        def fresh(leaf):
            return jnp.asarray(rng.uniform(-reach, reach, (count, *leaf.shape)), jnp.float32)

        return jax.tree.map(fresh, layer)

    # What is left is the size of a prior function, which is one.
    shapes = eqx.filter_eval_shape(make, inputs, jax.random.key(0))
    networks = jax.tree.map(drawn, shapes, is_leaf=lambda node: isinstance(node, eqx.nn.Linear))
    return jax.tree.map(
        lambda leaf: jnp.ones(count, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, networks
    )


@eqx.filter_jit
def _between(networks: Any, known: Any) -> Any:
    return eqx.filter_vmap(lambda network, own: Standardised(network, own, "mean and deviation"))(
        networks, known
    )
