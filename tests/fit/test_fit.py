"""The training loop against loops written out plainly, and what it promises about runs that stop."""

import subprocess
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from foresee.errors import ForeseeError, OptionError, ShapeError
from foresee.fit import fit, training

KEY = jax.random.key(3)
SGD = optax.sgd(0.1)
ADAMW = optax.adamw(1e-2, weight_decay=0.1)


class Line(eqx.Module):
    slope: Any
    offset: Any

    def __call__(self, x):
        return x @ self.slope + self.offset


def squared(model, example, *, key):
    x, y = example
    return (model(x) - y) ** 2


def data(rows=12, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2))
    return x, x @ [1.0, -2.0] + 0.5 + 0.1 * rng.normal(size=rows)


def line(slope: Any = 0.0):
    return Line(jnp.full(2, slope), jnp.zeros(()))


def equal(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def close(one, other, rtol=1e-12):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=rtol)


def test_full_batch_steps_follow_the_mean_gradient_of_weighted_losses():
    x, y = data()
    weights = np.arange(1.0, 13.0)
    fitted = fit(line(), squared, (x, y), key=KEY, optimizer=SGD, epochs=5, batch_size=12, weights=weights)
    slope, offset, losses = np.zeros(2), 0.0, []
    share = weights / weights.mean()
    for _ in range(5):
        error = x @ slope + offset - y
        losses.append(np.mean(share * error**2))
        slope = slope - 0.1 * np.mean(2 * (share * error)[:, None] * x, axis=0)
        offset = offset - 0.1 * np.mean(2 * share * error)
    np.testing.assert_allclose(fitted.model.slope, slope, rtol=1e-12)
    np.testing.assert_allclose(fitted.model.offset, offset, rtol=1e-12)
    np.testing.assert_allclose(fitted.losses, losses, rtol=1e-12)
    assert fitted.epochs == fitted.best_epoch == 5
    assert fitted.validation_losses is None
    assert bool(fitted.finite)


@pytest.mark.parametrize("batch_size", [4, 5, 50])
def test_every_row_comes_once_per_epoch(batch_size):
    values = 2.0 ** np.arange(12)  # a sum of some of them says which

    def linear(model, example, *, key):
        return example * model.offset

    def shift(model):
        return model.offset

    counts = [min(batch_size, 12 - first) for first in range(0, 12, batch_size)]
    fitted = fit(
        line(),
        linear,
        values,
        key=KEY,
        optimizer=optax.sgd(1.0),
        epochs=3,
        batch_size=batch_size,
        watch=shift,
    )
    moves = -np.diff(fitted.watched)
    if len(set(counts)) == 1:
        np.testing.assert_allclose(moves * counts[0], values.sum(), rtol=1e-12)
    else:  # batches of 5, 5 and 2 rows: their means add up to sums over 5 and over 2
        last = [(move - values.sum() / 5) / (1 / 2 - 1 / 5) for move in moves]
        for rows in last:
            assert bin(round(rows)).count("1") == 2
            np.testing.assert_allclose(rows, round(rows), atol=1e-6)
        assert len({round(rows) for rows in last}) > 1, "the order should differ between epochs"


def test_members_are_trained_as_if_alone():
    x, y = data()
    models = jax.vmap(lambda slope: line(slope))(jnp.array([0.0, 1.0, -1.0]))
    rows = np.random.default_rng(1).integers(0, 12, (3, 12))
    rates = jnp.array([0.1, 0.05, 0.2])
    options = {"epochs": 4, "batch_size": 4, "optimizer": lambda rate: optax.sgd(rate)}
    together = fit(models, squared, (x, y), key=KEY, members=3, rows=rows, hyperparameters=rates, **options)
    keys = jax.random.split(KEY, 3)
    for index in range(3):
        single = fit(
            jax.tree.map(lambda leaf, index=index: leaf[index], models),
            squared,
            (x, y),
            key=keys[index],
            rows=rows[index],
            hyperparameters=rates[index],
            **options,
        )
        close(jax.tree.map(lambda leaf, index=index: leaf[index], together.model), single.model)
        close(together.losses[index], single.losses)


