"""What is compiled: epochs of minibatch steps for one model, and the choice of the best one so far."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

ROWS_AT_ONCE = 2048  # of validation data; more need memory and gain nothing


class State(eqx.Module):
    """Where the training of one model stands.

    Attributes:
        parameters: arrays that are trained.
        optimizer: state of the optimiser.
        best_parameters: parameters with the least validation loss so far; None without validation.
        best_optimizer: state of the optimiser at that time.
        best_loss: that loss.
        best_epoch: how many epochs had been run then.
        stopped: whether validation has not improved for too long; nothing changes any more.
        epochs: how many epochs were run.
    """

    parameters: PyTree
    optimizer: PyTree
    best_parameters: PyTree
    best_optimizer: PyTree
    best_loss: Float[Array, ""]
    best_epoch: Int[Array, ""]
    stopped: Bool[Array, ""]
    epochs: Int[Array, ""]


class Record(eqx.Module):
    """What is written down in training: a row before the first epoch and one for each, NaN where none ran.

    Attributes:
        losses: mean training loss of every epoch.
        validation_losses: mean validation loss after every epoch; None without validation.
        watched: what `watch` returned before the first epoch and after every one; None if not asked for.
        gradient_norms: norm of the gradient in every layer at every step; None if not asked for.
    """

    losses: Float[Array, "epochs_and_one *members"]
    validation_losses: Float[Array, "epochs_and_one *members"] | None
    watched: PyTree
    gradient_norms: Float[Array, "epochs_and_one *members steps layers"] | None


class Task(eqx.Module):
    """All that stays the same during training.

    Attributes:
        loss: loss(model, example, key=key), a number, for one example.
        optimizer: transformation of Optax, or a function that makes one of hyperparameters.
        data: examples, with one leading axis of rows.
        validation: examples to judge by; None for no validation.
        watch: function of the model whose results are kept; None for none.
        batch_size: rows in a step.
        patience: epochs without improvement after which training stops; None for never.
        record_gradients: whether norms of gradients are written down.
        sharding: how the rows of a step are spread over devices; None for no spreading.
    """

    loss: Any
    optimizer: Any
    data: PyTree
    validation: PyTree
    watch: Any
    batch_size: int = eqx.field(static=True)
    patience: int | None = eqx.field(static=True)
    record_gradients: bool = eqx.field(static=True)
    sharding: Any = eqx.field(static=True)

    @property
    def rows(self) -> int:
        """How many examples there are."""
        return jax.tree.leaves(self.data)[0].shape[0]

    def transformation(self, own: "Own") -> optax.GradientTransformation:
        """Return the optimiser, made of the hyperparameters where there are any."""
        return self.optimizer if own.hyperparameters is None else self.optimizer(own.hyperparameters)


class Own(eqx.Module):
    """What one of several models trained side by side has for itself.

    Attributes:
        model: the model with its parameters left out.
        rows: the rows of the data that it sees, as of a bootstrap sample; None for all.
        weights: weight of every row, one on average; None for equal weights.
        hyperparameters: what the optimiser is made of; None where it needs nothing.
    """

    model: PyTree
    rows: Any
    weights: Any
    hyperparameters: PyTree


def begin(task: Task, own: Own, parameters: PyTree) -> State:
    """Return the state before the first step."""
    optimizer = task.transformation(own).init(parameters)
    best = (parameters, optimizer) if task.validation is not None else (None, None)
    zero = jnp.zeros((), int)
    return State(parameters, optimizer, *best, jnp.asarray(jnp.inf), zero, jnp.zeros((), bool), zero)


def epoch(
    task: Task, own: Own, state: State, key: PRNGKeyArray
) -> tuple[State, Float[Array, ""], Float[Array, ""] | None, PyTree, Float[Array, "steps layers"] | None]:
    """Run one epoch of one model.

    Args:
        task: what stays the same for all models.
        own: what this one has for itself.
        state: where training stands.
        key: randomness of this epoch alone.

    Returns:
        The next state, mean training loss, validation loss, what was watched and the norms of gradients.
    """
    order, inside = jax.random.split(key)
    batches, real = _batches(task, own.rows, order)
    optimizer = task.transformation(own)

    def step(carry, given):
        parameters, moments = carry
        batch, counts, sub = given
        value, gradient = jax.value_and_grad(_batch_loss)(parameters, task, own, batch, counts, sub)
        updates, moments = optimizer.update(gradient, moments, parameters)
        norms = _layer_norms(gradient) if task.record_gradients else None
        return (optax.apply_updates(parameters, updates), moments), (value, norms)

    keys = jax.random.split(inside, batches.shape[0])
    start = (state.parameters, state.optimizer)
    (parameters, moments), (values, norms) = jax.lax.scan(step, start, (batches, real, keys))
    moved = dataclasses.replace(state, parameters=parameters, optimizer=moments, epochs=state.epochs + 1)
    loss = jnp.mean(values) if real is None else jnp.average(values, weights=jnp.sum(real, axis=1))
    moved, held_out = _judged(task, own, moved)
    if task.patience is not None:
        moved = jax.tree.map(lambda old, new: jnp.where(state.stopped, old, new), state, moved)
    return moved, loss, held_out, watched(task, own, moved.parameters), norms


def watched(task: Task, own: Own, parameters: PyTree) -> PyTree:
    """Return what `watch` says of the model, switched to inference."""
    if task.watch is None:
        return None
    return task.watch(eqx.nn.inference_mode(eqx.combine(parameters, own.model)))


def layers(parameters: PyTree) -> dict[str, list[int]]:
    """Return the names of the layers, and which leaves of the parameters belong to each."""
    found: dict[str, list[int]] = {}
    paths = jax.tree_util.tree_flatten_with_path(parameters)[0]
    for index, (path, _) in enumerate(paths):
        name = jax.tree_util.keystr(path[:-1]) if len(path) > 1 else jax.tree_util.keystr(path)
        found.setdefault(name.lstrip(".") or "parameters", []).append(index)
    return found


def mean_loss(task: Task, own: Own, parameters: PyTree, data: PyTree) -> Float[Array, ""]:
    """Return the mean loss over examples, the model switched to inference, a few thousand rows at a time."""
    model = eqx.nn.inference_mode(eqx.combine(parameters, own.model))
    key = jax.random.key(0)  # a loss that draws numbers gets the same ones every time

    def one(example):
        return task.loss(model, example, key=key)

    rows = jax.tree.leaves(data)[0].shape[0]
    return jnp.mean(jax.lax.map(one, data, batch_size=min(rows, ROWS_AT_ONCE)))


def _batches(
    task: Task, rows: Int[Array, " drawn"] | None, key: PRNGKeyArray
) -> tuple[Int[Array, "steps batch"], Float[Array, "steps batch"] | None]:
    """Return the rows of every step, and which of them are real where the last batch had to be filled up."""
    count = task.rows if rows is None else rows.shape[0]
    steps = -(-count // task.batch_size)
    order = jnp.arange(count) if steps == 1 else jax.random.permutation(key, count)
    spare = steps * task.batch_size - count
    real = None
    if spare:
        real = (jnp.arange(steps * task.batch_size) < count).astype(float).reshape(steps, task.batch_size)
        order = jnp.concatenate([order, jnp.zeros(spare, order.dtype)])
    chosen = order if rows is None else rows[order]
    return chosen.reshape(steps, task.batch_size), real


def _batch_loss(
    parameters: PyTree,
    task: Task,
    own: Own,
    batch: Int[Array, " batch"],
    real: Float[Array, " batch"] | None,
    key: PRNGKeyArray,
) -> Float[Array, ""]:
    """Return the mean loss of the batch's examples, each times its weight."""
    model = eqx.combine(parameters, own.model)
    examples = jax.tree.map(lambda leaf: leaf[batch], task.data)
    if task.sharding is not None:
        examples = jax.lax.with_sharding_constraint(examples, task.sharding)
    keys = jax.random.split(key, batch.shape[0])
    losses = jax.vmap(lambda example, sub: task.loss(model, example, key=sub))(examples, keys)
    if own.weights is not None:
        losses = losses * own.weights[batch]
    return jnp.mean(losses) if real is None else jnp.sum(losses * real) / jnp.sum(real)


def _judged(task: Task, own: Own, state: State) -> tuple[State, Float[Array, ""] | None]:
    """Return the state with the best parameters so far, and the validation loss."""
    if task.validation is None:
        return state, None
    loss = mean_loss(task, own, state.parameters, task.validation)
    better = loss < state.best_loss
    best = jax.tree.map(
        lambda old, new: jnp.where(better, new, old),
        (state.best_parameters, state.best_optimizer, state.best_loss, state.best_epoch),
        (state.parameters, state.optimizer, loss, state.epochs),
    )
    parameters, optimizer, best_loss, best_epoch = best
    stopped = state.stopped
    if task.patience is not None:
        stopped = stopped | (state.epochs - best_epoch >= task.patience)
    judged = dataclasses.replace(
        state,
        best_parameters=parameters,
        best_optimizer=optimizer,
        best_loss=best_loss,
        best_epoch=best_epoch,
        stopped=stopped,
    )
    return judged, loss


def _layer_norms(gradient: PyTree) -> Float[Array, " layers"]:
    """Return the Euclidean norm of the gradient in every layer."""
    squares = [jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)]
    return jnp.sqrt(jnp.stack([sum(squares[index] for index in own) for own in layers(gradient).values()]))
