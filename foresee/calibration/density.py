"""How unusual a row's entropy is among in-distribution data. Start with `fit_entropy_density`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from foresee.calibration.check import check_vector, is_concrete
from foresee.calibration.ood import AbstractDetector, Entropy, NetworkOutputs
from foresee.errors import CalibrationError, OptionError

BLOCK = 256  # rows compared with all entropies at once
FLOOR = 1e-12  # entropies below it [nats] are rounding


class EntropyDensity(AbstractDetector):
    """Minus the log density of a row's entropy under a kernel density estimate.

    Unlike the entropy itself it also flags a network that is more certain than it ever is on its own data.
    The density is that of the logarithm of the entropy, as entropies pile up near zero.

    Attributes:
        entropies: logarithms of the entropies of in-distribution rows.
        bandwidth: standard deviation of the normal kernel.
    """

    entropies: Float[Array, " reference"]
    bandwidth: Float[Array, ""]

    def __call__(self, outputs: NetworkOutputs) -> Float[Array, " rows"]:
        """Return one score per row, from logits or members."""

        def score(value: Float[Array, ""]) -> Float[Array, ""]:
            kernels = jax.scipy.stats.norm.logpdf(self.entropies, value, self.bandwidth)
            return jnp.log(self.entropies.size * 1.0) - jax.nn.logsumexp(kernels)

        values = _log(Entropy()(outputs))
        return jax.lax.map(score, values, batch_size=min(BLOCK, values.shape[0]))


def fit_entropy_density(outputs: NetworkOutputs, bandwidth: ArrayLike | None = None) -> EntropyDensity:
    """Return the density of the entropies of in-distribution rows.

    Args:
        outputs: of rows from the distribution of the training data, not trained on.
        bandwidth: of the kernel, in units of the log entropy; None: Silverman's rule (1986, equation 3.31),
            with the smaller of standard deviation and interquartile range / 1.34.

    Raises:
        CalibrationError: if the outputs hold neither logits nor members, or the entropies are all alike.
        OptionError: if the bandwidth is not positive.
    """
    values = _log(check_vector(Entropy()(outputs), "fit_entropy_density", "entropies"))
    if bandwidth is None:
        low, high = jnp.quantile(values, jnp.asarray([0.25, 0.75], values.dtype))
        spread = jnp.std(values)
        narrow = jnp.where(high > low, jnp.minimum(spread, (high - low) / 1.34), spread)
        bandwidth = 0.9 * narrow * values.size**-0.2
        if is_concrete(values) and np.ptp(np.asarray(values)) == 0:
            raise CalibrationError("fit_entropy_density: expected entropies that differ, got all alike")
    elif is_concrete(bandwidth) and not np.all(np.asarray(bandwidth) > 0):
        raise OptionError(f"fit_entropy_density: expected a bandwidth > 0, got {bandwidth}")
    return EntropyDensity(values, jnp.asarray(bandwidth, values.dtype))


def _log(entropies: Float[Array, " rows"]) -> Float[Array, " rows"]:
    return jnp.log(jnp.maximum(entropies, FLOOR))
