"""Policies trained by following the gradient back through the closed loop: MPER, VG and MPUR.

All three drive a few seconds and differ in what they mind about it: how far they end up from the record
(MPER), what it cost (VG, value gradients), or what it cost and how unsure the model of the traffic was on the
way (MPUR). After Henaff, Canziani, LeCun (2019), "Model-predictive policy learning with uncertainty
regularization for driving in dense traffic", arXiv 1901.02705, but with the ego's own motion exact.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.driving.drivers.cloning import Perturbations, pushed
from foresee.driving.drivers.costs import Costs
from foresee.driving.drivers.policy import Policy, members_of
from foresee.driving.drivers.rollout import EGO, Ahead, TrainingMode, unroll
from foresee.driving.drivers.training import careful_adam
from foresee.driving.scenario import Scenario, Scenarios
from foresee.driving.traffic_model import AbstractTraffic
from foresee.errors import OptionError, ShapeError
from foresee.fit.known import Known
from foresee.fit.training import Fitted, fit

ROUNDING = 0.1  # below this distance a miss counts by its square [m]
GENTLE = Perturbations(across=0.2, along=0.3, angle=0.01, speed=0.4)  # at the start of a window


class Coefficients(eqx.Module):
    """What a policy minds about a drive; each weighs a mean over the steps.

    Args:
        imitation: of the distance to where the recorded driver was [1/m].
        task: of the discounted cost.
        doubt: of how unsure the model of the traffic is.
    """

    imitation: Float[Array, "*m"] = eqx.field(converter=as_float, default=0.0)
    task: Float[Array, "*m"] = eqx.field(converter=as_float, default=0.0)
    doubt: Float[Array, "*m"] = eqx.field(converter=as_float, default=0.0)


METHODS = {
    "mper": Coefficients(imitation=1.0),
    "vg": Coefficients(task=1.0),
    "mpur": Coefficients(task=1.0, doubt=0.5),
}


class Student(eqx.Module):
    """A policy in training, what it is to mind, which is not trained, and whether training is over."""

    policy: Policy
    coefficients: Known
    inference: bool = False


class UnrolledLoss(eqx.Module):
    """The loss of a student in one window; every method is this function, with other coefficients.

    Attributes:
        costs: cost(view, action, last_action, dt) of an action.
        traffic: the model that moves the others in "learned" traffic, and that `doubt` is about.
        doubt: doubt(world, memory, key=key) after a step, or None.
        dt: time between frames of a window [s].
        mode: how the others move, as in `unroll`.
        doubt_every: as in `unroll`.
        recompute: as in `unroll`.
        perturbations: how far the ego is pushed off its record at the start of a window; None: not at all.
    """

    costs: Callable[..., Float[Array, ""]]
    traffic: AbstractTraffic | None
    doubt: Callable[..., Float[Array, ""]] | None
    dt: Float[Array, ""] = eqx.field(converter=as_float)
    mode: TrainingMode | str = eqx.field(static=True, default="replay")
    doubt_every: int = eqx.field(static=True, default=1)
    recompute: bool = eqx.field(static=True, default=False)
    perturbations: Perturbations | None = None

    def __call__(self, student: Student, window: Scenario, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """Drive through the window and return what the student minds about it."""
        pushing, key = jax.random.split(key)
        if self.perturbations is not None and not student.inference:
            world = pushed(window.world, self.perturbations, jax.random.normal(pushing, (5,)))
            window = replace(window, world=world)
        ahead = unroll(
            student.policy, window, self.dt, mode=self.mode, traffic=self.traffic, cost=self.costs,
            doubt=self.doubt, doubt_every=self.doubt_every, recompute=self.recompute, key=key,
        )  # fmt: skip
        weights: Coefficients = student.coefficients.fixed()
        return self.weighed(ahead, window, weights)

    def weighed(self, ahead: Ahead, window: Scenario, weights: Coefficients) -> Float[Array, ""]:
        """Return the weighted sum of the means over the steps that the record covers."""
        number = jnp.arange(ahead.costs.shape[-1])
        counted = number < window.frames
        times = self.dt * number
        discounts = self.costs.discounts(times) if isinstance(self.costs, Costs) else jnp.ones_like(times)
        parts = jnp.stack([distances(ahead, window), discounts * ahead.costs, ahead.doubts])
        missed, price, unsure = jnp.sum(jnp.where(counted, parts, 0.0), axis=1) / counted.sum()
        return weights.imitation * missed + weights.task * price + weights.doubt * unsure


def distances(ahead: Ahead, window: Scenario) -> Float[Array, " T"]:
    """Return how far the ego is from its record after every step, smooth where it is nearly there [m]."""
    away_x = ahead.ego[:, 0] - window.record.x[1:, EGO]
    away_y = ahead.ego[:, 1] - window.record.y[1:, EGO]
    return jnp.sqrt(away_x**2 + away_y**2 + ROUNDING**2) - ROUNDING


class Unrolled(NamedTuple):
    """Policies trained through the closed loop.

    Attributes:
        policies: of every method, with a leading axis of members.
        fitted: how the training went, for all methods and members in this order.
        diverged: whether a loss was not finite; the policy is then the last good one.
    """

    policies: dict[str, Policy]
    fitted: Fitted
    diverged: dict[str, Bool[np.ndarray, " members"]]


def train_unrolled(
    policies: Policy,
    windows: Scenarios,
    *,
    methods: Mapping[str, Coefficients] = METHODS,
    validation: Scenarios | None = None,
    mode: TrainingMode | str = "replay",
    traffic: AbstractTraffic | None = None,
    doubt: Callable[..., Float[Array, ""]] | None = None,
    doubt_every: int = 1,
    costs: Callable[..., Float[Array, ""]] | None = None,
    perturbations: Perturbations | None = GENTLE,
    epochs: int = 12,
    batch_size: int = 32,
    learning_rate: float | int = 2e-3,
    clip: float | int = 1.0,
    recompute: bool = False,
    key: PRNGKeyArray,
    **options: Any,
) -> Unrolled:
    """Train every method from every member's weights, side by side, in one loop and at the same budget.

    A step whose gradient is not finite is left out, and longer gradients than `clip` are shortened.

    Args:
        policies: where to start, with a leading axis of members, as after cloning.
        windows: what to drive in, from `foresee.driving.drivers.rollout.windows`.
        methods: what each minds, by name.
        validation: windows of other scenes; the policies with the least loss there are returned.
        mode: how the others move, as in `unroll`.
        traffic: the model that moves the others, or that `doubt` is about.
        doubt: doubt(world, memory, key=key), a number: how unsure the traffic model is after a step.
        doubt_every: as in `unroll`.
        costs: cost(view, action, last_action, dt) of an action; those of `Costs` by default.
        perturbations: how far the ego is pushed off its record at the start, drawn anew every time, but not
            in validation; None: not at all.
        epochs: how often every window is driven.
        batch_size: windows in a step.
        learning_rate: the first one, which falls to zero along a cosine.
        clip: longest gradient.
        recompute: whether to save memory, as in `unroll`.
        key: order of the windows, and whatever is drawn on the way.
        options: others of `foresee.fit.training.fit`, as `checkpoint` and `progress`.

    Raises:
        OptionError: if there is no method, or a method minds doubt and there is none.
        ShapeError: if policies have no axis of members, or the windows of validation another time step.
    """
    members = members_of(policies)
    if not methods:
        raise OptionError("expected at least one method to train, got none")
    if doubt is None and any(bool(np.any(np.asarray(each.doubt))) for each in methods.values()):
        minding = [name for name, each in methods.items() if np.any(np.asarray(each.doubt))]
        raise OptionError(f"expected a doubt of the traffic model for {', '.join(minding)}, got none")
    if validation is not None and validation.dt != windows.dt:
        raise ShapeError(f"expected validation windows of {windows.dt:g} s a step, got {validation.dt:g} s")
    students = _students(policies, methods, members)
    count = members * len(methods)
    steps = epochs * -(-len(windows) // min(batch_size, len(windows)))
    hyper = {"rate": learning_rate, "clip": clip, "steps": steps}
    costs = Costs() if costs is None else costs
    loss = UnrolledLoss(costs, traffic, doubt, windows.dt, mode, doubt_every, recompute, perturbations)
    fitted = fit(
        students, loss, windows.scenario, key=key, optimizer=careful_adam, epochs=epochs,
        batch_size=batch_size, validation=None if validation is None else validation.scenario, members=count,
        hyperparameters={name: jnp.full(count, value, float) for name, value in hyper.items()}, **options,
    )  # fmt: skip
    ran = np.arange(fitted.losses.shape[1]) < np.asarray(fitted.epochs)[:, None]
    wrong = np.asarray((ran & ~np.isfinite(np.asarray(fitted.losses))).any(axis=1))
    trained, diverged = {}, {}
    for number, name in enumerate(methods):
        part = slice(number * members, (number + 1) * members)
        own = jax.tree.map(lambda leaf, part=part: leaf[part], fitted.model.policy)
        trained[name], diverged[name] = replace(own, name=name), wrong[part]
    return Unrolled(trained, fitted, diverged)


def _students(policies: Policy, methods: Mapping[str, Coefficients], members: int) -> Student:
    """Return every method with every member's weights, method by method."""
    count = len(methods)
    every = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * count), policies)
    weights = jax.tree.map(lambda *each: jnp.repeat(jnp.stack(each), members), *methods.values())
    return Student(replace(every, name="policy"), Known(weights))
