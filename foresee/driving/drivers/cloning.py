"""Policies that copy recorded drivers: cloning with perturbations, and its correction in closed loop.

A policy that has only seen what good drivers see does not know the way back once it has erred. So the ego is
pushed off its record, and the action to copy is the one that begins the way back.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.driving.drivers.policy import Policy, member, members_of, new_policies
from foresee.driving.drivers.rollout import EGO, windows
from foresee.driving.drivers.training import careful_adam
from foresee.driving.evaluate import evaluate
from foresee.driving.observe import observe
from foresee.driving.scenario import Scenario, Scenarios
from foresee.driving.sensing import know_exactly
from foresee.driving.simulate import Mode
from foresee.driving.vector import SPEED, vector
from foresee.driving.world import World, bounded, relocate
from foresee.errors import OptionError
from foresee.fit.training import Fitted, fit

AT_FAULT = ("at_fault_collision", "offroad")  # a contact from behind in replayed traffic is nobody's lesson
SLOWEST = 5.0  # below this speed curvatures are compared as at this one [m/s]
HEAVIEST = 50.0  # weight of an error up to which training still works


class Perturbations(eqx.Module):
    """How far the ego is pushed off its record: standard deviations of normal numbers.

    Args:
        across: to the side [m].
        along: forward or back [m].
        angle: of its direction [rad].
        speed: of its speed [m/s].
        acceleration: of the acceleration that it is told it had [m/s²], lest it be copied.
    """

    across: Float[Array, ""] = eqx.field(converter=as_float, default=0.4)
    along: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    angle: Float[Array, ""] = eqx.field(converter=as_float, default=0.02)
    speed: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    acceleration: Float[Array, ""] = eqx.field(converter=as_float, default=0.7)


class Pairs(eqx.Module):
    """What is seen, and what a good driver does then.

    Attributes:
        numbers: observations as vectors.
        actions: acceleration [m/s²] and curvature [1/m].
        scenario: from which scenario each comes.
    """

    numbers: Float[Array, "N 59"]
    actions: Float[Array, "N 2"]
    scenario: Int[Array, " N"]


def pairs_of(
    scenarios: Scenarios,
    *,
    every: float | int = 0.5,
    copies: int = 4,
    reach: float | int = 2.0,
    nearest: int = 20,
    perturbations: Perturbations | None = None,
    key: PRNGKeyArray,
) -> Pairs:
    """Return what drivers of perturbed vehicles see and do, of the whole of all scenarios.

    The action begins the cubic path that meets the record, in place and velocity, after `reach` seconds: of
    all paths that do, the one with the least mean square of acceleration. It is told from where the recorded
    vehicle gets to, so noise of recorded accelerations does not enter it. The first of the copies is not
    perturbed.

    Args:
        scenarios: the situations; of scripted or simulated ones too, the record is what is copied.
        every: time between two moments of a scenario [s].
        copies: how many perturbed vehicles of each moment.
        reach: when the record is to be met [s].
        nearest: number of vehicles that are looked at, the ego included.
        perturbations: how far it is pushed off.
        key: the randomness of that.

    Raises:
        OptionError: if a number is not positive.
        RecordingError: if no scenario lasts long enough.
    """
    if copies < 1:
        raise OptionError(f"expected at least one copy, got {copies}")
    cut = windows(scenarios, seconds=reach, every=every, nearest=nearest, thin=1)
    place = {name: number for number, name in enumerate(scenarios.names)}
    which = jnp.asarray([place[name] for name in cut.names], jnp.int32)
    pushes = Perturbations() if perturbations is None else perturbations
    numbers, actions = _pairs(cut.scenario, pushes, key, copies, reach)
    return Pairs(numbers, actions, jnp.repeat(which, copies))


@eqx.filter_jit
def _pairs(
    cut: Scenario, pushes: Perturbations, key: PRNGKeyArray, copies: int, reach: float
) -> tuple[Array, Array]:
    def one(window: Scenario, draws: Array) -> tuple[Array, Array]:
        world = pushed(window.world, pushes, draws)
        end = jax.tree.map(lambda leaf: leaf[-1, EGO], window.record)
        action = way_back(world, end, reach)
        return vector(observe(world, EGO, know_exactly(world, EGO))), action

    count = cut.ego.shape[0]
    draws = jax.random.normal(key, (count, copies, 5)).at[:, 0].set(0.0)
    numbers, actions = jax.vmap(jax.vmap(one, (None, 0)))(cut, draws)
    return numbers.reshape(-1, numbers.shape[-1]), actions.reshape(-1, 2)


def pushed(world: World, pushes: Perturbations, draws: Float[Array, "5"]) -> World:
    """Return the world with the ego pushed off by so many standard deviations of everything."""
    across, along, angle, speed, acceleration = draws
    heading = world.heading[EGO]
    c, s = jnp.cos(heading), jnp.sin(heading)
    aside, ahead = pushes.across * across, pushes.along * along
    moved = replace(
        world,
        x=world.x.at[EGO].add(c * ahead - s * aside),
        y=world.y.at[EGO].add(s * ahead + c * aside),
        heading=world.heading.at[EGO].add(pushes.angle * angle),
        speed=world.speed.at[EGO].set(jnp.maximum(world.speed[EGO] + pushes.speed * speed, 0.0)),
        acceleration=world.acceleration.at[EGO].add(pushes.acceleration * acceleration),
    )
    found = relocate(moved, moved.along.at[EGO].add(ahead))
    return replace(found, alive=world.alive, target=world.target)


def way_back(world: World, end: Any, reach: float | int) -> Float[Array, "2"]:
    """Return acceleration and curvature at the beginning of the cubic path to a later place and velocity.

    Args:
        world: where the ego is.
        end: x, y, heading and speed at the end of the path.
        reach: how long the path takes [s].
    """
    x, y, heading, speed = world.x[EGO], world.y[EGO], world.heading[EGO], world.speed[EGO]
    c, s = jnp.cos(heading), jnp.sin(heading)
    push_x = 6 * (end.x - x) / reach - 4 * speed * c - 2 * end.speed * jnp.cos(end.heading)
    push_y = 6 * (end.y - y) / reach - 4 * speed * s - 2 * end.speed * jnp.sin(end.heading)
    forward, left = (c * push_x + s * push_y) / reach, (c * push_y - s * push_x) / reach
    action = jnp.stack([forward, left / jnp.maximum(speed, SLOWEST) ** 2])
    return bounded(action[None], speed[None], world.limits)[0]


def cloning_loss(policy: Policy, example: Pairs, *, key: PRNGKeyArray) -> Float[Array, ""]:
    """Return how far an action is from the one to copy, along and sideways, by a rounded distance.

    Errors of about a metre per second squared and more count as they are and not by their squares.
    """
    speed = jnp.maximum(SPEED * example.numbers[0], SLOWEST)
    wrong = (policy(example.numbers) - example.actions) * jnp.stack([jnp.ones_like(speed), speed**2])
    return jnp.sum(jnp.sqrt(1 + wrong**2) - 1)


class Cloned(NamedTuple):
    """Policies that copy.

    Attributes:
        policies: with a leading axis of members.
        fitted: how the training went; None for policies that come from elsewhere.
        errors: which scenarios each member's predecessor failed in; None without one.
    """

    policies: Policy
    fitted: Fitted | None
    errors: Bool[np.ndarray, "members S"] | None = None


def clone(
    pairs: Pairs,
    *,
    validation: Pairs | None = None,
    policies: Policy | None = None,
    members: int = 1,
    weights: Any = None,
    epochs: int = 30,
    patience: int | None = 5,
    batch_size: int = 256,
    learning_rate: float | int = 2e-3,
    name: str = "bc",
    key: PRNGKeyArray,
    **options: Any,
) -> Cloned:
    """Train policies to do what good drivers do, side by side from different first weights.

    Args:
        pairs: what to copy.
        validation: pairs of other scenes; training stops early by them and returns the best.
        policies: where to start, with a leading axis of members; new ones by default.
        members: how many new ones.
        weights: weight of every pair, for all or for each member.
        epochs: how often every pair is seen at most.
        patience: stop after so many epochs without a better validation loss.
        batch_size: pairs in a step.
        learning_rate: the first one, which falls to zero along a cosine.
        name: what evaluations call the policies.
        key: first weights, and the order of the pairs.
        options: others of `foresee.fit.training.fit`, as `checkpoint` and `progress`.
    """
    begin, order = jax.random.split(key)
    policies = new_policies(members, key=begin) if policies is None else policies
    members = members_of(policies)
    rows = pairs.numbers.shape[0]
    numbers = {"rate": learning_rate, "clip": 10.0, "steps": epochs * -(-rows // min(batch_size, rows))}
    fitted = fit(
        replace(policies, name="policy"), cloning_loss, pairs, key=order, optimizer=careful_adam,
        epochs=epochs, batch_size=batch_size, validation=validation, weights=weights, members=members,
        patience=None if validation is None else patience,
        hyperparameters={name: jnp.full(members, value, float) for name, value in numbers.items()}, **options,
    )  # fmt: skip
    return Cloned(replace(fitted.model, name=name), fitted)


def error_set(
    policies: Policy,
    scenarios: Scenarios,
    *,
    metrics: Sequence[str] = AT_FAULT,
    mode: Mode = "replay",
    key: PRNGKeyArray,
) -> Bool[np.ndarray, "members S"]:
    """Return in which scenarios each policy errs in closed loop.

    Args:
        policies: with a leading axis of members.
        scenarios: the situations to drive in.
        metrics: scores of an evaluation of which any above zero is an error.
        mode: what the others do.
        key: the randomness of the evaluation.

    Raises:
        OptionError: if a metric is unknown.
    """
    found = []
    for number in range(members_of(policies)):
        table = evaluate(member(policies, number), scenarios, mode, key=key, keep=0).table
        unknown = [name for name in metrics if name not in table.columns]
        if unknown or not metrics:
            raise OptionError(f"expected scores of an evaluation, got {', '.join(unknown) or 'none'}")
        scores = [table[name].cast(pl.Float64).fill_null(0.0).to_numpy() > 0 for name in metrics]
        found.append(np.logical_or.reduce(scores))
    return np.stack(found)


def cw_erm(
    cloned: Cloned,
    pairs: Pairs,
    scenarios: Scenarios,
    *,
    weight: float | int = 10.0,
    metrics: Sequence[str] = AT_FAULT,
    mode: Mode = "replay",
    name: str = "cw_erm",
    key: PRNGKeyArray,
    **options: Any,
) -> Cloned:
    """Clone again, with more weight on the scenarios in which a first clone errs in closed loop.

    Kumar et al. (2022), "CW-ERM: Improving Autonomous Driving Planning with Closed-loop Weighted Empirical
    Risk Minimization", arXiv 2210.02174: the first clone should be stopped early, its errors counted on the
    scenarios it was trained in, and the second one begins from new weights.

    Args:
        cloned: the first clone.
        pairs: what it copied.
        scenarios: those that the pairs come from.
        weight: of a pair from a scenario with an error; the others weigh 1.
        metrics: what counts as an error, as in `error_set`.
        mode: what the others do meanwhile.
        name: what evaluations call the policies.
        key: the randomness.
        options: as for `clone`.

    Raises:
        OptionError: if the weight is not between 1 and 50, or a metric unknown.
    """
    if not 1 <= weight <= HEAVIEST:
        raise OptionError(f"expected a weight between 1 and {HEAVIEST:g}, got {weight}")
    judging, training = jax.random.split(key)
    errors = error_set(cloned.policies, scenarios, metrics=metrics, mode=mode, key=judging)
    heavier = np.where(errors[:, np.asarray(pairs.scenario)], float(weight), 1.0)
    options = {"members": members_of(cloned.policies)} | options
    again = clone(pairs, weights=heavier, name=name, key=training, **options)
    return again._replace(errors=errors)
