"""Small worlds whose truth is known, on which learned ones fail in ways that can be measured."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from foresee.fit import fit
from foresee.worlds import one_step

ADAM = optax.adam(3e-3)
GAP, FORK_NOISE = 0.8, 0.05  # the fork's branches are 2 GAP apart
EFFECT, UNSEEN = 1.0, 0.5  # of the action, and standard deviation of what the context does not tell
STEP, SEEN_NOISE = 0.1, 0.1  # seconds; noise of recorded angles and angular velocities, rad and rad/s


def fork(rows: int, seed: int = 0) -> Any:
    """Return a context, an action with a small effect, and an outcome to one of two sides."""
    rng = np.random.default_rng(seed)
    context, action = rng.uniform(-1, 1, (2, rows, 1))
    side = rng.choice([-1.0, 1.0], (rows, 1))
    outcome = GAP * side + 0.3 * action + FORK_NOISE * rng.normal(size=(rows, 1))
    return jax.tree.map(jnp.asarray, (context, action, outcome))


def branch_distance(outcome: Any, action: Any) -> Any:
    """Return the distance from the nearer branch, in units of half their distance from each other."""
    return jnp.min(jnp.abs(outcome - 0.3 * action - jnp.asarray([-GAP, GAP])), axis=-1) / GAP


def fork_loss() -> float:
    """Return the negative log likelihood of the true fork in nats."""
    return float(np.log(2 * FORK_NOISE) + 0.5 * np.log(2 * np.pi * np.e))


def hidden(rows: int, seed: int = 0) -> Any:
    """Return examples whose outcome is the action's effect and something that nothing else tells."""
    rng = np.random.default_rng(seed)
    context, action, unseen = rng.normal(size=(3, rows, 1))
    return jax.tree.map(jnp.asarray, (context, action, EFFECT * action + UNSEEN * unseen))


def swing(episodes: int, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return true states [angle, angular velocity] of a damped pendulum and torques, smooth in time."""
    rng = np.random.default_rng(seed)
    state = np.stack([rng.uniform(-1.5, 1.5, episodes), rng.normal(0, 1, episodes)], axis=1)
    torque, states, torques = np.zeros(episodes), [state], []
    for _ in range(steps):
        torque = 0.9 * torque + 0.3 * rng.normal(size=episodes)
        for _ in range(10):  # short semi-implicit Euler steps
            speed = state[:, 1] + STEP / 10 * (torque - 5 * np.sin(state[:, 0]) - 0.3 * state[:, 1])
            state = np.stack([state[:, 0] + STEP / 10 * speed, speed], axis=1)
        states.append(state)
        torques.append(torque)
    return np.stack(states, axis=1), np.stack(torques, axis=1)[..., None]


def seen(states: np.ndarray) -> np.ndarray:
    """Return states as they are recorded, with noise."""
    return states + SEEN_NOISE * np.random.default_rng(9).normal(size=states.shape)


def windows(states: np.ndarray, torques: np.ndarray, length: int) -> Any:
    """Return first states, torques and the states after them, of windows that do not overlap."""
    starts = range(0, torques.shape[1] - length + 1, length)
    cut = [(states[:, s], torques[:, s : s + length], states[:, s + 1 : s + 1 + length]) for s in starts]
    return tuple(jnp.asarray(np.concatenate(part)) for part in zip(*cut, strict=True))


def curve(rows: int, low: float, high: float, seed: int) -> Any:
    """Return a noisy curve with a linear effect of the action; |context| is between two bounds."""
    rng = np.random.default_rng(seed)
    context = rng.uniform(low, high, (rows, 1)) * rng.choice([-1, 1], (rows, 1))
    action = rng.uniform(-1, 1, (rows, 1))
    outcome = np.sin(3 * context) + 0.5 * action + 0.1 * rng.normal(size=(rows, 1))
    return jax.tree.map(jnp.asarray, (context, action, outcome))


def keys(count: int) -> Any:
    """Return keys for so many worlds."""
    return jax.random.split(jax.random.key(0), count)


def trained(make: Any, data: Any, epochs: int, members: Any, loss: Any = one_step, batch: int = 64) -> Any:
    """Train worlds side by side; `members` are stacked arguments of `make`, keys first."""
    models = eqx.filter_jit(eqx.filter_vmap(make))(*members)
    options: dict[str, Any] = {"epochs": epochs, "batch_size": batch, "optimizer": ADAM}
    return fit(models, loss, data, key=jax.random.key(1), members=members[0].shape[0], **options)


def first(stacked: Any) -> Any:
    """Return the first of several worlds, or optimiser states."""
    return jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, stacked)


def over(worlds: Any, judge: Any, test: Any) -> Any:
    """Return what a function of world, context, action and outcome says, averaged over rows, by world."""

    @eqx.filter_jit
    def every(worlds, test):
        return eqx.filter_vmap(lambda world: jax.vmap(lambda *row: judge(world, *row))(*test))(worlds)

    return jax.tree.map(lambda leaf: np.asarray(leaf).mean(axis=1), every(worlds, test))


def spread(values: Any) -> list[float]:
    """Return the mean over seeds and its standard error."""
    values = np.asarray(values, float)
    return [float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))]
