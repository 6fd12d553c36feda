"""One contract for every public belief, filter and posterior: what each must keep, whatever else it does.

A new one only adds its name to `BELIEFS`, `FILTERS` or `POSTERIORS`; `test_nothing_is_left_out` fails until
it does.
"""

import inspect
import typing
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import foresee.beliefs as beliefs
import foresee.filters as filters
import foresee.posteriors as posteriors
from foresee.beliefs import AbstractBelief, AbstractDensity, AbstractFilter, Gaussian, expected
from foresee.dynamics import ConstantVelocity, Position
from foresee.fit import fit
from foresee.storage import load, save

KEY = jax.random.key(0)
COVARIANCE = np.array([[2.0, 0.3], [0.3, 1.0]])


def gaussian(shift, dtype=float):
    return beliefs.Gaussian(jnp.asarray([1.0, -2.0], dtype) + shift, jnp.asarray(COVARIANCE, dtype))


def mixture(shift, dtype=float):
    locations = jnp.asarray([[0.0, 1.0], [2.0, -1.0]], dtype) + shift
    components = eqx.filter_vmap(lambda m: beliefs.Gaussian(m, jnp.asarray(COVARIANCE, dtype)))(locations)
    return beliefs.Mixture(components, jnp.log(jnp.asarray([0.3, 0.7], dtype)))


def points(shift, dtype=float):
    values = jnp.asarray([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]], dtype) + shift
    return beliefs.Points(values, jnp.asarray([0.0, -1.0, 0.3], dtype))


# Each makes a belief whose parameters move with a scalar `shift`.
BELIEFS = {
    "Gaussian": gaussian,
    "DiagonalGaussian": lambda shift, dtype=float: beliefs.DiagonalGaussian(
        jnp.asarray([1.0, -2.0], dtype) + shift, jnp.asarray([0.5, 2.0], dtype)
    ),
    "Mixture": mixture,
    "Points": points,
    "Categorical": lambda shift, dtype=float: beliefs.Categorical(
        jnp.asarray([0.0, 1.0, -0.5], dtype) * (1 + shift), jnp.asarray([1.0, 2.0, 4.0], dtype)
    ),
}


@dataclass
class Case:
    """A filter, its motion as a function of the noise density, and what it needs besides."""

    filter: AbstractFilter
    motion: Any = ConstantVelocity
    random: bool = False
    differentiable: bool = True


FILTERS = {
    "KalmanFilter": Case(filters.KalmanFilter()),
    "ExtendedKalmanFilter": Case(filters.ExtendedKalmanFilter()),
    "UnscentedKalmanFilter": Case(filters.UnscentedKalmanFilter()),
    "InteractingMultipleModel": Case(
        filters.InteractingMultipleModel(filters.KalmanFilter(), jnp.asarray([[0.9, 0.1], [0.2, 0.8]])),
        motion=lambda density: (ConstantVelocity(density), ConstantVelocity(10 * density)),
    ),
    # Its evidence is an estimate that jumps where a particle is replaced; its gradient has tests of its own.
    "ParticleFilter": Case(filters.ParticleFilter(64), random=True, differentiable=False),
}
ROWS = 6
SEEN = np.array([[1, 1], [1, 0], [0, 0], [1, 1], [0, 1], [1, 1]], bool)
OBSERVED = np.cumsum(np.random.default_rng(1).normal(size=(3, ROWS, 2)), axis=1)


INPUTS = np.random.default_rng(2).normal(size=(24, 2))
DATA = (INPUTS, (INPUTS[:, 0] > 0).astype(int) + (INPUTS[:, 1] > 0.5))
LABELS = posteriors.CategoricalLikelihood()
ADAM = optax.adam(1e-2)


def network(key):
    layers = [eqx.nn.Linear(2, 5, key=key), eqx.nn.Lambda(jnp.tanh), eqx.nn.Dropout(0.2)]
    return eqx.nn.Sequential([*layers, eqx.nn.Linear(5, 3, key=jax.random.fold_in(key, 1))])


def trained(members=None):
    model = network(KEY) if members is None else eqx.filter_vmap(network)(jax.random.split(KEY, members))
    options = {"key": KEY, "optimizer": ADAM, "epochs": 3, "batch_size": 8, "members": members}
    return fit(model, posteriors.SupervisedLoss(LABELS), DATA, **options)


def by_l2m(fitted, make=None, **options):
    make = posteriors.l2m if make is None else make
    return make(
        fitted.model,
        fitted.optimizer_state,
        LABELS,
        DATA,
        batch_size=8,
        prior_precision=1.0,
        scale=1.0,
        **options,
    )


def prior(key):
    return posteriors.RandomizedPrior(network(key), network(jax.random.fold_in(key, 7)))


