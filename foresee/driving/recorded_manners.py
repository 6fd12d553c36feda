"""The manners of recorded drivers, told from what they were seen doing."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Shaped

from foresee.driving.make_world import usual_manners

SPARE = 1.05  # one wants to drive at least so many times the highest speed that one was seen to drive
FOLLOWING = 60.0  # who is farther behind does not follow [m]
ALIKE = 2.0  # following means to be about as fast as the one ahead [m/s]
SLOW = 2.0  # below this speed the gap tells nothing about time [m/s]
ENOUGH = 10  # frames of following that tell a headway
HEADWAYS = (0.5, 2.5)  # what is believed of a headway at all [s]


def manners_of(
    present: Bool[np.ndarray, "F V"],
    moving: Mapping[str, Shaped[np.ndarray, "F V"]],
    length: Float[np.ndarray, " V"],
) -> Float[np.ndarray, "9 V"]:
    """Return the fields of `Manners` for the vehicles of a scene, as rows.

    Who is held up wants to drive faster than it was seen to, so the desired speed is 1.05 times one's highest
    recorded speed, but no less than the speed that only a tenth of the scene's vehicles exceeded. The headway
    is that with which the gap to the vehicle ahead is in equilibrium (Treiber 2000, equation 9), in the
    median over the frames in which one follows somebody about as fast; where there are too few of these, it
    is the scene's median, and without that the usual one. All else is as usual.

    Args:
        present: who was there.
        moving: speed [m/s], lane and along [m] of every vehicle in every frame.
        length: lengths of the vehicles [m].
    """
    count = present.shape[1]
    out: np.ndarray = np.array(jnp.stack(jax.tree.leaves(usual_manners(count))), float)
    speed = np.asarray(moving["speed"], float)
    highest = np.where(present, speed, 0.0).max(axis=0)
    out[0] = np.maximum(SPARE * np.maximum(highest, np.quantile(highest, 0.9)), 1.0)
    frame, who, ahead = _followers(present, moving)
    gap = moving["along"][frame, ahead] - moving["along"][frame, who] - 0.5 * (length[who] + length[ahead])
    own = speed[frame, who]
    follows = (gap > 0) & (gap < FOLLOWING) & (own > SLOW)
    follows &= np.abs(own - speed[frame, ahead]) < ALIKE
    frame, who, gap, own = (values[follows] for values in (frame, who, gap, own))
    desired = out[0]
    free = np.sqrt(1 - np.minimum(own / desired[who], 1.0) ** 4)
    standstill = out[4]
    headway = np.clip((gap * free - standstill[who]) / own, *HEADWAYS)
    told = np.bincount(who, minlength=count) >= ENOUGH
    if told.any():
        medians = np.array([np.median(headway[who == v]) if told[v] else np.nan for v in range(count)])
        out[1] = np.where(told, medians, np.median(medians[told]))
    return out


def _followers(
    present: Bool[np.ndarray, "F V"], moving: Mapping[str, Shaped[np.ndarray, "F V"]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frame, follower and leader of all pairs that are next to each other on a lane."""
    frame, who = np.nonzero(present)
    lane, along = moving["lane"][frame, who], moving["along"][frame, who]
    order = np.lexsort((along, lane, frame))
    frame, who, lane = frame[order], who[order], lane[order]
    pairs = (frame[1:] == frame[:-1]) & (lane[1:] == lane[:-1])
    return frame[:-1][pairs], who[:-1][pairs], who[1:][pairs]
