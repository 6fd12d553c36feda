"""Networks that see standardised inputs and answer in the units of the data. Start with `Standardised`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from foresee.beliefs.gaussian import as_float
from foresee.errors import OptionError, ShapeError
from foresee.fit.known import Known
from foresee.posteriors.likelihood import call

HEADS = ("mean", "mean and deviation")
SMALL = -8.0  # below it softplus(x) is eˣ to within 2·10⁻⁴ of itself, and the next term corrects that


class Scales(eqx.Module):
    """Means and standard deviations of inputs and targets.

    Args:
        inputs: mean of every input.
        input_deviations: standard deviation of every input.
        targets: mean of every target.
        target_deviations: standard deviation of every target.
    """

    inputs: Float[Array, "*n"] = eqx.field(converter=as_float)
    input_deviations: Float[Array, "*n"] = eqx.field(converter=as_float)
    targets: Float[Array, " m"] = eqx.field(converter=as_float)
    target_deviations: Float[Array, " m"] = eqx.field(converter=as_float)


def scales(x: Any, y: Any) -> Scales:
    """Return the scales of data; what never varies has deviation 1, so that it is only shifted.

    Args:
        x: inputs, an array of shape (rows, *n).
        y: targets, an array of shape (rows, m).

    Raises:
        ShapeError: if there are no rows or not as many of both.
    """
    x, y = as_float(x), as_float(y)
    if x.ndim < 1 or y.ndim != 2 or x.shape[0] != y.shape[0] or not x.shape[0]:
        raise ShapeError(f"scales: expected rows of inputs and of targets, got {x.shape} and {y.shape}")
    return Scales(jnp.mean(x, axis=0), _deviation(x), jnp.mean(y, axis=0), _deviation(y))


class Standardised(eqx.Module):
    """A network between scales that are known: inputs are standardised, outputs are in the units of the data.

    Nothing else needs to know: training minimises the likelihood of the data as they are, and gradients with
    respect to the weights are those of standardised training. A least standard deviation of the likelihood is
    in units of y, so give `HeteroscedasticLikelihood` one in proportion to `target_deviations`.

    Args:
        network: network for standardised inputs.
        scales: scales of the data, as `scales(x, y)` makes them.
        head: what the outputs are: "mean", or "mean and deviation" for `HeteroscedasticLikelihood`.

    Raises:
        OptionError: if the head is none of these.
    """

    network: Any
    scales: Known
    head: str = eqx.field(static=True)

    def __init__(self, network: Any, scales: Scales, head: str = "mean"):
        if head not in HEADS:
            raise OptionError(f"Standardised: expected head 'mean' or 'mean and deviation', got {head!r}")
        self.network, self.scales, self.head = network, Known(scales), head

    def __call__(self, x: Any, *, key: PRNGKeyArray | None = None) -> Float[Array, " outputs"]:
        """Return the outputs in units of the data."""
        known = self.scales.fixed()
        outputs = call(self.network, (x - known.inputs) / known.input_deviations, key=key)
        if self.head == "mean":
            return known.targets + known.target_deviations * outputs
        mean, raw = jnp.split(outputs, 2)
        raw = scaled_softplus(raw, known.target_deviations)
        return jnp.concatenate([known.targets + known.target_deviations * mean, raw])


def scaled_softplus(raw: Float[Array, "*shape"], factor: Float[Array, "..."]) -> Float[Array, "*shape"]:
    """Return the number whose softplus is factor · softplus(raw), without overflow or loss of digits."""
    low = jnp.minimum(raw, SMALL)
    high = jnp.maximum(raw, SMALL)
    log_softplus = jnp.where(raw < SMALL, low - 0.5 * jnp.exp(low), jnp.log(jax.nn.softplus(high)))
    wanted = jnp.log(factor) + log_softplus
    # The inverse of softplus is log(eˢ − 1) = s + log(1 − e⁻ˢ); near zero it is log s + s / 2.
    low, high = jnp.minimum(wanted, SMALL), jnp.exp(jnp.maximum(wanted, SMALL))
    return jnp.where(wanted < SMALL, low + 0.5 * jnp.exp(low), high + jnp.log(-jnp.expm1(-high)))


def _deviation(values: Float[Array, "rows *n"]) -> Float[Array, "*n"]:
    deviation = np.std(np.asarray(values), axis=0)
    # Rounding gives constant columns a deviation of about one unit in the last place.
    least = 16 * np.finfo(deviation.dtype).eps * np.max(np.abs(np.asarray(values)), axis=0)
    return jnp.asarray(np.where(deviation > least, deviation, 1.0), deviation.dtype)
