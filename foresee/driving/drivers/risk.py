"""How probable it is that the ego is where somebody else is, when it is in doubt where that will be."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.lax import erf
from jaxtyping import Array, Float

from foresee.driving.forecast import Futures

LEAST_SD = 0.1  # doubt below this counts as this much, so that every probability has a slope [m]


def overlap_probability(
    x: Float[Array, " T"],
    y: Float[Array, " T"],
    heading: Float[Array, " T"],
    length: Float[Array, ""],
    width: Float[Array, ""],
    futures: Futures,
    lengths: Float[Array, " V"],
    widths: Float[Array, " V"],
    *,
    speed: Float[Array, " T"] | None = None,
    seconds: float | Float[Array, ""] = 0.0,
) -> Float[Array, "T V"]:
    """Return how probable it is that the ego overlaps with each vehicle at each time; 0 where nobody is.

    In the frame of the other vehicle the ego's box is replaced by the smallest one around it that is parallel
    to the other's, and the doubt along and across is taken as independent: the probability is the product of
    two normal ones, mixed over the vehicle's futures. Smooth in everything; exact for vehicles that are
    parallel to each other, and not too small for others.

    With a speed, it is how probable it is that they touch within some seconds if both then kept heading and
    speed: the box is that of the whole way relative to the other.

    Args:
        x: position of the ego's centre [m].
        y: the same.
        heading: its direction [rad].
        length: its length [m].
        width: its width [m].
        futures: of the others, at the same times.
        lengths: of the others [m].
        widths: of the others [m].
        speed: of the ego [m/s].
        seconds: how long both are to go on [s].
    """
    own = _seen_from(futures, (x, y, heading), (length, width), (lengths, widths))
    gained = drifted = 0.0
    if speed is not None:
        theirs = _speeds(futures)
        gained = (speed * own.cos - theirs) * seconds
        drifted = speed * own.sin * seconds
    there = _within(own.ahead, gained, own.long, futures.along_sd)
    there *= _within(own.aside, drifted, own.wide, futures.across_sd)
    mixed = jnp.einsum("vkt,vk->tv", there, futures.weights)
    return jnp.where(futures.known, mixed, 0.0)


def collision_probability(
    x: Float[Array, " T"],
    y: Float[Array, " T"],
    heading: Float[Array, " T"],
    length: Float[Array, ""],
    width: Float[Array, ""],
    futures: Futures,
    lengths: Float[Array, " V"],
    widths: Float[Array, " V"],
) -> Float[Array, "T V"]:
    """Return how probable it is that the ego has touched each vehicle by each time; 0 where nobody is.

    Of somebody whose place is in great doubt it is never probable that it is just here, and yet who drives on
    cannot fail to meet it. So at every step the probability to come past its rear is counted as far as both
    are in each other's way across, and added up: nobody drives through anybody. Where it is more, the
    probability to overlap at some time counts, as of who comes from the side.

    Args:
        x: position of the ego's centre, at times from now on [m].
        y: the same.
        heading: its direction [rad].
        length: its length [m].
        width: its width [m].
        futures: of the others, at the same times.
        lengths: of the others [m].
        widths: of the others [m].
    """
    own = _seen_from(futures, (x, y, heading), (length, width), (lengths, widths))
    there = _within(own.ahead, 0.0, own.long, futures.along_sd)
    beside = _within(own.aside, 0.0, own.wide, futures.across_sd)
    scale = 1 / (jnp.sqrt(2.0) * jnp.maximum(futures.along_sd, LEAST_SD))
    past = 0.5 * (1 + erf((own.ahead + own.long) * scale))
    step = jnp.maximum(jnp.diff(past, axis=-1), 0.0) * beside[..., 1:]
    met = jnp.cumsum(jnp.concatenate([there[..., :1] * beside[..., :1], step], axis=-1), axis=-1)
    touched = jnp.maximum(jnp.minimum(met, 1.0), there * beside)
    mixed = jnp.einsum("vkt,vk->tv", touched, futures.weights)
    return jnp.where(futures.known, mixed, 0.0)


class _Seen(NamedTuple):
    """The ego as the others see it: cosine and sine of its direction, place, and half sizes of both boxes."""

    cos: Array
    sin: Array
    ahead: Array
    aside: Array
    long: Array
    wide: Array


def _seen_from(
    futures: Futures, own: tuple[Array, Array, Array], size: tuple[Array, Array], others: tuple[Array, Array]
) -> _Seen:
    # Futures are [vehicle, future, time].
    c, s = jnp.cos(futures.heading), jnp.sin(futures.heading)
    dx, dy = own[0] - futures.x, own[1] - futures.y
    own_c, own_s = jnp.cos(own[2]), jnp.sin(own[2])
    turn_c, turn_s = own_c * c + own_s * s, own_s * c - own_c * s
    flat, steep = jnp.abs(turn_c), jnp.abs(turn_s)
    long = 0.5 * (others[0][:, None, None] + size[0] * flat + size[1] * steep)
    wide = 0.5 * (others[1][:, None, None] + size[0] * steep + size[1] * flat)
    return _Seen(turn_c, turn_s, c * dx + s * dy, c * dy - s * dx, long, wide)


def _within(place: Array, moved: Any, half: Array, doubt: Array) -> Array:
    """Return how probable it is that the way from a place onwards comes within a half size of a normal 0."""
    scale = 1 / (jnp.sqrt(2.0) * jnp.maximum(doubt, LEAST_SD))
    low, high = place + jnp.minimum(moved, 0.0), place + jnp.maximum(moved, 0.0)
    return 0.5 * (erf((half - low) * scale) + erf((half + high) * scale))


def _speeds(futures: Futures) -> Float[Array, "V K T"]:
    """Return how fast the others go on their futures, along their headings [m/s]."""
    rates = [jnp.asarray(jnp.gradient(values, axis=-1)) for values in (futures.x, futures.y, futures.times)]
    along = jnp.cos(futures.heading) * rates[0] + jnp.sin(futures.heading) * rates[1]
    return along / rates[2]
