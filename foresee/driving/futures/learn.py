"""Learning what traffic does next: snapshots of recordings in, networks that foretell, and their doubt, out.

Start with `learn_futures`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.driving.futures.beliefs import dropout_networks, l2m_networks
from foresee.driving.futures.encode import Snapshot, to_lane
from foresee.driving.futures.lanes import lane_numbers
from foresee.driving.futures.network import FutureModel, FutureNetwork, MaskedNetwork, Row, rows_of
from foresee.driving.futures.windows import Windows
from foresee.driving.road import Road
from foresee.errors import TrainingError
from foresee.fit import Fitted, fit
from foresee.worlds.trajectories import Trajectories, mixture_likelihood

EPOCHS, BATCH, RATE, DECAY, CLIP = 14, 256, 3e-3, 0.3, 1.0
FEWEST = 50  # vehicles in snapshots, below which nothing is learned
LEVEL, FACTORS = (
    0.9,
    np.exp(np.linspace(-0.7, 0.7, 29)),
)  # of intervals, and by how much they may be stretched


class Examples(eqx.Module):
    """Snapshots to learn from: what was known, and where every vehicle then was.

    Attributes:
        scene: what was known.
        x, y: where vehicles were later [m].
        scored: which of these count.
    """

    scene: Snapshot
    x: Float[Array, "*b V T"]
    y: Float[Array, "*b V T"]
    scored: Bool[Array, "*b V T"]


def examples_of(windows: Windows) -> Examples:
    """Return the snapshots of recordings with what a network is told of the road."""
    roads = jax.tree.map(lambda leaf: leaf[windows.scene], windows.roads)
    past, there = windows.past, windows.past_there
    now = {name: jnp.asarray(past[:, :, 0, i]) for i, name in enumerate(("x", "y", "heading", "speed"))}
    cross = _lanes(roads, jnp.asarray(windows.lane), jnp.asarray(windows.along))
    nothing = jnp.zeros_like(now["x"])
    scene = Snapshot(
        x=now["x"],
        y=now["y"],
        vx=now["speed"] * jnp.cos(now["heading"]),
        vy=now["speed"] * jnp.sin(now["heading"]),
        before_x=jnp.asarray(past[:, :, 1:, 0].swapaxes(1, 2)),
        before_y=jnp.asarray(past[:, :, 1:, 1].swapaxes(1, 2)),
        before_seen=jnp.asarray(there[:, :, 1:].swapaxes(1, 2)),
        position_sd=nothing,
        velocity_sd=nothing,
        length=jnp.asarray(windows.length),
        width=jnp.asarray(windows.width),
        offset=jnp.asarray(windows.offset),
        known=jnp.asarray(windows.known),
        **cross,
    )
    future = jnp.asarray(windows.future)
    return Examples(scene, future[..., 0], future[..., 1], jnp.asarray(windows.scored))


@eqx.filter_jit
def _lanes(roads: Road, lane: Array, along: Array) -> dict[str, Array]:
    return jax.vmap(lane_numbers)(roads, lane, along)


class Lesson(NamedTuple):
    """One vehicle to learn from.

    Attributes:
        row: what the network is told.
        truth: where it then was, along and across [m].
        scored: at which times that is known.
    """

    row: Row
    truth: Float[Array, "*b T 2"]
    scored: Bool[Array, "*b T"]


class Blur(eqx.Module):
    """The noise through which some snapshots are seen, so that a network learns what doubtful eyes are worth.

    The size of the noise is drawn for every snapshot, and the network is told.

    Attributes:
        position_sd, velocity_sd: the largest noise [m, m/s].
        often: share of the snapshots.
    """

    position_sd: Float[Array, ""] = eqx.field(converter=as_float, default=0.8)
    velocity_sd: Float[Array, ""] = eqx.field(converter=as_float, default=1.2)
    often: Float[Array, ""] = eqx.field(converter=as_float, default=0.4)

    def __call__(self, scene: Snapshot, *, key: PRNGKeyArray) -> Snapshot:
        """Return a scene as noisy eyes see it."""
        size, often, draw = jax.random.split(key, 3)
        level = jax.random.uniform(size, ()) * jax.random.bernoulli(often, self.often)
        draws = jax.random.normal(draw, (8, scene.x.shape[0]), scene.x.dtype)
        far, fast = level * self.position_sd, level * self.velocity_sd
        c, s = jnp.cos(scene.lane_heading), jnp.sin(scene.lane_heading)
        changed = {
            "x": scene.x + far * draws[0],
            "y": scene.y + far * draws[1],
            "vx": scene.vx + fast * draws[2],
            "vy": scene.vy + fast * draws[3],
            "before_x": scene.before_x + far * draws[4:6],
            "before_y": scene.before_y + far * draws[6:8],
            "offset": scene.offset + far * (draws[1] * c - draws[0] * s),
            "position_sd": scene.position_sd + far,
            "velocity_sd": scene.velocity_sd + fast,
        }
        return replace(scene, **changed)


def lessons(examples: Examples, blur: Blur | None = None, *, copies: int = 2, key: PRNGKeyArray) -> Lesson:
    """Return the vehicles of all snapshots one by one, as they are and in the mirror.

    Args:
        examples: the snapshots.
        blur: the noise that some of them are seen through; None: none, and no copies.
        copies: so often every snapshot is seen, each time through other noise.
        key: source of the noise.
    """
    counted = np.asarray(examples.scored.any(axis=-1))
    if blur is None:
        return jax.tree.map(lambda leaf: leaf[counted], _plain(examples))
    parts = []
    for copy in range(copies):
        keys = jax.random.split(jax.random.fold_in(key, copy), len(counted))
        for flip in (False, True):
            told = _blurred(examples, blur, keys, jnp.asarray(flip))
            parts.append(jax.tree.map(lambda leaf: leaf[counted], told))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


@eqx.filter_jit
def _plain(examples: Examples) -> Lesson:
    return jax.vmap(lambda one: _lesson(one.scene, one.scene, one.x, one.y, one.scored))(examples)


@eqx.filter_jit
def _blurred(examples: Examples, blur: Blur, keys: Array, flip: Array) -> Lesson:
    def one(example: Examples, key: Array) -> Lesson:
        scene, y = mirrored(example.scene, example.y, flip)
        return _lesson(blur(scene, key=key), scene, example.x, y, example.scored)

    return jax.vmap(one)(examples, keys)


def _lesson(seen: Snapshot, scene: Snapshot, x: Array, y: Array, scored: Array) -> Lesson:
    return Lesson(rows_of(seen), jnp.stack(to_lane(seen, x, y), axis=-1), scored)


class FutureLoss(eqx.Module):
    """How badly what one vehicle did was foretold.

    The negative log likelihood of the mixture counts every time alike, in units of its own doubt. So that the
    far future is foretold as well as it can be, the distance of the mean to the truth is added.

    Attributes:
        distance: weight of that [1/m].
    """

    distance: Float[Array, ""] = eqx.field(converter=as_float, default=3.0)

    def __call__(self, network: FutureNetwork, lesson: Lesson, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """Return the loss of one vehicle."""
        ways = network.one(lesson.row, key)
        apart = jnp.sqrt(jnp.sum((ways.mean() - lesson.truth) ** 2, axis=-1) + 0.01)
        mean = jnp.sum(jnp.where(lesson.scored, apart, 0.0)) / jnp.maximum(lesson.scored.sum(), 1)
        return mixture_likelihood(ways, lesson.truth, lesson.scored) + self.distance * mean


def mirrored(scene: Snapshot, y: Array, flip: Array) -> tuple[Snapshot, Array]:
    """Return a scene and later positions as a mirror along the x axis of the map shows them, if asked to."""
    sign = jnp.where(flip, -1.0, 1.0)
    turned = ("y", "vy", "before_y", "lane_heading", "lane_curvature", "offset")
    left, right = scene.has_left, scene.has_right
    changed = {name: sign * getattr(scene, name) for name in turned}
    changed |= {"has_left": jnp.where(flip, right, left), "has_right": jnp.where(flip, left, right)}
    return replace(scene, **changed), sign * y


@dataclass(frozen=True, eq=False)
class Learnt:
    """What came of learning.

    Attributes:
        model: the networks, with their doubt stretched to what held-out scenes say.
        fitted: how training went.
        lessons: how many vehicles in snapshots were learned from, and how many tell when to stop.
        dropped: networks that did not stay finite and are left out.
    """

    model: FutureModel
    fitted: Fitted
    lessons: tuple[int, int]
    dropped: int


def learn_futures(
    windows: Windows,
    validation: Windows,
    *,
    members: int = 5,
    belief: Literal["ensemble", "l2m", "dropout"] = "ensemble",
    width: int = 48,
    epochs: int = EPOCHS,
    blur: Blur | None = None,
    checkpoint: Path | None = None,
    progress: bool | Callable[[float], None] = False,
    key: PRNGKeyArray,
) -> Learnt:
    """Train networks to foretell what the vehicles of snapshots do.

    Those of an ensemble begin with other weights and see the snapshots in another order. With L2M and dropout
    one is trained, and all are drawn from the belief about it: with other weights, or with units left out.
    Where they disagree, the recordings did not tell. What is kept of each that is trained is the state with
    the least loss on the held-out snapshots.

    Args:
        windows: snapshots to learn from.
        validation: snapshots of other scenes, which tell when to stop and how far intervals are to be
            stretched.
        members: how many networks.
        belief: "ensemble", "l2m" or "dropout": what they are drawn from.
        width: size of their layers.
        epochs: how often every vehicle is seen, in `copies` kinds of noise and two mirrors.
        blur: the noise that some snapshots are seen through.
        checkpoint: file to go on from.
        progress: whether to show a bar, or what is told the share of the epochs that is done.
        key: source of the first weights, the order and the noise.

    Raises:
        TrainingError: if there is too little to learn from, or no network stays finite.
    """
    first, order, noise = jax.random.split(key, 3)
    taught = lessons(examples_of(windows), Blur() if blur is None else blur, key=noise)
    held_out = lessons(examples_of(validation), key=noise)
    for name, some in (("learn from", taught), ("stop by", held_out)):
        if len(some.truth) < FEWEST:
            raise TrainingError(
                f"expected at least {FEWEST} vehicles in snapshots to {name}, got {len(some.truth)}"
            )
    trained = members if belief == "ensemble" else 1
    networks = _begin(jax.random.split(first, trained), width)
    steps = epochs * -(-len(taught.truth) // BATCH)
    options = {"epochs": epochs, "batch_size": BATCH, "optimizer": _schedule(steps), "members": trained}
    options |= {"validation": held_out, "checkpoint": checkpoint, "progress": progress, "key": order}
    fitted = fit(networks, FutureLoss(), taught, **options)
    sound = np.flatnonzero(np.asarray(fitted.finite))
    if not len(sound):
        raise TrainingError(f"expected a finite loss, got none with any of {trained} networks")
    kept = jax.tree.map(lambda leaf: leaf[sound] if eqx.is_array(leaf) else leaf, fitted.model)
    if belief != "ensemble":
        kept = _drawn(belief, fitted, len(taught.truth), held_out, members, noise)
    model = FutureModel(kept)
    ways = eqx.filter_jit(jax.vmap(lambda row: model.of_row(row).ways))(held_out.row)
    model = FutureModel(kept, stretch_of(ways, held_out))
    return Learnt(model, fitted, (len(taught.truth), len(held_out.truth)), trained - len(sound))


def _drawn(
    belief: str, fitted: Fitted, seen: int, held_out: Lesson, count: int, key: PRNGKeyArray
) -> FutureNetwork | MaskedNetwork:
    """Return networks drawn from a belief about the one that was trained."""
    one, state = (
        jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, tree)
        for tree in (fitted.model, fitted.optimizer_state)
    )
    if belief == "dropout":
        return dropout_networks(one, count, key=key)
    return l2m_networks(one, state, seen, min(BATCH, seen - 1), held_out, count, key=key)


@eqx.filter_jit
def _begin(keys: Array, width: int) -> FutureNetwork:
    return eqx.filter_vmap(lambda key: FutureNetwork(width=width, key=key))(keys)


@lru_cache(maxsize=8)
def _schedule(steps: int) -> optax.GradientTransformation:
    """Return the optimiser; the same one for the same number of steps, for a new one is a new program."""
    rate = optax.cosine_decay_schedule(RATE, steps)
    return optax.chain(optax.clip_by_global_norm(CLIP), optax.adamw(rate, weight_decay=DECAY))


@eqx.filter_jit
def stretch_of(ways: Trajectories, held_out: Lesson) -> Float[Array, "2"]:
    """Return by how much intervals along and across are to be stretched to hold as much as they say.

    Args:
        ways: what was foretold of vehicles, unstretched.
        held_out: these vehicles, which were not learned from.
    """

    def held(factor: Array) -> Float[Array, "2"]:
        """Return the share of the truths inside of the central intervals."""
        below = jax.scipy.stats.norm.cdf((held_out.truth[:, None] - ways.means) / (factor * ways.sds))
        rank = jnp.einsum("nk,nkti->nti", ways.weights, below)
        inside = jnp.abs(rank - 0.5) < 0.5 * LEVEL
        count = held_out.scored.sum()
        return jnp.sum(jnp.where(held_out.scored[..., None], inside, False), axis=(0, 1)) / count

    shares = jax.lax.map(held, jnp.asarray(FACTORS, ways.means.dtype))
    return jnp.asarray(FACTORS)[jnp.argmin(jnp.abs(shares - LEVEL), axis=0)]
