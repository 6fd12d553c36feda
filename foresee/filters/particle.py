"""The bootstrap particle filter: any motion that can be sampled, any sensor with a density."""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, UInt32

from foresee import linalg
from foresee.beliefs.belief import (
    AbstractBelief,
    AbstractConditional,
    AbstractFilter,
    Points,
)
from foresee.beliefs.conditioning import Seen
from foresee.beliefs.gaussian import LOG_TWO_PI, DiagonalGaussian, Gaussian
from foresee.beliefs.particles import Scheme, systematic
from foresee.errors import ForeseeError, ShapeError


class ParticleFilter(AbstractFilter):
    """Filtering with n weighted particles moved by the motion itself (Gordon, Salmond and Smith 1993).

    The belief is `Points`. Particles are drawn again at the start of `predict`, when their effective number
    has fallen below a share of n; so a corrected belief keeps its weights, and only `predict` needs a key.
    The exponential of the log evidence is an unbiased estimate (Del Moral 2004, theorem 7.4.2), and so is the
    gradient of every average over the particles: what a drawn particle owes to its weight stays in its new
    weight as a derivative of value zero (Ścibior and Wood 2021).

    Angles of the state are kept within [-π, π) as the motion declares them; average them with `Points.expect`
    over sine and cosine.

    Args:
        n: number of particles.
        threshold: share of n below which the effective number of particles calls for drawing again: 1 for
            always, 0 for never.
        trust: share of the weights in the blend with equal weights from which particles are drawn; the rest
            stays in their weights. 1 is the plain filter; less, as .5, is soft resampling (Karkus, Hsu and
            Lee 2018), whose gradients vary less and whose values vary more.
        scheme: how ancestors are drawn, see `foresee.beliefs.particles`.

    Raises:
        ForeseeError: if n is not positive, or a share is not within 0 and 1.
    """

    n: int = eqx.field(static=True)
    threshold: float = eqx.field(static=True, default=0.5)
    trust: float = eqx.field(static=True, default=1.0)
    scheme: Scheme = eqx.field(static=True, default=systematic)

    def __check_init__(self) -> None:
        """Check the numbers."""
        if self.n < 1:
            raise ForeseeError(f"ParticleFilter: expected n ≥ 1, got {self.n}")
        for name, share in (("threshold", self.threshold), ("trust", self.trust)):
            if not 0 <= share <= 1:
                raise ForeseeError(f"ParticleFilter: expected {name} between 0 and 1, got {share}")

    def begin(self, prior: AbstractBelief, *, key: PRNGKeyArray | None) -> Points:
        """Return a prior as this filter needs it: n points of any belief; n points given stay as they are.

        Raises:
            ForeseeError: if points must be drawn and there is no key.
        """
        if isinstance(prior, Points) and prior.log_weights.shape == (self.n,):
            return Points(prior.values, jax.nn.log_softmax(prior.log_weights))
        points = prior.points(self.n, key=_wanted(key, "begin"))
        return Points(points.values, jax.nn.log_softmax(points.log_weights))

    def predict(
        self,
        belief: Points,
        motion: AbstractConditional,
        u: Any = None,
        dt: Any = 1.0,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Points:
        """Return the particles after `dt` seconds, drawn again before if too few of them carry the weight.

        Raises:
            ForeseeError: if there is no key.
        """
        choose, move = jax.random.split(_wanted(key, "predict"))
        belief = self.renewed(belief, key=choose)
        return Points(moved(motion, belief.values, u, dt, key=move), belief.log_weights)

    def renewed(self, belief: Points, *, key: PRNGKeyArray) -> Points:
        """Return the particles drawn again if too few of them carry the weight, else as they are."""
        if self.threshold == 0:
            return belief
        if self.threshold == 1:
            return self._drawn(belief, key)
        poor = belief.effective_size() < self.threshold * self.n
        # Under vmap both branches are computed and one is chosen.
        return jax.lax.cond(poor, self._drawn, lambda same, _: same, belief, key)

    def _drawn(self, belief: Points, key: PRNGKeyArray) -> Points:
        log_weights = jax.nn.log_softmax(belief.log_weights)
        chances = log_weights
        if self.trust < 1:
            chances = jnp.log(self.trust * jnp.exp(log_weights) + (1 - self.trust) / self.n)
        chances = jax.lax.stop_gradient(chances)
        ancestors = self.scheme(chances, self.n, key=key)

        def take(leaf):
            return leaf.at[ancestors].get(mode="promise_in_bounds")

        values = jax.tree.map(take, belief.values)
        return Points(values, take(log_weights - chances) - jnp.log(jnp.asarray(self.n, log_weights.dtype)))

    def update(
        self,
        belief: Points,
        sensor: AbstractConditional,
        y: Float[Array, " m"],
        seen: Seen = None,
        u: Any = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Points, Float[Array, ""]]:
        """Return the particles weighted by the seen components of `y`, and the estimated log evidence.

        Single components can be missing where the sensor is Gaussian; of any other sensor only the whole of
        `y`.

        Raises:
            ForeseeError: if components can be missing and the sensor is not Gaussian.
        """
        scores = jax.vmap(lambda x: log_likelihood(sensor(x, u), y, seen))(belief.values)
        log_weights = belief.log_weights + scores
        total, before = jax.nn.logsumexp(log_weights), jax.nn.logsumexp(belief.log_weights)
        log_evidence = total - before
        if seen is None:
            return Points(belief.values, log_weights - total), log_evidence
        some = jnp.any(jnp.asarray(seen))
        log_weights = jnp.where(some, log_weights - total, belief.log_weights)
        return Points(belief.values, log_weights), jnp.where(some, log_evidence, 0.0)


def moved(
    motion: AbstractConditional, values: PyTree[Array], u: Any = None, dt: Any = 1.0, *, key: PRNGKeyArray
) -> PyTree[Array]:
    """Return one draw of the motion for every particle.

    For a Gaussian motion all noise is drawn at once, and its factor is computed once where it is the same for
    all.
    """
    n = jax.tree.leaves(values)[0].shape[0]
    first = jax.tree.map(lambda leaf: leaf[0], values)
    outcome = eqx.filter_eval_shape(motion, first, u, dt)
    if not isinstance(outcome, (Gaussian, DiagonalGaussian)):
        return jax.vmap(lambda x, sub: motion(x, u, dt).sample(key=sub))(values, jax.random.split(key, n))
    size = sum(leaf.size for leaf in jax.tree.leaves(outcome.location))
    noise = standard_normals(key, (n, size), jnp.result_type(*jax.tree.leaves(outcome.location)))

    def move(x: PyTree, white: Float[Array, " k"]) -> PyTree:
        belief: Any = motion(x, u, dt)
        if isinstance(belief, DiagonalGaussian):
            shift = belief.standard_deviation() * white
        else:
            shift = linalg.matvec(linalg.cholesky(belief.covariance), white)
        flat = linalg.wrap_components(belief.vector() + shift, belief.circular)
        return ravel_pytree(belief.location)[1](flat)

    return jax.vmap(move)(values, noise)


@functools.partial(jax.jit, static_argnames=("shape", "dtype"))
def standard_normals(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
    """Return standard normal numbers from 32 random bits each, and none beyond ±5.4.

    They take less than half the time of `jax.random.normal`, which is most of the time of the whole filter:
    each block of the generator serves for two numbers, its rounds fuse into one kernel, and the inverse error
    function is taken in float32.
    """
    count = math.prod(shape)
    signed = jax.lax.bitcast_convert_type(words(key, count), jnp.int32)
    edge = 1 - 2.0**-24
    uniform = jnp.clip((signed.astype(jnp.float32) + 0.5) * 2.0**-31, -edge, edge)
    return (2**0.5 * jax.lax.erf_inv(uniform)).reshape(shape).astype(dtype)


def words(key: PRNGKeyArray, count: int) -> UInt32[Array, " count"]:
    """Return random words, for JAX's usual keys by its own generator (Salmon, Moraes, Dror and Shaw 2011).

    They are those of `jax.extend.random.threefry_2x32`, whose rounds are a loop on a CPU; here they fuse.
    """
    if jax.random.key_impl(key) != "threefry2x32":
        return jax.random.bits(key, (count,), jnp.uint32)
    first, second = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    keys = (first, second, first ^ second ^ jnp.uint32(0x1BD11BDA))
    half = (count + 1) // 2
    counter = jnp.arange(half, dtype=jnp.uint32)
    left, right = counter + keys[0], counter + jnp.uint32(half) + keys[1]
    for group in range(5):
        for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            left = left + right
            right = left ^ ((right << turn) | (right >> (32 - turn)))
        left, right = left + keys[(group + 1) % 3], right + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    # Without the barrier the rounds would be computed once more for every use of the words.
    return jax.lax.optimization_barrier(jnp.concatenate([left, right])[:count])


def log_likelihood(outcome: Any, y: Float[Array, " m"], seen: Seen = None) -> Float[Array, ""]:
    """Return the log density of the seen components of `y` with the others marginalised out.

    Raises:
        ForeseeError: if single components are masked and the density is not Gaussian.
        ShapeError: if the mask does not fit.
    """
    if seen is None or seen is True:
        return outcome.log_prob(y)
    if not isinstance(outcome, (Gaussian, DiagonalGaussian)):
        if jnp.ndim(seen) != 0:
            raise ForeseeError(
                f"ParticleFilter: expected seen as one flag per row for a {type(outcome).__name__}, of which "
                f"single components cannot be left out, got {jnp.shape(seen)}"
            )
        return jnp.where(seen, outcome.log_prob(jnp.where(seen, y, 0.0)), 0.0)
    if jnp.ndim(seen) and jnp.shape(seen) != y.shape:
        raise ShapeError(f"ParticleFilter: expected seen of shape {y.shape}, got {jnp.shape(seen)}")
    flags = jnp.broadcast_to(jnp.asarray(seen, bool), y.shape)
    residual = jnp.where(flags, outcome.residual(y), 0.0)
    if isinstance(outcome, DiagonalGaussian):
        variances = outcome.variances()
        return -0.5 * jnp.sum(
            jnp.where(flags, residual**2 / variances + jnp.log(variances) + LOG_TWO_PI, 0.0)
        )
    factor = linalg.cholesky(linalg.hide_unseen(outcome.covariance, flags))
    white = linalg.solve_lower(factor, residual)
    constant = jnp.sum(flags) * LOG_TWO_PI
    return -0.5 * (constant + jnp.sum(white**2)) - jnp.sum(jnp.log(jnp.diagonal(factor)))


def _wanted(key: PRNGKeyArray | None, where: str) -> PRNGKeyArray:
    if key is None:
        raise ForeseeError(
            f"ParticleFilter.{where} expected a key, got None; give run(..., key=jax.random.key(0))"
        )
    return key
