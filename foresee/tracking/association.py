"""Association: which detection belongs to which track, decided once and for all or kept as probabilities."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from foresee.errors import OptionError
from foresee.tracking.assign import assign
from foresee.tracking.jpda import marginals

HEADSTART = 7.0  # gain [nats] of a certain tentative track over one that is hardly believed in; see `gains`
LEAST = -9.2  # log weights below it, of pairs with a chance under 10⁻⁴, join nothing to the graph
LARGEST = 80.0  # log weights above it are as good as certain, and their exponential is still finite


class Pairs(eqx.Module):
    """What there is to decide in a scan.

    Attributes:
        log_ratio: log density of the detection given the track, against its coming from anything else.
        index: which detection each candidate is.
        valid: which entries hold a candidate.
        existence: probability, before the scan, that there is an object in the slot.
        detection: probability that an object is detected.
        firm: confirmed tracks, which come first where decisions are made one after another.
        size: number of detections, padding included.
    """

    log_ratio: Float[Array, "slots K"]
    index: Int[Array, "slots K"]
    valid: Bool[Array, "slots K"]
    existence: Float[Array, " slots"]
    detection: Float[Array, ""]
    firm: Bool[Array, " slots"]
    size: int = eqx.field(static=True)

    def log_weight(self) -> Float[Array, "slots K"]:
        """Return the log odds of a pair against a miss and a detection from elsewhere; −inf if impossible."""
        found = self.existence * self.detection
        possible = self.valid & (found > 0)[:, None]
        odds = jnp.log(jnp.where(found > 0, found, 1.0)) - jnp.log1p(-jnp.minimum(found, 1 - 1e-7))
        return jnp.where(possible, self.log_ratio + odds[:, None], -jnp.inf)

    def stay(self) -> Float[Array, " slots"]:
        """Return the probability of existence after a miss."""
        found = self.existence * self.detection
        return (self.existence - found) / jnp.maximum(1.0 - found, 1e-7)


class Association(eqx.Module):
    """What was decided about a scan.

    Attributes:
        existence: probability that there is an object in the slot, after the scan.
        trust: how much the track's belief follows each candidate, given that the object exists.
        detected: probability that one of the candidates is the object's.
        unclaimed: probability of every detection to belong to no track.
        log_evidence: log of the summed weights of all that was considered.
    """

    existence: Float[Array, " slots"]
    trust: Float[Array, "slots K"]
    detected: Float[Array, " slots"]
    unclaimed: Float[Array, " M"]
    log_evidence: Float[Array, ""]


class AbstractAssociation(eqx.Module):
    """How detections are given to tracks."""

    @abc.abstractmethod
    def __call__(self, pairs: Pairs) -> Association:
        """Return what belongs together."""


class BeliefPropagation(AbstractAssociation):
    """Joint probabilistic data association: every track follows all its candidates, each by its probability.

    Args:
        iterations: rounds of messages; on the host, the most rounds, for there they stop once they agree.
    """

    iterations: int = eqx.field(static=True, default=30)

    def __check_init__(self) -> None:
        """Check the rounds."""
        if self.iterations < 1:
            raise OptionError(f"BeliefPropagation: expected iterations ≥ 1, got {self.iterations}")

    def __call__(self, pairs: Pairs) -> Association:
        """Return the probabilities of all pairs."""
        log_weight = pairs.log_weight()
        kept = pairs.valid & (log_weight >= LEAST)
        dense = _dense(jnp.where(kept, log_weight, -jnp.inf), pairs.index, pairs.size)
        probable, missed, unclaimed, log_evidence = marginals(dense, self.iterations)
        own = jnp.where(kept, jnp.take_along_axis(probable, pairs.index, axis=1), 0.0)
        detected = jnp.sum(own, axis=1)
        existence = detected + missed * pairs.stay()
        trust = own / jnp.where(existence > 0, existence, 1.0)[:, None]
        return Association(existence, trust, detected, unclaimed, log_evidence)


class NearestNeighbour(AbstractAssociation):
    """Global nearest neighbour: every track gets at most one detection, by optimal assignment.

    Confirmed tracks are served first, and tentative ones get what is left, so that a false track never
    pushes a true one aside. How surely an object exists follows the odds of the pair that was chosen against
    its being wrong (Musicki, Evans and Stankovic 1994), so that a track through clutter does not become
    certain.
    """

    def __call__(self, pairs: Pairs) -> Association:
        """Return who got what."""
        size, log_weight = pairs.size, pairs.log_weight()
        first, second = gains(pairs)
        served = assign(_dense(jnp.where(pairs.firm[:, None], first, -jnp.inf), pairs.index, size))
        taken = jnp.zeros(size, bool).at[served].max(served >= 0)
        rest = jnp.where(pairs.firm[:, None] | taken[pairs.index], -jnp.inf, second)
        chosen = jnp.where(pairs.firm, served, assign(_dense(rest, pairs.index, size)))
        pick = pairs.valid & (pairs.index == chosen[:, None])
        odds = jnp.where(pick, jnp.exp(jnp.where(pick, jnp.minimum(log_weight, LARGEST), 0.0)), 0.0)
        own = odds / (1.0 + odds)
        detected = jnp.sum(own, axis=1)
        claimed = jnp.zeros(size, odds.dtype).at[pairs.index].add(own)
        existence = detected + (1.0 - detected) * pairs.stay()
        log_evidence = jnp.sum(jnp.log1p(odds))
        return Association(existence, pick.astype(odds.dtype), detected, 1.0 - claimed, log_evidence)


def gains(pairs: Pairs) -> tuple[Float[Array, "slots K"], Float[Array, "slots K"]]:
    """Return what a pair is worth to a confirmed and to a tentative track; −inf where it may not be made.

    A pair may be made if it is likelier than a miss of an object that exists. Among tentative tracks the
    surer one has an advantage, and it is shifted so that being unsure does not forbid a pair.
    """
    odds = jnp.log(jnp.maximum(pairs.detection, 1e-7)) - jnp.log1p(-jnp.minimum(pairs.detection, 1 - 1e-7))
    first = pairs.log_ratio + odds
    allowed = pairs.valid & (first > 0)
    surer = jnp.maximum(HEADSTART + jnp.log(jnp.maximum(pairs.existence, 1e-30)), 0.0)
    return jnp.where(allowed, first, -jnp.inf), jnp.where(allowed, first + surer[:, None], -jnp.inf)


def _dense(
    values: Float[Array, "slots K"], index: Int[Array, "slots K"], size: int
) -> Float[Array, "slots M"]:
    """Return the values of candidates in a table of all detections; −inf elsewhere."""
    rows = jnp.arange(values.shape[0])[:, None]
    return jnp.full((values.shape[0], size), -jnp.inf, values.dtype).at[rows, index].max(values)
