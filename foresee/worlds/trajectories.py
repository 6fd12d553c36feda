"""Several ways on, with probabilities and doubt: a mixture of trajectories, predicted all at once."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from foresee.beliefs.belief import AbstractDensity, Points

DEGREE = 4  # displacements are polynomials of time without a constant: what is now is known
LEAST_SD = 0.03
EFFECTIVE = 3.0  # errors along one trajectory are so much alike that all its points count as so many
PEAK = 0.5  # as so many where the likeliest one is looked for: chosen on held-out traffic


class Trajectories(AbstractDensity):
    """K ways on for one agent: a mixture whose components are independent Gaussians at every time.

    Attributes:
        means: displacement, along and across.
        sds: standard deviations of it.
        log_weights: logarithms of the probabilities of the ways.
    """

    means: Float[Array, "*b K T 2"]
    sds: Float[Array, "*b K T 2"]
    log_weights: Float[Array, "*b K"]

    @property
    def weights(self) -> Float[Array, "*b K"]:
        """Probabilities of the ways."""
        return jnp.exp(self.log_weights)

    def mean(self) -> Float[Array, "T 2"]:
        """Return the average displacement, which may be on none of the ways."""
        return jnp.einsum("k,kti->ti", self.weights, self.means)

    def most_likely(self, rounds: int = 8) -> Float[Array, "T 2"]:
        """Return the trajectory about which the density is highest.

        Where ways overlap this is between them, and not the mean of any. Found by mean shift from every way
        (Carreira-Perpiñán 2000), with the points of a trajectory as half of one: what could be mistaken for
        each other counts together.

        Args:
            rounds: steps of the search.
        """
        return densest(self.means, self.sds, self.log_weights, rounds)

    def log_prob(self, x: Float[Array, "T 2"]) -> Float[Array, ""]:
        """Return the logarithm of the density of a trajectory."""
        return jax.nn.logsumexp(self.log_weights + self.log_probs(x).sum(axis=(-1, -2)))

    def log_probs(self, x: Float[Array, "T 2"]) -> Float[Array, "K T 2"]:
        """Return the logarithm of the density under every way by itself, point by point."""
        apart = (x - self.means) / self.sds
        return -0.5 * apart**2 - jnp.log(self.sds) - 0.5 * jnp.log(2 * jnp.pi)

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, "T 2"]:
        """Draw a trajectory: a way, and one error that grows along it with its standard deviations."""
        which, error = jax.random.split(key)
        way = jax.random.categorical(which, self.log_weights)
        return self.means[way] + self.sds[way] * jax.random.normal(error, (2,), self.means.dtype)

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n equally weighted draws."""
        return Points(jax.vmap(lambda sub: self.sample(key=sub))(jax.random.split(key, n)))


def densest(
    means: Float[Array, "K T 2"],
    sds: Float[Array, "K T 2"],
    log_weights: Float[Array, " K"],
    rounds: int = 8,
) -> Float[Array, "T 2"]:
    """Return the trajectory about which a mixture is densest; see `Trajectories.most_likely`."""
    dtype = jnp.result_type(means, sds, log_weights)
    means, sds, log_weights = (values.astype(dtype) for values in (means, sds, log_weights))

    def score(x: Array) -> tuple[Array, Array]:
        log_probs = -0.5 * ((x - means) / sds) ** 2 - jnp.log(sds)
        each = log_weights + PEAK * log_probs.mean(axis=-2).sum(axis=-1)
        return jax.nn.logsumexp(each), jax.nn.softmax(each)

    def shift(x: Array, _: None) -> tuple[Array, None]:
        # Precise ways pull harder: the fixed point is where the gradient of the density is zero.
        pull = score(x)[1][:, None, None] / sds**2
        return (pull * means).sum(axis=0) / pull.sum(axis=0), None

    ends = jax.vmap(lambda x: jax.lax.scan(shift, x, length=rounds)[0])(means)
    return ends[jnp.argmax(jax.vmap(lambda x: score(x)[0])(ends))]


