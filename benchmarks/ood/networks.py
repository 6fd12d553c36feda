"""The networks of the study and their training, all seeds and members side by side."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.ood.data import Task
from foresee.calibration import focal_loss
from foresee.fit import fit
from foresee.posteriors.likelihood import CategoricalLikelihood, SupervisedLoss

LIKELIHOOD = CategoricalLikelihood()
CROSS_ENTROPY = SupervisedLoss(LIKELIHOOD)


@dataclass(frozen=True)
class Recipe:
    """What a network looks like and how it is trained: AdamW, its rate falling to zero as a cosine.

    Attributes:
        widths: units of the hidden layers.
        shift: pixels by which training pictures are moved at most, in both directions.
        dropout: share of hidden units left out in training.
        rate: of learning, at first.
        decay: of the weights.
        epochs: how often every row is seen.
        batch: rows in a step.
    """

    widths: tuple[int, ...] = (100,)
    shift: int = 0
    dropout: float = 0.0
    rate: float = 3e-3
    decay: float = 1e-4
    epochs: int = 30
    batch: int = 128


class Shift(eqx.Module):
    """Moves a picture by some pixels, other ones every time, in training only."""

    reach: int = eqx.field(static=True)
    inference: bool = False

    def __call__(self, x: jax.Array, *, key: Any = None) -> jax.Array:
        """Return the picture, what comes in from outside being 0."""
        if self.inference or self.reach == 0:
            return x
        side = round(x.size**0.5)
        wide = jnp.pad(x.reshape(side, side), self.reach)
        corner = jax.random.randint(key, (2,), 0, 2 * self.reach + 1)
        return jax.lax.dynamic_slice(wide, corner, (side, side)).reshape(-1)


class Perceptron(eqx.Module):
    """Layers of rectified linear units on pixels, and a linear one that makes logits of the last of them."""

    shift: Shift
    dropout: eqx.nn.Dropout
    hidden: tuple[eqx.nn.Linear, ...]
    last: eqx.nn.Linear

    def __init__(self, pixels: int, classes: int, recipe: Recipe, *, key: Any):
        sizes = (pixels, *recipe.widths, classes)
        keys = jax.random.split(key, len(sizes) - 1)
        pairs = zip(sizes[:-1], sizes[1:], keys, strict=True)
        *hidden, self.last = (eqx.nn.Linear(size, after, key=sub) for size, after, sub in pairs)
        self.hidden = tuple(hidden)
        self.shift, self.dropout = Shift(recipe.shift), eqx.nn.Dropout(recipe.dropout)

    def features(self, x: jax.Array, *, key: Any = None) -> jax.Array:
        """Return what goes into the last layer."""
        parts = len(self.hidden) + 1
        keys = [None] * parts if key is None else jax.random.split(key, parts)
        x = self.shift(x, key=keys[0])
        for layer, sub in zip(self.hidden, keys[1:], strict=True):
            x = self.dropout(jax.nn.relu(layer(x)), key=sub)
        return x

    def __call__(self, x: jax.Array, *, key: Any = None) -> jax.Array:
        """Return the logits."""
        return self.last(self.features(x, key=key))


class FocalLoss(eqx.Module):
    """The focal loss of one example; γ is an array, so another one compiles nothing."""

    gamma: jax.Array

    def __call__(self, model: Any, example: Any, *, key: Any) -> jax.Array:
        """Return the loss."""
        x, y = example
        return focal_loss(model(x, key=key), y, self.gamma)


@dataclass(frozen=True)
class Trained:
    """Networks of all seeds.

    Attributes:
        models: stacked along a leading axis of seeds times members.
        states: the optimiser's states, likewise.
        recipe: how they were trained.
        seconds: wall clock time per network, compilation included.
        members: networks of a seed.
    """

    models: Any
    states: Any
    recipe: Recipe
    seconds: float
    members: int

    def network(self, seed: int) -> Any:
        """Return the first network of a seed."""
        return picked(self.models, seed * self.members)

    def state(self, seed: int) -> Any:
        """Return its optimiser's state."""
        return picked(self.states, seed * self.members)

    def ensemble(self, seed: int) -> Any:
        """Return all networks of a seed, stacked."""
        own = slice(seed * self.members, (seed + 1) * self.members)
        return picked(self.models, own)


def picked(tree: Any, which: Any) -> Any:
    """Return one of stacked models, or some."""
    return jax.tree.map(lambda leaf: leaf[which] if eqx.is_array(leaf) else leaf, tree)


@functools.cache  # a transformation made anew would be compiled anew
def optimizer(recipe: Recipe, rows: int) -> Any:
    """Return AdamW with a falling rate."""
    steps = recipe.epochs * -(-rows // recipe.batch)
    return optax.adamw(optax.cosine_decay_schedule(recipe.rate, steps), weight_decay=recipe.decay)


def train(
    task: Task,
    recipe: Recipe,
    loss: Callable[..., Any] = CROSS_ENTROPY,
    *,
    members: int = 1,
    rows: np.ndarray | None = None,
) -> Trained:
    """Train `members` networks for every seed on its training rows, or on others that are named."""
    rows = task.training_rows(members) if rows is None else rows
    pixels = task.images.inside.shape[1]
    first, order = jax.random.split(jax.random.key(0))
    make = functools.partial(Perceptron, pixels, task.classes, recipe)
    models = eqx.filter_vmap(lambda key: make(key=key))(jax.random.split(first, len(rows)))
    # Only rows that somebody trains on travel to the device.
    used, places = np.unique(rows, return_inverse=True)
    data = task.images.inside[used], task.labels[used]
    begin = time.perf_counter()
    fitted = fit(
        models,
        loss,
        data,
        key=order,
        optimizer=optimizer(recipe, rows.shape[1]),
        epochs=recipe.epochs,
        batch_size=recipe.batch,
        members=len(rows),
        rows=places.reshape(rows.shape),
    )
    jax.block_until_ready(fitted.losses)
    seconds = (time.perf_counter() - begin) / len(rows)
    return Trained(fitted.model, fitted.optimizer_state, recipe, seconds, members)
