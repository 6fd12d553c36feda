"""Dropout left on as a belief about networks: Monte Carlo dropout. Start with `dropout`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from foresee.beliefs.belief import AbstractBelief, Points
from foresee.beliefs.frozen import Frozen, freeze
from foresee.errors import OptionError, PosteriorError
from foresee.posteriors.likelihood import call

MASKS = ("input", "network")
ODD = 0x9E3779B1  # 2³² divided by the golden ratio, whose multiples spread evenly over 32 bits


class DropoutBelief(AbstractBelief):
    """The belief about networks that dropout makes: units are left out by chance (Gal and Ghahramani 2016).

    `dropout` makes one. `mean` is the network with dropout switched off, `sample` and `points` give networks
    with dropout on, at the cost of one forward pass each.
    """

    arrays: PyTree[Array]
    frozen: Frozen
    masks: str = eqx.field(static=True)

    def network(self) -> Any:
        """Return the network with dropout on, which takes a key."""
        return self.frozen.join(self.arrays)

    def mean(self) -> Any:
        """Return the network with dropout off: units are scaled instead of left out."""
        return eqx.nn.inference_mode(self.network())

    def sample(self, *, key: PRNGKeyArray) -> "Dropped":
        """Draw one network with dropout on."""
        return Dropped(self.network(), key, self.masks)

    def points(self, n: int, *, key: PRNGKeyArray) -> Points:
        """Return n equally weighted networks with dropout on."""
        return Points(eqx.filter_vmap(lambda sub: self.sample(key=sub))(jax.random.split(key, n)))


class Dropped(eqx.Module):
    """A network with dropout on and its randomness fixed: the same input gives the same outputs.

    Args:
        network: network whose layers take a key.
        key: source of the masks.
        masks: "input" for other units left out at every input, "network" for the same ones at all.
    """

    network: Any
    key: PRNGKeyArray
    masks: str = eqx.field(static=True)

    def __call__(self, x: Any) -> Any:
        """Return the outputs at x."""
        key = self.key if self.masks == "network" else jax.random.fold_in(self.key, _digest(x))
        return call(self.network, x, key=key)


def dropout(network: Any, *, masks: str = "input", rate: float | None = None) -> DropoutBelief:
    """Return the belief about networks that a network trained with dropout stands for.

    Args:
        network: any module with `equinox.nn.Dropout` somewhere in it and a `key` in its `__call__`, as
            `equinox.nn.Sequential` has it. Other layers that tell training from inference stay in inference.
        masks: whether a drawn network leaves out other units at every input, as Monte Carlo dropout is
            commonly run, or the same ones at all inputs ("network"), so that it is one smooth function of the
            input. What is said of a single input has the same distribution either way; use "network" where
            outputs at several inputs are considered together, as along a trajectory.
        rate: probability that a unit is left out, in place of the one trained with.

    Raises:
        PosteriorError: if the network has no dropout, or none that leaves anything out.
        OptionError: if an option has a value nothing can be done with.
    """
    if masks not in MASKS:
        raise OptionError(f"dropout: expected masks 'input' or 'network', got {masks!r}")
    if rate is not None and not 0 < rate < 1:
        raise OptionError(f"dropout: expected a rate between 0 and 1, got {rate}")
    layers = [part for part in jax.tree.leaves(network, is_leaf=_is_dropout) if _is_dropout(part)]
    if not layers or (rate is None and all(layer.p == 0 for layer in layers)):
        raise PosteriorError(
            f"dropout: expected a network with equinox.nn.Dropout of a positive rate, got "
            f"{len(layers)} such layers in {type(network).__name__}"
        )

    def switched_on(part):
        return eqx.nn.Dropout(part.p if rate is None else rate) if _is_dropout(part) else part

    still = eqx.nn.inference_mode(network)
    return DropoutBelief(*freeze(jax.tree.map(switched_on, still, is_leaf=_is_dropout)), masks)


def _is_dropout(part: Any) -> bool:
    return isinstance(part, eqx.nn.Dropout)


def _digest(x: PyTree) -> Array:
    """Return 32 bits that depend on every bit of an input and on its place."""
    total = jnp.zeros((), jnp.uint32)
    for leaf in jax.tree.leaves(x):
        bits = jax.lax.stop_gradient(jnp.asarray(leaf))
        if jnp.issubdtype(bits.dtype, jnp.inexact):
            kind = {2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}[bits.dtype.itemsize]
            bits = jax.lax.bitcast_convert_type(bits, kind)
        bits = bits.astype(jnp.uint32).reshape(-1)
        # A product alone keeps low zeros low; most floats end in many of them.
        bits = (bits ^ (bits >> 15)) * jnp.uint32(ODD)
        places = jnp.arange(1, bits.size + 1, dtype=jnp.uint32) * jnp.uint32(ODD) | jnp.uint32(1)
        total = (total ^ (total >> 13)) * jnp.uint32(ODD) + jnp.sum(
            (bits ^ (bits >> 13)) * places, dtype=jnp.uint32
        )
    return total