class TrajectoryHead(eqx.Module):
    """What turns an encoding into `Trajectories`.

    Displacements are `base` plus polynomials of time, so that every way is smooth and begins where the agent
    is; standard deviations are a power of time.

    Args:
        context: size of the encoding.
        times: at which displacements are told [s].
        modes: how many ways.
        scale: size of displacements along and across at the last time that is learned in units of one.
        key: source of the first weights.
    """

    hidden: eqx.nn.Linear
    out: eqx.nn.Linear
    times: tuple[float, ...] = eqx.field(static=True)
    modes: int = eqx.field(static=True)
    scale: tuple[float, float] = eqx.field(static=True)

    def __init__(
        self,
        context: int,
        times: tuple[float, ...],
        *,
        modes: int = 6,
        scale: tuple[float, float] = (10.0, 2.0),
        key: PRNGKeyArray,
    ):
        first, second = jax.random.split(key)
        self.hidden = eqx.nn.Linear(context, context, key=first)
        self.out = eqx.nn.Linear(context, modes * (2 * DEGREE + 4 + 1), key=second)
        self.times, self.modes, self.scale = tuple(float(t) for t in times), modes, scale

    def __call__(self, context: Float[Array, " C"], base: Float[Array, "T 2"]) -> Trajectories:
        """Return the ways on.

        Args:
            context: the encoding.
            base: displacements along and across from which those of all ways deviate.
        """
        raw = self.out(jax.nn.silu(self.hidden(context))).reshape(self.modes, -1)
        part = jnp.asarray(self.times, raw.dtype) / self.times[-1]
        basis = part[:, None] ** jnp.arange(1, DEGREE + 1)
        scale = jnp.asarray(self.scale, raw.dtype)
        ways = raw[:, : 2 * DEGREE].reshape(self.modes, DEGREE, 2)
        means = base + scale * jnp.einsum("td,kdi->kti", basis, ways)
        level, growth = raw[:, 2 * DEGREE : 2 * DEGREE + 4].reshape(self.modes, 2, 2).swapaxes(0, 1)
        growth = 1.5 + 1.5 * jnp.tanh(growth)
        log_sd = 5 * jnp.tanh((level - 1.0) / 5)[:, None] + growth[:, None] * jnp.log(part)[:, None]
        sds = LEAST_SD + scale * jnp.exp(log_sd)
        return Trajectories(means, sds, jax.nn.log_softmax(raw[:, -1]))


def winner_takes_all(
    ways: Trajectories,
    truth: Float[Array, "T 2"],
    there: Bool[Array, " T"],
    *,
    cross_entropy: float | Float[Array, ""] = 1.0,
) -> Float[Array, ""]:
    """Return the negative log density of the way that is nearest to the truth, and of choosing it.

    Args:
        ways: what was predicted.
        truth: what happened.
        there: at which times that is known.
        cross_entropy: weight of the logarithm of the winner's probability.
    """
    count = jnp.maximum(there.sum(), 1)
    distance = jnp.sum(jnp.where(there[:, None], (truth - ways.means) ** 2, 0.0), axis=(-1, -2))
    winner = jnp.argmin(jax.lax.stop_gradient(distance))
    density = jnp.sum(jnp.where(there[:, None], ways.log_probs(truth)[winner], 0.0)) / count
    return jnp.where(there.any(), -density - cross_entropy * ways.log_weights[winner], 0.0)


def mixture_likelihood(
    ways: Trajectories,
    truth: Float[Array, "T 2"],
    there: Bool[Array, " T"],
    *,
    effective: float | Float[Array, ""] = EFFECTIVE,
) -> Float[Array, ""]:
    """Return the negative log likelihood of the mixture, with the points of a trajectory as dependent.

    Args:
        ways: what was predicted.
        truth: what happened.
        there: at which times that is known.
        effective: as how many independent points those of a whole trajectory count.
    """
    count = jnp.maximum(there.sum(), 1)
    density = jnp.sum(jnp.where(there[:, None], ways.log_probs(truth), 0.0), axis=(-1, -2)) / count
    return -jax.nn.logsumexp(ways.log_weights + effective * density) / effective