# Each makes a belief about networks of a trained one.
POSTERIORS = {
    "certain": lambda fitted: posteriors.certain(fitted.model),
    "l2m": by_l2m,
    "l2m, last layer": lambda fitted: by_l2m(fitted, which="last"),
    "l2m_ensemble": lambda _: by_l2m(trained(2), posteriors.l2m_ensemble),
    "laplace": lambda fitted: posteriors.laplace(fitted.model, LABELS, DATA),
    "laplace, full": lambda fitted: posteriors.laplace(fitted.model, LABELS, DATA, structure="last_full"),
    "laplace, diagonal": lambda fitted: posteriors.laplace(fitted.model, LABELS, DATA, structure="diagonal"),
    "ensemble": lambda _: posteriors.ensemble(network, LABELS, DATA, members=2, epochs=1, key=KEY),
    "ensemble, randomized prior": lambda _: posteriors.ensemble(
        prior, LABELS, DATA, members=2, epochs=1, bootstrap=True, key=KEY
    ),
    "dropout": lambda fitted: posteriors.dropout(fitted.model),
    "swag": lambda fitted: posteriors.swag(
        fitted.model, LABELS, DATA, rank=2, epochs=3, batch_size=8, key=KEY
    ),
}


def exported(room, kind):
    return {
        name for name in room.__all__
        if inspect.isclass(getattr(room, name))
        and issubclass(getattr(room, name), kind)
        and name[:8] != "Abstract"
    }  # fmt: skip


def close(got, expected, rtol=1e-9, atol=1e-10):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=rtol, atol=atol)


def test_nothing_is_left_out():
    assert exported(beliefs, AbstractBelief) == set(BELIEFS)
    assert exported(filters, AbstractFilter) == set(FILTERS)
    makers = {
        name
        for name in posteriors.__all__
        if inspect.isfunction(getattr(posteriors, name)) and returns_networks(getattr(posteriors, name))
    }
    elsewhere = {"l2m_from_torch"}  # needs a network of PyTorch: tests/posteriors/test_torch_state.py
    assert makers - elsewhere == {name.partition(",")[0] for name in POSTERIORS}


def returns_networks(function):
    """Whether what a function returns is, by its annotation, a belief about networks."""
    kinds = typing.get_type_hints(function).get("return")
    kinds = typing.get_args(kinds) or (kinds,)
    return any(inspect.isclass(kind) and issubclass(kind, AbstractBelief) for kind in kinds) and not any(
        inspect.isclass(kind) and issubclass(kind, AbstractDensity) for kind in kinds
    )


def answers(belief):
    """Everything a belief promises to answer."""
    out = {
        "mean": belief.mean(),
        "sample": belief.sample(key=KEY),
        "points": belief.points(8, key=KEY).mean(),
    }
    if isinstance(belief, AbstractDensity):
        out["log_prob"] = belief.log_prob(
            jnp.asarray(1) if isinstance(belief, beliefs.Categorical) else belief.mean() + 0.3
        )
    return out


