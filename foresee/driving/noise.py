"""The noise of a recording: how vehicles move and how their sightings err, learned with a prior."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from foresee.beliefs import Gaussian
from foresee.driving.sighting import MixedSightings, Sighting
from foresee.driving.states import Learned
from foresee.errors import RecordingError
from foresee.filters import ExtendedKalmanFilter, InteractingMultipleModel, Positive, Tuned, tune

Progress = Callable[[str, float], None]

MODE_NAMES = ("quiet", "ordinary", "agitated")  # of the persistent error
MODES = len(MODE_NAMES)
WINDOWS, WINDOW_ROWS = 48, 60  # stretches of tracks that the noise is learned on
STEPS = 60
OPTIMIZER = optax.adam(optax.cosine_decay_schedule(0.15, STEPS, alpha=0.02), b2=0.95)


class Prior(NamedTuple):
    """What is assumed of one learned parameter: its logarithm is normal around that of the median."""

    median: Any
    spread: float
    unit: str
    meaning: str


# What drivers do is known beforehand: they accelerate by about 1 m/s², and a push on a pedal or a bend lasts
# a second or two (Montanino and Punzo 2015, for NGSIM). These priors are narrow, and so is that of how long
# an error persists: left free, jumpy positions are explained best by vehicles that could not exist, or by
# errors as slow as a lane change. How large the errors are, how bends are, and how often the mode changes,
# is left to the recording.
PRIORS: dict[str, Prior] = {
    "acceleration": Prior(np.array([0.3, 0.8, 1.5]), 0.05, "m/s²", "usual size of the acceleration"),
    "acceleration_time": Prior(1.5, 0.02, "s", "how long an acceleration lasts"),
    "curvature": Prior(np.array([1e-3, 3e-3, 1e-2]), 1.5, "1/m", "usual size of the curvature"),
    "curvature_time": Prior(1.5, 0.02, "s", "how long a bend lasts"),
    "error": Prior(np.outer([0.01, 0.05, 0.3], [1.0, 1.0]), 2.0, "m", "error that persists"),
    "error_rate": Prior(np.array([2.5, 2.5]), 0.1, "1/s", "rate at which that error is forgotten"),
    "white": Prior(0.03, 2.5, "m", "error that is new in every frame"),
    "switching": Prior(
        np.full((MODES, MODES - 1), 0.05), 1.5, "odds", "odds of changing so, from frame to frame"
    ),
}


def log_prior(parameters: dict[str, Array]) -> Float[Array, ""]:
    """Return the log density of the parameters before the recording is looked at, up to a constant."""
    total = jnp.zeros(())
    for name, prior in PRIORS.items():
        total = total - 0.5 * jnp.sum((jnp.log(parameters[name] / prior.median) / prior.spread) ** 2)
    return total


def mixed_sightings(parameters: dict[str, Array]) -> MixedSightings:
    """Return the motion of vehicles and errors whose mode is an input."""
    p = parameters
    return MixedSightings(
        2 * p["acceleration"] ** 2 / p["acceleration_time"],
        2 * p["curvature"] ** 2 / p["curvature_time"],
        p["acceleration_time"],
        p["curvature_time"],
        p["error"],
        p["error_rate"],
    )


def build(parameters: dict[str, Array], begin: Float[Array, " 9"]) -> tuple:
    """Return filter, motions, sensor and prior of one vehicle.

    Args:
        parameters: as named in `PRIORS`.
        begin: mean of the prior's vehicle part, and the standard deviations of position, heading and speed
            in it.
    """
    p = parameters
    mixed = mixed_sightings(p)
    motions = tuple(mixed.given(weights) for weights in jnp.eye(MODES))
    errors = [motion.error for motion in motions]
    odds = p["switching"]
    rows = [jnp.concatenate([odds[k, :k], jnp.ones(1), odds[k, k:]]) for k in range(MODES)]
    transition = jnp.stack([row / jnp.sum(row) for row in rows])
    at_rest = jnp.mean(jnp.stack([jnp.diagonal(error.stationary().covariance) for error in errors]), axis=0)
    variances = jnp.concatenate(
        [
            begin[jnp.array([6, 6, 7, 8])] ** 2,
            jnp.stack([jnp.mean(p["acceleration"] ** 2), jnp.mean(p["curvature"] ** 2)]),
            at_rest,
        ]
    )
    prior = Gaussian(jnp.concatenate([begin[:6], jnp.zeros(4)]), jnp.diag(variances), (2,))
    filter = InteractingMultipleModel(ExtendedKalmanFilter(), transition, together=True)
    return filter, motions, Sighting(p["white"]), prior


def learn_noise(
    positions: Float[np.ndarray, "V L 2"],
    seen: Bool[np.ndarray, "V L"],
    learn: Bool[np.ndarray, "V L"],
    begin: Float[np.ndarray, "V 9"],
    dt: float,
    *,
    seed: int,
    progress: Progress,
) -> tuple[dict[str, Array], tuple[Learned, ...], Float[np.ndarray, " steps"]]:
    """Learn all of `PRIORS` on stretches drawn from the rows to learn on.

    Every stretch starts where its track starts, since only there a starting belief is at hand.
    """
    lengths = learn.shape[1] - np.argmax(learn[:, ::-1], axis=1)
    usable = np.flatnonzero(learn.sum(axis=1) >= 5)
    if not len(usable):
        raise RecordingError(
            "expected at least one vehicle seen in 5 frames of the first "
            "part of its scene, to learn the noise from; got none"
        )
    order = np.random.default_rng(seed).permutation(usable)
    chosen = np.resize(order, WINDOWS)
    rows = min(WINDOW_ROWS, int(lengths[usable].max()))
    # Few vehicles are repeated to keep the compiled shape, but each counts once.
    once = (np.arange(WINDOWS) < len(order))[:, None]
    flags = (learn & seen)[chosen, :rows] & once
    start = {name: Positive(jnp.asarray(prior.median, float)) for name, prior in PRIORS.items()}
    start["white"] = Positive(jnp.asarray(white_noise(positions, seen)))
    progress("learning the noise", 0.0)
    tuned = tune(
        start,
        build,
        jnp.asarray(positions[chosen, :rows]),
        seen=jnp.asarray(flags),
        dt=dt,
        context=jnp.asarray(begin[chosen]),
        key=jax.random.key(seed),
        log_prior=log_prior,
        optimizer=OPTIMIZER,
        steps=STEPS,
        errors="scores",
    )
    progress("learning the noise", 1.0)
    if not bool(jnp.isfinite(tuned.loss)):
        raise RecordingError(
            "expected positions that a vehicle can have, got a track without any finite likelihood"
        )
    return tuned.parameters, _named(tuned), np.asarray(tuned.history)[: int(tuned.steps)]


def white_noise(positions: Float[np.ndarray, "V L 2"], seen: Bool[np.ndarray, "V L"]) -> float:
    """Return a rough standard deviation of what jumps from frame to frame [m], to start learning from.

    Third differences forget smooth motion and multiply the variance of white noise by 20; the median keeps
    out what moves abruptly.
    """
    there = (
        np.all(np.lib.stride_tricks.sliding_window_view(seen, 4, axis=1), axis=-1)
        if seen.shape[1] > 3
        else None
    )
    if there is None or not there.any():
        return float(PRIORS["white"].median)
    jumps = np.abs(np.diff(positions, n=3, axis=1))[there]
    return float(np.clip(1.4826 * np.median(jumps) / np.sqrt(20.0), 1e-4, 2.0))


def _named(tuned: Tuned) -> tuple[Learned, ...]:
    """Return what was learned, one number after the other, under readable names."""
    sides = ("along", "across")
    all_errors: Any = tuned.standard_errors
    out = []
    for name, prior in PRIORS.items():
        values, errors = np.asarray(tuned.parameters[name]), np.asarray(all_errors[name])
        for index in np.ndindex(values.shape):
            label = name
            if name == "error":
                label = f"error_{MODE_NAMES[index[0]]}_{sides[index[1]]}"
            elif name in ("acceleration", "curvature"):
                label = f"{name}_{MODE_NAMES[index[0]]}"
            elif name == "error_rate":
                label = f"error_rate_{sides[index[0]]}"
            elif name == "switching":
                others = [other for k, other in enumerate(MODE_NAMES) if k != index[0]]
                label = f"switching_{MODE_NAMES[index[0]]}_to_{others[index[1]]}"
            out.append(Learned(label, float(values[index]), float(errors[index]), prior.unit, prior.meaning))
    return tuple(out)