def test_early_stopping_returns_the_best_model_and_its_optimizer():
    x, y = data(8)
    start = jax.vmap(line)(jnp.array([0.0, 0.9]))
    held_out = data(30, seed=5)
    options = {
        "key": KEY,
        "optimizer": optax.adam(0.3),
        "epochs": 60,
        "batch_size": 4,
        "validation": held_out,
    }
    fitted = fit(start, squared, (x, y), members=2, patience=4, **options)
    for index in range(2):
        run, best = int(fitted.epochs[index]), int(fitted.best_epoch[index])
        losses = np.asarray(fitted.validation_losses)[index]
        assert np.isfinite(losses[:run]).all()
        assert np.isnan(fitted.losses[index, run:]).all()
        assert best == 1 + np.nanargmin(losses[:run])
        assert run == min(best + 4, 60)
        model = jax.tree.map(lambda leaf, index=index: leaf[index], fitted.model)
        error = np.asarray(held_out[0]) @ np.asarray(model.slope) + float(model.offset) - held_out[1]
        np.testing.assert_allclose(np.mean(error**2), losses[best - 1], rtol=1e-12)
        assert int(fitted.optimizer_state[0].count[index]) == 2 * best
        alone = fit(
            jax.tree.map(lambda leaf, index=index: leaf[index], start),
            squared,
            (x, y),
            patience=4,
            **{**options, "key": jax.random.split(KEY, 2)[index]},
        )
        close(model, alone.model)
    assert int(fitted.epochs[0]) != int(fitted.epochs[1])


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    x, y = data()
    options = {
        "key": KEY,
        "optimizer": ADAMW,
        "epochs": 9,
        "batch_size": 5,
        "validation": data(6, 2),
        "watch": jnp_slope,
    }
    whole = fit(line(), squared, (x, y), **options)
    calls, real = [], training._epochs

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training, "_epochs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(line(), squared, (x, y), checkpoint=tmp_path / "run.npz", **options)
    monkeypatch.setattr(training, "_epochs", real)
    with np.load(tmp_path / "run.npz") as file:
        assert 0 < int(file["epoch"]) < 9
    equal(fit(line(), squared, (x, y), checkpoint=tmp_path / "run.npz", **options), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]

    longer = fit(line(), squared, (x, y), checkpoint=tmp_path / "run.npz", **{**options, "epochs": 12})
    equal(longer, fit(line(), squared, (x, y), **{**options, "epochs": 12}))
    with pytest.raises(ForeseeError, match="at most 9 epochs, got one of 12"):
        fit(line(), squared, (x, y), checkpoint=tmp_path / "run.npz", **options)
    with pytest.raises(ForeseeError, match="another model, data, key or option"):
        fit(line(0.5), squared, (x, y), checkpoint=tmp_path / "run.npz", **options)
    (tmp_path / "run.npz").write_bytes(b"PK not really")
    with pytest.raises(ForeseeError, match="expected a checkpoint"):
        fit(line(), squared, (x, y), checkpoint=tmp_path / "run.npz", **options)


def test_who_is_told_of_the_progress_may_end_it_and_what_was_done_is_kept(tmp_path):
    x, y = data()
    options = {"key": KEY, "optimizer": ADAMW, "epochs": 9, "batch_size": 5}
    told = []
    whole = fit(line(), squared, (x, y), progress=told.append, **options)
    assert told == sorted(told)
    assert told[-1] == 1.0

    def enough(share):
        raise ZeroDivisionError(share)

    kept = {"checkpoint": tmp_path / "run.npz", **options}
    with pytest.raises(ZeroDivisionError):
        fit(line(), squared, (x, y), progress=enough, **kept)
    with np.load(tmp_path / "run.npz") as file:
        assert 0 < int(file["epoch"]) < 9
    equal(fit(line(), squared, (x, y), **kept), whole)


def jnp_slope(model):
    return model.slope


def test_what_is_not_trainable_stays_even_under_weight_decay():
    spec = Line(True, False)
    start = Line(jnp.ones(2), jnp.asarray(0.7))
    fitted = fit(start, squared, data(), key=KEY, optimizer=ADAMW, epochs=2, batch_size=12, trainable=spec)
    assert fitted.model.offset == 0.7
    assert not np.any(np.asarray(fitted.model.slope) == 1.0)


