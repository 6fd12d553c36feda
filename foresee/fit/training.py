"""The one training loop: any Equinox model, any Optax optimiser, one model or many side by side."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from foresee.errors import OptionError
from foresee.fit import checkpoint as files
from foresee.fit import known
from foresee.fit.check import check
from foresee.fit.epochs import Own, Record, State, Task, begin, epoch, layers, watched

ADAMW = optax.adamw(1e-3)  # made once: a new one would be a new function to compile
SECONDS_BETWEEN = 0.5  # about as often the loop comes back to write a checkpoint and move the progress bar


class Fitted(eqx.Module):
    """A trained model, or several, and how the training went.

    With members, every array has one more leading axis of them; epochs that were not run are NaN.

    Attributes:
        model: the trained model, switched to inference; with validation the best one, otherwise the last.
        optimizer_state: the optimiser's state that belongs to it, second moments and all.
        losses: mean training loss of every epoch.
        validation_losses: mean validation loss after every epoch; None without validation.
        best_epoch: epochs run when the returned model was reached.
        epochs: epochs run in all.
        watched: what `watch` returned before the first epoch and after every one; None if not asked for.
        gradient_norms: Euclidean norm of the gradient by layer, one number a step, where it was recorded.
        finite: whether every loss and parameter of the returned model is finite.
    """

    model: PyTree
    optimizer_state: PyTree
    losses: Float[Array, "*members epochs"]
    validation_losses: Float[Array, "*members epochs"] | None
    best_epoch: Int[Array, "*members"]
    epochs: Int[Array, "*members"]
    watched: PyTree
    gradient_norms: dict[str, Float[Array, "*members steps"]] | None
    finite: Any


def fit(
    model: PyTree,
    loss: Callable[..., Any],
    data: PyTree,
    *,
    key: PRNGKeyArray,
    optimizer: Any = ADAMW,
    epochs: int = 20,
    batch_size: int = 128,
    validation: PyTree = None,
    patience: int | None = None,
    members: int | None = None,
    rows: Any = None,
    weights: Any = None,
    hyperparameters: PyTree = None,
    trainable: Any = eqx.is_inexact_array,
    watch: Callable[[PyTree], PyTree] | None = None,
    record_gradients: bool = False,
    checkpoint: str | Path | None = None,
    sharding: jax.sharding.Sharding | None = None,
    progress: bool | Callable[[float], None] = False,
) -> Fitted:
    """Train a model, or many at once, by minibatches.

    A step follows the gradient of the mean of loss times weight over the rows of its batch. The last batch of
    an epoch may be smaller; every row still comes once per epoch. Over several devices it is the mean over
    the whole batch, not over the share of one device, so how many there are changes nothing.

    Epochs run in one compiled loop. A second call with the same functions and arrays of the same shape
    compiles nothing, so define the loss and the optimiser once. What an epoch draws depends on `key` and its
    number alone: a run that was interrupted ends bit for bit where it would have ended, on the same machine.

    Args:
        model: any Equinox module; with `members` one whose arrays have a leading axis of them, as
            `eqx.filter_vmap(make)(keys)` returns it.
        loss: loss(model, example, key=key), a number, for ONE example.
        data: examples: a pytree of arrays with one leading axis of rows, as (inputs, targets).
        key: order of the rows and whatever the loss draws. Members get keys of their own.
        optimizer: transformation of Optax; with `hyperparameters` a function that makes one of them.
        epochs: how often every row is seen.
        batch_size: rows in a step.
        validation: examples as `data`; the model with the least loss on them is returned.
        patience: stop a model after so many epochs without a better validation loss.
        members: how many models are trained side by side; None for one.
        rows: which rows are seen, shape (drawn,) or (members, drawn), as for a bootstrap or a split.
        weights: weight of every row of the data, shape (rows,) or (members, rows); scaled to one on average.
        hyperparameters: pytree of arrays, with members one of each for every member.
        trainable: which leaves are trained: a function of a leaf, which is not asked about parts that are
            `Known`, or a pytree of booleans.
        watch: function of the model whose result is kept before the first epoch and after every one.
        record_gradients: whether to keep the norm of the gradient in every layer at every step.
        checkpoint: file to go on from, written about every half second and when interrupted.
        sharding: how the rows of a batch are spread over devices, as `NamedSharding(mesh, P("rows"))`.
        progress: whether to show a bar; or what is called about twice a second with the share of the epochs
            that is done, and ends the training by raising anything.

    Raises:
        ShapeError: if leading axes do not fit each other.
        OptionError: if an option has a value nothing can be done with.
        ForeseeError: if the checkpoint is not one of this run.
    """
    check(data, validation, epochs, batch_size, patience, members, rows, weights)
    data, validation = jax.tree.map(jnp.asarray, (data, validation))
    spelt_out = all(isinstance(leaf, bool) for leaf in jax.tree.leaves(trainable))
    learned = trainable if spelt_out else known.trainable(model, trainable)
    parameters, rest = eqx.partition(model, learned)
    if not jax.tree.leaves(parameters):
        raise OptionError("fit: expected a model with something to train, got no trainable array")
    count = jax.tree.leaves(data)[0].shape[0] if rows is None else np.shape(rows)[-1]
    task = Task(
        loss, optimizer, data, validation, watch, min(batch_size, count), patience, record_gradients, sharding
    )
    own = Own(rest, _maybe(rows, int), _scaled(weights), hyperparameters)
    axes = _member_axes(own, members)
    state, record = _begin(task, own, parameters, axes, epochs, members)
    keys = key if members is None else jax.random.split(key, members)
    loop = _Loop(task, own, keys, axes, epochs, None if checkpoint is None else Path(checkpoint), progress)
    state, record = loop.run(state, record, parameters)
    return _finished(task, own, axes, state, record, parameters)


class _Loop:
    """The part that stays in Python: dispatching, checkpoints, the bar."""

    def __init__(
        self,
        task: Task,
        own: Own,
        keys: Key[Array, "*members"],
        axes: Any,
        epochs: int,
        path: Path | None,
        progress: bool | Callable[[float], None],
    ):
        self.task, self.own, self.keys, self.axes = task, own, keys, axes
        self.epochs, self.path = epochs, path
        self.bar = progress is True
        self.tell = progress if callable(progress) else None

    def run(self, state: State, record: Record, parameters: PyTree) -> tuple[State, Record]:
        """Train to the end, from the checkpoint where there is one."""
        done, mark = 0, ""
        if self.path is not None:
            options = (self.task.batch_size, self.task.patience or 0, jax.random.key_data(self.keys))
            mark = files.fingerprint(options, parameters, self.task.data, self.task.validation, self.own)
            if self.path.exists():
                done, state, record = files.read(self.path, mark, state, record)
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, disable=not self.bar, transient=True) as bar:
            line = bar.add_task("", total=self.epochs, completed=done)
            # Without anything to do in between, the whole run is one call.
            watched = self.path is not None or self.bar or self.tell is not None
            share = 1 if watched else self.epochs
            try:
                while done < self.epochs and not bool(jnp.all(state.stopped)):
                    began = time.perf_counter()
                    stop = min(done + share, self.epochs)
                    stretch = (jnp.asarray(done), jnp.asarray(stop))
                    state, record = jax.block_until_ready(
                        _epochs(self.task, self.own, self.axes, self.keys, state, record, *stretch)
                    )
                    took, done = time.perf_counter() - began, stop
                    bar.update(line, completed=done)
                    if self.tell is not None:
                        self.tell(done / self.epochs)
                    share = _next_share(share, took)
            finally:
                # An interruption loses what runs at this moment, nothing else.
                if self.path is not None and done:
                    files.write(self.path, mark, done, state, record)
        return state, record


def _next_share(share: int, seconds: float) -> int:
    """Return how many epochs to run before the next look, at most twice as many as before."""
    return max(1, min(2 * share, int(share * SECONDS_BETWEEN / max(seconds, 1e-6))))


@eqx.filter_jit
def _epochs(
    task: Task,
    own: Own,
    axes: Any,
    keys: Key[Array, "*members"],
    state: State,
    record: Record,
    start: Int[Array, ""],
    stop: Int[Array, ""],
) -> tuple[State, Record]:
    """Run the epochs from `start` to `stop`; both are traced, so any stretch is the same program."""
    one = epoch if axes is None else eqx.filter_vmap(epoch, in_axes=(None, axes, eqx.if_array(0), 0))

    def more(carry):
        index, state, _ = carry
        return (index < stop) & ~jnp.all(state.stopped)

    def body(carry):
        index, state, record = carry
        fold = jax.vmap(jax.random.fold_in, (0, None)) if axes is not None else jax.random.fold_in
        was_stopped = state.stopped
        state, *results = one(task, own, state, fold(keys, index))
        loss, *others = results
        written = (jnp.where(was_stopped, jnp.nan, jnp.asarray(loss)), *others)
        slots = (record.losses, record.validation_losses, record.watched, record.gradient_norms)
        slots = jax.tree.map(lambda slot, value: slot.at[index + 1].set(value), slots, written)
        return index + 1, state, Record(*slots)

    return jax.lax.while_loop(more, body, (start, state, record))[1:]


@eqx.filter_jit  # not for speed: tracing it anew at every call takes longer than some trainings
def _begin(
    task: Task, own: Own, parameters: PyTree, axes: Any, epochs: int, members: int | None
) -> tuple[State, Record]:
    """Return the state before the first step, and a record with room for all epochs."""
    first, one, look = begin, epoch, watched
    if members is not None:
        first = eqx.filter_vmap(begin, in_axes=(None, axes, eqx.if_array(0)))
        one = eqx.filter_vmap(epoch, in_axes=(None, axes, eqx.if_array(0), 0))
        look = eqx.filter_vmap(watched, in_axes=(None, axes, eqx.if_array(0)))
    state = first(task, own, parameters)
    keys = jax.random.key(0) if members is None else jax.random.split(jax.random.key(0), members)
    shapes = eqx.filter_eval_shape(one, task, own, state, keys)[1:]

    def room(shape):
        empty = jnp.nan if jnp.issubdtype(shape.dtype, jnp.inexact) else 0
        return jnp.full((epochs + 1, *shape.shape), empty, shape.dtype)

    losses, held_out, seen, norms = jax.tree.map(room, shapes)
    if task.watch is not None:
        before = look(task, own, parameters)
        seen = jax.tree.map(lambda slot, value: slot.at[0].set(value), seen, before)
    return state, Record(losses, held_out, seen, norms)


@eqx.filter_jit
def _finished(task: Task, own: Own, axes: Any, state: State, record: Record, parameters: PyTree) -> Fitted:
    """Put the result together, members first."""
    judged = task.validation is not None
    best = state.best_parameters if judged else state.parameters
    optimizer = state.best_optimizer if judged else state.optimizer

    def members_first(leaf):
        return leaf if axes is None else jnp.moveaxis(leaf, 0, 1)

    losses = members_first(record.losses[1:])
    axis = None if axes is None else 0
    held = [*jax.tree.leaves(best), losses]
    finite = _all_finite(held[:-1], axis) & jnp.all(jnp.isfinite(losses[..., :1]), axis=-1)
    norms = None
    if record.gradient_norms is not None:
        by_layer = members_first(record.gradient_norms[1:])
        flat = by_layer.reshape(*by_layer.shape[:-3], -1, by_layer.shape[-1])
        norms = {name: flat[..., index] for index, name in enumerate(layers(parameters))}
    return Fitted(
        eqx.nn.inference_mode(eqx.combine(best, own.model)),
        optimizer,
        losses,
        None if record.validation_losses is None else members_first(record.validation_losses[1:]),
        state.best_epoch if judged else state.epochs,
        state.epochs,
        jax.tree.map(members_first, record.watched),
        norms,
        finite,
    )


def _all_finite(leaves: list[Array], axis: int | None) -> Array:
    """Return whether all numbers are finite, for every member where they lie along an axis."""
    start = 0 if axis is None else 1
    flags = [jnp.all(jnp.isfinite(leaf), axis=tuple(range(start, leaf.ndim))) for leaf in leaves]
    return jnp.all(jnp.stack(flags), axis=0)


def _maybe(array: Any, dtype: Any) -> Array | None:
    return None if array is None else jnp.asarray(array, dtype)


def _scaled(weights: Any) -> Array | None:
    """Return weights that are one on average, so that they change nothing about the size of a step."""
    if weights is None:
        return None
    weights = jnp.asarray(weights, float)
    return weights / jnp.mean(weights, axis=-1, keepdims=True)


def _member_axes(own: Own, members: int | None) -> Any:
    """Return which arrays have one entry for every member; None where there is one model."""
    if members is None:
        return None
    model = jax.tree.map(lambda leaf: 0 if eqx.is_array(leaf) else None, own.model)
    rows = 0 if own.rows is not None and own.rows.ndim == 2 else None
    weights = 0 if own.weights is not None and own.weights.ndim == 2 else None
    return Own(model, rows, weights, jax.tree.map(lambda _: 0, own.hyperparameters))
