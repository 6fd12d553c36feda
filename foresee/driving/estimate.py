"""From a recording to beliefs about what each vehicle did: learn the noise, filter, smooth."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Bool, Float, Int

from foresee import linalg
from foresee.beliefs import Gaussian, Mixture
from foresee.driving.noise import Progress, build, learn_noise, mixed_sightings
from foresee.driving.recording import Recording, Tracks
from foresee.driving.sighting import MixedSightings, Sighting
from foresee.driving.states import OneStep, States
from foresee.filters import ExtendedKalmanFilter, Run, run, smooth
from foresee.filters.extended import linearize
from foresee.filters.imm import gaussians

LEARNED_SHARE = 0.6  # the first part of every scene is learned on, the rest is held out
BATCH_ROWS = 64 * 200  # rows smoothed at a time, which bounds the memory


def estimate_states(recording: Recording, *, seed: int = 0, progress: Progress | None = None) -> States:
    """Turn recorded positions into smoothed beliefs about the state of every vehicle at every frame.

    The noise of vehicles and sightings is learned on the first part of every scene, as what is most probable
    given those rows and the priors of `foresee.driving.noise`; predictions one frame ahead are scored on the
    rest. Everything is computed in float64, since map coordinates may be millions of metres.

    Args:
        recording: what was read.
        seed: chooses the stretches that the noise is learned on.
        progress: called with the name of the step and the share of it that is done.

    Returns:
        The states, what was learned, and how well positions were predicted.

    Raises:
        RecordingError: if no vehicle was seen often enough to learn from.
    """
    told = progress or (lambda step, share: None)
    with jax.enable_x64(True):
        tracks = recording.tracks()
        begin, used = starting_beliefs(tracks, recording.frame_rate)
        learn, score = held_out(recording, tracks, used)
        origin = np.stack([begin[:, 0], begin[:, 1]], axis=-1)
        begin = begin - np.pad(origin, ((0, 0), (0, 7)))
        positions = np.where(
            tracks.seen[..., None], np.stack([tracks.x, tracks.y], -1) - origin[:, None], 0.0
        )
        parameters, learned, history = learn_noise(
            positions, tracks.seen, learn, begin, 1 / recording.frame_rate, seed=seed, progress=told
        )
        outcome = smooth_tracks(parameters, positions, tracks.seen, begin, 1 / recording.frame_rate, told)
    for mean in (outcome["mean"], outcome["filtered"]):
        mean[..., :2] += origin[:, None]
        if recording.reference == "front":
            half = 0.5 * recording.length[:, None]
            mean[..., 0] -= half * np.cos(mean[..., 2])
            mean[..., 1] -= half * np.sin(mean[..., 2])
    last = tracks.seen.shape[1] - 1 - np.argmax(tracks.seen[:, ::-1], axis=1)
    one_step = OneStep(
        score, learn, *(outcome.pop(name) for name in ("log_density", "normal_scores", "ranks"))
    )
    return States(
        recording,
        tracks,
        np.arange(tracks.seen.shape[1]) <= last[:, None],
        outcome["mean"],
        outcome["covariance"],
        outcome["modes"],
        learned,
        one_step,
        history,
        outcome["filtered"],
    )


def starting_beliefs(
    tracks: Tracks, frame_rate: float
) -> tuple[Float[np.ndarray, "V 9"], Int[np.ndarray, " V"]]:
    """Return where each vehicle starts and how sure that is, and how many of its rows were used to tell.

    Heading and speed come from the way to the first sighting that is far enough away, for which a vehicle in
    a queue may need many rows. Those rows are not scored later.

    Returns:
        x, y [m], heading [rad], speed [m/s], 0, 0, and the standard deviations of position, heading and
        speed; and the number of rows used.
    """
    begin = np.zeros((len(tracks.first), 9))
    used = np.zeros(len(tracks.first), int)
    for v, seen in enumerate(tracks.seen):
        rows = np.flatnonzero(seen)
        dx, dy = tracks.x[v, rows] - tracks.x[v, 0], tracks.y[v, rows] - tracks.y[v, 0]
        distance = np.hypot(dx, dy)
        enough = np.flatnonzero((distance > 5.0) & (rows >= 3))
        end = int(enough[0]) if len(enough) else len(rows) - 1
        seconds = max(rows[end] / frame_rate, 1 / frame_rate)
        heading_sd = 0.2 if len(enough) else np.clip(1.0 / max(distance[end], 1e-3), 0.2, 1.5)
        speed = distance[end] / seconds
        begin[v] = [
            tracks.x[v, 0],
            tracks.y[v, 0],
            np.arctan2(dy[end], dx[end]),
            speed,
            0,
            0,
            1.0,
            heading_sd,
            2.0,
        ]
        used[v] = rows[end] + 1
    return begin, used


def held_out(
    recording: Recording, tracks: Tracks, used: Int[np.ndarray, " V"]
) -> tuple[Bool[np.ndarray, "V L"], Bool[np.ndarray, "V L"]]:
    """Return the rows to learn on and the rows to score: the first part of every scene, and the rest."""
    rows = np.arange(tracks.seen.shape[1])
    frame = tracks.first[:, None] + rows
    end = np.zeros(recording.vehicles)
    for name in recording.scenes():
        inside = recording.scene == name
        end[inside] = 1 + np.max(np.where(recording.seen[inside], np.arange(recording.frames), 0))
    early = frame < LEARNED_SHARE * end[:, None]
    told = rows >= np.maximum(used, 3)[:, None]
    return tracks.seen & early, tracks.seen & ~early & told


def smooth_tracks(
    parameters: dict[str, Array],
    positions: Float[np.ndarray, "V L 2"],
    seen: Bool[np.ndarray, "V L"],
    begin: Float[np.ndarray, "V 9"],
    dt: float,
    progress: Progress,
) -> dict[str, np.ndarray]:
    """Filter and smooth all tracks, some vehicles at a time so that the memory stays bounded."""
    vehicles, rows = seen.shape
    batch = int(np.clip(BATCH_ROWS // rows, 1, vehicles))
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, vehicles, batch):
        progress("smoothing", start / vehicles)
        # The last batch is filled up with copies, so that all have the shape that is compiled already.
        chosen = np.minimum(np.arange(start, start + batch), vehicles - 1)
        part = _smooth_batch(
            parameters,
            jnp.asarray(positions[chosen]),
            jnp.asarray(seen[chosen]),
            jnp.asarray(begin[chosen]),
            dt,
        )
        keep = min(batch, vehicles - start)
        parts.append({name: np.asarray(value)[:keep] for name, value in part.items()})
    progress("smoothing", 1.0)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@eqx.filter_jit
def _smooth_batch(parameters, positions, seen, begin, dt) -> dict[str, Array]:
    def one(values, flags, start):
        filter, motions, sensor, prior = build(parameters, start)
        outcome = run(filter, motions, sensor, prior, values, seen=flags, dt=dt)
        filtered = jax.vmap(lambda belief: belief.moments())(outcome.filtered)
        smoothed = _smoothed(mixed_sightings(parameters), outcome, filtered, dt)
        predicted = jax.vmap(lambda belief, y: _innovations(belief, sensor, y))(outcome.predicted, values)
        return {
            "mean": smoothed.location[:, :6],
            "filtered": filtered.location[:, :6],
            "covariance": smoothed.covariance[:, :6, :6],
            "modes": jnp.exp(outcome.filtered.log_weights),
            "log_density": outcome.log_evidences,
            **predicted,
        }

    return jax.vmap(one)(positions, seen, begin)


def _smoothed(motion: MixedSightings, outcome: Run, merged: Gaussian, dt: float) -> Gaussian:
    """Smooth the merged modes, with the noise of every row weighted by what the filter said of its mode.

    The modes differ in the noise of the error alone, so given the modes one smoother serves for all of them;
    a smoother of every pair of modes costs ten times as much.
    """
    weights = jnp.exp(outcome.filtered.log_weights)
    following = jax.tree.map(lambda leaf: leaf[1:], weights)
    before = jax.tree.map(lambda leaf: leaf[:-1], merged)
    filter = ExtendedKalmanFilter()
    predicted = jax.vmap(lambda belief, u: filter.predict(belief, motion, u, dt))(before, following)
    first = jax.tree.map(lambda leaf: leaf[0], merged)
    predicted = jax.tree.map(lambda one, many: jnp.concatenate([one[None], many]), first, predicted)
    last = jax.tree.map(lambda leaf: leaf[-1], merged)
    passed = Run(predicted, merged, outcome.log_evidences, last, outcome.rows)
    return smooth(filter, motion, passed, inputs=weights, dt=dt)


def _innovations(belief: Mixture, sensor: Sighting, y: Float[Array, "2"]) -> dict[str, Array]:
    """Return where a sighting lies in its predicted distribution, along and across the heading."""

    def sighted(location: Array, covariance: Array) -> tuple[Array, Array]:
        outcome, jacobian = linearize(sensor, location)
        noise = sensor(location).variances()
        return outcome.vector(), linalg.add_diagonal(linalg.sandwich(jacobian, covariance), noise)

    locations, covariances, _ = gaussians(belief)
    places, covariances = jax.vmap(sighted)(locations, covariances)
    heading = locations[jnp.argmax(belief.log_weights), 2]
    turn = jnp.array([[jnp.cos(heading), jnp.sin(heading)], [-jnp.sin(heading), jnp.cos(heading)]])
    apart = (y - places) @ turn.T
    spread = jax.vmap(lambda covariance: turn @ covariance @ turn.T)(covariances)
    weights = belief.weights()
    deviation = jnp.sqrt(jnp.diagonal(spread, axis1=1, axis2=2))
    ranks = weights @ ndtr(apart / deviation)
    # Rosenblatt: across is looked at given along, in which every mode has its own say.
    slope = spread[:, 0, 1] / spread[:, 0, 0]
    given_deviation = jnp.sqrt(spread[:, 1, 1] - slope * spread[:, 0, 1])
    shares = jax.nn.softmax(
        jnp.log(weights) - 0.5 * (apart[:, 0] / deviation[:, 0]) ** 2 - jnp.log(deviation[:, 0])
    )
    across = shares @ ndtr((apart[:, 1] - slope * apart[:, 0]) / given_deviation)
    scores = ndtri(jnp.clip(jnp.stack([ranks[0], across]), 1e-12, 1 - 1e-12))
    return {"normal_scores": scores, "ranks": ranks}
