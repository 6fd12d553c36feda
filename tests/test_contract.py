"""One contract for every public belief and filter: what each must keep, whatever else it does.

A new one only adds its name to `BELIEFS` or `FILTERS`; `test_nothing_is_left_out` fails until it does.
"""

import inspect
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import foresee.beliefs as beliefs
import foresee.filters as filters
from foresee.beliefs import AbstractBelief, AbstractDensity, AbstractFilter, Gaussian
from foresee.dynamics import ConstantVelocity, Position
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
