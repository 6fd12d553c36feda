"""The tracker: one scan's detections turn the table of tracks into the next, in compiled code."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from foresee.beliefs import AbstractConditional, AbstractFilter, Gaussian, Mixture
from foresee.beliefs.gaussian import as_float
from foresee.beliefs.mixture import match_moments
from foresee.dynamics.check import check_not_negative, check_positive
from foresee.filters import InteractingMultipleModel, KalmanFilter
from foresee.tracking.association import AbstractAssociation, Association, NearestNeighbour, Pairs
from foresee.tracking.birth import Birth
from foresee.tracking.detections import Scan
from foresee.tracking.gate import Candidates, Gate, candidates, check_probability
from foresee.tracking.labelled import DELETED, TENTATIVE
from foresee.tracking.lifecycle import AbstractLifeCycle, ByExistence
from foresee.tracking.tracks import Tracks, empty_tracks

RECENT = 2**31 - 1


class Tracker(eqx.Module):
    """All there is to know for tracking: how objects move, appear and end, and how they are seen.

    Objects are independent, each there with a probability (a multi-Bernoulli density), and those never
    detected are a Poisson process: the filter is that of Williams (2015), algorithm TOMB/P, with
    `BeliefPropagation`, and its single-hypothesis sibling with `NearestNeighbour`. Numbers are leaves, to be
    learned by `learn`; the five steps are fields, to be replaced.

    Args:
        motion: how the state of an object moves; a tuple for several motions.
        sensor: what a detection measures of the state.
        birth: new objects.
        detection: probability that an object is detected in a scan.
        clutter: false detections per scan, per unit of what the sensor measures (per m² for a position).
        survival: probability that an object is still there after a second.
        volume: what the sensor covers, in the same unit; only the evidence depends on it.
        filter: what moves and corrects beliefs.
        gate: which detections a track is compared with.
        association: how detections are given to tracks.
        lifecycle: when tracks are confirmed and ended.
        weakest: a new track less probable than this is not begun.

    Raises:
        ForeseeError: if a probability is not within [0, 1] or a density is not positive.
    """

    motion: Any  # a conditional, or a tuple of them
    sensor: AbstractConditional
    birth: Birth
    detection: Float[Array, ""] = eqx.field(converter=as_float)
    clutter: Float[Array, ""] = eqx.field(converter=as_float)
    survival: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    volume: Float[Array, ""] = eqx.field(converter=as_float, default=1.0)
    filter: AbstractFilter = KalmanFilter()
    gate: Gate = Gate()
    association: AbstractAssociation = NearestNeighbour()
    lifecycle: AbstractLifeCycle = ByExistence()
    weakest: float = eqx.field(static=True, default=1e-3)

    def __check_init__(self) -> None:
        """Check the numbers."""
        check_probability("detection", self.detection)
        check_probability("survival", self.survival)
        check_positive(self, "clutter", "volume")
        check_not_negative(self, "clutter", "volume")

    def first_belief(self, y: Float[Array, " m"]) -> Any:
        """Return the belief about an object of which only one detection is known."""
        belief = self.birth(y, self.sensor)
        circular = jax.eval_shape(lambda: _moved(self.filter, belief, self.motion)).circular
        belief = Gaussian(belief.location, belief.covariance, circular)
        return self.filter.begin(belief) if isinstance(self.filter, InteractingMultipleModel) else belief

    def begin(self, capacity: int = 64) -> Tracks:
        """Return an empty table with room for so many tracks."""
        state = self.birth.mean
        size = jax.eval_shape(lambda: self.sensor(state).mean()).shape
        return empty_tracks(self.first_belief(jnp.ones(size, state.dtype)), capacity, self.birth.undetected)

    def step(self, tracks: Tracks, scan: Scan) -> Tracks:
        """Return the tracks after one more scan, in code that can be compiled, batched and differentiated.

        New tracks that find no empty slot are left out, the least probable first, and counted in `dropped`.
        """
        tracks, scan = jax.tree.map(jnp.asarray, (tracks, scan))
        predicted = self._predicted(tracks, scan)
        detection = self.detection if scan.active is None else jnp.where(scan.active, self.detection, 0.0)
        log_else, log_new = self._elsewhere(predicted, scan, detection)
        found = candidates(
            self.gate, self.filter, predicted.belief, predicted.alive(), self.sensor, scan.values, scan.seen
        )
        pairs = Pairs(
            found.log_likelihood - log_else[found.index],
            found.index,
            found.valid,
            predicted.existence,
            detection,
            predicted.confirmed(),
            scan.values.shape[0],
        )
        decided = self.association(pairs)
        corrected = self._corrected(predicted, found, decided)
        born = decided.unclaimed * jnp.exp(log_new - log_else) * scan.seen
        begun = self._begun(corrected, scan, born)
        return eqx.tree_at(
            lambda table: (table.log_evidence, table.undetected),
            begun,
            (
                self._log_evidence(predicted, scan, detection, log_else, decided),
                predicted.undetected * (1 - detection),
            ),
        )

    def _predicted(self, tracks: Tracks, scan: Scan) -> Tracks:
        """Move every track, and the objects nobody has detected, to the time of the scan."""
        belief = jax.vmap(lambda one: self.filter.predict(one, self.motion, None, scan.dt))(tracks.belief)
        lasting = self.survival**scan.dt
        return eqx.tree_at(
            lambda table: (table.belief, table.existence, table.undetected),
            tracks,
            (
                belief,
                jnp.where(tracks.alive(), tracks.existence * lasting, 0.0),
                tracks.undetected * lasting + self.birth.rate * scan.dt,
            ),
        )

    def _elsewhere(self, tracks: Tracks, scan: Scan, detection: Array) -> tuple[Array, Array]:
        """Return log densities of detections that belong to no track, and of those from new objects."""
        new = jnp.log(jnp.maximum(detection * tracks.undetected, 1e-30)) + jnp.zeros_like(scan.values[:, 0])
        return jnp.logaddexp(jnp.log(self.clutter), new), new

    def _corrected(self, tracks: Tracks, found: Candidates, decided: Association) -> Tracks:
        """Give every track the belief and the status that follow from the association."""
        left = jnp.maximum(1.0 - jnp.sum(decided.trust, axis=1), 0.0)
        belief = jax.vmap(merged)(tracks.belief, left, found.belief, decided.trust)
        likeliest = jnp.argmax(decided.trust, axis=1)
        detected = jnp.take_along_axis(decided.trust, likeliest[:, None], axis=1)[:, 0] > left
        detected = detected & tracks.alive()
        detection = jnp.take_along_axis(found.index, likeliest[:, None], axis=1)[:, 0]
        hits = jnp.where(detected, (tracks.hits * 2 + 1) & RECENT, (tracks.hits * 2) & RECENT)
        age = tracks.age + 1
        status = self.lifecycle(tracks.status, decided.existence, hits, age, detected)
        gone = status == DELETED
        return Tracks(
            belief,
            jnp.where(gone, 0.0, decided.existence),
            status,
            jnp.where(gone, -1, tracks.name),
            jnp.where(gone, 0, age),
            jnp.where(gone, 0, hits),
            jnp.where(detected & ~gone, detection, -1).astype(tracks.detection.dtype),
            tracks.next_name,
            tracks.undetected,
            tracks.dropped,
            tracks.log_evidence,
        )

    def _begun(self, tracks: Tracks, scan: Scan, existence: Float[Array, " M"]) -> Tracks:
        """Put new tracks into empty slots, the most probable first."""
        rows = scan.values.shape[0]
        free = ~tracks.alive()
        wanted = existence >= self.weakest
        order = jnp.argsort(jnp.where(wanted, -existence, 1.0), stable=True)
        rank = jnp.cumsum(free) - 1
        count = jnp.minimum(jnp.sum(wanted), jnp.sum(free))
        born = free & (rank < count)
        detection = order[jnp.clip(rank, 0, rows - 1)]
        # Ones where nobody is born: at a range of zero there is no direction, and no gradient.
        values = jnp.where(born[:, None], scan.values[detection], 1.0)
        beliefs = jax.vmap(self.first_belief)(values)
        # Slots that stay empty are filled as well, so that nothing in them grows from scan to scan.
        belief = jax.tree.map(
            lambda new, old: jnp.where(free.reshape((-1,) + (1,) * (old.ndim - 1)), new, old),
            beliefs,
            tracks.belief,
        )
        chance = jnp.where(born, existence[detection], tracks.existence)
        hits, age = jnp.where(born, 1, tracks.hits), jnp.where(born, 0, tracks.age)
        fresh = jnp.where(born, TENTATIVE, tracks.status)
        judged = self.lifecycle(fresh, chance, hits, age, born)
        return Tracks(
            belief,
            chance,
            jnp.where(born, jnp.where(judged == DELETED, TENTATIVE, judged), tracks.status),
            jnp.where(born, tracks.next_name + rank, tracks.name).astype(tracks.name.dtype),
            age,
            hits,
            jnp.where(born, detection, tracks.detection).astype(tracks.detection.dtype),
            (tracks.next_name + count).astype(tracks.next_name.dtype),
            tracks.undetected,
            (tracks.dropped + jnp.sum(wanted) - count).astype(tracks.dropped.dtype),
            tracks.log_evidence,
        )

    def _log_evidence(
        self, tracks: Tracks, scan: Scan, detection: Array, log_else: Array, decided: Association
    ) -> Float[Array, ""]:
        """Return the log density of the scan as a set, Poisson clutter and new objects included."""
        active = True if scan.active is None else scan.active
        rate = self.volume * (self.clutter + detection * tracks.undetected)
        missed = jnp.sum(jnp.log1p(-jnp.minimum(tracks.existence * detection, 1 - 1e-7)))
        own = jnp.sum(jnp.where(scan.seen, log_else, 0.0))
        return jnp.where(active, missed + own - rate + decided.log_evidence, 0.0)


def _moved(filter: AbstractFilter, belief: Gaussian, motion: Any) -> Gaussian:
    """Return a belief moved by the filter of one motion; for what it knows of angles."""
    if isinstance(filter, InteractingMultipleModel):
        return filter.filter.predict(belief, motion[0])
    return filter.predict(belief, motion)


def merged(one: Any, weight: Float[Array, ""], several: Any, weights: Float[Array, " K"]) -> Any:
    """Return one belief with the moments of a weighted choice between `one` and `several` of its kind.

    For several motions the moments are kept for each of them (Bar-Shalom, Kirubarajan and Lin 2005).
    """
    if isinstance(one, Mixture):
        modes = (
            jnp.exp(jnp.concatenate([one.log_weights[None], several.log_weights]))
            * jnp.concatenate([weight[None], weights])[:, None]
        )
        totals = jnp.sum(modes, axis=0)
        shares = modes / jnp.where(totals > 0, totals, 1.0)
        parts = [
            merged(
                one.component(k),
                shares[0, k],
                jax.tree.map(lambda leaf, k=k: leaf[:, k], several.components),
                shares[1:, k],
            )
            for k in range(totals.shape[0])
        ]
        log_weights = jnp.where(totals > 0, jnp.log(jnp.where(totals > 0, totals, 1.0)), -jnp.inf)
        return Mixture(jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts), log_weights)
    locations = jnp.concatenate([one.location[None], several.location])
    covariances = jnp.concatenate([one.covariance[None], several.covariance])
    shares = jnp.concatenate([weight[None], weights])
    location, covariance = match_moments(shares, locations, covariances, one.circular)
    return Gaussian(location, covariance, one.circular)