@pytest.mark.parametrize("name", BELIEFS)
def test_belief(name, tmp_path):
    make = BELIEFS[name]
    eager = answers(make(0.1))
    close(jax.jit(lambda shift: answers(make(shift)))(0.1), eager)
    shifts = jnp.asarray([0.1, -0.4])
    batch = jax.vmap(lambda shift: answers(make(shift)))(shifts)
    for index, shift in enumerate(shifts):
        close(jax.tree.map(lambda leaf, index=index: leaf[index], batch), answers(make(shift)))
    close(answers(make(0.1)), eager, rtol=0, atol=0)

    belief = make(0.1)
    leaves, structure = jax.tree.flatten(belief)
    close(answers(jax.tree.unflatten(structure, leaves)), eager, rtol=0, atol=0)
    save(tmp_path / "belief", belief)
    close(load(tmp_path / "belief", make(0.0)), belief, rtol=0, atol=0)

    def scalar(shift):
        out = answers(make(shift))
        return jnp.sum(out["mean"]) + out.get("log_prob", 0.0)

    slope = (scalar(0.1 + 1e-6) - scalar(0.1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(scalar)(0.1), slope, rtol=1e-6, atol=1e-8)

    single = make(jnp.asarray(0.1, jnp.float32), jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {jnp.dtype(jnp.float32)}
    for part in {"mean", "log_prob"} & set(eager):
        got = answers(single)[part]
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, eager[part], rtol=1e-5, atol=1e-5)


def whole(case, density, observed, dtype=float, after=None, rows=slice(None)):
    prior = Gaussian(jnp.zeros(4, dtype), 4 * jnp.eye(4, dtype=dtype))
    observed = jnp.asarray(observed, dtype)[rows]
    sensor = Position(jnp.asarray([0.5, 0.8], dtype), 4)
    key = KEY if case.random else None
    motion = case.motion(jnp.asarray(density, dtype))
    return filters.run(
        case.filter, motion, sensor, prior, observed, seen=SEEN[rows], dt=0.5, key=key, after=after
    )  # fmt: skip


def numbers(run):
    return {"evidence": run.log_evidences, "mean": run.last.mean()}


@pytest.mark.parametrize("name", FILTERS)
def test_filter(name, tmp_path):
    case = FILTERS[name]
    result = whole(case, 0.3, OBSERVED[0])
    close(numbers(whole(case, 0.3, OBSERVED[0])), numbers(result), rtol=0, atol=0)
    close(jax.jit(lambda d, y: numbers(whole(case, d, y)))(0.3, OBSERVED[0]), numbers(result))
    with jax.disable_jit():
        close(numbers(whole(case, 0.3, OBSERVED[0])), numbers(result))

    batch = jax.vmap(lambda y: numbers(whole(case, 0.3, y)))(jnp.asarray(OBSERVED))
    for index, observed in enumerate(OBSERVED):
        close(jax.tree.map(lambda leaf, index=index: leaf[index], batch), numbers(whole(case, 0.3, observed)))

    if case.differentiable:

        def evidence(density):
            return whole(case, density, OBSERVED[0]).log_evidence

        slope = (evidence(0.3 + 1e-6) - evidence(0.3 - 1e-6)) / 2e-6
        np.testing.assert_allclose(jax.grad(evidence)(0.3), slope, rtol=1e-6)

    hidden = np.where(SEEN, OBSERVED[0], np.nan)
    close(numbers(whole(case, 0.3, hidden)), numbers(result), rtol=0, atol=0)
    assert result.log_evidences[2] == 0

    first = whole(case, 0.3, OBSERVED[0], rows=slice(0, 4))
    save(tmp_path / "run", first)
    blank = jax.tree.map(jnp.zeros_like, first)
    second = whole(case, 0.3, OBSERVED[0], after=load(tmp_path / "run", blank), rows=slice(4, None))
    close(second.last, result.last, rtol=0, atol=0)
    close(jnp.concatenate([first.log_evidences, second.log_evidences]), result.log_evidences, rtol=0, atol=0)

    if not case.random:  # a random filter draws other numbers in float32
        single = whole(
            replace(case, filter=jax.tree.map(_as_single, case.filter)), 0.3, OBSERVED[0], jnp.float32
        )
        assert {leaf.dtype for leaf in jax.tree.leaves(single.last)} == {jnp.dtype(jnp.float32)}
        close(numbers(single), numbers(result), rtol=2e-3, atol=2e-3)


def _as_single(leaf):
    return leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf


class Counted(ConstantVelocity):
    """A motion that notes whenever it is traced."""

    def linear(self, u=None, dt=1.0):
        TRACES.append(1)
        return super().linear(u, dt)


TRACES: list[int] = []


@pytest.mark.parametrize("name", FILTERS)
def test_filter_adds_no_trace_for_other_numbers(name):
    def motion(density):
        motions = FILTERS[name].motion(density)
        several = isinstance(motions, tuple)
        counted = tuple(Counted(one.acceleration_density) for one in (motions if several else (motions,)))
        return counted if several else counted[0]

    case = replace(FILTERS[name], motion=motion)
    whole(case, 0.3, OBSERVED[0])
    before = len(TRACES)
    assert before > 0
    for density in (0.1, 0.7, 2.0):
        whole(case, density, OBSERVED[1])
    assert len(TRACES) == before


@pytest.fixture(scope="module")
def fitted():
    return trained()


@pytest.mark.parametrize("name", POSTERIORS)
def test_posterior(name, fitted, tmp_path):
    belief = POSTERIORS[name](fitted)

    def chances(belief, x):
        return posteriors.predict(belief, LABELS, x, n=6, key=KEY).probabilities()

    rows = jnp.asarray(INPUTS[:3])
    one_by_one = jnp.stack([chances(belief, x) for x in rows])
    np.testing.assert_allclose(one_by_one.sum(axis=1), 1.0, rtol=1e-12)
    close(jax.jit(jax.vmap(chances, (None, 0)))(belief, rows), one_by_one)
    together = posteriors.predict_rows(belief, LABELS, rows, n=6, key=KEY, at_once=2)
    close(jax.vmap(lambda prediction: prediction.probabilities())(together), one_by_one)
    close(chances(belief, rows[0]), one_by_one[0], rtol=0, atol=0)

    networks = belief.points(6, key=KEY)
    by_hand = networks.expect(lambda network: jax.nn.softmax(network(rows[0])))
    close(expected(belief, lambda network: jax.nn.softmax(network(rows[0])), 6, key=KEY), by_hand)
    assert belief.sample(key=KEY)(rows[0]).shape == belief.mean()(rows[0]).shape == (3,)

    direction = jnp.asarray([0.6, -0.8])
    slope = jax.grad(lambda step: chances(belief, rows[0] + step * direction)[0])(0.0)
    ends = [chances(belief, rows[0] + step * direction)[0] for step in (1e-6, -1e-6)]
    if name != "dropout":  # other units are left out at another input
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-8)

    save(tmp_path / "belief", belief)
    close(chances(load(tmp_path / "belief", belief), rows[0]), one_by_one[0], rtol=0, atol=0)