def test_watched_and_gradient_norms():
    x, y = data()
    fitted = fit(
        line(),
        squared,
        (x, y),
        key=KEY,
        optimizer=SGD,
        epochs=3,
        batch_size=6,
        watch=jnp_slope,
        record_gradients=True,
    )
    assert fitted.watched.shape == (4, 2)
    np.testing.assert_array_equal(fitted.watched[0], 0.0)
    np.testing.assert_array_equal(fitted.watched[-1], fitted.model.slope)
    assert fitted.gradient_norms is not None
    assert set(fitted.gradient_norms) == {"slope", "offset"}
    assert fitted.gradient_norms["slope"].shape == (6,)
    whole = fit(
        line(), squared, (x, y), key=KEY, optimizer=SGD, epochs=1, batch_size=12, record_gradients=True
    )
    assert whole.gradient_norms is not None
    by_hand = np.linalg.norm(np.mean(2 * (-y)[:, None] * x, axis=0))
    np.testing.assert_allclose(whole.gradient_norms["slope"], [by_hand], rtol=1e-12)


def test_a_second_run_compiles_nothing():
    traces = []

    def counted(model, example, *, key):
        traces.append(1)
        return squared(model, example, key=key)

    options = {"optimizer": SGD, "epochs": 2, "batch_size": 6}
    fit(line(), counted, data(), key=KEY, **options)
    before = len(traces)
    fit(line(1.0), counted, data(seed=4), key=jax.random.key(9), **options)
    assert len(traces) - before <= 1, "the shapes of the record are looked up again, nothing else"


def test_a_loss_that_is_not_finite_is_said():
    def bad(model, example, *, key):
        return jnp.sqrt(model.offset - 1.0)

    fitted = fit(line(), bad, data(), key=KEY, optimizer=SGD, epochs=2, batch_size=12, record_gradients=True)
    assert not bool(fitted.finite)
    assert fitted.gradient_norms is not None
    assert np.isnan(fitted.gradient_norms["offset"]).any()


def test_dropout_is_on_in_training_and_off_after():
    model = eqx.nn.Sequential(
        [eqx.nn.Linear(2, 8, key=KEY), eqx.nn.Dropout(0.5), eqx.nn.Linear(8, 1, key=KEY)]
    )

    def loss(model, example, *, key):
        x, y = example
        return jnp.sum((model(x, key=key) - y) ** 2)

    fitted = fit(model, loss, data(), key=KEY, epochs=1, batch_size=12, validation=data(), optimizer=SGD)
    assert fitted.model.layers[1].inference
    out = [fitted.model(jnp.ones(2), key=jax.random.key(i)) for i in range(2)]
    np.testing.assert_array_equal(*out)


EIGHT_DEVICES = """
import jax, numpy as np, jax.numpy as jnp, equinox as eqx, optax
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_enable_x64", True)
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from foresee.fit import fit
assert jax.device_count() == 8
rng = np.random.default_rng(0)
x = rng.normal(size=(48, 3))
data = (x, np.sin(x.sum(axis=1, keepdims=True)))
model = eqx.nn.MLP(3, 1, 8, 1, key=jax.random.key(0))
def loss(model, example, *, key):
    return jnp.sum((model(example[0]) - example[1]) ** 2)
options = dict(key=jax.random.key(1), optimizer=optax.adamw(1e-2), epochs=4, batch_size=16)
mesh = NamedSharding(Mesh(np.array(jax.devices()), ("rows",)), PartitionSpec("rows"))
one, eight = fit(model, loss, data, **options), fit(model, loss, data, sharding=mesh, **options)
leaves = [jax.tree.leaves(eqx.filter(run.model, eqx.is_array)) for run in (one, eight)]
gaps = [float(jnp.abs(a - b).max()) for a, b in zip(*leaves)]
print(max(gaps), float(jnp.abs(one.losses - eight.losses).max()))
assert max(gaps) < 1e-12, gaps
"""


def test_eight_devices_equal_one():
    done = subprocess.run([sys.executable, "-c", EIGHT_DEVICES], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"data": (np.ones((3, 2)), np.ones(4))}, ShapeError, "one common leading axis"),
        ({"data": (np.ones((0, 2)), np.ones(0))}, ShapeError, "one common leading axis"),
        ({"validation": (np.ones((3, 2)), np.ones(4))}, ShapeError, "validation"),
        ({"epochs": 0}, OptionError, "epochs of at least 1, got 0"),
        ({"batch_size": -1}, OptionError, "batch_size of at least 1, got -1"),
        ({"patience": 3}, OptionError, "validation with it"),
        ({"rows": np.array([0, 12])}, ShapeError, r"within 0..11, got 0..12"),
        ({"weights": np.ones(3)}, ShapeError, "each of 12 rows"),
        ({"weights": -np.ones(12)}, OptionError, "at least 0"),
        ({"trainable": lambda leaf: False}, OptionError, "nothing|no trainable"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        fit(line(), squared, change.pop("data", data()), key=KEY, **change)
